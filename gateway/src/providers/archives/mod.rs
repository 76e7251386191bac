//! An archive's bytes, from the gateway's own disk or from a store over HTTP.
//!
//! A local archive ([`local`]) is opened below its store's directory and nowhere else; a remote one ([`remote`]) is
//! fetched below its store's URL and nowhere else. An RPM's header is read first and must be that of the package that
//! the index knows. What has no header must have the size, and on a disk the time, that the index knows; what is in
//! it is checked by the digests of its members. So a file that was replaced is absent, not wrong.

mod clients;
mod enter;
mod header;
mod health;
mod local;
mod local_file;
mod locations;
mod parts;
mod place;
mod remote;
mod unread;

use std::io::{self, Read};
use std::sync::Arc;
use std::time::Duration;

use artifact::formats::{self, Catalog};
use artifact::header::{File, Header};
use artifact::payload::BlockIndex;
use artifact::{Artifact, Format, Identity, Package};
use moka::future::Cache;
use sql::{Location, StoredPackage};
use tokio::runtime::Handle;
use tokio::task::spawn_blocking;
use url::Url;

use crate::metrics::METRICS;
use crate::permits::Permit;
use crate::providers::StoreError;
use crate::providers::flow::Flow;
use crate::resolve::outcome::{CauseKind, Miss, Outcome, Provider, label};

use clients::StoreClients;
use health::Stores;
use local::soon;
use parts::Parts;
use place::Place;
use unread::UnreadPackages;

pub(crate) use local::{expect_unchanged, open_below_root, unreadable};
pub(crate) use unread::{ReadPackage, WholeReads};

/// Between two reads of an archive over HTTP.
const READ_BYTES: usize = 256 << 10;
/// Memory for headers, and as much for catalogs.
const HEADERS_BYTES: u64 = 100 << 20;
/// Memory for where RPMs can be entered, and as much for other archives.
const BLOCK_INDEX_BYTES: u64 = 16 << 20;
/// How long a location that failed is tried after all others, and a derived place without its package not at all.
const UNHEALTHY_TTL: Duration = Duration::from_secs(60);

/// A location of a package: the id of its store, and the path in it.
pub(crate) type LocationKey = (i64, String);

/// Opens archives, and remembers their headers and which locations failed.
#[derive(Clone)]
pub(crate) struct Archives {
    clients: StoreClients,
    stores: Stores,
    headers: Cache<Identity, Arc<Header>>,
    catalogs: Cache<Identity, Arc<Catalog>>,
    block_indexes: Cache<Identity, Arc<BlockIndex>>,
    tar_block_indexes: Cache<Identity, Arc<formats::TarBlockIndex>>,
    /// Locations that failed.
    unhealthy: Cache<LocationKey, ()>,
    /// Derived places that did not have their package.
    never_there: Cache<LocationKey, ()>,
    unread: UnreadPackages,
    runtime: Handle,
}

/// An archive opened.
pub(crate) struct Archive {
    pub(crate) inside: Inside,
    /// Of an RPM: compressed, from the payload's first byte. Of anything else: all of it.
    payload: formats::ArchiveBytes<'static>,
    /// Parts of it all.
    parts: Option<Parts>,
    pub(crate) place: Place,
}

impl Archive {
    /// An RPM that is nowhere else, by its payload.
    #[cfg(test)]
    pub(crate) fn of_payload(header: Arc<Header>, payload: Box<dyn Read + Send>) -> Self {
        let archives = Archives::new("test");
        let package = header.package.clone();
        let stored = StoredPackage { id: 1, package, distro: String::new(), open: false, locations: Vec::new() };
        let wanted = WantedMember { ordinal: 0, file: None, tar_offset: None };
        let place =
            Place { archives, package: Arc::new(stored), wanted, location: (1, String::new()), tried: Vec::new() };
        Self { inside: Inside::Rpm(header), payload: formats::ArchiveBytes::Stream(payload), parts: None, place }
    }

