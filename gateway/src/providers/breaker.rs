//! The breaker of a provider: whether it is asked.
//!
//! It is closed at first. A provider that hangs, or that fails several times in a row, opens it; then nothing is asked
//! of the provider until one probe, for which the breaker is half-open, is answered. That closes it again.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::locked::locked;

/// Number of failures in a row that open a breaker.
const MAX_FAILURES: u32 = 3;
/// Time from the opening to the first probe, and between two probes after several failed ones.
const FIRST_RETRY: Duration = Duration::from_secs(2);
const RETRY_INTERVAL: Duration = Duration::from_secs(5);
/// Failed probes after which [`RETRY_INTERVAL`] lies between two of them.
const FAST_PROBES: u32 = 5;

/// Whether a provider is asked.
#[derive(Default)]
pub(crate) struct Breaker(Mutex<BreakerLife>);

#[derive(Default)]
struct BreakerLife {
    state: State,
    /// Failures since the last answer.
    failures: u32,
    answered_at: Option<Instant>,
    /// Counts how often it was opened or closed.
    epoch: u64,
}

#[derive(Clone, Default)]
enum State {
    #[default]
    Closed,
    /// Nothing is asked before `retry_at`.
    Open { opening: BreakerOpening, retry_at: Instant, failed_probes: u32 },
    /// One probe is under way.
    HalfOpen { opening: BreakerOpening, failed_probes: u32 },
}

/// When and why a breaker was opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BreakerOpening {
    pub(crate) since: Instant,
    /// What was expected and what was found.
    pub(crate) cause: String,
}

/// What an outcome did to a breaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// Nothing.
    None,
    Opened,
    Closed,
}

impl Breaker {
    /// When and why it was opened; `None` while it is closed.
    pub(crate) fn opening(&self) -> Option<BreakerOpening> {
        match &locked(&self.0).state {
            State::Closed => None,
            State::Open { opening, .. } | State::HalfOpen { opening, .. } => Some(opening.clone()),
        }
    }

    /// The name of its state: `closed`, `open` or `half_open`.
    pub(crate) fn state(&self) -> &'static str {
        match locked(&self.0).state {
            State::Closed => "closed",
            State::Open { .. } => "open",
            State::HalfOpen { .. } => "half_open",
        }
    }

    /// Changes whenever it is opened or closed. What is known of the provider from another epoch is not to be relied
    /// on.
    pub(crate) fn epoch(&self) -> u64 {
        locked(&self.0).epoch
    }

    /// True if the provider answered anything since `instant`.
    pub(crate) fn has_answered_since(&self, instant: Instant) -> bool {
        locked(&self.0).answered_at.is_some_and(|answered| answered >= instant)
    }

    /// How long ago the provider answered anything; `None` if it never did.
    pub(crate) fn silence(&self) -> Option<Duration> {
        locked(&self.0).answered_at.map(|answered| answered.elapsed())
    }

    /// The provider answered a request. An open breaker stays open: only a probe closes it.
    pub(crate) fn answered(&self) {
        let mut life = locked(&self.0);
        (life.failures, life.answered_at) = (0, Some(Instant::now()));
    }

    /// A request failed: several in a row open it.
    pub(crate) fn failed(&self, cause: &str) -> Change {
        let mut life = locked(&self.0);
        life.failures = life.failures.saturating_add(1);
        if life.failures >= MAX_FAILURES { life.open(cause) } else { Change::None }
    }

    /// The provider hangs.
    pub(crate) fn open(&self, cause: &str) -> Change {
        locked(&self.0).open(cause)
    }

    /// When the next probe of an open breaker is due; `None` while it is closed or a probe is under way.
    pub(crate) fn retry_at(&self) -> Option<Instant> {
        match locked(&self.0).state {
            State::Open { retry_at, .. } => Some(retry_at),
            State::Closed | State::HalfOpen { .. } => None,
        }
    }

    /// True if the caller is to send the one probe of an open breaker, which is half-open from now on. The caller
    /// states its outcome by [`Self::probe_answered`] or [`Self::probe_failed`].
    pub(crate) fn begin_probe(&self) -> bool {
        let mut life = locked(&self.0);
        let State::Open { opening, retry_at, failed_probes } = &life.state else { return false };
        let is_due = *retry_at <= Instant::now();
        if is_due {
            life.state = State::HalfOpen { opening: opening.clone(), failed_probes: *failed_probes };
        }
        is_due
    }

    /// A probe was answered: the breaker is closed.
    pub(crate) fn probe_answered(&self) -> Change {
        let mut life = locked(&self.0);
        (life.failures, life.answered_at) = (0, Some(Instant::now()));
        if matches!(life.state, State::Closed) {
            return Change::None;
        }
        (life.state, life.epoch) = (State::Closed, life.epoch + 1);
        Change::Closed
    }

    /// A probe of an open breaker failed: it stays open.
    pub(crate) fn probe_failed(&self) {
        let mut life = locked(&self.0);
        if let State::HalfOpen { opening, failed_probes } = life.state.clone() {
            let failed_probes = failed_probes.saturating_add(1);
            let pause = if failed_probes < FAST_PROBES { FIRST_RETRY } else { RETRY_INTERVAL };
            life.state = State::Open { opening, retry_at: Instant::now() + pause, failed_probes };
        }
    }

    /// Makes the probe of an open breaker due.
    #[cfg(test)]
    pub(crate) fn make_due(&self) {
        if let State::Open { retry_at, .. } = &mut locked(&self.0).state {
            *retry_at = Instant::now();
        }
    }
}

