//! One member of an archive, whatever the archive's format.

use std::io::{self, Read};
use std::ops::ControlFlow;

use crate::payload::wrap;
use crate::{Contents, Error, Result};

/// What a member is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum What {
    /// A file with contents.
    Regular,
    /// The same file as the member with this path, which came before.
    HardLink(String),
    /// A folder, a symbolic link, a device.
    Other,
}

/// One member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Member {
    /// Its number among the archive's members, from 0.
    pub(super) ordinal: u32,
    /// Absolute and canonical.
    pub(super) path: String,
    pub(super) what: What,
    /// ArchiveBytes of its contents, holes included.
    pub(super) size: u64,
    /// Seconds since 1970.
    pub(super) mtime: i64,
    /// As [`Contents::tar_offset`].
    pub(super) tar_offset: Option<u64>,
}

impl Member {
    /// What there is to say of its contents, once they were hashed.
    pub(super) fn contents(&self, sha256: [u8; 32]) -> Contents {
        Contents { size: self.size, mtime: self.mtime, sha256, tar_offset: self.tar_offset }
    }
}

/// What is called with each member and its contents, until it breaks the walk off.
pub(super) type Each<'e> = dyn FnMut(&Member, &mut dyn Read) -> Result<ControlFlow<()>> + 'e;

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
    let most = usize::try_from(*rest).unwrap_or(usize::MAX).min(buffer.len());
    if most == 0 {
        return Ok(0);
    }
    let read = archive.read(&mut buffer[..most])?;
    if read == 0 {
        return Err(wrap(cut_off()));
    }
    *rest -= read as u64;
    Ok(read)
}
