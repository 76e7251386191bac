//! `[[upstream]]`, one table for each other debuginfod server, and the upstreams that a URL alone stands for.

use std::collections::HashSet;
use std::env;
use std::fmt;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, bail};
use artifact::BuildId;
use clap::ValueEnum;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use serde::de::{Error, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use url::Url;

use super::tables::{expect_number, expect_time};
use super::{forms, http_url};

/// Characters of a name. Names are labels of metrics.
const MAX_NAME_CHARS: usize = 64;
/// Requests to one upstream at once.
const CONCURRENT_REQUESTS: RangeInclusive<usize> = 1..=10_000;
/// Time for the first byte of one upstream's answer.
const DEADLINES: RangeInclusive<Duration> = Duration::from_millis(50)..=Duration::from_secs(60);
/// Longest time that an absence is remembered.
const MAX_ABSENT_TTL: Duration = Duration::from_secs(60 * 60);
/// Times for which an absence is provisional.
const LATE_ABSENT_TTLS: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(24 * 60 * 60);
/// Statuses that can mean that an upstream does not have a file.
const ERROR_STATUSES: RangeInclusive<u16> = 400..=599;
/// The status for a file that exists and is larger than the client permits (X-DEBUGINFOD-MAXSIZE).
const TOO_LARGE_STATUS: u16 = 406;
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

/// `[[upstream]]`: another debuginfod server.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table [[upstream]]")]
pub(crate) struct UpstreamSettings {
    /// Unique name: the label `upstream` of metrics, and how logs name it.
    #[serde(deserialize_with = "unique_name")]
    pub(crate) name: String,
    /// URL below which `buildid/` and `metadata` are. It can contain credentials.
    #[serde(deserialize_with = "base_url")]
    pub(crate) url: Url,
    /// False if it is never asked.
    #[serde(default = "enabled")]
    pub(crate) enabled: bool,
    /// How a client receives a file that it has.
    #[serde(default, deserialize_with = "forms::name")]
    pub(crate) mode: Mode,
    /// Upstreams with a lower value are asked first, those with equal ones at once.
    #[serde(default)]
    pub(crate) priority: i32,
    /// Time for its answer; `None` derives it from the measured latency.
    #[serde(default, deserialize_with = "forms::optional_duration")]
    pub(crate) deadline: Option<Duration>,
    /// What it is asked for.
    #[serde(default = "all", deserialize_with = "forms::names")]
    pub(crate) serves: Vec<Service>,
    /// Shapes of build-ids that it is asked for.
    #[serde(default = "all", deserialize_with = "forms::names")]
    pub(crate) build_ids: Vec<Shape>,
    /// Statuses by which it states that it does not have a file.
    #[serde(default = "absent_statuses")]
    pub(crate) absent_statuses: Vec<u16>,
    /// How long its absences are remembered.
    #[serde(default = "absent_ttl", deserialize_with = "forms::duration")]
    pub(crate) absent_ttl: Duration,
    /// How long after its first absence for a build-id its absences are provisional.
    #[serde(default, deserialize_with = "forms::optional_duration")]
    pub(crate) late_absent_ttl: Option<Duration>,
    /// Headers of each request to it. Their values are secret.
    #[serde(default, deserialize_with = "secret_headers")]
    pub(crate) headers: HeaderMap,
    /// Maximum of requests to it at once.
    #[serde(default = "max_concurrent")]
    pub(crate) max_concurrent: usize,
    /// Certificates for connections to it.
    #[serde(default)]
    pub(crate) tls: UpstreamTls,
    /// Hosts that it may redirect to besides itself; `*` permits every host.
    #[serde(default, deserialize_with = "forms::hosts")]
    pub(crate) redirect_hosts: Vec<String>,
    /// True if hosts that only `*` permits may have private addresses.
    #[serde(default)]
    pub(crate) allow_private: bool,
}

/// `upstream.tls`: PEM files.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a table like { ca = \"/etc/ssl/ca.pem\" }")]
pub(crate) struct UpstreamTls {
    /// Certificates of the authorities that are trusted, beside those of the system.
    #[serde(deserialize_with = "forms::path")]
    pub(crate) ca: Option<PathBuf>,
    /// Certificate of this gateway, followed by its intermediate certificates.
    #[serde(deserialize_with = "forms::path")]
    pub(crate) certificate: Option<PathBuf>,
    /// Private key of the certificate.
    #[serde(deserialize_with = "forms::path")]
    pub(crate) key: Option<PathBuf>,
}

/// How a client receives a file that an upstream has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Mode {
    /// The client is redirected to the upstream.
    #[default]
    Redirect,
    /// The gateway streams the file and keeps it in its cache.
    Relay,
}

