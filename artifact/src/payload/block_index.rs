//! Members of a payload extracted without decompressing it from its first byte.
//!
//! The RPM header determines where a member begins in the unpacked archive, and the block index of an xz file where the
//! block that holds it begins. Other compressions, and xz files of one block, have no such index.

use std::io::{self, Read, Write};
use std::ops::Range;

use super::cpio::{CpioEntry, LONG_BYTES, STRIPPED_BYTES, padding};
use super::xz_blocks::XzBlocks;
use super::{Compression, HardLinks, deliver, fill, regular_file};
use crate::header::{File, Header};
use crate::{Error, Result, path};

/// Reads a range of bytes of a payload or archive, counted from its first byte.
pub type ReadRange<'p, 'a> = &'p dyn Fn(Range<u64>) -> Result<Box<dyn Read + Send + 'a>>;

/// Members that begin before this offset in the unpacked archive are read from the first byte: an index saves too
/// little.
pub(crate) const MIN_SKIPPED_BYTES: u64 = 1 << 20;

/// The xz block index of a payload; empty unless the payload is one xz stream of several blocks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockIndex(Option<XzBlocks>);

/// The form of an archive's cpio headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum CpioForm {
    Long,
    Stripped,
}

impl BlockIndex {
    /// Reads the index of a payload of `payload_bytes` bytes. The index of a broken xz file is empty.
    ///
    /// # Errors
    /// [`Error::Io`] where a range cannot be read.
    pub fn read(payload_bytes: u64, read_range: ReadRange<'_, '_>) -> Result<Self> {
        let mut start = [0; Compression::MAGIC_BYTES];
        let filled = fill(&mut read_range(0..payload_bytes.min(start.len() as u64))?, &mut start)?;
        if Compression::detect(&start[..filled]) != Some(Compression::Xz) {
            return Ok(Self(None));
        }
        match XzBlocks::read(payload_bytes, read_range) {
            Ok(blocks) => Ok(Self(Some(blocks).filter(|blocks| blocks.len() > 1))),
            Err(Error::Io(error)) => Err(error.into()),
            Err(_) => Ok(Self(None)),
        }
    }

    /// True if reading the index may be worth its cost for this member. At least 1 MiB of the unpacked archive has to
    /// precede it, and the header must not name another compressor than xz. If it names none, the first bytes of the
    /// payload show the compression.
    pub fn may_help(header: &Header, ordinal: u32) -> bool {
        header.compressor.as_deref().is_none_or(|compressor| compressor == "xz")
            && member_offset(header, ordinal, CpioForm::Stripped).is_some_and(|offset| offset >= MIN_SKIPPED_BYTES)
    }

    /// Writes one member to `out` as [`extract_member`](super::extract_member) does, but decompresses from the block
    /// that holds it. Returns `false`, with nothing written, if the index is empty or the member is not at its offset.
    ///
    /// # Errors
    /// As [`extract_member`](super::extract_member).
    pub fn extract_member(
        &self,
        header: &Header,
        ordinal: u32,
        read_range: ReadRange<'_, '_>,
        out: &mut (impl Write + Send),
    ) -> Result<bool> {
        let file = regular_file(header, ordinal)?;
        // Nearly all archives have the long form. Their first bytes tell the form, but cost another read.
        for form in [CpioForm::Long, CpioForm::Stripped] {
            let Some(offset) = member_offset(header, ordinal, form) else { return Ok(false) };
            let Some(block) = self.block_start(offset) else { return Ok(false) };
            if let Some(contents) = self.open_member(header, ordinal, block..offset, read_range)? {
                return deliver(&mut contents.take(file.size), file, out).map(|()| true);
            }
        }
        Ok(false)
    }

