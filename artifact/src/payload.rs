//! The payload of an archive: a compressed cpio archive with one member a file.
//!
//! - [`mod@decompress`]: compressed bytes in, archive out, within a memory limit; the first bytes tell the compression;
//! - `cpio`: the header of one member, in the three forms that rpm writes;
//! - [`Members`]: a walk over the members, each tied to its file in the RPM's header;
//! - [`BlockIndex`]: the xz block index, to extract a member without what precedes its block (`xz_blocks`: the format);
//! - `deliver`: the contents of one member, compared with its size and digest;
//! - `hard_links`: which files are one file, because only one member of such a group carries contents.
//!
//! Everything streams, and look-ups take constant time: 16,000 files cost 16,000 steps.

pub(crate) mod block_index;
pub(crate) mod cpio;
mod decompress;
mod deliver;
mod hard_links;
mod members;
mod xz_blocks;

use std::io::{self, ErrorKind, Read, Write};

pub use block_index::{BlockIndex, ReadRange};
pub use decompress::decompress;
pub(crate) use decompress::{Compression, Decoder, MarkedSource, decompress_with, source_error};
pub(crate) use deliver::deliver;
pub(crate) use hard_links::HardLinks;
pub use members::{Member, Members};

use crate::header::{File, Header};
use crate::{Error, Result};

/// Writes one member to `out`, in chunks of 128 KiB, and stops reading the payload right after it.
///
/// `payload` stands at the payload's first byte (`header.range.end` of the archive) and is still compressed. A file
/// that the archive stores as one of several hard links is found whichever of them carries the contents.
///
/// `out` sees all bytes **before** the digest of the header is compared with theirs: what was written is to be thrown
/// away, or the transfer broken off, when this returns an error.
///
/// # Errors
/// [`Error::Payload`] where the ordinal is none of a regular file, the payload is broken, ends early, lacks the member
/// or disagrees with the header on its size; [`Error::FileDigest`] where the contents are not those that the header
/// promised; [`Error::Io`] where reading `payload` or writing `out` fails.
pub fn extract_member(
    payload: impl Read + Send,
    header: &Header,
    ordinal: u32,
    out: &mut (impl Write + Send),
) -> Result<()> {
    let file = regular_file(header, ordinal)?;
    let mut members = Members::new(decompress(payload)?, header);
    while let Some(mut member) = members.next()? {
        if member.holds(ordinal) {
            return deliver(&mut member, file, out);
        }
    }
    Err(missing_member(file))
}

/// True if `contents` have size and digest of `file`. False if the header has no digest.
pub fn matches_digest(file: &File, contents: &[u8]) -> bool {
    file.digest.is_some() && deliver(&mut &*contents, file, &mut io::sink()).is_ok()
}

/// The file with this ordinal, which must be one with contents in the payload.
pub(crate) fn regular_file(header: &Header, ordinal: u32) -> Result<&File> {
    let Some(file) = header.file_by_ordinal(ordinal) else {
        return refuse(format!("a file number below {}", header.files.len()), ordinal.to_string());
    };
    if !file.is_regular() {
        return refuse(
            format!("{} to be a regular file with contents", file.path),
            format!("mode {:o}, flags {:#x}", file.mode, file.flags),
        );
    }
    Ok(file)
}

/// Returns the error for a payload that ended without the contents of `file`.
pub fn missing_member(file: &File) -> Error {
    Error::Payload { expected: format!("the contents of {}", file.path), found: "an archive without them".into() }
}

/// Reads until `buffer` is full or the input ends. Returns the number of bytes read.
pub(crate) fn fill(input: &mut impl Read, buffer: &mut [u8]) -> Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match input.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(unwrap(error)),
        }
    }
    Ok(filled)
}

/// Returns the number of zeros at the start of `bytes`.
pub(crate) fn leading_zeros(bytes: &[u8]) -> usize {
    const ZEROS: [u8; 4096] = [0; 4096];
    let chunks = bytes.chunks_exact(ZEROS.len()).take_while(|chunk| **chunk == ZEROS).count() * ZEROS.len();
    chunks + bytes[chunks..].iter().take_while(|byte| **byte == 0).count()
}

/// Returns the first bytes as text for an error: `first bytes 3c68746d6c3e`.
pub(crate) fn starting_with(bytes: &[u8]) -> String {
    const SHOWN_BYTES: usize = 16;
    match bytes.get(..SHOWN_BYTES).unwrap_or(bytes) {
        [] => "no bytes".into(),
        start => format!("first bytes {}", faster_hex::hex_string(start)),
    }
}

pub(crate) fn refuse<T>(expected: impl Into<String>, found: impl Into<String>) -> Result<T> {
    Err(Error::Payload { expected: expected.into(), found: found.into() })
}

/// Wraps an error of this crate in an [`io::Error`], as [`Read`] needs it.
pub(crate) fn wrap(error: Error) -> io::Error {
    match error {
        Error::Io(error) => error,
        error => io::Error::new(ErrorKind::InvalidData, error),
    }
}

/// Returns the error that [`wrap`] wrapped; another one as [`Error::Io`].
pub(crate) fn unwrap(error: io::Error) -> Error {
    error.downcast::<Error>().unwrap_or_else(Error::Io)
}

#[cfg(test)]
pub(crate) mod archive;
#[cfg(test)]
mod tests;
