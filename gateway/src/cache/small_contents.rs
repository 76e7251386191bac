//! Small files and small sections, cached in memory once they were requested: for them a system call or a change of
//! threads costs more than the bytes.

use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use bytes::Bytes;
use moka::future::Cache;

use super::{Content, Entry, Readable};

/// Maximum of bytes of one content.
const MAX_CONTENT_BYTES: u64 = 64 << 10;
/// Maximum of bytes of all contents.
const MAX_BYTES: u64 = 64 << 20;

/// Small contents of published members, by the path of the file, whose name identifies its bytes, and the range in it.
#[derive(Clone)]
pub(super) struct SmallContents(Cache<(PathBuf, Range<u64>), Bytes>);

impl SmallContents {
    /// An empty cache.
    pub(super) fn new() -> Self {
        let weight = |_: &(PathBuf, Range<u64>), bytes: &Bytes| u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        Self(Cache::builder().weigher(weight).max_capacity(MAX_BYTES).build())
    }

    /// Small content of a complete member. `None` for other content, if it cannot be read, and of a relayed file
    /// without a digest: only a digest tells its path from that of another file with the same key and size.
    pub(super) async fn bytes(&self, content: &Content) -> Option<Bytes> {
        let Readable::Member(reader) = &content.file else { return None };
        if content.len() > MAX_CONTENT_BYTES || !reader.is_complete() || !is_identified(reader) {
            return None;
        }
        let read = async {
            let (reader, start, length) = (reader.clone(), content.range.start, content.len());
            let read = tokio::task::spawn_blocking(move || {
                let mut bytes = vec![0; usize::try_from(length).unwrap_or(0)];
                reader.open().and_then(|file| file.read_exact_at(&mut bytes, start)).map(|()| Bytes::from(bytes))
            });
            read.await.ok()?.ok()
        };
        let found = self.0.optionally_get_with((reader.path().to_owned(), content.range.clone()), read).await;
        if found.is_none() {
            self.forget(&content.file).await;
        }
        found
    }

    /// Forgets the contents of a whole file that cannot be read, so that the next request notices that it was lost.
    pub(super) async fn forget(&self, file: &Readable) {
        if let Readable::Member(reader) = file {
            self.0.invalidate(&(reader.path().to_owned(), 0..reader.size())).await;
        }
    }

    /// True if the whole file is cached.
    pub(super) fn has(&self, entry: &Entry) -> bool {
        entry.size() <= MAX_CONTENT_BYTES && self.0.contains_key(&(entry.path().to_owned(), 0..entry.size()))
    }
}

/// True if the path of a file identifies its bytes.
fn is_identified(entry: &Entry) -> bool {
    entry.info().origin.is_none() || !entry.info().digest.is_empty()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::entry::MemberInfo;
    use super::super::{Readable, Reader};
    use super::*;

    #[tokio::test]
    async fn a_small_file_is_read_once_and_a_large_one_never() {
        let (directory, memory) = (tempfile::tempdir().unwrap(), SmallContents::new());
        let reader = |name: &str, size: u64| {
            let path = directory.path().join(name);
            std::fs::write(&path, vec![7; usize::try_from(size).unwrap()]).unwrap();
            let info =
                MemberInfo { size, mtime: 0, digest: String::new(), sha256: None, signature: None, origin: None, path };
            Reader::new(Arc::new(Entry::published(info)))
        };
        let (small, large) = (reader("small", MAX_CONTENT_BYTES), reader("large", MAX_CONTENT_BYTES + 1));
        assert!(!memory.has(&small));
        assert_eq!(memory.bytes(&small.content()).await.unwrap().len() as u64, MAX_CONTENT_BYTES);
        std::fs::remove_file(directory.path().join("small")).unwrap();
        assert_eq!(memory.bytes(&small.content()).await.unwrap()[..3], [7, 7, 7]);
        assert!(memory.has(&small));
        assert!(memory.bytes(&large.content()).await.is_none());
        let section = Content::section(Readable::from(large.clone()), 10..30);
        assert_eq!(memory.bytes(&section).await.unwrap().len(), 20);
        std::fs::remove_file(directory.path().join("large")).unwrap();
        assert!(memory.bytes(&section).await.is_some() && !memory.has(&large));
        // A file that cannot be read is not cached.
        let lost = reader("lost", 5);
        std::fs::remove_file(directory.path().join("lost")).unwrap();
        assert!(memory.bytes(&lost.content()).await.is_none() && !memory.has(&lost));
    }
}
