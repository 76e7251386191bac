//! Times for people: UTC, in the form of RFC 3339.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use humantime::{format_rfc3339_seconds, parse_rfc3339};

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

/// Reads a time of UTC, `2026-05-04T10:30:00Z` or a day like `2026-05-04`, as seconds since 1970.
///
/// # Errors
/// What was expected and what was found.
pub(crate) fn read_time(text: &str) -> Result<i64, String> {
    let time = if text.contains('T') { text.to_owned() } else { format!("{text}T00:00:00Z") };
    let time = parse_rfc3339(&time).ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    time.and_then(|since| i64::try_from(since.as_secs()).ok())
        .ok_or_else(|| format!("expected a day like 2026-05-04 or a time like 2026-05-04T10:30:00Z, found {text:?}"))
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

    #[test]
    fn days_and_times_are_read() {
        assert_eq!(read_time("2026-05-04T10:30:00Z"), Ok(1_777_890_600));
        assert_eq!(read_time("2026-05-04"), Ok(1_777_890_600 - 37_800));
        for wrong in ["", "2026", "2026-05-04T", "2026-05-04 10:30:00", "yesterday", "1969-12-31"] {
            assert!(read_time(wrong).unwrap_err().contains(&format!("{wrong:?}")), "{wrong}");
        }
    }
}
