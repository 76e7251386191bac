//! An archive's bytes, from the gateway's own disk or from a store over HTTP.
//!
//! A local archive is opened below its store's folder and nowhere else (symbolic links included); a remote one is fetched below
//! its store's URL and nowhere else. An RPM's header is read first and must be that of the package that the index knows. What has no
//! header must have the size, and on a disk the time, that the index knows; what is in it is checked by the digests of its members.
//! So a file that was replaced is absent, not wrong.

use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use artifact::foreign::{self, Catalog};
use artifact::header::{self, Header};
use artifact::{Artifact, Format, Identity};
use cap_std::ambient_authority;
use cap_std::fs::{Dir, OpenOptions, OpenOptionsExt};
use futures::TryStreamExt;
use moka::future::Cache;
use reqwest::StatusCode;
use rustix::fs::OFlags;
use sql::{Location, StoredPackage};
use tokio::runtime::Handle;
use tokio::task::spawn_blocking;
use tokio_util::io::{StreamReader, SyncIoBridge};
use url::Url;

use crate::files::while_it_flows;
use crate::http_client::{self, reason};
use crate::metrics::METRICS;
use crate::sigcache;
use crate::turns::Turn;

/// Between two reads of an archive over HTTP.
const READ_BYTES: usize = 256 << 10;
/// A header over HTTP has to be there within this time.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// Memory for headers, and as much for catalogs.
const HEADERS_BYTES: u64 = 100 << 20;
/// How long a location that failed is tried after all others.
const FAULTY_FOR: Duration = Duration::from_secs(60);

/// Opens archives, and remembers their headers and which locations failed.
#[derive(Clone)]
pub(crate) struct Archives {
    client: reqwest::Client,
    headers: Cache<Identity, Arc<Header>>,
    catalogs: Cache<Identity, Arc<Catalog>>,
    /// Store and path.
    faulty: Cache<(i64, String), ()>,
    runtime: Handle,
}

/// An archive opened.
pub(crate) struct Archive {
    pub(crate) inside: Inside,
    /// Of an RPM: compressed, from the payload's first byte. Of anything else: all of it.
    pub(crate) payload: Box<dyn Read + Send>,
    pub(crate) place: Place,
}

/// What is in an archive.
pub(crate) enum Inside {
    /// All that the header says.
    Rpm(Arc<Header>),
    /// What has no header: the one member that is wanted.
    Foreign { format: Format, nvra: String, bytes: u64, ordinal: u32, file: Arc<header::File> },
}

impl Inside {
    /// Name of the package.
    pub(crate) fn nvra(&self) -> String {
        match self {
            Self::Rpm(header) => header.package.nevra.nvra(),
            Self::Foreign { nvra, .. } => nvra.clone(),
        }
    }

    /// The file with this number, if it is a regular one.
    pub(crate) fn file(&self, ordinal: u32) -> Option<&header::File> {
        let file = match self {
            Self::Rpm(header) => header.by_ordinal(ordinal),
            Self::Foreign { ordinal: wanted, file, .. } => Some(&**file).filter(|_| *wanted == ordinal),
        };
        file.filter(|file| file.is_regular())
    }

    /// Writes a member to `out`, which sees its bytes before they are known to be right.
    ///
    /// # Errors
    /// As [`artifact::payload::extract`] and [`foreign::extract`].
    pub(crate) fn extract(&self, payload: impl Read + Send, ordinal: u32, out: &mut impl Write) -> artifact::Result<()> {
        match self {
            Self::Rpm(header) => artifact::payload::extract(payload, header, ordinal, out),
            Self::Foreign { format, bytes, file, .. } => foreign::extract(payload, *format, *bytes, ordinal, file, out),
        }
    }
}

/// A member that is wanted.
#[derive(Clone)]
pub(crate) struct Wanted {
    pub(crate) ordinal: u32,
    /// What is known of it where its package has no header.
    pub(crate) file: Option<Arc<header::File>>,
}

impl Wanted {
    /// A file with a build-id.
    pub(crate) fn of(artifact: &Artifact) -> Self {
        Self { ordinal: artifact.ordinal, file: foreign::file(artifact).map(Arc::new) }
    }
}

/// Where an archive was opened: what to blame when its payload is broken.
#[derive(Clone)]
pub(crate) struct Place {
    archives: Archives,
    location: (i64, String),
}

