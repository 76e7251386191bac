//! The lists of a package's artifacts: what is known of files whose build-ids stand in `artifacts`.
//!
//! One list holds the artifacts of 128 files of the header, in the order of [`Artifact`]: `ORDINAL KIND BUILD_ID PATH` and a NUL for
//! each. KIND is `x` (executable) or `d` (debuginfo), then `+` (has DWARF), `-` (has none) or `?`; where no header says it, then
//! `,SIZE,MTIME,SHA256` of the file. On MySQL it is compressed as UNCOMPRESS wants it: the length in four bytes, then zlib. In an SQLite
//! file, which has no such function, it is a frame of zstd, whose magic number no such length can have: zlib would clear 128 KiB of
//! tables before each of these few hundred bytes.

use std::cell::RefCell;
use std::fmt::Write;

use artifact::{Artifact, Contents, Kind};
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

use crate::rows::broken;

/// The list in which a file stands: 128 long paths and build-ids fit into half a page of InnoDB.
pub(crate) fn part(ordinal: u32) -> u32 {
    ordinal >> 7
}

/// The longest text of a list, bytes: 128 files of two kinds with the longest paths take one MiB.
pub(crate) const MOST_TEXT: usize = 4 << 20;

/// What an artifact takes of a list's text at most, bytes.
pub(crate) fn text_bytes(artifact: &Artifact) -> usize {
    const CONTENTS: usize = 2 * 20 + 64 + 3;
    artifact.path.len() + 2 * artifact.build_id.as_bytes().len() + 20 + artifact.contents.map_or(0, |_| CONTENTS)
}

/// What lists are compressed with.
#[derive(Clone, Copy, Debug)]
pub(crate) enum ListFormat {
    /// For UNCOMPRESS. On a server lists are much of the index: some time goes into making them short.
    MySql,
    /// For a file, where the importer's time counts.
    Sqlite,
}

/// zlib's levels end at 9.
const ZLIB_LEVEL: u32 = 6;
/// The lowest that still codes single letters: those below save 2 us of 4, and make lists longer by a third.
const ZSTD_LEVEL: i32 = 1;
/// How a frame of zstd begins (RFC 8878, section 3.1.1).
const ZSTD_MAGIC: [u8; 4] = 0xfd2f_b528_u32.to_le_bytes();

/// Makes lists.
pub(crate) struct Compressor {
    with: With,
    text: String,
}

enum With {
    Zlib(Compress),
    Zstd(zstd::bulk::Compressor<'static>),
}

impl Compressor {
    /// For one of the databases: [`crate::dialect::Dialect::LISTS`].
    pub(crate) fn new(format: ListFormat) -> Self {
        let with = match format {
            ListFormat::MySql => With::Zlib(Compress::new(Compression::new(ZLIB_LEVEL), true)),
            ListFormat::Sqlite => {
                let mut zstd = zstd::bulk::Compressor::default();
                // Without it the default level is taken, as right and a little slower.
                let _ = zstd.set_compression_level(ZSTD_LEVEL);
                // zlib has one too. A file that is damaged somewhere shall not tell of other build-ids.
                let _ = zstd.include_checksum(true);
                With::Zstd(zstd)
            }
        };
        Self { with, text: String::new() }
    }

    /// The lists of one package, by part. The artifacts are sorted.
    pub(crate) fn lists(&mut self, artifacts: &[Artifact]) -> sqlx::Result<Vec<(u32, Vec<u8>)>> {
        artifacts
            .chunk_by(|a, b| part(a.ordinal) == part(b.ordinal))
            .map(|artifacts| Ok((part(artifacts[0].ordinal), self.list(artifacts)?)))
            .collect()
    }

