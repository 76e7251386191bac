//! Packages whose header was not read when they came into the index: a repository's metadata or an old database names
//! them, and claims their build-ids.
//!
//! A package is read when a client requests what it claims: of an RPM the header alone ([`super::header`]), of others
//! all. The result is remembered, and for a short time also that no location has it. Concurrent requests
//! share one read. Nothing is written to the index.

use std::collections::HashMap;
use std::io::Read;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use artifact::formats::{self, ArchiveBytes, ArchiveInfo, ParsedArchive};
use artifact::limits::{self, MAX_ELF_BYTES};
use artifact::{Artifact, Format, Package, artifacts};
use futures::FutureExt;
use futures::future::{BoxFuture, Shared};
use moka::Expiry;
use moka::future::Cache;
use sql::{Location, StoredPackage, UnreadPackage};
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::{Archives, Bytes, Expected, broken, ended_early, header, of_location, place, read_header, url};
use crate::locked::locked;
use crate::metrics::METRICS;
use crate::permits::{ClientAddress, Permits};
use crate::providers::StoreError;
use crate::providers::flow::Flow;
use crate::providers::walk::{Candidate, Walked, walk};
use crate::resolve::deadline::{Deadline, EXTRACTION_PERMIT_TIMEOUT};
use crate::resolve::outcome::{CauseKind, Miss, Outcome, Provider};

/// How long a package is remembered.
const READ_TTL: Duration = Duration::from_secs(60 * 60);
/// How long it is remembered that no location has a package.
const REFUTED_TTL: Duration = Duration::from_secs(60);
/// Maximum of artifacts in memory: each takes about 200 bytes.
const MAX_ARTIFACTS: u64 = 200_000;

/// A package whose header was not read at import, as its archive has it.
pub(crate) struct ReadPackage {
    package: Package,
    /// The files with a build-id, as an index would have them.
    pub(crate) artifacts: Vec<Artifact>,
    is_open: bool,
}

/// A package that was read; `None` if no location has it.
type Reading = Option<Arc<ReadPackage>>;
/// The id in the index, and the name: SQLite gives ids of rows that were removed to other packages.
type Key = (i64, String);

/// Settings for packages without a header, which are read whole.
#[derive(Clone)]
pub(crate) struct WholeReads {
    pub(crate) permits: Permits,
    pub(crate) client: ClientAddress,
    /// Maximum size of such a package in bytes.
    pub(crate) max_bytes: u64,
    /// A location that gives no byte for so long is given up.
    pub(crate) stall_timeout: Duration,
}

/// The packages that were read, and those that are being read.
#[derive(Clone)]
pub(super) struct UnreadPackages {
    read: Cache<Key, Reading>,
    reads: Arc<Mutex<HashMap<Key, SharedRead>>>,
}

type SharedRead = Shared<BoxFuture<'static, Outcome<Reading>>>;

/// The result of reading at one location.
enum Found {
    /// The package.
    Package(Box<ReadPackage>),
    /// A package that is larger than may be read.
    TooLarge(u64),
}

impl ReadPackage {
    /// The package as the index will have it, at the locations that it has now.
    pub(crate) fn stored(&self, unread: &UnreadPackage) -> StoredPackage {
        StoredPackage {
            id: unread.id,
            package: self.package.clone(),
            distro: unread.distro.clone(),
            open: self.is_open,
            locations: unread.locations.clone(),
        }
    }
}

impl UnreadPackages {
    pub(super) fn new() -> Self {
        let weight = |_: &Key, reading: &Reading| {
            let artifacts = reading.as_ref().map_or(0, |read| read.artifacts.len());
            u32::try_from(artifacts).unwrap_or(u32::MAX).saturating_add(1)
        };
        let read = Cache::builder().weigher(weight).max_capacity(MAX_ARTIFACTS).expire_after(Lifetime).build();
        Self { read, reads: Arc::default() }
    }
}

/// The lifetimes of packages that were read, and of those that no location has.
struct Lifetime;

impl Expiry<Key, Reading> for Lifetime {
    fn expire_after_create(&self, _: &Key, reading: &Reading, _: Instant) -> Option<Duration> {
        Some(if reading.is_some() { READ_TTL } else { REFUTED_TTL })
    }
}

