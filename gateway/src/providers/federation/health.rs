//! Whether an upstream answers: its breaker, and the probes that open and close it.
//!
//! A probe asks for a random build-id. It is sent when the breaker is open and one is due, when a request takes longer
//! than it should, and when nothing was heard of the upstream for a while. The log has one line when the state of an
//! upstream changes, not one for each request.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use http_client::{is_page, is_refusal, reason};
use reqwest::StatusCode;
use tokio::sync::Notify;
use tokio::time::timeout;

use super::changes::Changes;
use super::history::History;
use super::reply::UNAVAILABLE;
use crate::locked::locked;
use crate::metrics::METRICS;
use crate::providers::breaker::{Breaker, BreakerOpening, Change};
use crate::providers::latency::Latency;

/// An upstream of which nothing was heard for so long is probed.
const IDLE_INTERVAL: Duration = Duration::from_secs(30);
/// After a failed probe of an upstream whose breaker is closed, the next one.
const RETRY_INTERVAL: Duration = Duration::from_secs(5);
/// Between two probes at least, however many requests are slow.
const MIN_INTERVAL: Duration = Duration::from_millis(250);
/// How long a probe may take.
const PROBE_TIMEOUT: Duration = Duration::from_secs(5);
/// Maximum number of failed probes in a row before the breaker of an upstream opens of which nothing else is known.
const MAX_FAILED_PROBES: u32 = 2;
/// A request that was given up before this tells nothing of the upstream, nor does one that was given up before twice
/// the usual time of an answer, but for an upstream that usually takes longer than the second limit.
const MIN_TIMEOUT: Duration = Duration::from_millis(200);
const MAX_MIN_TIMEOUT: Duration = Duration::from_secs(1);
/// Number of answers in a row that are errors or junk after which a probe is sent.
const MAX_REFUSALS: u32 = 3;

/// The health of one upstream.
pub(super) struct Health {
    /// As metrics and logs name it.
    name: String,
    pub(super) breaker: Breaker,
    pub(super) latency: Latency,
    pub(super) history: History,
    probes: Mutex<Probes>,
    /// A request takes longer than it should.
    suspected: Notify,
    changes: Arc<Changes>,
}

/// The outcomes of probes.
#[derive(Default)]
struct Probes {
    /// True once anything is known of the upstream.
    is_known: bool,
    /// Failed probes since the last answer, and why the last one failed.
    failures: u32,
    cause: Option<String>,
    /// Requests that were answered by errors or junk since the last sound answer.
    refusals: u32,
    /// True once the log has that the upstream is unavailable.
    is_logged: bool,
}

impl Health {
    /// Nothing is known yet.
    pub(super) fn new(name: &str, changes: Arc<Changes>) -> Self {
        let health = Self {
            name: name.to_owned(),
            breaker: Breaker::default(),
            latency: Latency::default(),
            history: History::new(),
            probes: Mutex::default(),
            suspected: Notify::new(),
            changes,
        };
        health.show(Change::None);
        health
    }

    /// A question for a file was answered after `took`, by whatever.
    pub(super) fn answered(&self, took: Duration) {
        self.latency.add(took);
        self.heard();
    }

    /// Any request was answered.
    pub(super) fn heard(&self) {
        self.breaker.answered();
        let was_shown = {
            let mut probes = locked(&self.probes);
            let was_sound = probes.is_known && probes.cause.is_none();
            *probes = Probes { is_known: true, is_logged: probes.is_logged, ..Probes::default() };
            was_sound && self.opening().is_none()
        };
        if !was_shown {
            self.show(Change::None);
        }
    }

    /// No answer came: the connection was refused, or broke off.
    pub(super) fn failed(&self, cause: &str) {
        self.history.failed(SystemTime::now(), cause);
        self.show(self.breaker.failed(cause));
    }

