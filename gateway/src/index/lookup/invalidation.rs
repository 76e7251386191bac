//! Invalidation of cached records: when each build-id was last named by a change of the index.
//!
//! A change names build-ids by their hashes ([`sql::hash_build_id`]), so it cannot be removed from a cache by key.
//! Instead every change leaves its time in the slot of its hash, and a cached result is valid only if its query began
//! after that. This has no race: the result of a query that began before the change was seen is never valid, whenever
//! it is inserted. Hashes that share a slot cost a query, nothing else.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use artifact::BuildId;

/// Number of slots, a power of two: 2 MiB of memory, of which untouched pages are never allocated.
const SLOT_COUNT: u64 = 1 << 18;
/// How long after a change another node of a cluster may still answer without it.
const CLUSTER_LAG: Duration = Duration::from_secs(10);

/// Times of changes, in milliseconds since the process began to follow them. Cheap to clone: clones share their state.
#[derive(Clone)]
pub(crate) struct Invalidation(Arc<ChangeTimes>);

struct ChangeTimes {
    began: Instant,
    slots: Box<[AtomicU64]>,
    /// When everything was invalidated.
    all: AtomicU64,
}

impl Invalidation {
    /// No change yet.
    pub(crate) fn new() -> Self {
        let slots = (0..SLOT_COUNT).map(|_| AtomicU64::new(0)).collect();
        Self(Arc::new(ChangeTimes { began: Instant::now(), slots, all: AtomicU64::new(0) }))
    }

    /// The time to store beside a value whose query begins now.
    pub(crate) fn now(&self) -> u64 {
        // From 1: 0 stands for no change.
        u64::try_from(self.0.began.elapsed().as_millis()).map_or(u64::MAX, |millis| millis + 1)
    }

    /// Invalidates all results so far of the build-ids with these hashes.
    pub(crate) fn invalidate(&self, hashes: &[u64]) {
        let now = self.now();
        for hash in hashes {
            self.slot(*hash).store(now, Ordering::Release);
        }
    }

    /// Invalidates all results so far.
    pub(crate) fn invalidate_all(&self) {
        self.0.all.store(self.now(), Ordering::Release);
    }

    /// True if a result of `build_id` is valid whose query began at `queried`. Within [`CLUSTER_LAG`] after a change it
    /// is valid for at most `short_ttl`.
    pub(crate) fn is_valid(&self, build_id: &BuildId, queried: u64, short_ttl: Duration) -> bool {
        let changed = self.slot(sql::hash_build_id(build_id)).load(Ordering::Acquire);
        if queried <= self.0.all.load(Ordering::Acquire) || queried <= changed {
            return false;
        }
        changed == 0 || queried > changed + millis(CLUSTER_LAG) || self.now() <= queried + millis(short_ttl)
    }

    fn slot(&self, hash: u64) -> &AtomicU64 {
        // Below SLOT_COUNT, and so below the length of the slice.
        &self.0.slots[(hash & (SLOT_COUNT - 1)) as usize]
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::thread::sleep;

    use super::*;

    const SHORT: Duration = Duration::from_secs(60);

    fn build_id(number: u8) -> BuildId {
        BuildId::from_bytes(&[number; 20]).unwrap()
    }

    #[test]
    fn a_result_is_valid_only_if_its_query_began_after_the_last_change() {
        let invalidation = Invalidation::new();
        let before = invalidation.now();
        assert!(invalidation.is_valid(&build_id(1), before, SHORT));
        invalidation.invalidate(&[sql::hash_build_id(&build_id(1))]);
        assert!(!invalidation.is_valid(&build_id(1), before, SHORT), "queried before the change");
        let changed = invalidation.slot(sql::hash_build_id(&build_id(1))).load(Ordering::Acquire);
        assert!(!invalidation.is_valid(&build_id(1), changed, SHORT), "queried in the same millisecond");
        assert!(invalidation.is_valid(&build_id(2), before, SHORT), "another build-id");
        sleep(Duration::from_millis(5));
        let after = invalidation.now();
        assert!(invalidation.is_valid(&build_id(1), after, SHORT), "queried after the change");
        sleep(Duration::from_millis(5));
        assert!(!invalidation.is_valid(&build_id(1), after, Duration::ZERO), "a node may lag: not for long");
        assert!(invalidation.is_valid(&build_id(2), after, Duration::ZERO), "no change: as long as its entry lives");
        invalidation.invalidate_all();
        assert!(!invalidation.is_valid(&build_id(2), after, SHORT));
        sleep(Duration::from_millis(5));
        assert!(invalidation.is_valid(&build_id(2), invalidation.now(), SHORT));
    }
}