impl Place {
    /// Other locations go before this one for a while. For threads that may block.
    pub(crate) fn blame(self) {
        let runtime = self.archives.runtime.clone();
        runtime.block_on(self.archives.faulty.insert(self.location, ()));
    }
}

/// Why a location gave nothing.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// It definitely does not have the file.
    #[error("{0}")]
    Absent(String),
    /// It could not be asked, or what it gave is broken.
    #[error("{0}")]
    Unknown(String),
    /// It is not to blame: this machine could not take the file, wherever it comes from.
    #[error("{0}")]
    Here(String),
}

impl Archives {
    /// Starts with an empty memory of headers.
    pub(crate) fn new(client: reqwest::Client) -> Self {
        let weight = |_: &Identity, header: &Arc<Header>| {
            let signature = |file: &header::File| file.signature.as_ref().map_or(0, |signature| signature.len());
            let bytes: usize = header.files.iter().map(|file| size_of_val(file) + file.path.len() + signature(file)).sum();
            u32::try_from(bytes).unwrap_or(u32::MAX)
        };
        let headers = Cache::builder().weigher(weight).max_capacity(HEADERS_BYTES).build();
        let weight = |_: &Identity, catalog: &Arc<Catalog>| u32::try_from(catalog.bytes()).unwrap_or(u32::MAX);
        let catalogs = Cache::builder().weigher(weight).max_capacity(HEADERS_BYTES).build();
        let faulty = Cache::builder().max_capacity(10_000).time_to_live(FAULTY_FOR).build();
        Self { client, headers, catalogs, faulty, runtime: Handle::current() }
    }

