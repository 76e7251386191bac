//! Refreshes of the configured repositories, and checks of places, each under its lease.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use sql::Repository;

use super::lease::{Asked, Lease};
use super::metrics::RoundResult;
use super::{Service, jittered};
use crate::commands::repository::{CHECKS, lease_name, plan};
use crate::feeders::repository::{Plan, Refresher};
use crate::fetch::network::Network;
use crate::fetch::presence::polite_network;
use crate::pipeline::checks::PlaceChecks;
use crate::pipeline::stop::Stop;
use crate::report::checks::{CheckProgress, CheckSummary};
use crate::report::failure::{CommandFailure, Result};
use crate::report::progress::ImportProgress;
use crate::report::repository::{RepositoryOutcome, RepositorySummary};
use crate::report::time::{now, utc};
use crate::settings::tables::RepositoryTable;

/// Number of requests in parallel, as `repo --jobs` has it by default.
const JOBS: usize = 16;
/// Time until a round that failed as a whole is tried again.
const RETRY_INTERVAL: Duration = Duration::from_secs(10);
/// Minimum time between two looks at what is due.
const MIN_SLEEP: Duration = Duration::from_millis(500);
/// Maximum time between two looks at what is due: another indexer may have ended without refreshing.
const MAX_SLEEP: Duration = Duration::from_secs(30);

/// Refreshes the repositories that are due, one after the other, until the service stops. Sets `is_first_done` after
/// the first round.
pub(super) async fn run(service: Arc<Service>, is_first_done: Stop) {
    let mut refused = Refused::default();
    while !service.stop.is_set() {
        let ended = Box::pin(round(&service, &mut refused)).await;
        is_first_done.set();
        if pause(&service, "refreshes of repositories", ended).await {
            return;
        }
    }
}

/// Checks places when that is due, until the service stops. Begins after the first round of refreshes, which adds
/// stores.
pub(super) async fn run_checks(service: Arc<Service>, is_first_refresh_done: Stop) {
    tokio::select! {
        () = service.stop.wait() => return,
        () = is_first_refresh_done.wait() => {}
    }
    while !service.stop.is_set() {
        let ended = Box::pin(check(&service, service.settings.refresh_interval)).await;
        if pause(&service, "checks of places", ended).await {
            return;
        }
    }
}

/// Waits until something is due, or for a try after a failure. True if the service stops.
async fn pause(service: &Service, what: &str, ended: Result<Duration>) -> bool {
    let time = match ended {
        Ok(next) => jittered(next.clamp(MIN_SLEEP, MAX_SLEEP)),
        Err(failure) => {
            tracing::error!("{what}: {failure}; trying again");
            RETRY_INTERVAL
        }
    };
    service.stop.wait_for(time).await
}

/// When repositories were refused last. The index may have no row for one that could not be asked for.
#[derive(Default)]
struct Refused(HashMap<String, i64>);

impl Refused {
    fn set(&mut self, name: &str) {
        self.0.insert(name.to_owned(), now());
    }

    /// Returns the time until a repository is due; `None` if no attempt came to an end yet.
    fn due_in(&self, stored: &[Repository], name: &str, interval: Duration) -> Option<Duration> {
        let stored = stored.iter().find(|stored| stored.name == name).and_then(last_attempt);
        Some(until(stored.max(self.0.get(name).copied())?, interval))
    }
}

/// Refreshes what is due. Returns the time until something is due again.
async fn round(service: &Arc<Service>, refused: &mut Refused) -> Result<Duration> {
    let settings = &service.settings.repositories;
    let interval = service.settings.refresh_interval;
    let stored = service.index.repositories().await?;
    let is_due =
        |refused: &Refused, name: &str| refused.due_in(&stored, name, interval).is_none_or(|left| left.is_zero());
    if settings.repositories.iter().any(|table| is_due(refused, &table.name)) {
        let plans = Box::pin(plan::configured(settings, &service.settings.filter, &service.index)).await?;
        for plan in plans {
            if service.stop.is_set() {
                return Ok(Duration::ZERO);
            }
            match plan {
                Ok(plan) if is_due(refused, &plan.name) => {
                    if let Err(failure) = refresh(service, &plan, refused, interval).await {
                        service.metrics.count_round(&task(&plan.name), RoundResult::Failed);
                        tracing::error!(repository = plan.name, "{failure}");
                        refused.set(&plan.name);
                    }
                }
                Err(summary) if is_due(refused, &summary.name) => {
                    service.metrics.count_round(&task(&summary.name), RoundResult::Failed);
                    tracing::error!("repository {summary}");
                    refused.set(&summary.name);
                }
                Ok(_) | Err(_) => {}
            }
        }
    }
    let stored = service.index.repositories().await?;
    // Another indexer refreshes the one without an attempt.
    let due = |table: &RepositoryTable| refused.due_in(&stored, &table.name, interval).unwrap_or(MAX_SLEEP);
    Ok(settings.repositories.iter().map(due).min().unwrap_or(MAX_SLEEP))
}

