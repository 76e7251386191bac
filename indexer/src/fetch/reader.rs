//! Reads one archive: its header, and its payload where the header leaves files open or there is no header.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fs::{self, File, Metadata};
use std::io::{self, BufReader, ErrorKind, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use artifact::formats::{self, ArchiveBytes, ArchiveInfo};
use artifact::header::{self, Header, Outline};
use artifact::{Artifact, Error, Format, Identity, artifacts, includes, scan};
use sql::{Import, Index, KnownLocation, NewLocation, PathHash, mtime_ns};
use tokio::runtime::Handle;

use crate::cli::Payload;
use crate::fetch::open_file::{self, ArchiveSource, is_unchanged_file, stable_metadata};
use crate::pipeline::stop::Stop;

/// Buffer size for payloads in bytes.
const PAYLOAD_READ_BYTES: usize = 256 << 10;
/// Maximum number of reads of a file that changes while it is read.
const MAX_READS: u32 = 3;

/// Maximum ratio of an ELF file's size to its archive's. Larger ELF files are refused if they also exceed the limit
/// below: a few kilobytes of archive could fill the temporary directory with zeros. Real ratios are 2 to 20; zstd, xz
/// and bzip2 reach 10,000.
const MAX_EXPANSION: u64 = 250;
const MIN_ELF_LIMIT_BYTES: u64 = 64 << 20;

/// An archive that a feeder found.
pub(crate) struct Candidate {
    path: PathBuf,
    /// Path below the store's root.
    location: String,
    is_symlink: bool,
    format: Format,
}

/// The outcome of reading a candidate or directory.
pub(crate) enum ReadOutcome {
    /// Known and unchanged: not read.
    Unchanged(PathHash, Format),
    /// Read.
    Read(Box<ReadArchive>),
    /// The archive is broken.
    Broken { path: String, reason: String },
    /// The file or directory could not be read: its contents are unknown.
    Unreadable { path: String, reason: String, still_present: StillPresent },
    /// A link to a directory outside the store's directory: it is not followed.
    OutsideLink { path: String, target: String },
    /// The file was removed, or is none of the store's archives.
    Skipped,
    /// The query of the index failed.
    Failed(sql::Error),
}

/// An archive that was read.
pub(crate) struct ReadArchive {
    pub(crate) path_hash: PathHash,
    pub(crate) import: Import,
    pub(crate) header_bytes: u64,
    pub(crate) payload_read: bool,
    /// Path and reason if the payload is broken although the header is valid, or if ELF files of an archive without a
    /// header are too large.
    pub(crate) broken: Option<(String, String)>,
}

/// Locations that must not be marked as gone because something could not be read.
pub(crate) enum StillPresent {
    Archive(PathHash),
    Below(String),
    Everything,
    Nothing,
}

impl ReadOutcome {
    /// True if the archive is valid.
    pub(crate) fn is_valid(&self) -> bool {
        match self {
            Self::Unchanged(..) => true,
            Self::Read(reading) => reading.broken.is_none(),
            _ => false,
        }
    }
}

impl Candidate {
    /// Returns the candidate at `path` below the root of its store.
    pub(crate) fn new(root: &Path, path: &Path, is_symlink: bool, format: Format) -> Result<Self, ReadOutcome> {
        match path.strip_prefix(root).unwrap_or(path).to_str() {
            Some(location) => Ok(Self { path: path.into(), location: location.into(), is_symlink, format }),
            None => Err(ReadOutcome::Broken {
                path: path.display().to_string(),
                reason: "expected a path in UTF-8, found other bytes".into(),
            }),
        }
    }
}

impl Candidate {
    /// True if the archive has no header and is read as a whole.
    pub(crate) fn is_read_whole(&self) -> bool {
        !matches!(self.format, Format::Rpm | Format::File)
    }
}

/// The reader of one store's archives, shared by all jobs.
pub(crate) struct Reader {
    pub(crate) store_id: i64,
    /// The store's root, canonical.
    pub(crate) root: PathBuf,
    /// The store's root as the index has it: paths of plain files start with it.
    pub(crate) stored_root: PathBuf,
    pub(crate) known: HashMap<PathHash, KnownLocation>,
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

impl Reader {
    /// Reads an archive unless it is known and unchanged. `buffer` is scratch space for its header.
    pub(crate) fn read(&self, candidate: &Candidate, buffer: &mut Vec<u8>) -> ReadOutcome {
        let path_hash = PathHash::of_path(&candidate.location);
        match self.read_if_changed(candidate, path_hash, buffer) {
            Ok(outcome) => outcome,
            Err(error) if error.kind() == ErrorKind::NotFound => ReadOutcome::Skipped,
            Err(error) => ReadOutcome::Unreadable {
                path: candidate.path.display().to_string(),
                reason: error.to_string(),
                still_present: StillPresent::Archive(path_hash),
            },
        }
    }

    fn read_if_changed(
        &self,
        candidate: &Candidate,
        path_hash: PathHash,
        buffer: &mut Vec<u8>,
    ) -> io::Result<ReadOutcome> {
        if candidate.is_symlink && !fs::canonicalize(&candidate.path)?.starts_with(&self.root) {
            return Ok(ReadOutcome::Skipped);
        }
        // A new path was just seen as a file by the walk, and is checked again once it is open.
        let known = self.known.get(&path_hash);
        if candidate.is_symlink || known.is_some() {
            let metadata = fs::metadata(&candidate.path)?;
            if !metadata.is_file() {
                return Ok(ReadOutcome::Skipped);
            }
            if known.is_some_and(|known| self.is_unchanged(known, &metadata, candidate.format)) {
                return Ok(ReadOutcome::Unchanged(path_hash, candidate.format));
            }
        }
        let file = open_file::open(&candidate.path)?;
        for _ in 0..MAX_READS {
            // Metadata of the open file: another file may have replaced the path.
            let metadata = stable_metadata(&file)?;
            if !metadata.is_file() {
                return Ok(ReadOutcome::Skipped);
            }
            let outcome = self.read_file(candidate, path_hash, &metadata, &file, buffer)?;
            if is_unchanged_file(&metadata, &file.metadata()?) {
                self.remember_complete(&outcome);
                return Ok(outcome);
            }
        }
        Err(io::Error::other(
            "expected a file that stays as it is while it is read, found one that changes: the next run reads it",
        ))
    }

    fn is_unchanged(&self, known: &KnownLocation, metadata: &Metadata, format: Format) -> bool {
        known.identity.is_some()
            && !known.gone
            && known.format == format
            && known.size == metadata.size()
            && known.mtime_ns == mtime_ns(metadata)
            && (!known.open || self.payload == Payload::Never)
    }

    fn read_file(
        &self,
        candidate: &Candidate,
        path_hash: PathHash,
        metadata: &Metadata,
        mut file: &File,
        buffer: &mut Vec<u8>,
    ) -> io::Result<ReadOutcome> {
        file.rewind()?;
        let mut source = ArchiveSource { file, bytes: 0, stop: &self.stop };
        if candidate.format != Format::Rpm {
            return self.read_other_format(candidate, path_hash, metadata, source);
        }
        // A file that is still being copied is truncated: no package yet; the next run reads it again.
        let whole = header::read_ahead(&mut source, buffer).and_then(Outline::from_bytes).and_then(|outline| {
            outline.check_archive_bytes(metadata.len())?;
            Ok(outline)
        });
        let reason = match whole {
            Ok(outline) => return self.read_package(candidate, path_hash, metadata, outline, source),
            Err(error) => describe_damage(error, "header", source.bytes)?,
        };
        Ok(ReadOutcome::Broken { path: candidate.path.display().to_string(), reason })
    }

    fn read_package(
        &self,
        candidate: &Candidate,
        path_hash: PathHash,
        metadata: &Metadata,
        mut outline: Outline<'_>,
        source: ArchiveSource<'_>,
    ) -> io::Result<ReadOutcome> {
        let (mut found, includes) = (artifacts::from_outline(&outline), includes::include_dirs(&outline));
        let ordinals = match self.payload {
            Payload::Always => {
                (0..).zip(outline.files.rows()).filter(|(_, file)| file.is_regular()).map(|(at, _)| at).collect()
            }
            Payload::Open | Payload::Never if found.open.is_empty() => Vec::new(),
            // A payload that is read in any case also has the build-ids of compressed modules.
            Payload::Open | Payload::Never => {
                let modules = found.modules.iter().map(|module| module.ordinal);
                found.open.iter().copied().chain(modules).collect::<BTreeSet<u32>>().into_iter().collect()
            }
        };
        let (package, range, signing_key) =
            (outline.package.clone(), outline.range.clone(), outline.signing_key.take());
        let header_bytes = source.bytes;
        let path = || candidate.path.display().to_string();
        let (mut payload_read, mut reason, mut scanned) = (false, None, None);
        if self.payload != Payload::Never && !ordinals.is_empty() {
            match self.is_complete(&package.identity) {
                // Another copy was complete.
                Ok(true) => {}
                Ok(false) => {
                    payload_read = true;
                    let header = outline.into_header();
                    match header.and_then(|header| self.read_payload(source, &header, &ordinals, metadata.len())) {
                        Ok(artifacts) => scanned = Some(artifacts),
                        // The header is imported; the files that need the payload stay open.
                        Err(error) => reason = Some((path(), describe_damage(error, "payload", metadata.size())?)),
                    }
                }
                Err(error) => return Ok(ReadOutcome::Failed(error)),
            }
        }
        let import = Import {
            package,
            distro: self.distro.clone(),
            open: !found.open.is_empty() && scanned.is_none(),
            // Modules are certain once the payload was read.
            modules: if scanned.is_some() { Vec::new() } else { std::mem::take(&mut found.modules) },
            artifacts: match scanned {
                Some(scanned) => found.complete(scanned),
                None => found.artifacts,
            },
            includes,
            location: NewLocation {
                store_id: self.store_id,
                path: candidate.location.clone(),
                size: metadata.size(),
                mtime_ns: mtime_ns(metadata),
                header: Some(range),
                checksum: None,
                signing_key,
            },
        };
        Ok(match import.check() {
            Ok(()) => ReadOutcome::Read(Box::new(ReadArchive {
                path_hash,
                import,
                header_bytes,
                payload_read,
                broken: reason,
            })),
            Err(error) => ReadOutcome::Broken { path: path(), reason: error.to_string() },
        })
    }

    /// Reads an archive without a header as a whole.
    fn read_other_format(
        &self,
        candidate: &Candidate,
        path_hash: PathHash,
        metadata: &Metadata,
        mut source: ArchiveSource<'_>,
    ) -> io::Result<ReadOutcome> {
        let Candidate { path, location, format, .. } = candidate;
        let shown = || path.display().to_string();
        let name = location.rsplit('/').next().unwrap_or(location);
        let about = ArchiveInfo { format: *format, name, size: metadata.len(), mtime: metadata.mtime() };
        let read = match format {
            Format::File => {
                let path = self.stored_root.join(location);
                formats::read_plain_file(
                    &mut source,
                    &about,
                    &path.display().to_string(),
                    self.max_elf_bytes(metadata.len()),
                )
            }
            _ => {
                let archive = BufReader::with_capacity(PAYLOAD_READ_BYTES, &mut source);
                formats::read_archive(ArchiveBytes::seekable(archive), &about, self.max_elf_bytes(metadata.len()))
                    .map(Some)
            }
        };
        let found = match read {
            Ok(Some(found)) => found,
            Ok(None) => return Ok(ReadOutcome::Skipped),
            Err(error) => {
                return Ok(ReadOutcome::Broken {
                    path: shown(),
                    reason: describe_damage(error, format.as_str(), source.bytes)?,
                });
            }
        };
        // The other files are imported; a run with a higher limit completes the package.
        let too_large = found.too_large.map(|reason| (shown(), reason));
        let import = Import {
            package: found.package,
            distro: self.distro.clone(),
            artifacts: found.artifacts,
            modules: Vec::new(),
            includes: Vec::new(),
            open: too_large.is_some(),
            location: NewLocation {
                store_id: self.store_id,
                path: location.clone(),
                size: metadata.size(),
                mtime_ns: mtime_ns(metadata),
                header: None,
                checksum: None,
                signing_key: None,
            },
        };
        Ok(match import.check() {
            Ok(()) => ReadOutcome::Read(Box::new(ReadArchive {
                path_hash,
                import,
                header_bytes: 0,
                payload_read: true,
                broken: too_large,
            })),
            Err(error) => ReadOutcome::Broken { path: shown(), reason: error.to_string() },
        })
    }

    /// Returns the maximum size of an ELF file in an archive of `bytes` bytes.
    fn max_elf_bytes(&self, bytes: u64) -> u64 {
        self.temp_limit.min(bytes.saturating_mul(MAX_EXPANSION).max(MIN_ELF_LIMIT_BYTES))
    }

    /// Remembers a package whose payload was read, once the file is known to be unchanged.
    fn remember_complete(&self, outcome: &ReadOutcome) {
        if let ReadOutcome::Read(reading) = outcome
            && reading.payload_read
            && reading.broken.is_none()
        {
            self.complete().insert(reading.import.package.identity);
        }
    }

    fn read_payload(
        &self,
        mut source: ArchiveSource<'_>,
        header: &Header,
        ordinals: &[u32],
        bytes: u64,
    ) -> Result<Vec<Artifact>, Error> {
        source.file.seek(SeekFrom::Start(header.range.end))?;
        let max_bytes = self.max_elf_bytes(bytes);
        scan::scan_files(BufReader::with_capacity(PAYLOAD_READ_BYTES, source), header, ordinals, max_bytes)
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
fn describe_damage(error: Error, part: &str, bytes: u64) -> io::Result<String> {
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
