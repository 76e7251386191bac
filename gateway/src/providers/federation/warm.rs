//! Requests that were too slow for their client and continue in the background, so that the next request finds the
//! file: some servers extract a whole package before the first byte.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::FutureExt;
use futures::future::{BoxFuture, Shared};
use moka::future::Cache;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

use super::changes::Changes;
use super::verdict::Given;
use crate::locked::locked;
use crate::metrics::METRICS;
use crate::resolve::outcome::{Miss, Outcome};
use crate::resolve::question::Question;

/// How long what a request gave is kept for the next one: as long as a redirect may be stored.
const GIVEN_TTL: Duration = Duration::from_secs(60);
/// Maximum number of those that are kept.
const MAX_GIVEN: u64 = 1000;

/// A request: the number of its upstream, its question, and the client's maximum size.
pub(super) type RequestKey = (usize, Question, Option<u64>);

/// The outcome of a request that continues; `None` if it took too long.
pub(super) type Continued = Shared<BoxFuture<'static, Option<Outcome<Given>>>>;

/// Requests that continue in the background. Their number is bounded.
#[derive(Clone)]
pub(super) struct Warm {
    permits: Arc<Semaphore>,
    max_time: Duration,
    running: Arc<Mutex<HashMap<RequestKey, Continued>>>,
    given: Cache<RequestKey, Given>,
    changes: Arc<Changes>,
}

impl Warm {
    /// At most `max` at once, each for `max_time`. What they give is counted in `changes`.
    pub(super) fn new(max: usize, max_time: Duration, changes: Arc<Changes>) -> Self {
        let given = Cache::builder().max_capacity(MAX_GIVEN).time_to_live(GIVEN_TTL).build();
        Self { permits: Arc::new(Semaphore::new(max)), max_time, running: Arc::default(), given, changes }
    }

    /// What an earlier request gave that had continued in the background.
    pub(super) async fn given(&self, key: &RequestKey) -> Option<Given> {
        self.given.get(key).await
    }

    /// The same request, if it continues in the background.
    pub(super) fn running(&self, key: &RequestKey) -> Option<Continued> {
        locked(&self.running).get(key).cloned()
    }

    /// Continues the request `task`, unless too many do: then it is cancelled.
    pub(super) fn continue_in_background(&self, key: RequestKey, task: AbortOnDropHandle<Outcome<Given>>) {
        let Ok(permit) = self.permits.clone().try_acquire_owned() else { return };
        let ended = timeout(self.max_time, task);
        let continued: Continued = async move { ended.await.ok()?.ok() }.boxed().shared();
        locked(&self.running).insert(key.clone(), continued.clone());
        METRICS.federation_warm.inc();
        let this = self.clone();
        tokio::spawn(async move {
            let outcome = continued.await;
            if let Some(Ok(given)) = &outcome {
                this.given.insert(key.clone(), given.clone()).await;
            }
            locked(&this.running).remove(&key);
            METRICS.federation_warm.dec();
            drop(permit);
            // What failed once more is no other answer than before.
            if matches!(outcome, Some(Ok(_) | Err(Miss::Absent(_)))) {
                this.changes.changed();
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> RequestKey {
        (0, Question::parse("ab12/debuginfo").unwrap(), None)
    }

    fn request(after: Duration) -> AbortOnDropHandle<Outcome<Given>> {
        AbortOnDropHandle::new(tokio::spawn(async move {
            tokio::time::sleep(after).await;
            Ok(Given::TooLarge(Some(7)))
        }))
    }

    #[tokio::test]
    async fn what_continues_is_joined_and_what_it_gave_is_kept() {
        let (changes, key) = (Arc::new(Changes::default()), key());
        let warm = Warm::new(1, Duration::from_secs(60), changes.clone());
        warm.continue_in_background(key.clone(), request(Duration::from_millis(50)));
        assert!(warm.given(&key).await.is_none());
        let outcome = warm.running(&key).unwrap().await;
        assert!(matches!(outcome, Some(Ok(Given::TooLarge(Some(7))))));
        while changes.count() == 0 {
            tokio::task::yield_now().await;
        }
        assert!(warm.running(&key).is_none() && warm.given(&key).await.is_some());
    }

    #[tokio::test]
    async fn their_number_and_their_time_are_bounded() {
        let (changes, key) = (Arc::new(Changes::default()), key());
        let warm = Warm::new(1, Duration::from_millis(20), changes.clone());
        warm.continue_in_background(key.clone(), request(Duration::from_secs(3600)));
        let other = (1, key.1.clone(), None);
        warm.continue_in_background(other.clone(), request(Duration::from_secs(3600)));
        assert!(warm.running(&other).is_none());
        assert!(warm.running(&key).unwrap().await.is_none());
        assert_eq!(changes.count(), 0);
    }
}
