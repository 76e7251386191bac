//! The packages of builds: which the index lacks, and how they are read and inserted.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

use artifact::Format;
use futures::{StreamExt, stream};
use repodata::ListedLink;
use sql::{BuildPackage, ClaimedPackage, KojiOrigin, NewLocation, Origin, PackageState};
use tokio::runtime::Handle;
use tokio::task::spawn_blocking;

use super::HeaderSource;
use super::importer::BuildImporter;
use crate::cli::Payload;
use crate::feeders::repository::claims::{PackedBuildIds, merge};
use crate::fetch::http::Fetcher;
use crate::fetch::mirrors::Mirrors;
use crate::fetch::package::PackageReader;
use crate::fetch::reader::ReadOutcome;
use crate::fetch::remote::{PackageTraffic, RemoteArchive, RemoteReader};
use crate::koji::build::{HubHeader, HubRpm};
use crate::pipeline::writer::Batch;
use crate::report::failure::{CommandFailure, Result};

/// Number of headers that are asked of the hub before they are inserted.
const HUB_HEADERS: usize = 500;

/// An RPM of a build that is imported.
pub(super) struct Wanted {
    pub(super) rpm: HubRpm,
    /// The path of the unsigned file below the topurl.
    pub(super) path: String,
    /// The keys that it is signed with.
    pub(super) keys: Vec<String>,
    /// Paths of signed copies that the index has.
    pub(super) copies: Vec<String>,
    /// True if the index has it at its path, read as far as wanted.
    pub(super) is_known: bool,
}

impl Wanted {
    /// Compares it with what the index has of the build's package with this name.
    pub(super) fn set_known(&mut self, stored: Option<&BuildPackage>, headers: HeaderSource) {
        let Some(stored) = stored else { return };
        let is_read = is_read(stored.state, headers);
        let present = || stored.places.iter().filter(|place| place.gone_at.is_none());
        self.is_known = is_read && present().any(|place| place.path == self.path);
        self.copies = present().filter(|place| place.signing_key.is_some()).map(|place| place.path.clone()).collect();
    }
}

/// True if the header of a package was read, as far as the instance has it read.
pub(super) fn is_read(state: PackageState, headers: HeaderSource) -> bool {
    match (state, headers) {
        (PackageState::Complete | PackageState::Open, _) => true,
        (PackageState::Claimed, HeaderSource::Hub) => true,
        (PackageState::Claimed, HeaderSource::Topurl) | (PackageState::Legacy, _) => false,
    }
}

/// A package to read.
pub(super) struct PackageWork {
    /// The number of the build, and of the package in it, among those of the import.
    pub(super) build: usize,
    pub(super) package: usize,
    pub(super) origin: KojiOrigin,
    pub(super) rpm: HubRpm,
    pub(super) path: String,
}

/// What became of a package.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum PackageRead {
    /// It is in the index.
    Inserted,
    Failed {
        reason: String,
        /// True if the archive is missing or broken.
        is_permanent: bool,
    },
}

impl PackageRead {
    fn broken(path: &str, reason: &str) -> Self {
        Self::Failed { reason: with_path(path, reason), is_permanent: true }
    }

    fn passing(path: &str, reason: &str) -> Self {
        Self::Failed { reason: with_path(path, reason), is_permanent: false }
    }
}

/// Puts the path before a reason that lacks it.
fn with_path(path: &str, reason: &str) -> String {
    if reason.contains(path) { reason.to_owned() } else { format!("{path}: {reason}") }
}

impl BuildImporter {
    /// Reads packages and inserts them. Returns what became of each.
    ///
    /// # Errors
    /// If the index or this machine fails.
    pub(super) async fn read_packages(&self, work: Vec<PackageWork>) -> Result<Vec<(PackageWork, PackageRead)>> {
        if work.is_empty() {
            return Ok(Vec::new());
        }
        match self.instance.headers {
            HeaderSource::Topurl => Box::pin(self.read_archives(work)).await,
            HeaderSource::Hub => Box::pin(self.claim_by_hub(work)).await,
        }
    }

    /// Reads the headers of archives below the topurl, and payloads of those that their headers leave open.
    async fn read_archives(&self, work: Vec<PackageWork>) -> Result<Vec<(PackageWork, PackageRead)>> {
        let reader = Arc::new(self.reader()?);
        let reads = stream::iter(work).map(|work| {
            let reader = Arc::clone(&reader);
            let store_id = self.store.id;
            spawn_blocking(move || {
                let outcome = reader.read(RemoteArchive {
                    nevra: &work.rpm.nevra,
                    store_id,
                    path: &work.path,
                    relative: Some(&work.path),
                    size: work.rpm.size,
                    header: None,
                    checksum: None,
                });
                (work, outcome)
            })
        });
        let mut reads = reads.buffer_unordered(self.jobs);
        let (mut done, mut batch, mut pending) = (Vec::new(), Batch::default(), Vec::new());
        while let Some(read) = reads.next().await {
            let (work, outcome) = read.map_err(CommandFailure::local)?;
            let read = match outcome {
                ReadOutcome::Read(reading) => {
                    let mut import = reading.import;
                    import.koji = Some(work.origin.clone());
                    if let Err(error) = import.check() {
                        PackageRead::broken(&work.path, &error.to_string())
                    } else {
                        batch.rows += import.artifacts.len() + import.modules.len();
                        batch.imports.push(import);
                        self.lock_counts().payloads += u64::from(reading.payload_read);
                        pending.push(work);
                        if batch.is_full() {
                            self.write(std::mem::take(&mut batch), &mut pending, &mut done).await?;
                        }
                        continue;
                    }
                }
                ReadOutcome::Broken { path, reason } => PackageRead::broken(&path, &reason),
                ReadOutcome::Unreadable { path, reason, .. } => PackageRead::passing(&path, &reason),
                ReadOutcome::Failed(error) => return Err(error.into()),
                // Nothing was read, because no server answers.
                _ => {
                    let given_up = reader.given_up.lock().unwrap_or_else(PoisonError::into_inner).clone();
                    PackageRead::passing(&work.path, given_up.as_deref().unwrap_or("not read"))
                }
            };
            done.push((work, read));
        }
        self.write(batch, &mut pending, &mut done).await?;
        let traffic = &reader.traffic;
        let mut counts = self.lock_counts();
        counts.headers += traffic.headers.load(Ordering::Relaxed);
        counts.header_bytes += traffic.header_bytes.load(Ordering::Relaxed);
        counts.payload_bytes += traffic.payload_bytes.load(Ordering::Relaxed);
        Ok(done)
    }

