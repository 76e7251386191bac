//! A walk over the members of a tar archive: v7, ustar, GNU and pax, with their long names and sparse files.
//!
//! The `tar` crate reads the fields of a header. The walk is our own, because what a hostile archive makes us keep has
//! to be bounded: names, extended headers and maps of sparse files have limits here, and contents are streamed.

use std::collections::VecDeque;
use std::io::{self, Read};

use tar::Header;

use super::bounded::BoundedArchive;
pub(super) use super::extended::BLOCK_BYTES;
use super::extended::{self, Extended, SparseSegment, broken};
use super::member::{ArchiveMember, MemberKind};
use crate::payload::{fill, leading_zeros, refuse, starting_with, unwrap, wrap};
use crate::{Error, Result, path};

/// The maximum size of a long name of GNU tar. PATH_MAX is 4,096.
const MAX_NAME_BYTES: u64 = 16 << 10;
/// The maximum size of an extended header.
const MAX_EXTENDED_BYTES: u64 = 1 << 20;
/// The maximum number of members that the index can number.
const MAX_MEMBERS: u32 = 1 << 23;

/// A walk. Reading it streams the contents of the current member.
pub(super) struct Tar<'a> {
    input: BoundedArchive<'a>,
    /// True once its first block was read.
    is_tar: bool,
    members: u32,
    /// Of the current member: bytes still in the archive, and of padding behind them.
    stored: u64,
    padding: u64,
    /// Of the contents: how many were read, and how many there are.
    at: u64,
    size: u64,
    /// The stored segments of a sparse file; `None` if all of it is stored.
    map: Option<VecDeque<SparseSegment>>,
}

impl<'a> Tar<'a> {
    /// The members of an archive that is unpacked already, of which at most so many bytes are looked at.
    pub(super) fn new(archive: Box<dyn Read + Send + 'a>, max_bytes: u64) -> Self {
        let input = BoundedArchive::new("tar", archive, max_bytes);
        Self { input, is_tar: false, members: 0, stored: 0, padding: 0, at: 0, size: 0, map: None }
    }

    /// The members of an archive from number `ordinal` on, with whose headers `archive` begins. Their
    /// [`ArchiveMember::tar_offset`](super::ArchiveMember::tar_offset) counts from there.
    pub(super) fn from_member(archive: Box<dyn Read + Send + 'a>, max_bytes: u64, ordinal: u32) -> Self {
        Self { members: ordinal, ..Self::new(archive, max_bytes) }
    }

    /// The next member; what was not read of the one before is skipped. `None` at a block of zeros, and where the
    /// archive ends behind a member: not every program writes the blocks of zeros.
    ///
    /// # Errors
    /// [`Error::Payload`] where the archive is broken, ends early, or is larger than allowed; [`Error::Io`] where
    /// reading it fails.
    pub(super) fn next(&mut self) -> Result<Option<ArchiveMember>> {
        self.skip()?;
        let tar_offset = self.input.position();
        let (mut extended, mut is_extended) = (Extended::default(), false);
        loop {
            let Some(block) = self.header()? else {
                return if is_extended { Err(cut_off(BLOCK_BYTES as u64, 0)) } else { Ok(None) };
            };
            let header = Header::from_byte_slice(&block);
            let size = size_of_entry(header)?;
            let kind = header.entry_type().as_byte();
            is_extended |= matches!(kind, b'L' | b'K' | b'x' | b'X');
            match kind {
                b'L' => extended.name(&self.text(size, MAX_NAME_BYTES, "a name")?),
                b'K' => extended.link(&self.text(size, MAX_NAME_BYTES, "the name of a link's target")?),
                // X: Solaris' form of it.
                b'x' | b'X' => extended.read(&self.text(size, MAX_EXTENDED_BYTES, "extended headers")?)?,
                // For all members that follow: comments, in practice.
                b'g' | b'V' => self.pass(size)?,
                _ => return self.member(header, size, extended, tar_offset).map(Some),
            }
        }
    }

    /// Reads on behind the last member to the end of what was compressed: the checks of its contents stand there, and a
    /// decoder compares them only when it gets so far.
    ///
    /// # Errors
    /// As [`Self::next`].
    pub(super) fn finish(mut self) -> Result<()> {
        io::copy(&mut self.input, &mut io::sink()).map(drop).map_err(unwrap)
    }