/// Refreshes a repository, unless another indexer does, or did a moment ago.
async fn refresh(service: &Arc<Service>, plan: &Plan, refused: &mut Refused, interval: Duration) -> Result<()> {
    let lease = match Lease::acquire(&service.index, &lease_name(&plan.name), &service.holder, &service.stop).await? {
        Asked::Acquired(lease) => lease,
        Asked::Held { by } => {
            tracing::debug!(repository = plan.name, by, "another indexer refreshes it");
            return Ok(());
        }
    };
    let ended = Box::pin(refresh_with(service, plan, &lease, interval)).await;
    lease.release().await;
    let Some(summary) = ended? else { return Ok(()) };
    let result = match summary.outcome {
        RepositoryOutcome::Imported | RepositoryOutcome::Unchanged => RoundResult::Done,
        RepositoryOutcome::Refused => RoundResult::Failed,
        RepositoryOutcome::Interrupted | RepositoryOutcome::Skipped => RoundResult::Interrupted,
    };
    service.metrics.count_round(&task(&plan.name), result);
    service.metrics.count_packages(&task(&plan.name), summary.imported + summary.claimed);
    match result {
        RoundResult::Failed => {
            tracing::error!("repository {summary}");
            refused.set(&plan.name);
        }
        RoundResult::Done | RoundResult::Interrupted => tracing::info!("repository {summary}"),
    }
    Ok(())
}

/// Refreshes a repository under its lease; `None` if another indexer did after it was found due.
async fn refresh_with(
    service: &Arc<Service>,
    plan: &Plan,
    lease: &Lease,
    interval: Duration,
) -> Result<Option<RepositorySummary>> {
    let stored = service.index.repositories().await?.into_iter().find(|stored| stored.name == plan.name);
    let attempted_at = stored.as_ref().and_then(last_attempt);
    if attempted_at.is_some_and(|at| !until(at, interval).is_zero()) {
        return Ok(None);
    }
    let settings = &service.settings.repositories;
    let network = Network::new(settings.contact.as_deref(), settings.limits, lease.stop().clone());
    let mut progress = ImportProgress::of_service(&plan.name, &network);
    let refresher = Refresher {
        index: service.index.clone(),
        network,
        stop: lease.stop().clone(),
        jobs: JOBS,
        temp_limit: artifact::limits::MAX_ELF_BYTES,
    };
    refresher.refresh(plan, &mut progress).await.map(Some)
}

/// Checks places if that is due, unless another indexer does. Returns the time until it is due again.
async fn check(service: &Arc<Service>, interval: Duration) -> Result<Duration> {
    if service.settings.repositories.check.budget.is_zero() {
        return Ok(Duration::MAX);
    }
    let due_in = async || {
        let cursor = service.index.cursor(CHECKS).await?;
        Ok::<Duration, CommandFailure>(cursor.map_or(Duration::ZERO, |cursor| until(cursor.updated_at, interval)))
    };
    let left = due_in().await?;
    if !left.is_zero() {
        return Ok(left);
    }
    let lease = match Lease::acquire(&service.index, CHECKS, &service.holder, &service.stop).await? {
        Asked::Acquired(lease) => lease,
        Asked::Held { .. } => return Ok(MAX_SLEEP),
    };
    let checked = async {
        // Another indexer may have ended its check meanwhile.
        if due_in().await?.is_zero() { Box::pin(check_with(service, &lease)).await.map(Some) } else { Ok(None) }
    };
    let checked = checked.await;
    lease.release().await;
    match checked {
        Ok(Some(summary)) => {
            service.metrics.count_round(CHECKS, RoundResult::Done);
            tracing::info!("{summary}");
        }
        Ok(None) => {}
        Err(failure) => {
            service.metrics.count_round(CHECKS, RoundResult::Failed);
            return Err(failure);
        }
    }
    Ok(interval)
}

async fn check_with(service: &Arc<Service>, lease: &Lease) -> Result<CheckSummary> {
    let settings = &service.settings.repositories;
    let network = polite_network(settings.contact.as_deref(), lease.stop());
    let stores = service.index.stores().await?;
    let progress = CheckProgress::of_service();
    let summary = PlaceChecks::new(&service.index, &network, settings.check.budget, &progress).run(&stores).await?;
    if !lease.stop().is_set() {
        service.index.set_cursor(CHECKS, &utc(now())).await?;
    }
    Ok(summary)
}

/// Returns when the last refresh that came to an end was made. One that was killed or interrupted is continued at once.
fn last_attempt(repository: &Repository) -> Option<i64> {
    let attempted_at = repository.attempted_at?;
    // A refresh begins up to a second ahead of the clock.
    let is_refreshed = repository.refreshed_at.is_some_and(|refreshed_at| refreshed_at + 1 >= attempted_at);
    (is_refreshed || repository.error.is_some()).then_some(attempted_at)
}

/// Returns the label of a repository.
fn task(repository: &str) -> String {
    format!("repository/{repository}")
}

/// Returns the time until `interval` has passed since `at`.
fn until(at: i64, interval: Duration) -> Duration {
    let passed = u64::try_from(now().saturating_sub(at)).unwrap_or_default();
    interval.saturating_sub(Duration::from_secs(passed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refresh_that_was_interrupted_does_not_count_as_an_attempt() {
        let repository = |refreshed_at, attempted_at, error: Option<&str>| Repository {
            id: 1,
            name: "r".into(),
            store_id: 1,
            path: String::new(),
            url: None,
            format: artifact::Format::Rpm,
            distro: None,
            revision: None,
            metadata_checksum: None,
            verified: sql::Verified::No,
            package_count: None,
            refreshed_at,
            attempted_at,
            error: error.map(str::to_owned),
            refused_count: 0,
            refused: None,
        };
        for (repository, expected) in [
            (repository(None, None, None), None),
            (repository(None, Some(100), None), None),
            (repository(Some(50), Some(100), None), None),
            (repository(Some(99), Some(100), None), Some(100)),
            (repository(Some(100), Some(100), None), Some(100)),
            (repository(Some(50), Some(100), Some("down")), Some(100)),
        ] {
            assert_eq!(last_attempt(&repository), expected, "{repository:?}");
        }
    }
}
