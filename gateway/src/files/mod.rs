//! Members extracted from archives, on disk under a size limit.
//!
//! - One [`Entry`] is one member: growing while it is extracted, whole afterwards. Concurrent questions for a member share one
//!   entry, so it is extracted once; [`entry`] says how it is read while it grows.
//! - [`content`]: the bytes of an entry that a response delivers.
//! - [`extract`] fills an entry, from one location after the other; [`growing`] is what it writes to; the file gets its name only when it is whole and its digest is right.
//! - [`disk`] makes files without a name, gives them one, and finds at start what an earlier run left.
//! - [`sections`] finds the sections of a file, and remembers where they are.
//! - [`memory`] keeps small files that were asked for; [`signature`] what a package says that IMA is to check of a file.
//! - The cache holds entries by their size; an evicted file is unlinked, and responses in flight keep their descriptor.

mod content;
mod disk;
mod entry;
mod extract;
mod growing;
mod memory;
mod sections;
mod signature;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use artifact::{BuildId, Identity};
use bytes::Bytes;
use bytesize::ByteSize;
use moka::future::Cache;
use moka::policy::EvictionPolicy;
use tokio::runtime::Handle;

use crate::archives::{Archive, Failure};
use crate::config::Abandoned;
use crate::metrics::METRICS;
use crate::turns::Turn;

pub(crate) use content::Content;
pub(crate) use entry::Entry;
pub(crate) use sections::Place;

/// Which member: the package and the file's number in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    pub(crate) identity: Identity,
    pub(crate) ordinal: u32,
}

/// The extracted files.
#[derive(Clone)]
pub(crate) struct Files {
    folder: Arc<disk::Folder>,
    cache: Cache<Key, Arc<Entry>>,
    memory: memory::Memory,
    sections: sections::Sections,
    abandoned: Abandoned,
    runtime: Handle,
}

/// The unit of the cache's weights, so that a 32-bit weight covers 4 TiB.
const WEIGHT_BYTES: u64 = 1024;

impl Files {
    /// Opens the cache folder, makes it if need be, and takes over what an earlier run left there.
    pub(crate) async fn open(folder: &Path, most: ByteSize, abandoned: Abandoned) -> Result<Self> {
        let folder = Arc::new(disk::Folder::open(folder)?);
        let weight = |_: &Key, entry: &Arc<Entry>| u32::try_from(entry.size() / WEIGHT_BYTES + 1).unwrap_or(u32::MAX);
        let cache = Cache::builder()
            .weigher(weight)
            .max_capacity(most.as_u64() / WEIGHT_BYTES)
            .eviction_policy(EvictionPolicy::lru())
            .eviction_listener(|_, entry: Arc<Entry>, _| {
                METRICS.files.dec();
                METRICS.files_bytes.sub(entry.size().try_into().unwrap_or(i64::MAX));
                entry.evict();
            })
            .build();
        let files = Self {
            folder,
            cache,
            memory: memory::Memory::new(),
            sections: sections::Sections::new(),
            abandoned,
            runtime: Handle::current(),
        };
        for (key, entry) in files.folder.left_by_an_earlier_run()? {
            files.count(&entry);
            files.cache.insert(key, Arc::new(entry)).await;
        }
        files.cache.run_pending_tasks().await;
        Ok(files)
    }

    /// The member if it is here, whole or growing.
    pub(crate) async fn find(&self, key: Key) -> Option<Arc<Entry>> {
        let entry = self.cache.get(&key).await?;
        if entry.is_whole() && self.memory.has(&entry) || entry.is_usable() {
            entry.use_now();
            return Some(entry);
        }
        // Failed, or unlinked by somebody else.
        self.forget(key, &entry).await;
        None
    }

    /// The member, extracted from the archive that `open` opens unless it is here already. Comes back when the extraction began; an
    /// ELF file's build-id note has to say `build_id`. The turn is given back when the extraction ends, or is not needed.
    pub(crate) async fn fill<F>(&self, key: Key, build_id: Option<&BuildId>, turn: Turn, open: F) -> Result<Arc<Entry>, Failure>
    where
        F: Future<Output = Result<Archive, Failure>> + Send + 'static,
    {
        if let Some(entry) = self.find(key).await {
            return Ok(entry);
        }
        let (this, build_id) = (self.clone(), build_id.cloned());
        let fill = async move {
            // On the main runtime: a client that goes away does not end an extraction that others wait for.
            let runtime = this.runtime.clone();
            let files = this.clone();
            let begun = runtime.spawn(async move {
                let archive = open.await?;
                files.make_room(archive.inside.file(key.ordinal).map_or(0, |file| file.size)).await;
                let entry = extract::start(files.folder.clone(), key, archive, build_id, turn, files.abandoned)?;
                files.forget_if_it_fails(key, &entry);
                Ok(entry)
            });
            let entry = begun.await.unwrap_or_else(|error| Err(Failure::Unknown(format!("extraction ended early: {error}"))))?;
            this.count(&entry);
            Ok(entry)
        };
        let filled = self.cache.try_get_with(key, fill).await;
        // The cache would evict when it is used the next time, which may be tomorrow.
        self.cache.run_pending_tasks().await;
        filled.map_err(|failure: Arc<Failure>| Failure::clone(&failure))
    }

    /// The bytes of a small member that is whole, or of a small section of one.
    pub(crate) async fn small(&self, content: &Content) -> Option<Bytes> {
        self.memory.bytes(content).await
    }

    /// Forgets an entry that does not go on, so that the member can be had from elsewhere; who reads it goes on reading.
    pub(crate) async fn forget(&self, key: Key, entry: &Arc<Entry>) {
        if self.cache.get(&key).await.is_some_and(|current| Arc::ptr_eq(&current, entry)) {
            self.cache.invalidate(&key).await;
        }
    }

    /// An extraction that fails when nobody waits for it any more must not take room in the cache.
    fn forget_if_it_fails(&self, key: Key, entry: &Arc<Entry>) {
        let (this, failed, entry) = (self.clone(), entry.failed(), Arc::downgrade(entry));
        self.runtime.spawn(async move {
            if failed.await {
                // By then it is in the cache, if it gets there.
                tokio::time::sleep(Duration::from_secs(1)).await;
                if let Some(entry) = entry.upgrade() {
                    this.forget(key, &entry).await;
                }
            }
        });
    }

    /// On a disk with less room than the cache may take, the least recently used files go as if the cache were full; none, where
    /// that would not be enough.
    async fn make_room(&self, size: u64) {
        // Where this cannot be told, the extraction tells why.
        let missing = size.saturating_sub(self.folder.free().unwrap_or(u64::MAX));
        if missing == 0 {
            return;
        }
        let mut whole: Vec<_> = self.cache.iter().filter(|(_, entry)| entry.is_whole()).collect();
        if whole.iter().map(|(_, entry)| entry.size()).sum::<u64>() < missing {
            return;
        }
        whole.sort_by_key(|(_, entry)| entry.used());
        let mut made = 0;
        for (key, entry) in whole {
            if made >= missing {
                break;
            }
            made += entry.size();
            // First, so that an evicted entry keeps no descriptor, and with it the room.
            entry.remove();
            self.forget(*key, &entry).await;
        }
        tracing::warn!(
            missing,
            made,
            "the cache folder's disk is full before the cache is: removed the least recently used files"
        );
    }

    /// Can files be written?
    pub(crate) fn check(&self) -> Result<()> {
        self.folder.check()
    }

    fn count(&self, entry: &Entry) {
        METRICS.files.inc();
        METRICS.files_bytes.add(entry.size().try_into().unwrap_or(i64::MAX));
    }
}
