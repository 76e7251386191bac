//! The import of one archive of a store: a hook names it, or it was uploaded.

use std::collections::{BTreeSet, HashMap};
use std::io::{self, BufReader, ErrorKind};
use std::path::Path;
use std::sync::{Arc, Mutex};

use artifact::header::Outline;
use artifact::{Format, limits, scan};
use sql::{Index, PathHash, Store};
use tokio::runtime::Handle;
use tokio::task::spawn_blocking;

use crate::cli::Payload;
use crate::feeders::formats::Formats;
use crate::fetch::failure::{FetchError, FetchErrorKind};
use crate::fetch::http::{FetchedHeader, Fetcher, HeaderHint};
use crate::fetch::local::{LocalCandidate, LocalReader};
use crate::fetch::mirrors::Mirrors;
use crate::fetch::network::Network;
use crate::fetch::package::{Archive, PAYLOAD_READ_BYTES, PackageReader, describe_damage};
use crate::fetch::presence::{self, Finding};
use crate::fetch::reader::{Candidate, ReadArchive, ReadOutcome};
use crate::pipeline::writer::importer_name;
use crate::report::time::now;

/// The end of an import.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ArchiveOutcome {
    /// The index has the package at this place.
    Imported(ImportedArchive),
    /// The store has it no longer, and the index records that.
    Gone {
        /// What was expected and what was found.
        reason: String,
    },
    /// The index is as it was.
    Failed {
        /// What was expected and what was found.
        reason: String,
        /// True if the store gave an answer that is no package: another attempt helps only if the store changes.
        is_permanent: bool,
    },
}

/// An archive that the index has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ImportedArchive {
    /// NAME-VERSION-RELEASE.ARCH, or the name of a package of another format.
    pub(crate) nvra: String,
    /// Number of different build-ids of its files.
    pub(crate) build_ids: u64,
    /// True if the package is new in the index, or was open and is complete now.
    pub(crate) is_new: bool,
}

/// Imports single archives.
#[derive(Clone)]
pub(crate) struct ArchiveImporter {
    index: Index,
    network: Arc<Network>,
    writer: String,
}

impl ArchiveImporter {
    /// Returns an importer that the network's flag stops.
    pub(crate) fn new(index: &Index, network: &Arc<Network>) -> Self {
        Self { index: index.clone(), network: Arc::clone(network), writer: importer_name() }
    }

    /// Imports the archive at `path` of the store `store`: from its directory if that is on this machine, else over
    /// HTTP, where RPMs alone are read.
    ///
    /// # Errors
    /// If the index fails.
    pub(crate) async fn import(&self, store: &str, path: &str) -> sql::Result<ArchiveOutcome> {
        let stores = self.index.stores().await?;
        let Some(store) = stores.into_iter().find(|known| known.name == store) else {
            return Ok(permanent(format!("expected a store of the index, found {store:?}")));
        };
        if !is_plain(path) {
            return Ok(permanent(format!("expected a path below the store, found {path:?}")));
        }
        match (&store.root, &store.base_url) {
            (Some(_), _) if presence::is_local(&store) => self.import_local(&store, path).await,
            (_, Some(base_url)) => self.import_remote(&store, base_url, path).await,
            (_, None) => {
                let name = &store.name;
                Ok(permanent(format!("store {name}: expected a directory of this machine or a URL, found neither")))
            }
        }
    }

    /// Imports the archive at `path` below the directory of a store.
    ///
    /// # Errors
    /// If the index fails.
    pub(crate) async fn import_local(&self, store: &Store, path: &str) -> sql::Result<ArchiveOutcome> {
        let Some(format) = Formats::archives().of(name(path).as_bytes()) else { return Ok(other_format(path)) };
        let root = store.root.clone().unwrap_or_default();
        let (reader, location) = (self.package_reader(), path.to_owned());
        let store_id = store.id;
        let read = spawn_blocking(move || read_local(reader, store_id, &root, &location, format));
        let outcome = read.await.unwrap_or_else(|error| Err(io::Error::other(error)));
        match outcome {
            Ok(ReadOutcome::Skipped) => self.record_absence(store, path).await,
            Ok(outcome) => self.insert(outcome).await,
            Err(error) => Ok(failed(format!("{path}: {error}"))),
        }
    }

