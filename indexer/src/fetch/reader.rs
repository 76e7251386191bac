//! One archive: is it known, what does its header say, and, where that is not enough or there is none, what is in it.

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
use crate::fetch::archive_file::{self, Source, is_same, settled};
use crate::pipeline::stop::Stop;

/// What is read of a payload at once.
const PAYLOAD_READ_BYTES: usize = 256 << 10;
/// How often a file that changes while it is read is read.
const READINGS: u32 = 3;

/// An ELF file is not believed if it is larger than its archive by more than this factor, and than the bytes below: some kilobytes of
/// archive would fill the temporary folder with zeros. Real ones are smaller by a factor of 2 to 20; zstd, xz and bzip2 reach 10,000.
const MOST_EXPANSION: u64 = 250;
const LEAST_ELF_BYTES: u64 = 64 << 20;

/// An archive that a feeder found.
pub(crate) struct Candidate {
    path: PathBuf,
    /// Below the store's root.
    location: String,
    is_symlink: bool,
    format: Format,
}

/// What came of a candidate, or of a folder.
pub(crate) enum Outcome {
    /// Known and unchanged.
    Unchanged(PathHash, Format),
    /// Read.
    Read(Box<Reading>),
    /// No sound package.
    Broken { path: String, wrong: String },
    /// The file or folder could not be read: nobody knows what is there.
    Unreadable { path: String, wrong: String, keeps: Keeps },
    /// A link that leads out of the store's directory: it is not followed.
    LinkOut { path: String, target: String },
    /// Not there any more, or none of the store's archives.
    Skipped,
    /// The index could not be asked.
    Failed(sql::Error),
}

/// An archive that was read.
pub(crate) struct Reading {
    pub(crate) path_hash: PathHash,
    pub(crate) import: Import,
    pub(crate) header_bytes: u64,
    pub(crate) payload_read: bool,
    /// The header is sound and the payload is not, or an archive without a header holds ELF files that are too large to be
    /// read: path, and what was expected and found.
    pub(crate) broken: Option<(String, String)>,
}

/// Which locations must not be marked as gone after something could not be read.
pub(crate) enum Keeps {
    Archive(PathHash),
    Folder(String),
    Everything,
    Nothing,
}

impl Outcome {
    /// Does it say something sound about an archive?
    pub(crate) fn is_sound(&self) -> bool {
        match self {
            Self::Unchanged(..) => true,
            Self::Read(reading) => reading.broken.is_none(),
            _ => false,
        }
    }
}

impl Candidate {
    /// An archive at `path` below the root of its store.
    pub(crate) fn new(root: &Path, path: &Path, is_symlink: bool, format: Format) -> Result<Self, Outcome> {
        match path.strip_prefix(root).unwrap_or(path).to_str() {
            Some(location) => Ok(Self { path: path.into(), location: location.into(), is_symlink, format }),
            None => Err(Outcome::Broken {
                path: path.display().to_string(),
                wrong: "expected a path in UTF-8, found other bytes".into(),
            }),
        }
    }
}

impl Candidate {
    /// Is it an archive that has to be read whole?
    pub(crate) fn takes_long(&self) -> bool {
        !matches!(self.format, Format::Rpm | Format::File)
    }
}

/// What all archives of one store are read with.
pub(crate) struct Reader {
    pub(crate) store_id: i64,
    /// Canonical.
    pub(crate) root: PathBuf,
    /// As the index has it: paths of plain files begin so.
    pub(crate) stored_root: PathBuf,
    pub(crate) known: HashMap<PathHash, KnownLocation>,
    pub(crate) distro: Option<String>,
    pub(crate) payload: Payload,
    /// Bytes of the largest ELF file that is copied to the temporary folder.
    pub(crate) temp_limit: u64,
    pub(crate) index: Index,
    pub(crate) runtime: Handle,
    pub(crate) stop: Stop,
    /// Packages whose payload was read in this run: it need not be read of a second copy that comes before the first is in the
    /// index.
    pub(crate) complete: Mutex<HashSet<Identity>>,
}

