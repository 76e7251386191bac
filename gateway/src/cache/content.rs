//! The bytes of an entry that a response delivers, as they become available.

use std::fs::File;
use std::io::{self, IoSliceMut};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use bytes::Bytes;
use futures::Stream;
use rustix::io::{ReadWriteFlags, preadv2};
use tokio::task::spawn_blocking;

use super::Entry;
use crate::resolve::outcome::Miss;

/// Bytes read at once.
const CHUNK: u64 = 256 << 10;

/// The bytes of an entry that a response delivers.
#[derive(Clone)]
pub(crate) struct Content {
    pub(crate) entry: Arc<Entry>,
    /// Within the entry.
    pub(crate) range: Range<u64>,
    /// Its end does not leave before the entry is whole: it is an answer of its own, that nobody shall have of a wrong file.
    is_part: bool,
    /// Of a whole file, once it is held.
    file: Option<Arc<File>>,
}

impl Content {
    /// All of an entry.
    pub(crate) fn whole(entry: Arc<Entry>) -> Self {
        let range = 0..entry.size();
        Self { entry, range, is_part: false, file: None }
    }

    /// A section of an entry.
    pub(crate) fn section(entry: Arc<Entry>, range: Range<u64>) -> Self {
        Self { entry, range, is_part: true, file: None }
    }

    /// How many bytes.
    pub(crate) fn len(&self) -> u64 {
        self.range.end - self.range.start
    }

    /// The part `range` of this content.
    pub(crate) fn part(&self, range: Range<u64>) -> Self {
        let range = self.range.start + range.start..self.range.start + range.end;
        Self { entry: self.entry.clone(), range, is_part: self.is_part, file: self.file.clone() }
    }

    /// Opens a file that is whole: from now on it can be read, also if another gateway on the folder removes it.
    ///
    /// # Errors
    /// It has been removed.
    pub(super) fn hold(&mut self) -> io::Result<()> {
        if self.entry.is_whole() {
            self.file = Some(self.entry.file()?);
        }
        Ok(())
    }

    /// Waits until the first bytes may leave, so that a response that is begun is likely to end.
    ///
    /// # Errors
    /// Why the extraction failed.
    pub(crate) async fn ready(&self) -> Result<(), Miss> {
        let first = if self.is_part && self.len() <= CHUNK {
            self.entry.size()
        } else {
            (self.range.start + 1).min(self.range.end)
        };
        self.entry.available(first).await.map(drop)
    }

    /// The bytes, as they become available.
    pub(crate) fn stream(self) -> impl Stream<Item = io::Result<Bytes>> {
        let start = (self.file.clone(), self.range.start);
        futures::stream::try_unfold(start, move |(file, at)| {
            let content = self.clone();
            async move {
                if at >= content.range.end {
                    return Ok(None);
                }
                let available =
                    content.entry.available(at + 1).await.map_err(|failure| io::Error::other(failure.to_string()))?;
                let available = available.min(content.range.end);
                let file = match file {
                    Some(file) => file,
                    None => content.entry.file()?,
                };
                let length = (available - at).min(CHUNK);
                if content.is_part && at + length == content.range.end {
                    let whole = content.entry.available(content.entry.size());
                    whole.await.map_err(|failure| io::Error::other(failure.to_string()))?;
                }
                let bytes = read(&file, at, usize::try_from(length).unwrap_or(0)).await?;
                let next = at + bytes.len() as u64;
                // The last bytes do not leave unless all of them were of one file.
                if next == content.range.end {
                    content.entry.expect_as_opened(&file).await?;
                }
                Ok(Some((bytes, (Some(file), next))))
            }
        })
    }
}

/// At least one byte from `at` on, at most `length`: at once where they are in memory, else by a thread that may wait for the disk.
async fn read(file: &Arc<File>, at: u64, length: usize) -> io::Result<Bytes> {
    let mut bytes = vec![0; length];
    // Not every file system can tell whether it would wait.
    if let Ok(found @ 1..) = preadv2(file, &mut [IoSliceMut::new(&mut bytes)], at, ReadWriteFlags::NOWAIT) {
        bytes.truncate(found);
        return Ok(bytes.into());
    }
    let file = file.clone();
    let read = move || file.read_exact_at(&mut bytes, at).map(|()| bytes.into());
    spawn_blocking(read).await.map_err(io::Error::other)?
}
