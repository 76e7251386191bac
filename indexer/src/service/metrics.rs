//! The service's metrics, each declared once. `docs/metrics.md` repeats their HELP texts word for word.

use anyhow::Result;
use prometheus::core::Collector;
use prometheus::proto::LabelPair;
use prometheus::{Encoder, GaugeVec, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, TextEncoder};

/// All metrics of one service. Label values are bounded: names of the configuration, and the words of this module.
pub(crate) struct ServiceMetrics {
    registry: Registry,
    lag: GaugeVec,
    messages: IntCounterVec,
    broker_connected: IntGaugeVec,
    broker_connects: IntCounterVec,
    jobs: IntGaugeVec,
    jobs_total: IntCounterVec,
    hook_requests: IntCounterVec,
    hub_requests: IntCounterVec,
    packages: IntCounterVec,
    rounds: IntCounterVec,
    panics: IntCounterVec,
    poison: IntGauge,
    database_up: IntGauge,
}

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MessageResult {
    /// Its job was committed.
    Queued,
    /// It asks for nothing.
    Ignored,
    /// It cannot be read, and was kept.
    Poison,
}

/// How a run of a job ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum JobResult {
    /// There is nothing more to do.
    Done,
    /// It runs again after a pause.
    Retried,
    /// It was given up, and kept as poison.
    Poison,
}

/// How a round of scheduled work ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RoundResult {
    /// To its end.
    Done,
    /// Something failed; the next round tries again.
    Failed,
    /// The service stopped, or another indexer took over.
    Interrupted,
}

/// The number of jobs in each state, of all indexers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct JobCounts {
    /// Could run now.
    pub(crate) due: u64,
    /// Run later.
    pub(crate) waiting: u64,
    /// Are claimed by an indexer.
    pub(crate) running: u64,
}

impl ServiceMetrics {
    /// Returns metrics at 0.
    pub(crate) fn new() -> Self {
        let registry = Registry::new();
        let counters =
            |name, help, labels: &[&str]| register(&registry, IntCounterVec::new(Opts::new(name, help), labels));
        let gauges = |name, help, labels: &[&str]| register(&registry, IntGaugeVec::new(Opts::new(name, help), labels));
        let gauge = |name, help| register(&registry, IntGauge::new(name, help));
        let version = Opts::new("indexer_build_info", "Version of the running indexer as a label; always 1.")
            .const_label("version", env!("CARGO_PKG_VERSION"));
        register(&registry, IntGauge::with_opts(version)).set(1);
        let lag =
            Opts::new("indexer_lag_seconds", "Seconds that the index is behind a source; docs state each source.");
        let this = Self {
            lag: register(&registry, GaugeVec::new(lag, &["source"])),
            messages: counters(
                "indexer_messages_total",
                "Messages received, by queue and result: queued, ignored, poison.",
                &["queue", "result"],
            ),
            broker_connected: gauges("indexer_broker_connected", "1 while a queue is consumed, else 0.", &["queue"]),
            broker_connects: counters(
                "indexer_broker_connects_total",
                "Connections made to the broker of a queue.",
                &["queue"],
            ),
            jobs: gauges(
                "indexer_jobs",
                "Jobs in the database by state: due, waiting, running; the same for all indexers.",
                &["state"],
            ),
            jobs_total: counters(
                "indexer_jobs_total",
                "Runs of jobs by kind (build, archive, other) and result: done, retried, poison.",
                &["kind", "result"],
            ),
            hook_requests: counters(
                "indexer_hook_requests_total",
                "Requests to hooks, by hook and status.",
                &["hook", "status"],
            ),
            hub_requests: counters(
                "indexer_hub_requests_total",
                "HTTP requests to Koji hubs, by instance and result: answered, failed.",
                &["instance", "result"],
            ),
            packages: counters("indexer_packages_total", "Packages written to the index, by source.", &["source"]),
            rounds: counters(
                "indexer_rounds_total",
                "Rounds of scheduled work, by task and result: done, failed, interrupted.",
                &["task", "result"],
            ),
            panics: counters(
                "indexer_panics_total",
                "Panics by part of the service; the part is started again.",
                &["part"],
            ),
            poison: gauge("indexer_poison", "Messages and jobs in the table poison; the same for all indexers."),
            database_up: gauge(
                "indexer_database_up",
                "1 if the database answers and has this program's schema, else 0.",
            ),
            registry,
        };
        this.with_known_labels()
    }

