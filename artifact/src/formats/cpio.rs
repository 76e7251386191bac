//! A walk over the members of a cpio archive that is no payload of an RPM: newc, and crc, which is newc with checksums.

use std::collections::HashMap;
use std::io::{self, BufRead, Cursor, Read};
use std::mem;

use super::MAX_PATH_BYTES;
use super::bounded::BoundedArchive;
use super::member::{ArchiveMember, Each, MemberKind, read_contents};
use crate::payload::cpio::{self, CpioEntry, Named};
use crate::payload::{self, Compression, fill, leading_zeros, refuse, unwrap};
use crate::{Error, Result, path};

/// The maximum number of members.
const MAX_MEMBERS: u32 = 1 << 23;
/// The maximum number of concatenated archives: an initramfs is several.
const MAX_ARCHIVES: usize = 16;

/// True if a cpio archive of one of the two forms begins with these bytes.
pub(super) fn is_start(start: &[u8]) -> bool {
    start.starts_with(b"070701") || start.starts_with(b"070702")
}

/// The name of another form that begins with these bytes.
pub(super) fn other_form(start: &[u8]) -> Option<&'static str> {
    match start {
        [b'0', b'7', b'0', b'7', b'0', b'7', ..] => Some("the old character form (odc)"),
        [0xc7, 0x71, ..] | [0x71, 0xc7, ..] => Some("the old binary form (bin)"),
        _ => None,
    }
}

/// Calls `each` with the members of an archive that is unpacked already, of which at most `max_bytes` bytes are read.
/// Members are numbered as `each` sees them: hard links behind the one of them that has the contents.
pub(super) fn walk<'a>(archive: Box<dyn Read + Send + 'a>, max_bytes: u64, each: &mut Each<'_>) -> Result<()> {
    let mut walk = CpioWalk { ordinal: 0, links: HashMap::new(), link_bytes: 0 };
    let mut archive = BoundedArchive::new("cpio", archive, max_bytes);
    for _ in 0..MAX_ARCHIVES {
        if walk.members(&mut archive, each)? {
            return Ok(());
        }
        // Zeros fill up blocks. The archive after them may be compressed, as in an initramfs.
        let mut start = [0; Compression::MAGIC_BYTES];
        archive.skip_zeros()?;
        let filled = fill(&mut archive, &mut start)?;
        let start = &start[..filled];
        if !is_start(start) && Compression::detect(start).is_none() {
            // No archive. A decoder compares checks at the end.
            return io::copy(&mut archive, &mut io::sink()).map(drop).map_err(unwrap);
        }
        let BoundedArchive { input: behind, rest, .. } = archive;
        let next = payload::decompress(Cursor::new(start.to_vec()).chain(behind))?;
        archive = BoundedArchive::new("cpio", next, max_bytes);
        archive.rest = rest;
    }
    refuse(format!("at most {MAX_ARCHIVES} cpio archives one after the other"), "more")
}

struct CpioWalk {
    ordinal: u32,
    /// Hard links without contents, by device and inode: their member with contents is to come.
    links: HashMap<[u32; 3], Vec<(String, i64)>>,
    link_bytes: usize,
}

impl CpioWalk {
    /// The members up to the trailer. True if `each` broke it off.
    fn members(&mut self, archive: &mut BoundedArchive<'_>, each: &mut Each<'_>) -> Result<bool> {
        let mut seen = 0;
        loop {
            let named = match CpioEntry::read(archive)? {
                Some(CpioEntry::Named(named)) => named,
                Some(CpioEntry::Trailer) => break,
                Some(CpioEntry::Numbered(_)) => {
                    return refuse("a cpio archive with names", "a payload of an RPM without them");
                }
                None => return refuse("a trailer at the archive's end", format!("its end after {seen} members")),
            };
            seen += 1;
            if self.member(archive, &named, each)? {
                return Ok(true);
            }
        }
        // Links whose contents did not come are empty files.
        for (_, names) in mem::take(&mut self.links) {
            for (path, mtime) in names {
                if self.emit(path, MemberKind::Regular, 0, mtime, &mut io::empty(), each)? {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    fn member(&mut self, archive: &mut BoundedArchive<'_>, named: &Named, each: &mut Each<'_>) -> Result<bool> {
        const TYPE: u32 = 0o170_000;
        let path = path::canonical(&named.name);
        let (size, mtime, is_regular) = (u64::from(named.size), i64::from(named.mtime), named.mode & TYPE == 0o100_000);
        let is_linked = is_regular && named.links > 1;
        if is_linked && size == 0 {
            self.link_bytes += path.len() + size_of::<(String, i64)>();
            if self.link_bytes > MAX_PATH_BYTES {
                return refuse(format!("at most {MAX_PATH_BYTES} bytes of hard links in a cpio archive"), "more");
            }
            self.links.entry(named.file).or_default().push((path, mtime));
            return Ok(false);
        }
        let mut contents = CpioContents { archive, size, rest: size, sum: 0 };
        let kind = if is_regular { MemberKind::Regular } else { MemberKind::Other };
        let is_broken_off =
            self.emit(path.clone(), kind, if is_regular { size } else { 0 }, mtime, &mut contents, each)?;
        if is_broken_off {
            return Ok(true);
        }
        io::copy(&mut contents, &mut io::sink()).map_err(unwrap)?;
        if let Some(expected) = named.checksum.filter(|expected| is_regular && *expected != contents.sum) {
            return refuse(format!("the checksum {expected:08x} of {path}"), format!("{:08x}", contents.sum));
        }
        let padding = cpio::padding(size);
        cpio::exactly(archive, &mut [0; 3][..padding], "padding")?;
        if is_linked {
            for (link, mtime) in self.links.remove(&named.file).unwrap_or_default() {
                if self.emit(link, MemberKind::HardLink(path.clone()), size, mtime, &mut io::empty(), each)? {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    fn emit(
        &mut self,
        path: String,
        kind: MemberKind,
        size: u64,
        mtime: i64,
        contents: &mut dyn Read,
        each: &mut Each<'_>,
    ) -> Result<bool> {
        let ordinal = self.ordinal;
        if ordinal >= MAX_MEMBERS {
            return refuse(format!("at most {MAX_MEMBERS} members of a cpio archive"), "more");
        }
        self.ordinal += 1;
        Ok(each(&ArchiveMember { ordinal, path, kind, size, mtime, tar_offset: None }, contents)?.is_break())
    }
}

/// The contents of one member, added up for its checksum.
struct CpioContents<'c, 'a> {
    archive: &'c mut BoundedArchive<'a>,
    size: u64,
    rest: u64,
    sum: u32,
}

impl Read for CpioContents<'_, '_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let (size, at) = (self.size, self.size - self.rest);
        let read = read_contents(self.archive, &mut self.rest, buffer, || {
            let expected = format!("{size} bytes of a cpio member");
            Error::Payload { expected, found: format!("the archive's end after {at}") }
        })?;
        self.sum = buffer[..read].iter().fold(self.sum, |sum, byte| sum.wrapping_add(u32::from(*byte)));
        Ok(read)
    }
}

impl BoundedArchive<'_> {
    fn skip_zeros(&mut self) -> Result<()> {
        loop {
            let bytes = self.input.fill_buf().map_err(unwrap)?;
            let zeros = leading_zeros(bytes);
            let goes_on = zeros > 0 && zeros == bytes.len();
            self.input.consume(zeros);
            self.rest = self.rest.checked_sub(zeros as u64).ok_or_else(|| self.too_large())?;
            if !goes_on {
                return Ok(());
            }
        }
    }
}
