//! The time of writes.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Returns the seconds since 1970.
pub(super) fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs().cast_signed())
}

/// Returns a duration in whole seconds, rounded up: no time that is waited for ends early.
pub(super) fn whole_seconds(duration: Duration) -> i64 {
    let seconds = duration.as_secs().saturating_add(u64::from(duration.subsec_nanos() > 0));
    // Half of the range, so that a time can be added to it.
    seconds.min(i64::MAX.cast_unsigned() / 2).cast_signed()
}
