//! Repositories: packages that metadata lists, below a path of one store.
//!
//! [`refresh`](Refresher::refresh) is one refresh, in this order:
//! 1. [`sources`]: the address ([`address`]) becomes mirrors; a metalink also has the checksum of `repomd.xml`.
//! 2. [`metadata`], [`download`]: documents and listings are downloaded and verified. Unchanged metadata ends the
//!    refresh.
//! 3. [`rpm`], [`debian`], [`arch`]: listings are read to their ends, before anything is imported.
//! 4. [`listing`]: what is listed is compared with the index: nothing, another place, or a package to read.
//! 5. The pipeline reads headers or takes claims, and writes them.
//! 6. The end of the complete listing ends memberships and marks locations as gone.
//!
//! Metadata that changes meanwhile is read again. A refused repository imports nothing and marks nothing.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use artifact::Format;
use sql::{Index, NewRepository, Repository, Store};

use crate::cli::Payload;
use crate::fetch::network::Network;
use crate::pipeline::stop::Stop;
use crate::report::failure::{CommandFailure, Result};
use crate::report::progress::ImportProgress;
use crate::report::repository::{RepositoryOutcome, RepositorySummary};
use crate::report::time::now;
use address::Address;
use attempt::Attempt;
use download::RefreshError;
use listing::Wants;
use sources::Sources;

pub(crate) mod address;
mod arch;
mod attempt;
pub(crate) mod claims;
mod debian;
mod download;
mod entries;
pub(crate) mod listing;
mod metadata;
pub(crate) mod places;
pub(crate) mod probe;
mod repomd;
mod rpm;
mod signature;
mod sources;

/// Maximum number of times that a repository is read because it changed meanwhile.
const MAX_UPDATES: u32 = 5;

/// A repository to refresh, and how.
pub(crate) struct Plan {
    pub(crate) name: String,
    pub(crate) store: Store,
    pub(crate) address: Address,
    /// The URL as the index stores it; `None` if it follows from store and path.
    pub(crate) url: Option<String>,
    /// The repository's path below the store; `None`: as one of its mirrors has it.
    pub(crate) path: Option<String>,
    pub(crate) format: Format,
    pub(crate) distro: Option<String>,
    /// Files with keys that must have signed the metadata.
    pub(crate) keys: Vec<PathBuf>,
    pub(crate) metadata_only: bool,
    pub(crate) payload: Payload,
}

impl Plan {
    fn wants(&self) -> Wants {
        let headers = self.format == Format::Rpm && !self.metadata_only;
        Wants { headers, payloads: headers && self.payload != Payload::Never }
    }
}

/// Refreshes repositories, one after the other.
pub(crate) struct Refresher {
    pub(crate) index: Index,
    pub(crate) network: Arc<Network>,
    pub(crate) stop: Stop,
    /// Number of requests in parallel.
    pub(crate) jobs: usize,
    /// Maximum size in bytes of an ELF file that is copied to the temporary directory.
    pub(crate) temp_limit: u64,
}

impl Refresher {
    /// Refreshes a repository. A refused one is in the summary, and in the index with the cause.
    ///
    /// # Errors
    /// If the index or this machine fails.
    pub(crate) async fn refresh(&self, plan: &Plan, progress: &mut ImportProgress) -> Result<RepositorySummary> {
        let (started, requests) = (Instant::now(), self.network.traffic().requests());
        let mut summary = RepositorySummary::new(&plan.name);
        let mut repository = None;
        let refreshed = Box::pin(self.try_refresh(plan, &mut repository, &mut summary, progress)).await;
        match refreshed {
            Ok(()) => {}
            Err(RefreshError::Stopped) => summary.outcome = RepositoryOutcome::Interrupted,
            Err(RefreshError::Inconsistent(text) | RefreshError::Refused(text)) => {
                Box::pin(self.record_failure(plan, repository, &text)).await?;
                summary.outcome = RepositoryOutcome::Refused;
                summary.error = Some(text);
            }
            Err(RefreshError::Command(failure)) => {
                if let CommandFailure::Usage(text) = &failure {
                    Box::pin(self.record_failure(plan, repository, text)).await?;
                }
                return Err(failure);
            }
        }
        let refused = progress.take_deferred();
        summary.add(&progress.summary, refused);
        summary.requests = self.network.traffic().requests() - requests;
        summary.seconds = started.elapsed().as_secs_f64();
        Ok(summary)
    }