    /// Creates the series whose labels are known, with 0: the first event is then an increase that `rate` sees.
    fn with_known_labels(self) -> Self {
        self.set_jobs(JobCounts::default());
        for kind in ["build", "archive"] {
            for result in [JobResult::Done, JobResult::Retried, JobResult::Poison] {
                self.jobs_total.with_label_values(&[kind, result.as_str()]);
            }
        }
        self
    }

    /// Creates the series of a queue.
    pub(crate) fn add_queue(&self, queue: &str) {
        for result in [MessageResult::Queued, MessageResult::Ignored, MessageResult::Poison] {
            self.messages.with_label_values(&[queue, result.as_str()]);
        }
        self.broker_connected.with_label_values(&[queue]).set(0);
        self.broker_connects.with_label_values(&[queue]);
        self.set_message_lag(queue, 0.0);
    }

    /// Counts a message.
    pub(crate) fn count_message(&self, queue: &str, result: MessageResult) {
        self.messages.with_label_values(&[queue, result.as_str()]).inc();
    }

    /// Records the seconds from the time that a message states to its acknowledgement; 0 once no message waits.
    pub(crate) fn set_message_lag(&self, queue: &str, seconds: f64) {
        self.set_lag(&format!("messages/{queue}"), seconds);
    }

    /// Counts a connection that consumes a queue.
    pub(crate) fn set_broker_connected(&self, queue: &str) {
        self.broker_connects.with_label_values(&[queue]).inc();
        self.broker_connected.with_label_values(&[queue]).set(1);
    }

    /// Records that a queue is not consumed any more.
    pub(crate) fn set_broker_disconnected(&self, queue: &str) {
        self.broker_connected.with_label_values(&[queue]).set(0);
    }

    /// Counts a run of a job. Kinds that no program writes are counted as `other`.
    pub(crate) fn count_job(&self, kind: &str, result: JobResult) {
        let kind = if matches!(kind, crate::jobs::BUILD | crate::jobs::ARCHIVE) { kind } else { "other" };
        self.jobs_total.with_label_values(&[kind, result.as_str()]).inc();
    }

    /// Counts a request to a hook. `hook` is `koji`, `archive` or `upload`.
    pub(crate) fn count_hook_request(&self, hook: &'static str, status: u16) {
        self.hook_requests.with_label_values(&[hook, &status.to_string()]).inc();
    }

    /// Records the requests to the hub of an instance since the start, and how many of them failed.
    pub(super) fn set_hub_requests(&self, instance: &str, requests: u64, failures: u64) {
        for (result, count) in [("answered", requests.saturating_sub(failures)), ("failed", failures)] {
            let counter = self.hub_requests.with_label_values(&[instance, result]);
            counter.inc_by(count.saturating_sub(counter.get()));
        }
    }

    /// Counts packages that were written. `source` is `koji/INSTANCE`, `repository/NAME` or `archive/STORE`.
    pub(crate) fn count_packages(&self, source: &str, count: u64) {
        self.packages.with_label_values(&[source]).inc_by(count);
    }

    /// Counts a panic. `part` is `worker`, `job`, `uploads`, `repositories`, `checks`, `reconcile/INSTANCE`,
    /// `sweep/INSTANCE` or `messages/NAME`.
    pub(crate) fn count_panic(&self, part: &str) {
        self.panics.with_label_values(&[part]).inc();
    }

    /// Counts a round. `task` is `repository/NAME`, `reconcile/INSTANCE`, `sweep/INSTANCE` or `checks`.
    pub(crate) fn count_round(&self, task: &str, result: RoundResult) {
        self.rounds.with_label_values(&[task, result.as_str()]).inc();
    }

