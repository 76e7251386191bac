//! The time of writes.

use std::time::{SystemTime, UNIX_EPOCH};

/// Returns the seconds since 1970.
pub(super) fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs().cast_signed())
}