    /// It answered by an error or by something else than was asked for. That may be so for this question alone: after
    /// several in a row a probe tells.
    pub(super) fn refused(&self, cause: &str) {
        self.history.failed(SystemTime::now(), cause);
        let refusals = {
            let mut probes = locked(&self.probes);
            probes.refusals = probes.refusals.saturating_add(1);
            probes.refusals
        };
        if refusals >= MAX_REFUSALS {
            self.suspect();
        }
    }

    /// Requests a probe, since a request takes longer than it should.
    pub(super) fn suspect(&self) {
        self.suspected.notify_one();
    }

    /// A request that began at `began` was given up. If nothing else came from the upstream since, it hangs; else it is
    /// slow for what was asked. One that had less time than an answer usually takes tells nothing: a probe does.
    pub(super) fn timed_out(&self, began: Instant, cause: &str) {
        self.history.failed(SystemTime::now(), cause);
        let usual = self.latency.usual().unwrap_or_default();
        let had_time = began.elapsed() >= (usual * 2).clamp(MIN_TIMEOUT, MAX_MIN_TIMEOUT);
        if had_time && !self.breaker.has_answered_since(began) {
            self.show(self.breaker.open(cause));
        } else {
            self.suspect();
        }
    }

    /// When and why its breaker was opened; `None` while it is closed.
    pub(super) fn opening(&self) -> Option<BreakerOpening> {
        self.breaker.opening()
    }

    /// `Ok` if it answers, the reason if it does not; `None` before the first answer or probe.
    pub(super) fn state(&self) -> Option<Result<(), String>> {
        let probes = locked(&self.probes);
        match self.breaker.opening() {
            Some(opening) => Some(Err(opening.cause)),
            None => match &probes.cause {
                Some(cause) => Some(Err(cause.clone())),
                None => probes.is_known.then_some(Ok(())),
            },
        }
    }

    /// Probes the upstream by `send` as long as the process lives.
    pub(super) async fn keep_probing<F>(&self, absent_statuses: &[u16], send: impl Fn() -> F)
    where
        F: Future<Output = reqwest::Result<reqwest::Response>>,
    {
        loop {
            let is_suspected = self.wait_until_due().await;
            let is_half_open = self.breaker.begin_probe();
            if self.breaker.opening().is_some() && !is_half_open {
                // Not due yet: `wait_until_due` was woken by an answer.
                continue;
            }
            if is_half_open {
                self.show(Change::None);
            }
            let began = Instant::now();
            let probed = timeout(PROBE_TIMEOUT, async { judge(send().await, absent_statuses).await }).await;
            let probed = probed
                .unwrap_or_else(|_| Err(format!("expected an answer to a probe within {PROBE_TIMEOUT:?}, found none")));
            self.probed(probed, is_suspected, began);
            tokio::time::sleep(MIN_INTERVAL).await;
        }
    }

    /// Waits until a probe is due. True if a request takes longer than it should.
    async fn wait_until_due(&self) -> bool {
        loop {
            let pause = match self.breaker.retry_at() {
                Some(retry_at) => retry_at.saturating_duration_since(Instant::now()),
                None => {
                    let probes = locked(&self.probes);
                    match (probes.failures, self.breaker.silence()) {
                        (1.., _) => RETRY_INTERVAL,
                        (0, Some(silence)) => IDLE_INTERVAL.saturating_sub(silence),
                        (0, None) => Duration::ZERO,
                    }
                }
            };
            if pause.is_zero() {
                return false;
            }
            let is_open = self.breaker.opening().is_some();
            match timeout(pause, self.suspected.notified()).await {
                Ok(()) if is_open => {}
                Ok(()) => return true,
                Err(_) => return false,
            }
        }
    }

