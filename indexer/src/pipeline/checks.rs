//! Looks at the places that were not looked at for longest, within a budget of time.

use std::collections::HashSet;
use std::pin::pin;
use std::time::Duration;

use futures::{StreamExt, TryStreamExt, stream};
use sql::{CheckResult, DuePlace, Index, PlaceCheck, Store};
use tokio::time::{Instant, sleep, sleep_until};

use crate::fetch::network::Network;
use crate::fetch::presence::{self, Finding, MAX_PER_HOST};
use crate::report::checks::{CheckProgress, CheckSummary};
use crate::report::failure::Result;
use crate::report::time::now;

/// Number of places of a store that are read from the index at once.
const BATCH: usize = 200;
/// Maximum number of results, and maximum age of the first of them in seconds, before they are written.
const MAX_UNWRITTEN: usize = 100;
const MAX_UNWRITTEN_AGE: Duration = Duration::from_secs(5);
/// Pause after each look over HTTP.
const PAUSE: Duration = Duration::from_millis(50);
/// Number of failures in a row after which a store is left for the next run.
const MAX_FAILURES: u32 = 5;
/// Maximum number of stores that are checked at once.
const MAX_STORES: usize = 16;
/// Interval in which the flag of signals is read.
const STOP_INTERVAL: Duration = Duration::from_millis(100);

/// Checks of places that end after a budget of time, or at a signal.
pub(crate) struct PlaceChecks<'a> {
    index: &'a Index,
    network: &'a Network,
    progress: &'a CheckProgress,
    /// `None` if the budget never ends.
    until: Option<Instant>,
}

/// How the checks of a batch ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum BatchEnd {
    /// All its places were looked at.
    Complete,
    /// The time is over, the store is given up, or a signal came.
    Stopped,
}

impl<'a> PlaceChecks<'a> {
    /// Returns checks that end `budget` from now.
    pub(crate) fn new(index: &'a Index, network: &'a Network, budget: Duration, progress: &'a CheckProgress) -> Self {
        Self { index, network, progress, until: Instant::now().checked_add(budget) }
    }

    /// Checks due places of these stores, all stores at once, until each was looked at or the time is over. Results are
    /// written every few seconds.
    ///
    /// # Errors
    /// If the index fails.
    pub(crate) async fn run(&self, stores: &[Store]) -> Result<CheckSummary> {
        stream::iter(stores.iter().map(Ok))
            .try_for_each_concurrent(MAX_STORES, |store| Box::pin(self.check_store(store)))
            .await?;
        let mut left = 0;
        for store in stores {
            left += self.index.due_count(store.id, now()).await?;
        }
        Ok(self.progress.summary(left))
    }

    async fn check_store(&self, store: &Store) -> Result<()> {
        let mut failures = 0;
        // A place without a row, at the path of another package, is derived again.
        let mut seen = HashSet::new();
        while !self.is_over() {
            let mut due = self.index.due_places(Some(store.id), BATCH, now()).await?;
            due.retain(|place| seen.insert((place.package_id, place.location.path.clone())));
            let is_last = due.is_empty();
            if is_last || self.check_batch(store, due, &mut failures).await? == BatchEnd::Stopped {
                break;
            }
        }
        Ok(())
    }

    async fn check_batch(&self, store: &Store, due: Vec<DuePlace>, failures: &mut u32) -> Result<BatchEnd> {
        let pause = if presence::is_local(store) { Duration::ZERO } else { PAUSE };
        let mut looks = stream::iter(due)
            .map(|place| async move {
                let finding = presence::look(&place.location, self.network).await;
                let at = now();
                sleep(pause).await;
                (place, at, finding)
            })
            .buffer_unordered(MAX_PER_HOST);
        let mut over = pin!(self.wait_until_over());
        let (mut checks, mut written_at) = (Vec::new(), Instant::now());
        let end = loop {
            let look = tokio::select! {
                biased;
                () = &mut over => break BatchEnd::Stopped,
                look = looks.next() => look,
            };
            let Some((place, at, finding)) = look else { break BatchEnd::Complete };
            let given_up = self.count(store, &place, &finding, failures);
            checks.push(PlaceCheck {
                package_id: place.package_id,
                store_id: store.id,
                path: place.location.path,
                at,
                result: CheckResult::from(finding),
                derived: place.location.derived,
            });
            if given_up {
                break BatchEnd::Stopped;
            }
            if checks.len() >= MAX_UNWRITTEN || written_at.elapsed() >= MAX_UNWRITTEN_AGE {
                self.index.record_check(&checks).await?;
                checks.clear();
                written_at = Instant::now();
            }
        };
        drop(looks);
        self.index.record_check(&checks).await?;
        Ok(end)
    }

    /// Counts a finding. True if the store is given up for this run.
    fn count(&self, store: &Store, place: &DuePlace, finding: &Finding, failures: &mut u32) -> bool {
        self.progress.count(finding, place.location.first_seen.is_some());
        let Finding::Failed { reason, is_overloaded } = finding else {
            *failures = 0;
            return false;
        };
        *failures += 1;
        let given_up = *is_overloaded || *failures >= MAX_FAILURES;
        if given_up {
            self.progress.give_up(&store.name, reason);
        }
        given_up
    }

    fn is_over(&self) -> bool {
        self.network.stop.is_set() || self.until.is_some_and(|until| Instant::now() >= until)
    }

    async fn wait_until_over(&self) {
        while !self.is_over() {
            let next = Instant::now() + STOP_INTERVAL;
            sleep_until(self.until.map_or(next, |until| until.min(next))).await;
        }
    }
}