    async fn import_remote(&self, store: &Store, base_url: &str, path: &str) -> sql::Result<ArchiveOutcome> {
        if Formats::archives().of(name(path).as_bytes()) != Some(Format::Rpm) {
            return Ok(other_format(path));
        }
        let fetcher = match Mirrors::of_base(&self.network, store, base_url) {
            Ok(mirrors) => Fetcher::new(mirrors),
            Err(error) => return Ok(permanent(format!("store {}: {error:#}", store.name))),
        };
        let header = match fetcher.header(path, HeaderHint::default()).await {
            Ok(header) => header,
            Err(FetchError { kind: FetchErrorKind::Absent, text }) => return self.record_gone(store, path, text).await,
            Err(FetchError { kind: FetchErrorKind::Wrong | FetchErrorKind::Refused, text }) => {
                return Ok(permanent(text));
            }
            Err(FetchError { text, .. }) => return Ok(failed(text)),
        };
        let (reader, store_id, path) = (self.package_reader(), store.id, path.to_owned());
        let read = spawn_blocking(move || read_remote(&reader, store_id, &fetcher, &path, header)).await;
        match read.unwrap_or_else(|error| Err(io::Error::other(error))) {
            Ok(outcome) => self.insert(outcome).await,
            Err(error) => Ok(failed(error.to_string())),
        }
    }

    /// Inserts what was read.
    async fn insert(&self, outcome: ReadOutcome) -> sql::Result<ArchiveOutcome> {
        let reading = match outcome {
            ReadOutcome::Read(reading) => reading,
            ReadOutcome::Broken { path, reason } => return Ok(permanent(about(&path, &reason))),
            ReadOutcome::Unreadable { path, reason, .. } => return Ok(failed(about(&path, &reason))),
            ReadOutcome::Failed(error) => return Err(error),
            _ => return Ok(failed("expected an archive, found none".into())),
        };
        let ReadArchive { import, broken, .. } = *reading;
        if let Some((path, reason)) = broken {
            // The header is imported; the files that need the payload stay open.
            tracing::warn!(path, reason, "the payload of an archive is broken");
        }
        let build_ids: BTreeSet<_> = import.artifacts.iter().map(|artifact| &artifact.build_id).collect();
        let (nvra, build_ids) = (import.package.nevra.nvra(), build_ids.len() as u64);
        let inserted = self.index.insert(&self.writer, std::slice::from_ref(&import)).await?;
        let is_new = inserted.packages_new + inserted.packages_completed > 0;
        Ok(ArchiveOutcome::Imported(ImportedArchive { nvra, build_ids, is_new }))
    }

    /// Records that a directory does not have an archive. A directory that is missing or empty may not be mounted, and
    /// proves nothing.
    async fn record_absence(&self, store: &Store, path: &str) -> sql::Result<ArchiveOutcome> {
        let root = store.root.clone().unwrap_or_default();
        match presence::look_locally(&root, path).await {
            Finding::Gone { reason } => self.record_gone(store, path, about(path, &reason)).await,
            Finding::Failed { reason, .. } => Ok(failed(about(path, &reason))),
            // It came after it was read.
            Finding::Present { .. } => {
                Ok(failed(format!("{path}: expected a file that stays, found one that changes")))
            }
        }
    }

    /// Marks the place as gone. A place that the index does not know is an error instead: the archive may still come.
    async fn record_gone(&self, store: &Store, path: &str, reason: String) -> sql::Result<ArchiveOutcome> {
        let marked = self.index.mark_gone(store.id, &[PathHash::of_path(path)], now()).await?;
        Ok(if marked > 0 { ArchiveOutcome::Gone { reason } } else { permanent(reason) })
    }