    /// A probe that began at `began` has ended.
    fn probed(&self, result: Result<(), String>, is_suspected: bool, began: Instant) {
        let outcome = if result.is_ok() { "answered" } else { "failed" };
        METRICS.upstream_probes.with_label_values(&[self.name.as_str(), outcome]).inc();
        let failures = {
            let mut probes = locked(&self.probes);
            probes.is_known = true;
            probes.failures = if result.is_ok() { 0 } else { probes.failures.saturating_add(1) };
            probes.cause = result.as_ref().err().cloned();
            probes.failures
        };
        let change = match result {
            Ok(()) => self.breaker.probe_answered(),
            Err(cause) => {
                self.history.failed(SystemTime::now(), &cause);
                self.breaker.probe_failed();
                let is_silent = !self.breaker.has_answered_since(began);
                if is_silent && (is_suspected || failures >= MAX_FAILED_PROBES) {
                    self.breaker.open(&cause)
                } else {
                    Change::None
                }
            }
        };
        self.show(change);
    }

    /// Sets the metrics, and logs a change of the state.
    fn show(&self, change: Change) {
        let now = SystemTime::now();
        match change {
            Change::None => {}
            Change::Opened => {
                self.history.opened(now, &self.opening().map(|opening| opening.cause).unwrap_or_default());
                // The task that probes may be waiting for an idle upstream's next probe.
                self.suspected.notify_one();
            }
            Change::Closed => self.history.closed(now),
        }
        if change != Change::None {
            // Before others see the new state.
            self.changes.changed();
        }
        let state = self.state();
        METRICS.upstream_up.with_label_values(&[self.name.as_str()]).set(i64::from(matches!(state, Some(Ok(())))));
        let present = self.breaker.state();
        for name in ["closed", "open", "half_open"] {
            let is_present = i64::from(name == present);
            METRICS.upstream_breaker.with_label_values(&[self.name.as_str(), name]).set(is_present);
        }
        let Some(state) = state else { return };
        let was_logged = {
            let mut probes = locked(&self.probes);
            std::mem::replace(&mut probes.is_logged, state.is_err())
        };
        match state {
            Err(cause) if !was_logged => tracing::warn!(upstream = self.name, cause, "an upstream is unavailable"),
            Ok(()) if was_logged => tracing::info!(upstream = self.name, "an upstream is available again"),
            _ => {}
        }
    }
}

/// Whether the answer to a probe shows that the upstream works: it states that it does not have what cannot exist.
async fn judge(answer: reqwest::Result<reqwest::Response>, absent_statuses: &[u16]) -> Result<(), String> {
    let mut response = answer.map_err(|error| reason(&error))?;
    match response.status() {
        // The parking page of a domain that lapsed.
        StatusCode::OK if is_page(&mut response).await => {
            Err("expected 404 to a probe for a random build-id, found 200 with a page of HTML".into())
        }
        StatusCode::OK => Ok(()),
        _ if is_refusal(&mut response).await => {
            Err("expected 404 to a probe for a random build-id, found 403 with a page of HTML".into())
        }
        status if absent_statuses.contains(&status.as_u16()) => Ok(()),
        // A gateway: one of its own upstreams is away.
        _ if response.headers().contains_key(UNAVAILABLE) => Ok(()),
        status => Err(format!("expected 404 to a probe for a random build-id, found {status}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_metric_shows_half_open_while_a_probe_of_an_open_breaker_is_under_way() {
        let health = Health::new("half-open", Arc::default());
        let shown = |state| METRICS.upstream_breaker.with_label_values(&["half-open", state]).get();
        health.show(health.breaker.open("hangs"));
        assert_eq!((shown("closed"), shown("open"), shown("half_open")), (0, 1, 0));
        health.breaker.make_due();
        let is_sent = Notify::new();
        let send = || {
            is_sent.notify_one();
            std::future::pending()
        };
        tokio::select! {
            () = health.keep_probing(&[404], send) => {}
            () = is_sent.notified() => {}
        }
        assert_eq!((shown("closed"), shown("open"), shown("half_open")), (0, 0, 1));
    }
}
