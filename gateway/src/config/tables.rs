//! The tables of `gateway.toml`, with the defaults and limits of their values.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, bail};
use bytesize::ByteSize;
use clap::ValueEnum;
use serde::Deserialize;

use super::forms;

/// Budgets of an answer. Clients give up after 90 s.
const BUDGETS: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(60);
/// Timeouts of connections.
const TIMEOUTS: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(3600);
/// Open connections. Each can take some 30 KB of memory.
const CONNECTIONS: RangeInclusive<usize> = 1..=1_000_000;
/// Longest time that a found build-id is answered from memory. The cache library panics from 1000 years on.
const MAX_TTL: Duration = Duration::from_secs(365 * 24 * 60 * 60);
/// Longest time that a build-id which the index does not have is answered from memory.
const MAX_INDEX_ABSENT_TTL: Duration = Duration::from_secs(2);
/// Files in one answer of `/metadata`: 10,000 take about 4 MB.
const RESULTS: RangeInclusive<usize> = 1..=100_000;
/// Requests at once. One client may have half of them.
const CONCURRENT_REQUESTS: RangeInclusive<usize> = 2..=1_000_000;
/// Extractions at once. One client may have half of them.
const CONCURRENT_EXTRACTIONS: RangeInclusive<usize> = 2..=1024;
/// Prefetched bytes of one extraction: they are in memory until its member is complete.
const MAX_PREFETCH: ByteSize = ByteSize::mib(256);
/// Longest time that an extraction continues behind its member: it holds its permit meanwhile.
const MAX_PREFETCH_TIMEOUT: Duration = Duration::from_secs(10);
/// Largest package without a header that a request may read: a read of it holds a permit to extract.
const MAX_CLAIMED_PACKAGE: ByteSize = ByteSize::gib(16);
/// Times after which an unreachable upstream leaves the quorum.
const UNREACHABLE_TIMES: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(24 * 60 * 60);
/// Times of a request in the background.
const WARM_TIMEOUTS: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(10 * 60);
/// Requests in the background at once.
const WARM_REQUESTS: RangeInclusive<usize> = 0..=1024;
/// Largest source that is relayed in either mode.
const MAX_SOURCE: ByteSize = ByteSize::gib(1);
/// Relays at once.
const RELAYS: RangeInclusive<usize> = 1..=1024;

/// `[tls]`
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct TlsSettings {
    pub(super) certificate: Option<PathBuf>,
    pub(super) key: Option<PathBuf>,
}

/// `[cors]`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct CorsSettings {
    /// Origins whose pages may read answers, as browsers write them, or `*` alone for every origin.
    #[serde(deserialize_with = "forms::origins")]
    pub(crate) origins: Vec<String>,
}

/// `[connections]`
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ConnectionSettings {
    /// Longest time for the head of a request: from the connection on, later from the head's first byte on.
    #[serde(deserialize_with = "forms::duration")]
    pub(crate) head_timeout: Duration,
    /// Longest time that a connection stays open without a request.
    #[serde(deserialize_with = "forms::duration")]
    pub(crate) idle_timeout: Duration,
    /// Maximum of open connections; `None` derives it from the limit of descriptors.
    pub(crate) max_count: Option<usize>,
}

/// `[request]`
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RequestSettings {
    /// Longest time until a request is decided.
    #[serde(deserialize_with = "forms::duration")]
    pub(crate) budget: Duration,
    /// Maximum of requests that are decided at once.
    pub(crate) max_concurrent: usize,
}

/// `[extraction]`
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ExtractionSettings {
    /// Maximum of members that are extracted at once.
    pub(crate) max_concurrent: usize,
    /// Whether to finish or cancel an extraction after its last client disconnects.
    #[serde(deserialize_with = "forms::name")]
    pub(crate) abandoned: Abandoned,
}

/// Whether an extraction is finished or cancelled after its last client disconnects.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Abandoned {
    /// Finish it: clients that gave up ask again.
    #[default]
    Finish,
    /// Cancel it a few seconds later.
    Cancel,
}

/// `[prefetch]`
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct PrefetchSettings {
    /// Maximum of bytes that an extraction prefetches; 0 prefetches nothing.
    #[serde(deserialize_with = "forms::bytes")]
    pub(crate) max_bytes: ByteSize,
    /// Longest time that an extraction continues behind its member.
    #[serde(deserialize_with = "forms::duration")]
    pub(crate) timeout: Duration,
}

/// `[claims]`
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ClaimsSettings {
    /// Maximum size of a package without a header that is read to confirm a claim; 0 reads none.
    #[serde(deserialize_with = "forms::bytes")]
    pub(crate) max_bytes: ByteSize,
}