    /// Returns the reader of archives below the topurl. It knows nothing of former failures.
    fn reader(&self) -> Result<RemoteReader> {
        let base = self.store.base_url.as_deref().unwrap_or_default();
        let mirrors = Mirrors::of_base(&self.network, &self.store, base);
        let mirrors = mirrors.map_err(|error| {
            CommandFailure::Usage(format!(
                "store {} of Koji instance {}: {error:#}",
                self.store.name, self.instance.name
            ))
        })?;
        Ok(RemoteReader {
            package: PackageReader {
                repository_id: None,
                distro: None,
                payload: Payload::Missing,
                temp_limit: self.temp_limit,
                index: self.index.clone(),
                runtime: Handle::current(),
                stop: self.stop.clone(),
                complete: Mutex::default(),
            },
            fetcher: Fetcher::new(mirrors.patient()),
            stores: HashMap::new(),
            traffic: Arc::new(PackageTraffic::default()),
            given_up: Arc::default(),
        })
    }

    /// Inserts what headers state as the hub has read them. Gateways confirm it when it is asked for.
    async fn claim_by_hub(&self, work: Vec<PackageWork>) -> Result<Vec<(PackageWork, PackageRead)>> {
        let mut done = Vec::new();
        let mut work = work.into_iter();
        loop {
            let part: Vec<PackageWork> = work.by_ref().take(HUB_HEADERS).collect();
            if part.is_empty() {
                return Ok(done);
            }
            let ids: Vec<i64> = part.iter().map(|work| work.rpm.id).collect();
            let headers = match self.hub.headers(&ids).await {
                Ok(headers) => headers,
                Err(error) => {
                    let failed = PackageRead::Failed { reason: error.to_string(), is_permanent: false };
                    done.extend(part.into_iter().chain(work).map(|work| (work, failed.clone())));
                    return Ok(done);
                }
            };
            let (mut batch, mut pending) = (Batch::default(), Vec::new());
            for (work, header) in part.into_iter().zip(headers) {
                let claimed = match header {
                    Ok(Some(header)) => self.claimed(&work, header).map_err(|error| (error.to_string(), true)),
                    Ok(None) => Err(("expected a header, found no file at the hub".to_owned(), true)),
                    Err(fault) => Err((fault.to_string(), !fault.may_pass())),
                };
                match claimed {
                    Ok(claimed) => {
                        batch.rows += claimed.claims.len();
                        batch.claimed.push(claimed);
                        pending.push(work);
                    }
                    Err((reason, is_permanent)) => {
                        let reason = with_path(&work.path, &reason);
                        done.push((work, PackageRead::Failed { reason, is_permanent }));
                    }
                }
            }
            self.write(batch, &mut pending, &mut done).await?;
        }
    }

    /// Returns a package as the hub's header states it.
    ///
    /// # Errors
    /// A value does not fit the index.
    fn claimed(&self, work: &PackageWork, header: HubHeader) -> sql::Result<ClaimedPackage> {
        let PackageWork { rpm, path, origin, .. } = work;
        let links = header.links.iter().filter_map(|link| ListedLink::parse(&link.path)).collect();
        let claimed = ClaimedPackage {
            origin: Origin::Koji,
            format: Format::Rpm,
            nevra: rpm.nevra.clone(),
            source_rpm: header.source_rpm,
            distro: rpm.nevra.dist_tag().to_owned(),
            claims: merge(&PackedBuildIds::default(), links),
            location: Some(NewLocation {
                store_id: self.store.id,
                path: path.clone(),
                size: rpm.size,
                mtime_ns: None,
                header: None,
                checksum: None,
                signing_key: None,
            }),
            repository_id: None,
            koji: Some(origin.clone()),
        };
        claimed.check()?;
        Ok(claimed)
    }

    /// Writes a batch, whose packages are done then.
    async fn write(
        &self,
        batch: Batch,
        pending: &mut Vec<PackageWork>,
        done: &mut Vec<(PackageWork, PackageRead)>,
    ) -> Result<()> {
        if batch.packages() > 0 {
            let written = batch.write(&self.index, &self.writer).await?;
            let mut counts = self.lock_counts();
            counts.packages += written.inserted.packages_new;
            counts.completed += written.inserted.packages_completed;
            counts.artifacts += written.inserted.artifacts;
            counts.claimed += written.claimed;
        }
        done.extend(pending.drain(..).map(|work| (work, PackageRead::Inserted)));
        Ok(())
    }
}
