//! Payloads that need not be read from their first byte: where a member is follows from the header, and some compressions can be entered
//! in the middle.

use std::io::{self, Read, Write};
use std::ops::Range;

use super::cpio::{Entry, LONG_BYTES, STRIPPED_BYTES, padding};
use super::xz_blocks::Blocks;
use super::{Compression, HardLinks, deliver, fill, refuse, regular_file};
use crate::header::{File, Header};
use crate::{Result, path};

/// Reads some bytes of a payload, counted from its first.
pub type ReadRange<'p, 'a> = &'p dyn Fn(Range<u64>) -> Result<Box<dyn Read + Send + 'a>>;

/// What is before the member has to be so much, unpacked, to be worth the questions.
pub(crate) const WORTH_BYTES: u64 = 1 << 20;

/// Where a payload can be entered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockIndex(Kind);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Kind {
    /// At its first byte alone.
    First,
    /// At any byte: it is not compressed.
    Any,
    /// At the blocks of an xz file.
    Blocks(Blocks),
}

/// How the members of an archive begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Long,
    Stripped,
}

impl BlockIndex {
    /// Where a payload of `bytes` bytes can be entered: its first bytes tell how it is compressed. Of a broken one that is its first byte.
    ///
    /// # Errors
    /// [`crate::Error::Io`] where a part cannot be read.
    pub fn read(bytes: u64, part: ReadRange<'_, '_>) -> Result<Self> {
        let mut start = [0; Compression::TELLING_BYTES];
        let filled = fill(&mut part(0..bytes.min(start.len() as u64))?, &mut start)?;
        Ok(Self(match Compression::of(&start[..filled]) {
            None => Kind::Any,
            Some(Compression::Xz) => match Blocks::read(bytes, part) {
                Ok(blocks) if blocks.len() > 1 => Kind::Blocks(blocks),
                Err(crate::Error::Io(error)) => return Err(error.into()),
                _ => Kind::First,
            },
            Some(_) => Kind::First,
        }))
    }

    /// True if it may be worth to read the block index, for this member: it lies far behind the first byte, and the header does not name a
    /// compressor that has none.
    pub fn may_help(header: &Header, ordinal: u32) -> bool {
        let has_none = matches!(header.compressor.as_deref(), Some("gzip" | "bzip2" | "lzma" | "zstd"));
        !has_none && offset(header, ordinal, Form::Stripped).is_some_and(|offset| offset >= WORTH_BYTES)
    }

    /// Writes one member to `out`, as [`extract_member`](super::extract_member) does, without reading what comes before its block. `false`, and nothing is
    /// written, where the payload cannot be entered or the member is not where it should be.
    ///
    /// # Errors
    /// As [`extract_member`](super::extract_member).
    pub fn extract_member(
        &self,
        header: &Header,
        ordinal: u32,
        part: ReadRange<'_, '_>,
        bytes: u64,
        out: &mut (impl Write + Send),
    ) -> Result<bool> {
        let file = regular_file(header, ordinal)?;
        // Nearly all archives have the long form; which one it is would be known by their first bytes, which are far away.
        for form in [Form::Long, Form::Stripped] {
            let Some(offset) = offset(header, ordinal, form) else { return Ok(false) };
            let Some(entrance) = self.entrance(offset) else { return Ok(false) };
            if let Some(member) = self.member(header, ordinal, entrance..offset, part, bytes)? {
                return deliver(&mut member.take(file.size), file, out).map(|()| true);
            }
        }
        Ok(false)
    }

    /// The contents of a member whose cpio header is at the end of `before`, which begins at an entrance; `None` where it is not there.
    fn member<'a>(
        &self,
        header: &Header,
        ordinal: u32,
        before: Range<u64>,
        part: ReadRange<'_, 'a>,
        bytes: u64,
    ) -> Result<Option<impl Read + use<'a>>> {
        if matches!(self.0, Kind::Any) && before.end > bytes {
            return Ok(None);
        }
        let mut archive = self.open(before.start, bytes, part)?;
        let length = before.end - before.start;
        if io::copy(&mut archive.by_ref().take(length), &mut io::sink()).map_err(super::unwrap)? < length {
            return Ok(None);
        }
        let is_it = match (Entry::read(&mut archive), header.by_ordinal(ordinal)) {
            (Ok(Some(Entry::Named(named))), Some(file)) => {
                path::absolute(&named.name) == file.path && u64::from(named.size) == file.size
            }
            (Ok(Some(Entry::Numbered(number))), _) => number == ordinal,
            _ => false,
        };
        Ok(is_it.then_some(archive))
    }

    /// The last entrance that is not behind `offset`, in bytes of the unpacked payload; `None` where the payload has to
    /// be read from its first byte.
    pub(crate) fn entrance(&self, offset: u64) -> Option<u64> {
        match &self.0 {
            Kind::First => None,
            Kind::Any => Some(offset),
            Kind::Blocks(blocks) => Some(blocks.entrance(offset)),
        }
    }

    /// The unpacked payload, of `bytes` bytes in the archive, from an entrance on.
    ///
    /// # Errors
    /// [`crate::Error::Payload`] where there is none; [`crate::Error::Io`] where a part cannot be read.
    pub(crate) fn open<'a>(
        &self,
        entrance: u64,
        bytes: u64,
        part: ReadRange<'_, 'a>,
    ) -> Result<Box<dyn Read + Send + 'a>> {
        match &self.0 {
            Kind::Blocks(blocks) => blocks.open(entrance, part),
            Kind::First | Kind::Any if entrance <= bytes => part(entrance..bytes),
            Kind::First | Kind::Any => refuse(format!("{entrance} bytes of a payload"), bytes.to_string()),
        }
    }

    /// Memory that they take, about.
    pub fn memory_bytes(&self) -> usize {
        size_of::<Self>() + if let Kind::Blocks(blocks) = &self.0 { blocks.len() * size_of::<[u64; 4]>() } else { 0 }
    }
}