/// What a debuginfod server can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, ValueEnum)]
pub(crate) enum Service {
    Debuginfo,
    Executable,
    Source,
    Section,
    Metadata,
}

/// Shape of a build-id, by which it can be told what made it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, ValueEnum)]
pub(crate) enum Shape {
    /// 20 bytes: SHA-1, as GNU ld and LLD write by default.
    Gnu,
    /// 16 bytes: MD5 or a UUID.
    Uuid,
    /// 8 bytes: LLD's fast hash.
    Short,
    /// ASCII text with `/`: Go's own.
    Go,
    /// Anything else.
    Other,
}

impl Shape {
    /// Returns the shape of a build-id.
    pub(crate) fn of(build_id: &BuildId) -> Self {
        match build_id.as_bytes() {
            bytes if bytes.len() == 20 => Self::Gnu,
            bytes if bytes.len() == 16 => Self::Uuid,
            bytes if bytes.len() == 8 => Self::Short,
            bytes if bytes.contains(&b'/') && bytes.iter().all(u8::is_ascii_graphic) => Self::Go,
            _ => Self::Other,
        }
    }
}

impl UpstreamSettings {
    /// Returns the settings of an upstream of which only the name and the URL are configured.
    pub(crate) fn new(name: String, url: Url) -> Self {
        Self {
            name,
            url,
            enabled: enabled(),
            mode: Mode::default(),
            priority: 0,
            deadline: None,
            serves: all(),
            build_ids: all(),
            absent_statuses: absent_statuses(),
            absent_ttl: absent_ttl(),
            late_absent_ttl: None,
            headers: HeaderMap::new(),
            max_concurrent: max_concurrent(),
            tls: UpstreamTls::default(),
            redirect_hosts: Vec::new(),
            allow_private: false,
        }
    }

    /// Checks the limits of values. Errors name the upstream and the key.
    fn check(&self) -> Result<()> {
        let key = |key: &str| format!("upstream `{}`: {key}", self.name);
        if let Some(deadline) = self.deadline {
            expect_time(&key("deadline"), deadline, DEADLINES)?;
        }
        if self.absent_ttl > MAX_ABSENT_TTL {
            let found = humantime::format_duration(self.absent_ttl);
            bail!("{}: expected at most 1h, found {found}", key("absent_ttl"));
        }
        if let Some(ttl) = self.late_absent_ttl {
            expect_time(&key("late_absent_ttl"), ttl, LATE_ABSENT_TTLS)?;
        }
        if self.absent_statuses.is_empty() {
            bail!("{}: expected at least one status like 404, found none", key("absent_statuses"));
        }
        let is_error = |status: &u16| ERROR_STATUSES.contains(status) && *status != TOO_LARGE_STATUS;
        if let Some(wrong) = self.absent_statuses.iter().find(|status| !is_error(status)) {
            bail!("{}: expected 400 to 599 except 406, found {wrong}", key("absent_statuses"));
        }
        expect_number(&key("max_concurrent"), self.max_concurrent, CONCURRENT_REQUESTS)?;
        match (&self.tls.certificate, &self.tls.key) {
            (Some(_), None) => bail!("{}: expected tls.key beside tls.certificate, found none", key("tls")),
            (None, Some(_)) => bail!("{}: expected tls.certificate beside tls.key, found none", key("tls")),
            _ => Ok(()),
        }
    }
}

/// Checks the limits of all upstreams' values, and that each has a name of its own.
pub(super) fn check(upstreams: &[UpstreamSettings]) -> Result<()> {
    let mut names = HashSet::new();
    for upstream in upstreams {
        upstream.check()?;
        if !names.insert(&upstream.name) {
            bail!("upstream.name: expected a unique name, found `{}` twice", upstream.name);
        }
    }
    Ok(())
}