impl Reader {
    /// Reads an archive unless it is known and unchanged. `buffer` is scratch space for its header.
    pub(crate) fn read(&self, candidate: &Candidate, buffer: &mut Vec<u8>) -> Outcome {
        let path_hash = PathHash::of_path(&candidate.location);
        match self.look(candidate, path_hash, buffer) {
            Ok(outcome) => outcome,
            Err(error) if error.kind() == ErrorKind::NotFound => Outcome::Skipped,
            Err(error) => Outcome::Unreadable {
                path: candidate.path.display().to_string(),
                wrong: error.to_string(),
                keeps: Keeps::Archive(path_hash),
            },
        }
    }

    fn look(&self, candidate: &Candidate, path_hash: PathHash, buffer: &mut Vec<u8>) -> io::Result<Outcome> {
        if candidate.is_symlink && !fs::canonicalize(&candidate.path)?.starts_with(&self.root) {
            return Ok(Outcome::Skipped);
        }
        // Of what is new the walk has just seen that it is a file, and it is looked at when it is open.
        let known = self.known.get(&path_hash);
        if candidate.is_symlink || known.is_some() {
            let metadata = fs::metadata(&candidate.path)?;
            if !metadata.is_file() {
                return Ok(Outcome::Skipped);
            }
            if known.is_some_and(|known| self.is_unchanged(known, &metadata, candidate.format)) {
                return Ok(Outcome::Unchanged(path_hash, candidate.format));
            }
        }
        let file = archive_file::open(&candidate.path)?;
        for _ in 0..READINGS {
            // Of the file that is open now: another one may have taken its place.
            let metadata = settled(&file)?;
            if !metadata.is_file() {
                return Ok(Outcome::Skipped);
            }
            let outcome = self.read_file(candidate, path_hash, &metadata, &file, buffer)?;
            if is_same(&metadata, &file.metadata()?) {
                self.note_complete(&outcome);
                return Ok(outcome);
            }
        }
        Ok(Outcome::Unreadable {
            path: candidate.path.display().to_string(),
            wrong:
                "expected a file that stays as it is while it is read, found one that changes: the next run reads it"
                    .into(),
            keeps: Keeps::Archive(path_hash),
        })
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
    ) -> io::Result<Outcome> {
        file.rewind()?;
        let mut source = Source { file, bytes: 0, stop: &self.stop };
        if candidate.format != Format::Rpm {
            return self.read_other_format(candidate, path_hash, metadata, source);
        }
        // A file that is still being copied is cut off, too: it is no package yet, and the next run looks at it again.
        let whole = header::read_ahead(&mut source, buffer).and_then(Outline::of).and_then(|outline| {
            outline.check_archive_bytes(metadata.len())?;
            Ok(outline)
        });
        let wrong = match whole {
            Ok(outline) => return self.read_package(candidate, path_hash, metadata, outline, source),
            Err(error) => broken(error, "header", source.bytes)?,
        };
        Ok(Outcome::Broken { path: candidate.path.display().to_string(), wrong })
    }

