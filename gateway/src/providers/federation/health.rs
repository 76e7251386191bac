//! Whether an upstream answers, by a probe in the background and by the requests that clients cause. The log has one
//! line when that changes, not one for each request.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use prometheus::IntGauge;
use reqwest::StatusCode;
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};
use url::Url;

use crate::locked::locked;
use crate::metrics::METRICS;
use crate::providers::http_client::{Client, reason};

/// Between two probes of an upstream that answers, and of one that does not.
const PROBE_INTERVAL: Duration = Duration::from_secs(15);
const RETRY_INTERVAL: Duration = Duration::from_secs(5);
/// Between two probes at least, however many requests fail.
const MIN_INTERVAL: Duration = Duration::from_secs(1);
/// How long a probe may take.
const PROBE_TIMEOUT: Duration = Duration::from_secs(5);
/// So many requests in a row have to fail before an upstream that answers probes counts as unavailable.
const MAX_FAILURES: u32 = 3;
/// How long failed requests count beside probes that are answered.
const FAILURE_TTL: Duration = Duration::from_secs(30);

/// The health of one upstream.
pub(super) struct Health {
    /// As metrics and logs name it.
    name: String,
    state: Mutex<State>,
    /// A request failed.
    suspected: Notify,
    up: IntGauge,
}

#[derive(Default)]
struct State {
    is_probed: bool,
    /// Why the last probe failed, if it did.
    probe: Option<String>,
    /// Requests that failed since the last one that did not, and why the last one did.
    failures: u32,
    request: Option<String>,
    failed_at: Option<Instant>,
    /// True once the log has that it is unavailable.
    is_logged: bool,
    /// True if only an answered request takes that back: its probes were answered all the time.
    awaits_answer: bool,
}

impl Health {
    /// Nothing is known yet.
    pub(super) fn new(name: &str) -> Self {
        let up = METRICS.upstream_up.with_label_values(&[name]);
        Self { name: name.to_owned(), state: Mutex::default(), suspected: Notify::new(), up }
    }

    /// Probes the upstream at `url` as long as the process lives.
    pub(super) async fn keep_probing(&self, client: &Client, url: &Url) {
        loop {
            let result = match client.get(url.clone()).timeout(PROBE_TIMEOUT).send().await {
                // It fails whatever is asked, or a proxy in front of it answers.
                Ok(response) if is_failure(response.status()) => {
                    Err(format!("expected an answer of the server, found {}", response.status()))
                }
                Ok(_) => Ok(()),
                Err(error) => Err(reason(&error)),
            };
            let is_up = result.is_ok();
            self.probed(result);
            sleep(MIN_INTERVAL).await;
            let pause = if is_up { PROBE_INTERVAL } else { RETRY_INTERVAL };
            // Suspected or not: it is probed again.
            let _ = timeout(pause - MIN_INTERVAL, self.suspected.notified()).await;
        }
    }

    /// A probe has ended.
    fn probed(&self, result: Result<(), String>) {
        self.change(|state| {
            // It was unavailable to requests and to probes, or no request has failed for long.
            let was_away = state.probe.is_some();
            if result.is_ok() && (was_away || state.failed_at.is_none_or(|failed| failed.elapsed() > FAILURE_TTL)) {
                state.awaits_answer = !was_away && state.failures > 0;
                state.forget_failures();
            }
            (state.is_probed, state.probe) = (true, result.err());
        });
    }

    /// A request was answered, by whatever.
    pub(super) fn answered(&self) {
        self.change(|state| {
            state.forget_failures();
            state.awaits_answer = false;
        });
    }

    /// A request failed.
    pub(super) fn failed(&self, cause: &str) {
        self.change(|state| {
            state.failures = state.failures.saturating_add(1);
            (state.request, state.failed_at) = (Some(cause.to_owned()), Some(Instant::now()));
        });
        self.suspected.notify_one();
    }

    /// `Ok` if it answers, the reason if it does not; `None` before the first probe.
    pub(super) fn state(&self) -> Option<Result<(), String>> {
        let state = locked(&self.state);
        match state.cause() {
            Some(cause) => Some(Err(cause.to_owned())),
            None => state.is_probed.then_some(Ok(())),
        }
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = locked(&self.state);
        change(&mut state);
        let cause = state.cause().map(str::to_owned);
        self.up.set(i64::from(cause.is_none() && (state.is_probed || state.failures == 0)));
        let was_logged = state.is_logged;
        state.is_logged = cause.is_some() || was_logged && state.awaits_answer;
        let is_told = state.is_logged != was_logged;
        drop(state);
        match cause {
            Some(cause) if is_told => tracing::warn!(upstream = self.name, cause, "an upstream is unavailable"),
            None if is_told => tracing::info!(upstream = self.name, "an upstream is available again"),
            _ => {}
        }
    }
}

/// True for a status that shows that a server does not work. Older releases of elfutils' server answer `GET /` by 503.
fn is_failure(status: StatusCode) -> bool {
    matches!(status, StatusCode::INTERNAL_SERVER_ERROR | StatusCode::BAD_GATEWAY | StatusCode::GATEWAY_TIMEOUT)
}

impl State {
    fn forget_failures(&mut self) {
        (self.failures, self.request, self.failed_at) = (0, None, None);
    }

    /// Why it counts as unavailable, if it does.
    fn cause(&self) -> Option<&str> {
        let request = self.request.as_deref().filter(|_| self.failures >= MAX_FAILURES);
        self.probe.as_deref().or(request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_and_probes_have_to_agree_that_it_answers() {
        let health = Health::new("health.example");
        assert!(health.state().is_none(), "nothing is known");
        let probed = |result| health.probed(result);
        probed(Ok(()));
        assert_eq!(health.state(), Some(Ok(())));
        for _ in 1..MAX_FAILURES {
            health.failed("timed out");
            assert_eq!(health.state(), Some(Ok(())), "a request may fail");
        }
        health.failed("timed out");
        assert_eq!(health.state(), Some(Err("timed out".into())));
        probed(Ok(()));
        assert_eq!(health.state(), Some(Err("timed out".into())), "it answers probes alone");
        health.answered();
        assert_eq!(health.state(), Some(Ok(())));
        probed(Err("refused".into()));
        assert_eq!(health.state(), Some(Err("refused".into())));
        for _ in 0..MAX_FAILURES {
            health.failed("refused");
        }
        probed(Ok(()));
        assert_eq!(health.state(), Some(Ok(())), "it was unavailable to both: no request is needed");
        for _ in 0..MAX_FAILURES {
            health.failed("timed out");
        }
        health.change(|state| state.failed_at = Instant::now().checked_sub(2 * FAILURE_TTL));
        probed(Ok(()));
        assert_eq!(health.state(), Some(Ok(())), "no request has failed for long");
    }
}
