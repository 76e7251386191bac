//! `[[upstream]]`, one table for each other debuginfod server, and the upstreams that a URL alone stands for.

mod headers;

use std::collections::HashSet;
use std::fmt;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, bail};
use artifact::BuildId;
use clap::ValueEnum;
use http_client::TlsFiles;
use reqwest::header::HeaderMap;
use serde::de::{Error, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use url::Url;

use super::tables::{expect_number, expect_time};
use super::{base_url, forms};

/// Characters of a name. Names are labels of metrics.
const MAX_NAME_CHARS: usize = 64;
/// Requests to one upstream at once.
const UPSTREAM_REQUESTS: RangeInclusive<usize> = 1..=10_000;
/// Time for the first byte of one upstream's answer.
const DEADLINES: RangeInclusive<Duration> = Duration::from_millis(50)..=Duration::from_secs(60);
/// Longest time that an absence of an upstream is remembered.
pub(crate) const MAX_UPSTREAM_ABSENT_TTL: Duration = Duration::from_secs(60 * 60);
/// Times for which an absence is provisional.
const LATE_ABSENT_TTLS: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(24 * 60 * 60);
/// Statuses that can mean that an upstream does not have a file.
const ERROR_STATUSES: RangeInclusive<u16> = 400..=599;
/// The status for a file that exists and is larger than the client permits (X-DEBUGINFOD-MAXSIZE).
const TOO_LARGE_STATUS: u16 = 406;

/// `[[upstream]]`: another debuginfod server.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table [[upstream]]")]
pub(crate) struct UpstreamSettings {
    /// Unique name: the label `upstream` of metrics, and how logs name it.
    #[serde(deserialize_with = "unique_name")]
    pub(crate) name: String,
    /// URL below which `buildid/` and `metadata` are. It can contain credentials.
    #[serde(deserialize_with = "url")]
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
    #[serde(default, deserialize_with = "headers::secret")]
    pub(crate) headers: HeaderMap,
    /// Maximum of requests to it at once.
    #[serde(default = "max_concurrent")]
    pub(crate) max_concurrent: usize,
    /// Certificates for connections to it.
    #[serde(default, deserialize_with = "TlsForm::deserialize")]
    pub(crate) tls: TlsFiles,
    /// Hosts that it may redirect to besides itself; `*` permits every host.
    #[serde(default, deserialize_with = "forms::hosts")]
    pub(crate) redirect_hosts: Vec<String>,
    /// True if hosts that only `*` permits may have private addresses.
    #[serde(default)]
    pub(crate) allow_private: bool,
}

/// The form of `upstream.tls`.
#[derive(Default, Deserialize)]
#[serde(remote = "TlsFiles", default, deny_unknown_fields, expecting = "a table like { ca = \"/etc/ssl/ca.pem\" }")]
struct TlsForm {
    #[serde(deserialize_with = "forms::path")]
    ca: Option<PathBuf>,
    #[serde(deserialize_with = "forms::path")]
    certificate: Option<PathBuf>,
    #[serde(deserialize_with = "forms::path")]
    key: Option<PathBuf>,
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
            tls: TlsFiles::default(),
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
        if self.absent_ttl > MAX_UPSTREAM_ABSENT_TTL {
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
        expect_number(&key("max_concurrent"), self.max_concurrent, UPSTREAM_REQUESTS)?;
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
fn url<'de, D: Deserializer<'de>>(value: D) -> Result<Url, D::Error> {
    base_url(&String::deserialize(value)?).map_err(|error| D::Error::custom(format!("{error:#}")))
}

#[cfg(test)]
mod tests;
