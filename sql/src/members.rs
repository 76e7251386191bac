//! The lists of a package's artifacts: what is known of files whose build-ids stand in `artifacts`.
//!
//! One list holds the artifacts of 128 files of the header, in the order of [`Artifact`]: `ORDINAL KIND BUILD_ID PATH` and a NUL for
//! each. KIND is `x` (executable) or `d` (debuginfo), then `+` (has DWARF), `-` (has none) or `?`. It is compressed as MySQL's
//! UNCOMPRESS wants it: the length in four bytes, then zlib.

use std::fmt::Write;

use artifact::{Artifact, Kind};
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
    artifact.path.len() + 2 * artifact.build_id.as_bytes().len() + 20
}

/// Makes lists.
pub(crate) struct Compressor {
    zlib: Compress,
    text: String,
}

impl Compressor {
    /// With a level of zlib's: [`crate::dialect::Dialect::LIST_LEVEL`].
    pub(crate) fn new(level: u32) -> Self {
        Self { zlib: Compress::new(Compression::new(level), true), text: String::new() }
    }

    /// The lists of one package, by part. The artifacts are sorted.
    pub(crate) fn lists(&mut self, artifacts: &[&Artifact]) -> sqlx::Result<Vec<(u32, Vec<u8>)>> {
        artifacts
            .chunk_by(|a, b| part(a.ordinal) == part(b.ordinal))
            .map(|artifacts| Ok((part(artifacts[0].ordinal), self.list(artifacts)?)))
            .collect()
    }

    fn list(&mut self, artifacts: &[&Artifact]) -> sqlx::Result<Vec<u8>> {
        self.text.clear();
        for Artifact { ordinal, build_id, kind, dwarf, path } in artifacts {
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
            let _ = write!(self.text, "{ordinal} {kind}{dwarf} {build_id} {path}\0");
        }
        let length = u32::try_from(self.text.len()).map_err(broken)?;
        // What cannot be compressed grows by 5 bytes in 16 KiB, and by the 6 of zlib's own.
        let mut list = Vec::with_capacity(self.text.len() + self.text.len() / 1024 + 64);
        list.extend(length.to_le_bytes());
        self.zlib.reset();
        match self.zlib.compress_vec(self.text.as_bytes(), &mut list, FlushCompress::Finish).map_err(broken)? {
            Status::StreamEnd => Ok(list),
            status => Err(broken(format!("a list of {length} bytes does not end: {status:?}"))),
        }
    }
}

/// The artifacts of a list.
pub(crate) fn read(list: &[u8]) -> sqlx::Result<Vec<Artifact>> {
    matching(list, |_| true)
}

/// The artifacts of a list whose paths `wanted` takes.
pub(crate) fn matching(list: &[u8], wanted: impl Fn(&str) -> bool) -> sqlx::Result<Vec<Artifact>> {
    let wrong = |found: &str| broken(format!("members.list: expected ORDINAL KIND BUILD_ID PATH, found {found:?}"));
    let (length, zlib) = list.split_first_chunk().ok_or_else(|| wrong("less than four bytes"))?;
    let length = u32::from_le_bytes(*length) as usize;
    if length > MOST_TEXT {
        return Err(broken(format!("members.list: expected at most {MOST_TEXT} bytes of text, found {length}")));
    }
    // Nothing grows by more than this.
    let mut text = Vec::with_capacity(length.min(zlib.len().saturating_mul(1032)));
    let status = Decompress::new(true).decompress_vec(zlib, &mut text, FlushDecompress::Finish).map_err(broken)?;
    if status != Status::StreamEnd || text.len() != length {
        return Err(broken(format!("members.list: expected {length} bytes, found {} and {status:?}", text.len())));
    }
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
            })
        })
        .collect()
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
                artifacts.push(Artifact { ordinal, build_id, kind, dwarf, path: format!("/usr/lib64/a b\nä/{ordinal}") });
            }
        }
        artifacts.sort();
        artifacts
    }

    #[test]
    fn lists_come_back_as_they_went_in() {
        let artifacts = artifacts();
        let mut compressor = Compressor::new(6);
        for _ in 0..2 {
            let lists = compressor.lists(&artifacts.iter().collect::<Vec<_>>()).unwrap();
            assert_eq!(lists.iter().map(|(part, _)| *part).collect::<Vec<_>>(), [0, 1, 2, u32::MAX >> 7]);
            let back: Vec<Artifact> = lists.iter().flat_map(|(_, list)| read(list).unwrap()).collect();
            assert_eq!(back, artifacts);
        }
        assert!(compressor.lists(&[]).unwrap().is_empty());
    }

    #[test]
    fn a_list_that_is_damaged_anywhere_is_refused() {
        let artifacts = artifacts();
        let list = Compressor::new(6).lists(&artifacts.iter().collect::<Vec<_>>()).unwrap().remove(0).1;
        for at in 0..list.len() {
            assert!(read(&list[..at]).is_err(), "cut at {at}");
            let mut changed = list.clone();
            changed[at] ^= 1;
            assert!(read(&changed).is_err() || read(&changed).unwrap() == read(&list).unwrap(), "changed at {at}");
        }
    }
}
