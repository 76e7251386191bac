//! Members extracted from archives, on disk under a size limit.
//!
//! - One [`Entry`] is one member: growing while it is extracted, whole afterwards. Concurrent questions for a member share one
//!   entry, so it is extracted once; [`entry`] says how it is read while it grows.
//! - [`content`]: the bytes of an entry that a response delivers.
//! - [`extract`] fills an entry, from one location after the other; [`work`] is what it knows of it, [`growing`] what it writes to; the
//!   file gets its name only when it is whole and its digest is right.
//! - [`mod@note`]: the build-id that a file itself says it has.
//! - [`neighbours`] keeps what an extraction passes on its way and is likely to be asked for next.
//! - [`disk`] is the cache folder, and finds at start what an earlier run left; [`draft`] is a file without a name, which gets one when it is
//!   whole.
//! - [`stand_in`] is for what the disk does not take.
//! - [`sections`] finds the sections of a file, and remembers where they are; [`kinds`] remembers what files turned out to be.
//! - [`modules`] decompresses kernel modules.
//! - [`memory`] keeps small files that were asked for; [`signature`] what a package says that IMA is to check of a file.
//! - [`eviction`] says, by [`mod@cost`] and use, which file goes when the cache is full; it is unlinked, and responses in flight keep their descriptor.

mod content;
mod cost;
mod disk;
mod draft;
mod entry;
mod eviction;
mod extract;
mod growing;
mod kinds;
mod lock;
mod memory;
mod modules;
mod neighbours;
mod note;
mod sections;
mod signature;
mod stand_in;
mod work;

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use artifact::{BuildId, Identity};
use bytes::Bytes;
use bytesize::ByteSize;
use moka::future::Cache;
use moka::ops::compute::{CompResult, Op};
use tokio::runtime::Handle;

use crate::config::{self, Abandoned};
use crate::metrics::METRICS;
use crate::permits::Permit;
use crate::providers::archives::Archive;
use crate::resolve::outcome::{CauseKind, Miss};

pub(crate) use content::Content;
use disk::Found;
pub(crate) use entry::Entry;
use eviction::{Eviction, room};
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
    /// Held as long as anything may be written into the directory.
    _lock: Arc<lock::DirectoryLock>,
    /// Bytes.
    most: u64,
    cache: Cache<Key, Arc<Entry>>,
    eviction: Arc<Mutex<Eviction>>,
    memory: memory::Memory,
    sections: sections::Sections,
    kinds: kinds::Kinds,
    modules: modules::Modules,
    abandoned: Abandoned,
    limits: config::PrefetchSettings,
    stalled_after: Duration,
    runtime: Handle,
}

/// How long an extraction may give no byte: a disk that spins up takes ten seconds, and clients leave after ninety.
const STALLED_AFTER: Duration = Duration::from_secs(60);

/// A file that was just extracted, or found, is held open for so long: who asked for it has it, whatever another gateway on the folder
/// evicts meanwhile.
const HELD_FOR: Duration = Duration::from_secs(2);

/// How long a start waits for a predecessor on the same cache directory to end.
const LOCK_TIMEOUT: Duration = Duration::from_secs(10);

impl Files {
    /// Opens the cache folder, makes it if need be, and takes over what an earlier run left there.
    pub(crate) async fn open(
        folder: &Path,
        most: ByteSize,
        abandoned: Abandoned,
        limits: config::PrefetchSettings,
    ) -> Result<Self> {
        std::fs::create_dir_all(folder).with_context(|| format!("cache directory {}", folder.display()))?;
        let lock = lock::DirectoryLock::acquire(folder, LOCK_TIMEOUT).await?;
        let folder = Arc::new(disk::Folder::open(folder)?);
        let files = Self {
            folder,
            _lock: Arc::new(lock),
            most: most.as_u64(),
            // Holds what `eviction` leaves.
            cache: Cache::builder().build(),
            eviction: Arc::new(Mutex::new(Eviction::new())),
            memory: memory::Memory::new(),
            sections: sections::Sections::new(),
            kinds: kinds::Kinds::new(),
            modules: modules::Modules::new(most.as_u64()),
            abandoned,
            limits,
            stalled_after: STALLED_AFTER,
            runtime: Handle::current(),
        };
        files.folder.remove_drafts()?;
        files.look().await?;
        Ok(files)
    }

