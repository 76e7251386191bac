//! Times for people: UTC, in the form of RFC 3339.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use humantime::format_rfc3339_seconds;

/// The present time in seconds since 1970.
pub(crate) fn now() -> i64 {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since_1970.as_secs()).unwrap_or(i64::MAX)
}

/// A time in seconds since 1970 as `2026-05-04T10:30:00Z`. Times before 1970 and after 9999 are that limit.
pub(crate) fn utc(seconds: i64) -> String {
    /// 9999-12-31T23:59:59Z.
    const LAST: u64 = 253_402_300_799;
    let seconds = u64::try_from(seconds).unwrap_or_default().min(LAST);
    format_rfc3339_seconds(UNIX_EPOCH + Duration::from_secs(seconds)).to_string()
}

/// The day of a time in seconds since 1970, in UTC, as `2026-05-04`.
pub(crate) fn day(seconds: i64) -> String {
    let mut time = utc(seconds);
    time.truncate("2026-05-04".len());
    time
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_shown_in_utc() {
        assert_eq!(utc(1_777_890_600), "2026-05-04T10:30:00Z");
        assert_eq!(day(1_777_890_600), "2026-05-04");
        assert_eq!(utc(-1), "1970-01-01T00:00:00Z");
        assert_eq!(utc(i64::MAX), "9999-12-31T23:59:59Z");
    }
}