    /// Returns the contents of the member whose cpio header is at the end of `skipped`, which begins where a block
    /// begins; `None` if another header or none is there.
    fn open_member<'a>(
        &self,
        header: &Header,
        ordinal: u32,
        skipped: Range<u64>,
        read_range: ReadRange<'_, 'a>,
    ) -> Result<Option<impl Read + use<'a>>> {
        let Some(mut archive) = self.open_block(skipped.start, read_range)? else { return Ok(None) };
        let skipped_bytes = skipped.end - skipped.start;
        if io::copy(&mut archive.by_ref().take(skipped_bytes), &mut io::sink()).map_err(super::unwrap)? < skipped_bytes
        {
            return Ok(None);
        }
        let is_member = match (CpioEntry::read(&mut archive), header.file_by_ordinal(ordinal)) {
            (Ok(Some(CpioEntry::Named(named))), Some(file)) => {
                path::absolute(&named.name) == file.path && u64::from(named.size) == file.size
            }
            (Ok(Some(CpioEntry::Numbered(number))), _) => number == ordinal,
            _ => false,
        };
        Ok(is_member.then_some(archive))
    }

    /// Returns where the block that holds the byte at `offset` begins, in bytes of the unpacked payload; `None` if the
    /// index is empty.
    pub(crate) fn block_start(&self, offset: u64) -> Option<u64> {
        self.0.as_ref().map(|blocks| blocks.block_start(offset))
    }

    /// Returns the unpacked payload from the block that begins at `start` on; `None` if the index is empty.
    ///
    /// # Errors
    /// [`Error::Payload`] where no block begins at `start`; [`Error::Io`] where a range cannot be read.
    pub(crate) fn open_block<'a>(
        &self,
        start: u64,
        read_range: ReadRange<'_, 'a>,
    ) -> Result<Option<Box<dyn Read + Send + 'a>>> {
        self.0.as_ref().map(|blocks| blocks.open_block(start, read_range)).transpose()
    }

    /// Returns the memory that the index takes, in bytes, approximately.
    pub fn memory_bytes(&self) -> usize {
        size_of::<Self>() + self.0.as_ref().map_or(0, XzBlocks::memory_bytes)
    }
}

/// Returns where the cpio header of a member begins in the unpacked archive: rpm writes members in the order of the
/// header (lib/fsm.c, rpmPackageFilesArchive). `None` if hard links make the offset uncertain.
fn member_offset(header: &Header, ordinal: u32, form: CpioForm) -> Option<u64> {
    let links = HardLinks::find(&header.files);
    let padded = |bytes: u64| bytes.checked_add(padding(bytes) as u64);
    let mut offset = 0_u64;
    for (number, file) in (0..ordinal).zip(&header.files).filter(|(_, file)| !file.is_ghost()) {
        if links.is_linked(number) {
            return None;
        }
        let header_bytes = match form {
            CpioForm::Stripped => STRIPPED_BYTES as u64 + 2,
            // The name begins with a dot and ends with a NUL.
            CpioForm::Long => padded(LONG_BYTES as u64 + file.path.len() as u64 + 2)?,
        };
        offset = offset.checked_add(header_bytes)?.checked_add(padded(contents_bytes(file))?)?;
    }
    (!links.is_linked(ordinal)).then_some(offset)
}

