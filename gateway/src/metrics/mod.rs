//! The gateway's metrics, each declared once. `docs/metrics.md` repeats their HELP texts word for word.

mod families;
#[cfg(test)]
mod tests;

use std::sync::LazyLock;

use prometheus::{Encoder, Histogram, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, TextEncoder};

use families::Families;

/// The process's metrics.
pub(crate) static METRICS: LazyLock<Metrics> = LazyLock::new(|| Metrics::new().with_known_labels());

/// All metrics of the gateway. Label values are bounded: none comes from a client.
pub(crate) struct Metrics {
    families: Families,
    pub(crate) connections: IntGauge,
    pub(crate) connections_closed: IntCounterVec,
    pub(crate) requests: IntCounterVec,
    pub(crate) request_duration: HistogramVec,
    pub(crate) permits_waiting: IntGaugeVec,
    pub(crate) permit_wait: HistogramVec,
    pub(crate) index_lookups: IntCounterVec,
    pub(crate) index_query_duration: Histogram,
    pub(crate) index_up: IntGauge,
    pub(crate) ready: IntGauge,
    pub(crate) component_up: IntGaugeVec,
    pub(crate) filter_lookups: IntCounterVec,
    pub(crate) filter_false_positives: IntCounter,
    pub(crate) filter_build_ids: IntGaugeVec,
    pub(crate) filter_bytes: IntGauge,
    pub(crate) filter_last_sync: IntGauge,
    pub(crate) filter_rebuilds: IntCounterVec,
    pub(crate) metadata_answers: IntCounterVec,
    pub(crate) claims: IntCounterVec,
    pub(crate) extractions: IntCounterVec,
    pub(crate) extraction_resumes: IntCounter,
    pub(crate) archive_read_bytes: IntCounter,
    pub(crate) extraction_duration: Histogram,
    pub(crate) cache_files: IntGauge,
    pub(crate) cache_bytes: IntGauge,
    pub(crate) cache_unsynced_files: IntGauge,
    pub(crate) cache_evictions: IntCounter,
    pub(crate) cache_memory_fallbacks: IntCounter,
    pub(crate) cache_write_failures: IntCounterVec,
    pub(crate) prefetched_members: IntCounter,
    pub(crate) prefetched_members_used: IntCounter,
    pub(crate) store_requests: IntCounterVec,
    pub(crate) upstream_requests: IntCounterVec,
    pub(crate) upstream_request_duration: HistogramVec,
    pub(crate) upstream_up: IntGaugeVec,
    pub(crate) upstream_breaker: IntGaugeVec,
    pub(crate) upstream_probes: IntCounterVec,
    pub(crate) upstream_hedges: IntCounterVec,
    pub(crate) upstream_junk: IntCounterVec,
    pub(crate) upstream_resumes: IntCounterVec,
    pub(crate) upstream_received_bytes: IntCounterVec,
    pub(crate) federation_answers: IntCounterVec,
    pub(crate) federation_requests_per_miss: Histogram,
    pub(crate) federation_warm: IntGauge,
    pub(crate) relays: IntCounterVec,
    pub(crate) unavailable: IntCounterVec,
}

/// Bounds of all histograms, in seconds: from cached lookups (tens of microseconds) to cold extractions.
const SECONDS: [f64; 14] =
    [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.25, 1.0, 4.0, 15.0, 60.0];

