//! The extension headers of a tar archive: long names of GNU tar, records of pax, and all forms of sparse maps.
//!
//! pax: `LENGTH KEY=VALUE` and a newline, LENGTH counting all of it (pax(1), "pax Extended Header"). Sparse files: GNU
//! tar's manual, "Storing Sparse Files".

use std::collections::VecDeque;
use std::io;

use tar::GnuHeader;

use crate::payload::refuse;
use crate::{Error, Result};

/// A tar archive is made of these.
pub(super) const BLOCK_BYTES: usize = 512;

/// The maximum number of segments of a sparse file.
const MAX_SEGMENTS: usize = 1 << 16;

/// A piece of a sparse file that is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SparseSegment {
    pub(super) offset: u64,
    pub(super) bytes: u64,
}

/// The values of the extension headers of one member.
#[derive(Debug, Default)]
pub(super) struct Extended {
    pub(super) name: Option<String>,
    pub(super) link: Option<String>,
    /// Bytes in the archive.
    pub(super) size: Option<u64>,
    pub(super) mtime: Option<i64>,
    pub(super) sparse: Option<Sparse>,
}

/// A sparse file of pax.
#[derive(Debug, Default)]
pub(super) struct Sparse {
    /// Bytes with holes.
    pub(super) size: u64,
    /// `None`: it stands before the contents.
    pub(super) map: Option<VecDeque<SparseSegment>>,
}

impl Extended {
    /// GNU's long name.
    pub(super) fn name(&mut self, text: &[u8]) {
        self.name = Some(until_nul(text));
    }

    /// GNU's long name of a link's target.
    pub(super) fn link(&mut self, text: &[u8]) {
        self.link = Some(until_nul(text));
    }

    /// The records of pax.
    pub(super) fn read(&mut self, mut text: &[u8]) -> Result<()> {
        let (mut numbers, mut is_stored, mut real_size, mut sparse_name) = (Vec::new(), false, None, None);
        while !text.is_empty() && text[0] != 0 {
            let (key, value, rest) = record(text)?;
            text = rest;
            let lossy = || String::from_utf8_lossy(value).into_owned();
            match key {
                b"path" => self.name = Some(lossy()),
                b"linkpath" => self.link = Some(lossy()),
                b"size" => self.size = Some(number(value)?),
                // Fractions of a second follow a point; what is before 1970 has a sign.
                b"mtime" => self.mtime = lossy().split('.').next().and_then(|seconds| seconds.parse().ok()),
                b"GNU.sparse.name" => sparse_name = Some(lossy()),
                b"GNU.sparse.size" | b"GNU.sparse.realsize" => real_size = Some(number(value)?),
                b"GNU.sparse.major" => is_stored = value == b"1",
                b"GNU.sparse.offset" | b"GNU.sparse.numbytes" => numbers.push(number(value)?),
                b"GNU.sparse.map" => {
                    let list = value.split(|byte| *byte == b',').filter(|text| !text.is_empty());
                    numbers = list.take(2 * MAX_SEGMENTS + 1).map(number).collect::<Result<_>>()?;
                }
                _ => {}
            }
        }
        // The name in the header and in `path` is one for programs that know nothing of sparse files.
        self.name = sparse_name.or(self.name.take());
        let map = if is_stored { None } else { Some(segments(&numbers)?) };
        self.sparse = real_size.map(|size| Sparse { size, map }).or(self.sparse.take());
        Ok(())
    }
}

fn until_nul(text: &[u8]) -> String {
    String::from_utf8_lossy(text.split(|byte| *byte == 0).next().unwrap_or_default()).into_owned()
}

/// The first record: key, value, and what follows.
fn record(text: &[u8]) -> Result<(&[u8], &[u8], &[u8])> {
    let wrong = || {
        let start = text.get(..40).unwrap_or(text).escape_ascii().to_string();
        refuse("LENGTH KEY=VALUE in an extended header of a tar archive", start)
    };
    let Some(blank) = text.iter().take(20).position(|byte| *byte == b' ') else { return wrong() };
    let length = usize::try_from(number(&text[..blank])?).unwrap_or(usize::MAX);
    let Some((record, rest)) = text.split_at_checked(length) else { return wrong() };
    let Some(record) = record.get(blank + 1..).and_then(|record| record.strip_suffix(b"\n")) else { return wrong() };
    let Some(equals) = record.iter().position(|byte| *byte == b'=') else { return wrong() };
    Ok((&record[..equals], &record[equals + 1..], rest))
}

