//! Filter of the index: proves that a build-id is absent without a query.
//!
//! - [`Filter`] answers "absent" or "maybe" for a build-id. "Absent" is what the index would have answered at some
//!   moment of the last [`MAX_AGE`].
//! - [`base`]: an immutable filter of all build-ids at one moment. The delta beside it is the set of hashes that came
//!   since.
//! - [`follow`]: reads the changes of the index once a second, also where there is no filter, and invalidates cached
//!   records by them.
//! - [`rebuild`]: makes a new base of the whole index where the changes are not known.
//! - [`mod@file`]: the filter on disk, for the next process.

mod base;
mod file;
mod follow;
mod rebuild;

use std::collections::HashSet;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use artifact::BuildId;
use prometheus::IntCounter;

use crate::metrics::METRICS;
use base::Base;
pub(crate) use follow::Follower;

/// How long "absent" counts after the changes of the index were read.
pub(crate) const MAX_AGE: Duration = Duration::from_secs(10);
/// Number of hashes that are added under one lock.
const MAX_ADDED: usize = 4096;
/// Bytes that a hash takes in the delta: itself, a control byte, and the eighth that stays free.
const DELTA_BYTES: usize = 10;

/// The answer of the filter for a build-id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The build-id is not in the index.
    Absent,
    /// The build-id may be in the index: a query decides. One of 256 absent build-ids has this verdict.
    Maybe,
    /// There is no filter, or its last changes are older than [`MAX_AGE`].
    Unavailable,
}

/// A filter of the index. Cheap to clone: clones share their state.
#[derive(Clone)]
pub(crate) struct Filter {
    state: Arc<RwLock<FilterState>>,
    /// Resolved once: a verdict costs less than finding its counter.
    absent: IntCounter,
    maybe: IntCounter,
    unavailable: IntCounter,
}

#[derive(Default)]
struct FilterState {
    base: Option<Arc<Base>>,
    /// Hashes that came since the base was made.
    delta: HashSet<u64>,
    /// When the last successful read of changes began.
    synced: Option<Instant>,
}

impl Filter {
    /// A filter without a base: every verdict is [`Verdict::Unavailable`].
    pub(crate) fn off() -> Self {
        let counter = |result| METRICS.filter_lookups.with_label_values(&[result]);
        Self {
            state: Arc::default(),
            absent: counter("absent"),
            maybe: counter("maybe"),
            unavailable: counter("unavailable"),
        }
    }

    /// Returns the verdict for a build-id, and counts it.
    pub(crate) fn check(&self, build_id: &BuildId) -> Verdict {
        let verdict = self.check_at(build_id, Instant::now());
        match verdict {
            Verdict::Absent => self.absent.inc(),
            Verdict::Maybe => self.maybe.inc(),
            Verdict::Unavailable => self.unavailable.inc(),
        }
        verdict
    }

    fn check_at(&self, build_id: &BuildId, now: Instant) -> Verdict {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        match (&state.base, state.synced) {
            (Some(base), Some(synced)) if now.saturating_duration_since(synced) < MAX_AGE => {
                let hash = sql::hash_build_id(build_id);
                if base.may_have(hash) || state.delta.contains(&hash) { Verdict::Maybe } else { Verdict::Absent }
            }
            _ => Verdict::Unavailable,
        }
    }

    /// Replaces base and delta. The filter is unavailable until the next [`Filter::set_synced`].
    fn replace(&self, base: Option<Arc<Base>>, delta: HashSet<u64>) {
        self.change(|state| *state = FilterState { base, delta, synced: None });
    }

    /// Adds hashes to the delta.
    fn add(&self, hashes: &[u64]) {
        // Readers get the lock in between.
        for hashes in hashes.chunks(MAX_ADDED) {
            self.change(|state| state.delta.extend(hashes));
        }
    }

    /// Records that every change committed before `synced` was added.
    fn set_synced(&self, synced: Instant) {
        self.change(|state| state.synced = Some(synced));
        // Without a base the filter has no answers, however recent its changes are.
        if self.lengths().0.is_some() {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs());
            METRICS.filter_last_sync.set(now.cast_signed());
        }
    }

    fn change(&self, change: impl FnOnce(&mut FilterState)) {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        change(&mut state);
        let gauge = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
        let base = state.base.as_deref();
        let bytes = base.map_or(0, Base::size_bytes) + state.delta.capacity() * DELTA_BYTES;
        METRICS.filter_build_ids.with_label_values(&["base"]).set(gauge(base.map_or(0, Base::len)));
        METRICS.filter_build_ids.with_label_values(&["delta"]).set(gauge(state.delta.len()));
        METRICS.filter_bytes.set(gauge(bytes));
    }

    /// Returns the base and the hashes of the delta.
    fn contents(&self) -> (Option<Arc<Base>>, Vec<u64>) {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        (state.base.clone(), state.delta.iter().copied().collect())
    }

    /// Returns the number of hashes in the base and in the delta.
    fn lengths(&self) -> (Option<usize>, usize) {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        (state.base.as_deref().map(Base::len), state.delta.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn build_id(number: u32) -> BuildId {
        BuildId::from_bytes(&number.to_be_bytes()).unwrap()
    }

    #[test]
    fn absent_counts_for_a_limited_time_after_the_changes_were_read() {
        let filter = Filter::off();
        let began = Instant::now();
        assert_eq!(filter.check_at(&build_id(1), began), Verdict::Unavailable, "there is no filter");
        filter.replace(
            Some(Arc::new(Base::from_hashes(vec![sql::hash_build_id(&build_id(1))]).unwrap())),
            HashSet::new(),
        );
        assert_eq!(filter.check_at(&build_id(2), began), Verdict::Unavailable, "the changes were not read yet");
        filter.add(&[sql::hash_build_id(&build_id(3))]);
        assert_eq!(filter.check_at(&build_id(2), began), Verdict::Unavailable, "not all changes were added yet");
        filter.set_synced(began);
        let at = |seconds, number| filter.check_at(&build_id(number), began + Duration::from_secs(seconds));
        assert_eq!([at(0, 1), at(0, 2), at(0, 3)], [Verdict::Maybe, Verdict::Absent, Verdict::Maybe]);
        assert_eq!([at(9, 1), at(9, 2), at(9, 3)], [Verdict::Maybe, Verdict::Absent, Verdict::Maybe]);
        assert_eq!([at(10, 1), at(10, 2), at(10, 3)], [Verdict::Unavailable; 3]);
        filter.set_synced(began + Duration::from_secs(11));
        assert_eq!(at(12, 2), Verdict::Absent);
        filter.replace(None, HashSet::new());
        assert_eq!(at(12, 2), Verdict::Unavailable);
    }
}
