//! The bytes of a file that a response sends, as they become available.

use std::io::{self, IoSliceMut};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use bytes::Bytes;
use futures::Stream;
use rustix::io::{ReadWriteFlags, preadv2};
use tokio::task::spawn_blocking;

use super::Readable;
use super::temporary_file::OpenFile;
use crate::resolve::outcome::Miss;

/// Bytes read at once.
const CHUNK_BYTES: u64 = 256 << 10;

/// The bytes of a file that a response sends.
#[derive(Clone)]
pub(crate) struct Content {
    pub(crate) file: Readable,
    /// Within the file.
    pub(crate) range: Range<u64>,
    /// True for a section. Its last bytes are held back until the file is complete: it is an answer of its own, which
    /// must not be complete if the file is wrong.
    is_section: bool,
}

impl Content {
    /// All of a file.
    pub(super) fn whole(file: Readable) -> Self {
        let range = 0..file.size();
        Self { file, range, is_section: false }
    }

    /// A section of a file.
    pub(crate) fn section(file: Readable, range: Range<u64>) -> Self {
        Self { file, range, is_section: true }
    }

    /// Bytes.
    pub(crate) fn len(&self) -> u64 {
        self.range.end - self.range.start
    }

    /// The part `range` of this content.
    pub(crate) fn part(&self, range: Range<u64>) -> Self {
        let range = self.range.start + range.start..self.range.start + range.end;
        Self { file: self.file.clone(), range, is_section: self.is_section }
    }

    /// Waits until the first bytes may be sent, so that a response that is begun is likely to end.
    ///
    /// # Errors
    /// Why the bytes could not be had.
    pub(crate) async fn ready(&self) -> Result<(), Miss> {
        let first = if self.is_section && self.len() <= CHUNK_BYTES {
            self.file.size()
        } else {
            (self.range.start + 1).min(self.range.end)
        };
        self.file.available(first).await.map(drop)
    }

    /// The bytes, as they become available.
    pub(crate) fn stream(self) -> impl Stream<Item = io::Result<Bytes>> {
        let at = self.range.start;
        futures::stream::try_unfold((self, None, at), |(content, file, at)| {
            async move {
                if at >= content.range.end {
                    return Ok(None);
                }
                let available =
                    content.file.available(at + 1).await.map_err(|failure| io::Error::other(failure.to_string()))?;
                let available = available.min(content.range.end);
                let file = match file {
                    Some(file) => file,
                    None => content.file.open()?,
                };
                let length = (available - at).min(CHUNK_BYTES);
                if content.is_section && at + length == content.range.end {
                    let complete = content.file.available(content.file.size());
                    complete.await.map_err(|failure| io::Error::other(failure.to_string()))?;
                }
                let bytes = read(&file, at, usize::try_from(length).unwrap_or(0)).await?;
                let next = at + bytes.len() as u64;
                // The last bytes are sent only if all of them were of one file.
                if next == content.range.end {
                    content.file.expect_unchanged().await?;
                }
                Ok(Some((bytes, (content, Some(file), next))))
            }
        })
    }
}

/// At least one byte from `at` on, at most `length`: at once where they are in memory, else by a thread that may wait
/// for the disk.
async fn read(file: &Arc<OpenFile>, at: u64, length: usize) -> io::Result<Bytes> {
    let mut bytes = vec![0; length];
    // Not every file system can tell whether it would wait.
    if let Ok(found @ 1..) = preadv2(&***file, &mut [IoSliceMut::new(&mut bytes)], at, ReadWriteFlags::NOWAIT) {
        bytes.truncate(found);
        return Ok(bytes.into());
    }
    let file = file.clone();
    let read = move || file.read_exact_at(&mut bytes, at).map(|()| bytes.into());
    spawn_blocking(read).await.map_err(io::Error::other)?
}