    fn member(&mut self, header: &Header, size: u64, extended: Extended, tar_offset: u64) -> Result<ArchiveMember> {
        let name = extended.name.unwrap_or_else(|| String::from_utf8_lossy(&header.path_bytes()).into_owned());
        let stored = extended.size.unwrap_or(size);
        let type_flag = header.entry_type().as_byte();
        let kind = match type_flag {
            b'1' => {
                let target =
                    extended.link.or_else(|| Some(String::from_utf8_lossy(&header.link_name_bytes()?).into_owned()));
                MemberKind::HardLink(path::canonical(&target.unwrap_or_default()))
            }
            // Links, devices, directories, FIFOs; those that only GNU tar, star and Solaris' tar have.
            b'2'..=b'6' | b'A' | b'D' | b'E' | b'I' | b'M' | b'N' => MemberKind::Other,
            // Before POSIX a directory was a file whose name ends so.
            _ if name.ends_with('/') => MemberKind::Other,
            // POSIX has types that are not known read as regular files.
            _ => MemberKind::Regular,
        };
        let ordinal = self.members;
        if ordinal >= MAX_MEMBERS {
            return refuse(format!("at most {MAX_MEMBERS} members of a tar archive"), "more");
        }
        self.members += 1;
        // Only files have contents, whatever size a header states.
        let stored = if matches!(type_flag, b'2'..=b'6') { 0 } else { stored };
        (self.stored, self.padding) = (stored, stored.wrapping_neg() % BLOCK_BYTES as u64);
        (self.at, self.size, self.map) = (0, stored, None);
        if let (b'S', Some(gnu)) = (type_flag, header.as_gnu()) {
            let blocks = || self.input.block();
            let map = extended::gnu_map(gnu, blocks)?;
            self.sparse(map, gnu.real_size().map_err(broken("the size of a sparse file"))?)?;
        } else if let Some(sparse) = extended.sparse {
            let map = match sparse.map {
                Some(map) => map,
                None => extended::stored_map(|| self.stored_block())?,
            };
            self.sparse(map, sparse.size)?;
        }
        let mtime =
            extended.mtime.unwrap_or_else(|| header.mtime().map_or(0, |mtime| i64::try_from(mtime).unwrap_or(0)));
        let path = path::canonical(&name);
        Ok(ArchiveMember { ordinal, path, kind, size: self.size, mtime, tar_offset: Some(tar_offset) })
    }

    /// The current member is a sparse file of `size` bytes.
    fn sparse(&mut self, map: VecDeque<SparseSegment>, size: u64) -> Result<()> {
        let mut end = 0;
        for segment in &map {
            let next = segment.offset.checked_add(segment.bytes).filter(|next| segment.offset >= end && *next <= size);
            end = match next {
                Some(next) => next,
                None => {
                    return refuse(
                        "pieces of a sparse file in order and within it",
                        format!("{segment:?} of {size} bytes"),
                    );
                }
            };
        }
        let stored: u64 = map.iter().map(|segment| segment.bytes).sum();
        if stored != self.stored {
            return refuse(format!("{} bytes of a sparse file", self.stored), format!("pieces of {stored}"));
        }
        (self.size, self.map) = (size, Some(map));
        Ok(())
    }

    /// A header that is sound; `None` at the end of the archive.
    fn header(&mut self) -> Result<Option<[u8; BLOCK_BYTES]>> {
        let mut block = [0; BLOCK_BYTES];
        let filled = fill(&mut self.input, &mut block)?;
        let is_first = !std::mem::replace(&mut self.is_tar, true);
        if is_first && !(filled == BLOCK_BYTES && is_start(&block)) && filled > 0 {
            return refuse(
                "a tar archive, plain or compressed with gzip, bzip2, xz, lzma or zstd",
                starting_with(&block[..filled]),
            );
        }
        match filled {
            0 => return Ok(None),
            BLOCK_BYTES => {}
            filled => return Err(cut_off(BLOCK_BYTES as u64, filled as u64)),
        }
        if is_zeros(&block) {
            return if is_first { self.only_zeros() } else { Ok(None) };
        }
        let expected = Header::from_byte_slice(&block).cksum().map_err(broken("a checksum"))?;
        let [unsigned, signed] = checksums(&block);
        if i64::from(expected) != unsigned && i64::from(expected) != signed {
            return refuse(format!("a tar header with the checksum {expected}"), unsigned.to_string());
        }
        Ok(Some(block))
    }

    /// Reads an archive that begins with a block of zeros to its end: it is empty, or none. An image of a disk begins
    /// so.
    fn only_zeros(&mut self) -> Result<Option<[u8; BLOCK_BYTES]>> {
        let (mut block, mut passed) = ([0; BLOCK_BYTES], BLOCK_BYTES);
        loop {
            let filled = fill(&mut self.input, &mut block)?;
            let zeros = leading_zeros(&block[..filled]);
            passed += zeros;
            if zeros < filled {
                return refuse("a tar archive", format!("{passed} zeros and other bytes behind them"));
            }
            if filled == 0 {
                return Ok(None);
            }
        }
    }