    fn list(&mut self, artifacts: &[Artifact]) -> sqlx::Result<Vec<u8>> {
        self.text.clear();
        for Artifact { ordinal, build_id, kind, dwarf, path, contents } in artifacts {
            let kind = match kind {
                Kind::Executable => 'x',
                Kind::Debuginfo => 'd',
            };
            let dwarf = match dwarf {
                Some(true) => '+',
                Some(false) => '-',
                None => '?',
            };
            // Writing to a String cannot fail.
            let _ = write!(self.text, "{ordinal} {kind}{dwarf}");
            if let Some(Contents { size, mtime, sha256 }) = contents {
                let _ = write!(self.text, ",{size},{mtime},{}", faster_hex::hex_string(&sha256[..]));
            }
            let _ = write!(self.text, " {build_id} {path}\0");
        }
        match &mut self.with {
            With::Zlib(zlib) => deflate(zlib, self.text.as_bytes()),
            With::Zstd(zstd) => zstd.compress(self.text.as_bytes()).map_err(broken),
        }
    }
}

/// A list for MySQL.
fn deflate(zlib: &mut Compress, text: &[u8]) -> sqlx::Result<Vec<u8>> {
    let length = u32::try_from(text.len()).map_err(broken)?;
    // What cannot be compressed grows by 5 bytes in 16 KiB, and by the 6 of zlib's own.
    let mut list = Vec::with_capacity(text.len() + text.len() / 1024 + 64);
    list.extend(length.to_le_bytes());
    zlib.reset();
    match zlib.compress_vec(text, &mut list, FlushCompress::Finish).map_err(broken)? {
        Status::StreamEnd => Ok(list),
        status => Err(broken(format!("a list of {length} bytes does not end: {status:?}"))),
    }
}

/// The text of a list of MySQL's.
fn inflate(list: &[u8]) -> sqlx::Result<Vec<u8>> {
    let (length, zlib) =
        list.split_first_chunk().ok_or_else(|| broken("members.list: expected a list, found less than four bytes"))?;
    let length = most_text(u64::from(u32::from_le_bytes(*length)))?;
    // Nothing grows by more than this.
    let mut text = Vec::with_capacity(length.min(zlib.len().saturating_mul(1032)));
    let status = Decompress::new(true).decompress_vec(zlib, &mut text, FlushDecompress::Finish).map_err(broken)?;
    if status != Status::StreamEnd || text.len() != length {
        return Err(broken(format!("members.list: expected {length} bytes, found {} and {status:?}", text.len())));
    }
    Ok(text)
}

/// The text of a list of SQLite's.
fn unpack(list: &[u8]) -> sqlx::Result<Vec<u8>> {
    thread_local! {
        static ZSTD: RefCell<zstd::bulk::Decompressor<'static>> = RefCell::default();
    }
    let length = zstd::zstd_safe::get_frame_content_size(list).map_err(|error| broken(error.to_string()))?;
    let length = most_text(length.ok_or_else(|| broken("members.list: expected a length, found none"))?)?;
    let text = ZSTD.with_borrow_mut(|zstd| zstd.decompress(list, length)).map_err(broken)?;
    if text.len() != length {
        return Err(broken(format!("members.list: expected {length} bytes, found {}", text.len())));
    }
    Ok(text)
}

fn most_text(length: u64) -> sqlx::Result<usize> {
    let fits = usize::try_from(length).ok().filter(|length| *length <= MOST_TEXT);
    fits.ok_or_else(|| broken(format!("members.list: expected at most {MOST_TEXT} bytes of text, found {length}")))
}

/// The artifacts of a list.
pub(crate) fn read(list: &[u8]) -> sqlx::Result<Vec<Artifact>> {
    matching(list, |_| true)
}

/// The artifacts of a list whose paths `wanted` takes.
pub(crate) fn matching(list: &[u8], wanted: impl Fn(&str) -> bool) -> sqlx::Result<Vec<Artifact>> {
    let wrong = |found: &str| broken(format!("members.list: expected ORDINAL KIND BUILD_ID PATH, found {found:?}"));
    let text = if list.starts_with(&ZSTD_MAGIC) { unpack(list)? } else { inflate(list)? };
    let text = String::from_utf8(text).map_err(broken)?;
    text.split_terminator('\0')
        // What cannot be read is not passed over.
        .filter(|entry| entry.splitn(4, ' ').nth(3).is_none_or(&wanted))
        .map(|entry| {
            let mut fields = entry.splitn(4, ' ');
            let (Some(ordinal), Some(kind), Some(build_id), Some(path)) =
                (fields.next(), fields.next(), fields.next(), fields.next())
            else {
                return Err(wrong(entry));
            };
            let (kind, contents) = match kind.split_once(',') {
                Some((kind, contents)) => (kind, Some(read_contents(contents).ok_or_else(|| wrong(entry))?)),
                None => (kind, None),
            };
            let (kind, dwarf) = kind.split_at_checked(1).ok_or_else(|| wrong(entry))?;
            Ok(Artifact {
                ordinal: ordinal.parse().map_err(broken)?,
                build_id: build_id.parse().map_err(broken)?,
                kind: match kind {
                    "x" => Kind::Executable,
                    "d" => Kind::Debuginfo,
                    _ => return Err(wrong(entry)),
                },
                dwarf: match dwarf {
                    "+" => Some(true),
                    "-" => Some(false),
                    "?" => None,
                    _ => return Err(wrong(entry)),
                },
                path: path.into(),
                contents,
            })
        })
        .collect()
}

fn read_contents(text: &str) -> Option<Contents> {
    let mut fields = text.splitn(3, ',');
    let (size, mtime, digits) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?, fields.next()?);
    Some(Contents { size, mtime, sha256: faster_hex::hex_decode_array(digits.as_bytes()).ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn artifacts() -> Vec<Artifact> {
        let mut artifacts = Vec::new();
        for ordinal in [0, 1, 127, 128, 300, u32::MAX] {
            for (kind, dwarf) in [(Kind::Executable, None), (Kind::Debuginfo, Some(true)), (Kind::Debuginfo, Some(false))] {
                let bytes: Vec<u8> =
                    (0..=ordinal.to_le_bytes()[0] % 64).map(|byte| byte ^ u8::from(dwarf == Some(true))).collect();
                let build_id = artifact::BuildId::from_bytes(&bytes).unwrap();
                let path = format!("/usr/lib64/a b\nä/{ordinal}");
                let contents = dwarf.map(|_| Contents { size: u64::MAX, mtime: i64::MIN, sha256: [0xf5; 32] });
                artifacts.push(Artifact { ordinal, build_id, kind, dwarf, path, contents });
            }
        }
        artifacts.sort();
        artifacts
    }

    #[test]
    fn lists_come_back_as_they_went_in() {
        let artifacts = artifacts();
        for format in [ListFormat::MySql, ListFormat::Sqlite, ListFormat::MySql, ListFormat::Sqlite] {
            let mut compressor = Compressor::new(format);
            assert!(compressor.lists(&[]).unwrap().is_empty());
            let lists = compressor.lists(&artifacts).unwrap();
            assert_eq!(lists.iter().map(|(part, _)| *part).collect::<Vec<_>>(), [0, 1, 2, u32::MAX >> 7]);
            let back: Vec<Artifact> = lists.iter().flat_map(|(_, list)| read(list).unwrap()).collect();
            assert_eq!(back, artifacts);
        }
    }

    #[test]
    fn a_list_that_is_damaged_anywhere_is_refused() {
        let artifacts = artifacts();
        for format in [ListFormat::MySql, ListFormat::Sqlite] {
            let list = Compressor::new(format).lists(&artifacts).unwrap().remove(0).1;
            for at in 0..list.len() {
                assert!(read(&list[..at]).is_err(), "{format:?} cut at {at}");
                let mut changed = list.clone();
                changed[at] ^= 1;
                let same = read(&changed).is_ok_and(|found| found == read(&list).unwrap());
                assert!(read(&changed).is_err() || same, "{format:?} changed at {at}");
            }
        }
    }

    #[test]
    fn a_length_that_lies_is_refused() {
        let artifacts = artifacts();
        for (format, length_at) in [(ListFormat::MySql, 0), (ListFormat::Sqlite, 5)] {
            let list = Compressor::new(format).lists(&artifacts).unwrap().remove(0).1;
            for byte in [0, 1, 0x7f, 0xff] {
                let mut changed = list.clone();
                if changed[length_at] != byte {
                    changed[length_at] = byte;
                    assert!(read(&changed).is_err(), "{format:?} {byte}");
                }
            }
        }
    }
}
