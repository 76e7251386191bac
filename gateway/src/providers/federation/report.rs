//! The state of all upstreams, for operators: without credentials, headers and query strings.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use clap::ValueEnum;
use http_client::without_secrets;
use serde::Serialize;

use super::Federation;
use super::history::{BUCKET, Bucket, DAY, Day, HOUR};
use super::upstream::Upstream;
use crate::config::UpstreamSettings;

/// The time of one entry of `history`.
pub(crate) const BUCKET_SECONDS: u64 = BUCKET.as_secs();

/// All upstreams of the configuration. Times are in seconds since 1970, durations in seconds.
#[derive(Serialize)]
pub(crate) struct Report {
    /// The moment of the report.
    pub(crate) time: u64,
    /// The time of one entry of `history`.
    bucket_seconds: u64,
    pub(crate) upstreams: Vec<UpstreamReport>,
}

/// One upstream.
#[derive(Serialize)]
pub(crate) struct UpstreamReport {
    pub(crate) name: String,
    /// Without user, password and query.
    pub(crate) url: String,
    pub(crate) mode: String,
    pub(crate) priority: i32,
    pub(crate) serves: Vec<String>,
    pub(crate) build_ids: Vec<String>,
    /// False if the configuration switches it off: then it has no `state`.
    pub(crate) enabled: bool,
    pub(crate) state: Option<UpstreamState>,
}

/// What is known of an upstream that is asked.
#[derive(Serialize)]
pub(crate) struct UpstreamState {
    pub(crate) breaker: BreakerReport,
    /// True if it answers, false if it does not; `None` before the first answer or probe.
    pub(crate) available: Option<bool>,
    /// Why it is unavailable.
    pub(crate) cause: Option<String>,
    pub(crate) last_error: Option<ErrorReport>,
    /// Of the last answers.
    pub(crate) latency: Quantiles,
    pub(crate) last_hour: Period,
    pub(crate) last_day: Period,
    /// Its part of the files that all upstreams had in the last day, from 0 to 1; `None` if there were none.
    pub(crate) share_of_found: Option<f64>,
    /// The last changes of the breaker, the oldest first.
    pub(crate) transitions: Vec<TransitionReport>,
    /// When the first of the buckets of the last day began.
    pub(crate) history_start: u64,
    /// Buckets of five minutes of the last day in which anything happened, the oldest first.
    pub(crate) history: Vec<Figures>,
}

/// The breaker of an upstream.
#[derive(Serialize)]
pub(crate) struct BreakerReport {
    /// `closed`, `open` or `half_open`.
    pub(crate) state: &'static str,
    /// When it was opened or closed; `None` if it never was.
    pub(crate) since: Option<u64>,
    /// Why it was opened.
    pub(crate) cause: Option<String>,
}

/// The last request or probe that failed.
#[derive(Serialize)]
pub(crate) struct ErrorReport {
    pub(crate) time: u64,
    pub(crate) text: String,
}

/// A change of the breaker.
#[derive(Serialize)]
pub(crate) struct TransitionReport {
    pub(crate) time: u64,
    /// `open` or `closed`.
    pub(crate) state: &'static str,
    pub(crate) cause: String,
}

/// The seconds within which 50, 95 and 99 of 100 answers came; `None` if too few are known.
#[derive(Serialize)]
pub(crate) struct Quantiles {
    pub(crate) p50: Option<f64>,
    pub(crate) p95: Option<f64>,
    pub(crate) p99: Option<f64>,
}

/// What happened in some time before the report, with the parts of all requests, from 0 to 1.
#[derive(Serialize)]
pub(crate) struct Period {
    #[serde(flatten)]
    pub(crate) figures: Figures,
    /// `None` without requests.
    pub(crate) shares: Option<Shares>,
}

/// The parts of all requests by outcome, from 0 to 1.
#[derive(Serialize)]
pub(crate) struct Shares {
    pub(crate) found: f64,
    pub(crate) absent: f64,
    pub(crate) failed: f64,
    pub(crate) too_large: f64,
}

/// What happened from `start` on.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Figures {
    pub(crate) start: u64,
    pub(crate) requests: u64,
    pub(crate) found: u64,
    pub(crate) absent: u64,
    pub(crate) failed: u64,
    pub(crate) too_large: u64,
    /// The seconds within which half of the requests ended.
    pub(crate) p50: Option<f64>,
    /// The seconds within which 95 of 100 requests ended.
    pub(crate) p95: Option<f64>,
    /// Bytes of files that relays received.
    pub(crate) bytes: u64,
    /// For how many seconds the breaker was open.
    pub(crate) open_seconds: u64,
    /// Answers that were not what was asked for.
    pub(crate) junk: u64,
    /// Requests because another upstream took longer than usual.
    pub(crate) hedges: u64,
}