/// `[index]`
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct IndexSettings {
    /// How long a found build-id is answered from memory; at most 365 days.
    #[serde(deserialize_with = "forms::duration")]
    pub(crate) found_ttl: Duration,
    /// How long an absent build-id is answered from memory; at most 2 s.
    #[serde(deserialize_with = "forms::duration")]
    pub(crate) absent_ttl: Duration,
    /// How long a found build-id is kept in case the database becomes unavailable; at most 365 days.
    #[serde(deserialize_with = "forms::duration")]
    pub(crate) stale_ttl: Duration,
    /// Maximum of build-ids in memory.
    pub(crate) max_entries: u64,
    /// Whether a filter of all build-ids in memory answers for absent ones.
    pub(crate) filter: bool,
}

/// `[federation]`
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct FederationSettings {
    /// The upstreams whose word is needed for an absence.
    #[serde(deserialize_with = "forms::name")]
    pub(crate) absent: AbsentQuorum,
    /// How a request is answered while a source is unavailable.
    #[serde(deserialize_with = "forms::name")]
    pub(crate) unavailable: OnUnavailable,
    /// Where a file comes from that an upstream has and the gateway could extract.
    #[serde(deserialize_with = "forms::name")]
    pub(crate) prefer: Prefer,
    /// Where operators of upstreams reach the operator of this gateway: a part of the User-Agent.
    #[serde(deserialize_with = "forms::contact")]
    pub(crate) contact: Option<String>,
    /// A request that passed this many servers is not forwarded.
    pub(crate) max_hops: usize,
    /// How long an upstream's breaker is open until the upstream leaves the quorum.
    #[serde(deserialize_with = "forms::duration")]
    pub(crate) unreachable_after: Duration,
    /// How long a request that was too slow continues in the background.
    #[serde(deserialize_with = "forms::duration")]
    pub(crate) warm_timeout: Duration,
    /// Maximum of requests that continue in the background.
    pub(crate) max_warm: usize,
    /// True if upstreams are told the client's address and User-Agent.
    pub(crate) forward_client: bool,
    /// Name of this gateway in `Via`; `None` makes one at the start.
    #[serde(deserialize_with = "forms::token")]
    pub(crate) instance: Option<String>,
    /// True if answers have the header X-Darkserver-Trace.
    pub(crate) trace: bool,
}

/// The upstreams whose word is needed for an absence.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum AbsentQuorum {
    /// Those that were reachable lately.
    #[default]
    Reachable,
    /// All that serve what is asked for.
    All,
}

/// `[relay]`
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RelaySettings {
    /// Maximum size of a source that is relayed in either mode.
    #[serde(deserialize_with = "forms::bytes")]
    pub(crate) max_source: ByteSize,
    /// Maximum of files that are relayed at once.
    pub(crate) max_concurrent: usize,
}

/// `[metadata]`
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct MetadataSettings {
    /// Longest time until an answer.
    #[serde(deserialize_with = "forms::duration")]
    pub(crate) budget: Duration,
    /// Maximum of files in an answer.
    pub(crate) max_results: usize,
}

/// Where a file comes from that an upstream has and the gateway could extract.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Prefer {
    /// The gateway extracts and serves it.
    #[default]
    Extract,
    /// The client is redirected to the upstream.
    Redirect,
}

/// How a request on a debuginfod path is answered while a source is unavailable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum OnUnavailable {
    /// Resets direct HTTP/1.1 connections, and direct HTTP/2 connections through TLS without another request; else 503.
    #[default]
    Auto,
    /// Resets the connection, on HTTP/2 with all its streams.
    Reset,
    /// Answers 503.
    #[value(name = "503")]
    Status,
}

impl Default for ConnectionSettings {
    fn default() -> Self {
        Self { head_timeout: Duration::from_secs(10), idle_timeout: Duration::from_secs(75), max_count: None }
    }
}

impl Default for RequestSettings {
    fn default() -> Self {
        Self { budget: Duration::from_secs(4), max_concurrent: 1024 }
    }
}

impl Default for ExtractionSettings {
    fn default() -> Self {
        Self { max_concurrent: 16, abandoned: Abandoned::Finish }
    }
}

impl Default for PrefetchSettings {
    fn default() -> Self {
        Self { max_bytes: ByteSize::mib(8), timeout: Duration::from_millis(300) }
    }
}

impl Default for ClaimsSettings {
    fn default() -> Self {
        Self { max_bytes: ByteSize::mib(512) }
    }
}

impl Default for IndexSettings {
    fn default() -> Self {
        let (found_ttl, absent_ttl) = (Duration::from_secs(60), Duration::from_secs(2));
        Self { found_ttl, absent_ttl, stale_ttl: Duration::from_secs(24 * 60 * 60), max_entries: 100_000, filter: true }
    }
}

