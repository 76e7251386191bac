//! Makes imports of the headers of RPMs, of local and remote archives.

use std::collections::{BTreeSet, HashSet};
use std::io::{self, ErrorKind};
use std::sync::{Mutex, MutexGuard, PoisonError};

use artifact::header::{Header, Outline};
use artifact::{Artifact, Error, Identity, artifacts, includes, limits};
use sql::{Import, Index, NewLocation, PathHash};
use tokio::runtime::Handle;

use crate::cli::Payload;
use crate::fetch::reader::{ReadArchive, ReadOutcome};
use crate::pipeline::stop::Stop;

/// Buffer size for payloads in bytes.
pub(crate) const PAYLOAD_READ_BYTES: usize = 256 << 10;

/// Makes imports of headers, and states which payloads to read: the part of a reader that all stores share.
pub(crate) struct PackageReader {
    /// The repository that lists the packages.
    pub(crate) repository_id: Option<i64>,
    /// The distribution that the operator gave.
    pub(crate) distro: Option<String>,
    pub(crate) payload: Payload,
    /// Maximum size in bytes of an ELF file that is copied to the temporary directory.
    pub(crate) temp_limit: u64,
    pub(crate) index: Index,
    pub(crate) runtime: Handle,
    pub(crate) stop: Stop,
    /// Packages whose payload this run has read. A second copy need not be read before the first is in the index.
    pub(crate) complete: Mutex<HashSet<Identity>>,
}

/// An archive whose header is about to be imported.
pub(crate) struct Archive<'a> {
    /// Its path or URL, for messages.
    pub(crate) shown: &'a str,
    /// Its store: packages of one repository can be in several.
    pub(crate) store_id: i64,
    /// Its path below its store.
    pub(crate) path: &'a str,
    /// Its size in bytes, if known.
    pub(crate) bytes: Option<u64>,
    /// Its modification time in nanoseconds since 1970, if known.
    pub(crate) mtime_ns: Option<i64>,
    /// Its checksum, as (name of the algorithm, bytes), if known.
    pub(crate) checksum: Option<sql::Checksum>,
    /// Bytes that were read for its header.
    pub(crate) header_bytes: u64,
}

/// A payload's artifacts, or the reason why it is broken: then the header is imported and the package stays open.
pub(crate) type Scanned = Result<Vec<Artifact>, String>;

impl PackageReader {
    /// Makes the outcome of an outline. `read_payload` is called with the ordinals of the wanted files if the payload
    /// has to be read.
    ///
    /// # Errors
    /// Those of `read_payload`.
    pub(crate) fn read_outline(
        &self,
        archive: Archive<'_>,
        mut outline: Outline<'_>,
        read_payload: impl FnOnce(&Header, &[u32]) -> io::Result<Scanned>,
    ) -> io::Result<ReadOutcome> {
        let (mut found, includes) = (artifacts::from_outline(&outline), includes::include_dirs(&outline));
        let ordinals = match self.payload {
            Payload::Always => {
                (0..).zip(outline.files.rows()).filter(|(_, file)| file.is_regular()).map(|(at, _)| at).collect()
            }
            Payload::Missing | Payload::Never if found.open.is_empty() => Vec::new(),
            // A payload that is read in any case also has the build-ids of compressed modules.
            Payload::Missing | Payload::Never => {
                let modules = found.modules.iter().map(|module| module.ordinal);
                found.open.iter().copied().chain(modules).collect::<BTreeSet<u32>>().into_iter().collect()
            }
        };
        let (package, range, signing_key) =
            (outline.package.clone(), outline.range.clone(), outline.signing_key.take());
        let shown = archive.shown.to_owned();
        let (mut payload_read, mut broken, mut scanned) = (false, None, None);
        if self.payload != Payload::Never && !ordinals.is_empty() {
            match self.is_complete(&package.identity) {
                // Another copy was complete.
                Ok(true) => {}
                Ok(false) => {
                    payload_read = true;
                    let read = match outline.into_header() {
                        Ok(header) => read_payload(&header, &ordinals)?,
                        Err(error) => Err(error.to_string()),
                    };
                    match read {
                        Ok(artifacts) => scanned = Some(artifacts),
                        // The header is imported; the files that need the payload stay open.
                        Err(reason) => broken = Some((shown.clone(), reason)),
                    }
                }
                Err(error) => return Ok(ReadOutcome::Failed(error)),
            }
        }
        let import = Import {
            package,
            distro: self.distro.clone(),
            repository_id: self.repository_id,
            koji: None,
            open: !found.open.is_empty() && scanned.is_none(),
            // Modules are certain once the payload was read.
            modules: if scanned.is_some() { Vec::new() } else { std::mem::take(&mut found.modules) },
            artifacts: match scanned {
                Some(scanned) => found.complete(scanned),
                None => found.artifacts,
            },
            includes,
            location: NewLocation {
                store_id: archive.store_id,
                path: archive.path.to_owned(),
                size: archive.bytes,
                mtime_ns: archive.mtime_ns,
                header: Some(range),
                checksum: archive.checksum,
                signing_key,
            },
        };
        Ok(match import.check() {
            Ok(()) => ReadOutcome::Read(Box::new(ReadArchive {
                path_hash: PathHash::of_path(&import.location.path),
                import,
                header_bytes: archive.header_bytes,
                payload_read,
                broken,
            })),
            Err(error) => ReadOutcome::Broken { path: shown, reason: error.to_string() },
        })
    }

    /// Returns the maximum size of an ELF file in an archive of `bytes` bytes.
    pub(crate) fn max_elf_bytes(&self, bytes: u64) -> u64 {
        self.temp_limit.min(limits::max_elf_bytes(bytes))
    }

    /// Remembers a package whose payload was read, once the archive is known to be unchanged.
    pub(crate) fn remember_complete(&self, outcome: &ReadOutcome) {
        if let ReadOutcome::Read(reading) = outcome
            && reading.payload_read
            && reading.broken.is_none()
        {
            self.complete().insert(reading.import.package.identity);
        }
    }

    fn complete(&self) -> MutexGuard<'_, HashSet<Identity>> {
        self.complete.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// True if the index has all build-ids of this package, or will have them after this run.
    fn is_complete(&self, identity: &Identity) -> sql::Result<bool> {
        if self.complete().contains(identity) {
            return Ok(true);
        }
        let stored = self.runtime.block_on(self.index.package_by_identity(identity))?;
        Ok(stored.is_some_and(|stored| !stored.open))
    }
}

/// Describes the damage of an archive's bytes, or returns the I/O error of reading them.
pub(crate) fn describe_damage(error: Error, part: &str, bytes: u64) -> io::Result<String> {
    match error {
        Error::Io(error) if error.kind() == ErrorKind::UnexpectedEof => {
            Ok(format!("{part}: expected more bytes, found the end of the file after {bytes}"))
        }
        Error::Io(error) if matches!(error.kind(), ErrorKind::InvalidData | ErrorKind::InvalidInput) => {
            Ok(format!("{part}: expected valid data, found {error}"))
        }
        Error::Io(error) => Err(error),
        error => Ok(error.to_string()),
    }
}
