//! The budget, shares and timeouts of a decision, in one file. Extractions and stores have further timeouts, in their
//! own files.
//!
//! A request has one [`Deadline`]: the end of its budget (`request.budget`). What it asks for one after the other
//! gets shares of what is left. Bytes of an archive may take longer than the budget, as long as they come.

use std::time::{Duration, Instant};

/// How long a question stays unavailable after it was: a client's three tries take one budget.
pub(crate) const UNAVAILABLE_TTL: Duration = Duration::from_secs(3);

/// The longest wait for a permit to be answered: clients give up after 90 s.
pub(crate) const REQUEST_PERMIT_TIMEOUT: Duration = Duration::from_secs(60);

/// The longest wait for a permit to extract.
pub(crate) const EXTRACTION_PERMIT_TIMEOUT: Duration = Duration::from_secs(45);

/// The longest wait for as many bytes of a member as an answer needs: clients give up after 90 s without a byte.
pub(crate) const FIRST_BYTES_TIMEOUT: Duration = Duration::from_secs(75);

/// The shortest stall timeout of an archive, however little of the budget is left.
const MIN_STALL_TIMEOUT: Duration = Duration::from_millis(100);

/// The share of its budget that a server has when it is asked by another one.
const SHARE_PER_HOP: f64 = 0.8;

/// The instant at which a budget ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Deadline {
    end: Instant,
}

impl Deadline {
    /// The deadline of a budget that begins now.
    pub(crate) fn after(budget: Duration) -> Self {
        Self { end: Instant::now() + budget }
    }

    /// Returns the instant at which the budget ends.
    pub(crate) fn end(self) -> Instant {
        self.end
    }

    /// Returns the time left; zero once the deadline has passed.
    pub(crate) fn remaining(self) -> Duration {
        self.end.saturating_duration_since(Instant::now())
    }

    /// True once no time is left.
    pub(crate) fn has_passed(self) -> bool {
        self.remaining().is_zero()
    }

    /// The deadline of the first of `shares` equal shares of the time left.
    pub(crate) fn split(self, shares: u32) -> Self {
        Self::after(self.remaining() / shares.max(1))
    }

    /// The deadline of half the time left, so that what is asked first leaves time for the next.
    pub(crate) fn half(self) -> Self {
        self.split(2)
    }

    /// The same deadline, but at most `limit` from now.
    pub(crate) fn at_most(self, limit: Duration) -> Self {
        self.min(Self::after(limit))
    }

    /// The deadline that is `pause` later: time in which no provider was waited for is given back.
    pub(crate) fn extended_by(self, pause: Duration) -> Self {
        Self { end: self.end + pause }
    }

    /// The deadline of the first step of a decision: a third of the budget is left for the other steps.
    pub(crate) fn of_first_step(self) -> Self {
        self.at_most(self.remaining() * 2 / 3)
    }

    /// The deadline of the rows of a query by path: the last quarter of the time is for an index that does not answer.
    pub(crate) fn of_rows(self) -> Self {
        self.at_most(self.remaining() * 3 / 4)
    }

    /// How long an archive may give no byte: half of `budget`, at most the time left. Archives that stall one after
    /// the other take one budget together.
    pub(crate) fn stall_timeout(self, budget: Duration) -> Duration {
        stall_timeout(budget).min(self.remaining()).max(MIN_STALL_TIMEOUT)
    }
}

/// How long an archive may give no byte if nothing else is waited for: half of `budget`.
pub(crate) fn stall_timeout(budget: Duration) -> Duration {
    budget / 2
}

/// The budget of a question that passed `hops` servers: each waits for the next, and must have time to answer after it.
pub(crate) fn after_hops(budget: Duration, hops: usize) -> Duration {
    budget.mul_f64(SHARE_PER_HOP.powi(i32::try_from(hops.min(16)).unwrap_or(16)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_is_asked_by_another_answers_before_that_one_gives_up() {
        let times: Vec<u128> = (0..4).map(|hops| after_hops(Duration::from_secs(5), hops).as_millis()).collect();
        assert_eq!(times, [5000, 4000, 3200, 2560]);
        assert!(after_hops(Duration::from_secs(5), usize::MAX) > Duration::from_millis(100));
    }

    #[test]
    fn shares_of_a_deadline_end_before_it() {
        let budget = Duration::from_secs(60);
        let whole = Deadline::after(budget);
        let near = |deadline: Deadline, seconds: u64| {
            let left = deadline.remaining();
            left <= Duration::from_secs(seconds) && left > Duration::from_secs(seconds - 1)
        };
        assert!(
            near(whole, 60) && near(whole.half(), 30) && near(whole.split(3), 20) && near(whole.of_first_step(), 40)
        );
        assert!(near(whole.at_most(Duration::from_secs(5)), 5) && near(whole.at_most(budget * 2), 60));
        assert!(near(whole.of_rows(), 45));
        assert!(near(whole.extended_by(Duration::from_secs(3)), 63));
        let passed = Deadline::after(Duration::ZERO);
        assert!(passed.has_passed() && !whole.has_passed());
        assert_eq!(passed.stall_timeout(budget), MIN_STALL_TIMEOUT);
        assert_eq!(whole.stall_timeout(budget), budget / 2);
    }
}
