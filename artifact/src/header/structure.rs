//! The structure of an RPM's first parts, checked before anything is allocated: magic numbers, counts, sizes, offsets,
//! alignment and terminators, within the limits that rpm enforces (lib/header.c: hdrblobInit, hdrblobVerifyInfo).

use crate::{Error, Result};

/// Bytes of the lead.
pub(super) const LEAD: usize = 96;
/// Bytes of a header's intro: magic, reserved, index length, data length.
pub(super) const INTRO: usize = 16;
/// Bytes of the lead and the intro of the signature header, which every reader needs first.
pub const PREFIX_BYTES: usize = LEAD + INTRO;

/// The first bytes of every RPM.
pub(crate) const LEAD_MAGIC: [u8; 4] = [0xed, 0xab, 0xee, 0xdb];
pub(super) const HEADER_MAGIC: [u8; 4] = [0x8e, 0xad, 0xe8, 0x01];

/// The range of the main header, in bytes from the start of the archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// First byte of the main header.
    pub main_start: usize,
    /// First byte after the main header, the first of the payload.
    pub end: usize,
}

impl Extent {
    /// Returns the range of the main header of an archive that begins with `prefix`, which has at least
    /// [`PREFIX_BYTES`] bytes. `Ok(Err(bytes))` if the first `bytes` bytes are needed. Two calls always suffice.
    ///
    /// # Errors
    /// [`Error::Header`] for wrong magic numbers and sizes that exceed rpm's limits.
    pub fn from_prefix(prefix: &[u8]) -> Result<std::result::Result<Self, usize>> {
        let lead = at_least(prefix, LEAD, "lead")?;
        if lead[..4] != LEAD_MAGIC {
            return refuse(
                "lead",
                format!("magic {}", faster_hex::hex_string(&LEAD_MAGIC)),
                faster_hex::hex_string(&lead[..4]),
            );
        }
        let signature = Sizes::read(prefix, LEAD, SIGNATURE)?;
        let main_start = LEAD + signature.total().next_multiple_of(8);
        if prefix.len() < main_start + INTRO {
            return Ok(Err(main_start + INTRO));
        }
        let main = Sizes::read(prefix, main_start, MAIN)?;
        Ok(Ok(Self { main_start, end: main_start + main.total() }))
    }
}

/// The headers of an archive after their structure was checked.
pub(super) struct Checked<'b> {
    pub(super) extent: Extent,
    /// The entries of the signature header, in its order.
    pub(super) signature: Vec<TagEntry<'b>>,
    /// The entries of the main header.
    pub(super) main: Vec<TagEntry<'b>>,
}

/// One entry of a header's index, with its data. Numbers are complete, strings end with NUL, and `count` is right.
#[derive(Clone, Copy)]
pub(super) struct TagEntry<'b> {
    pub(super) tag: u32,
    /// 0 to 9, `RPM_*_TYPE`.
    pub(super) kind: u32,
    pub(super) count: u32,
    pub(super) data: &'b [u8],
}

/// Checks both headers of an archive. `bytes` begin with both of them, complete.
pub(super) fn check(bytes: &[u8]) -> Result<Checked<'_>> {
    let extent = match Extent::from_prefix(bytes)? {
        Ok(extent) if extent.end <= bytes.len() => extent,
        Ok(Extent { end: need, .. }) | Err(need) => {
            return refuse("header", format!("{need} bytes"), format!("{} bytes", bytes.len()));
        }
    };
    let signature = check_header(&bytes[LEAD..extent.main_start], SIGNATURE)?;
    let main = check_header(&bytes[extent.main_start..extent.end], MAIN)?;
    Ok(Checked { extent, signature, main })
}

/// Returns the entries of a separate signature header. Bytes after it are ignored.
pub(super) fn check_signature_header(bytes: &[u8]) -> Result<Vec<TagEntry<'_>>> {
    let need = Sizes::read(bytes, 0, SIGNATURE)?.total();
    check_header(at_least(bytes, need, SIGNATURE.part)?, SIGNATURE)
}

/// The limits of rpm for one of the two headers.
#[derive(Clone, Copy)]
struct HeaderLimits {
    part: &'static str,
    index: usize,
    data: usize,
}

const SIGNATURE: HeaderLimits = HeaderLimits { part: "signature header", index: 32, data: 64 << 20 };
const MAIN: HeaderLimits = HeaderLimits { part: "main header", index: 65_535, data: (256 << 20) - 1 };
/// The maximum number of elements of one array.
const MAX_COUNT: usize = 0xf_ffff;

/// The numbers of index entries and data bytes of one header, within its limits.
struct Sizes {
    index: usize,
    data: usize,
}

impl Sizes {
    fn read(bytes: &[u8], start: usize, limits: HeaderLimits) -> Result<Self> {
        let intro = at_least(bytes.get(start..).unwrap_or_default(), INTRO, limits.part)?;
        if intro[..4] != HEADER_MAGIC {
            return refuse(
                limits.part,
                format!("magic {}", faster_hex::hex_string(&HEADER_MAGIC)),
                faster_hex::hex_string(&intro[..4]),
            );
        }
        let (index, data) = (be_u32(intro, 8) as usize, be_u32(intro, 12) as usize);
        if index == 0 || index > limits.index {
            return refuse(limits.part, format!("1 to {} index entries", limits.index), index.to_string());
        }
        if data > limits.data {
            return refuse(limits.part, format!("at most {} bytes of data", limits.data), data.to_string());
        }
        Ok(Self { index, data })
    }

