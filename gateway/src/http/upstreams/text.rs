//! Values as people read them.

use std::fmt;
use std::time::{Duration, UNIX_EPOCH};

/// A text in HTML, in an element or in an attribute with quotes.
pub(super) struct Escaped<'a>(pub(super) &'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for part in self.0.split_inclusive(['&', '<', '>', '"', '\'']) {
            let Some(last) = part.chars().last() else { continue };
            let escape = match last {
                '&' => "&amp;",
                '<' => "&lt;",
                '>' => "&gt;",
                '"' => "&quot;",
                '\'' => "&#39;",
                _ => {
                    f.write_str(part)?;
                    continue;
                }
            };
            f.write_str(&part[..part.len() - last.len_utf8()])?;
            f.write_str(escape)?;
        }
        Ok(())
    }
}

/// A latency in seconds: `12 ms`, `1.5 s`, or a dash if it is not known.
pub(super) fn latency(seconds: Option<f64>) -> String {
    match seconds {
        None => "–".into(),
        Some(seconds) if seconds < 0.010 => format!("{:.1} ms", seconds * 1000.0),
        Some(seconds) if seconds < 1.0 => format!("{:.0} ms", seconds * 1000.0),
        Some(seconds) => format!("{seconds:.1} s"),
    }
}

/// A share from 0 to 1: `12.3 %`, or a dash if it is not known.
pub(super) fn share(share: Option<f64>) -> String {
    share.map_or_else(|| "–".into(), |share| format!("{:.1} %", share * 100.0))
}

/// A duration, exact to a minute if it is long.
pub(super) fn duration(seconds: u64) -> String {
    let shown = if seconds < 3600 { seconds } else { seconds - seconds % 60 };
    humantime::format_duration(Duration::from_secs(shown)).to_string()
}

/// A moment in seconds since 1970: `2026-12-01 13:05:00 UTC`.
pub(super) fn moment(seconds: u64) -> String {
    // The last moment of the year 9999: later ones have no text.
    let time = UNIX_EPOCH + Duration::from_secs(seconds.min(253_402_300_799));
    humantime::format_rfc3339_seconds(time).to_string().replace('T', " ").replace('Z', " UTC")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_a_text_is_markup() {
        let text = Escaped("<b title='x' id=\"y\">a & ü</b>").to_string();
        assert_eq!(text, "&lt;b title=&#39;x&#39; id=&quot;y&quot;&gt;a &amp; ü&lt;/b&gt;");
        assert_eq!(Escaped("").to_string(), "");
        assert_eq!(Escaped("ünïcode→").to_string(), "ünïcode→");
    }

    #[test]
    fn values_are_short() {
        assert_eq!(latency(None), "–");
        assert_eq!(
            [0.0012, 0.0123, 0.5, 4.0].map(|seconds| latency(Some(seconds))),
            ["1.2 ms", "12 ms", "500 ms", "4.0 s"]
        );
        assert_eq!((share(Some(0.12345)), share(None)), ("12.3 %".into(), "–".into()));
        assert_eq!((duration(59), duration(3661)), ("59s".into(), "1h 1m".into()));
        assert_eq!(moment(u64::MAX), "9999-12-31 23:59:59 UTC");
        assert_eq!(moment(1_796_130_300), "2026-12-01 13:05:00 UTC");
    }
}
