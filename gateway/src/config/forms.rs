//! Forms of the values in `gateway.toml`. Each error states the expected form and the value found.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use bytesize::ByteSize;
use clap::ValueEnum;
use ipnet::IpNet;
use serde::de::{Error, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use url::Url;

use sql::DatabaseUrl;

use super::{http_url, public_url};
use crate::server::listen::Address;

/// Reads a variant of an enum by the name that its flag uses.
pub(super) fn name<'de, D: Deserializer<'de>, T: ValueEnum>(value: D) -> Result<T, D::Error> {
    let form = form_of::<T>();
    let text = value.deserialize_any(Scalar(&form))?;
    T::from_str(&text, false).map_err(|_| expected(&form, &text))
}

/// [`name`] without a default.
pub(super) fn optional_name<'de, D: Deserializer<'de>, T: ValueEnum>(value: D) -> Result<Option<T>, D::Error> {
    name(value).map(Some)
}

/// Reads a list of at least one variant, each by its name and once.
pub(super) fn names<'de, D: Deserializer<'de>, T: ValueEnum + PartialEq>(list: D) -> Result<Vec<T>, D::Error> {
    let form = form_of::<T>();
    let mut found: Vec<T> = Vec::new();
    for text in texts(list, "NAME")? {
        let variant = T::from_str(&text, false).map_err(|_| expected(&form, &text))?;
        if found.contains(&variant) {
            return Err(D::Error::custom(format!("expected each name once, found `{text}` twice")));
        }
        found.push(variant);
    }
    if found.is_empty() { Err(D::Error::custom(format!("expected {form}, found an empty list"))) } else { Ok(found) }
}

/// The names of all variants.
fn form_of<T: ValueEnum>() -> String {
    let names = T::value_variants().iter().filter_map(|variant| variant.to_possible_value());
    let names: Vec<String> = names.map(|value| format!("`{}`", value.get_name())).collect();
    let (last, others) = names.split_last().map_or(("", [].as_slice()), |(last, others)| (last, others));
    format!("{} or {last}", others.join(", "))
}

/// Reads networks in CIDR notation. A single address is refused: `10.0.0.0` could mean a network or a host.
pub(super) fn networks<'de, D: Deserializer<'de>>(list: D) -> Result<Vec<IpNet>, D::Error> {
    let network = |text: &String| {
        text.parse().map_err(|_| match text.parse() {
            Ok(IpAddr::V4(_)) => expected(&format!("a network like 10.0.0.0/8, or one address as {text}/32"), text),
            Ok(IpAddr::V6(_)) => expected(&format!("a network like 10.0.0.0/8, or one address as {text}/128"), text),
            Err(_) => expected("a network like 10.0.0.0/8 or fd00::/8", text),
        })
    };
    texts(list, "10.0.0.0/8")?.iter().map(network).collect()
}

/// Reads hosts as they stand in URLs, without port; `*` permits every host. Others would never match.
pub(super) fn hosts<'de, D: Deserializer<'de>>(list: D) -> Result<Vec<String>, D::Error> {
    let is_host = |text: &String| {
        let url = Url::parse(&format!("http://{text}/")).ok();
        let host = url.as_ref().and_then(Url::host_str);
        text == "*" || !text.contains('*') && host.is_some_and(|host| host.eq_ignore_ascii_case(text))
    };
    let hosts = texts(list, "mirror.example.org")?;
    match hosts.iter().find(|host| !is_host(host)) {
        Some(wrong) => Err(expected("a host without port like mirror.example.org, 192.0.2.1 or [2001:db8::1]", wrong)),
        None => Ok(hosts),
    }
}

/// Reads origins of web pages, as browsers send them (RFC 6454, section 6.2), or `*` alone. Others would never match.
pub(super) fn origins<'de, D: Deserializer<'de>>(list: D) -> Result<Vec<String>, D::Error> {
    let is_origin = |text: &String| Url::parse(text).is_ok_and(|url| url.origin().ascii_serialization() == *text);
    let origins = texts(list, "https://debugger.example.org")?;
    match origins.iter().find(|origin| !is_origin(origin) && *origin != "*") {
        Some(wrong) => Err(expected("`*` or an origin like https://example.org", wrong)),
        None if origins.len() > 1 && origins.iter().any(|origin| origin == "*") => {
            Err(D::Error::custom("expected `*` alone, found other origins beside it"))
        }
        None => Ok(origins),
    }
}

/// Reads a list of strings like `example`.
fn texts<'de, D: Deserializer<'de>>(list: D, example: &'static str) -> Result<Vec<String>, D::Error> {
    list.deserialize_seq(Texts(example))
}

struct Texts(&'static str);

impl<'de> Visitor<'de> for Texts {
    type Value = Vec<String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a list like [\"{}\"]", self.0)
    }

    // The string can contain a password.
    fn visit_str<E: Error>(self, _: &str) -> Result<Self::Value, E> {
        Err(E::custom(format!("expected {}, found a string", &self as &dyn serde::de::Expected)))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let mut texts = Vec::new();
        while let Some(text) = list.next_element()? {
            texts.push(text);
        }
        Ok(texts)
    }
}

/// Visitor of a string or an integer, which is read as its digits.
struct Scalar<'a>(&'a str);