impl Default for FederationSettings {
    fn default() -> Self {
        Self {
            absent: AbsentQuorum::default(),
            unavailable: OnUnavailable::default(),
            prefer: Prefer::default(),
            contact: None,
            max_hops: 8,
            unreachable_after: Duration::from_secs(5 * 60),
            warm_timeout: Duration::from_secs(75),
            max_warm: 16,
            forward_client: false,
            instance: None,
            trace: false,
        }
    }
}

impl Default for RelaySettings {
    fn default() -> Self {
        Self { max_source: ByteSize::mib(16), max_concurrent: 64 }
    }
}

impl Default for MetadataSettings {
    fn default() -> Self {
        Self { budget: Duration::from_secs(6), max_results: 5000 }
    }
}

impl ConnectionSettings {
    pub(super) fn check(&self) -> Result<()> {
        for (key, timeout) in [("head_timeout", self.head_timeout), ("idle_timeout", self.idle_timeout)] {
            expect_time(&format!("connections.{key}"), timeout, TIMEOUTS)?;
        }
        self.max_count.map_or(Ok(()), |count| expect_number("connections.max_count", count, CONNECTIONS))
    }
}

impl RequestSettings {
    pub(super) fn check(&self) -> Result<()> {
        expect_time("request.budget", self.budget, BUDGETS)?;
        expect_number("request.max_concurrent", self.max_concurrent, CONCURRENT_REQUESTS)
    }
}

impl ExtractionSettings {
    pub(super) fn check(&self) -> Result<()> {
        expect_number("extraction.max_concurrent", self.max_concurrent, CONCURRENT_EXTRACTIONS)
    }
}

impl PrefetchSettings {
    pub(super) fn check(&self) -> Result<()> {
        expect_at_most("prefetch.max_bytes", self.max_bytes, MAX_PREFETCH)?;
        if self.timeout > MAX_PREFETCH_TIMEOUT {
            bail!("prefetch.timeout: expected at most 10s, found {}", humantime::format_duration(self.timeout));
        }
        Ok(())
    }
}

impl ClaimsSettings {
    pub(super) fn check(&self) -> Result<()> {
        expect_at_most("claims.max_bytes", self.max_bytes, MAX_CLAIMED_PACKAGE)
    }
}

impl IndexSettings {
    pub(super) fn check(&self) -> Result<()> {
        for (key, ttl) in [("found_ttl", self.found_ttl), ("stale_ttl", self.stale_ttl)] {
            if ttl > MAX_TTL {
                bail!("index.{key}: expected at most 365d, found {}", humantime::format_duration(ttl));
            }
        }
        if self.absent_ttl > MAX_INDEX_ABSENT_TTL {
            bail!("index.absent_ttl: expected at most 2s, found {}", humantime::format_duration(self.absent_ttl));
        }
        Ok(())
    }
}

impl FederationSettings {
    pub(super) fn check(&self) -> Result<()> {
        if self.max_hops == 0 {
            bail!("federation.max_hops: expected at least 1, found 0");
        }
        expect_time("federation.unreachable_after", self.unreachable_after, UNREACHABLE_TIMES)?;
        expect_time("federation.warm_timeout", self.warm_timeout, WARM_TIMEOUTS)?;
        expect_number("federation.max_warm", self.max_warm, WARM_REQUESTS)
    }
}

impl RelaySettings {
    pub(super) fn check(&self) -> Result<()> {
        expect_at_most("relay.max_source", self.max_source, MAX_SOURCE)?;
        expect_number("relay.max_concurrent", self.max_concurrent, RELAYS)
    }
}

impl MetadataSettings {
    pub(super) fn check(&self) -> Result<()> {
        expect_time("metadata.budget", self.budget, BUDGETS)?;
        expect_number("metadata.max_results", self.max_results, RESULTS)
    }
}

fn expect_at_most(key: &str, found: ByteSize, max: ByteSize) -> Result<()> {
    if found > max {
        let [max_text, found_text] = [max, found].map(|size| size.to_string());
        if max_text == found_text {
            bail!("{key}: expected at most {} B, found {} B", max.0, found.0);
        }
        bail!("{key}: expected at most {max_text}, found {found_text}");
    }
    Ok(())
}

pub(super) fn expect_time(key: &str, found: Duration, range: RangeInclusive<Duration>) -> Result<()> {
    if !range.contains(&found) {
        let [min, max, found] = [*range.start(), *range.end(), found].map(humantime::format_duration);
        bail!("{key}: expected {min} to {max}, found {found}");
    }
    Ok(())
}

pub(super) fn expect_number(key: &str, found: usize, range: RangeInclusive<usize>) -> Result<()> {
    if !range.contains(&found) {
        bail!("{key}: expected {} to {}, found {found}", range.start(), range.end());
    }
    Ok(())
}
