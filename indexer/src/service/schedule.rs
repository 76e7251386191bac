//! The reconciler and the sweep of each Koji instance, each under its lease.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::lease::{Asked, Lease};
use super::metrics::RoundResult;
use super::workload::reconcile_cursor;
use super::{Service, jittered};
use crate::feeders::koji::importer::BuildImporter;
use crate::feeders::koji::{KojiError, KojiInstance, reconcile, sweep};
use crate::report::time::now;

/// Time until a round that failed is tried again; it doubles with each further failure.
const MIN_RETRY_INTERVAL: Duration = Duration::from_secs(5);
/// Maximum time until then.
const MAX_RETRY_INTERVAL: Duration = Duration::from_secs(300);
/// Maximum time until a lease that another indexer has is asked for again.
const MAX_LEASE_INTERVAL: Duration = Duration::from_secs(30);

/// How a round ended.
enum Ended {
    /// Well; the next one is due after this time.
    Well(Duration),
    /// Another indexer has the lease, or the lease was lost.
    Elsewhere,
    Failed,
}

/// Pauses after failures in a row.
#[derive(Default)]
struct Backoff(u32);

impl Backoff {
    /// Returns the time until the next round.
    fn after(&mut self, ended: &Ended) -> Duration {
        match ended {
            Ended::Well(next) => {
                self.0 = 0;
                *next
            }
            Ended::Elsewhere => MAX_LEASE_INTERVAL,
            Ended::Failed => {
                let pause = MIN_RETRY_INTERVAL.saturating_mul(1 << self.0.min(10)).min(MAX_RETRY_INTERVAL);
                self.0 += 1;
                pause
            }
        }
    }
}

/// Lists what completed, each `reconcile_interval`, until the service stops. Several indexers share the interval.
pub(super) async fn run_reconciler(service: Arc<Service>, instance: Arc<KojiInstance>) {
    let mut backoff = Backoff::default();
    loop {
        let ended = match due_in(&service, &instance).await {
            Ok(left) if left.is_zero() => {
                Box::pin(under_lease(&service, &instance, "reconcile", async |importer| {
                    // Another indexer may have done it while this one asked for the lease.
                    let left = due_in(&service, &instance).await?;
                    if !left.is_zero() {
                        return Ok(left);
                    }
                    let found = reconcile::run(importer).await?;
                    service.new_jobs.notify_one();
                    tracing::info!(
                        instance = instance.name,
                        listed = found.listed,
                        enqueued = found.enqueued,
                        unlisted = found.unlisted,
                        "reconciled"
                    );
                    Ok(instance.reconcile_interval)
                }))
                .await
            }
            Ok(left) => Ended::Well(left),
            Err(error) => {
                tracing::error!(instance = instance.name, %error, "reconciliation failed; trying again");
                Ended::Failed
            }
        };
        let pause = backoff.after(&ended).min(instance.reconcile_interval);
        if service.stop.wait_for(jittered(pause)).await {
            return;
        }
    }
}

/// Returns the time until a reconciliation is due: an interval after the last one of any indexer.
async fn due_in(service: &Service, instance: &KojiInstance) -> Result<Duration, KojiError> {
    let cursor = service.index.cursor(&reconcile_cursor(&instance.name)).await?;
    Ok(cursor.map_or(Duration::ZERO, |cursor| {
        let passed = u64::try_from(now().saturating_sub(cursor.updated_at)).unwrap_or_default();
        instance.reconcile_interval.saturating_sub(Duration::from_secs(passed))
    }))
}

/// Compares known builds with the hub, batch by batch, until the service stops. The indexer that has the lease
/// keeps it.
pub(super) async fn run_sweep(service: Arc<Service>, instance: Arc<KojiInstance>) {
    let mut backoff = Backoff::default();
    loop {
        let ended = Box::pin(under_lease(&service, &instance, "sweep", async |importer| {
            loop {
                let began = Instant::now();
                let swept = sweep::run_batch(importer).await?;
                service.metrics.count_round(&format!("sweep/{}", instance.name), RoundResult::Done);
                if swept.enqueued > 0 || swept.lost_copies > 0 {
                    service.new_jobs.notify_one();
                    tracing::info!(
                        instance = instance.name,
                        builds = swept.builds,
                        enqueued = swept.enqueued,
                        lost_copies = swept.lost_copies,
                        "the sweep found differences"
                    );
                }
                tokio::time::sleep(swept.next_in.saturating_sub(began.elapsed())).await;
            }
        }))
        .await;
        if service.stop.wait_for(jittered(backoff.after(&ended))).await {
            return;
        }
    }
}

/// Runs a round under the lease of an instance, and aborts it once the lease is lost or the service stops.
async fn under_lease<'a, F>(
    service: &'a Service,
    instance: &KojiInstance,
    round: &str,
    work: impl FnOnce(&'a BuildImporter) -> F,
) -> Ended
where
    F: Future<Output = Result<Duration, KojiError>>,
{
    let name = &instance.name;
    let task = format!("{round}/{name}");
    let failed = |error: &dyn std::fmt::Display| {
        tracing::error!(instance = name, %error, "{round} failed; trying again");
        service.metrics.count_round(&task, RoundResult::Failed);
        Ended::Failed
    };
    let importer = match service.importers.get(name, &service.index, &service.network).await {
        Ok(Some(importer)) => importer,
        Ok(None) => return Ended::Elsewhere,
        Err(failure) => return failed(&failure),
    };
    let lease = format!("koji {round} {name}");
    let lease = match Lease::acquire(&service.index, &lease, &service.holder, &service.stop).await {
        Ok(Asked::Acquired(lease)) => lease,
        Ok(Asked::Held { by }) => {
            tracing::debug!(instance = name, by, "another indexer does the {round}");
            return Ended::Elsewhere;
        }
        Err(error) => return failed(&error),
    };
    let ended = tokio::select! {
        () = lease.stop().wait() => {
            service.metrics.count_round(&task, RoundResult::Interrupted);
            Ended::Elsewhere
        }
        ended = work(importer) => match ended {
            Ok(next) => {
                service.metrics.count_round(&task, RoundResult::Done);
                Ended::Well(next)
            }
            Err(error) => failed(&error),
        },
    };
    lease.release().await;
    ended
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_with_failures_and_a_round_that_ends_well_resets_them() {
        let mut backoff = Backoff::default();
        let pauses: Vec<u64> = (0..8).map(|_| backoff.after(&Ended::Failed).as_secs()).collect();
        assert_eq!(pauses, [5, 10, 20, 40, 80, 160, 300, 300]);
        assert_eq!(backoff.after(&Ended::Well(Duration::from_secs(7))).as_secs(), 7);
        assert_eq!(backoff.after(&Ended::Failed), MIN_RETRY_INTERVAL);
    }
}
