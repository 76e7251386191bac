//! Counts what may turn an unavailable answer into another one.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counts the changes of what is known of upstreams: a breaker that opened or closed, a slow request that ended. An
/// answer that was unavailable before the last change may be another one now.
#[derive(Default)]
pub(crate) struct Changes(AtomicU64);

impl Changes {
    /// Something changed.
    pub(crate) fn changed(&self) {
        self.0.fetch_add(1, Ordering::AcqRel);
    }

    /// The number of changes so far.
    pub(crate) fn count(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }
}