/// Returns the upstreams that URLs stand for. Each is named by its host, port and path: the URL can contain
/// credentials.
pub(super) fn of_urls(urls: Vec<Url>) -> Vec<UpstreamSettings> {
    let mut upstreams: Vec<UpstreamSettings> = Vec::new();
    for url in urls {
        if upstreams.iter().any(|upstream| upstream.url == url) {
            continue;
        }
        let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
        // The path tells servers behind one host apart.
        let base = format!("{}{port}{}", url.host_str().unwrap_or_default(), url.path().trim_end_matches('/'));
        let is_free = |name: &String| upstreams.iter().all(|upstream| upstream.name != *name);
        let mut names = std::iter::once(base.clone()).chain((2..).map(|number: u64| format!("{base}-{number}")));
        let name = names.find(is_free).unwrap_or(base);
        upstreams.push(UpstreamSettings::new(name, url));
    }
    upstreams
}

fn enabled() -> bool {
    true
}

fn all<T: ValueEnum>() -> Vec<T> {
    T::value_variants().to_vec()
}

fn absent_statuses() -> Vec<u16> {
    vec![404, 410, 501]
}

fn absent_ttl() -> Duration {
    Duration::from_secs(60)
}

fn max_concurrent() -> usize {
    32
}

/// Reads all tables `[[upstream]]`; an empty list means none.
pub(super) fn list<'de, D: Deserializer<'de>>(value: D) -> Result<Option<Vec<UpstreamSettings>>, D::Error> {
    value.deserialize_any(Upstreams).map(Some)
}

struct Upstreams;

impl<'de> Visitor<'de> for Upstreams {
    type Value = Vec<UpstreamSettings>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("tables [[upstream]], or [] for none")
    }

    // The string can contain a password.
    fn visit_str<E: Error>(self, _: &str) -> Result<Self::Value, E> {
        Err(E::custom("expected tables [[upstream]], or [] for none, found a string"))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let mut upstreams = Vec::new();
        while let Some(upstream) = list.next_element()? {
            upstreams.push(upstream);
        }
        Ok(upstreams)
    }
}

/// Reads a name.
fn unique_name<'de, D: Deserializer<'de>>(value: D) -> Result<String, D::Error> {
    let name = String::deserialize(value)?;
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || "._:/-".contains(c);
    if !(1..=MAX_NAME_CHARS).contains(&name.chars().count()) || !name.chars().all(is_allowed) {
        let form = format!("a name of 1 to {MAX_NAME_CHARS} letters, digits and ._:/-");
        return Err(forms::expected(&form, &name));
    }
    Ok(name)
}

/// Reads the URL of a server. Errors never contain it: it can hold a password.
fn base_url<'de, D: Deserializer<'de>>(value: D) -> Result<Url, D::Error> {
    let url = http_url(&String::deserialize(value)?).map_err(|error| D::Error::custom(format!("{error:#}")))?;
    match (url.query(), url.fragment()) {
        (None, None) => Ok(url),
        _ => Err(D::Error::custom("expected an http or https URL without query and fragment, found one")),
    }
}

