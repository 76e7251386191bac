//! Every metric, declared once; its HELP stands in docs/metrics.md word for word.

use std::sync::LazyLock;

use prometheus::{
    Encoder, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
    TextEncoder,
};

/// The process's metrics.
pub(crate) static METRICS: LazyLock<Metrics> = LazyLock::new(|| Metrics::new().begin());

/// What the gateway counts. Labels are bounded: never a client's text.
pub(crate) struct Metrics {
    registry: Registry,
    pub(crate) connections: IntGauge,
    pub(crate) connections_closed: IntCounterVec,
    pub(crate) requests: IntCounterVec,
    pub(crate) request_seconds: HistogramVec,
    pub(crate) waiting: IntGaugeVec,
    pub(crate) waiting_seconds: HistogramVec,
    pub(crate) index_lookups: IntCounterVec,
    pub(crate) index_seconds: Histogram,
    pub(crate) index_up: IntGauge,
    pub(crate) ready: IntGauge,
    pub(crate) part_up: IntGaugeVec,
    pub(crate) filter_answers: IntCounterVec,
    pub(crate) filter_false_positives: IntCounter,
    pub(crate) filter_build_ids: IntGaugeVec,
    pub(crate) filter_bytes: IntGauge,
    pub(crate) filter_checked: IntGauge,
    pub(crate) filter_scans: IntCounterVec,
    pub(crate) extractions: IntCounterVec,
    pub(crate) extractions_continued: IntCounter,
    pub(crate) archive_bytes: IntCounter,
    pub(crate) extraction_seconds: Histogram,
    pub(crate) files: IntGauge,
    pub(crate) files_bytes: IntGauge,
    pub(crate) files_evicted: IntCounter,
    pub(crate) neighbours_kept: IntCounter,
    pub(crate) neighbours_used: IntCounter,
    pub(crate) files_syncing: IntGauge,
    pub(crate) files_in_memory: IntCounter,
    pub(crate) files_refused: IntCounterVec,
    pub(crate) store_requests: IntCounterVec,
    pub(crate) upstream_requests: IntCounterVec,
    pub(crate) upstream_seconds: HistogramVec,
    pub(crate) upstream_up: IntGaugeVec,
    pub(crate) undecided: IntCounterVec,
    pub(crate) metadata_answers: IntCounterVec,
}

/// From cached lookups (tens of microseconds) to cold extractions.
const SECONDS: [f64; 14] =
    [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.25, 1.0, 4.0, 15.0, 60.0];

