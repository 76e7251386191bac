//! Members on disk under a size limit.
//!
//! - [`Entry`]: one member and its state: filling, complete, published, removed, or failed. Concurrent requests for a
//!   member share the entry that is being filled. A [`Reader`] is counted, and keeps the file open.
//! - [`entries`]: the one list of what is cached, and the order of eviction by [`mod@cost`] and use.
//! - [`eviction`]: names of files in the cache directory, and space for them.
//! - [`Filler`]: where bytes come from: an [`extraction`] or a [`relay`]. It writes ([`writer`]) to a
//!   [`temporary_file`].
//! - [`fill`]: what all fills do: the check of the build-id ([`build_id_note`]), the name of the complete file.
//! - [`memory_fallback`]: members that cannot be written to the disk.
//! - [`prefetch`]: members beside the requested one in an archive.
//! - [`directory`]: the cache directory, and what an earlier run left in it; [`lock`]: one gateway per directory;
//!   [`sidecar`]: IMA signatures of files, and where relayed ones come from.
//! - [`readable`]: everything that responses read; [`content`]: its bytes in a response; [`small_contents`]: those
//!   that are cached in memory.
//! - [`sections`], [`classification`]: what is remembered of files; [`modules`]: decompressed kernel modules.

mod build_id_note;
mod classification;
mod content;
mod cost;
mod directory;
mod entries;
mod entry;
mod eviction;
mod extraction;
mod fill;
mod filler;
mod lock;
mod memory_fallback;
mod modules;
mod prefetch;
mod readable;
mod relay;
mod sections;
mod sidecar;
mod small_contents;
mod temporary_file;
mod writer;

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use anyhow::{Context, Result};
use artifact::{BuildId, Identity};
use bytes::Bytes;
use bytesize::ByteSize;
use futures::FutureExt;
use futures::future::{BoxFuture, Shared};
use sha2::{Digest, Sha256};
use tempfile::SpooledTempFile;
use tokio::runtime::Handle;
use tokio::task::spawn_blocking;

use crate::config::{self, Abandoned};
use crate::locked::locked;
use crate::metrics::METRICS;
use crate::permits::Permit;
use crate::providers::archives::LocationKey;
use crate::resolve::outcome::{CauseKind, Miss};

pub(crate) use content::Content;
use directory::PublishedFile;
use entries::{Entries, disk_bytes};
use entry::is_lost;
pub(crate) use entry::{Entry, Reader};
pub(crate) use filler::Filler;
pub(crate) use readable::{ExternalFile, Readable};
pub(crate) use sections::SectionPosition;
pub(crate) use sidecar::{Origin, Told};
use temporary_file::TemporaryFile;

/// A member: its package, and its number among the files of the package. A file of upstreams has no package: its
/// identity is the digest of the path by which it is asked for ([`Self::relayed`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct MemberKey {
    pub(crate) identity: Identity,
    pub(crate) ordinal: u32,
}

impl MemberKey {
    /// The file that upstreams have at this path: `buildid/ID/debuginfo`.
    pub(crate) fn relayed(path: &str) -> Self {
        Self { identity: Identity::from_bytes(Sha256::digest(path).into()), ordinal: 0 }
    }
}

/// A place that a member can be had from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum MemberPlace {
    /// An archive.
    Location(LocationKey),
    /// The upstream with this number.
    Upstream(usize),
}

/// The opening of a member's source at one of `places`, which concurrent requests share.
struct Opening {
    places: Vec<MemberPlace>,
    reader: SharedReader,
}

type SharedReader = Shared<BoxFuture<'static, Result<Reader, Miss>>>;

/// The cache of members. Clones share it.
#[derive(Clone)]
pub(crate) struct MemberCache {
    directory: Arc<directory::Directory>,
    /// Bytes of disk.
    max_bytes: u64,
    entries: Arc<Mutex<Entries>>,
    small_contents: small_contents::SmallContents,
    section_positions: sections::SectionPositions,
    classifications: classification::Classifications,
    modules: modules::Modules,
    abandoned: Abandoned,
    prefetch: config::PrefetchSettings,
    stall_timeout: Duration,
    runtime: Handle,
}

/// Fails a fill that receives no byte for this long. A disk that spins up takes 10 s; clients give up after 90 s.
const STALL_TIMEOUT: Duration = Duration::from_secs(60);

/// How long a start waits for a predecessor on the same cache directory to end.
const LOCK_TIMEOUT: Duration = Duration::from_secs(10);