    /// What is read from its first byte on: of an RPM the payload, of anything else all. It can be taken once.
    pub(crate) fn take(&mut self) -> formats::ArchiveBytes<'static> {
        std::mem::replace(&mut self.payload, formats::ArchiveBytes::stream(io::empty()))
    }
}

/// The contents of an archive.
pub(crate) enum Inside {
    /// An RPM, with its header.
    Rpm(Arc<Header>),
    /// A package without a header: the one member that is wanted.
    OtherFormat { format: Format, nvra: String, bytes: u64, ordinal: u32, file: Arc<File>, tar_offset: Option<u64> },
}

impl Inside {
    /// Name of the package.
    pub(crate) fn nvra(&self) -> String {
        match self {
            Self::Rpm(header) => header.package.nevra.nvra(),
            Self::OtherFormat { nvra, .. } => nvra.clone(),
        }
    }

    /// The file with this number, if it is a regular one.
    pub(crate) fn file(&self, ordinal: u32) -> Option<&File> {
        let file = match self {
            Self::Rpm(header) => header.file_by_ordinal(ordinal),
            Self::OtherFormat { ordinal: wanted, file, .. } => Some(&**file).filter(|_| *wanted == ordinal),
        };
        file.filter(|file| file.is_regular())
    }
}

/// A member that is wanted.
#[derive(Clone)]
pub(crate) struct WantedMember {
    pub(crate) ordinal: u32,
    /// What is known of it where its package has no header.
    pub(crate) file: Option<Arc<File>>,
    /// As [`Contents::tar_offset`](artifact::Contents::tar_offset).
    pub(crate) tar_offset: Option<u64>,
}

impl WantedMember {
    /// A file with a build-id.
    pub(crate) fn of(artifact: &Artifact) -> Self {
        let tar_offset = artifact.contents.and_then(|contents| contents.tar_offset);
        Self { ordinal: artifact.ordinal, file: formats::file_entry(artifact).map(Arc::new), tar_offset }
    }
}

impl Archives {
    /// Starts with an empty memory of headers. Requests to stores have this User-Agent.
    pub(crate) fn new(user_agent: &str) -> Self {
        let weight = |_: &Identity, header: &Arc<Header>| {
            let signature = |file: &File| file.signature.as_ref().map_or(0, |signature| signature.len());
            let bytes: usize =
                header.files.iter().map(|file| size_of_val(file) + file.path.len() + signature(file)).sum();
            u32::try_from(bytes).unwrap_or(u32::MAX)
        };
        let headers = Cache::builder().weigher(weight).max_capacity(HEADERS_BYTES).build();
        let weight = |_: &Identity, catalog: &Arc<Catalog>| u32::try_from(catalog.bytes()).unwrap_or(u32::MAX);
        let catalogs = Cache::builder().weigher(weight).max_capacity(HEADERS_BYTES).build();
        let weight = |_: &Identity, index: &Arc<BlockIndex>| u32::try_from(index.memory_bytes()).unwrap_or(u32::MAX);
        let block_indexes = Cache::builder().weigher(weight).max_capacity(BLOCK_INDEX_BYTES).build();
        let weight =
            |_: &Identity, index: &Arc<formats::TarBlockIndex>| u32::try_from(index.memory_bytes()).unwrap_or(u32::MAX);
        let tar_block_indexes = Cache::builder().weigher(weight).max_capacity(BLOCK_INDEX_BYTES).build();
        let failed = || Cache::builder().max_capacity(10_000).time_to_live(UNHEALTHY_TTL).build();
        Self {
            clients: StoreClients::new(user_agent),
            stores: Stores::default(),
            headers,
            catalogs,
            block_indexes,
            tar_block_indexes,
            unhealthy: failed(),
            never_there: failed(),
            unread: UnreadPackages::new(),
            runtime: Handle::current(),
        }
    }

    /// The header of a package, if it was read before.
    pub(crate) async fn known_header(&self, package: &StoredPackage) -> Option<Arc<Header>> {
        self.headers.get(&package.package.identity).await
    }