impl Metrics {
    fn new() -> Self {
        let families = Families::default();
        let counter = |name, help| families.counter(name, help);
        let counters = |name, help, labels: &[&str]| families.counters(name, help, labels);
        let gauge = |name, help| families.gauge(name, help);
        let gauges = |name, help, labels: &[&str]| families.gauges(name, help, labels);
        let histogram = |name, help| families.histogram(name, help, &SECONDS);
        let histograms = |name, help, labels: &[&str]| families.histograms(name, help, labels, &SECONDS);
        families.build_info();
        Self {
            connections: gauge("gateway_connections", "Open connections."),
            connections_closed: counters(
                "gateway_connections_closed_total",
                "Connections that the gateway closed on its own, by reason.",
                &["reason"],
            ),
            requests: counters(
                "gateway_requests_total",
                "Answered requests, by endpoint and status; status reset for reset connections.",
                &["endpoint", "status"],
            ),
            request_duration: histograms(
                "gateway_request_duration_seconds",
                "Seconds from a request's head to its response's head, by endpoint.",
                &["endpoint"],
            ),
            permits_waiting: gauges(
                "gateway_permits_waiting",
                "Requests that wait for a permit, by permit: request, extraction or relay.",
                &["permit"],
            ),
            permit_wait: histograms(
                "gateway_permit_wait_seconds",
                "Seconds spent waiting for a permit; permits granted at once are not counted.",
                &["permit"],
            ),
            index_lookups: counters(
                "gateway_index_lookups_total",
                "Lookups of build-ids that the filter did not answer, by result: cache, database, stale, error.",
                &["result"],
            ),
            index_query_duration: histogram(
                "gateway_index_query_duration_seconds",
                "Seconds that database queries took.",
            ),
            index_up: gauge("gateway_index_up", "1 if the database answers, else 0."),
            ready: gauge("gateway_ready", "1 if /readyz answers 200, else 0."),
            component_up: gauges(
                "gateway_component_up",
                "1 if a component (database, schema, cache) is usable; 0 if not, or before its first probe.",
                &["component"],
            ),
            filter_lookups: counters(
                "gateway_filter_lookups_total",
                "Lookups of build-ids in the filter, by result: absent, maybe, unavailable.",
                &["result"],
            ),
            filter_false_positives: counter(
                "gateway_filter_false_positives_total",
                "Build-ids that passed the filter and are absent from the database.",
            ),
            filter_build_ids: gauges(
                "gateway_filter_build_ids",
                "Build-ids in the filter, by layer: base, or delta for those added since the base was built.",
                &["layer"],
            ),
            filter_bytes: gauge("gateway_filter_bytes", "Memory of the filter in bytes."),
            filter_last_sync: gauge(
                "gateway_filter_last_sync_timestamp_seconds",
                "Unix time of the last synchronization of the filter with the database; 0 before the first.",
            ),
            filter_rebuilds: counters(
                "gateway_filter_rebuilds_total",
                "Rebuilds of the filter from all build-ids of the index, by reason: start, growth.",
                &["reason"],
            ),
            metadata_answers: counters(
                "gateway_metadata_answers_total",
                "Answers to metadata queries, by key (file, glob, buildid) and result: complete, partial, unavailable.",
                &["key", "result"],
            ),
            claims: counters(
                "gateway_claims_total",
                "Claimed packages that a request had to read, by result: confirmed, refuted, too_large, unavailable.",
                &["result"],
            ),
            extractions: counters(
                "gateway_extractions_total",
                "Members extracted from archives, by result: complete, failed, cancelled.",
                &["result"],
            ),
            extraction_resumes: counter(
                "gateway_extraction_resumes_total",
                "Extractions that were resumed from another location after an archive failed.",
            ),
            archive_read_bytes: counter(
                "gateway_archive_read_bytes_total",
                "Compressed bytes that extractions read from archives.",
            ),
            extraction_duration: histogram(
                "gateway_extraction_duration_seconds",
                "Seconds that complete extractions took.",
            ),
            cache_files: gauge("gateway_cache_files", "Extracted files in the cache directory."),
            cache_bytes: gauge(
                "gateway_cache_bytes",
                "Disk space of the extracted files in bytes, in blocks of 4 KiB.",
            ),
            cache_unsynced_files: gauge(
                "gateway_cache_unsynced_files",
                "Complete files that are not yet synced to disk.",
            ),
            cache_evictions: counter(
                "gateway_cache_evictions_total",
                "Extracted files removed from the cache to make room.",
            ),
            cache_memory_fallbacks: counter(
                "gateway_cache_memory_fallbacks_total",
                "Members served from memory because writing to the cache directory failed.",
            ),
            cache_write_failures: counters(
                "gateway_cache_write_failures_total",
                "Members that could not be written to the cache directory, by reason: disk_full, error.",
                &["reason"],
            ),
            prefetched_members: counter(
                "gateway_prefetched_members_total",
                "Members added to the cache because an extraction of another member passed them.",
            ),
            prefetched_members_used: counter(
                "gateway_prefetched_members_used_total",
                "Prefetched members that were requested later.",
            ),
            store_requests: counters(
                "gateway_store_requests_total",
                "Attempts to open an archive, by tier of its store and outcome (found, absent, failed).",
                &["tier", "outcome"],
            ),
            upstream_requests: counters(
                "gateway_upstream_requests_total",
                "Requests to upstreams, by upstream and outcome (found, absent, failed, too_large).",
                &["upstream", "outcome"],
            ),
            upstream_request_duration: histograms(
                "gateway_upstream_request_duration_seconds",
                "Seconds until an upstream's answer was known, by upstream.",
                &["upstream"],
            ),
            upstream_up: gauges(
                "gateway_upstream_up",
                "1 if an upstream answers probes and requests; 0 if not, or before its first probe.",
                &["upstream"],
            ),
            upstream_breaker: gauges(
                "gateway_upstream_breaker",
                "1 for the present state of an upstream's breaker (closed, open, half_open), else 0.",
                &["upstream", "state"],
            ),
            upstream_probes: counters(
                "gateway_upstream_probes_total",
                "Probes of upstreams, by upstream and outcome (answered, failed).",
                &["upstream", "outcome"],
            ),
            upstream_hedges: counters(
                "gateway_upstream_hedges_total",
                "Requests to an upstream because another one took longer than usual, by upstream.",
                &["upstream"],
            ),
            upstream_junk: counters(
                "gateway_upstream_junk_total",
                "Answers of upstreams with status 200 that are not what was asked for, by upstream.",
                &["upstream"],
            ),
            upstream_resumes: counters(
                "gateway_upstream_resumes_total",
                "Relays that were resumed from an upstream after one had broken off, by upstream.",
                &["upstream"],
            ),
            upstream_received_bytes: counters(
                "gateway_upstream_received_bytes_total",
                "Bytes of files that relays received, by upstream.",
                &["upstream"],
            ),
            federation_answers: counters(
                "gateway_federation_answers_total",
                "Searches among upstreams, by result: found, absent, provisional, unavailable, too_large.",
                &["result"],
            ),
            federation_requests_per_miss: families.histogram(
                "gateway_federation_requests_per_miss",
                "Requests to upstreams for one search that found nothing.",
                &[0.0, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0],
            ),
            federation_warm: gauge(
                "gateway_federation_warm",
                "Requests to upstreams that were too slow for their client and continue in the background.",
            ),
            relays: counters(
                "gateway_relays_total",
                "Files relayed from upstreams, by result: complete, failed, cancelled.",
                &["result"],
            ),
            unavailable: counters(
                "gateway_unavailable_total",
                "Requests without an answer because a source was unavailable, by result: reset or status.",
                &["result"],
            ),
            families,
        }
    }