    /// Takes over whole files that the folder has: of an earlier run, or of another gateway that uses it. Files that somebody removed are
    /// forgotten.
    async fn look(&self) -> Result<()> {
        let (folder, cache) = (self.folder.clone(), self.cache.clone());
        let look = move || {
            let lost: Vec<_> = cache.iter().filter(|(_, entry)| entry.is_whole() && !entry.is_usable()).collect();
            Ok::<_, anyhow::Error>((folder.whole_files(|key| cache.contains_key(key))?, lost))
        };
        let (found, lost) = tokio::task::spawn_blocking(look).await??;
        for (key, entry) in lost {
            if !self.memory.has(&entry) {
                self.forget(*key, &entry).await;
            }
        }
        for Found { key, entry, cost } in found {
            self.take_in(key, entry, cost).await;
        }
        self.evict().await;
        Ok(())
    }

    /// The member if it is here, whole or growing.
    pub(crate) async fn find(&self, key: Key) -> Option<Arc<Entry>> {
        let entry = self.cache.get(&key).await?;
        if entry.is_whole() && self.memory.has(&entry) || entry.is_usable() {
            if entry.use_now() {
                self.eviction().use_now(key);
                if entry.is_met() {
                    METRICS.prefetched_members_used.inc();
                }
            }
            return Some(entry);
        }
        // Failed, or unlinked by somebody else.
        self.forget(key, &entry).await;
        None
    }

