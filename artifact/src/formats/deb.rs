//! Debian packages (deb(5)), and those of opkg (`.ipk`), whose outer archive may be a compressed tar archive instead
//! of ar.

use std::io::Read;
use std::ops::Range;

use super::ar::{self, Ar};
use super::member::{Each, MemberKind};
use super::tar::Tar;
use super::{ArchiveBytes, PackageInfo, text};
use crate::payload::{self, ReadRange, fill, refuse};
use crate::{Error, Result};

/// Calls `each` with the members of `data.tar`. The outer archive is one of ar, else a tar archive, which may be
/// compressed.
pub(super) fn walk(archive: ArchiveBytes<'_>, is_ar: bool, max_bytes: u64, each: &mut Each<'_>) -> Result<PackageInfo> {
    let mut reader = DebReader { info: PackageInfo::default(), has_data: false, is_broken_off: false, max_bytes };
    if is_ar {
        let mut ar = Ar::new(archive)?;
        while let Some(member) = ar.next()? {
            if reader.read(&member.name, member.mtime, &mut ar, each)? {
                return Ok(reader.info);
            }
        }
    } else {
        let mut tar = Tar::new(payload::decompress(archive)?, max_bytes);
        while let Some(member) = tar.next()? {
            if member.kind == MemberKind::Regular && reader.read(&member.path[1..], member.mtime, &mut tar, each)? {
                break;
            }
        }
        if !reader.is_broken_off {
            tar.finish()?;
        }
    }
    if reader.has_data { Ok(reader.info) } else { refuse("data.tar in a Debian package", "none") }
}

/// Where the contents of `data.tar`, which may be compressed, lie in a package of `bytes` bytes; `None` where the outer
/// archive is none of ar.
///
/// # Errors
/// [`Error::Payload`] where the outer archive is broken or has no `data.tar`; [`Error::Io`] where a part
/// cannot be read.
pub(super) fn data_range(bytes: u64, part: ReadRange<'_, '_>) -> Result<Option<Range<u64>>> {
    // The first two headers, and the third behind a small member.
    const READ_BYTES: u64 = 1 << 10;
    let read = |at: u64| {
        let end = at.saturating_add(READ_BYTES).min(bytes);
        let mut read = vec![0; usize::try_from(end.saturating_sub(at)).unwrap_or(0)];
        let filled = if read.is_empty() { 0 } else { fill(&mut part(at..end)?, &mut read)? };
        read.truncate(filled);
        Ok::<_, Error>(read)
    };
    let (mut window, mut window_at) = (read(0)?, 0);
    if !window.starts_with(ar::MAGIC) {
        return Ok(None);
    }
    let mut at = ar::MAGIC.len() as u64;
    for number in 1.. {
        let start = at.saturating_add(ar::HEADER_BYTES as u64);
        if start - window_at > window.len() as u64 {
            (window, window_at) = (read(at)?, at);
        }
        let header =
            usize::try_from(at - window_at).ok().and_then(|at| window.get(at..)).and_then(|rest| rest.first_chunk());
        let Some(header) = header else { break };
        let member = ar::ArMember::parse(header, number)?;
        let Some(end) = start.checked_add(member.size).filter(|end| *end <= bytes) else { break };
        if is_part(&member.name, "data") {
            return Ok(Some(start..end));
        }
        at = end.saturating_add(end % 2);
    }
    refuse("data.tar in a Debian package", "none")
}

struct DebReader {
    info: PackageInfo,
    has_data: bool,
    is_broken_off: bool,
    max_bytes: u64,
}

impl DebReader {
    /// Reads one member of the outer archive. True where no other can matter: after the data, and `control`, which
    /// opkg may put behind.
    fn read(&mut self, name: &str, mtime: i64, part: &mut (impl Read + Send), each: &mut Each<'_>) -> Result<bool> {
        // The name tells the part; its first bytes tell the compression, whatever the ending of the name states.
        if is_part(name, "control") && self.info.text.is_none() {
            let mut tar = Tar::new(payload::decompress(part)?, self.max_bytes);
            while let Some(member) = tar.next()? {
                if member.path == "/control" && member.kind == MemberKind::Regular && self.info.text.is_none() {
                    self.info.text = Some(text(&member, &mut tar)?);
                }
            }
            tar.finish()?;
            self.info.built_at = Some(mtime).filter(|seconds| *seconds > 0);
        } else if is_part(name, "data") && !self.has_data {
            // A second one would begin to number its members anew.
            self.has_data = true;
            let mut tar = Tar::new(payload::decompress(part)?, self.max_bytes);
            while let Some(member) = tar.next()? {
                if each(&member, &mut tar)?.is_break() {
                    self.is_broken_off = true;
                    return Ok(true);
                }
            }
            tar.finish()?;
        }
        Ok(self.has_data && self.info.text.is_some())
    }
}

/// True for `data.tar` and `data.tar.xz`, if the part is `data`.
fn is_part(name: &str, part: &str) -> bool {
    name.strip_prefix(part)
        .and_then(|rest| rest.strip_prefix(".tar"))
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}
