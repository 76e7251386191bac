//! The tables of the gateway's own file, with their defaults and what their values have to be.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, bail};
use bytesize::ByteSize;
use clap::ValueEnum;
use serde::Deserialize;
use url::Url;

use super::forms;

/// The shortest and the longest time for a decision; a client gives up after 90 s.
const BUDGETS: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(60);
/// The shortest and the longest time for a connection to say something.
const TIMEOUTS: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(3600);
/// The longest time that an absent build-id is answered from memory.
const MOST_MISS_TTL: Duration = Duration::from_secs(2);
/// The most files of an answer about files: 10,000 are some 4 MB.
const RESULTS: RangeInclusive<usize> = 1..=100_000;
/// Requests at once: a client may have half of them.
const REQUESTS: RangeInclusive<usize> = 2..=1_000_000;
/// They are in memory until the member is whole, for each extraction.
const MOST_NEIGHBOURS: ByteSize = ByteSize::mib(256);
/// An extraction goes on for no longer behind its member: somebody else may want its turn.
const MOST_AFTER: Duration = Duration::from_secs(10);
/// Extractions at once.
const EXTRACTIONS: RangeInclusive<usize> = 2..=1024;

/// `[tls]`
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Tls {
    pub(super) certificate: Option<PathBuf>,
    pub(super) key: Option<PathBuf>,
}

/// `[cors]`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Cors {
    /// Whose pages may read answers: origins as browsers write them, or `*` alone for everybody's. Nobody's if empty.
    #[serde(deserialize_with = "forms::origins")]
    pub(crate) origins: Vec<String>,
}

/// `[connections]`
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Connections {
    /// How long the head of a request may take: from the connection on, later from its first byte on.
    #[serde(deserialize_with = "forms::duration")]
    pub(crate) head_timeout: Duration,
    /// How long a connection may go on without a request.
    #[serde(deserialize_with = "forms::duration")]
    pub(crate) idle_timeout: Duration,
    /// How many there may be at once; by default what the limit of descriptors allows.
    pub(crate) most: Option<usize>,
}

/// `[limits]`
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Limits {
    /// How many requests may be decided at once.
    pub(crate) requests: usize,
    /// How many members may be extracted at once.
    pub(crate) extractions: usize,
    /// What becomes of an extraction that nobody waits for any more.
    #[serde(deserialize_with = "forms::name")]
    pub(crate) abandoned: Abandoned,
}

/// What becomes of an extraction that nobody waits for any more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Abandoned {
    /// It goes on: clients that lost patience come back.
    #[default]
    Finish,
    /// It ends a few seconds later.
    Drop,
}

/// `[neighbours]`
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Neighbours {
    /// How many bytes an extraction keeps besides its member; none for 0.
    #[serde(deserialize_with = "forms::bytes")]
    pub(crate) bytes: ByteSize,
    /// How long it goes on behind its member.
    #[serde(deserialize_with = "forms::duration")]
    pub(crate) after: Duration,
}

/// `[index]`
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Index {
    /// How long a found build-id is answered from memory.
    #[serde(deserialize_with = "forms::duration")]
    pub(crate) hit_ttl: Duration,
    /// How long an absent build-id is; at most 2 s.
    #[serde(deserialize_with = "forms::duration")]
    pub(crate) miss_ttl: Duration,
    /// How long a found build-id is kept for times when the database is away.
    #[serde(deserialize_with = "forms::duration")]
    pub(crate) away_ttl: Duration,
    /// How many build-ids are kept in memory.
    pub(crate) entries: u64,
    /// Whether a filter of all build-ids is kept in memory, which answers for absent ones.
    pub(crate) filter: bool,
}

/// `[stores]`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Stores {
    /// Hosts that a store may redirect to besides itself.
    #[serde(deserialize_with = "forms::hosts")]
    pub(crate) redirect_hosts: Vec<String>,
}

/// `[federation]`
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Federation {
    /// Other debuginfod servers.
    #[serde(deserialize_with = "forms::urls")]
    pub(crate) upstreams: Option<Vec<Url>>,
    /// What to do with an id that could be extracted here as well.
    #[serde(deserialize_with = "forms::name")]
    pub(crate) prefer: Prefer,
    /// What to do with a question that could not be decided.
    #[serde(deserialize_with = "forms::name")]
    pub(crate) unknown: Unknown,
    /// How long a decision may take.
    #[serde(deserialize_with = "forms::duration")]
    pub(crate) budget: Duration,
    /// How many servers a question may have passed.
    pub(crate) hops: usize,
    /// Hosts that an upstream may redirect to besides itself.
    #[serde(deserialize_with = "forms::hosts")]
    pub(crate) redirect_hosts: Vec<String>,
}

