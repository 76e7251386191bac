//! How long the answers of a provider take, measured.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::time::Duration;

use crate::locked::locked;

/// Maximum number of answers that are remembered: the last ones.
const MAX_SAMPLES: usize = 128;
/// Minimum number of answers: fewer tell nothing.
const MIN_SAMPLES: usize = 8;
/// A hedge is not sent before this, however fast a provider is.
const MIN_USUAL: Duration = Duration::from_millis(20);

/// The last durations of a provider's answers.
#[derive(Default)]
pub(crate) struct Latency(Mutex<VecDeque<Duration>>);

impl Latency {
    /// Adds the duration of an answer.
    pub(crate) fn add(&self, took: Duration) {
        let mut samples = locked(&self.0);
        if samples.len() == MAX_SAMPLES {
            samples.pop_front();
        }
        samples.push_back(took);
    }

    /// The duration within which `share` (0 to 1) of the last answers came; `None` if too few are known.
    pub(crate) fn quantile(&self, share: f64) -> Option<Duration> {
        let mut samples: Vec<Duration> = locked(&self.0).iter().copied().collect();
        if samples.len() < MIN_SAMPLES {
            return None;
        }
        samples.sort_unstable();
        // The casts keep small positive numbers.
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
        let at = ((samples.len() - 1) as f64 * share.clamp(0.0, 1.0)).ceil() as usize;
        samples.get(at).copied()
    }

    /// The usual time of an answer: 95 of 100 take no longer.
    pub(crate) fn usual(&self) -> Option<Duration> {
        self.quantile(0.95).map(|usual| usual.max(MIN_USUAL))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_those_of_the_last_answers() {
        let latency = Latency::default();
        for millis in 1..MIN_SAMPLES as u64 {
            latency.add(Duration::from_millis(millis));
            assert_eq!(latency.quantile(0.5), None);
        }
        for millis in 1..=1000 {
            latency.add(Duration::from_millis(millis));
        }
        assert_eq!(latency.quantile(1.0), Some(Duration::from_millis(1000)));
        assert_eq!(latency.quantile(0.0), Some(Duration::from_millis(873)));
        assert_eq!(latency.usual(), Some(Duration::from_millis(994)));
        let fast = Latency::default();
        (0..MIN_SAMPLES).for_each(|_| fast.add(Duration::from_millis(1)));
        assert_eq!(fast.usual(), Some(MIN_USUAL));
    }
}