    fn read_package(
        &self,
        candidate: &Candidate,
        path_hash: PathHash,
        metadata: &Metadata,
        mut outline: Outline<'_>,
        source: Source<'_>,
    ) -> io::Result<Outcome> {
        let (mut found, includes) = (artifacts::of_outline(&outline), includes::of_outline(&outline));
        let ordinals = match self.payload {
            Payload::Always => {
                (0..).zip(outline.files.rows()).filter(|(_, file)| file.is_regular()).map(|(at, _)| at).collect()
            }
            Payload::Open | Payload::Never if found.open.is_empty() => Vec::new(),
            // A payload that is read anyway tells the build-ids of compressed modules, too.
            Payload::Open | Payload::Never => {
                let modules = found.modules.iter().map(|module| module.ordinal);
                found.open.iter().copied().chain(modules).collect::<BTreeSet<u32>>().into_iter().collect()
            }
        };
        let (package, range, signing_key) =
            (outline.package.clone(), outline.range.clone(), outline.signing_key.take());
        let header_bytes = source.bytes;
        let path = || candidate.path.display().to_string();
        let (mut payload_read, mut wrong, mut scanned) = (false, None, None);
        if self.payload != Payload::Never && !ordinals.is_empty() {
            match self.is_complete(&package.identity) {
                // Another copy has told everything.
                Ok(true) => {}
                Ok(false) => {
                    payload_read = true;
                    let header = outline.into_header();
                    match header.and_then(|header| self.read_payload(source, &header, &ordinals, metadata.len())) {
                        Ok(artifacts) => scanned = Some(artifacts),
                        // What the header says is worth having; what the payload would add stays open.
                        Err(error) => wrong = Some((path(), broken(error, "payload", metadata.size())?)),
                    }
                }
                Err(error) => return Ok(Outcome::Failed(error)),
            }
        }
        let import = Import {
            package,
            distro: self.distro.clone(),
            open: !found.open.is_empty() && scanned.is_none(),
            // What the payload says of a module is certain.
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
            Ok(()) => Outcome::Read(Box::new(Reading { path_hash, import, header_bytes, payload_read, broken: wrong })),
            Err(error) => Outcome::Broken { path: path(), wrong: error.to_string() },
        })
    }

    /// What has no header is read whole.
    fn read_other_format(
        &self,
        candidate: &Candidate,
        path_hash: PathHash,
        metadata: &Metadata,
        mut source: Source<'_>,
    ) -> io::Result<Outcome> {
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
                    self.most_elf_bytes(metadata.len()),
                )
            }
            _ => {
                let archive = BufReader::with_capacity(PAYLOAD_READ_BYTES, &mut source);
                formats::read_archive(ArchiveBytes::seekable(archive), &about, self.most_elf_bytes(metadata.len()))
                    .map(Some)
            }
        };
        let found = match read {
            Ok(Some(found)) => found,
            Ok(None) => return Ok(Outcome::Skipped),
            Err(error) => {
                return Ok(Outcome::Broken { path: shown(), wrong: broken(error, format.as_str(), source.bytes)? });
            }
        };
        // The other files are worth having; a run with a higher limit completes them.
        let too_large = found.too_large.map(|wrong| (shown(), wrong));
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
            Ok(()) => Outcome::Read(Box::new(Reading {
                path_hash,
                import,
                header_bytes: 0,
                payload_read: true,
                broken: too_large,
            })),
            Err(error) => Outcome::Broken { path: shown(), wrong: error.to_string() },
        })
    }

    /// The largest ELF file that is believed in an archive of so many bytes.
    fn most_elf_bytes(&self, bytes: u64) -> u64 {
        self.temp_limit.min(bytes.saturating_mul(MOST_EXPANSION).max(LEAST_ELF_BYTES))
    }

    /// Notes a package whose payload was read, once it is sure that the file stayed as it was.
    fn note_complete(&self, outcome: &Outcome) {
        if let Outcome::Read(reading) = outcome
            && reading.payload_read
            && reading.broken.is_none()
        {
            self.complete().insert(reading.import.package.identity);
        }
    }

    fn read_payload(
        &self,
        mut source: Source<'_>,
        header: &Header,
        ordinals: &[u32],
        bytes: u64,
    ) -> Result<Vec<Artifact>, Error> {
        source.file.seek(SeekFrom::Start(header.range.end))?;
        let most_bytes = self.most_elf_bytes(bytes);
        scan::read(BufReader::with_capacity(PAYLOAD_READ_BYTES, source), header, ordinals, most_bytes)
    }

    fn complete(&self) -> MutexGuard<'_, HashSet<Identity>> {
        self.complete.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does the index know everything about this package, or will it in a moment?
    fn is_complete(&self, identity: &Identity) -> sql::Result<bool> {
        if self.complete().contains(identity) {
            return Ok(true);
        }
        let stored = self.runtime.block_on(self.index.package_by_identity(identity))?;
        Ok(stored.is_some_and(|stored| !stored.open))
    }
}

/// What is wrong with an archive's bytes, or the error that reading them met.
fn broken(error: Error, part: &str, bytes: u64) -> io::Result<String> {
    match error {
        Error::Io(error) if error.kind() == ErrorKind::UnexpectedEof => {
            Ok(format!("{part}: expected more bytes, found the end of the file after {bytes}"))
        }
        Error::Io(error) if matches!(error.kind(), ErrorKind::InvalidData | ErrorKind::InvalidInput) => {
            Ok(format!("{part}: expected sound data, found {error}"))
        }
        Error::Io(error) => Err(error),
        error => Ok(error.to_string()),
    }
}
