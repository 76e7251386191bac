//! Members extracted from archives, on disk under a size limit.
//!
//! - One [`Entry`] is one member: growing while it is extracted, whole afterwards. Concurrent questions for a member share one
//!   entry, so it is extracted once; [`entry`] says how it is read while it grows.
//! - [`extract`] fills an entry; the file gets its name only when it is whole and its digest is right.
//! - [`disk`] makes files without a name, gives them one, and finds at start what an earlier run left.
//! - The cache holds entries by their size; an evicted file is unlinked, and responses in flight keep their descriptor.

mod disk;
mod entry;
mod extract;

use std::path::Path;
use std::sync::Arc;

use anyhow::Result;
use artifact::{BuildId, Identity};
use bytesize::ByteSize;
use moka::future::Cache;
use moka::policy::EvictionPolicy;
use tokio::runtime::Handle;

use crate::archives::{Archive, Failure};
use crate::metrics::METRICS;

pub(crate) use entry::{Content, Entry};

/// Which member: the package and the file's number in its header.
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
    runtime: Handle,
}

/// The unit of the cache's weights, so that a 32-bit weight covers 4 TiB.
const WEIGHT_BYTES: u64 = 1024;

impl Files {
    /// Opens the cache folder, makes it if need be, and takes over what an earlier run left there.
    pub(crate) async fn open(folder: &Path, most: ByteSize) -> Result<Self> {
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
        let files = Self { folder, cache, runtime: Handle::current() };
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
        if entry.is_usable() {
            return Some(entry);
        }
        // Failed, or unlinked by somebody else.
        self.cache.invalidate(&key).await;
        None
    }

    /// The member, extracted from the archive that `open` opens unless it is here already. Comes back as soon as the first bytes
    /// are known to be right: an ELF file's build-id note, where it lies near the start, has to say `build_id`.
    pub(crate) async fn fill<F>(&self, key: Key, build_id: Option<&BuildId>, open: F) -> Result<Arc<Entry>, Failure>
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
            let filled = runtime.spawn(async move {
                let archive = open.await?;
                let entry = extract::start(this.folder.clone(), key, archive, build_id).await?;
                this.count(&entry);
                Ok(entry)
            });
            filled.await.unwrap_or_else(|error| Err(Failure::Unknown(format!("extraction ended early: {error}"))))
        };
        let filled = self.cache.try_get_with(key, fill).await;
        // The cache would evict when it is used the next time, which may be tomorrow.
        self.cache.run_pending_tasks().await;
        filled.map_err(|failure: Arc<Failure>| Failure::clone(&failure))
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
