//! The last day of one upstream, in memory: what it answered, how long that took, and when its breaker was open.
//!
//! A day is a ring of buckets of five minutes, by the clock of the machine. If that clock is set, buckets that are not
//! of the last day are left out.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::locked::locked;

/// The time of one bucket.
pub(crate) const BUCKET: Duration = Duration::from_secs(5 * 60);
/// Buckets of a day.
pub(crate) const DAY: usize = 288;
/// Buckets of an hour.
pub(crate) const HOUR: usize = 12;
/// The outcomes of requests, as metrics name them and as buckets count them.
pub(crate) const OUTCOMES: [&str; 4] = ["found", "absent", "failed", "too_large"];
/// Upper bounds of latencies, in milliseconds; longer ones count as the last.
const BOUNDS: [u32; 16] = [1, 2, 5, 10, 20, 50, 100, 200, 350, 500, 1_000, 2_000, 4_000, 10_000, 30_000, 100_000];
/// Maximum number of changes of the breaker that are remembered.
const MAX_TRANSITIONS: usize = 50;

/// What happened to one upstream in the last day.
pub(super) struct History(Mutex<Life>);

struct Life {
    /// That of the time `t` is number `t / BUCKET % DAY`.
    buckets: Vec<Bucket>,
    /// The latest ones, in their order.
    transitions: VecDeque<Transition>,
    last_error: Option<LastError>,
    /// While the breaker is open: until when that is in the buckets.
    open_until: Option<Duration>,
}

/// Five minutes of an upstream, or the sum of several buckets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Bucket {
    /// When it began, since 1970.
    pub(crate) start: Duration,
    /// Requests that ended, in the order of [`OUTCOMES`].
    pub(crate) outcomes: [u32; OUTCOMES.len()],
    /// Requests that took at most so long, and longer than the bound before, in the order of [`BOUNDS`].
    pub(super) latencies: [u32; BOUNDS.len()],
    /// Bytes of files that relays received.
    pub(crate) bytes: u64,
    /// How long the breaker was open.
    pub(crate) open: Duration,
    /// Answers that are not what was asked for.
    pub(crate) junk: u32,
    /// Requests because another upstream took longer than usual.
    pub(crate) hedges: u32,
}

/// A change of the breaker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Transition {
    /// Since 1970.
    pub(crate) at: Duration,
    /// True if it was opened, false if it was closed.
    pub(crate) is_open: bool,
    pub(crate) cause: String,
}

/// The last request or probe that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LastError {
    /// Since 1970.
    pub(crate) at: Duration,
    pub(crate) text: String,
}

/// A day as it is at one moment.
pub(crate) struct Day {
    /// All buckets of the last day, the oldest first; those without events, too.
    pub(crate) buckets: Vec<Bucket>,
    /// The oldest first.
    pub(crate) transitions: Vec<Transition>,
    pub(crate) last_error: Option<LastError>,
}

impl History {
    /// Nothing has happened yet.
    pub(super) fn new() -> Self {
        Self(Mutex::new(Life {
            buckets: vec![Bucket::default(); DAY],
            transitions: VecDeque::new(),
            last_error: None,
            open_until: None,
        }))
    }

    /// A request ended with `outcome` after `took`.
    pub(super) fn ended(&self, now: SystemTime, outcome: &str, took: Duration) {
        let mut life = locked(&self.0);
        let bucket = life.bucket(since_1970(now));
        let millis = took.as_millis();
        let at = BOUNDS.iter().position(|bound| millis <= u128::from(*bound)).unwrap_or(BOUNDS.len() - 1);
        increase(&mut bucket.latencies[at]);
        if let Some(number) = OUTCOMES.iter().position(|known| *known == outcome) {
            increase(&mut bucket.outcomes[number]);
        }
    }

    /// A relay received bytes.
    pub(super) fn received(&self, now: SystemTime, bytes: u64) {
        let mut life = locked(&self.0);
        let bucket = life.bucket(since_1970(now));
        bucket.bytes = bucket.bytes.saturating_add(bytes);
    }

    /// An answer was not what was asked for.
    pub(super) fn junk(&self, now: SystemTime) {
        increase(&mut locked(&self.0).bucket(since_1970(now)).junk);
    }

    /// It was asked because another upstream took longer than usual.
    pub(super) fn hedged(&self, now: SystemTime) {
        increase(&mut locked(&self.0).bucket(since_1970(now)).hedges);
    }

    /// A request or a probe failed.
    pub(super) fn failed(&self, now: SystemTime, text: &str) {
        locked(&self.0).last_error = Some(LastError { at: since_1970(now), text: text.to_owned() });
    }

