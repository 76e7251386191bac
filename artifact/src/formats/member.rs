//! One member of an archive, whatever the archive's format.

use std::io::{self, Read};
use std::ops::ControlFlow;

use crate::payload::wrap;
use crate::{Contents, Error, Result};

/// The kind of a member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum MemberKind {
    /// A file with contents.
    Regular,
    /// The same file as the member with this path, which came before.
    HardLink(String),
    /// A directory, a symbolic link, a device.
    Other,
}

/// One member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ArchiveMember {
    /// Its number among the archive's members, from 0.
    pub(super) ordinal: u32,
    /// Absolute and canonical.
    pub(super) path: String,
    pub(super) kind: MemberKind,
    /// Bytes of its contents, holes included.
    pub(super) size: u64,
    /// Seconds since 1970.
    pub(super) mtime: i64,
    /// As [`Contents::tar_offset`].
    pub(super) tar_offset: Option<u64>,
}

impl ArchiveMember {
    /// Returns the metadata of its contents, whose SHA-256 is `sha256`.
    pub(super) fn contents(&self, sha256: [u8; 32]) -> Contents {
        Contents { size: self.size, mtime: self.mtime, sha256, tar_offset: self.tar_offset }
    }
}

/// A callback for each member and its contents. `Break` ends the walk.
pub(super) type Each<'e> = dyn FnMut(&ArchiveMember, &mut dyn Read) -> Result<ControlFlow<()>> + 'e;

/// Reads a piece of the contents of a member, of which `rest` bytes are still in the archive; 0 behind the last.
///
/// # Errors
/// `cut_off` where the archive ends before.
pub(super) fn read_contents(
    archive: &mut impl Read,
    rest: &mut u64,
    buffer: &mut [u8],
    cut_off: impl FnOnce() -> Error,
) -> io::Result<usize> {
    let max = usize::try_from(*rest).unwrap_or(usize::MAX).min(buffer.len());
    if max == 0 {
        return Ok(0);
    }
    let read = archive.read(&mut buffer[..max])?;
    if read == 0 {
        return Err(wrap(cut_off()));
    }
    *rest -= read as u64;
    Ok(read)
}
