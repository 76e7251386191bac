//! The bytes of an archive, as they come or from anywhere.

use std::io::{self, BufReader, Cursor, Read, Seek};

use tempfile::SpooledTempFile;

use super::MEMORY_BYTES;
use crate::Result;
use crate::payload::{fill, refuse, unwrap};

/// A reader that can seek and be sent to another thread.
pub trait Seekable: Read + Seek + Send {}

impl<T: Read + Seek + Send> Seekable for T {}

/// The bytes of an archive. A zip archive is read from its end: one that comes as a stream is copied to a temporary
/// file first.
pub enum ArchiveBytes<'a> {
    /// From the first on.
    Stream(Box<dyn Read + Send + 'a>),
    /// From anywhere.
    Seekable(Box<dyn Seekable + 'a>),
}

impl<'a> ArchiveBytes<'a> {
    /// An archive that comes from its first byte on.
    pub fn stream(archive: impl Read + Send + 'a) -> Self {
        Self::Stream(Box::new(archive))
    }

    /// An archive that can be read from anywhere.
    pub fn seekable(archive: impl Seekable + 'a) -> Self {
        Self::Seekable(Box::new(archive))
    }

    /// The first bytes, as many as fit into `start` and are there, and the archive from its first byte on.
    pub(super) fn peek(self, start: &mut [u8]) -> Result<(usize, Self)> {
        Ok(match self {
            Self::Stream(mut archive) => {
                let filled = fill(&mut archive, start)?;
                (filled, Self::stream(Cursor::new(start[..filled].to_vec()).chain(archive)))
            }
            Self::Seekable(mut archive) => {
                archive.rewind()?;
                let filled = fill(&mut archive, start)?;
                archive.rewind()?;
                (filled, Self::Seekable(archive))
            }
        })
    }

    /// An archive of at most `max_bytes` bytes that can be read from anywhere: a copy, if it comes as a stream.
    pub(super) fn into_seekable(self, max_bytes: u64) -> Result<Box<dyn Seekable + 'a>> {
        match self {
            Self::Seekable(archive) => Ok(Box::new(BufReader::new(archive))),
            Self::Stream(archive) => {
                let mut copy = SpooledTempFile::new(MEMORY_BYTES);
                let copied = io::copy(&mut archive.take(max_bytes.saturating_add(1)), &mut copy).map_err(unwrap)?;
                if copied > max_bytes {
                    return refuse(format!("a zip archive of {max_bytes} bytes"), "more");
                }
                copy.rewind()?;
                Ok(Box::new(copy))
            }
        }
    }
}

impl Read for ArchiveBytes<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Stream(archive) => archive.read(buffer),
            Self::Seekable(archive) => archive.read(buffer),
        }
    }
}
