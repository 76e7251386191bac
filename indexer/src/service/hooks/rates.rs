//! Limits of the rate of requests.

use std::time::Duration;

use governor::clock::{Clock, DefaultClock};
use governor::state::keyed::HashMapStateStore;
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};

use super::tokens::TokenDigest;
use crate::settings::hooks::HooksTable;

/// The limits: one for each token, and one for all requests without a valid one. So nobody without a token takes the
/// share of those who have one. A file of tokens bounds the number of tokens.
pub(super) struct Rates {
    granted: RateLimiter<TokenDigest, HashMapStateStore<TokenDigest>, DefaultClock>,
    denied: DefaultDirectRateLimiter,
}

impl Rates {
    pub(super) fn new(table: &HooksTable) -> Self {
        let quota = Quota::per_second(table.rate).allow_burst(table.burst);
        Self { granted: RateLimiter::hashmap(quota), denied: RateLimiter::direct(quota) }
    }

    /// Counts a request with this token, or without a valid one.
    ///
    /// # Errors
    /// The time until the next one is permitted.
    pub(super) fn check(&self, token: Option<&TokenDigest>) -> Result<(), Duration> {
        let checked = match token {
            Some(token) => self.granted.check_key(token),
            None => self.denied.check(),
        };
        checked.map_err(|until| until.wait_time_from(DefaultClock::default().now()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_without_a_token_take_nobodys_share() {
        let (rate, burst) = ("1".parse().unwrap(), "3".parse().unwrap());
        let rates = Rates::new(&HooksTable { rate, burst, ..HooksTable::default() });
        for _ in 0..3 {
            assert_eq!(rates.check(None), Ok(()));
        }
        let wait = rates.check(None).unwrap_err();
        assert!(wait > Duration::ZERO && wait <= Duration::from_secs(1), "{wait:?}");
        for token in [[1; 32], [2; 32]] {
            for _ in 0..3 {
                assert_eq!(rates.check(Some(&token)), Ok(()));
            }
            assert!(rates.check(Some(&token)).is_err());
        }
    }
}