    /// Creates the series whose labels are known, with 0: the first event is then an increase that `rate` sees.
    fn with_known_labels(self) -> Self {
        for reason in [
            "head_timeout",
            "idle_timeout",
            "write_timeout",
            "evicted",
            "stream_limit",
            "connection_limit",
            "malformed",
            "tls_handshake",
        ] {
            self.connections_closed.with_label_values(&[reason]);
        }
        for permit in ["request", "extraction", "relay"] {
            self.permits_waiting.with_label_values(&[permit]);
            self.permit_wait.with_label_values(&[permit]);
        }
        for result in ["cache", "database", "stale", "error"] {
            self.index_lookups.with_label_values(&[result]);
        }
        for component in ["database", "schema", "cache"] {
            self.component_up.with_label_values(&[component]);
        }
        for result in ["absent", "maybe", "unavailable"] {
            self.filter_lookups.with_label_values(&[result]);
        }
        for layer in ["base", "delta"] {
            self.filter_build_ids.with_label_values(&[layer]);
        }
        for reason in ["start", "growth"] {
            self.filter_rebuilds.with_label_values(&[reason]);
        }
        for result in ["complete", "failed", "cancelled"] {
            self.extractions.with_label_values(&[result]);
        }
        for result in ["confirmed", "refuted", "too_large", "unavailable"] {
            self.claims.with_label_values(&[result]);
        }
        for result in ["found", "absent", "provisional", "unavailable", "too_large"] {
            self.federation_answers.with_label_values(&[result]);
        }
        for result in ["complete", "failed", "cancelled"] {
            self.relays.with_label_values(&[result]);
        }
        for reason in ["disk_full", "error"] {
            self.cache_write_failures.with_label_values(&[reason]);
        }
        for result in ["reset", "status"] {
            self.unavailable.with_label_values(&[result]);
        }
        for key in ["file", "glob", "buildid"] {
            for result in ["complete", "partial", "unavailable"] {
                self.metadata_answers.with_label_values(&[key, result]);
            }
        }
        self
    }

    /// Renders all metrics in Prometheus' text format.
    pub(crate) fn render(&self) -> Result<Vec<u8>, prometheus::Error> {
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.families.gather(), &mut text)?;
        Ok(text)
    }
}
