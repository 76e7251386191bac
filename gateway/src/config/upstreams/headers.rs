//! `upstream.headers`: secret headers of each request to an upstream.

use std::env;
use std::fmt;

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

/// Headers that the gateway or the HTTP client sets itself, or that belong to one connection.
const OWN_HEADERS: [&str; 14] = [
    "accept-encoding",
    "connection",
    "content-length",
    "expect",
    "host",
    "keep-alive",
    "range",
    "te",
    "transfer-encoding",
    "upgrade",
    "user-agent",
    "via",
    "x-debuginfod-maxsize",
    "x-forwarded-for",
];

/// Reads headers. Each value is a string, or `{ env = "NAME" }` for that of an environment variable. Errors contain no
/// value.
pub(super) fn secret<'de, D: Deserializer<'de>>(value: D) -> Result<HeaderMap, D::Error> {
    let mut headers = HeaderMap::new();
    for (name, text) in value.deserialize_any(Headers)? {
        let Ok(name) = HeaderName::from_bytes(name.as_bytes()) else {
            return Err(D::Error::custom("expected names of headers, found other characters in one"));
        };
        if OWN_HEADERS.contains(&name.as_str()) {
            return Err(D::Error::custom(format!("expected headers that the gateway does not set, found `{name}`")));
        }
        let is_allowed = text.chars().all(|c| c.is_ascii_graphic() || c == ' ');
        let Some(mut value) = HeaderValue::from_str(&text).ok().filter(|_| is_allowed) else {
            let text = format!("expected visible ASCII characters and blanks, found others in the value of `{name}`");
            return Err(D::Error::custom(text));
        };
        value.set_sensitive(true);
        if headers.insert(name.clone(), value).is_some() {
            return Err(D::Error::custom(format!("expected each header once, found `{name}` twice")));
        }
    }
    Ok(headers)
}

const HEADERS_FORM: &str = "a table like { \"X-Token\" = \"...\" }";

struct Headers;

impl<'de> Visitor<'de> for Headers {
    type Value = Vec<(String, String)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HEADERS_FORM)
    }

    // The string can contain a token.
    fn visit_str<E: Error>(self, _: &str) -> Result<Self::Value, E> {
        Err(E::custom(format!("expected {HEADERS_FORM}, found a string")))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut headers = Vec::new();
        while let Some((name, HeaderText(text))) = map.next_entry()? {
            headers.push((name, text));
        }
        Ok(headers)
    }
}

/// The text of a header's value.
struct HeaderText(String);

impl<'de> Deserialize<'de> for HeaderText {
    fn deserialize<D: Deserializer<'de>>(value: D) -> Result<Self, D::Error> {
        value.deserialize_any(HeaderTextVisitor).map(Self)
    }
}

const HEADER_FORM: &str = "a string, or { env = \"NAME\" } for the value of a variable";

struct HeaderTextVisitor;

impl<'de> Visitor<'de> for HeaderTextVisitor {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HEADER_FORM)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<String, E> {
        Ok(text.to_owned())
    }

    // A token can be written as a number by mistake.
    fn visit_i64<E: Error>(self, _: i64) -> Result<String, E> {
        Err(E::custom(format!("expected {HEADER_FORM}, found a number")))
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<String, E> {
        Err(E::custom(format!("expected {HEADER_FORM}, found a number")))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<String, A::Error> {
        let name = match map.next_entry::<String, String>()? {
            Some((key, name)) if key == "env" => name,
            _ => return Err(A::Error::custom(format!("expected {HEADER_FORM}, found another table"))),
        };
        if map.next_key::<String>()?.is_some() {
            return Err(A::Error::custom(format!("expected {HEADER_FORM}, found more keys")));
        }
        match env::var(&name) {
            Ok(text) if !text.is_empty() => Ok(text),
            Ok(_) => Err(A::Error::custom(format!("expected a value in the variable {name}, found an empty one"))),
            Err(_) => Err(A::Error::custom(format!("expected text in the variable {name}, found none"))),
        }
    }
}
