//! Small files and small sections of large ones, kept in memory once they were asked for: for them a system call or a change of threads costs more than the bytes.

use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use bytes::Bytes;
use moka::future::Cache;

use super::{Content, Entry};

/// The largest content that is kept, bytes.
const LARGEST: u64 = 64 << 10;
/// All that is kept, bytes.
const MOST: u64 = 64 << 20;

/// Small contents of whole files, by the file's name on disk, which names the contents, and where they lie in it.
#[derive(Clone)]
pub(super) struct Memory(Cache<(PathBuf, Range<u64>), Bytes>);

impl Memory {
    pub(super) fn new() -> Self {
        let weight = |_: &(PathBuf, Range<u64>), bytes: &Bytes| u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        Self(Cache::builder().weigher(weight).max_capacity(MOST).build())
    }

    /// Small content of a file that is whole; `None` for other content, and where it cannot be read.
    pub(super) async fn bytes(&self, content: &Content) -> Option<Bytes> {
        if content.len() > LARGEST || !content.entry.has_name() || !content.entry.is_whole() {
            return None;
        }
        let read = async {
            let (entry, start, length) = (content.entry.clone(), content.range.start, content.len());
            let read = tokio::task::spawn_blocking(move || {
                let mut bytes = vec![0; usize::try_from(length).unwrap_or(0)];
                entry.file().and_then(|file| file.read_exact_at(&mut bytes, start)).map(|()| Bytes::from(bytes))
            });
            read.await.ok()?.ok()
        };
        self.0.optionally_get_with((content.entry.path().to_owned(), content.range.clone()), read).await
    }

    /// Is the whole file kept?
    pub(super) fn has(&self, entry: &Entry) -> bool {
        entry.size() <= LARGEST && self.0.contains_key(&(entry.path().to_owned(), 0..entry.size()))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::cache::entry::About;

    #[tokio::test]
    async fn a_small_file_is_read_once_and_a_large_one_never() {
        let (folder, memory) = (tempfile::tempdir().unwrap(), Memory::new());
        let entry = |name: &str, size: u64| {
            let path = folder.path().join(name);
            std::fs::write(&path, vec![7; usize::try_from(size).unwrap()]).unwrap();
            Arc::new(Entry::whole(About { size, mtime: 0, digest: String::new(), signature: None, path }))
        };
        let (small, large) = (entry("small", LARGEST), entry("large", LARGEST + 1));
        assert!(!memory.has(&small));
        assert_eq!(memory.bytes(&small.content()).await.unwrap().len() as u64, LARGEST);
        std::fs::remove_file(folder.path().join("small")).unwrap();
        assert_eq!(memory.bytes(&small.content()).await.unwrap()[..3], [7, 7, 7]);
        assert!(memory.has(&small));
        assert!(memory.bytes(&large.content()).await.is_none());
        let section = Content::section(large.clone(), 10..30);
        assert_eq!(memory.bytes(&section).await.unwrap().len(), 20);
        std::fs::remove_file(folder.path().join("large")).unwrap();
        assert!(memory.bytes(&section).await.is_some() && !memory.has(&large));
        // A file that cannot be read is nothing to keep.
        let gone = entry("gone", 5);
        std::fs::remove_file(folder.path().join("gone")).unwrap();
        assert!(memory.bytes(&gone.content()).await.is_none() && !memory.has(&gone));
    }
}