impl Visitor<'_> for Scalar<'_> {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<String, E> {
        Ok(text.to_owned())
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<String, E> {
        Ok(number.to_string())
    }
}

/// Reads one address to listen on, or a list of them. Empty ones are left out.
pub(super) fn addresses<'de, D: Deserializer<'de>>(value: D) -> Result<Vec<Address>, D::Error> {
    let texts = value.deserialize_any(Addresses)?;
    let given = texts.iter().filter(|text| !text.is_empty());
    given.map(|text| text.parse().map_err(D::Error::custom)).collect()
}

struct Addresses;

impl<'de> Visitor<'de> for Addresses {
    type Value = Vec<String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an address like 0.0.0.0:8002, or a list of addresses")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        Ok(vec![text.to_owned()])
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Self::Value, A::Error> {
        Texts("0.0.0.0:8002").visit_seq(list)
    }
}

/// Reads a duration in humantime's notation: `1m 30s`.
pub(super) fn duration<'de, D: Deserializer<'de>>(value: D) -> Result<Duration, D::Error> {
    let form = "a duration like 4s, 300ms or 1d";
    let text = value.deserialize_any(Scalar(form))?;
    humantime::parse_duration(&text).map_err(|_| expected(form, &text))
}

/// [`duration`] without a default.
pub(super) fn optional_duration<'de, D: Deserializer<'de>>(value: D) -> Result<Option<Duration>, D::Error> {
    duration(value).map(Some)
}

/// Reads where somebody is reached: a URL with http, https or mailto. It becomes a comment of a header, which cannot
/// contain parentheses, backslashes and blanks.
pub(super) fn contact<'de, D: Deserializer<'de>>(value: D) -> Result<Option<String>, D::Error> {
    const MAX_BYTES: usize = 200;
    let text = String::deserialize(value)?;
    let is_contact = Url::parse(&text).is_ok_and(|url| match url.scheme() {
        "mailto" => url.path().contains('@'),
        "http" | "https" => url.username().is_empty() && url.password().is_none(),
        _ => false,
    });
    if !is_contact || text.len() > MAX_BYTES || !text.chars().all(|c| c.is_ascii_graphic() && !"()\\".contains(c)) {
        return Err(expected("a URL of the scheme mailto, https or http", &text));
    }
    Ok(Some(text))
}

/// Reads a name that can stand in a header: a token (RFC 9110, section 5.6.2).
pub(super) fn token<'de, D: Deserializer<'de>>(value: D) -> Result<Option<String>, D::Error> {
    const MAX_CHARS: usize = 64;
    let text = String::deserialize(value)?;
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    if !(1..=MAX_CHARS).contains(&text.len()) || !text.chars().all(is_allowed) {
        return Err(expected("a name of 1 to 64 letters, digits and !#$%&'*+-.^_`|~", &text));
    }
    Ok(Some(text))
}

/// Reads a number of bytes with or without a unit.
pub(super) fn bytes<'de, D: Deserializer<'de>>(value: D) -> Result<ByteSize, D::Error> {
    let form = "a size like 10GiB or 500MB";
    let text = value.deserialize_any(Scalar(form))?;
    ByteSize::from_str(&text).map_err(|_| expected(form, &text))
}

/// [`bytes()`] without a default.
pub(super) fn size<'de, D: Deserializer<'de>>(value: D) -> Result<Option<ByteSize>, D::Error> {
    bytes(value).map(Some)
}

/// Reads the gateway's own URL. Errors never contain it: it can hold a password.
pub(super) fn own_url<'de, D: Deserializer<'de>>(value: D) -> Result<Option<Url>, D::Error> {
    let url = http_url(&String::deserialize(value)?).and_then(public_url);
    url.map(Some).map_err(|error| D::Error::custom(format!("{error:#}")))
}

/// Reads the URL of a database. Errors never contain it: it can hold a password.
pub(super) fn database<'de, D: Deserializer<'de>>(value: D) -> Result<Option<DatabaseUrl>, D::Error> {
    String::deserialize(value)?.parse().map(Some).map_err(D::Error::custom)
}

/// Reads a path, which is not empty.
pub(super) fn path<'de, D: Deserializer<'de>>(value: D) -> Result<Option<PathBuf>, D::Error> {
    match PathBuf::deserialize(value)? {
        path if path.as_os_str().is_empty() => Err(D::Error::custom("expected a path, found an empty string")),
        path => Ok(Some(path)),
    }
}

/// Reads permissions in octal, as chmod(1) does.
pub(super) fn permissions<'de, D: Deserializer<'de>>(value: D) -> Result<Option<u32>, D::Error> {
    let text = String::deserialize(value)?;
    let mode = u32::from_str_radix(&text, 8).ok().filter(|mode| *mode <= 0o777);
    mode.map(Some).ok_or_else(|| expected("permissions in octal, like 0660", &text))
}

pub(super) fn expected<E: Error>(form: &str, found: &str) -> E {
    E::custom(format!("expected {form}, found `{}`", found.chars().take(200).collect::<String>()))
}

#[cfg(test)]
mod tests {
    use super::super::OnUnavailable;
    use super::super::file::ConfigFile;
    use super::*;
    use crate::logging::LogFormat;

