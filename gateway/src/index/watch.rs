//! Availability of the index.
//!
//! A probe runs on the main runtime, once a second and at once after a query that failed. So an index that became
//! unavailable or available again is noticed without any request. While it is unavailable no request waits for it
//! ([`crate::index::lookup`]), and every response has a header that states it ([`Watch::header`]).

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use actix_web::http::header::{HeaderName, HeaderValue};
use tokio::runtime::Handle;
use tokio::sync::Notify;

use crate::locked::locked;
use crate::metrics::METRICS;
use crate::resolve::outcome::{Cause, CauseKind};

/// Time between two probes.
const PROBE_INTERVAL: Duration = Duration::from_secs(1);

/// States that the index is unavailable, and since when.
pub(crate) const INDEX: HeaderName = HeaderName::from_static("x-darkserver-index");

/// The number of recoveries when a query began.
#[derive(Clone, Copy)]
pub(crate) struct QueryStart(u64);

/// The availability of the index. Cheap to clone: clones share their state.
#[derive(Clone, Default)]
pub(crate) struct Watch(Arc<WatchState>);

#[derive(Default)]
struct WatchState {
    /// Seconds since 1970 at the first query that failed; 0 while queries succeed. Answers from memory read nothing
    /// else.
    failing_since: AtomicU64,
    /// Number of recoveries: of probes that succeeded after a query or a probe had failed.
    recoveries: AtomicU64,
    /// The reason of the last probe that failed; `None` after one that succeeded. Locked while `failing_since` changes.
    unavailable: Mutex<Option<Cause>>,
    /// Number of queries that succeeded.
    successes: AtomicU64,
    /// Asks for a probe at once.
    probe_request: Notify,
    /// The reason if this program cannot read the schema of the index, which answers otherwise.
    unreadable: Mutex<Option<Cause>>,
    is_unreadable: AtomicBool,
    /// True once the first probe has ended.
    is_probed: AtomicBool,
}

