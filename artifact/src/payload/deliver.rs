//! Copies the contents of one member and verifies their size and digest.

use std::io::{self, Read, Write};
use std::sync::mpsc;
use std::thread;

use super::{fill, refuse};
use crate::header::File;
use crate::{Error, Result};

/// The size of a chunk that is written to `out`.
const CHUNK_BYTES: usize = 128 << 10;

/// Files of at least this size are written and hashed by a thread of their own, in parallel to decompression.
const LARGE_BYTES: u64 = 4 << 20;

/// The maximum number of chunks that wait for that thread.
const CHUNKS_BEHIND: usize = 4;

/// Copies the contents of `file` to `out` and compares their length with the header's, and their digest where it has
/// one.
pub(crate) fn deliver(contents: &mut impl Read, file: &File, out: &mut (impl Write + Send)) -> Result<()> {
    let mut digest = file.digest.as_ref().map(|digest| (digest, digest.algorithm().hasher()));
    let mut take = |chunk: &[u8]| {
        out.write_all(chunk)?;
        if let Some((_, hasher)) = &mut digest {
            hasher.update(chunk);
        }
        Ok(())
    };
    if file.size >= LARGE_BYTES {
        read_beside(contents, file, take)?;
    } else {
        read(contents, file, |chunk| {
            take(&chunk)?;
            Ok(chunk)
        })?;
    }
    digest.map_or(Ok(()), |(digest, hasher)| digest.check(hasher, &file.path))
}

/// Reads, while another thread takes each chunk.
fn read_beside(contents: &mut impl Read, file: &File, mut take: impl FnMut(&[u8]) -> Result<()> + Send) -> Result<()> {
    thread::scope(|scope| {
        let (full, chunks) = mpsc::sync_channel::<Vec<u8>>(CHUNKS_BEHIND);
        let (empty, spare) = mpsc::channel();
        let take_all = move || {
            for chunk in chunks {
                take(&chunk)?;
                // The receiver is dropped after the last chunk.
                let _ = empty.send(chunk);
            }
            Ok(())
        };
        let taking = thread::Builder::new().name("member".into()).spawn_scoped(scope, take_all)?;
        let ended = || Error::Io(io::Error::other("expected a thread that writes the member, found none"));
        let read = read(contents, file, |chunk| {
            full.send(chunk).map_err(|_| ended())?;
            Ok(spare.try_recv().unwrap_or_default())
        });
        drop(full);
        // An error of that thread ended this one, too.
        taking.join().map_err(|_| ended())?.and(read)
    })
}

/// Reads chunks and passes each to `exchange`, which returns a buffer for the next.
fn read(contents: &mut impl Read, file: &File, mut exchange: impl FnMut(Vec<u8>) -> Result<Vec<u8>>) -> Result<()> {
    let chunk_bytes = usize::try_from(file.size).map_or(CHUNK_BYTES, |size_bytes| size_bytes.clamp(1, CHUNK_BYTES));
    let mut chunk = Vec::new();
    let mut delivered = 0;
    loop {
        chunk.resize(chunk_bytes, 0);
        let filled = fill(contents, &mut chunk)?;
        chunk.truncate(filled);
        delivered += filled as u64;
        chunk = exchange(chunk)?;
        if filled < chunk_bytes {
            break;
        }
    }
    if delivered != file.size {
        return refuse(format!("{} bytes of {}", file.size, file.path), delivered.to_string());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::archive::file;
    use super::*;

    const LENGTHS: [usize; 4] = [1, CHUNK_BYTES, LARGE_BYTES as usize, LARGE_BYTES as usize + 70_000];

    fn contents(length: usize) -> Vec<u8> {
        (0..length as u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 23) as u8).collect()
    }

    #[test]
    fn small_and_large_members_are_delivered_whole_and_verified() {
        for length in LENGTHS {
            let contents = contents(length);
            let (whole, mut out) = (file("/f", &contents), Vec::new());
            deliver(&mut &*contents, &whole, &mut out).unwrap();
            assert!(out == contents);
            let without = File { digest: None, ..whole.clone() };
            let mut out = Vec::new();
            deliver(&mut &*contents, &without, &mut out).unwrap();
            assert!(out == contents);
            let mut changed = contents.clone();
            changed[length - 1] ^= 1;
            let error = deliver(&mut &*changed, &whole, &mut io::sink()).unwrap_err();
            assert!(matches!(error, Error::FileDigest { .. }), "{error}");
        }
    }

    #[test]
    fn bytes_before_the_end_of_a_truncated_archive_are_delivered() {
        struct EndsInError<'a>(&'a [u8]);
        impl Read for EndsInError<'_> {
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                if self.0.is_empty() { Err(io::Error::other("broken off")) } else { self.0.read(buffer) }
            }
        }
        for length in LENGTHS {
            let contents = contents(length);
            let whole = file("/f", &contents);
            let there = &contents[..length - 1];
            let mut out = Vec::new();
            let error = deliver(&mut &*there, &whole, &mut out).unwrap_err().to_string();
            assert!(error.contains(&format!("expected {length} bytes of /f, found {}", length - 1)), "{error}");
            assert!(out == there);
            let mut out = Vec::new();
            let error = deliver(&mut EndsInError(there), &whole, &mut out).unwrap_err().to_string();
            assert!(error.contains("broken off"), "{error}");
            assert!(there.starts_with(&out) && there.len() - out.len() < CHUNK_BYTES);
        }
    }

    #[test]
    fn reading_stops_when_writing_fails() {
        struct Full(usize);
        impl Write for Full {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                self.0 = self.0.checked_sub(bytes.len()).ok_or_else(|| io::Error::other("no room"))?;
                Ok(bytes.len())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let endless = File { size: u64::MAX, ..file("/f", b"") };
        for room in [0, CHUNK_BYTES, 9 * CHUNK_BYTES] {
            let error = deliver(&mut io::repeat(7), &endless, &mut Full(room)).unwrap_err().to_string();
            assert!(error.contains("no room"), "{error}");
        }
    }
}