    /// Opens the archive of `package` at `location`.
    async fn open(
        &self,
        package: &Arc<StoredPackage>,
        location: &Location,
        wanted: &WantedMember,
    ) -> Result<Archive, Miss> {
        let (archives, tried) = (self.clone(), Vec::new());
        let place = Place {
            archives,
            package: package.clone(),
            wanted: wanted.clone(),
            location: location_key(location),
            tried,
        };
        if package.package.format == Format::Rpm {
            let Bytes { header, rest: payload, parts } =
                self.open_bytes(Expected::of(&package.package), location).await?;
            let header =
                header.ok_or_else(|| broken(location, format!("{}: expected a header", package.package.nevra)))?;
            self.headers.insert(package.package.identity, header.clone()).await;
            return Ok(Archive { inside: Inside::Rpm(header), payload, parts, place });
        }
        let Some(file) = wanted.file.clone() else {
            return Err(Miss::Absent(format!("{}: expected to know the member, found none", package.package.nevra)));
        };
        let opened = self.open_bytes(Expected::of(&package.package), location).await?;
        let bytes = opened.size(location);
        let Bytes { rest: payload, parts, .. } = opened;
        let (format, nvra) = (package.package.format, package.package.nevra.nvra());
        let inside =
            Inside::OtherFormat { format, nvra, bytes, ordinal: wanted.ordinal, file, tar_offset: wanted.tar_offset };
        Ok(Archive { inside, payload, parts, place })
    }

    /// The catalog of a package without a header, if it was made before.
    pub(crate) async fn known_catalog(&self, package: &StoredPackage) -> Option<Arc<Catalog>> {
        self.catalogs.get(&package.package.identity).await
    }

    /// Makes the catalog of a package without a header out of the archive at `location`, which is read whole.
    /// Concurrent requests share one read. `permit` is held until its end; it fails when no byte arrived for
    /// `stall_timeout`.
    async fn catalog(
        &self,
        package: &StoredPackage,
        location: &Location,
        permit: &Arc<Permit>,
        stall_timeout: Duration,
    ) -> Result<Arc<Catalog>, Miss> {
        let (identity, format) = (package.package.identity, package.package.format);
        let (this, package, location, permit) = (self.clone(), package.clone(), location.clone(), permit.clone());
        let make = async move {
            let (runtime, name, at) = (this.runtime.clone(), location.store.name.clone(), place(&location));
            let flow = Arc::new(Flow::default());
            let counted = flow.clone();
            // It continues after the last client has disconnected, for later requests.
            let made = runtime.spawn(async move {
                let opened = this.open_bytes(Expected::of(&package.package), &location).await?;
                let (store, at, bytes) = (location.store.name.clone(), place(&location), opened.size(&location));
                let archive = counted.of_archive(opened.rest);
                let read = move || {
                    let read = Catalog::read(archive, format, bytes, identity);
                    read.map_err(|error| broken(&location, format!("{at}: {error}")))
                };
                let catalog = Arc::new(
                    spawn_blocking(read).await.unwrap_or_else(|error| Err(ended_early(&error).of_store(&store)))?,
                );
                this.catalogs.insert(identity, catalog.clone()).await;
                drop(permit);
                Ok(catalog)
            });
            let made = async { made.await.unwrap_or_else(|error| Err(ended_early(&error).of_store(&name))) };
            flow.on(stall_timeout, Provider::Store(name.clone()), &at, made).await
        };
        self.catalogs.try_get_with(identity, make).await.map_err(|failure: Arc<Miss>| Miss::clone(&failure))
    }

    /// Opens the file of a package at `location`: of an RPM the header, and what follows it; of anything else all of
    /// it.
    async fn open_bytes(&self, expected: Expected, location: &Location) -> Outcome<Bytes> {
        of_location(location, self.open_local(expected, location), self.open_remote(expected, location)).await
    }
}