    /// The member, extracted from the archive that `open` opens unless it is here already. Comes back when the extraction began; an
    /// ELF file's build-id note has to state `build_id`. The permit is released when the extraction ends, or is not needed.
    pub(crate) async fn fill<F>(
        &self,
        key: Key,
        build_id: Option<&BuildId>,
        permit: Permit,
        open: F,
    ) -> Result<Arc<Entry>, Miss>
    where
        F: Future<Output = Result<Archive, Miss>> + Send + 'static,
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
                let entry = extract::start(&files, key, archive, build_id, permit)?;
                files.see_through(key, &entry);
                Ok(entry)
            });
            begun.await.unwrap_or_else(|error| {
                Err(Miss::gateway(CauseKind::Broken, format!("extraction ended early: {error}")))
            })
        };
        let filled = self.cache.try_get_with(key, fill).await;
        filled.map_err(|failure: Arc<Miss>| Miss::clone(&failure))
    }

    /// Makes sure that an answer can be read to its end; no where its file has gone a moment ago, and has to be extracted again.
    pub(crate) fn hold(&self, content: &mut Content) -> bool {
        content.entry.has_name() && self.memory.has(&content.entry) || content.hold().is_ok()
    }

    /// The bytes of a small member that is whole, or of a small section of one.
    pub(crate) async fn small(&self, content: &Content) -> Option<Bytes> {
        self.memory.bytes(content).await
    }

    /// Forgets an entry that does not go on, so that the member can be had from elsewhere; who reads it goes on reading.
    pub(crate) async fn forget(&self, key: Key, entry: &Arc<Entry>) {
        let remove = |current: Option<moka::Entry<Key, Arc<Entry>>>| {
            let found = current.is_some_and(|current| Arc::ptr_eq(current.value(), entry));
            if found {
                // Before the next entry of the member can come: it must not take this one's file for its own.
                entry.evict();
            }
            std::future::ready(if found { Op::Remove } else { Op::Nop })
        };
        if let CompResult::Removed(_) = self.cache.entry(key).and_compute_with(remove).await {
            self.eviction().remove(key);
            self.show();
        }
    }

    /// Has the cache a place for so many bytes?
    fn fits(&self, bytes: u64) -> bool {
        room(bytes) <= self.most
    }

    /// A file that grows has its room from now on; what it cost is known when it is whole, and one that fails takes no room any more.
    fn see_through(&self, key: Key, entry: &Arc<Entry>) {
        // One that is larger than the whole cache is not kept, and puts nothing out.
        let fits = self.fits(entry.size());
        self.eviction().begin(key, if fits { entry.size() } else { 0 });
        self.show();
        let (this, began, failed) = (self.clone(), Instant::now(), entry.failed());
        // Another gateway extracted it, and knows what that took.
        let cost = entry.is_whole().then(|| cost::cost(entry.path(), entry.size()));
        let entry = Arc::downgrade(entry);
        self.runtime.spawn(async move {
            this.evict().await;
            let failed = failed.await;
            let (is_new, cost) = (cost.is_none(), cost.unwrap_or_else(|| began.elapsed()));
            let ended = Instant::now();
            // By then it is in the cache, if it gets there.
            while this.cache.get(&key).await.is_none() && ended.elapsed() < Duration::from_secs(1) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            match (this.cache.get(&key).await, entry.upgrade()) {
                (Some(current), Some(entry)) if Arc::ptr_eq(&current, &entry) => {
                    if failed || !fits || entry.is_evicted() {
                        this.forget(key, &entry).await;
                    } else {
                        if is_new {
                            entry.keep_cost(cost);
                        }
                        this.settle(key, &entry, cost, 1);
                    }
                }
                // Another one has its place.
                (Some(_), _) => {}
                (None, _) => this.eviction().remove(key),
            }
            this.evict().await;
            tokio::time::sleep(HELD_FOR).await;
            if let Some(entry) = entry.upgrade() {
                entry.let_go();
            }
        });
    }

    /// A file is whole: from now on it may go.
    fn settle(&self, key: Key, entry: &Entry, cost: Duration, uses: u32) {
        self.eviction().settle(key, entry.size(), cost, uses);
        self.show();
    }

    /// A file that nobody asked for yet: it is the first to go.
    async fn keep(&self, key: Key, entry: Entry, cost: Duration) {
        if !self.cache.contains_key(&key) {
            entry.keep_cost(cost);
            self.take_in(key, entry, cost).await;
        }
    }

    /// A whole file of the folder that nobody asked for, unless the member has an entry already.
    async fn take_in(&self, key: Key, entry: Entry, cost: Duration) {
        let current = self.cache.entry(key).or_insert_with(async { Arc::new(entry) }).await;
        if current.is_fresh() {
            self.settle(key, current.value(), cost, 0);
        }
    }

    /// Files go until the rest is no larger than the cache may be.
    async fn evict(&self) {
        loop {
            let next = {
                let mut eviction = self.eviction();
                if eviction.bytes() > self.most { eviction.next() } else { None }
            };
            let Some((key, _)) = next else { break };
            self.put_out(key, false).await;
        }
        self.show();
    }

    /// On a disk with less room than the cache may take, files go as if the cache were full; none, where that would not be enough.
    async fn make_room(&self, size: u64) {
        // Where this cannot be told, the extraction tells why.
        let missing = size.saturating_sub(self.folder.free().unwrap_or(u64::MAX));
        if missing == 0 {
            return;
        }
        if self.eviction().removable() < missing {
            return;
        }
        let mut made = 0;
        while made < missing {
            let next = self.eviction().next();
            let Some((key, bytes)) = next else { break };
            self.put_out(key, true).await;
            made += bytes;
        }
        self.show();
        tracing::warn!(
            missing,
            made,
            "the cache folder's disk is full before the cache is: files went before their time"
        );
    }

    /// A file goes; `for_room` at once, where a descriptor of ours would keep the disk from having its room back.
    async fn put_out(&self, key: Key, for_room: bool) {
        if let Some(entry) = self.cache.get(&key).await {
            if for_room {
                entry.evict_for_room();
            }
            self.forget(key, &entry).await;
            METRICS.cache_evictions.inc();
        }
    }

    /// Can files be written?
    pub(crate) fn check(&self) -> Result<()> {
        self.folder.check()
    }

    fn eviction(&self) -> MutexGuard<'_, Eviction> {
        self.eviction.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// In metrics.
    fn show(&self) {
        let eviction = self.eviction();
        METRICS.cache_files.set(eviction.len().try_into().unwrap_or(i64::MAX));
        METRICS.cache_bytes.set(eviction.bytes().try_into().unwrap_or(i64::MAX));
    }
}