/// Reads headers. Each value is a string, or `{ env = "NAME" }` for that of an environment variable. Errors contain no
/// value.
fn secret_headers<'de, D: Deserializer<'de>>(value: D) -> Result<HeaderMap, D::Error> {
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

#[cfg(test)]
mod tests {
    use super::super::Config;
    use super::*;
    use crate::cli::Arguments;

    const UPSTREAM: &str = "[[upstream]]\nname = \"a\"\nurl = \"https://h\"\n";

    /// The upstreams of a file with this text; errors begin behind the file's name.
    fn load(text: &str) -> Result<Vec<UpstreamSettings>, String> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("g.toml");
        std::fs::write(&path, text).unwrap();
        let config = Config::load(Arguments { config: Some(path.clone()), ..Arguments::default() });
        let prefix = format!("configuration file {}", path.display());
        config.map(|config| config.upstreams).map_err(|error| format!("{error:#}").replacen(&prefix, "", 1))
    }

    fn of_urls(urls: &[&str]) -> Vec<UpstreamSettings> {
        super::of_urls(urls.iter().map(|url| Url::parse(url).unwrap()).collect())
    }

    #[test]
    fn every_key_is_read() {
        let text = "mode = \"relay\"\nenabled = false\npriority = -1\ndeadline = \"3s\"\n\
                    serves = [\"debuginfo\", \"metadata\"]\nbuild_ids = [\"gnu\"]\nabsent_statuses = [403]\n\
                    absent_ttl = \"0s\"\nlate_absent_ttl = \"10m\"\nmax_concurrent = 1\nallow_private = true\n\
                    headers = { X-Token = \"t\", X-Path = { env = \"PATH\" } }\nredirect_hosts = [\"*\"]\n\
                    tls = { ca = \"/a\", certificate = \"/c\", key = \"/k\" }\n";
        let upstream = &load(&format!("{UPSTREAM}{text}")).unwrap()[0];
        assert_eq!((upstream.name.as_str(), upstream.url.as_str(), upstream.enabled), ("a", "https://h/", false));
        assert_eq!((upstream.mode, upstream.priority), (Mode::Relay, -1));
        assert_eq!(upstream.deadline, Some(Duration::from_secs(3)));
        assert_eq!(upstream.serves, [Service::Debuginfo, Service::Metadata]);
        assert_eq!(upstream.build_ids, [Shape::Gnu]);
        assert_eq!((upstream.absent_statuses.as_slice(), upstream.absent_ttl), ([403].as_slice(), Duration::ZERO));
        assert_eq!((upstream.late_absent_ttl, upstream.max_concurrent), (Some(Duration::from_secs(600)), 1));
        assert_eq!((upstream.redirect_hosts.as_slice(), upstream.allow_private), (["*".to_owned()].as_slice(), true));
        assert_eq!(upstream.tls.key.as_deref(), Some("/k".as_ref()));
        assert_eq!(upstream.headers["x-token"], "t");
        assert_eq!(upstream.headers["x-path"].to_str().unwrap(), env::var("PATH").unwrap());
        assert!(upstream.headers.values().all(HeaderValue::is_sensitive));
        assert!(!format!("{upstream:?}").contains("\"t\""), "{upstream:?}");
    }

    #[test]
    fn an_upstream_of_a_url_has_the_defaults_of_the_file() {
        let by_url = UpstreamSettings::new("a".into(), Url::parse("https://h").unwrap());
        assert_eq!(format!("{by_url:?}"), format!("{:?}", load(UPSTREAM).unwrap()[0]));
    }

    #[test]
    fn urls_give_names_without_credentials_and_each_url_counts_once() {
        let upstreams = of_urls(&[
            "https://u:p@h.example:8002/path/",
            "http://h.example",
            "http://h.example/",
            "https://h.example/?q",
            "http://[::1]:1/",
        ]);
        let names: Vec<&str> = upstreams.iter().map(|upstream| upstream.name.as_str()).collect();
        assert_eq!(names, ["h.example:8002/path", "h.example", "h.example-2", "[::1]:1"]);
    }

    #[test]
    fn wrong_values_are_refused_with_the_expected_form() {
        for (text, expected) in [
            ("url = \"https://h\"", ", line 1: missing field `name` in `upstream`"),
            ("name = \"a\"", ", line 1: missing field `url` in `upstream`"),
            (
                "name = \"a b\"",
                ", line 2: expected a name of 1 to 64 letters, digits and ._:/-, found `a b` in `upstream.name`",
            ),
            ("name = \"\"", ", line 2: expected a name of 1 to 64 letters, digits and ._:/-, found ``"),
            ("name = \"a\"\nurl = \"h\"", ", line 3: expected an http or https URL, found none"),
            (
                "name = \"a\"\nurl = \"https://h/?q=1\"",
                ", line 3: expected an http or https URL without query and fragment, found one in `upstream.url`",
            ),
        ] {
            let error = load(&format!("[[upstream]]\n{text}\n")).unwrap_err();
            assert!(error.starts_with(expected), "{text}: {error}");
        }
        for (text, expected) in [
            ("mode = \"proxy\"", ", line 4: expected `redirect` or `relay`, found `proxy` in `upstream.mode`"),
            (
                "serves = []",
                ", line 4: expected `debuginfo`, `executable`, `source`, `section` or `metadata`, found an",
            ),
            ("serves = [\"log\"]", "`section` or `metadata`, found `log` in `upstream.serves`"),
            ("build_ids = [\"go\", \"go\"]", ", line 4: expected each name once, found `go` twice"),
            ("deadline = 3", ", line 4: expected a duration like 4s, 300ms or 1d, found `3` in `upstream.deadline`"),
            ("deadline = \"49ms\"", ": upstream `a`: deadline: expected 50ms to 1m, found 49ms"),
            ("absent_ttl = \"61m\"", ": upstream `a`: absent_ttl: expected at most 1h, found 1h 1m"),
            ("late_absent_ttl = \"0s\"", ": upstream `a`: late_absent_ttl: expected 1s to 1day, found 0s"),
            ("max_concurrent = 0", ": upstream `a`: max_concurrent: expected 1 to 10000, found 0"),
            (
                "absent_statuses = []",
                ": upstream `a`: absent_statuses: expected at least one status like 404, found none",
            ),
            ("absent_statuses = [200]", ": upstream `a`: absent_statuses: expected 400 to 599 except 406, found 200"),
            ("absent_statuses = [404, 302]", "expected 400 to 599 except 406, found 302"),
            ("absent_statuses = [406]", "expected 400 to 599 except 406, found 406"),
            ("tls = { key = \"/k\" }", ": upstream `a`: tls: expected tls.certificate beside tls.key, found none"),
            ("tls = { ca = \"\" }", ", line 4: expected a path, found an empty string in `upstream.tls.ca`"),
            ("retries = 3", ", line 4: unknown field `retries`"),
            (UPSTREAM, ": upstream.name: expected a unique name, found `a` twice"),
        ] {
            let error = load(&format!("{UPSTREAM}{text}\n")).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
        assert!(load("[upstream]\nname = \"a\"").unwrap_err().contains("expected tables [[upstream]]"));
    }

    #[test]
    fn errors_have_no_values_of_headers() {
        for (headers, expected) in [
            ("\"secret\"", "expected a table like { \"X-Token\" = \"...\" }, found a string"),
            ("{ \"a b secret\" = \"x\" }", "expected names of headers, found other characters in one"),
            (
                "{ a = \"secr\u{e9}t\" }",
                "expected visible ASCII characters and blanks, found others in the value of `a`",
            ),
            ("{ a = \"secret\\n\" }", "in the value of `a` in `upstream.headers`"),
            ("{ a = 83728 }", "for the value of a variable, found a number"),
            ("{ a = \"secret\", A = \"secret\" }", "expected each header once, found `a` twice"),
            ("{ Host = \"secret\" }", "expected headers that the gateway does not set, found `host`"),
            ("{ a = { variable = \"secret\" } }", "found another table"),
            ("{ a = { env = \"DARKSERVER_UNSET\" } }", "expected text in the variable DARKSERVER_UNSET, found none"),
        ] {
            let error = load(&format!("{UPSTREAM}headers = {headers}\n")).unwrap_err();
            assert!(error.contains(expected) && error.contains("line 4"), "{headers}: {error}");
            assert!(!error.contains("secr") && !error.contains("83728"), "{headers}: {error}");
        }
    }

    #[test]
    fn an_empty_list_means_no_upstreams() {
        assert!(load("upstream = []\n").unwrap().is_empty());
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("g.toml");
        std::fs::write(&path, UPSTREAM).unwrap();
        let flags = |upstreams: &[&str]| {
            let upstreams = upstreams.iter().map(|&url| url.to_owned()).collect();
            let arguments = Arguments { config: Some(path.clone()), upstreams, ..Arguments::default() };
            Config::load(arguments).unwrap().upstreams.into_iter().map(|upstream| upstream.name).collect::<Vec<_>>()
        };
        assert_eq!(flags(&[]), ["a"]);
        assert_eq!(flags(&["http://b"]), ["b"]);
        assert!(flags(&[""]).is_empty());
    }

    #[test]
    fn shapes_are_told_by_length_and_characters() {
        for (bytes, expected) in [
            (vec![7; 20], Shape::Gnu),
            (vec![7; 16], Shape::Uuid),
            (vec![7; 8], Shape::Short),
            (b"Kd3/aBc/Xyz".to_vec(), Shape::Go),
            (b"Kd3aBcXyz".to_vec(), Shape::Other),
            (vec![b'/', 0xff, 3], Shape::Other),
            (vec![7; 32], Shape::Other),
        ] {
            assert_eq!(Shape::of(&BuildId::from_bytes(&bytes).unwrap()), expected);
        }
    }
}
