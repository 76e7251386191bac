//! The block index of an xz file ("The .xz File Format", 1.2.1): decompression can begin at any block.
//!
//! `xz -T`, and rpmbuild with a payload like `w6T0.xzdio`, write a block for every few megabytes. The index at the end
//! of the file lists their sizes.

use std::io::{Cursor, Read};
use std::ops::Range;

use flate2::Crc;

use super::decompress::{Compression, decompress_with};
use super::{ReadRange, fill, refuse};
use crate::Result;

/// Bytes of a stream's header, and of its footer (sections 2.1.1 and 2.1.2).
const HEADER_BYTES: u64 = 12;
const MAGIC: [u8; 6] = [0xfd, b'7', b'z', b'X', b'Z', 0];
/// Longer indexes are refused: blocks of one megabyte of an archive of 30 GB have a shorter one.
const MAX_INDEX_BYTES: u64 = 256 << 10;

/// The blocks of an xz file that is one stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct XzBlocks {
    /// The header of the stream.
    header: [u8; HEADER_BYTES as usize],
    blocks: Vec<Block>,
    /// Where the index begins in the file, in bytes.
    index_start: u64,
}

/// One block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Block {
    /// Where it begins in the file, in bytes.
    start: u64,
    /// Its bytes in the file, without padding.
    bytes: u64,
    /// Where its contents begin in the unpacked contents of the file, in bytes.
    contents_start: u64,
    /// Bytes of its unpacked contents.
    contents_bytes: u64,
}

impl XzBlocks {
    /// Reads the index of a file of `file_bytes` bytes.
    ///
    /// # Errors
    /// [`crate::Error::Payload`] where the file is no xz file of a single stream or its index is broken;
    /// [`crate::Error::Io`] where a range cannot be read.
    pub(super) fn read(file_bytes: u64, read_range: ReadRange<'_, '_>) -> Result<Self> {
        let header: [u8; 12] = read_array(0..HEADER_BYTES, read_range)?;
        let Some(footer_start) = file_bytes.checked_sub(HEADER_BYTES).filter(|start| *start >= HEADER_BYTES) else {
            return refuse("an xz file", format!("{file_bytes} bytes"));
        };
        let footer: [u8; 12] = read_array(footer_start..file_bytes, read_range)?;
        let flags = &header[6..8];
        let is_sound = header.starts_with(&MAGIC)
            && footer.ends_with(b"YZ")
            && flags == &footer[8..10]
            && header[8..] == crc32(flags)
            && footer[..4] == crc32(&footer[4..10]);
        if !is_sound {
            return refuse("header and footer of an xz stream", "others");
        }
        let index_bytes = (u64::from(u32::from_le_bytes([footer[4], footer[5], footer[6], footer[7]])) + 1) * 4;
        let index_start = footer_start.checked_sub(index_bytes).filter(|start| *start >= HEADER_BYTES);
        let Some(index_start) = index_start.filter(|_| index_bytes <= MAX_INDEX_BYTES) else {
            return refuse(
                format!("an index of at most {MAX_INDEX_BYTES} bytes in an xz file"),
                index_bytes.to_string(),
            );
        };
        let mut index = vec![0; usize::try_from(index_bytes).unwrap_or(0)];
        read_exactly(read_range(index_start..footer_start)?, &mut index)?;
        let blocks = parse_index(&index)?;
        let blocks_end = blocks.last().map_or(HEADER_BYTES, Block::end);
        if blocks_end != index_start {
            return refuse(format!("blocks of {index_start} bytes in an xz file"), blocks_end.to_string());
        }
        Ok(Self { header, blocks, index_start })
    }

    /// Returns the number of blocks.
    pub(super) fn len(&self) -> usize {
        self.blocks.len()
    }

    /// Returns the memory that the blocks take, in bytes.
    pub(super) fn memory_bytes(&self) -> usize {
        self.blocks.len() * size_of::<Block>()
    }

    /// Returns where the block that holds the byte at `offset` begins; both in bytes of the unpacked contents.
    pub(super) fn block_start(&self, offset: u64) -> u64 {
        self.block_number(offset).map_or(0, |number| self.blocks[number].contents_start)
    }