/// Returns how many bytes of contents the archive holds for a file that is no hard link.
fn contents_bytes(file: &File) -> u64 {
    match &file.link_target {
        _ if file.is_regular() => file.size,
        Some(target) if file.is_link() => target.len() as u64,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use liblzma::write::XzEncoder;

    use super::super::archive::{compress, directory, file, hard_link, header, newc, stripped, symlink};
    use super::super::refuse;
    use super::*;

    const LARGE: usize = 300_000;

    fn contents(number: u32) -> Vec<u8> {
        (0..LARGE as u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8 ^ number as u8).collect()
    }

    /// A header of nine large files with others between them, and their archive in both forms.
    fn package(compressor: &str) -> (Header, [Vec<u8>; 2]) {
        let large: Vec<Vec<u8>> = (0..9).map(contents).collect();
        let mut files = vec![directory("/usr/src"), symlink("/usr/src/link", "somewhere/else")];
        let ghost = File { flags: GHOST, ..file("/usr/src/ghost", b"what is not there") };
        let mut long: Vec<(String, &[u8])> =
            vec![("./usr/src".into(), b""), ("./usr/src/link".into(), b"somewhere/else")];
        let mut short: Vec<(u32, &[u8])> = vec![(0, b""), (1, b"somewhere/else")];
        for (number, contents) in large.iter().enumerate() {
            let path = format!("/usr/src/{}{number}", "x".repeat(number));
            long.push((format!(".{path}"), contents));
            short.push((files.len() as u32, contents));
            files.push(file(&path, contents));
            if number == 4 {
                files.push(ghost.clone());
            }
        }
        let long: Vec<(&str, &[u8])> = long.iter().map(|(name, contents)| (name.as_str(), *contents)).collect();
        (header(files, Some(compressor)), [newc(&long), stripped(&short)])
    }

    const GHOST: u32 = 1 << 6;

    fn xz(archive: &[u8]) -> Vec<u8> {
        let mut encoder = XzEncoder::new(Vec::new(), 0);
        for block in archive.chunks(64 << 10) {
            encoder.write_all(block).unwrap();
            encoder.flush().unwrap();
        }
        encoder.finish().unwrap()
    }

    /// The result, the contents written, and the number of payload bytes that were read.
    fn extract(payload: &[u8], header: &Header, ordinal: u32) -> (Result<bool, String>, Vec<u8>, u64) {
        let (bytes, bytes_read) = (payload.len() as u64, Cell::new(0));
        let read_range = |range: Range<u64>| -> Result<Box<dyn Read + Send>> {
            bytes_read.set(bytes_read.get() + range.end - range.start);
            match payload.get(usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap()) {
                Some(part) => Ok(Box::new(io::Cursor::new(part.to_vec()))),
                None => refuse("a part of the payload", "another one"),
            }
        };
        let mut out = Vec::new();
        let index = BlockIndex::read(bytes, &read_range).unwrap();
        let result = index.extract_member(header, ordinal, &read_range, &mut out).map_err(|error| error.to_string());
        (result, out, bytes_read.get())
    }

    #[test]
    fn members_are_extracted_without_the_blocks_before_them() {
        let (header, archives) = package("xz");
        for archive in archives {
            let payload = xz(&archive);
            for (number, ordinal) in [(0, 2), (4, 6), (5, 8), (8, 11)] {
                let (result, out, bytes_read) = extract(&payload, &header, ordinal);
                assert_eq!((result, out == contents(number)), (Ok(true), true), "{number}");
                let max = payload.len() as u64 * 2 + u64::from(9 - number) * (payload.len() as u64 / 9) + (64 << 10);
                assert!(bytes_read <= max, "{number}: {bytes_read} bytes read of {}", payload.len());
            }
        }
    }

    #[test]
    fn payloads_without_several_xz_blocks_have_no_index() {
        for compressor in ["none", "gzip", "zstd", "xz"] {
            let (header, [archive, _]) = package(compressor);
            let payload = compress(Some(compressor), &archive);
            let (result, out, _) = extract(&payload, &header, 11);
            assert_eq!((result, out.len()), (Ok(false), 0), "{compressor}");
        }
        let (header, _) = package("xz");
        assert!(BlockIndex::may_help(&header, 11) && !BlockIndex::may_help(&header, 2));
        let unnamed = Header { compressor: None, ..header };
        assert!(BlockIndex::may_help(&unnamed, 11) && !BlockIndex::may_help(&unnamed, 2));
        for compressor in ["none", "zstd"] {
            let (header, _) = package(compressor);
            assert!(!BlockIndex::may_help(&header, 11), "{compressor}");
        }
    }

    #[test]
    fn nothing_is_written_if_the_member_is_not_at_its_offset() {
        let (mut header, [archive, _]) = package("xz");
        // The header lists a file more than the archive has.
        header.files.insert(3, file("/usr/src/a", b"more"));
        let (result, out, _) = extract(&xz(&archive), &header, 12);
        assert_eq!((result, out.len()), (Ok(false), 0));
        // Hard links make offsets uncertain.
        let (mut header, [archive, _]) = package("xz");
        for at in [3, 4] {
            header.files[at] = hard_link(&header.files[at].path.clone(), b"same", 7);
        }
        assert_eq!(extract(&xz(&archive), &header, 11).0, Ok(false));
    }

    #[test]
    fn contents_with_another_digest_are_an_error() {
        let (header, [mut archive, _]) = package("xz");
        let last = archive.len() - 1_000;
        archive[last] ^= 1;
        let (result, out, _) = extract(&xz(&archive), &header, 11);
        assert!(result.is_err_and(|error| error.contains("SHA-256")) && out.len() == LARGE);
    }
}
