//! Requests that were too slow for their client and go on in the background, so that the next request finds the file:
//! some servers extract a whole package before the first byte.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

use super::Shared;
use super::search::Given;
use crate::metrics::METRICS;
use crate::resolve::outcome::{Miss, Outcome};

/// Requests that go on in the background. Their number is bounded.
pub(super) struct Warm {
    permits: Arc<Semaphore>,
    /// How long one goes on.
    max_time: Duration,
}

impl Warm {
    /// At most `max` at once, each for `max_time`.
    pub(super) fn new(max: usize, max_time: Duration) -> Self {
        Self { permits: Arc::new(Semaphore::new(max)), max_time }
    }

    /// Lets the request `task` go on, unless too many do: then it is cancelled.
    pub(super) fn go_on(&self, shared: &Arc<Shared>, task: AbortOnDropHandle<Outcome<Given>>) {
        let Ok(permit) = self.permits.clone().try_acquire_owned() else { return };
        let (changes, max_time) = (shared.changes.clone(), self.max_time);
        METRICS.federation_warm.inc();
        tokio::spawn(async move {
            let ended = timeout(max_time, task).await;
            METRICS.federation_warm.dec();
            drop(permit);
            // What failed once more is no other answer than before.
            if let Ok(Ok(Ok(_) | Err(Miss::Absent(_)))) = ended {
                changes.changed();
            }
        });
    }
}
