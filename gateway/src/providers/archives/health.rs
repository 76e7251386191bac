//! The health of stores: whether one hangs, how long its answers usually take, and how many threads it blocks.
//!
//! A store that fails at once costs no time: the next location is asked. One that hangs costs time and threads, so its
//! breaker is opened: other locations are asked before its own until it answers anything. It is still asked where no
//! other location has the package. That is all: a location with wrong contents is marked unhealthy alone.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures::TryFutureExt;
use sql::{Location, Store};
use tokio::sync::Semaphore;
use tokio::time::{sleep_until, timeout};

use super::local::open_below_root;
use super::local_file::MAX_BLOCKED_THREADS;
use super::{Archives, url};
use crate::locked::locked;
use crate::providers::breaker::{Breaker, Change};
use crate::providers::latency::Latency;
use crate::resolve::outcome::{CauseKind, Miss, Outcome};

/// A store hangs if nothing at all came from it for so long while it was asked.
const HANG_TIMEOUT: Duration = Duration::from_secs(2);
/// The longest time that an attempt goes on, also behind the request that began it.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(10);
/// The second location is not asked before this time, however fast the first store usually is.
const MIN_HEDGE: Duration = Duration::from_millis(500);
/// An answer that takes this many times the usual time is late.
const HEDGE_FACTOR: u32 = 3;

/// The health of one store.
pub(super) struct StoreHealth {
    pub(super) breaker: Breaker,
    latency: Latency,
    /// A permit for each thread that its directory may block.
    pub(super) threads: Arc<Semaphore>,
}

/// The health of every store that was asked, by its id.
#[derive(Clone, Default)]
pub(super) struct Stores(Arc<Mutex<HashMap<i64, Arc<StoreHealth>>>>);

impl Stores {
    pub(super) fn of(&self, store: &Store) -> Arc<StoreHealth> {
        locked(&self.0).entry(store.id).or_default().clone()
    }

    /// True if the store hangs.
    pub(super) fn hangs(&self, store: &Store) -> bool {
        locked(&self.0).get(&store.id).is_some_and(|health| health.breaker.opening().is_some())
    }
}

impl Default for StoreHealth {
    fn default() -> Self {
        let threads = Arc::new(Semaphore::new(MAX_BLOCKED_THREADS));
        Self { breaker: Breaker::default(), latency: Latency::default(), threads }
    }
}

impl StoreHealth {
    /// The time after which the next location is asked, too; at most `share` of the budget.
    pub(super) fn hedge_after(&self, share: Duration) -> Duration {
        self.latency.usual().map_or(share, |usual| (usual * HEDGE_FACTOR).max(MIN_HEDGE).min(share))
    }
}

impl Archives {
    /// Waits for `opening`, an attempt at `location`, and observes the health of its store.
    pub(super) async fn observe<T>(self, location: Location, opening: impl Future<Output = Outcome<T>>) -> Outcome<T> {
        let (began, health) = (Instant::now(), self.stores.of(&location.store));
        let mut opening = std::pin::pin!(opening);
        let outcome = match timeout(HANG_TIMEOUT, &mut opening).await {
            Ok(outcome) => outcome,
            Err(_) => {
                if !health.breaker.has_answered_since(began) {
                    self.open_breaker(&health, &location, HANG_TIMEOUT);
                }
                timeout(ATTEMPT_TIMEOUT - HANG_TIMEOUT, opening).await.unwrap_or_else(|_| {
                    let name = &location.store.name;
                    let text = format!("store {name}: expected an answer within {ATTEMPT_TIMEOUT:?}, found none");
                    Err(Miss::store(name, CauseKind::Timeout, text))
                })
            }
        };
        match &outcome {
            Err(Miss::Failed(cause)) if cause.kind == CauseKind::Timeout => {
                if !health.breaker.has_answered_since(began) {
                    self.open_breaker(&health, &location, began.elapsed());
                }
            }
            Err(miss) if miss.is_local() => {}
            _ => {
                if matches!(outcome, Ok(_) | Err(Miss::Absent(_))) {
                    health.latency.add(began.elapsed());
                }
                close_breaker(&health, &location.store);
            }
        }
        outcome
    }

    /// Opens the breaker of a store that gave nothing for `silence`, and probes it at `location` until it answers.
    fn open_breaker(&self, health: &Arc<StoreHealth>, location: &Location, silence: Duration) {
        let text = format!("expected anything within {silence:?}, found nothing");
        if health.breaker.open(&text) == Change::Opened {
            let (store, path) = (&location.store.name, &location.path);
            tracing::warn!(store, path, ?silence, "a store hangs: other locations are asked before its own");
            self.runtime.spawn(self.clone().probe_until_answered(health.clone(), location.clone()));
        }
    }

    async fn probe_until_answered(self, health: Arc<StoreHealth>, location: Location) {
        while let Some(retry_at) = health.breaker.retry_at() {
            sleep_until(retry_at.into()).await;
            if !health.breaker.begin_probe() {
                continue;
            }
            if timeout(ATTEMPT_TIMEOUT, self.probe(&location)).await.unwrap_or(false) {
                return close_breaker(&health, &location.store);
            }
            health.breaker.probe_failed();
        }
    }

    /// True if a store answers at a location, whatever that is: with a file or none, with the first bytes of a body or
    /// an error of HTTP.
    async fn probe(&self, location: &Location) -> bool {
        if location.store.root.is_some() {
            let at = location.clone();
            return self.on_disk(&location.store, move || open_below_root(&at).is_ok()).await.is_ok();
        }
        let (Some(url), Ok(client)) = (url(location), self.clients.of(&location.store)) else { return true };
        let first = client.get(url).send().and_then(async |mut response| response.chunk().await);
        match first.await {
            Ok(_) => true,
            Err(error) => !error.is_timeout(),
        }
    }
}

fn close_breaker(health: &StoreHealth, store: &Store) {
    if health.breaker.probe_answered() == Change::Closed {
        tracing::info!(store = store.name, "a store answers again");
    }
}