impl Archives {
    /// Returns a package as its archive has it, from memory or from the first location that has it; `None` if none
    /// has. A package without a header is read whole: that may take longer than `deadline`, as long as bytes come.
    ///
    /// # Errors
    /// A location could not be asked, and no other one has the package.
    pub(crate) async fn read_package(
        &self,
        unread: &Arc<UnreadPackage>,
        whole: &WholeReads,
        deadline: Deadline,
    ) -> Outcome<Reading> {
        let key = (unread.id, unread.nevra.to_string());
        if let Some(reading) = self.unread.read.get(&key).await {
            return Ok(reading);
        }
        let read = {
            let mut reads = locked(&self.unread.reads);
            let begin = || {
                let reading = self.clone().read_and_remember(key.clone(), unread.clone(), whole.clone(), deadline);
                // It continues after its client has disconnected, for the others.
                let task = self.runtime.spawn(reading);
                let ended = |ended: Result<_, _>| {
                    ended
                        .unwrap_or_else(|error| Err(Miss::gateway(CauseKind::Broken, format!("a read ended: {error}"))))
                };
                task.map(ended).boxed().shared()
            };
            reads.entry(key.clone()).or_insert_with(begin).clone()
        };
        read.await
    }

    /// Reads a package, and remembers it.
    async fn read_and_remember(
        self,
        key: Key,
        unread: Arc<UnreadPackage>,
        whole: WholeReads,
        deadline: Deadline,
    ) -> Outcome<Reading> {
        let _running = Running { reads: self.unread.reads.clone(), key: key.clone() };
        // Another read may have ended a moment ago.
        if let Some(reading) = self.unread.read.get(&key).await {
            return Ok(reading);
        }
        let locations = unread.locations.iter().filter(|location| location.gone_at.is_none());
        let locations = self.in_order(locations);
        let read = match unread.format {
            Format::Rpm => {
                let open = |location: Location| {
                    let (archives, unread) = (self.clone(), unread.clone());
                    async move { archives.read_header_at(&unread, &location).await }
                };
                self.walk(locations, deadline, open).await
            }
            _ => Box::pin(self.read_whole_of_first(&unread, locations, &whole)).await?,
        };
        let Walked { found, misses } = read;
        let found = match found {
            Some((_, found)) => Ok(found),
            None => Err(Miss::of_all(misses.into_iter().map(|(_, miss)| miss))),
        };
        let nvra = unread.nevra.nvra();
        let (result, reading) = match found {
            Ok(Found::Package(read)) => ("confirmed", Ok(Some(Arc::new(*read)))),
            Ok(Found::TooLarge(bytes)) => {
                // Its contents are unknown, so that it is not absent.
                let text = format!("{nvra}: too large: {bytes} bytes, claims.max_bytes is {}", whole.max_bytes);
                ("too_large", Err(Miss::gateway(CauseKind::Refused, text)))
            }
            Err(Miss::Absent(text)) => {
                tracing::debug!(nvra, text, "no location confirms a claimed package");
                ("refuted", Ok(None))
            }
            Err(miss) => ("unavailable", Err(miss)),
        };
        METRICS.claims.with_label_values(&[result]).inc();
        if let Ok(reading) = &reading {
            self.unread.read.insert(key, reading.clone()).await;
        }
        reading
    }

    /// Reads the header of an RPM at a location.
    async fn read_header_at(&self, unread: &UnreadPackage, location: &Location) -> Outcome<Found> {
        let expected = Expected { format: Format::Rpm, identity: unread.identity };
        let local = async {
            let Bytes { header, parts, .. } = self.open_local(expected, location).await?;
            expect_size(location, parts.map(|parts| parts.bytes()))?;
            header.ok_or_else(|| StoreError::failed(CauseKind::Broken, "expected a header"))
        };
        let remote = async {
            let place = place(location);
            let url = url(location).ok_or_else(|| StoreError::Absent(format!("{place}: not below its store's URL")))?;
            let bytes = header::fetch(&self.clients.of(&location.store)?, &url, location, &place).await?;
            let parse = move || read_header(&mut &*bytes, expected.identity, &place);
            spawn_blocking(parse).await.unwrap_or_else(|error| Err(ended_early(&error)))
        };
        let header = of_location(location, local, remote).await?;
        expect_nevra(unread, &header.package, location)?;
        self.headers.insert(header.package.identity, header.clone()).await;
        let found = artifacts::from_header(&header);
        let is_open = !found.open.is_empty();
        let package = header.package.clone();
        Ok(Found::Package(Box::new(ReadPackage { package, artifacts: found.artifacts, is_open })))
    }