    /// The present locations of a package, those that failed a moment ago behind the others.
    pub(crate) fn locations<'a>(&self, package: &'a StoredPackage) -> Vec<&'a Location> {
        let mut present: Vec<_> = package.present().collect();
        present.sort_by_key(|location| self.faulty.contains_key(&key(location)));
        present
    }

    /// Other locations go before this one for a while.
    pub(crate) async fn blame(&self, location: &Location) {
        self.faulty.insert(key(location), ()).await;
    }

    /// The header of a package, if it was read before.
    pub(crate) async fn known_header(&self, package: &StoredPackage) -> Option<Arc<Header>> {
        self.headers.get(&package.package.identity).await
    }

    /// Opens the archive of `package` at `location`.
    pub(crate) async fn open(&self, package: &StoredPackage, location: &Location, wanted: &Wanted) -> Result<Archive, Failure> {
        let place = self.place(location);
        if package.package.format == Format::Rpm {
            let (header, payload) = self.open_bytes(package, location).await?;
            let header = header.ok_or_else(|| Failure::Unknown(format!("{}: expected a header", package.package.nevra)))?;
            self.headers.insert(package.package.identity, header.clone()).await;
            return Ok(Archive { inside: Inside::Rpm(header), payload, place });
        }
        let Some(file) = wanted.file.clone() else {
            return Err(Failure::Absent(format!("{}: expected to know the member, found none", package.package.nevra)));
        };
        let (_, payload) = self.open_bytes(package, location).await?;
        let (format, nvra) = (package.package.format, package.package.nevra.nvra());
        let inside = Inside::Foreign { format, nvra, bytes: location.size, ordinal: wanted.ordinal, file };
        Ok(Archive { inside, payload, place })
    }

    /// The catalog of a package without a header, if it was made before.
    pub(crate) async fn known_catalog(&self, package: &StoredPackage) -> Option<Arc<Catalog>> {
        self.catalogs.get(&package.package.identity).await
    }

    /// Makes the catalog of a package without a header out of the archive at `location`, which is read whole. Whoever asks meanwhile
    /// waits for the same. `turn` is kept as long as it is read; `patience` is how long no byte may come.
    pub(crate) async fn catalog(
        &self,
        package: &StoredPackage,
        location: &Location,
        turn: &Arc<Turn>,
        patience: Duration,
    ) -> Result<Arc<Catalog>, Failure> {
        let (identity, format) = (package.package.identity, package.package.format);
        let (this, package, location, turn) = (self.clone(), package.clone(), location.clone(), turn.clone());
        let make = async move {
            let (runtime, name) = (this.runtime.clone(), place(&location));
            let flow = Arc::new(AtomicU64::new(0));
            let counted = flow.clone();
            // It goes on when nobody waits any more, for whoever asks again.
            let made = runtime.spawn(async move {
                let (_, archive) = this.open_bytes(&package, &location).await?;
                let (name, bytes) = (place(&location), location.size);
                let archive = Counted { archive, flow: counted };
                let read = move || {
                    let read = Catalog::read(archive, format, bytes, identity);
                    read.map_err(|error| Failure::Unknown(format!("{name}: {error}")))
                };
                let catalog = Arc::new(spawn_blocking(read).await.unwrap_or_else(|error| Err(ended_early(error)))?);
                this.catalogs.insert(identity, catalog.clone()).await;
                drop(turn);
                Ok(catalog)
            });
            let made = async { made.await.unwrap_or_else(|error| Err(ended_early(error))) };
            while_it_flows(&flow, patience, &name, made).await
        };
        self.catalogs.try_get_with(identity, make).await.map_err(|failure: Arc<Failure>| Failure::clone(&failure))
    }

    /// Opens the file of `package` at `location`: of an RPM the header, and what follows it; of anything else all of it.
    async fn open_bytes(&self, package: &StoredPackage, location: &Location) -> Result<Bytes, Failure> {
        let opened = match (&location.store.root, &location.store.base_url) {
            (Some(_), None) => self.open_local(package, location).await,
            (None, Some(_)) => self.open_remote(package, location).await,
            // A folder that is also published: on this machine's disk if it can be had there, else by its URL.
            (Some(_), Some(_)) => match self.open_local(package, location).await {
                Ok(archive) => Ok(archive),
                Err(local) => match (self.open_remote(package, location).await, local) {
                    (Err(Failure::Absent(_)), Failure::Unknown(cause)) => Err(Failure::Unknown(cause)),
                    (opened, _) => opened,
                },
            },
            (None, None) => Err(Failure::Absent(format!("store {} has neither folder nor URL", location.store.name))),
        };
        let result = match &opened {
            Ok(_) => "opened",
            Err(Failure::Absent(_)) => "absent",
            Err(Failure::Unknown(_) | Failure::Here(_)) => "failed",
        };
        METRICS.store_requests.with_label_values(&[location.store.tier.to_string().as_str(), result]).inc();
        opened
    }

    fn place(&self, location: &Location) -> Place {
        Place { archives: self.clone(), location: key(location) }
    }

    async fn open_local(&self, package: &StoredPackage, location: &Location) -> Result<Bytes, Failure> {
        let (identity, format, location) = (package.package.identity, package.package.format, location.clone());
        let open = move || -> Result<Bytes, Failure> {
            let file = open_below_root(&location)?;
            if format != Format::Rpm {
                expect_unchanged(&file, &location)?;
                return Ok((None, Box::new(BufReader::with_capacity(READ_BYTES, file))));
            }
            let mut file = BufReader::new(file);
            let mut header = read_header(&mut file, identity, &place(&location))?;
            sigcache::complete(Arc::make_mut(&mut header), &location);
            Ok((Some(header), Box::new(file)))
        };
        self.runtime.spawn_blocking(open).await.unwrap_or_else(|error| Err(ended_early(error)))
    }

    async fn open_remote(&self, package: &StoredPackage, location: &Location) -> Result<Bytes, Failure> {
        let (place, format, size) = (place(location), package.package.format, location.size);
        let Some(url) = url(location) else {
            return Err(Failure::Absent(format!("{place}: not below the URL of its store")));
        };
        let (client, identity) = (self.client.clone(), package.package.identity);
        let fetch = async move {
            // The archive's own bytes: a compressed transfer would hide where the payload begins.
            let request = client.get(url).header("Accept-Encoding", "identity");
            let response = request.send().await.map_err(|error| Failure::Unknown(format!("{place}: {}", reason(&error))))?;
            match response.status() {
                StatusCode::OK => {}
                // Object stores without listing rights answer 403 for what they do not have.
                status @ (StatusCode::NOT_FOUND | StatusCode::GONE | StatusCode::FORBIDDEN) => {
                    return Err(Failure::Absent(format!("{place}: {status}")));
                }
                status if status.is_redirection() => {
                    return Err(Failure::Unknown(format!(
                        "{place}: redirects to a host that stores.redirect_hosts does not allow"
                    )));
                }
                status => return Err(Failure::Unknown(format!("{place}: expected 200, found {status}"))),
            }
            if let (false, Some(found)) = (format == Format::Rpm, response.content_length().filter(|found| *found != size)) {
                return Err(Failure::Absent(format!("{place}: expected {size} bytes, found {found}")));
            }
            let from = place.clone();
            let body = response.bytes_stream().map_err(move |error| io::Error::other(format!("{from}: {}", reason(&error))));
            let body = SyncIoBridge::new(StreamReader::new(body));
            spawn_blocking(move || -> Result<Bytes, Failure> {
                let mut body = BufReader::with_capacity(READ_BYTES, body);
                let header = if format == Format::Rpm { Some(read_header(&mut body, identity, &place)?) } else { None };
                Ok((header, Box::new(body)))
            })
            .await
            .unwrap_or_else(|error| Err(ended_early(error)))
        };
        let timed = self.runtime.spawn(tokio::time::timeout(HEADER_TIMEOUT, fetch));
        match timed.await {
            Ok(Ok(opened)) => opened,
            Ok(Err(_)) => Err(Failure::Unknown(format!("store {}: no header within {HEADER_TIMEOUT:?}", location.store.name))),
            Err(error) => Err(ended_early(error)),
        }
    }
}