/// `[metadata]`
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Metadata {
    /// How long an answer may take.
    #[serde(deserialize_with = "forms::duration")]
    pub(crate) budget: Duration,
    /// The most files of an answer.
    pub(crate) results: usize,
}

/// What to do with an id that an upstream has and that could be extracted here as well.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Prefer {
    /// Serve it from here.
    #[default]
    Extract,
    /// Send the client to the upstream.
    Redirect,
}

/// How an undecided question on a debuginfod path is answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Unknown {
    /// Reset on direct HTTP/1.1 and, where nobody else is hit, on direct HTTP/2 through TLS; else 503.
    #[default]
    Auto,
    /// Always reset the connection (on HTTP/2 all streams of it).
    Reset,
    /// Always 503.
    #[value(name = "503")]
    Status,
}

impl Default for Connections {
    fn default() -> Self {
        Self { head_timeout: Duration::from_secs(10), idle_timeout: Duration::from_secs(75), most: None }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self { requests: 1024, extractions: 16, abandoned: Abandoned::Finish }
    }
}

impl Default for Neighbours {
    fn default() -> Self {
        Self { bytes: ByteSize::mib(8), after: Duration::from_millis(300) }
    }
}

impl Default for Index {
    fn default() -> Self {
        let (hit_ttl, miss_ttl) = (Duration::from_secs(60), Duration::from_secs(2));
        Self { hit_ttl, miss_ttl, away_ttl: Duration::from_secs(24 * 60 * 60), entries: 100_000, filter: true }
    }
}

impl Default for Federation {
    fn default() -> Self {
        Self {
            upstreams: None,
            prefer: Prefer::default(),
            unknown: Unknown::default(),
            budget: Duration::from_secs(4),
            hops: 8,
            redirect_hosts: Vec::new(),
        }
    }
}

impl Default for Metadata {
    fn default() -> Self {
        Self { budget: Duration::from_secs(6), results: 5000 }
    }
}

impl Cors {
    /// Origins have to be as browsers write them (RFC 6454, section 6.2): what differs would never match.
    pub(super) fn check(&self) -> Result<()> {
        let is_origin = |text: &String| Url::parse(text).is_ok_and(|url| url.origin().ascii_serialization() == *text);
        match self.origins.iter().find(|origin| !is_origin(origin) && *origin != "*") {
            Some(wrong) => bail!("cors.origins: expected `*` or an origin like https://example.org, found `{wrong}`"),
            None if self.origins.len() > 1 && self.origins.iter().any(|origin| origin == "*") => {
                bail!("cors.origins: expected `*` alone, found other origins beside it")
            }
            None => Ok(()),
        }
    }
}

impl Connections {
    pub(super) fn check(&self) -> Result<()> {
        for (key, timeout) in [("head_timeout", self.head_timeout), ("idle_timeout", self.idle_timeout)] {
            expect_time(&format!("connections.{key}"), timeout, TIMEOUTS)?;
        }
        if self.most == Some(0) {
            bail!("connections.most: expected a number of connections, found 0");
        }
        Ok(())
    }
}

impl Limits {
    pub(super) fn check(&self) -> Result<()> {
        expect_number("limits.requests", self.requests, REQUESTS)?;
        expect_number("limits.extractions", self.extractions, EXTRACTIONS)
    }
}

impl Neighbours {
    pub(super) fn check(&self) -> Result<()> {
        if self.bytes > MOST_NEIGHBOURS {
            bail!("neighbours.bytes: expected at most {MOST_NEIGHBOURS}, found {}", self.bytes);
        }
        if self.after > MOST_AFTER {
            bail!("neighbours.after: expected at most 10s, found {}", humantime::format_duration(self.after));
        }
        Ok(())
    }
}

impl Index {
    pub(super) fn check(&self) -> Result<()> {
        if self.miss_ttl > MOST_MISS_TTL {
            bail!("index.miss_ttl: expected at most 2s, found {}", humantime::format_duration(self.miss_ttl));
        }
        Ok(())
    }
}

impl Federation {
    pub(super) fn check(&self) -> Result<()> {
        expect_time("federation.budget", self.budget, BUDGETS)
    }
}

impl Metadata {
    pub(super) fn check(&self) -> Result<()> {
        expect_time("metadata.budget", self.budget, BUDGETS)?;
        expect_number("metadata.results", self.results, RESULTS)
    }
}

fn expect_time(key: &str, found: Duration, range: RangeInclusive<Duration>) -> Result<()> {
    if !range.contains(&found) {
        let [least, most, found] = [*range.start(), *range.end(), found].map(humantime::format_duration);
        bail!("{key}: expected {least} to {most}, found {found}");
    }
    Ok(())
}

fn expect_number(key: &str, found: usize, range: RangeInclusive<usize>) -> Result<()> {
    if !range.contains(&found) {
        bail!("{key}: expected {} to {}, found {found}", range.start(), range.end());
    }
    Ok(())
}