/// What is expected of an archive.
#[derive(Clone, Copy)]
struct Expected {
    format: Format,
    /// `None` if it is not known yet.
    identity: Option<Identity>,
}

impl Expected {
    fn of(package: &Package) -> Self {
        Self { format: package.format, identity: Some(package.identity) }
    }
}

/// What a location gives: `local` in its directory, `remote` below its URL. A directory that is also published is given
/// up soon.
async fn of_location<T>(
    location: &Location,
    local: impl Future<Output = Result<T, StoreError>>,
    remote: impl Future<Output = Result<T, StoreError>>,
) -> Outcome<T> {
    let given = match (&location.store.root, &location.store.base_url) {
        (Some(_), None) => local.await,
        (None, Some(_)) => remote.await,
        (Some(_), Some(_)) => match soon(location, local).await {
            Ok(given) => Ok(given),
            Err(local) => match (remote.await, local) {
                (Err(StoreError::Absent(_)), StoreError::Failed(fault)) => Err(StoreError::Failed(fault)),
                (given, _) => given,
            },
        },
        (None, None) => Err(StoreError::Absent(format!("store {} has neither directory nor URL", location.store.name))),
    };
    let given = given.map_err(|error| error.of_store(&location.store.name));
    let outcome = label(&given);
    METRICS.store_requests.with_label_values(&[location.store.tier.to_string().as_str(), outcome]).inc();
    given
}

/// The bytes of an archive.
struct Bytes {
    /// Of an RPM.
    header: Option<Arc<Header>>,
    /// What follows the header; all, where there is none: from anywhere, if it is on a disk.
    rest: formats::ArchiveBytes<'static>,
    /// Parts of it all, where that may help.
    parts: Option<Parts>,
}

impl Bytes {
    /// Bytes of the whole archive, as the index or else the store states them; 0 if neither does.
    fn size(&self, location: &Location) -> u64 {
        location.size.or_else(|| self.parts.as_ref().map(Parts::bytes)).unwrap_or_default()
    }
}

/// A location among all. The key of a location.
pub(crate) fn location_key(location: &Location) -> LocationKey {
    (location.store.id, location.path.clone())
}

/// The header of an archive that has to be the package `identity`, if that is known.
pub(crate) fn read_header(
    archive: &mut impl Read,
    identity: Option<Identity>,
    place: &str,
) -> Result<Arc<Header>, StoreError> {
    let failed = |error| StoreError::failed(CauseKind::Broken, format!("{place}: {error}"));
    let header = Header::read(archive).map_err(failed)?;
    let found = header.package.identity;
    match identity.filter(|expected| *expected != found) {
        Some(expected) => Err(StoreError::Absent(format!("{place}: expected the package {expected}, found {found}"))),
        None => Ok(Arc::new(header)),
    }
}

/// Where a location's archive can be downloaded: below its store's URL, if it has one. It may have a query that is
/// secret.
fn url(location: &Location) -> Option<Url> {
    http_client::below(location.store.base_url.as_deref()?, &location.path)
}

/// The same for clients, without secrets. `None` for a URL with a query: it is signed, and does not work without it.
pub(crate) fn public_url(location: &Location) -> Option<Url> {
    url(location).filter(|url| url.query().is_none()).as_ref().map(http_client::without_secrets)
}

/// Where a package can be downloaded now: at the best of its locations that has a URL.
pub(crate) fn published(locations: &[Location]) -> Option<Url> {
    locations.iter().filter(|location| location.gone_at.is_none()).find_map(public_url)
}

/// How a location is named in logs.
fn place(location: &Location) -> String {
    format!("store {}: {}", location.store.name, location.path)
}

fn broken(location: &Location, text: String) -> Miss {
    Miss::store(&location.store.name, CauseKind::Broken, text)
}

fn ended_early(error: &tokio::task::JoinError) -> StoreError {
    StoreError::failed(CauseKind::Broken, format!("the task ended early: {error}"))
}