impl Metrics {
    #[expect(clippy::expect_used, reason = "names and labels are literals; the tests make them all once")]
    fn new() -> Self {
        let registry = Registry::new();
        let counters = |name: &str, help: &str, labels: &[&str]| {
            let counters = IntCounterVec::new(Opts::new(name, help), labels).expect("a sound counter");
            registry.register(Box::new(counters.clone())).expect("a name registered once");
            counters
        };
        let histograms = |name: &str, help: &str, labels: &[&str]| {
            let options = HistogramOpts::new(name, help).buckets(SECONDS.to_vec());
            let histograms = HistogramVec::new(options, labels).expect("a sound histogram");
            registry.register(Box::new(histograms.clone())).expect("a name registered once");
            histograms
        };
        let gauge = |name: &str, help: &str| {
            let gauge = IntGauge::new(name, help).expect("a sound gauge");
            registry.register(Box::new(gauge.clone())).expect("a name registered once");
            gauge
        };
        let gauges = |name: &str, help: &str, labels: &[&str]| {
            let gauges = IntGaugeVec::new(Opts::new(name, help), labels).expect("a sound gauge");
            registry.register(Box::new(gauges.clone())).expect("a name registered once");
            gauges
        };
        let version = Opts::new("gateway_build_info", "Version of the running gateway, as a label; always 1.");
        let build_info =
            IntGauge::with_opts(version.const_label("version", env!("CARGO_PKG_VERSION"))).expect("a sound gauge");
        build_info.set(1);
        registry.register(Box::new(build_info)).expect("a name registered once");
        Self {
            connections: gauge("gateway_connections", "Open connections."),
            connections_closed: counters(
                "gateway_connections_closed_total",
                "Connections that the gateway ended, by why: head, idle, stalled, shed, streams, refused, malformed, handshake.",
                &["why"],
            ),
            requests: counters(
                "gateway_requests_total",
                "Answered requests, by endpoint and status; status reset for reset connections.",
                &["endpoint", "status"],
            ),
            request_seconds: histograms(
                "gateway_request_seconds",
                "Seconds from a request's head to its response's head, by endpoint.",
                &["endpoint"],
            ),
            waiting: gauges(
                "gateway_waiting",
                "Clients that wait for their turn, by what for: request, extraction.",
                &["turn"],
            ),
            waiting_seconds: histograms(
                "gateway_waiting_seconds",
                "Seconds that those waited who had to wait for their turn, by what for: request, extraction.",
                &["turn"],
            ),
            index_lookups: counters(
                "gateway_index_lookups_total",
                "Build-ids looked up that the filter did not answer, by who did: memory, database, kept while it was away, or error.",
                &["answer"],
            ),
            index_seconds: histograms("gateway_index_query_seconds", "Seconds that queries of the database took.", &[])
                .with_label_values::<&str>(&[]),
            index_up: gauge("gateway_index_up", "Whether the database can be asked: 1, or 0 while it is away."),
            ready: gauge("gateway_ready", "Whether /readyz answers 200: 1 or 0."),
            part_up: gauges(
                "gateway_part_up",
                "Whether a part can be used, by part (database, schema, cache): 1, or 0 also before its first probe.",
                &["part"],
            ),
            filter_answers: counters(
                "gateway_filter_answers_total",
                "Build-ids looked up, by what the filter said: no, maybe, or nothing because there is none that is fresh.",
                &["answer"],
            ),
            filter_false_positives: counters(
                "gateway_filter_false_positives_total",
                "Build-ids that the filter took for members and the database did not have.",
                &[],
            )
            .with_label_values::<&str>(&[]),
            filter_build_ids: gauges(
                "gateway_filter_build_ids",
                "Build-ids in the filter, by part: base, or delta for those that came since it was made.",
                &["part"],
            ),
            filter_bytes: gauge("gateway_filter_bytes", "Bytes of memory that the filter takes."),
            filter_checked: gauge(
                "gateway_filter_checked_timestamp_seconds",
                "Seconds since 1970 when the database last said what had come; 0 if it never did.",
            ),
            filter_scans: counters(
                "gateway_filter_scans_total",
                "Times that all build-ids were read to make a filter, by why: start, growth.",
                &["why"],
            ),
            extractions: counters(
                "gateway_extractions_total",
                "Members extracted from archives, by result: whole, failed, dropped because nobody waited.",
                &["result"],
            ),
            extractions_continued: counters(
                "gateway_extractions_continued_total",
                "Times that an extraction went on from another location because an archive broke off.",
                &[],
            )
            .with_label_values::<&str>(&[]),
            archive_bytes: counters(
                "gateway_archive_bytes_total",
                "Compressed bytes that extractions read of archives.",
                &[],
            )
            .with_label_values::<&str>(&[]),
            extraction_seconds: histograms("gateway_extraction_seconds", "Seconds that whole extractions took.", &[])
                .with_label_values::<&str>(&[]),
            files: gauge("gateway_files", "Extracted files on disk."),
            files_bytes: gauge("gateway_files_bytes", "Bytes of disk that extracted files take, in blocks of 4 KiB."),
            files_syncing: gauge("gateway_files_syncing", "Whole files that are on their way to the disk."),
            neighbours_kept: counters(
                "gateway_neighbours_kept_total",
                "Members that extractions of others passed, and kept before anybody asked for them.",
                &[],
            )
            .with_label_values::<&str>(&[]),
            neighbours_used: counters(
                "gateway_neighbours_used_total",
                "Members that were kept so, and then asked for.",
                &[],
            )
            .with_label_values::<&str>(&[]),
            files_evicted: counters("gateway_files_evicted_total", "Extracted files that made room for others.", &[])
                .with_label_values::<&str>(&[]),
            files_in_memory: counters(
                "gateway_files_in_memory_total",
                "Members that were sent from memory because the cache folder did not take them.",
                &[],
            )
            .with_label_values::<&str>(&[]),
            files_refused: counters(
                "gateway_files_refused_total",
                "Members that the cache folder did not take, by reason: full, failed.",
                &["reason"],
            ),
            store_requests: counters(
                "gateway_store_requests_total",
                "Archives opened, by tier and result: opened, absent, failed.",
                &["tier", "result"],
            ),
            upstream_requests: counters(
                "gateway_upstream_requests_total",
                "Questions to upstreams, by upstream and result: found, absent, failed.",
                &["upstream", "result"],
            ),
            upstream_seconds: histograms(
                "gateway_upstream_seconds",
                "Seconds until an upstream's answer was known, by upstream.",
                &["upstream"],
            ),
            upstream_up: gauges(
                "gateway_upstream_up",
                "Whether an upstream answers probes and requests, by upstream: 1, or 0 also before its first probe.",
                &["upstream"],
            ),
            undecided: counters(
                "gateway_undecided_total",
                "Questions that could not be decided, by how they were answered: reset or status.",
                &["answer"],
            ),
            metadata_answers: counters(
                "gateway_metadata_answers_total",
                "Answers about files, by key (file, glob, buildid) and how much they said: complete, partial, undecided.",
                &["key", "answer"],
            ),
            registry,
        }
    }