    /// Reads a package without a header whole, at the first of `locations` that has it, under a permit to extract. The
    /// next one is not tried beside one that is read.
    async fn read_whole_of_first(
        &self,
        unread: &UnreadPackage,
        locations: Vec<Location>,
        whole: &WholeReads,
    ) -> Outcome<Walked<Location, Found>> {
        let permit = timeout(EXTRACTION_PERMIT_TIMEOUT, whole.permits.acquire(whole.client)).await;
        let _permit = permit.map_err(|_| {
            Miss::local(format!("expected a permit to extract within {EXTRACTION_PERMIT_TIMEOUT:?}, found none"))
        })?;
        let candidate = |(rank, provider): (i32, Location)| Candidate { provider, rank, hedge_after: Duration::MAX };
        let walked = walk((0..).zip(locations).map(candidate).collect(), |location: &Location, _| {
            let location = location.clone();
            async move { self.read_whole_at(unread, &location, whole).await }
        })
        .await;
        self.mark_failed(&walked.misses).await;
        Ok(walked)
    }

    /// Reads a package without a header whole. It fails when no byte arrived for the stall timeout.
    async fn read_whole_at(&self, unread: &UnreadPackage, location: &Location, whole: &WholeReads) -> Outcome<Found> {
        let too_large = |bytes: Option<u64>| bytes.filter(|bytes| *bytes > whole.max_bytes).map(Found::TooLarge);
        if let Some(found) = too_large(location.size) {
            return Ok(found);
        }
        let (flow, max_bytes) = (Arc::new(Flow::default()), whole.max_bytes);
        let counted = flow.clone();
        let read = async move {
            let expected = Expected { format: unread.format, identity: unread.identity };
            let Bytes { rest, parts, .. } = self.open_bytes(expected, location).await?;
            let bytes = parts.map(|parts| parts.bytes()).or(location.size);
            if let Some(found) = too_large(bytes) {
                return Ok(found);
            }
            let archive = bounded(counted.of_archive(rest), max_bytes);
            let (format, at, size) = (unread.format, location.clone(), bytes.unwrap_or(max_bytes));
            let read = move || {
                let name = at.path.rsplit('/').next().unwrap_or_default();
                let mtime = at.mtime_ns.map_or(0, |mtime_ns| mtime_ns.div_euclid(1_000_000_000));
                let max_elf_bytes = limits::max_elf_bytes(size).min(MAX_ELF_BYTES);
                let read = formats::read_archive(archive, &ArchiveInfo { format, name, size, mtime }, max_elf_bytes);
                read.map_err(|error| match &error {
                    artifact::Error::Io(io) => Miss::store(&at.store.name, CauseKind::of_io(io), error.to_string()),
                    error => broken(&at, format!("{}: {error}", place(&at))),
                })
            };
            let ended = spawn_blocking(read).await;
            let parsed = ended.unwrap_or_else(|error| Err(ended_early(&error).of_store(&location.store.name)))?;
            expect_nevra(unread, &parsed.package, location)?;
            let ParsedArchive { package, artifacts, too_large } = parsed;
            Ok(Found::Package(Box::new(ReadPackage { package, artifacts, is_open: too_large.is_some() })))
        };
        let store = Provider::Store(location.store.name.clone());
        flow.on(whole.stall_timeout, store, &place(location), Box::pin(read)).await
    }
}

/// A read that goes on: removed from those that others can share when it is dropped.
struct Running {
    reads: Arc<Mutex<HashMap<Key, SharedRead>>>,
    key: Key,
}

impl Drop for Running {
    fn drop(&mut self) {
        locked(&self.reads).remove(&self.key);
    }
}

/// At most `max_bytes` bytes of an archive whose size is not known.
fn bounded(archive: ArchiveBytes<'static>, max_bytes: u64) -> ArchiveBytes<'static> {
    match archive {
        ArchiveBytes::Stream(input) => ArchiveBytes::stream(input.take(max_bytes)),
        seekable @ ArchiveBytes::Seekable(_) => seekable,
    }
}

/// Expects an archive to have the size that its location states.
fn expect_size(location: &Location, found: Option<u64>) -> Result<(), StoreError> {
    match (location.size, found) {
        (Some(expected), Some(found)) if expected != found => {
            Err(StoreError::Absent(format!("{}: expected {expected} bytes, found {found}", place(location))))
        }
        _ => Ok(()),
    }
}

/// Expects a package to be the one that is claimed. An old database has no epochs.
fn expect_nevra(unread: &UnreadPackage, found: &Package, location: &Location) -> Outcome<()> {
    let is_named = match unread.nevra.epoch {
        Some(_) => unread.nevra.is_same_package(&found.nevra),
        None => unread.nevra.nvra() == found.nevra.nvra(),
    };
    let is_identity = unread.identity.is_none_or(|identity| identity == found.identity);
    if is_named && is_identity {
        return Ok(());
    }
    let (expected, found) = (&unread.nevra, &found.nevra);
    Err(Miss::Absent(format!("{}: expected the package {expected}, found {found}", place(location))))
}
