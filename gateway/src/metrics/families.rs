//! Makes families of metrics and registers them.

use prometheus::core::Collector;
use prometheus::proto::MetricFamily;
use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
};

/// The registered families.
#[derive(Default)]
pub(super) struct Families(Registry);

#[expect(clippy::expect_used, reason = "names and labels are literals; the tests make them all once")]
impl Families {
    pub(super) fn counter(&self, name: &str, help: &str) -> IntCounter {
        self.register(IntCounter::new(name, help).expect("a sound counter"))
    }

    pub(super) fn counters(&self, name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
        self.register(IntCounterVec::new(Opts::new(name, help), labels).expect("a sound counter"))
    }

    pub(super) fn gauge(&self, name: &str, help: &str) -> IntGauge {
        self.register(IntGauge::new(name, help).expect("a sound gauge"))
    }

    pub(super) fn gauges(&self, name: &str, help: &str, labels: &[&str]) -> IntGaugeVec {
        self.register(IntGaugeVec::new(Opts::new(name, help), labels).expect("a sound gauge"))
    }

    pub(super) fn histogram(&self, name: &str, help: &str, buckets: &[f64]) -> Histogram {
        let options = HistogramOpts::new(name, help).buckets(buckets.to_vec());
        self.register(Histogram::with_opts(options).expect("a sound histogram"))
    }

    pub(super) fn histograms(&self, name: &str, help: &str, labels: &[&str], buckets: &[f64]) -> HistogramVec {
        let options = HistogramOpts::new(name, help).buckets(buckets.to_vec());
        self.register(HistogramVec::new(options, labels).expect("a sound histogram"))
    }

    /// The gauge that is always 1, with the version as its label.
    pub(super) fn build_info(&self) {
        let options = Opts::new("gateway_build_info", "Version of the running gateway as a label; always 1.");
        let options = options.const_label("version", env!("CARGO_PKG_VERSION"));
        self.register(IntGauge::with_opts(options).expect("a sound gauge")).set(1);
    }

    /// All families that have a series, with their present values.
    pub(super) fn gather(&self) -> Vec<MetricFamily> {
        self.0.gather()
    }

    fn register<F: Collector + Clone + 'static>(&self, family: F) -> F {
        self.0.register(Box::new(family.clone())).expect("a name registered once");
        family
    }
}
