//! What surrounds the body of a message: the properties and headers that fedora-messaging sets.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use lapin::message::Delivery;
use lapin::types::AMQPValue;

/// The envelope of a message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Envelope {
    /// The routing key, which is the topic with the prefix of its bus.
    pub(crate) routing_key: String,
    /// The exchange that it was published to. Empty: the default one, whose routing keys are names of queues.
    pub(crate) exchange: String,
    /// Name of the body's schema.
    pub(crate) schema: Option<String>,
    /// Its id.
    pub(crate) id: Option<String>,
    /// When it was sent, seconds since 1970.
    pub(crate) sent_at: Option<i64>,
}

impl Envelope {
    /// Returns the envelope of a message that a broker delivered.
    pub(crate) fn of(delivery: &Delivery) -> Self {
        let properties = &delivery.properties;
        let header = |name: &str| match properties.headers().as_ref()?.inner().get(name)? {
            AMQPValue::LongString(text) => Some(String::from_utf8_lossy(text.as_bytes()).into_owned()),
            AMQPValue::ShortString(text) => Some(text.to_string()),
            _ => None,
        };
        Self {
            routing_key: delivery.routing_key.to_string(),
            exchange: delivery.exchange.to_string(),
            schema: header("fedora_messaging_schema"),
            id: properties.message_id().as_ref().map(ToString::to_string),
            sent_at: header("sent-at").and_then(|text| read_time(&text)),
        }
    }

    /// Returns the topic without the prefix of the bus: `buildsys.tag`. `None` if it has another prefix.
    pub(crate) fn topic(&self, prefix: &str) -> Option<&str> {
        if prefix.is_empty() {
            return Some(&self.routing_key);
        }
        self.routing_key.strip_prefix(prefix)?.strip_prefix('.')
    }
}

/// Reads the header `sent-at`, ISO 8601 with an offset (`2026-05-04T10:20:00+00:00`), as seconds since 1970. A time
/// without an offset is UTC. `None` for another text and for times before 1970.
pub(crate) fn read_time(text: &str) -> Option<i64> {
    let text = text.trim();
    // The time of day has no plus and minus, the date has minuses.
    let (date, time) = text.split_once(['T', ' '])?;
    let (time, offset) = match time.find(['Z', 'z', '+', '-']) {
        Some(at) => (time.get(..at)?, read_offset(time.get(at..)?)?),
        None => (time, 0),
    };
    let instant = humantime::parse_rfc3339_weak(&format!("{date}T{time}")).ok()?;
    let seconds = instant.duration_since(UNIX_EPOCH).ok()?.as_secs();
    i64::try_from(seconds).ok()?.checked_sub(offset).filter(|seconds| *seconds >= 0)
}

/// Reads `Z`, `+01:00`, `+0100` or `+01`, as seconds east of UTC.
fn read_offset(text: &str) -> Option<i64> {
    if matches!(text, "Z" | "z") {
        return Some(0);
    }
    let sign = if text.starts_with('-') { -1 } else { 1 };
    let digits = text.get(1..)?.replace(':', "");
    if !matches!(digits.len(), 2 | 4) || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let number = |range| digits.get(range).unwrap_or("0").parse::<i64>().ok();
    let (hours, minutes) = (number(0..2)?, if digits.len() == 4 { number(2..4)? } else { 0 });
    (hours < 24 && minutes < 60).then_some(sign * (hours * 3600 + minutes * 60))
}

/// Returns the time at which a message was sent, which is never in the future: `now` if it states none or a later one.
pub(crate) fn sent_until(sent_at: Option<i64>, now: SystemTime) -> i64 {
    let now = now.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs();
    let now = i64::try_from(now).unwrap_or(i64::MAX);
    sent_at.map_or(now, |sent_at| sent_at.min(now))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn times_have_an_offset_or_are_utc() {
        for text in [
            "2026-05-04T10:30:00+00:00",
            "2026-05-04T10:30:00Z",
            "2026-05-04T10:30:00",
            "2026-05-04 10:30:00.999999+00:00",
            "2026-05-04T12:30:00+02:00",
            "2026-05-04T05:00:00-0530",
            "2026-05-04T11:30:00+01",
        ] {
            assert_eq!(read_time(text), Some(1_777_890_600), "{text}");
        }
        for text in [
            "",
            "yesterday",
            "2026-05-04",
            "2026-13-04T10:30:00Z",
            "2026-05-04T10:30:00+1",
            "1969-12-31T23:59:59Z",
            "2026-05-04T10:30:00+24:00",
            "2026-05-04T10:30:00+00:00 more",
            "1970-01-01T00:00:00+01:00",
        ] {
            assert_eq!(read_time(text), None, "{text}");
        }
    }

    #[test]
    fn a_message_is_never_sent_in_the_future() {
        let now = UNIX_EPOCH + Duration::from_secs(100);
        assert_eq!([Some(99), Some(101), None].map(|at| sent_until(at, now)), [99, 100, 100]);
    }

    #[test]
    fn a_topic_follows_the_prefix_of_its_bus() {
        let envelope = |key: &str| Envelope { routing_key: key.into(), ..Envelope::default() };
        for (key, prefix, topic) in [
            ("org.fedoraproject.prod.buildsys.tag", "org.fedoraproject.prod", Some("buildsys.tag")),
            ("org.fedoraproject.stg.buildsys.tag", "org.fedoraproject.prod", None),
            ("org.fedoraproject.production.buildsys.tag", "org.fedoraproject.prod", None),
            ("buildsys.tag", "", Some("buildsys.tag")),
        ] {
            assert_eq!(envelope(key).topic(prefix), topic, "{key} {prefix}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_as_a_time_or_none(text in "\\PC{0,40}") {
            let _ = read_time(&text);
        }

        #[test]
        fn any_digits_are_read(day in "[0-9]{4}-[0-9]{2}-[0-9]{2}[T ]", rest in "[0-9:]{8}[Z+-][0-9:é]{0,6}") {
            let _ = read_time(&format!("{day}{rest}"));
        }
    }
}
