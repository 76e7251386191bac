//! The contents of one member, compared with what the header says of them.

use std::io::{self, Read, Write};
use std::sync::mpsc;
use std::thread;

use super::{fill, refuse};
use crate::digest::Hasher;
use crate::header::File;
use crate::{Error, Result};

/// What `out` gets at once.
const CHUNK_BYTES: usize = 128 << 10;

/// A file of so many bytes is hashed by a thread of its own: decompressing and hashing cost about the same, and clients wait for both.
const LARGE_BYTES: u64 = 4 << 20;

/// How many chunks that thread may be behind.
const CHUNKS_BEHIND: usize = 4;

/// Copies the contents of `file` to `out` and compares their length with the header's, and their digest where it has one.
pub(crate) fn deliver(contents: &mut impl Read, file: &File, out: &mut impl Write) -> Result<()> {
    let Some(digest) = &file.digest else {
        return copy(contents, file, out, Ok);
    };
    let mut hasher = digest.algorithm().hasher();
    if file.size >= LARGE_BYTES {
        hasher = hash_beside(contents, file, out, hasher)?;
    } else {
        copy(contents, file, out, |chunk| {
            hasher.update(&chunk);
            Ok(chunk)
        })?;
    }
    digest.check(hasher, &file.path)
}

/// Copies, and has each chunk hashed by another thread meanwhile.
fn hash_beside(contents: &mut impl Read, file: &File, out: &mut impl Write, mut hasher: Hasher) -> Result<Hasher> {
    thread::scope(|scope| {
        let (full, chunks) = mpsc::sync_channel::<Vec<u8>>(CHUNKS_BEHIND);
        let (empty, spare) = mpsc::channel();
        let hash = move || {
            for chunk in chunks {
                hasher.update(&chunk);
                // Nobody needs it once the last one is on its way.
                let _ = empty.send(chunk);
            }
            hasher
        };
        let hashing = thread::Builder::new().name("digest".into()).spawn_scoped(scope, hash)?;
        let ended = || Error::Io(io::Error::other("expected a thread that computes the digest, found none"));
        copy(contents, file, out, |chunk| {
            full.send(chunk).map_err(|_| ended())?;
            Ok(spare.try_recv().unwrap_or_default())
        })?;
        drop(full);
        hashing.join().map_err(|_| ended())
    })
}

/// Copies, and gives each chunk away for another one.
fn copy(
    contents: &mut impl Read,
    file: &File,
    out: &mut impl Write,
    mut exchange: impl FnMut(Vec<u8>) -> Result<Vec<u8>>,
) -> Result<()> {
    let chunk_bytes = usize::try_from(file.size).map_or(CHUNK_BYTES, |size_bytes| size_bytes.clamp(1, CHUNK_BYTES));
    let mut chunk = Vec::new();
    let mut delivered = 0;
    loop {
        chunk.resize(chunk_bytes, 0);
        let filled = fill(contents, &mut chunk)?;
        chunk.truncate(filled);
        out.write_all(&chunk)?;
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