    /// The breaker was opened.
    pub(super) fn opened(&self, now: SystemTime, cause: &str) {
        let (mut life, now) = (locked(&self.0), since_1970(now));
        life.open_until = Some(now);
        life.remember(Transition { at: now, is_open: true, cause: cause.to_owned() });
    }

    /// The breaker was closed.
    pub(super) fn closed(&self, now: SystemTime) {
        let (mut life, now) = (locked(&self.0), since_1970(now));
        life.add_open_time(now);
        life.open_until = None;
        life.remember(Transition { at: now, is_open: false, cause: "a probe was answered".into() });
    }

    /// The last day, as it is now.
    pub(super) fn day(&self, now: SystemTime) -> Day {
        let (mut life, now) = (locked(&self.0), since_1970(now));
        life.add_open_time(now);
        let last = number_of(now);
        let numbers = (0..DAY as u64).rev().map(|age| last.saturating_sub(age));
        let bucket_of = |number: u64| {
            let (start, bucket) = (start_of(number), &life.buckets[place_of(number)]);
            if bucket.start == start { bucket.clone() } else { Bucket { start, ..Bucket::default() } }
        };
        Day {
            buckets: numbers.map(bucket_of).collect(),
            transitions: life.transitions.iter().cloned().collect(),
            last_error: life.last_error.clone(),
        }
    }
}

impl Life {
    /// The bucket of the time `at`, empty if that is a new one.
    fn bucket(&mut self, at: Duration) -> &mut Bucket {
        let number = number_of(at);
        let (start, bucket) = (start_of(number), &mut self.buckets[place_of(number)]);
        if bucket.start != start {
            *bucket = Bucket { start, ..Bucket::default() };
        }
        bucket
    }

    /// Adds the time for which the breaker was open to the buckets, until `now`.
    fn add_open_time(&mut self, now: Duration) {
        let Some(until) = self.open_until else { return };
        // What is older has no bucket any more.
        let mut from = until.max(start_of(number_of(now).saturating_sub(DAY as u64 - 1)));
        while from < now {
            let end = now.min(start_of(number_of(from) + 1));
            self.bucket(from).open += end - from;
            from = end;
        }
        self.open_until = Some(now);
    }

    fn remember(&mut self, transition: Transition) {
        if self.transitions.len() == MAX_TRANSITIONS {
            self.transitions.pop_front();
        }
        self.transitions.push_back(transition);
    }
}

impl Bucket {
    /// The sum of several buckets, which begins with the first of them.
    pub(crate) fn sum<'a>(buckets: impl IntoIterator<Item = &'a Self>) -> Self {
        let mut buckets = buckets.into_iter();
        let mut sum = buckets.next().cloned().unwrap_or_default();
        for bucket in buckets {
            for (sum, count) in sum.outcomes.iter_mut().zip(bucket.outcomes) {
                *sum = sum.saturating_add(count);
            }
            for (sum, count) in sum.latencies.iter_mut().zip(bucket.latencies) {
                *sum = sum.saturating_add(count);
            }
            sum.bytes = sum.bytes.saturating_add(bucket.bytes);
            sum.open += bucket.open;
            sum.junk = sum.junk.saturating_add(bucket.junk);
            sum.hedges = sum.hedges.saturating_add(bucket.hedges);
        }
        sum
    }

    /// Requests that ended.
    pub(crate) fn requests(&self) -> u64 {
        self.outcomes.iter().map(|count| u64::from(*count)).sum()
    }

    /// True if nothing happened.
    pub(crate) fn is_empty(&self) -> bool {
        *self == Self { start: self.start, ..Self::default() }
    }

    /// The time within which `percent` of 100 requests ended, estimated between two bounds; `None` without requests.
    pub(crate) fn quantile(&self, percent: u32) -> Option<Duration> {
        let total: f64 = self.latencies.iter().map(|count| f64::from(*count)).sum();
        let wanted = total * f64::from(percent) / 100.0;
        let (mut below, mut lower) = (0.0, 0.0);
        for (bound, count) in BOUNDS.into_iter().zip(self.latencies) {
            let (upper, count) = (f64::from(bound), f64::from(count));
            if count > 0.0 && below + count >= wanted {
                let millis = lower + (upper - lower) * (wanted - below) / count;
                return Some(Duration::from_secs_f64(millis / 1000.0));
            }
            (below, lower) = (below + count, upper);
        }
        None
    }
}

fn increase(count: &mut u32) {
    *count = count.saturating_add(1);
}

