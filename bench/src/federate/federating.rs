//! The servers in front of upstreams.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::Result;
use compat_tests::http;

use crate::servers::BenchServer;

/// Our gateway on `database` in front of these upstreams. `settings` are tables of its configuration, `each` the
/// settings of every upstream.
pub(super) fn gateway(database: &str, settings: &str, urls: &[String], each: &str) -> Result<BenchServer> {
    let upstreams: Vec<(&str, &str)> = urls.iter().map(|url| (url.as_str(), each)).collect();
    gateway_with(database, settings, &upstreams)
}

/// As [`gateway()`], with the settings of each upstream.
pub(super) fn gateway_with(database: &str, settings: &str, upstreams: &[(&str, &str)]) -> Result<BenchServer> {
    let mut text = settings.to_owned();
    for (at, (url, each)) in upstreams.iter().enumerate() {
        // Writing to a String cannot fail.
        let _ = write!(text, "\n[[upstream]]\nname = \"upstream-{at}\"\nurl = \"{url}\"\n{each}\n");
    }
    BenchServer::gateway(database, &text)
}

/// debuginfod in front of these upstreams, with a client cache of its own. Its client gives a request up after some
/// seconds without a byte. `scan` is the option for the files in a directory.
pub(super) fn debuginfod(urls: &[String], timeout_seconds: u32, (scan, files): (&str, &Path)) -> Result<BenchServer> {
    let environment = [("DEBUGINFOD_URLS", &*urls.join(" ")), ("DEBUGINFOD_TIMEOUT", &timeout_seconds.to_string())];
    BenchServer::debuginfod_with(&environment, scan, files, None, 60)
}

/// The sum of a metric's series whose labels contain each of `labels`; 0 if there is none.
pub(super) fn metric(server: &BenchServer, name: &str, labels: &[&str]) -> Result<f64> {
    let text = http::get(server.port, "/metrics")?.text();
    let values = text.lines().filter_map(|line| {
        let (series, value) = line.strip_prefix(name)?.rsplit_once(' ')?;
        let is_wanted = (series.is_empty() || series.starts_with('{')) && labels.iter().all(|l| series.contains(l));
        is_wanted.then(|| value.parse::<f64>().ok()).flatten()
    });
    Ok(values.sum())
}