/// Decimal digits.
fn number(text: &[u8]) -> Result<u64> {
    let digits = str::from_utf8(text).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    match digits.and_then(|digits| digits.parse().ok()) {
        Some(number) => Ok(number),
        None => refuse(
            "a number in an extended header of a tar archive",
            text.get(..40).unwrap_or(text).escape_ascii().to_string(),
        ),
    }
}

/// Offset and length, offset and length...
fn segments(numbers: &[u64]) -> Result<VecDeque<SparseSegment>> {
    if numbers.len() > 2 * MAX_SEGMENTS {
        return refuse(format!("at most {MAX_SEGMENTS} pieces of a sparse file"), "more");
    }
    Ok(numbers.as_chunks().0.iter().map(|[offset, bytes]| SparseSegment { offset: *offset, bytes: *bytes }).collect())
}

/// The map of GNU's own format: four pieces in the header, 21 in each of the blocks that may follow.
pub(super) fn gnu_map(
    header: &GnuHeader,
    mut block: impl FnMut() -> Result<[u8; BLOCK_BYTES]>,
) -> Result<VecDeque<SparseSegment>> {
    const ENTRY_BYTES: usize = 24;
    const ENTRIES: usize = 21;
    let mut map = VecDeque::new();
    for piece in header.sparse.iter().filter(|piece| !piece.is_empty()) {
        let offset = piece.offset().map_err(broken("the offset of a piece"))?;
        map.push_back(SparseSegment { offset, bytes: piece.length().map_err(broken("the length of a piece"))? });
    }
    let mut goes_on = header.is_extended();
    while goes_on {
        let block = block()?;
        for entry in block.chunks_exact(ENTRY_BYTES).take(ENTRIES).filter(|entry| entry[0] != 0) {
            let (offset, bytes) = entry.split_at(ENTRY_BYTES / 2);
            map.push_back(SparseSegment { offset: field(offset)?, bytes: field(bytes)? });
        }
        goes_on = block[ENTRIES * ENTRY_BYTES] == 1;
        if map.len() > MAX_SEGMENTS {
            return refuse(format!("at most {MAX_SEGMENTS} pieces of a sparse file"), "more");
        }
    }
    Ok(map)
}

/// Octal digits, or a number of more bytes whose first bit is set.
fn field(text: &[u8]) -> Result<u64> {
    let wrong = || refuse("a number in the map of a sparse file", text.escape_ascii().to_string());
    if text[0] & 0x80 != 0 {
        let (high, low) = text.split_at(text.len() - 8);
        return match (high.iter().skip(1).all(|byte| *byte == 0), low.try_into()) {
            (true, Ok(low)) => Ok(u64::from_be_bytes(low)),
            _ => wrong(),
        };
    }
    let digits = str::from_utf8(text).map(|text| text.trim_matches([' ', '\0'])).unwrap_or_default();
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return wrong();
    }
    u64::from_str_radix(digits, 8).or_else(|_| wrong())
}

/// The map of pax's format 1.0, which stands before the contents: the number of pieces, then their numbers, each on a
/// line; filled up to whole blocks.
pub(super) fn stored_map(mut block: impl FnMut() -> Result<[u8; BLOCK_BYTES]>) -> Result<VecDeque<SparseSegment>> {
    let (mut numbers, mut digits, mut expected) = (Vec::new(), Vec::new(), None);
    loop {
        for byte in block()? {
            if expected == Some(numbers.len()) {
                break;
            }
            if byte != b'\n' {
                digits.push(byte);
                if digits.len() > 20 {
                    return refuse("lines of digits in the map of a sparse file", digits.escape_ascii().to_string());
                }
                continue;
            }
            let number = number(&std::mem::take(&mut digits))?;
            match expected {
                None if number > MAX_SEGMENTS as u64 => {
                    return refuse(format!("at most {MAX_SEGMENTS} pieces of a sparse file"), number.to_string());
                }
                None => expected = Some(2 * usize::try_from(number).unwrap_or(usize::MAX)),
                Some(_) => numbers.push(number),
            }
        }
        if expected == Some(numbers.len()) {
            return segments(&numbers);
        }
    }
}

pub(super) fn broken(what: &'static str) -> impl FnOnce(io::Error) -> Error {
    move |error| Error::Payload { expected: format!("{what} in a tar header"), found: error.to_string() }
}
