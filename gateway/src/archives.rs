//! An archive's bytes, from the gateway's own disk or from a store over HTTP.
//!
//! A local archive is opened below its store's folder and nowhere else (symbolic links included); a remote one is fetched below
//! its store's URL and nowhere else. Either way the header is read first and must be that of the package that the index knows: a
//! file that was replaced is absent, not wrong.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::sync::Arc;
use std::time::Duration;

use artifact::header::Header;
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

use crate::http_client::{self, reason};
use crate::metrics::METRICS;

/// Between two reads of an archive over HTTP.
const READ_BYTES: usize = 256 << 10;
/// A header over HTTP has to be there within this time.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// Memory for headers.
const HEADERS_BYTES: u64 = 100 << 20;
/// How long a location that failed is tried after all others.
const FAULTY_FOR: Duration = Duration::from_secs(60);

/// Opens archives, and remembers their headers and which locations failed.
#[derive(Clone)]
pub(crate) struct Archives {
    client: reqwest::Client,
    headers: Cache<artifact::Identity, Arc<Header>>,
    /// Store and path.
    faulty: Cache<(i64, String), ()>,
    runtime: Handle,
}

/// An archive opened: the header read, the payload to come.
pub(crate) struct Archive {
    pub(crate) header: Arc<Header>,
    /// Compressed, from the payload's first byte.
    pub(crate) payload: Box<dyn Read + Send>,
    pub(crate) place: Place,
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
        let weight = |_: &artifact::Identity, header: &Arc<Header>| {
            let bytes: usize = header.files.iter().map(|file| size_of_val(file) + file.path.len()).sum();
            u32::try_from(bytes).unwrap_or(u32::MAX)
        };
        let headers = Cache::builder().weigher(weight).max_capacity(HEADERS_BYTES).build();
        let faulty = Cache::builder().max_capacity(10_000).time_to_live(FAULTY_FOR).build();
        Self { client, headers, faulty, runtime: Handle::current() }
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
    pub(crate) async fn open(&self, package: &StoredPackage, location: &Location) -> Result<Archive, Failure> {
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
        if let Ok(archive) = &opened {
            self.headers.insert(package.package.identity, archive.header.clone()).await;
        }
        opened
    }

    fn place(&self, location: &Location) -> Place {
        Place { archives: self.clone(), location: key(location) }
    }

    async fn open_local(&self, package: &StoredPackage, location: &Location) -> Result<Archive, Failure> {
        let (identity, location) = (package.package.identity, location.clone());
        let here = self.place(&location);
        let open = move || {
            let mut file = BufReader::new(open_below_root(&location)?);
            let header = read_header(&mut file, identity, &place(&location))?;
            Ok(Archive { header, payload: Box::new(file), place: here })
        };
        self.runtime.spawn_blocking(open).await.unwrap_or_else(|error| Err(ended_early(error)))
    }

    async fn open_remote(&self, package: &StoredPackage, location: &Location) -> Result<Archive, Failure> {
        let place = place(location);
        let Some(url) = url(location) else {
            return Err(Failure::Absent(format!("{place}: not below the URL of its store")));
        };
        let (client, identity, here) = (self.client.clone(), package.package.identity, self.place(location));
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
            let from = place.clone();
            let body = response.bytes_stream().map_err(move |error| io::Error::other(format!("{from}: {}", reason(&error))));
            let body = SyncIoBridge::new(StreamReader::new(body));
            spawn_blocking(move || {
                let mut body = BufReader::with_capacity(READ_BYTES, body);
                let header = read_header(&mut body, identity, &place)?;
                Ok(Archive { header, payload: Box::new(body), place: here })
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
pub(crate) fn read_header(archive: &mut impl Read, identity: artifact::Identity, place: &str) -> Result<Arc<Header>, Failure> {
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
