//! What is certainly not in the index, without asking it.
//!
//! - [`Filter`] says "no" or "maybe" of a build-id. A "no" says what the index would have said at some moment of the last
//!   [`MOST_AGE`]; nothing more follows from it than from an index that has no such record.
//! - [`base`]: an immutable filter of all build-ids at one moment; what came since is a set of hashes beside it.
//! - [`follow`]: asks the index once a second what came, also where there is no filter: cached records are invalidated by it. Reads all
//!   of the index where that cannot be told.
//! - [`mod@file`]: the filter on disk, so that a restart does not begin with nothing.

mod base;
mod file;
mod follow;

use std::collections::HashSet;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use artifact::BuildId;
use prometheus::IntCounter;

use crate::metrics::METRICS;
use base::Base;
pub(crate) use follow::Follower;

/// How long a "no" counts after the index was asked what came.
pub(crate) const MOST_AGE: Duration = Duration::from_secs(10);

/// What a filter says of a build-id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Said {
    /// It is not in the index.
    No,
    /// It may be: the index has to be asked. One of 256 that are not in it comes to this.
    Maybe,
    /// Nothing: there is no filter now, or none that is fresh.
    Nothing,
}

/// A filter of the index. Cheap to clone: clones are one.
#[derive(Clone)]
pub(crate) struct Filter {
    state: Arc<RwLock<State>>,
    /// Resolved once: a "no" costs less than finding its counter.
    no: IntCounter,
    maybe: IntCounter,
    nothing: IntCounter,
}

#[derive(Default)]
struct State {
    base: Option<Arc<Base>>,
    /// What came since the base was made, by hash.
    delta: HashSet<u64>,
    /// When the last question that was answered what came was begun.
    checked: Option<Instant>,
}

impl Filter {
    /// A filter that says nothing.
    pub(crate) fn off() -> Self {
        let counter = |said| METRICS.filter_lookups.with_label_values(&[said]);
        Self { state: Arc::default(), no: counter("absent"), maybe: counter("maybe"), nothing: counter("unavailable") }
    }

    /// What the filter says, counted.
    pub(crate) fn ask(&self, build_id: &BuildId) -> Said {
        let said = self.look(build_id, Instant::now());
        match said {
            Said::No => self.no.inc(),
            Said::Maybe => self.maybe.inc(),
            Said::Nothing => self.nothing.inc(),
        }
        said
    }

    fn look(&self, build_id: &BuildId, now: Instant) -> Said {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        match (&state.base, state.checked) {
            (Some(base), Some(checked)) if now.saturating_duration_since(checked) < MOST_AGE => {
                let hash = sql::hash_build_id(build_id);
                if base.may_have(hash) || state.delta.contains(&hash) { Said::Maybe } else { Said::No }
            }
            _ => Said::Nothing,
        }
    }

    /// Another base, with what came since it was begun. Says nothing before the next [`Filter::is_current`].
    fn set(&self, base: Option<Arc<Base>>, delta: HashSet<u64>) {
        self.change(|state| *state = State { base, delta, checked: None });
    }

    /// What came.
    fn add(&self, hashes: &[u64]) {
        // Nobody who looks something up shall wait for long.
        for hashes in hashes.chunks(ADDED_AT_ONCE) {
            self.change(|state| state.delta.extend(hashes));
        }
    }

    /// What came until then was added.
    fn is_current(&self, checked: Instant) {
        self.change(|state| state.checked = Some(checked));
        // Without a base it says nothing, however fresh that is.
        if self.lengths().0.is_some() {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs());
            METRICS.filter_last_sync.set(now.cast_signed());
        }
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        change(&mut state);
        let gauge = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
        let base = state.base.as_deref();
        let bytes = base.map_or(0, Base::size_bytes) + state.delta.capacity() * DELTA_BYTES;
        METRICS.filter_build_ids.with_label_values(&["base"]).set(gauge(base.map_or(0, Base::len)));
        METRICS.filter_build_ids.with_label_values(&["delta"]).set(gauge(state.delta.len()));
        METRICS.filter_bytes.set(gauge(bytes));
    }

    /// The base, and the hashes of what came since.
    fn parts(&self) -> (Option<Arc<Base>>, Vec<u64>) {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        (state.base.clone(), state.delta.iter().copied().collect())
    }

    /// How many build-ids the base has, and how many came since.
    fn lengths(&self) -> (Option<usize>, usize) {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        (state.base.as_deref().map(Base::len), state.delta.len())
    }
}

/// Hashes that are added in one go.
const ADDED_AT_ONCE: usize = 4096;
/// What a hash takes in the set: itself, a byte, and the eighth that stays free.
const DELTA_BYTES: usize = 10;

#[cfg(test)]
mod tests {
    use super::*;

    fn build_id(number: u32) -> BuildId {
        BuildId::from_bytes(&number.to_be_bytes()).unwrap()
    }

    #[test]
    fn a_no_counts_only_for_a_while_after_the_index_was_asked() {
        let filter = Filter::off();
        let began = Instant::now();
        assert_eq!(filter.look(&build_id(1), began), Said::Nothing, "there is no filter");
        filter.set(Some(Arc::new(Base::of(vec![sql::hash_build_id(&build_id(1))]).unwrap())), HashSet::new());
        assert_eq!(filter.look(&build_id(2), began), Said::Nothing, "the index was not asked yet");
        filter.add(&[sql::hash_build_id(&build_id(3))]);
        assert_eq!(filter.look(&build_id(2), began), Said::Nothing, "not all that came was added yet");
        filter.is_current(began);
        let at = |seconds, number| filter.look(&build_id(number), began + Duration::from_secs(seconds));
        assert_eq!([at(0, 1), at(0, 2), at(0, 3)], [Said::Maybe, Said::No, Said::Maybe]);
        assert_eq!([at(9, 1), at(9, 2), at(9, 3)], [Said::Maybe, Said::No, Said::Maybe]);
        assert_eq!([at(10, 1), at(10, 2), at(10, 3)], [Said::Nothing; 3]);
        filter.is_current(began + Duration::from_secs(11));
        assert_eq!(at(12, 2), Said::No);
        filter.set(None, HashSet::new());
        assert_eq!(at(12, 2), Said::Nothing);
    }
}
