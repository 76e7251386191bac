//! Small files, kept in memory once they were asked for: for them a system call or a change of threads costs more than the bytes.

use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use moka::future::Cache;

use super::Entry;

/// The largest file that is kept, bytes.
const LARGEST: u64 = 64 << 10;
/// All that is kept, bytes.
const MOST: u64 = 64 << 20;

/// Whole small files by their name on disk, which names the contents.
#[derive(Clone)]
pub(super) struct Memory(Cache<PathBuf, Bytes>);

impl Memory {
    pub(super) fn new() -> Self {
        let weight = |_: &PathBuf, bytes: &Bytes| u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        Self(Cache::builder().weigher(weight).max_capacity(MOST).build())
    }

    /// The bytes of a small file that is whole; `None` for another one, and where it cannot be read.
    pub(super) async fn bytes(&self, entry: &Arc<Entry>) -> Option<Bytes> {
        if entry.size() > LARGEST || !entry.has_name() || !entry.is_whole() {
            return None;
        }
        let read = async {
            let entry = entry.clone();
            let read = tokio::task::spawn_blocking(move || {
                let mut bytes = vec![0; usize::try_from(entry.size()).unwrap_or(0)];
                entry.file().and_then(|file| file.read_exact_at(&mut bytes, 0)).map(|()| Bytes::from(bytes))
            });
            read.await.ok()?.ok()
        };
        self.0.optionally_get_with_by_ref(entry.path(), read).await
    }

    /// Is it kept?
    pub(super) fn has(&self, entry: &Entry) -> bool {
        self.0.contains_key(entry.path())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::entry::About;

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
        assert_eq!(memory.bytes(&small).await.unwrap().len() as u64, LARGEST);
        std::fs::remove_file(folder.path().join("small")).unwrap();
        assert_eq!(memory.bytes(&small).await.unwrap()[..3], [7, 7, 7]);
        assert!(memory.has(&small));
        assert!(memory.bytes(&large).await.is_none());
        // A file that cannot be read is nothing to keep.
        let gone = entry("gone", 5);
        std::fs::remove_file(folder.path().join("gone")).unwrap();
        assert!(memory.bytes(&gone).await.is_none() && !memory.has(&gone));
    }
}