    /// Returns the unpacked contents from the block that begins at `start` on.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub(super) fn open_block<'a>(
        &self,
        start: u64,
        read_range: ReadRange<'_, 'a>,
    ) -> Result<Box<dyn Read + Send + 'a>> {
        let Some(number) = self.block_number(start) else {
            return refuse("a block of an xz file", format!("none at {start}"));
        };
        let blocks = &self.blocks[number..];
        // The rest of the file becomes a stream of its own, because a decoder compares the index with the blocks read.
        let stream = Cursor::new(self.header)
            .chain(read_range(blocks[0].start..self.index_start)?)
            .chain(Cursor::new(self.index_and_footer(blocks)));
        decompress_with(Some(Compression::Xz), stream)
    }

    /// Returns the number of the block that holds the byte at `offset` of the unpacked contents.
    fn block_number(&self, offset: u64) -> Option<usize> {
        self.blocks.partition_point(|block| block.contents_start <= offset).checked_sub(1)
    }

    /// Returns index and footer of a stream of these blocks alone.
    fn index_and_footer(&self, blocks: &[Block]) -> Vec<u8> {
        let mut bytes = vec![0];
        push_number(&mut bytes, blocks.len() as u64);
        for block in blocks {
            push_number(&mut bytes, block.bytes);
            push_number(&mut bytes, block.contents_bytes);
        }
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes.extend(crc32(&bytes));
        let backward_size = u32::try_from(bytes.len() / 4 - 1).unwrap_or(u32::MAX);
        let fields = [&backward_size.to_le_bytes()[..], &self.header[6..8]].concat();
        bytes.extend(crc32(&fields));
        bytes.extend(fields);
        bytes.extend(b"YZ");
        bytes
    }
}

impl Block {
    /// Returns where the block ends in the file, padding included.
    fn end(&self) -> u64 {
        self.start.saturating_add(self.bytes).checked_next_multiple_of(4).unwrap_or(u64::MAX)
    }
}

/// Parses the records of an index (section 4).
fn parse_index(index: &[u8]) -> Result<Vec<Block>> {
    let Some((body, sum)) = index.split_last_chunk::<4>() else { return refuse("an index in an xz file", "none") };
    let mut rest = match body {
        [0, rest @ ..] if *sum == crc32(body) => rest,
        _ => return refuse("an index with its checksum in an xz file", "another one"),
    };
    let count = parse_number(&mut rest)?;
    let mut blocks: Vec<Block> = Vec::new();
    // A record takes at least two bytes, so the index bounds the count.
    for _ in 0..count.min(index.len() as u64) {
        let (bytes, contents_bytes) = (parse_number(&mut rest)?, parse_number(&mut rest)?);
        let (start, contents_start) =
            blocks.last().map_or((HEADER_BYTES, 0), |block| (block.end(), block.contents_start + block.contents_bytes));
        blocks.push(Block { start, bytes, contents_start, contents_bytes });
        if contents_start.checked_add(contents_bytes).is_none() {
            return refuse("blocks of an xz file", "more than a file can have");
        }
    }
    if blocks.len() as u64 != count || rest.len() > 3 || rest.iter().any(|byte| *byte != 0) {
        return refuse(
            format!("{count} blocks in the index of an xz file"),
            format!("{} and {} bytes", blocks.len(), rest.len()),
        );
    }
    Ok(blocks)
}