impl MemberCache {
    /// Locks and opens the cache directory, creates it if necessary, and lists the files of an earlier run.
    ///
    /// # Errors
    /// Another gateway uses the directory, or it cannot be read or written.
    pub(crate) async fn open(
        directory: &Path,
        max_bytes: ByteSize,
        abandoned: Abandoned,
        prefetch: config::PrefetchSettings,
    ) -> Result<Self> {
        std::fs::create_dir_all(directory).with_context(|| format!("cache directory {}", directory.display()))?;
        let lock = lock::DirectoryLock::acquire(directory, LOCK_TIMEOUT).await?;
        let cache = Self {
            directory: Arc::new(directory::Directory::open(directory, lock)?),
            max_bytes: max_bytes.as_u64(),
            entries: Arc::new(Mutex::new(Entries::new())),
            small_contents: small_contents::SmallContents::new(),
            section_positions: sections::SectionPositions::new(),
            classifications: classification::Classifications::new(),
            modules: modules::Modules::new(max_bytes.as_u64()),
            abandoned,
            prefetch,
            stall_timeout: STALL_TIMEOUT,
            runtime: Handle::current(),
        };
        let opened = cache.clone();
        spawn_blocking(move || opened.list_published()).await??;
        Ok(cache)
    }

    /// Inserts the files that an earlier run published, and removes what it left incomplete.
    fn list_published(&self) -> Result<()> {
        self.directory.remove_temporary_files()?;
        for PublishedFile { key, info, cost } in self.directory.published_files()? {
            let entry = Arc::new(Entry::published(info));
            if !self.entries().insert_published(key, entry.clone(), cost, false) {
                // The same member of another size or digest: one file of a member is listed.
                self.directory.unlink(entry.info());
            }
        }
        self.evict();
        Ok(())
    }

    /// A reader of a member that is cached or being filled. `None` too if its file cannot be opened at present:
    /// [`Self::fill`] returns why.
    pub(crate) async fn find(&self, key: MemberKey) -> Option<Reader> {
        let opened = self.open_entry(key).await;
        opened.inspect_err(|failure| tracing::warn!(%failure, "a cached file cannot be opened")).ok().flatten()
    }

    /// A reader of the present entry of a member, with its file open unless it is in memory. An entry whose file was
    /// lost is removed.
    ///
    /// # Errors
    /// The file cannot be opened, which proves nothing of the file.
    async fn open_entry(&self, key: MemberKey) -> Result<Option<Reader>, Miss> {
        let Some(reader) = self.entries().read(key) else { return Ok(None) };
        if self.small_contents.has(&reader) {
            return Ok(Some(reader));
        }
        let path = reader.path().display();
        match reader.open() {
            Ok(_) => Ok(Some(reader)),
            Err(_) if reader.has_failed() => Ok(None),
            Err(error) if is_lost(&error) => {
                tracing::debug!(%path, %error, "a cached file was lost");
                let (this, entry) = (self.clone(), reader.entry().clone());
                let remove =
                    move || this.remove_files(|entries| Vec::from_iter(entries.remove(key, &entry).then_some(entry)));
                // Only a panic could fail it.
                let _ = spawn_blocking(remove).await;
                Ok(None)
            }
            Err(error) => Err(Miss::local(format!("{path}: {error}"))),
        }
    }

    /// A reader of a member, which `filler` fills from one of `places` unless it is cached or being
    /// filled. Returns when its bytes begin to come. An ELF file must state `build_id`. The permit is released when the
    /// fill ends, or is not needed.
    ///
    /// # Errors
    /// Why `filler` failed, or that the disk and the memory fallback have no space.
    pub(crate) async fn fill<F>(
        &self,
        key: MemberKey,
        places: Vec<MemberPlace>,
        build_id: Option<&BuildId>,
        permit: Permit,
        filler: F,
    ) -> Result<Reader, Miss>
    where
        F: Future<Output = Result<Filler, Miss>> + Send + 'static,
    {
        let own = loop {
            if let Some(reader) = self.open_entry(key).await? {
                return Ok(reader);
            }
            let (opening, is_same) = {
                let mut entries = self.entries();
                match entries.opening(key) {
                    Some(opening) => {
                        (opening.reader.clone(), places.iter().all(|place| opening.places.contains(place)))
                    }
                    // Inserted since `open_entry`.
                    None if entries.contains(key) => continue,
                    None => {
                        let reader = self.open_source(key, build_id.cloned(), permit, filler);
                        entries.insert_opening(key, Opening { places, reader: reader.clone() });
                        break reader;
                    }
                }
            };
            match opening.await {
                // The failure of other places tells nothing of these.
                Err(_) if !is_same => {}
                opened => return opened,
            }
        };
        own.await
    }