    fn package_reader(&self) -> PackageReader {
        PackageReader {
            repository_id: None,
            distro: None,
            payload: Payload::Missing,
            temp_limit: limits::MAX_ELF_BYTES,
            index: self.index.clone(),
            runtime: Handle::current(),
            stop: self.network.stop.clone(),
            complete: Mutex::default(),
        }
    }
}

/// Reads a file of a store's directory. A link that leads out of it is refused.
fn read_local(
    package: PackageReader,
    store_id: i64,
    stored_root: &Path,
    location: &str,
    format: Format,
) -> io::Result<ReadOutcome> {
    let root = stored_root.canonicalize()?;
    let path = root.join(location);
    match path.canonicalize() {
        Ok(target) if !target.starts_with(&root) => {
            let reason = "expected a file below the store's directory, found a link that leads out of it".to_owned();
            return Ok(ReadOutcome::Broken { path: location.to_owned(), reason });
        }
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return Ok(ReadOutcome::Skipped);
        }
        Ok(_) => {}
        Err(error) => return Err(error),
    }
    let candidate = LocalCandidate::at(&root, &path, true, format);
    let stored_root = stored_root.to_owned();
    let reader = LocalReader { package, store_id, root, stored_root, known: HashMap::new() };
    Ok(match candidate {
        Ok(Candidate::Local(candidate)) => reader.read(&candidate, &mut Vec::new()),
        Ok(Candidate::Remote(_)) => ReadOutcome::Skipped,
        Err(outcome) => outcome,
    })
}

/// Reads a header that was fetched, and the payload where it leaves files open.
fn read_remote(
    package: &PackageReader,
    store_id: i64,
    fetcher: &Fetcher,
    path: &str,
    header: FetchedHeader,
) -> io::Result<ReadOutcome> {
    let size = header.size;
    let checked = Outline::from_bytes(&header.bytes).and_then(|outline| {
        size.map_or(Ok(()), |size| outline.check_archive_bytes(size))?;
        Ok(outline)
    });
    let outline = match checked {
        Ok(outline) => outline,
        Err(error) => return Ok(ReadOutcome::Broken { path: path.to_owned(), reason: error.to_string() }),
    };
    let archive = Archive {
        shown: path,
        store_id,
        path,
        bytes: size,
        mtime_ns: None,
        checksum: None,
        header_bytes: header.bytes.len() as u64,
    };
    let start = outline.range.end;
    package.read_outline(archive, outline, |header, ordinals| {
        let mut payload = fetcher.open(path, start, size).into_reader(package.runtime.clone());
        let max_bytes = package.max_elf_bytes(size.unwrap_or_default());
        let scanned = {
            let payload = BufReader::with_capacity(PAYLOAD_READ_BYTES, &mut payload);
            scan::scan_files(payload, header, ordinals, max_bytes)
        };
        match scanned {
            Ok(artifacts) => Ok(Ok(artifacts)),
            // A transfer that fails may succeed later: nothing is imported now.
            Err(error) => describe_damage(error, "payload", payload.cost().bytes()).map(Err),
        }
    })
}

/// True if a path has no empty, `.` and `..` segments, and no slash at its start.
pub(crate) fn is_plain(path: &str) -> bool {
    path.split('/').all(|segment| !matches!(segment, "" | "." | "..")) && !path.contains(|c: char| c.is_control())
}

/// The file name of a path.
fn name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// A reason with the path before it, unless it states it already.
fn about(path: &str, reason: &str) -> String {
    if reason.contains(path) { reason.to_owned() } else { format!("{path}: {reason}") }
}

fn failed(reason: String) -> ArchiveOutcome {
    ArchiveOutcome::Failed { reason, is_permanent: false }
}

fn permanent(reason: String) -> ArchiveOutcome {
    ArchiveOutcome::Failed { reason, is_permanent: true }
}

fn other_format(path: &str) -> ArchiveOutcome {
    permanent(format!("{path}: expected the name of an RPM, or of another archive in a directory of this machine"))
}

#[cfg(test)]
mod tests;