impl Federation {
    /// The state of the upstreams that are `configured`, also of those that are disabled.
    pub(crate) fn report(&self, configured: &[UpstreamSettings]) -> Report {
        let now = SystemTime::now();
        let report = |settings: &UpstreamSettings| {
            let upstream = self.0.upstreams.iter().find(|upstream| upstream.name() == settings.name);
            UpstreamReport::new(settings, upstream.map(|upstream| UpstreamState::new(upstream, now)))
        };
        let mut upstreams: Vec<_> = configured.iter().map(report).collect();
        add_shares_of_found(&mut upstreams);
        Report { time: seconds(now), bucket_seconds: BUCKET_SECONDS, upstreams }
    }
}

impl UpstreamReport {
    fn new(settings: &UpstreamSettings, state: Option<UpstreamState>) -> Self {
        Self {
            name: settings.name.clone(),
            url: without_secrets(&settings.url).into(),
            mode: name_of(&settings.mode),
            priority: settings.priority,
            serves: settings.serves.iter().map(name_of).collect(),
            build_ids: settings.build_ids.iter().map(name_of).collect(),
            enabled: settings.enabled,
            state,
        }
    }
}

impl UpstreamState {
    fn new(upstream: &Upstream, now: SystemTime) -> Self {
        let health = &upstream.health;
        let Day { buckets, transitions, last_error } = health.history.day(now);
        let opening = health.opening();
        let since = match &opening {
            Some(opening) => Some(seconds(now - Instant::now().saturating_duration_since(opening.since))),
            None => transitions.last().map(|transition| transition.at.as_secs()),
        };
        let state = health.state();
        let quantile = |share| health.latency.quantile(share).map(|took| took.as_secs_f64());
        Self {
            breaker: BreakerReport {
                state: health.breaker.state(),
                since,
                cause: opening.map(|opening| opening.cause),
            },
            available: state.as_ref().map(Result::is_ok),
            cause: state.and_then(Result::err),
            last_error: last_error.map(|error| ErrorReport { time: error.at.as_secs(), text: error.text }),
            latency: Quantiles { p50: quantile(0.5), p95: quantile(0.95), p99: quantile(0.99) },
            last_hour: Period::new(&buckets[DAY - HOUR..]),
            last_day: Period::new(&buckets),
            share_of_found: None,
            transitions: transitions
                .into_iter()
                .map(|transition| TransitionReport {
                    time: transition.at.as_secs(),
                    state: if transition.is_open { "open" } else { "closed" },
                    cause: transition.cause,
                })
                .collect(),
            history_start: buckets.first().map_or(0, |bucket| bucket.start.as_secs()),
            history: buckets.iter().filter(|bucket| !bucket.is_empty()).map(Figures::new).collect(),
        }
    }
}

impl Period {
    fn new(buckets: &[Bucket]) -> Self {
        let figures = Figures::new(&Bucket::sum(buckets));
        let share = |count| share(count, figures.requests);
        let shares = (figures.requests > 0).then(|| Shares {
            found: share(figures.found),
            absent: share(figures.absent),
            failed: share(figures.failed),
            too_large: share(figures.too_large),
        });
        Self { figures, shares }
    }
}

impl Figures {
    fn new(bucket: &Bucket) -> Self {
        let [found, absent, failed, too_large] = bucket.outcomes.map(u64::from);
        let quantile = |percent| bucket.quantile(percent).map(|took| took.as_secs_f64());
        Self {
            start: bucket.start.as_secs(),
            requests: bucket.requests(),
            found,
            absent,
            failed,
            too_large,
            p50: quantile(50),
            p95: quantile(95),
            bytes: bucket.bytes,
            open_seconds: bucket.open.as_secs(),
            junk: bucket.junk.into(),
            hedges: bucket.hedges.into(),
        }
    }
}

/// Adds to each upstream its part of the files that all had in the last day.
fn add_shares_of_found(upstreams: &mut [UpstreamReport]) {
    let states = || upstreams.iter().filter_map(|upstream| upstream.state.as_ref());
    let all: u64 = states().map(|state| state.last_day.figures.found).sum();
    if all > 0 {
        for state in upstreams.iter_mut().filter_map(|upstream| upstream.state.as_mut()) {
            state.share_of_found = Some(share(state.last_day.figures.found, all));
        }
    }
}

/// `count` as a part of `all`, which is not 0.
#[expect(clippy::cast_precision_loss, reason = "a share is shown with three digits")]
fn share(count: u64, all: u64) -> f64 {
    count as f64 / all as f64
}

/// A value as the configuration names it.
fn name_of(value: &impl ValueEnum) -> String {
    value.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_those_of_all_requests() {
        let bucket = Bucket { outcomes: [1, 2, 1, 0], ..Bucket::default() };
        let period = Period::new(&[bucket.clone(), Bucket::default(), bucket]);
        let shares = period.shares.unwrap();
        assert_eq!(period.figures.requests, 8);
        assert_eq!([shares.found, shares.absent, shares.failed, shares.too_large], [0.25, 0.5, 0.25, 0.0]);
        assert!(Period::new(&[Bucket::default()]).shares.is_none());
    }
}