    /// Records how far the index is behind a source.
    pub(crate) fn set_lag(&self, source: &str, seconds: f64) {
        self.lag.with_label_values(&[source]).set(seconds);
    }

    /// Records the jobs in the database.
    pub(crate) fn set_jobs(&self, counts: JobCounts) {
        for (state, count) in [("due", counts.due), ("waiting", counts.waiting), ("running", counts.running)] {
            self.jobs.with_label_values(&[state]).set(i64::try_from(count).unwrap_or(i64::MAX));
        }
    }

    /// Records the number of rows of `poison`.
    pub(crate) fn set_poison(&self, count: u64) {
        self.poison.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// Records whether the database can be used.
    pub(crate) fn set_database_up(&self, is_up: bool) {
        self.database_up.set(i64::from(is_up));
    }

    /// Returns the jobs and the connections to brokers in a line for people.
    pub(super) fn status_line(&self) -> String {
        let [due, waiting, running] =
            ["due", "waiting", "running"].map(|state| self.jobs.with_label_values(&[state]).get());
        let mut line = format!("jobs: {due} due, {running} running, {waiting} waiting; poison: {}", self.poison.get());
        for family in self.broker_connected.collect() {
            for queue in family.get_metric() {
                let name = queue.get_label().first().map(LabelPair::value).unwrap_or_default();
                let state = if queue.get_gauge().get_value() > 0.0 { "connected" } else { "not connected" };
                line.push_str(&format!("; queue {name} {state}"));
            }
        }
        line
    }

    /// Renders all metrics in Prometheus' text format.
    ///
    /// # Errors
    /// Only if a metric is malformed.
    pub(crate) fn render(&self) -> Result<Vec<u8>> {
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(text)
    }
}

#[expect(clippy::expect_used, reason = "names and labels are literals; the tests make them all once")]
fn register<F: Collector + Clone + 'static>(registry: &Registry, family: prometheus::Result<F>) -> F {
    let family = family.expect("a sound family");
    registry.register(Box::new(family.clone())).expect("a name registered once");
    family
}

impl MessageResult {
    fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Ignored => "ignored",
            Self::Poison => "poison",
        }
    }
}

impl JobResult {
    fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Retried => "retried",
            Self::Poison => "poison",
        }
    }
}

impl RoundResult {
    fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Interrupted => "interrupted",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_is_documented() {
        let docs = include_str!("../../../docs/metrics.md");
        let metrics = ServiceMetrics::new();
        metrics.add_queue("q");
        metrics.count_message("q", MessageResult::Queued);
        metrics.set_message_lag("q", 0.5);
        metrics.count_job("scratch", JobResult::Poison);
        metrics.count_hook_request("koji", 202);
        metrics.set_hub_requests("primary", 3, 1);
        metrics.count_packages("koji/primary", 2);
        metrics.count_round("checks", RoundResult::Done);
        metrics.count_panic("job");
        let families = metrics.registry.gather();
        assert_eq!(families.len(), docs.matches("| `indexer_").count(), "as many families as rows");
        for family in families {
            assert!(docs.contains(&format!("`{}`", family.name())), "{} is missing in docs/metrics.md", family.name());
            assert!(docs.contains(family.help()), "HELP of {} differs from docs/metrics.md", family.name());
        }
        let text = String::from_utf8(metrics.render().unwrap()).unwrap();
        for line in [
            "indexer_hub_requests_total{instance=\"primary\",result=\"answered\"} 2",
            "indexer_jobs_total{kind=\"other\",result=\"poison\"} 1",
            "indexer_broker_connected{queue=\"q\"} 0",
            "indexer_lag_seconds{source=\"messages/q\"} 0.5",
        ] {
            assert!(text.contains(line), "{line}:\n{text}");
        }
        assert!(metrics.status_line().ends_with("queue q not connected"), "{}", metrics.status_line());
    }
}
