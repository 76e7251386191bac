//! The blocks of an xz file ("The .xz File Format", 1.2.1): where one can begin to unpack. `xz -T`, and rpmbuild with a payload like
//! `w6T0.xzdio`, write a block for every few megabytes; the index at the end says where they are.

use std::io::{Cursor, Read};
use std::ops::Range;

use flate2::Crc;

use super::decompress::{Compression, decompress_with};
use super::{ReadRange, fill, refuse};
use crate::Result;

/// Bytes of a stream's header, and of its footer (sections 2.1.1 and 2.1.2).
const HEADER_BYTES: u64 = 12;
const MAGIC: [u8; 6] = [0xfd, b'7', b'z', b'X', b'Z', 0];
/// A longer index is not believed: blocks of one megabyte of an archive of 30 GB have a shorter one.
const MOST_INDEX_BYTES: u64 = 256 << 10;

/// Blocks of an xz file that is one stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Blocks {
    header: [u8; HEADER_BYTES as usize],
    blocks: Vec<Block>,
    /// Where the index begins.
    end: u64,
}

/// One block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Block {
    /// Where it begins in the file.
    at: u64,
    /// Its bytes there, without padding.
    bytes: u64,
    /// Where it begins in the contents, and bytes of contents.
    contents: u64,
    contents_bytes: u64,
}

impl Blocks {
    /// Reads the index of a file of `bytes` bytes.
    ///
    /// # Errors
    /// [`crate::Error::Payload`] where it is no xz file of a single stream, or its index is broken; [`crate::Error::Io`] where a part
    /// cannot be read.
    pub(super) fn read(bytes: u64, part: ReadRange<'_, '_>) -> Result<Self> {
        let header: [u8; 12] = array(0..HEADER_BYTES, part)?;
        let Some(footer_at) = bytes.checked_sub(HEADER_BYTES).filter(|at| *at >= HEADER_BYTES) else {
            return refuse("an xz file", format!("{bytes} bytes"));
        };
        let footer: [u8; 12] = array(footer_at..bytes, part)?;
        let flags = &header[6..8];
        let is_sound = header.starts_with(&MAGIC)
            && footer.ends_with(b"YZ")
            && flags == &footer[8..10]
            && header[8..] == crc(flags)
            && footer[..4] == crc(&footer[4..10]);
        if !is_sound {
            return refuse("header and footer of an xz stream", "others");
        }
        let index_bytes = (u64::from(u32::from_le_bytes([footer[4], footer[5], footer[6], footer[7]])) + 1) * 4;
        let at = footer_at.checked_sub(index_bytes).filter(|at| *at >= HEADER_BYTES);
        let Some(end) = at.filter(|_| index_bytes <= MOST_INDEX_BYTES) else {
            return refuse(
                format!("an index of at most {MOST_INDEX_BYTES} bytes in an xz file"),
                index_bytes.to_string(),
            );
        };
        let mut index = vec![0; usize::try_from(index_bytes).unwrap_or(0)];
        exactly(part(end..footer_at)?, &mut index)?;
        let blocks = records(&index)?;
        let last = blocks.last().map_or(HEADER_BYTES, Block::end);
        if last != end {
            return refuse(format!("blocks of {end} bytes in an xz file"), last.to_string());
        }
        Ok(Self { header, blocks, end })
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.blocks.len()
    }

    /// Where the block begins that has the byte `at` of the contents.
    pub(super) fn entrance(&self, at: u64) -> u64 {
        self.block(at).map_or(0, |number| self.blocks[number].contents)
    }

    /// The contents from `entrance` on, which is where a block begins.
    ///
    /// # Errors
    /// As [`Self::read`], and where the part cannot be read.
    pub(super) fn open<'a>(&self, entrance: u64, part: ReadRange<'_, 'a>) -> Result<Box<dyn Read + Send + 'a>> {
        let Some(number) = self.block(entrance) else {
            return refuse("a block of an xz file", format!("none at {entrance}"));
        };
        let blocks = &self.blocks[number..];
        // A stream of its own: a decoder compares the index with what it saw.
        let stream =
            Cursor::new(self.header).chain(part(blocks[0].at..self.end)?).chain(Cursor::new(self.tail(blocks)));
        decompress_with(Some(Compression::Xz), stream)
    }

    fn block(&self, at: u64) -> Option<usize> {
        self.blocks.partition_point(|block| block.contents <= at).checked_sub(1)
    }

    /// Index and footer of a stream of these blocks alone.
    fn tail(&self, blocks: &[Block]) -> Vec<u8> {
        let mut tail = vec![0];
        push_number(&mut tail, blocks.len() as u64);
        for block in blocks {
            push_number(&mut tail, block.bytes);
            push_number(&mut tail, block.contents_bytes);
        }
        tail.resize(tail.len().next_multiple_of(4), 0);
        tail.extend(crc(&tail));
        let size = u32::try_from(tail.len() / 4 - 1).unwrap_or(u32::MAX);
        let fields = [&size.to_le_bytes()[..], &self.header[6..8]].concat();
        tail.extend(crc(&fields));
        tail.extend(fields);
        tail.extend(b"YZ");
        tail
    }
}