/// Where the cpio header of a member begins: rpm writes members in the order of the header (lib/fsm.c, rpmPackageFilesArchive). `None`
/// where hard links make that uncertain.
fn offset(header: &Header, ordinal: u32, form: Form) -> Option<u64> {
    let links = HardLinks::of(&header.files);
    let padded = |bytes: u64| bytes.checked_add(padding(bytes) as u64);
    let mut offset = 0_u64;
    for (number, file) in (0..ordinal).zip(&header.files).filter(|(_, file)| !file.is_ghost()) {
        if links.is_linked(number) {
            return None;
        }
        let head = match form {
            Form::Stripped => STRIPPED_BYTES as u64 + 2,
            // Behind a point and before a NUL.
            Form::Long => padded(LONG_BYTES as u64 + file.path.len() as u64 + 2)?,
        };
        offset = offset.checked_add(head)?.checked_add(padded(contents_bytes(file))?)?;
    }
    (!links.is_linked(ordinal)).then_some(offset)
}

/// What the archive has of a file that is no hard link.
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

    use super::super::archive::{compress, file, folder, hard_link, header, newc, stripped, symlink};
    use super::*;

    const LARGE: usize = 300_000;

    fn contents(number: u32) -> Vec<u8> {
        (0..LARGE as u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8 ^ number as u8).collect()
    }

    /// Nine large files with other things between them, and their archive in both forms.
    fn package(compressor: &str) -> (Header, [Vec<u8>; 2]) {
        let large: Vec<Vec<u8>> = (0..9).map(contents).collect();
        let mut files = vec![folder("/usr/src"), symlink("/usr/src/link", "somewhere/else")];
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

    /// What comes out, and how many bytes of the payload were asked for.
    fn extracted(payload: &[u8], header: &Header, ordinal: u32) -> (Result<bool, String>, Vec<u8>, u64) {
        let (bytes, asked) = (payload.len() as u64, Cell::new(0));
        let part = |range: Range<u64>| -> Result<Box<dyn Read + Send>> {
            asked.set(asked.get() + range.end - range.start);
            match payload.get(usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap()) {
                Some(part) => Ok(Box::new(io::Cursor::new(part.to_vec()))),
                None => refuse("a part of the payload", "another one"),
            }
        };
        let mut out = Vec::new();
        let index = BlockIndex::read(bytes, &part).unwrap();
        let result = index.extract_member(header, ordinal, &part, bytes, &mut out).map_err(|error| error.to_string());
        (result, out, asked.get())
    }

    #[test]
    fn members_come_out_without_what_is_before_their_blocks() {
        for (compressor, pack) in [("xz", xz as fn(&[u8]) -> Vec<u8>), ("none", |archive| archive.to_vec())] {
            let (header, archives) = package(compressor);
            for archive in archives {
                let payload = pack(&archive);
                for (number, ordinal) in [(0, 2), (4, 6), (5, 8), (8, 11)] {
                    let (result, out, asked) = extracted(&payload, &header, ordinal);
                    assert_eq!((result, out == contents(number)), (Ok(true), true), "{compressor}, {number}");
                    let most =
                        payload.len() as u64 * 2 + u64::from(9 - number) * (payload.len() as u64 / 9) + (64 << 10);
                    assert!(asked <= most, "{compressor}, {number}: {asked} bytes asked for of {}", payload.len());
                }
            }
        }
    }

    #[test]
    fn what_cannot_be_entered_is_said_to_be_so() {
        for compressor in ["gzip", "zstd", "xz"] {
            let (header, [archive, _]) = package(compressor);
            let payload = compress(Some(compressor), &archive);
            assert_eq!(extracted(&payload, &header, 11).0, Ok(false), "{compressor}");
        }
        let (header, _) = package("none");
        assert!(BlockIndex::may_help(&header, 11) && !BlockIndex::may_help(&header, 2));
        let (header, _) = package("zstd");
        assert!(!BlockIndex::may_help(&header, 11));
    }

    #[test]
    fn a_member_that_is_not_where_it_should_be_is_not_written() {
        let (mut header, [archive, _]) = package("none");
        // The header lists a file more than the archive has.
        header.files.insert(3, file("/usr/src/a", b"more"));
        let (result, out, _) = extracted(&archive, &header, 12);
        assert_eq!((result, out.len()), (Ok(false), 0));
        // Where hard links lie is rpm's affair.
        let (mut header, [archive, _]) = package("none");
        for at in [3, 4] {
            header.files[at] = hard_link(&header.files[at].path.clone(), b"same", 7);
        }
        assert_eq!(extracted(&archive, &header, 11).0, Ok(false));
    }

    #[test]
    fn contents_that_are_others_are_an_error() {
        let (header, [archive, _]) = package("none");
        let mut payload = archive;
        let last = payload.len() - 1_000;
        payload[last] ^= 1;
        let (result, out, _) = extracted(&payload, &header, 11);
        assert!(result.is_err_and(|error| error.contains("SHA-256")) && out.len() == LARGE);
    }
}