    fn total(&self) -> usize {
        INTRO + INTRO * self.index + self.data
    }
}

/// Checks every index entry of one header: type, alignment, bounds, terminators.
fn check_header(bytes: &[u8], limits: HeaderLimits) -> Result<Vec<TagEntry<'_>>> {
    let sizes = Sizes::read(bytes, 0, limits)?;
    let (index, data) = bytes[INTRO..sizes.total()].split_at(INTRO * sizes.index);
    let mut covered = 0;
    let mut entries = Vec::with_capacity(sizes.index);
    for entry in index.chunks_exact(INTRO) {
        match check_entry(entry, data) {
            Ok(entry) => {
                covered += entry.data.len();
                entries.push(entry);
            }
            Err((expected, found)) => {
                return refuse(limits.part, format!("tag {}: {expected}", be_u32(entry, 0)), found);
            }
        }
        // Entries do not overlap in a header that rpm wrote. Thousands of arrays that share their bytes would take
        // gigabytes of memory.
        if covered > 2 * data.len() {
            return refuse(
                limits.part,
                format!("entries that share {} bytes of data", data.len()),
                "overlapping entries".into(),
            );
        }
    }
    Ok(entries)
}

/// Checks one index entry against the data. The error is what was expected and what was found.
fn check_entry<'b>(entry: &[u8], data: &'b [u8]) -> std::result::Result<TagEntry<'b>, (String, String)> {
    let (kind, offset, count) = (be_u32(entry, 4), be_u32(entry, 8) as usize, be_u32(entry, 12) as usize);
    let bytes_per_element = match kind {
        0 | 1 | 2 | 6 | 7 | 8 | 9 => 1,
        3 => 2,
        4 => 4,
        5 => 8,
        _ => return Err(("a type from 0 to 9".into(), kind.to_string())),
    };
    if count == 0 && kind != 0 {
        return Err(("at least one element".into(), "0".into()));
    }
    let is_binary = matches!(kind, 1 | 2 | 7);
    if count > if is_binary { data.len() } else { MAX_COUNT } {
        return Err(("fewer elements".into(), count.to_string()));
    }
    if offset > data.len() || offset % bytes_per_element != 0 {
        return Err((
            format!("an offset within {} bytes of data, aligned to {bytes_per_element}", data.len()),
            offset.to_string(),
        ));
    }
    let rest = &data[offset..];
    let bytes = match kind {
        6 if count != 1 => return Err(("one string".into(), count.to_string())),
        6 | 8 | 9 => match end_of_strings(rest, count) {
            Some(end) => end,
            None => {
                return Err((
                    format!("{count} NUL-terminated strings at offset {offset}"),
                    "the end of the data".into(),
                ));
            }
        },
        _ => count * bytes_per_element,
    };
    let Some(data) = rest.get(..bytes) else {
        return Err((format!("{bytes} bytes at offset {offset}"), format!("{} bytes", rest.len())));
    };
    Ok(TagEntry { tag: be_u32(entry, 0), kind, count: be_u32(entry, 12), data })
}

/// Returns the end of the first `count` NUL-terminated strings. `None` if there are fewer.
fn end_of_strings(data: &[u8], count: usize) -> Option<usize> {
    // Headers have many short strings. NULs are counted per chunk, which the compiler vectorizes.
    const CHUNK: usize = 64;
    let mut missing = count;
    let chunks = data.as_chunks::<CHUNK>().0;
    let nuls = |chunk: &[u8; CHUNK]| chunk.iter().fold(0_u8, |nuls, byte| nuls + u8::from(*byte == 0));
    let mut start = 0;
    for chunk in chunks {
        let nuls = usize::from(nuls(chunk));
        if nuls >= missing {
            break;
        }
        missing -= nuls;
        start += CHUNK;
    }
    memchr::memchr_iter(0, &data[start..]).nth(missing.checked_sub(1)?).map(|last| start + last + 1)
}

fn at_least<'a>(bytes: &'a [u8], need: usize, part: &'static str) -> Result<&'a [u8]> {
    match bytes.get(..need) {
        Some(bytes) => Ok(bytes),
        None => refuse(part, format!("{need} bytes"), format!("{} bytes", bytes.len())),
    }
}

fn be_u32(bytes: &[u8], at: usize) -> u32 {
    let mut number = [0; 4];
    number.copy_from_slice(&bytes[at..at + 4]);
    u32::from_be_bytes(number)
}

fn refuse<T>(part: &'static str, expected: String, found: String) -> Result<T> {
    Err(Error::Header { part, expected, found })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn end_of_strings_is_the_end_of_the_last_string() {
        // Every seventh byte a NUL, then a run of them over the edge of a chunk, then none.
        let mut data: Vec<u8> =
            (0..300).map(|at| if at % 7 == 6 || (180..200).contains(&at) { 0 } else { b'a' }).collect();
        data.extend([b'b'; 200]);
        let ends: Vec<usize> = (1..).zip(&data).filter(|(_, byte)| **byte == 0).map(|(end, _)| end).collect();
        for (count, end) in (1..).zip(&ends) {
            assert_eq!(end_of_strings(&data, count), Some(*end), "{count}");
            assert_eq!(end_of_strings(&data[..*end], count), Some(*end), "{count}");
            assert_eq!(end_of_strings(&data[..end - 1], count), None, "{count}");
        }
        assert_eq!(end_of_strings(&data, ends.len() + 1), None);
        assert_eq!(end_of_strings(&[], 1), None);
    }
}