/// Parses a number of up to 63 bits, seven of them in a byte (section 1.2), and removes it from `bytes`.
fn parse_number(bytes: &mut &[u8]) -> Result<u64> {
    let mut value = 0;
    for shift in (0..63).step_by(7) {
        let Some((byte, rest)) = bytes.split_first() else { break };
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    refuse("a number in the index of an xz file", "none")
}

/// Appends a number as [`parse_number`] reads it.
fn push_number(bytes: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}

/// Returns the CRC32 as the file stores it.
fn crc32(bytes: &[u8]) -> [u8; 4] {
    let mut crc = Crc::new();
    crc.update(bytes);
    crc.sum().to_le_bytes()
}

fn read_array<const N: usize>(range: Range<u64>, read_range: ReadRange<'_, '_>) -> Result<[u8; N]> {
    let mut array = [0; N];
    read_exactly(read_range(range)?, &mut array)?;
    Ok(array)
}

fn read_exactly(mut input: impl Read, buffer: &mut [u8]) -> Result<()> {
    let filled = fill(&mut input, buffer)?;
    if filled < buffer.len() {
        refuse(format!("{} bytes of an xz file", buffer.len()), filled.to_string())
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use liblzma::write::XzEncoder;
    use proptest::prelude::*;

    use super::*;

    /// Contents of blocks of 1,000 bytes, and their xz file.
    fn file() -> (Vec<u8>, Vec<u8>) {
        let contents: Vec<u8> = (0..10_500_u32).map(|number| (number * number / 7) as u8).collect();
        let mut encoder = XzEncoder::new(Vec::new(), 2);
        for block in contents.chunks(1_000) {
            encoder.write_all(block).unwrap();
            encoder.flush().unwrap();
        }
        (contents, encoder.finish().unwrap())
    }

    fn read(file: &[u8]) -> Result<XzBlocks> {
        XzBlocks::read(file.len() as u64, &|range| read_range(file, range))
    }

    fn read_range(file: &[u8], range: Range<u64>) -> Result<Box<dyn Read + Send + '_>> {
        let range = usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap();
        match file.get(range) {
            Some(part) => Ok(Box::new(part)),
            None => refuse("a part of the file", "another one"),
        }
    }

    #[test]
    fn decompression_begins_at_any_block() {
        let (contents, file) = file();
        let blocks = read(&file).unwrap();
        assert_eq!(blocks.len(), 11);
        for offset in [0_u64, 999, 1_000, 5_500, 10_499] {
            let start = blocks.block_start(offset);
            assert_eq!(start, offset / 1_000 * 1_000);
            let read = std::cell::Cell::new(0);
            let count = |range: Range<u64>| {
                read.set(read.get() + range.end - range.start);
                read_range(&file, range)
            };
            let mut out = Vec::new();
            // To the end of the stream, whose index lists the blocks that were read.
            blocks.open_block(start, &count).unwrap().read_to_end(&mut out).unwrap();
            assert!(out == contents[usize::try_from(start).unwrap()..], "{offset}");
            assert!(
                start == 0 || read.get() < file.len() as u64 * (11_500 - start) / 10_500,
                "{offset}: {} bytes",
                read.get()
            );
        }
    }

    #[test]
    fn other_files_have_no_blocks() {
        let (_, sound) = file();
        for file in
            [&b""[..], b"short", &sound[..sound.len() - 1], &sound[4..], &[&sound[..], &sound[..]].concat(), &[7; 100]]
        {
            assert!(read(file).is_err());
        }
        // Padding behind a stream.
        assert!(read(&[&sound[..], &[0; 4]].concat()).is_err());
    }

    #[test]
    fn every_changed_byte_of_the_index_is_refused() {
        let (_, sound) = file();
        let blocks = read(&sound).unwrap();
        for at in (0..12).chain(usize::try_from(blocks.index_start).unwrap()..sound.len()) {
            let mut changed = sound.clone();
            changed[at] ^= 0x55;
            assert!(read(&changed).is_err(), "{at}");
        }
    }

    #[test]
    fn a_false_index_allocates_little_memory() {
        for (count, numbers) in [
            (u64::MAX >> 1, &[][..]),
            (3, &[1, 1]),
            (1, &[u64::MAX >> 1, u64::MAX >> 1]),
            (2, &[5, u64::MAX >> 1, 5, u64::MAX >> 1]),
        ] {
            let mut index = vec![0];
            push_number(&mut index, count);
            numbers.iter().for_each(|number| push_number(&mut index, *number));
            index.resize(index.len().next_multiple_of(4), 0);
            let sum = crc32(&index);
            index.extend(sum);
            let blocks = parse_index(&index);
            assert!(blocks.is_err() || blocks.is_ok_and(|blocks| blocks.len() <= 2), "{count}");
        }
    }

    proptest! {
        #[test]
        fn numbers_are_parsed_as_they_were_written(value in 0..=u64::MAX >> 1) {
            let mut bytes = Vec::new();
            push_number(&mut bytes, value);
            let mut rest = &bytes[..];
            prop_assert_eq!(parse_number(&mut rest).unwrap(), value);
            prop_assert!(rest.is_empty());
        }

        #[test]
        fn no_index_causes_a_panic(mut index in prop::collection::vec(any::<u8>(), 0..200), seal in any::<bool>()) {
            if seal {
                index.insert(0, 0);
                let sum = crc32(&index);
                index.extend(sum);
            }
            let _ = parse_index(&index);
        }
    }
}
