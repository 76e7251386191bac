//! Reads packages of stores over HTTP: exactly the header, and the payload where that leaves files open.

use std::collections::HashMap;
use std::io::{self, BufReader, ErrorKind};
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use artifact::header::Outline;
use artifact::{Nevra, scan};
use sql::{Checksum, PathHash};

use crate::fetch::failure::{FetchError, FetchErrorKind};
use crate::fetch::http::{Fetcher, HeaderHint};
use crate::fetch::package::{Archive, PAYLOAD_READ_BYTES, PackageReader, Scanned, describe_damage};
use crate::fetch::reader::{ReadOutcome, StillPresent};

/// Maximum number of mirrors that are asked for the header of one package.
const MAX_MIRRORS: usize = 3;

/// Requests and bytes of packages.
#[derive(Debug, Default)]
pub(crate) struct PackageTraffic {
    /// Headers that were fetched.
    pub(crate) headers: AtomicU64,
    /// Bytes received for headers.
    pub(crate) header_bytes: AtomicU64,
    /// Bytes received for payloads.
    pub(crate) payload_bytes: AtomicU64,
}

/// An archive over HTTP, with what a listing states about it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RemoteArchive<'a> {
    pub(crate) nevra: &'a Nevra,
    /// The store, and the archive's path below it.
    pub(crate) store_id: i64,
    pub(crate) path: &'a str,
    /// The path below the listing's directory; `None` if the archive is elsewhere.
    pub(crate) relative: Option<&'a str>,
    /// Size of the archive in bytes.
    pub(crate) size: Option<u64>,
    /// The main header's bytes inside the archive.
    pub(crate) header: Option<&'a Range<u64>>,
    pub(crate) checksum: Option<&'a Checksum>,
}

/// The reader of the packages that a listing names.
pub(crate) struct RemoteReader {
    pub(crate) package: PackageReader,
    /// Fetches what is below the listing's directory.
    pub(crate) fetcher: Fetcher,
    /// Fetches what is elsewhere, by the id of the store.
    pub(crate) stores: HashMap<i64, Fetcher>,
    pub(crate) traffic: Arc<PackageTraffic>,
    /// Gets the reason once no server answers. Then nothing more is asked for.
    pub(crate) given_up: Arc<Mutex<Option<String>>>,
}

impl RemoteReader {
    /// Reads the header of a package.
    pub(crate) fn read(&self, listed: RemoteArchive<'_>) -> ReadOutcome {
        if self.given_up().is_some() {
            return ReadOutcome::Skipped;
        }
        let shown = listed.path;
        let (fetcher, path) = match (listed.relative, self.stores.get(&listed.store_id)) {
            (Some(relative), _) => (&self.fetcher, relative),
            (None, Some(fetcher)) => (fetcher, shown),
            (None, None) => return refused(shown, "expected a store with a URL, found none".into()),
        };
        let hint = HeaderHint { end: listed.header.map(|header| header.end), size: listed.size };
        let mut attempts = 1..=MAX_MIRRORS.min(fetcher.mirrors().shown().count());
        loop {
            let header = match self.package.runtime.block_on(fetcher.header(path, hint)) {
                Ok(header) => header,
                Err(FetchError { kind: FetchErrorKind::Absent | FetchErrorKind::Wrong, text }) => {
                    return refused(shown, text);
                }
                Err(FetchError { kind: FetchErrorKind::Down, text }) => {
                    self.given_up().get_or_insert(text);
                    return ReadOutcome::Skipped;
                }
                Err(FetchError { text, .. }) => return unreadable(listed, text),
            };
            self.traffic.headers.fetch_add(1, Ordering::Relaxed);
            self.traffic.header_bytes.fetch_add(header.cost.bytes(), Ordering::Relaxed);
            let outcome = self.read_header(listed, fetcher, path, &header.bytes, header.size);
            if !matches!(outcome, ReadOutcome::Broken { .. }) {
                self.package.remember_complete(&outcome);
                return outcome;
            }
            // Another mirror may have the listed archive.
            fetcher.mirrors().mark_wrong(header.mirror);
            attempts.next();
            if attempts.is_empty() {
                return outcome;
            }
        }
    }

    fn given_up(&self) -> MutexGuard<'_, Option<String>> {
        self.given_up.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read_header(
        &self,
        listed: RemoteArchive<'_>,
        fetcher: &Fetcher,
        path: &str,
        bytes: &[u8],
        size: Option<u64>,
    ) -> ReadOutcome {
        let shown = listed.path;
        let outline = match Outline::from_bytes(bytes) {
            Ok(outline) => outline,
            Err(error) => return refused(shown, error.to_string()),
        };
        if !outline.package.nevra.is_same_package(listed.nevra) {
            let found = &outline.package.nevra;
            return refused(shown, format!("expected the header of {}, found that of {found}", listed.nevra));
        }
        if let Some(expected) = listed.header.filter(|header| **header != outline.range) {
            let (expected, found) = (describe_range(expected), describe_range(&outline.range));
            return refused(shown, format!("expected the header at bytes {expected}, as listed, found it at {found}"));
        }
        if let Some(Err(error)) = size.map(|size| outline.check_archive_bytes(size)) {
            return refused(shown, error.to_string());
        }
        let archive = Archive {
            shown,
            store_id: listed.store_id,
            path: listed.path,
            bytes: size,
            mtime_ns: None,
            checksum: listed.checksum.cloned(),
            header_bytes: bytes.len() as u64,
        };
        let start = outline.range.end;
        let read = self.package.read_outline(archive, outline, |header, ordinals| {
            let mut payload = fetcher.open(path, start, size).into_reader(self.package.runtime.clone());
            let max_bytes = self.package.max_elf_bytes(size.unwrap_or_default());
            let scanned = {
                let payload = BufReader::with_capacity(PAYLOAD_READ_BYTES, &mut payload);
                scan::scan_files(payload, header, ordinals, max_bytes)
            };
            let received = payload.cost().bytes();
            self.traffic.payload_bytes.fetch_add(received, Ordering::Relaxed);
            scanned.map_or_else(|error| self.describe(error, received), |artifacts| Ok(Ok(artifacts)))
        });
        read.unwrap_or_else(|error| unreadable(listed, error.to_string()))
    }

    /// Describes a payload that could not be read: the header is imported and the package stays open.
    ///
    /// # Errors
    /// If the import is stopped: then nothing is imported.
    fn describe(&self, error: artifact::Error, received: u64) -> io::Result<Scanned> {
        if self.package.stop.is_set() {
            return Err(io::Error::new(ErrorKind::Interrupted, "stopped"));
        }
        Ok(Err(describe_damage(error, "payload", received).unwrap_or_else(|error| format!("payload: {error}"))))
    }
}

fn refused(path: &str, reason: String) -> ReadOutcome {
    ReadOutcome::Broken { path: path.to_owned(), reason }
}

fn unreadable(listed: RemoteArchive<'_>, reason: String) -> ReadOutcome {
    let still_present = StillPresent::Archive(PathHash::of_path(listed.path));
    ReadOutcome::Unreadable { path: listed.path.to_owned(), reason, still_present }
}

fn describe_range(range: &std::ops::Range<u64>) -> String {
    format!("{} to {}", range.start, range.end)
}