impl BreakerLife {
    fn open(&mut self, cause: &str) -> Change {
        if !matches!(self.state, State::Closed) {
            return Change::None;
        }
        let now = Instant::now();
        let opening = BreakerOpening { since: now, cause: cause.to_owned() };
        self.state = State::Open { opening, retry_at: now + FIRST_RETRY, failed_probes: 0 };
        self.epoch += 1;
        Change::Opened
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_in_a_row_open_it_and_an_answer_between_them_does_not() {
        let breaker = Breaker::default();
        for _ in 1..MAX_FAILURES {
            assert_eq!(breaker.failed("reset"), Change::None);
        }
        breaker.answered();
        for _ in 1..MAX_FAILURES {
            assert_eq!(breaker.failed("reset"), Change::None);
        }
        assert_eq!((breaker.failed("refused"), breaker.state()), (Change::Opened, "open"));
        assert_eq!(breaker.opening().unwrap().cause, "refused");
        assert_eq!(breaker.failed("again"), Change::None);
        assert_eq!(breaker.opening().unwrap().cause, "refused", "it is open since the first time");
    }

    #[test]
    fn one_probe_at_a_time_closes_it() {
        let breaker = Breaker::default();
        assert!(!breaker.begin_probe(), "it is closed");
        let before = breaker.epoch();
        assert_eq!(breaker.open("hangs"), Change::Opened);
        let opened_at = breaker.opening().unwrap().since;
        assert!(!breaker.begin_probe(), "no probe is due at once");
        breaker.make_due();
        assert!(breaker.begin_probe() && !breaker.begin_probe(), "one probe at a time");
        assert_eq!(breaker.state(), "half_open");
        breaker.probe_failed();
        assert_eq!((breaker.state(), breaker.opening().unwrap().since), ("open", opened_at));
        breaker.answered();
        assert_eq!(breaker.state(), "open", "an answer that was under way does not close it");
        breaker.make_due();
        assert!(breaker.begin_probe());
        assert_eq!((breaker.probe_answered(), breaker.state()), (Change::Closed, "closed"));
        assert_eq!(breaker.epoch(), before + 2);
        assert!(breaker.has_answered_since(opened_at) && !breaker.has_answered_since(Instant::now()));
    }
}