impl Watch {
    /// Probes as long as the process lives. `probe` sends the index a query that always has an answer.
    pub(crate) fn start<F>(&self, runtime: &Handle, probe: impl Fn() -> F + Send + 'static)
    where
        F: Future<Output = Result<(), Cause>> + Send,
    {
        let this = self.clone();
        runtime.spawn(async move {
            loop {
                let successes = this.0.successes.load(Ordering::Relaxed);
                match probe().await {
                    // Other queries succeeded meanwhile: the index is busy, not unavailable.
                    Err(_) if this.0.successes.load(Ordering::Relaxed) != successes => this.set_available(),
                    Err(cause) => {
                        this.set_unavailable(cause);
                        tokio::time::sleep(PROBE_INTERVAL).await;
                        continue;
                    }
                    Ok(()) => this.set_available(),
                }
                // The next probe is due after the interval in any case.
                let _ = tokio::time::timeout(PROBE_INTERVAL, this.0.probe_request.notified()).await;
            }
        });
    }

    /// Records that a query begins.
    pub(crate) fn begin_query(&self) -> QueryStart {
        QueryStart(self.0.recoveries.load(Ordering::Relaxed))
    }

    /// Records that a query succeeded.
    pub(crate) fn record_success(&self) {
        self.0.successes.fetch_add(1, Ordering::Relaxed);
    }

    /// Records that a query failed, and asks for a probe. A query that began before the last recovery proves nothing
    /// about the index as it is now: only the probe is asked for.
    pub(crate) fn record_failure(&self, began: QueryStart) {
        {
            let _changing = locked(&self.0.unavailable);
            if began.0 == self.0.recoveries.load(Ordering::Relaxed) {
                self.set_failing();
            }
        }
        self.0.probe_request.notify_one();
    }

    /// True if no query has failed since the last successful probe, and this program can read the schema.
    pub(crate) fn is_healthy(&self) -> bool {
        self.0.failing_since.load(Ordering::Relaxed) == 0 && !self.0.is_unreadable.load(Ordering::Acquire)
    }

    /// The reason why the index is unavailable, if it is: the last probe failed, or this program cannot read its
    /// schema. Rows of an unreadable schema may mean something else than this program takes them for.
    pub(crate) fn unavailable(&self) -> Option<Cause> {
        locked(&self.0.unavailable).clone().or_else(|| locked(&self.0.unreadable).clone())
    }

    /// Sets whether this program can read the schema of the index: `Err` with the reason if not.
    pub(crate) fn set_readable(&self, readable: Result<(), String>) {
        self.0.is_unreadable.store(readable.is_err(), Ordering::Release);
        *locked(&self.0.unreadable) = readable.err().map(|text| Cause::index(CauseKind::Wrong, text));
    }

    /// `Ok` if the last probe succeeded, the reason if it failed; `None` before the first probe has ended.
    pub(crate) fn state(&self) -> Option<Result<(), String>> {
        let state = || locked(&self.0.unavailable).as_ref().map_or(Ok(()), |cause| Err(cause.text.clone()));
        self.0.is_probed.load(Ordering::Acquire).then(state)
    }

    /// `unavailable; since=SECONDS`, seconds since 1970, from the first query that failed until a probe succeeds.
    pub(crate) fn header(&self) -> Option<HeaderValue> {
        let since = self.0.failing_since.load(Ordering::Relaxed);
        if since == 0 { None } else { HeaderValue::try_from(format!("unavailable; since={since}")).ok() }
    }

    fn set_failing(&self) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |now| now.as_secs());
        // Only the first failure sets the time.
        let _ = self.0.failing_since.compare_exchange(0, now, Ordering::Relaxed, Ordering::Relaxed);
    }

    fn set_unavailable(&self, cause: Cause) {
        METRICS.index_up.set(0);
        let before = {
            let mut unavailable = locked(&self.0.unavailable);
            self.set_failing();
            unavailable.replace(cause.clone())
        };
        self.0.is_probed.store(true, Ordering::Release);
        if before.as_ref() != Some(&cause) {
            tracing::warn!(cause = cause.text, "the index is unavailable: stale records are answered from memory");
        }
    }

    fn set_available(&self) {
        let before = {
            let mut unavailable = locked(&self.0.unavailable);
            if self.0.failing_since.swap(0, Ordering::Relaxed) != 0 {
                self.0.recoveries.fetch_add(1, Ordering::Relaxed);
            }
            unavailable.take()
        };
        METRICS.index_up.set(1);
        self.0.is_probed.store(true, Ordering::Release);
        if before.is_some() {
            tracing::info!("the index is available again");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused() -> Cause {
        Cause::index(CauseKind::Refused, "refused")
    }

    async fn until(what: &str, is_so: impl Fn() -> bool) {
        let waited = tokio::time::timeout(Duration::from_secs(20), async {
            while !is_so() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        });
        waited.await.unwrap_or_else(|_| panic!("{what}: not within 20 s"));
    }

    #[tokio::test]
    async fn a_failed_probe_makes_the_index_unavailable_until_one_succeeds() {
        let (watch, up) = (Watch::default(), Arc::new(AtomicBool::new(false)));
        assert!(watch.unavailable().is_none() && watch.header().is_none(), "before the first probe");
        let probed = up.clone();
        watch.start(&Handle::current(), move || {
            let up = probed.load(Ordering::SeqCst);
            async move { if up { Ok(()) } else { Err(refused()) } }
        });
        until("unavailable", || watch.unavailable() == Some(refused())).await;
        assert!(watch.header().unwrap().to_str().unwrap().starts_with("unavailable; since=1"));
        up.store(true, Ordering::SeqCst);
        until("available again", || watch.unavailable().is_none() && watch.header().is_none()).await;
    }

    #[tokio::test]
    async fn a_failed_query_shows_at_once_until_a_probe_succeeds() {
        let watch = Watch::default();
        watch.record_failure(watch.begin_query());
        assert!(watch.header().is_some() && watch.unavailable().is_none());
        watch.start(&Handle::current(), || async { Ok(()) });
        until("cleared", || watch.header().is_none()).await;
    }

    #[tokio::test]
    async fn a_query_that_began_before_a_recovery_and_fails_later_leaves_the_index_available() {
        let (watch, probes) = (Watch::default(), Arc::new(AtomicU64::new(0)));
        let late = watch.begin_query();
        watch.record_failure(watch.begin_query());
        let counted = probes.clone();
        watch.start(&Handle::current(), move || {
            counted.fetch_add(1, Ordering::SeqCst);
            async { Ok(()) }
        });
        until("recovered", || watch.header().is_none()).await;
        watch.record_failure(late);
        assert!(watch.header().is_none() && watch.is_healthy(), "marked by a query of before the recovery");
        let before = probes.load(Ordering::SeqCst);
        until("a probe at once", || probes.load(Ordering::SeqCst) > before).await;
        watch.record_failure(watch.begin_query());
        assert!(watch.header().is_some(), "a query of after the recovery marks the index");
    }

    #[tokio::test]
    async fn an_index_that_answers_other_queries_is_available() {
        let watch = Watch::default();
        let busy = watch.clone();
        watch.record_failure(watch.begin_query());
        watch.start(&Handle::current(), move || {
            busy.record_success();
            async { Err(Cause::index(CauseKind::Timeout, "no free connection")) }
        });
        until("cleared", || watch.header().is_none()).await;
        assert!(watch.unavailable().is_none());
    }
}
