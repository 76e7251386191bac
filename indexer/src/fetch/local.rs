//! Reads archives of this machine.

use std::collections::HashMap;
use std::fs::{self, File, Metadata};
use std::io::{self, BufReader, ErrorKind, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use artifact::formats::{self, ArchiveBytes, ArchiveInfo};
use artifact::header::{self, Header, Outline};
use artifact::{Artifact, Error, Format, scan};
use sql::{Import, KnownLocation, NewLocation, PathHash, mtime_ns};

use crate::cli::Payload;
use crate::fetch::open_file::{self, ArchiveSource, is_unchanged_file, stable_metadata};
use crate::fetch::package::{Archive, PAYLOAD_READ_BYTES, PackageReader, describe_damage};
use crate::fetch::reader::{Candidate, ReadArchive, ReadOutcome, StillPresent};

/// Maximum number of reads of a file that changes while it is read.
const MAX_READS: u32 = 3;

/// A file of a local store.
pub(crate) struct LocalCandidate {
    path: PathBuf,
    /// Path below the store's root.
    location: String,
    is_symlink: bool,
    format: Format,
}

impl LocalCandidate {
    /// Returns the candidate at `path` below the root of its store.
    pub(crate) fn at(root: &Path, path: &Path, is_symlink: bool, format: Format) -> Result<Candidate, ReadOutcome> {
        match path.strip_prefix(root).unwrap_or(path).to_str() {
            Some(location) => {
                Ok(Candidate::Local(Self { path: path.into(), location: location.into(), is_symlink, format }))
            }
            None => Err(ReadOutcome::Broken {
                path: path.display().to_string(),
                reason: "expected a path in UTF-8, found other bytes".into(),
            }),
        }
    }

    /// True if the archive has no header and is read as a whole.
    pub(crate) fn is_read_whole(&self) -> bool {
        !matches!(self.format, Format::Rpm | Format::File)
    }
}

/// The reader of a local store.
pub(crate) struct LocalReader {
    pub(crate) package: PackageReader,
    pub(crate) store_id: i64,
    /// The store's root, canonical.
    pub(crate) root: PathBuf,
    /// The store's root as the index has it: paths of plain files start with it.
    pub(crate) stored_root: PathBuf,
    pub(crate) known: HashMap<PathHash, KnownLocation>,
}

impl LocalReader {
    /// Reads an archive unless it is known and unchanged. `buffer` is scratch space for its header.
    pub(crate) fn read(&self, candidate: &LocalCandidate, buffer: &mut Vec<u8>) -> ReadOutcome {
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
        candidate: &LocalCandidate,
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
                self.package.remember_complete(&outcome);
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
            && known.size == Some(metadata.size())
            && known.mtime_ns == mtime_ns(metadata)
            && (!known.open || self.package.payload == Payload::Never)
    }

    fn read_file(
        &self,
        candidate: &LocalCandidate,
        path_hash: PathHash,
        metadata: &Metadata,
        mut file: &File,
        buffer: &mut Vec<u8>,
    ) -> io::Result<ReadOutcome> {
        file.rewind()?;
        let mut source = ArchiveSource { file, bytes: 0, stop: &self.package.stop };
        if candidate.format != Format::Rpm {
            return self.read_other_format(candidate, path_hash, metadata, source);
        }
        // A file that is still being copied is truncated: no package yet; the next run reads it again.
        let whole = header::read_ahead(&mut source, buffer).and_then(Outline::from_bytes).and_then(|outline| {
            outline.check_archive_bytes(metadata.len())?;
            Ok(outline)
        });
        let reason = match whole {
            Ok(outline) => return self.read_package(candidate, metadata, outline, source),
            Err(error) => describe_damage(error, "header", source.bytes)?,
        };
        Ok(ReadOutcome::Broken { path: candidate.path.display().to_string(), reason })
    }

    fn read_package(
        &self,
        candidate: &LocalCandidate,
        metadata: &Metadata,
        outline: Outline<'_>,
        source: ArchiveSource<'_>,
    ) -> io::Result<ReadOutcome> {
        let archive = Archive {
            shown: &candidate.path.display().to_string(),
            store_id: self.store_id,
            path: &candidate.location,
            bytes: Some(metadata.size()),
            mtime_ns: mtime_ns(metadata),
            checksum: None,
            header_bytes: source.bytes,
        };
        self.package.read_outline(archive, outline, |header, ordinals| {
            match self.read_payload(source, header, ordinals, metadata.len()) {
                Ok(artifacts) => Ok(Ok(artifacts)),
                Err(error) => describe_damage(error, "payload", metadata.size()).map(Err),
            }
        })
    }

    /// Reads an archive without a header as a whole.
    fn read_other_format(
        &self,
        candidate: &LocalCandidate,
        path_hash: PathHash,
        metadata: &Metadata,
        mut source: ArchiveSource<'_>,
    ) -> io::Result<ReadOutcome> {
        let LocalCandidate { path, location, format, .. } = candidate;
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
                    self.package.max_elf_bytes(metadata.len()),
                )
            }
            _ => {
                let archive = BufReader::with_capacity(PAYLOAD_READ_BYTES, &mut source);
                formats::read_archive(
                    ArchiveBytes::seekable(archive),
                    &about,
                    self.package.max_elf_bytes(metadata.len()),
                )
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
            distro: self.package.distro.clone(),
            repository_id: None,
            koji: None,
            artifacts: found.artifacts,
            modules: Vec::new(),
            includes: Vec::new(),
            open: too_large.is_some(),
            location: NewLocation {
                store_id: self.store_id,
                path: location.clone(),
                size: Some(metadata.size()),
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

    fn read_payload(
        &self,
        mut source: ArchiveSource<'_>,
        header: &Header,
        ordinals: &[u32],
        bytes: u64,
    ) -> Result<Vec<Artifact>, Error> {
        source.file.seek(SeekFrom::Start(header.range.end))?;
        let max_bytes = self.package.max_elf_bytes(bytes);
        scan::scan_files(BufReader::with_capacity(PAYLOAD_READ_BYTES, source), header, ordinals, max_bytes)
    }
}