    #[test]
    fn wrong_values_are_refused_with_the_expected_form() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("gateway.toml");
        for (text, key, said) in [
            (
                "trusted_proxies = [\"10.0.0.0\"]",
                "trusted_proxies",
                "expected a network like 10.0.0.0/8, or one address as 10.0.0.0/32, found `10.0.0.0`",
            ),
            (
                "trusted_proxies = [\"::1\"]",
                "trusted_proxies",
                "expected a network like 10.0.0.0/8, or one address as ::1/128, found `::1`",
            ),
            (
                "trusted_proxies = [\"proxy.example.org\"]",
                "trusted_proxies",
                "expected a network like 10.0.0.0/8 or fd00::/8, found `proxy.example.org`",
            ),
            (
                "trusted_proxies = \"10.0.0.0/8\"",
                "trusted_proxies",
                "expected a list like [\"10.0.0.0/8\"], found a string",
            ),
            ("upstream = \"http://x\"", "upstream", "expected tables [[upstream]], or [] for none, found a string"),
            (
                "[[upstream]]\nredirect_hosts = \"x\"",
                "redirect_hosts",
                "expected a list like [\"mirror.example.org\"], found",
            ),
            ("[[upstream]]\nredirect_hosts = 5", "redirect_hosts", "expected a list like [\"mirror.example.org\"]"),
            (
                "[cors]\norigins = \"*\"",
                "origins",
                "expected a list like [\"https://debugger.example.org\"], found a string",
            ),
            ("[[upstream]]\nredirect_hosts = [\"a:80\"]", "redirect_hosts", "expected a host without port like"),
            ("[[upstream]]\nredirect_hosts = [\"a/b\"]", "redirect_hosts", "found `a/b`"),
            ("[[upstream]]\nredirect_hosts = [\"*.a\"]", "redirect_hosts", "found `*.a`"),
            ("[[upstream]]\nredirect_hosts = [\"\"]", "redirect_hosts", "found ``"),
            (
                "[[upstream]]\nredirect_hosts = [\"https://u:p@h\"]",
                "redirect_hosts",
                "like mirror.example.org, 192.0.2.1 or [2001:db8::1], found `https://u:***@h`",
            ),
            ("cache_dir = \"\"", "cache_dir", "expected a path, found an empty string"),
            ("database = \"postgres://h\"", "database", ", line 1: "),
            ("public_url = \"https://h/?q\"", "public_url", "found a query"),
            ("log_format = \"JSON\"", "log_format", "expected `text` or `json`, found `JSON`"),
            ("[federation]\nunavailable = \"504\"", "unavailable", "expected `auto`, `reset` or `503`, found `504`"),
            ("[federation]\nprefer = \"none\"", "prefer", "expected `extract` or `redirect`, found `none`"),
            ("[federation]\nabsent = \"any\"", "absent", "expected `reachable` or `all`, found `any`"),
            (
                "[federation]\ncontact = \"admin@example.org\"",
                "contact",
                "expected a URL of the scheme mailto, https or http, found `admin@example.org`",
            ),
            ("[federation]\ncontact = \"https://example.org/(me)\"", "contact", "found `https://example.org/(me)`"),
            (
                "[federation]\ninstance = \"a b\"",
                "instance",
                "expected a name of 1 to 64 letters, digits and !#$%&'*+-.^_`|~, found `a b`",
            ),
            ("[extraction]\nabandoned = \"keep\"", "abandoned", "expected `finish` or `cancel`, found `keep`"),
            ("[request]\nbudget = \"4\"", "budget", "expected a duration like 4s, 300ms or 1d, found `4`"),
            ("cache_size = \"ten\"", "cache_size", "expected a size like 10GiB or 500MB, found `ten`"),
            ("[prefetch]\nmax_bytes = \"ten\"", "max_bytes", "expected a size like 10GiB or 500MB, found `ten`"),
            ("public_url = \"gateway.example.org\"", "public_url", "expected an http or https URL, found none"),
        ] {
            std::fs::write(&path, text).unwrap();
            let error = format!("{:#}", ConfigFile::read(Some(&path), directory.path()).unwrap_err());
            assert!(error.contains(said) && error.contains(key), "{text}: {error}");
        }
        let text = "trusted_proxies = [\"10.0.0.1/32\", \"fd00::/8\"]\nlog_format = \"json\"\ncache_size = 5000\n\
                    [federation]\nunavailable = 503\n[index]\nfound_ttl = \"1m 30s\"\n\
                    [[upstream]]\nname = \"a\"\nurl = \"http://h\"\n\
                    redirect_hosts = [\"*\", \"Mirror.example.org\", \"127.0.0.1\", \"[::1]\"]";
        std::fs::write(&path, text).unwrap();
        let file = ConfigFile::read(Some(&path), directory.path()).unwrap();
        assert_eq!((file.trusted_proxies.len(), file.log_format), (2, Some(LogFormat::Json)));
        assert_eq!((file.cache_size, file.federation.unavailable), (Some(ByteSize(5000)), OnUnavailable::Status));
        assert_eq!(file.index.found_ttl, Duration::from_secs(90));
        assert_eq!(file.upstream.unwrap()[0].redirect_hosts.len(), 4);
    }
}