    /// Reads the data of an extension header of GNU or POSIX.
    fn text(&mut self, bytes: u64, max_bytes: u64, what: &str) -> Result<Vec<u8>> {
        let length = match usize::try_from(bytes) {
            Ok(length) if bytes <= max_bytes => length,
            _ => return refuse(format!("{what} of at most {max_bytes} bytes in a tar archive"), bytes.to_string()),
        };
        let mut text = vec![0; length.next_multiple_of(BLOCK_BYTES)];
        self.input.exactly(&mut text)?;
        text.truncate(length);
        Ok(text)
    }

    /// A block out of the current member's contents as they are stored.
    fn stored_block(&mut self) -> Result<[u8; BLOCK_BYTES]> {
        match self.stored.checked_sub(BLOCK_BYTES as u64) {
            Some(rest) => self.stored = rest,
            None => return refuse("the map of a sparse file within the file", "a longer one"),
        }
        self.input.block()
    }

    fn skip(&mut self) -> Result<()> {
        let bytes = self.stored + std::mem::take(&mut self.padding);
        (self.stored, self.at, self.size) = (0, 0, 0);
        self.pass_exactly(bytes)
    }

    /// Skips so many bytes and their padding.
    fn pass(&mut self, bytes: u64) -> Result<()> {
        match bytes.checked_next_multiple_of(BLOCK_BYTES as u64) {
            Some(bytes) => self.pass_exactly(bytes),
            None => refuse("a size in a tar header", bytes.to_string()),
        }
    }

    fn pass_exactly(&mut self, bytes: u64) -> Result<()> {
        let passed = io::copy(&mut self.input.by_ref().take(bytes), &mut io::sink()).map_err(unwrap)?;
        if passed < bytes { Err(cut_off(bytes, passed)) } else { Ok(()) }
    }
}

impl Read for Tar<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let max = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX).min(buffer.len());
        let (stored, length) = match &mut self.map {
            None => (true, max(self.size - self.at)),
            Some(map) => {
                while map.front().is_some_and(|segment| segment.offset + segment.bytes <= self.at) {
                    map.pop_front();
                }
                match map.front() {
                    Some(segment) if segment.offset > self.at => (false, max(segment.offset - self.at)),
                    Some(segment) => (true, max(segment.offset + segment.bytes - self.at)),
                    None => (false, max(self.size - self.at)),
                }
            }
        };
        let read = if stored && length > 0 {
            let read = self.input.read(&mut buffer[..length])?;
            if read == 0 {
                return Err(wrap(cut_off(self.size, self.at)));
            }
            self.stored -= read as u64;
            read
        } else {
            buffer[..length].fill(0);
            length
        };
        self.at += read as u64;
        Ok(read)
    }
}

impl BoundedArchive<'_> {
    fn block(&mut self) -> Result<[u8; BLOCK_BYTES]> {
        let mut block = [0; BLOCK_BYTES];
        self.exactly(&mut block)?;
        Ok(block)
    }

    fn exactly(&mut self, buffer: &mut [u8]) -> Result<()> {
        let filled = fill(self, buffer)?;
        if filled < buffer.len() { Err(cut_off(buffer.len() as u64, filled as u64)) } else { Ok(()) }
    }
}

/// True if a tar archive can begin with this block: a header by its magic or its checksum, or the end of an empty
/// archive.
pub(super) fn is_start(block: &[u8; BLOCK_BYTES]) -> bool {
    // Of ustar, GNU and pax archives; older ones have none.
    let has_magic = block[257..262] == *b"ustar";
    let has_checksum =
        || Header::from_byte_slice(block).cksum().is_ok_and(|sum| checksums(block).contains(&i64::from(sum)));
    has_magic || is_zeros(block) || has_checksum()
}

fn is_zeros(block: &[u8; BLOCK_BYTES]) -> bool {
    block.iter().all(|byte| *byte == 0)
}

/// The size that a header states. GNU tar leaves zeros there where it is 0.
fn size_of_entry(header: &Header) -> Result<u64> {
    if header.as_old().size.iter().all(|byte| *byte == 0) {
        return Ok(0);
    }
    header.entry_size().map_err(broken("a size"))
}

/// The checksum of a header, and what it is for some old programs, which took bytes for signed.
fn checksums(block: &[u8; BLOCK_BYTES]) -> [i64; 2] {
    let field = 148..156;
    [false, true].map(|is_signed| {
        let one = |byte: u8| if is_signed { i64::from(byte.cast_signed()) } else { i64::from(byte) };
        let bytes = block.iter().enumerate();
        bytes.map(|(at, byte)| if field.contains(&at) { i64::from(b' ') } else { one(*byte) }).sum()
    })
}

fn cut_off(expected: u64, found: u64) -> Error {
    Error::Payload {
        expected: format!("{expected} more bytes of a tar archive"),
        found: format!("its end after {found}"),
    }
}
