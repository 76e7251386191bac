//! The members of an archive of any format, one by one.

use std::io::{self, Cursor, Read};

use sha2::{Digest, Sha256};

use super::detect::begins_stream;
use super::member::{ArchiveMember, Each, MemberKind};
use super::tar::Tar;
use super::{ArchiveBytes, cpio, deb, tar, zip};
use crate::payload::{self, Compression, fill, refuse, unwrap};
use crate::{Format, Result};

/// The maximum size of `control` and `.PKGINFO`.
const MAX_TEXT_BYTES: u64 = 1 << 20;
/// The maximum factor by which an archive grows when it is unpacked. It may always grow to `MIN_UNPACKED_LIMIT_BYTES`.
const MAX_EXPANSION: u64 = 1000;
const MIN_UNPACKED_LIMIT_BYTES: u64 = 1 << 30;

/// What an archive states of its package.
#[derive(Debug, Default)]
pub(super) struct PackageInfo {
    /// The contents of `control` or `.PKGINFO`.
    pub(super) text: Option<String>,
    /// When it was built, seconds since 1970.
    pub(super) built_at: Option<i64>,
}

/// The part of an archive that is read.
pub(super) enum ReadMode<'h> {
    /// Every byte, which is hashed.
    Whole(&'h mut Sha256),
    /// Members from this number on, and what has to be read before them.
    From(u32),
}

/// Returns the maximum size, in bytes, to which an archive of `archive_bytes` bytes may be unpacked.
pub(super) fn max_unpacked_bytes(archive_bytes: u64) -> u64 {
    archive_bytes.saturating_mul(MAX_EXPANSION).max(MIN_UNPACKED_LIMIT_BYTES)
}

/// Calls `each` with the members of an archive until it returns `Break`.
pub(super) fn walk(
    archive: ArchiveBytes<'_>,
    format: Format,
    archive_bytes: u64,
    mode: ReadMode<'_>,
    each: &mut Each<'_>,
) -> Result<PackageInfo> {
    let max_bytes = max_unpacked_bytes(archive_bytes);
    let mut start = [0; tar::BLOCK_BYTES];
    let (filled, archive) = archive.peek(&mut start)?;
    let start = &start[..filled];
    let (mut hasher, first) = match mode {
        ReadMode::Whole(hasher) => (Some(hasher), 0),
        ReadMode::From(first) => (None, first),
    };
    let is_recognized = start.is_empty() || begins_stream(start) || cpio::other_form(start).is_some();
    if matches!(format, Format::Tar | Format::Cpio | Format::Zip) && (zip::is_start(start) || !is_recognized) {
        let mut archive = archive.into_seekable(archive_bytes)?;
        // Other bytes may precede the first member of a zip archive. Then its end shows the format.
        if !zip::is_start(start) && !zip::has_end(&mut archive)? {
            return no_archive(start);
        }
        if let Some(hasher) = &mut hasher {
            io::copy(&mut Hashed { input: &mut archive, hasher: Some(hasher) }, &mut io::sink()).map_err(unwrap)?;
        }
        return zip::walk(archive, archive_bytes, max_bytes, first, each).map(|()| PackageInfo::default());
    }
    let is_whole = hasher.is_some();
    let mut whole = Hashed { input: archive, hasher };
    let info = match format {
        Format::Deb => {
            deb::walk(ArchiveBytes::stream(&mut whole), Compression::detect(start).is_none(), max_bytes, each)?
        }
        Format::Arch | Format::Tar | Format::Cpio | Format::Zip => walk_stream(&mut whole, format, max_bytes, each)?,
        Format::Rpm | Format::File => return refuse("an archive of members", format.as_str()),
    };
    if is_whole {
        // The bytes behind the end of the archive are part of the file.
        io::copy(&mut whole, &mut io::sink()).map_err(unwrap)?;
    }
    Ok(info)
}

/// Calls `each` with the members of a tar or cpio archive, which may be compressed.
fn walk_stream(archive: impl Read + Send, format: Format, max_bytes: u64, each: &mut Each<'_>) -> Result<PackageInfo> {
    let mut archive = archive;
    let mut start = [0; tar::BLOCK_BYTES];
    let filled = fill(&mut archive, &mut start)?;
    // The name at the start of an uncompressed archive may equal the magic number of a compression.
    let compression = if tar::is_start(&start) { None } else { Compression::detect(&start[..filled]) };
    let mut archive = payload::decompress_with(compression, Cursor::new(start).take(filled as u64).chain(archive))?;
    let filled = fill(&mut archive, &mut start)?;
    let first_bytes = &start[..filled];
    if first_bytes.is_empty() {
        return refuse("a tar, cpio or zip archive", "an empty file");
    }
    let is_tar = filled == start.len() && tar::is_start(&start);
    let archive = Box::new(Cursor::new(first_bytes.to_vec()).chain(archive));
    if format != Format::Arch && !is_tar {
        if cpio::is_start(first_bytes) {
            return cpio::walk(archive, max_bytes, each).map(|()| PackageInfo::default());
        }
        if let Some(form) = cpio::other_form(first_bytes) {
            return refuse("a cpio archive of the form newc or crc", form);
        }
        return no_archive(first_bytes);
    }
    let mut tar = Tar::new(archive, max_bytes);
    let mut info = PackageInfo::default();
    while let Some(member) = tar.next()? {
        if format == Format::Arch
            && member.path == "/.PKGINFO"
            && member.kind == MemberKind::Regular
            && info.text.is_none()
        {
            info.text = Some(text(&member, &mut tar)?);
        } else if each(&member, &mut tar)?.is_break() {
            return Ok(info);
        }
    }
    tar.finish()?;
    Ok(info)
}

fn no_archive<T>(start: &[u8]) -> Result<T> {
    let expected = "a tar, cpio or zip archive, plain or compressed with gzip, bzip2, xz, lzma or zstd";
    refuse(expected, payload::starting_with(start))
}

/// Reads the text of `control` or `.PKGINFO`. Bytes that are not UTF-8 are replaced.
pub(super) fn text(member: &ArchiveMember, tar: &mut Tar<'_>) -> Result<String> {
    if member.size > MAX_TEXT_BYTES {
        return refuse(format!("at most {MAX_TEXT_BYTES} bytes of {}", member.path), member.size.to_string());
    }
    let mut text = Vec::new();
    tar.read_to_end(&mut text).map_err(unwrap)?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// A reader that updates a hasher, if it has one, with the bytes that are read.
pub(super) struct Hashed<'h, R> {
    pub(super) input: R,
    pub(super) hasher: Option<&'h mut Sha256>,
}

impl<R: Read> Read for Hashed<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.input.read(buffer)?;
        if let Some(hasher) = &mut self.hasher {
            hasher.update(&buffer[..read]);
        }
        Ok(read)
    }
}