impl Block {
    /// Where it ends in the file, padding included.
    fn end(&self) -> u64 {
        self.at.saturating_add(self.bytes).checked_next_multiple_of(4).unwrap_or(u64::MAX)
    }
}

/// The records of an index (section 4).
fn records(index: &[u8]) -> Result<Vec<Block>> {
    let Some((body, sum)) = index.split_last_chunk::<4>() else { return refuse("an index in an xz file", "none") };
    let mut rest = match body {
        [0, rest @ ..] if *sum == crc(body) => rest,
        _ => return refuse("an index with its checksum in an xz file", "another one"),
    };
    let count = number(&mut rest)?;
    let mut blocks: Vec<Block> = Vec::new();
    // Each takes two bytes at least.
    for _ in 0..count.min(index.len() as u64) {
        let (bytes, contents_bytes) = (number(&mut rest)?, number(&mut rest)?);
        let (at, contents) =
            blocks.last().map_or((HEADER_BYTES, 0), |block| (block.end(), block.contents + block.contents_bytes));
        blocks.push(Block { at, bytes, contents, contents_bytes });
        if contents.checked_add(contents_bytes).is_none() {
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

/// A number of up to 63 bits, seven of them in a byte (section 1.2).
fn number(bytes: &mut &[u8]) -> Result<u64> {
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

fn push_number(bytes: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}

fn crc(bytes: &[u8]) -> [u8; 4] {
    let mut crc = Crc::new();
    crc.update(bytes);
    crc.sum().to_le_bytes()
}

fn array<const N: usize>(range: Range<u64>, part: ReadRange<'_, '_>) -> Result<[u8; N]> {
    let mut array = [0; N];
    exactly(part(range)?, &mut array)?;
    Ok(array)
}

fn exactly(mut input: impl Read, buffer: &mut [u8]) -> Result<()> {
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

    fn read(file: &[u8]) -> Result<Blocks> {
        Blocks::read(file.len() as u64, &|range| part(file, range))
    }

    fn part(file: &[u8], range: Range<u64>) -> Result<Box<dyn Read + Send + '_>> {
        let range = usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap();
        match file.get(range) {
            Some(part) => Ok(Box::new(part)),
            None => refuse("a part of the file", "another one"),
        }
    }

    #[test]
    fn a_file_is_entered_at_any_block() {
        let (contents, file) = file();
        let blocks = read(&file).unwrap();
        assert_eq!(blocks.len(), 11);
        for at in [0_u64, 999, 1_000, 5_500, 10_499] {
            let entrance = blocks.entrance(at);
            assert_eq!(entrance, at / 1_000 * 1_000);
            let parts = std::cell::Cell::new(0);
            let count = |range: Range<u64>| {
                parts.set(parts.get() + range.end - range.start);
                part(&file, range)
            };
            let mut out = Vec::new();
            // To the very end: its index is that of the blocks that were read.
            blocks.open(entrance, &count).unwrap().read_to_end(&mut out).unwrap();
            assert!(out == contents[usize::try_from(entrance).unwrap()..], "{at}");
            assert!(
                entrance == 0 || parts.get() < file.len() as u64 * (11_500 - entrance) / 10_500,
                "{at}: {} bytes",
                parts.get()
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
    fn every_changed_byte_of_the_index_is_noticed() {
        let (_, sound) = file();
        let blocks = read(&sound).unwrap();
        for at in (0..12).chain(usize::try_from(blocks.end).unwrap()..sound.len()) {
            let mut changed = sound.clone();
            changed[at] ^= 0x55;
            assert!(read(&changed).is_err(), "{at}");
        }
    }

    #[test]
    fn an_index_that_lies_makes_nothing_large() {
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
            let sum = crc(&index);
            index.extend(sum);
            let blocks = records(&index);
            assert!(blocks.is_err() || blocks.is_ok_and(|blocks| blocks.len() <= 2), "{count}");
        }
    }

    proptest! {
        #[test]
        fn numbers_come_back(value in 0..=u64::MAX >> 1) {
            let mut bytes = Vec::new();
            push_number(&mut bytes, value);
            let mut rest = &bytes[..];
            prop_assert_eq!(number(&mut rest).unwrap(), value);
            prop_assert!(rest.is_empty());
        }

        #[test]
        fn no_index_makes_it_panic(mut index in prop::collection::vec(any::<u8>(), 0..200), seal in any::<bool>()) {
            if seal {
                index.insert(0, 0);
                let sum = crc(&index);
                index.extend(sum);
            }
            let _ = records(&index);
        }
    }
}