/// The header of an RPM, and the bytes that follow.
type Bytes = (Option<Arc<Header>>, Box<dyn Read + Send>);

/// Bytes that are counted as they are read.
struct Counted<R> {
    archive: R,
    flow: Arc<AtomicU64>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let read = self.archive.read(bytes)?;
        self.flow.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}

/// Expects the file at a location to have the size and time that the index knows.
pub(crate) fn expect_unchanged(file: &File, location: &Location) -> Result<(), Failure> {
    let metadata = file.metadata().map_err(|error| Failure::Unknown(format!("{}: {error}", place(location))))?;
    let mtime_ns = metadata.mtime().checked_mul(1_000_000_000).and_then(|seconds| seconds.checked_add(metadata.mtime_nsec()));
    if metadata.len() == location.size && (location.mtime_ns.is_none() || location.mtime_ns == mtime_ns) {
        return Ok(());
    }
    let (size, time) = (location.size, location.mtime_ns);
    let found = format!("{} bytes of {mtime_ns:?}", metadata.len());
    Err(Failure::Absent(format!("{}: expected {size} bytes of {time:?}, found {found}", place(location))))
}

/// A location among all.
fn key(location: &Location) -> (i64, String) {
    (location.store.id, location.path.clone())
}

/// Opens the file of a local location; a path or link that leads out of the store's folder is refused by cap-std. A folder that is
/// not there is a disk that is not mounted: unknown, not absent.
pub(crate) fn open_below_root(location: &Location) -> Result<File, Failure> {
    let text = |error: io::Error| format!("{}: {error}", place(location));
    let root = location.store.root.as_deref().ok_or_else(|| Failure::Absent(format!("{}: not on a disk", place(location))))?;
    let folder = Dir::open_ambient_dir(root, ambient_authority())
        .map_err(|error| Failure::Unknown(format!("store {}: {}: {error}", location.store.name, root.display())))?;
    // A pipe in the place of an archive must not be waited for.
    let mut options = OpenOptions::new();
    options.read(true).custom_flags(OFlags::NONBLOCK.bits().cast_signed());
    let file = folder.open_with(location.path.trim_start_matches('/'), &options).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Failure::Absent(text(error)),
        _ => Failure::Unknown(text(error)),
    })?;
    let file = file.into_std();
    let is_file = file.metadata().map_err(|error| Failure::Unknown(text(error)))?.is_file();
    if is_file { Ok(file) } else { Err(Failure::Absent(format!("{}: expected a file", place(location)))) }
}

/// The header of an archive that has to be the package `identity`.
pub(crate) fn read_header(archive: &mut impl Read, identity: Identity, place: &str) -> Result<Arc<Header>, Failure> {
    let header = Header::read(archive).map_err(|error| Failure::Unknown(format!("{place}: {error}")))?;
    if header.package.identity != identity {
        let found = header.package.identity;
        return Err(Failure::Absent(format!("{place}: expected the package {identity}, found {found}")));
    }
    Ok(Arc::new(header))
}

/// Where a location's archive can be downloaded: below its store's URL, if it has one.
pub(crate) fn url(location: &Location) -> Option<Url> {
    http_client::below(location.store.base_url.as_deref()?, &location.path)
}

/// Where a package can be downloaded now: at its best location that has a URL.
pub(crate) fn published(package: &StoredPackage) -> Option<Url> {
    package.present().find_map(url)
}

/// How a location is named in logs.
fn place(location: &Location) -> String {
    format!("store {}: {}", location.store.name, location.path)
}

fn ended_early(error: tokio::task::JoinError) -> Failure {
    Failure::Unknown(format!("the task ended early: {error}"))
}