fn since_1970(time: SystemTime) -> Duration {
    time.duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// The number of the bucket of a time, since 1970.
fn number_of(time: Duration) -> u64 {
    time.as_secs() / BUCKET.as_secs()
}

fn start_of(number: u64) -> Duration {
    Duration::from_secs(number * BUCKET.as_secs())
}

/// Where the bucket is in the ring.
fn place_of(number: u64) -> usize {
    // Less than `DAY`.
    usize::try_from(number % DAY as u64).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A moment at the beginning of a bucket.
    fn noon() -> SystemTime {
        UNIX_EPOCH + start_of(5_900_000)
    }

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn requests_are_counted_in_the_bucket_of_their_time() {
        let history = History::new();
        history.ended(noon(), "found", Duration::from_millis(3));
        history.ended(noon() + seconds(299), "absent", Duration::from_millis(3));
        history.ended(noon() + seconds(300), "failed", seconds(4));
        history.ended(noon() + seconds(300), "too_large", seconds(1000));
        history.received(noon() + seconds(301), 70);
        history.junk(noon() + seconds(302));
        history.hedged(noon() + seconds(303));
        let day = history.day(noon() + seconds(599)).buckets;
        assert_eq!(day.len(), DAY);
        let [first, second] = &day[DAY - 2..] else { panic!("{day:?}") };
        assert_eq!((first.outcomes, first.start), ([1, 1, 0, 0], start_of(5_900_000)));
        assert_eq!((second.outcomes, second.bytes, second.junk, second.hedges), ([0, 0, 1, 1], 70, 1, 1));
        assert!(day[..DAY - 2].iter().all(Bucket::is_empty));
        let sum = Bucket::sum(&day);
        assert_eq!((sum.requests(), sum.outcomes), (4, [1, 1, 1, 1]));
    }

    #[test]
    fn what_is_older_than_a_day_is_forgotten() {
        let history = History::new();
        history.ended(noon(), "found", seconds(1));
        let later = |buckets: u64| noon() + BUCKET * u32::try_from(buckets).unwrap();
        assert_eq!(Bucket::sum(&history.day(later(DAY as u64 - 1)).buckets).requests(), 1);
        assert_eq!(Bucket::sum(&history.day(later(DAY as u64)).buckets).requests(), 0);
        // The place in the ring is used again.
        history.ended(later(DAY as u64), "absent", seconds(1));
        assert_eq!(Bucket::sum(&history.day(later(DAY as u64)).buckets).outcomes, [0, 1, 0, 0]);
        // The clock of the machine was set back.
        assert_eq!(Bucket::sum(&history.day(later(3)).buckets).requests(), 0);
    }

    #[test]
    fn the_time_that_a_breaker_was_open_is_in_all_buckets_that_it_touched() {
        let history = History::new();
        history.opened(noon() + seconds(200), "hangs");
        // Reading it in between counts nothing twice.
        history.day(noon() + seconds(250));
        let open = |at: u64| -> Vec<u64> {
            let buckets = history.day(noon() + seconds(at)).buckets;
            buckets.iter().map(|bucket| bucket.open.as_secs()).filter(|open| *open > 0).collect()
        };
        assert_eq!(open(650), [100, 300, 50]);
        history.closed(noon() + seconds(700));
        assert_eq!(open(1300), [100, 300, 100]);
        // For days.
        history.opened(noon() + seconds(1000), "hangs");
        assert_eq!(open(10 * 86_400), [300; DAY - 1]);
    }

    #[test]
    fn the_last_transitions_and_the_last_error_are_remembered() {
        let history = History::new();
        for number in 0..MAX_TRANSITIONS as u64 + 1 {
            history.opened(noon() + seconds(number), &number.to_string());
        }
        history.closed(noon() + seconds(100));
        history.failed(noon(), "first");
        history.failed(noon() + seconds(1), "second");
        let day = history.day(noon());
        assert_eq!(day.transitions.len(), MAX_TRANSITIONS);
        assert_eq!((day.transitions[0].cause.as_str(), day.transitions[0].is_open), ("2", true));
        let last = day.transitions.last().unwrap();
        assert_eq!((last.cause.as_str(), last.is_open), ("a probe was answered", false));
        assert_eq!(day.last_error.unwrap().text, "second");
    }

    #[test]
    fn quantiles_lie_between_the_bounds_of_most_requests() {
        let history = History::new();
        assert_eq!(Bucket::sum(&history.day(noon()).buckets).quantile(50), None);
        for _ in 0..98 {
            history.ended(noon(), "absent", Duration::from_millis(30));
        }
        history.ended(noon(), "failed", seconds(4));
        history.ended(noon(), "failed", seconds(400));
        let day = Bucket::sum(&history.day(noon()).buckets);
        let [p50, p95, p99] = [50, 95, 99].map(|percent| day.quantile(percent).unwrap().as_millis());
        assert!(20 < p50 && p50 < p95 && p95 <= 50, "{p50} {p95}");
        assert!((2_000..=4_000).contains(&p99), "{p99}");
        assert_eq!(day.quantile(100), Some(seconds(100)));
    }
}
