//! When a fault comes: by chance, the same in every run of the tests.

use std::time::Duration;

/// Numbers by chance from a seed (xorshift, Marsaglia 2003).
pub(crate) struct Chance(u64);

impl Chance {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// A number below `end`.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % end
    }

    /// A moment of a run of which `whole` is the length: by chance within the part of it that belongs to this round.
    pub(crate) fn moment(&mut self, whole: u64, round: u32, rounds: u32) -> u64 {
        let part = whole / u64::from(rounds);
        part * u64::from(round) + self.below(part.max(1))
    }

    /// A time below `end`.
    pub(crate) fn time(&mut self, end: Duration) -> Duration {
        Duration::from_micros(self.below(u64::try_from(end.as_micros()).unwrap().max(1)))
    }
}
