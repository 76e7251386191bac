//! Reads a package at its places, and compares it with the index.

use std::fs::File;
use std::io::{self, BufReader, ErrorKind, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

use artifact::formats::{self, ArchiveBytes, ArchiveInfo};
use artifact::header::{self, Outline};
use artifact::limits::MAX_ELF_BYTES;
use artifact::{Artifact, Format};
use repodata::checksum::Hasher;
use sql::{Checksum, Index, Location, StoredPackage};
use tokio::task::spawn_blocking;

use super::compare::{self, Indexed};
use crate::fetch::failure::FetchErrorKind;
use crate::fetch::http::{Fetcher, HeaderHint};
use crate::fetch::mirrors::Mirrors;
use crate::fetch::network::Network;
use crate::fetch::open_file::{self, ArchiveSource};
use crate::fetch::package::{PAYLOAD_READ_BYTES, describe_damage};
use crate::fetch::presence::{self, Finding};
use crate::pipeline::stop::Stop;
use crate::report::failure::Result;

/// What a place says of a package.
pub(super) enum Verdict {
    /// The archive was read: what differs.
    Read(Vec<String>),
    /// Nothing is known: the reason.
    Failed(String),
}

/// Reads archives at their places.
pub(super) struct PlaceReader {
    pub(super) network: Arc<Network>,
}

impl PlaceReader {
    /// Returns the present places of a package with what differs there. Places that were never seen are left out.
    ///
    /// # Errors
    /// If the index fails.
    pub(super) async fn verify(
        &self,
        index: &Index,
        package: &StoredPackage,
        store: Option<i64>,
    ) -> Result<Vec<(Location, Verdict)>> {
        let records = index.records_by_nvra(&package.package.nevra.nvra()).await?.records;
        let records = records.into_iter().filter(|record| record.package.id == package.id);
        let artifacts: Vec<Artifact> = records.map(|record| record.artifact).collect();
        let mut verdicts = Vec::new();
        for location in package.present_locations() {
            let is_known = location.first_seen.is_some() || location.checked_at.is_some();
            if is_known && store.is_none_or(|id| id == location.store.id) {
                let verdict = self.verify_place(package, &artifacts, location).await;
                verdicts.push((location.clone(), verdict));
            }
        }
        Ok(verdicts)
    }

    async fn verify_place(&self, package: &StoredPackage, artifacts: &[Artifact], location: &Location) -> Verdict {
        match presence::look(location, &self.network).await {
            Finding::Present { .. } => {}
            Finding::Gone { reason } => return Verdict::Read(vec![format!("place: {reason}")]),
            Finding::Failed { reason, .. } => return Verdict::Failed(reason),
        }
        if presence::is_local(&location.store) {
            let (package, artifacts, location, stop) =
                (package.clone(), artifacts.to_vec(), location.clone(), self.network.stop.clone());
            let read = spawn_blocking(move || read_file(&package, &artifacts, &location, &stop)).await;
            return match read {
                Ok(Ok(differences)) => Verdict::Read(differences),
                Ok(Err(error)) => Verdict::Failed(error.to_string()),
                Err(error) => Verdict::Failed(error.to_string()),
            };
        }
        // Other formats have no header that could be read alone.
        if package.package.format != Format::Rpm {
            return Verdict::Read(Vec::new());
        }
        self.read_remote(package, artifacts, location).await
    }

    /// Compares the header of an RPM over HTTP with the index.
    async fn read_remote(&self, package: &StoredPackage, artifacts: &[Artifact], location: &Location) -> Verdict {
        let store = &location.store;
        let mirrors = Mirrors::of_base(&self.network, store, store.base_url.as_deref().unwrap_or_default());
        let fetcher = match mirrors {
            Ok(mirrors) => Fetcher::new(mirrors),
            Err(error) => return Verdict::Failed(format!("{error:#}")),
        };
        // Without what the index states of the header: that is what is verified.
        let fetched = match fetcher.header(&location.path, HeaderHint::default()).await {
            Ok(fetched) => fetched,
            Err(error) => {
                return match error.kind {
                    FetchErrorKind::Absent | FetchErrorKind::Wrong => Verdict::Read(vec![format!("archive: {error}")]),
                    FetchErrorKind::Refused
                    | FetchErrorKind::Unavailable
                    | FetchErrorKind::Down
                    | FetchErrorKind::Stopped => Verdict::Failed(error.to_string()),
                };
            }
        };
        let nvra = package.package.nevra.nvra();
        let indexed = Indexed { identity: &package.package.identity, nvra: &nvra, artifacts, location };
        Verdict::Read(match Outline::from_bytes(&fetched.bytes) {
            Ok(outline) => compare::rpm(&indexed, &outline, fetched.size),
            Err(error) => vec![format!("archive: {error}")],
        })
    }
}

/// Compares the file of a location with the index.
///
/// # Errors
/// It cannot be read.
fn read_file(
    package: &StoredPackage,
    artifacts: &[Artifact],
    location: &Location,
    stop: &Stop,
) -> io::Result<Vec<String>> {
    let root = location.store.root.as_deref().unwrap_or(Path::new("/"));
    let file = open_file::open(&root.join(&location.path))?;
    let metadata = file.metadata()?;
    let nvra = package.package.nevra.nvra();
    let indexed = Indexed { identity: &package.package.identity, nvra: &nvra, artifacts, location };
    let format = package.package.format;
    let mut source = ArchiveSource { file: &file, bytes: 0, stop };
    let compared = if format == Format::Rpm {
        let mut buffer = Vec::new();
        let outline = header::read_ahead(&mut source, &mut buffer).and_then(Outline::from_bytes);
        outline.map(|outline| compare::rpm(&indexed, &outline, Some(metadata.len())))
    } else {
        let name = location.path.rsplit('/').next().unwrap_or(&location.path);
        let about = ArchiveInfo { format, name, size: metadata.len(), mtime: metadata.mtime() };
        if format == Format::File {
            let path = root.join(&location.path).display().to_string();
            formats::read_plain_file(&mut source, &about, &path, MAX_ELF_BYTES)
                .map(|found| found.map_or_else(not_elf, |found| compare::whole(&indexed, &found)))
        } else {
            let archive = BufReader::with_capacity(PAYLOAD_READ_BYTES, &mut source);
            formats::read_archive(ArchiveBytes::seekable(archive), &about, MAX_ELF_BYTES)
                .map(|found| compare::whole(&indexed, &found))
        }
    };
    let mut differences = match compared {
        Ok(differences) => differences,
        Err(error) => vec![format!("archive: {}", describe_damage(error, format.as_str(), source.bytes)?)],
    };
    if let Some(expected) = &location.checksum
        && differences.is_empty()
    {
        differences.extend(checksum(&file, expected, stop)?);
    }
    Ok(differences)
}

fn not_elf() -> Vec<String> {
    vec!["archive: expected an ELF file with a build-id, found another file".to_owned()]
}

/// Compares the checksum of a whole file.
fn checksum(mut file: &File, expected: &Checksum, stop: &Stop) -> io::Result<Option<String>> {
    let Some(kind) = repodata::checksum::Kind::parse(&expected.kind) else {
        return Err(io::Error::new(ErrorKind::InvalidData, format!("unknown checksum {}", expected.kind)));
    };
    file.seek(SeekFrom::Start(0))?;
    let (mut source, mut hasher) = (ArchiveSource { file, bytes: 0, stop }, Hasher::new(kind));
    let mut buffer = vec![0; PAYLOAD_READ_BYTES];
    loop {
        match source.read(&mut buffer)? {
            0 => break,
            read => hasher.update(buffer.get(..read).unwrap_or_default()),
        }
    }
    let found = hasher.finish();
    Ok((found.bytes() != expected.bytes)
        .then(|| format!("checksum: the index has {expected}, the archive {kind}:{}", found.hex())))
}
