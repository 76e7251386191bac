//! Load by wrk, which measures the highest rate, and by oha, which measures latencies at a given rate.

use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use tempfile::NamedTempFile;

use crate::servers::BenchServer;

/// The paths that a load requests.
pub(crate) enum LoadPaths {
    /// These paths, in turn.
    Listed(Vec<String>),
    /// LoadPaths of build-ids that no index has, between a prefix and a suffix.
    Unknown(&'static str, &'static str),
}

/// The number of unknown build-ids from which a rated load chooses.
const UNKNOWN_IDS: usize = 100_000;

/// The results of a load at its highest rate, and at half of it.
pub(crate) struct LoadResult {
    /// Requests per second.
    pub(crate) rate: f64,
    /// Milliseconds at half the rate.
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    /// CPU time of the server per request at the highest rate, in microseconds.
    pub(crate) cpu: f64,
}

/// Sends requests to `server` over `connections` connections as fast as it answers, then at half of that rate.
pub(crate) fn run(
    server: &BenchServer,
    paths: &LoadPaths,
    expect_2xx: bool,
    connections: usize,
    time: Duration,
) -> Result<LoadResult> {
    let before = server.usage()?;
    let summary = highest(server, paths, expect_2xx, connections, time)?;
    let cpu_seconds = server.usage()?.cpu_seconds - before.cpu_seconds;
    let rate = summary.requests / (summary.microseconds / 1e6);
    let (p50, p99) = rated(server, paths, connections, time, rate / 2.0)?;
    Ok(LoadResult { rate, p50, p99, cpu: cpu_seconds * 1e6 / summary.requests })
}

/// The summary that bench/load/paths.lua prints.
#[derive(Deserialize)]
struct WrkSummary {
    requests: f64,
    microseconds: f64,
    failed: f64,
    not_2xx: f64,
}

fn highest(
    server: &BenchServer,
    paths: &LoadPaths,
    expect_2xx: bool,
    connections: usize,
    time: Duration,
) -> Result<WrkSummary> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/load/paths.lua");
    let mut command = Command::new("wrk");
    command
        .arg(format!("-t{}", connections.min(2)))
        .arg(format!("-c{connections}"))
        .arg(format!("-d{}s", time.as_secs()));
    // A slow answer is no failure: debuginfod takes seconds for concurrent requests of one file.
    command.args(["--timeout", "60s", "-s", script, &server.url(), "--"]);
    let listed;
    match paths {
        LoadPaths::Listed(paths) => {
            listed = file_of(paths.iter())?;
            command.arg(listed.path());
        }
        LoadPaths::Unknown(prefix, suffix) => drop(command.args(["random", prefix, suffix])),
    }
    let text = output_text(&mut command)?;
    let line = text
        .lines()
        .rfind(|line| line.starts_with('{'))
        .with_context(|| format!("wrk: expected a summary, found {text}"))?;
    let summary: WrkSummary = serde_json::from_str(line)?;
    let expected_not_2xx = if expect_2xx { 0.0 } else { summary.requests };
    ensure!(
        summary.failed == 0.0 && summary.not_2xx == expected_not_2xx,
        "{command:?}: expected {expected_not_2xx} answers that are not 2xx and no failure, found {} and {} of {}",
        summary.not_2xx,
        summary.failed,
        summary.requests
    );
    Ok(summary)
}

/// Returns p50 and p99 in milliseconds, measured from when a request was due (no coordinated omission).
fn rated(server: &BenchServer, paths: &LoadPaths, connections: usize, time: Duration, rate: f64) -> Result<(f64, f64)> {
    let urls = match paths {
        LoadPaths::Listed(paths) => file_of(paths.iter().map(|path| format!("{}{path}", server.url())))?,
        LoadPaths::Unknown(prefix, suffix) => {
            let url = |number: u64| {
                format!("{}{prefix}{:016x}{number:016x}{:08x}{suffix}", server.url(), scrambled(number), 7)
            };
            file_of((0..UNKNOWN_IDS as u64).map(url))?
        }
    };
    let mut command = Command::new("oha");
    command.args(["--no-tui", "--output-format", "json", "--latency-correction", "--no-color"]);
    command.args([
        "-z",
        &format!("{}s", time.as_secs()),
        "-c",
        &connections.to_string(),
        "-q",
        &format!("{:.0}", rate.max(1.0)),
    ]);
    command.arg("--urls-from-file").arg(urls.path());
    let values: serde_json::Value = serde_json::from_str(&output_text(&mut command)?).context("oha: expected JSON")?;
    let percentile = |name: &str| {
        let seconds = values["latencyPercentiles"][name].as_f64();
        seconds
            .map(|seconds| seconds * 1e3)
            .with_context(|| format!("oha: expected latencyPercentiles.{name}, found {values}"))
    };
    Ok((percentile("p50")?, percentile("p99")?))
}

/// Returns a number whose bits are mixed (the finalizer of splitmix64).
fn scrambled(number: u64) -> u64 {
    let mixed = (number.wrapping_add(0x9e37_79b9_7f4a_7c15) ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb)
}

fn file_of<T: AsRef<str>>(lines: impl Iterator<Item = T>) -> Result<NamedTempFile> {
    let mut file = NamedTempFile::new()?;
    let mut writer = std::io::BufWriter::new(&mut file);
    for line in lines {
        writeln!(writer, "{}", line.as_ref())?;
    }
    writer.flush()?;
    drop(writer);
    Ok(file)
}

fn output_text(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("start {command:?} (make bench installs it)"))?;
    if !output.status.success() {
        bail!("{command:?}: {}: {}", output.status, String::from_utf8_lossy(&output.stderr));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Requests every path once, so that it is in the server's cache.
pub(crate) fn warm(server: &BenchServer, paths: &[String]) -> Result<()> {
    for path in paths {
        let answer = compat_tests::http::get(server.port, path).with_context(|| format!("GET {path}"))?;
        ensure!(answer.status == 200, "GET {path}: expected 200, found {}", answer.status);
    }
    Ok(())
}

/// Returns the size of the wanted files below a directory, in bytes.
pub(crate) fn bytes_below(directory: &Path, wanted: impl Fn(&Path) -> bool) -> u64 {
    let files = walkdir::WalkDir::new(directory).into_iter().flatten().filter(|entry| wanted(entry.path()));
    files.filter_map(|entry| entry.metadata().ok()).filter(|file| file.is_file()).map(|file| file.len()).sum()
}