    async fn try_refresh(
        &self,
        plan: &Plan,
        added: &mut Option<Repository>,
        summary: &mut RepositorySummary,
        progress: &mut ImportProgress,
    ) -> Result<(), RefreshError> {
        let known_path = match &plan.path {
            Some(path) => Some(path.clone()),
            None => {
                let mut known = self.index.repositories().await?.into_iter();
                let known = known.find(|known| known.name == plan.name && known.store_id == plan.store.id);
                // The empty path of one that was never read stands for an unknown one.
                known.filter(|known| known.refreshed_at.is_some() || !known.path.is_empty()).map(|known| known.path)
            }
        };
        // Before anything is fetched, so that a failure is in the index.
        if let Some(path) = known_path {
            *added = Some(self.add_repository(plan, path).await?);
        }
        // The checksum of metadata that did not fit together, and why.
        let mut before: Option<(String, String)> = None;
        for _ in 0..MAX_UPDATES {
            progress.set_phase("reading metadata");
            let bytes = self.network.traffic().bytes();
            let sources = Sources::resolve(&plan.address, &self.network, &plan.store).await?;
            let repository = match &*added {
                Some(repository) => repository.clone(),
                None => {
                    let path = mirrored_path(&sources, &plan.store);
                    let path = path.ok_or_else(|| no_path(plan)).map_err(RefreshError::Command)?;
                    added.insert(self.add_repository(plan, path).await?).clone()
                }
            };
            let mut attempt = Attempt { refresher: self, plan, sources: &sources, repository: &repository, summary };
            let metadata = attempt.metadata().await.map_err(RefreshError::into_refused);
            attempt.summary.metadata_bytes += self.network.traffic().bytes() - bytes;
            let Some(metadata) = metadata? else { return Ok(()) };
            let checksum = metadata.checksum.clone();
            match before {
                Some((before, reason)) if before == checksum => return Err(RefreshError::Refused(reason)),
                Some(_) => progress.report_note(&plan.name, "updated while it was read: reading it again"),
                None => {}
            }
            match Box::pin(attempt.import(metadata, progress)).await {
                Err(RefreshError::Inconsistent(reason)) => {
                    before = Some((checksum, reason));
                    // Parts of it may be in the index.
                    if let Some(repository) = added {
                        repository.metadata_checksum = None;
                    }
                }
                imported => return imported,
            }
        }
        let reason = before.map(|(_, reason)| reason).unwrap_or_default();
        Err(RefreshError::Refused(format!(
            "expected a repository that stays as it is while it is read, found {MAX_UPDATES} updates: {reason}"
        )))
    }

    /// Records why a refresh failed. A repository whose path is not known yet is added with an empty one.
    async fn record_failure(&self, plan: &Plan, added: Option<Repository>, error: &str) -> sql::Result<()> {
        let id = match added {
            Some(added) => added.id,
            None => {
                let known = self.index.repositories().await?.into_iter().find(|known| known.name == plan.name);
                let added = match known {
                    Some(known) => Ok(known),
                    None => self.add_repository(plan, String::new()).await,
                };
                match added {
                    Ok(added) => added.id,
                    // There is no row that could have the error.
                    Err(refused) if is_of_value(&refused) => return Ok(()),
                    Err(failed) => return Err(failed),
                }
            }
        };
        self.index.fail_listing(id, error, now()).await
    }

    async fn add_repository(&self, plan: &Plan, path: String) -> sql::Result<Repository> {
        let Plan { name, url, format, distro, .. } = plan;
        let (name, url, distro) = (name.clone(), url.clone(), distro.clone());
        self.index
            .add_repository(&NewRepository { name, store_id: plan.store.id, path, url, format: *format, distro })
            .await
    }
}

/// True if the index refuses a value, and nothing is wrong with the index.
pub(crate) fn is_of_value(error: &sql::Error) -> bool {
    matches!(error, sql::Error::Value { .. } | sql::Error::TooLong { .. })
}

/// Returns the path below the store that a mirror states which is the store itself.
fn mirrored_path(sources: &Sources, store: &Store) -> Option<String> {
    sources.bases.iter().find_map(|base| places::path_in_store(base, store))
}

fn no_path(plan: &Plan) -> CommandFailure {
    CommandFailure::Usage(format!(
        "repository {}: expected a mirror below the URL of store {}, found none: state the path of the repository \
         below that URL with --path",
        plan.name, plan.store.name
    ))
}