    /// Opens the source of a member on the main runtime: a client that disconnects does not end what other requests
    /// wait for.
    fn open_source<F>(&self, key: MemberKey, build_id: Option<BuildId>, permit: Permit, filler: F) -> SharedReader
    where
        F: Future<Output = Result<Filler, Miss>> + Send + 'static,
    {
        let this = self.clone();
        let opening = self.runtime.spawn(async move {
            let _ended = OpeningEnd { cache: this.clone(), key };
            let filler = filler.await?;
            let begin = move || filler.begin(&this, key, build_id, permit);
            spawn_blocking(begin).await.unwrap_or_else(|error| Err(ended_early(&error)))
        });
        opening.map(|opened| opened.unwrap_or_else(|error| Err(ended_early(&error)))).boxed().shared()
    }

    /// True if a request waits for the opening of a member's source. The list has the other reference to it.
    pub(crate) fn is_opening_awaited(&self, key: MemberKey) -> bool {
        self.entries().opening(key).and_then(|opening| opening.reader.strong_count()).is_some_and(|count| count > 1)
    }

    /// The bytes of small content of a complete member.
    pub(crate) async fn small(&self, content: &Content) -> Option<Bytes> {
        self.small_contents.bytes(content).await
    }

    /// Removes an entry whose fill has stalled, so that the next request has the member from elsewhere. Its readers
    /// read on. A fill has stalled if it received no byte for `max_silence`. False if the fill goes on.
    pub(crate) fn detach(&self, key: MemberKey, reader: &Reader, max_silence: Duration) -> bool {
        let mut entries = self.entries();
        let silence = reader.silence();
        let goes_on = silence.is_some_and(|silence| silence < max_silence) && entries.has(key, reader.entry());
        if silence.is_some() && !goes_on {
            entries.remove(key, reader.entry());
        }
        drop(entries);
        self.show();
        !goes_on
    }

    /// A file without a name and with space for whatever fits, which is in memory up to `memory_bytes`.
    pub(crate) fn scratch_file(&self, memory_bytes: usize) -> SpooledTempFile {
        self.directory.scratch_file(memory_bytes)
    }

    /// The size of the whole cache, bytes.
    pub(crate) fn max_bytes(&self) -> u64 {
        self.max_bytes
    }

    /// Expects that files can be written.
    ///
    /// # Errors
    /// They cannot, with the reason.
    pub(crate) fn check(&self) -> Result<()> {
        self.directory.check()
    }

    /// True if a file of `bytes` bytes is not larger than the whole cache.
    fn fits(&self, bytes: u64) -> bool {
        disk_bytes(bytes) <= self.max_bytes
    }

    /// A file for `size` bytes. If the disk has less free, files without readers are evicted. If that is not enough,
    /// the file is in memory. For threads that may block.
    fn temporary_file(&self, size: u64) -> Result<TemporaryFile, Miss> {
        self.make_space(size);
        self.directory.temporary_file(size).or_else(|error| {
            let failure = self.directory.write_failure(&error);
            let file = self.directory.memory_fallback(size);
            let file = file.map_err(|second| Miss::local(format!("{failure}; {second}")))?;
            tracing::warn!(%failure, bytes = size, "a member is sent from memory");
            METRICS.cache_memory_fallbacks.inc();
            Ok(file)
        })
    }

    fn entries(&self) -> MutexGuard<'_, Entries> {
        locked(&self.entries)
    }

    /// Sets the metrics of the cache.
    fn show(&self) {
        let entries = self.entries();
        METRICS.cache_files.set(entries.len().try_into().unwrap_or(i64::MAX));
        METRICS.cache_bytes.set(entries.bytes().try_into().unwrap_or(i64::MAX));
    }
}

/// Removes an opening from the list when its task ends, however it ends.
struct OpeningEnd {
    cache: MemberCache,
    key: MemberKey,
}

impl Drop for OpeningEnd {
    fn drop(&mut self) {
        self.cache.entries().remove_opening(self.key);
    }
}

fn ended_early(error: &tokio::task::JoinError) -> Miss {
    Miss::gateway(CauseKind::Broken, format!("a fill ended early: {error}"))
}

#[cfg(test)]
mod tests;