    /// Begins the series whose labels are known with 0: the first event is then an increase that `rate` sees.
    fn begin(self) -> Self {
        for why in ["head", "idle", "stalled", "shed", "streams", "refused", "malformed", "handshake"] {
            self.connections_closed.with_label_values(&[why]);
        }
        for turn in ["request", "extraction"] {
            self.waiting.with_label_values(&[turn]);
            self.waiting_seconds.with_label_values(&[turn]);
        }
        for answer in ["memory", "database", "kept", "error"] {
            self.index_lookups.with_label_values(&[answer]);
        }
        for part in ["database", "schema", "cache"] {
            self.part_up.with_label_values(&[part]);
        }
        for answer in ["no", "maybe", "nothing"] {
            self.filter_answers.with_label_values(&[answer]);
        }
        for part in ["base", "delta"] {
            self.filter_build_ids.with_label_values(&[part]);
        }
        for why in ["start", "growth"] {
            self.filter_scans.with_label_values(&[why]);
        }
        for result in ["whole", "failed", "dropped"] {
            self.extractions.with_label_values(&[result]);
        }
        for reason in ["full", "failed"] {
            self.files_refused.with_label_values(&[reason]);
        }
        for answer in ["reset", "status"] {
            self.undecided.with_label_values(&[answer]);
        }
        for key in ["file", "glob", "buildid"] {
            for answer in ["complete", "partial", "undecided"] {
                self.metadata_answers.with_label_values(&[key, answer]);
            }
        }
        self
    }

    /// Everything in Prometheus' text format.
    pub(crate) fn render(&self) -> Result<Vec<u8>, prometheus::Error> {
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_are_rendered_with_type_and_help() {
        METRICS.requests.with_label_values(&["debuginfo", "200"]).inc();
        let text = String::from_utf8(METRICS.render().unwrap()).unwrap();
        assert!(text.contains("# TYPE gateway_requests_total counter"), "{text}");
        assert!(text.contains("# HELP gateway_build_info Version"), "{text}");
        assert!(text.contains("# TYPE gateway_index_query_seconds histogram"), "{text}");
    }

    #[test]
    fn every_metric_is_documented() {
        let docs = include_str!("../../docs/metrics.md");
        // A family without a series is not gathered.
        METRICS.requests.with_label_values(&["debuginfo", "200"]).inc();
        METRICS.request_seconds.with_label_values(&["debuginfo"]).observe(0.1);
        METRICS.store_requests.with_label_values(&["local", "opened"]).inc();
        METRICS.upstream_requests.with_label_values(&["u.example", "found"]).inc();
        METRICS.upstream_seconds.with_label_values(&["u.example"]).observe(0.1);
        METRICS.upstream_up.with_label_values(&["u.example"]).set(1);
        assert_eq!(METRICS.registry.gather().len(), docs.matches("| `gateway_").count(), "as many families as rows");
        for family in METRICS.registry.gather() {
            assert!(docs.contains(&format!("`{}`", family.name())), "{} is missing in docs/metrics.md", family.name());
            assert!(docs.contains(family.help()), "HELP of {} differs from docs/metrics.md", family.name());
        }
    }
}
