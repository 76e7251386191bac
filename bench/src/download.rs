//! One large download by curl, and its figures.

use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use crate::cost::{Cost, Usage};
use crate::servers::BenchServer;

pub(crate) const COLUMNS: [&str; 6] =
    ["MB/s", "ms to the first byte", "ms in all", "CPU s a GB", "peak MiB of the server", "MB"];
/// Of [`COLUMNS`].
pub(crate) const CPU_OF_A_GB: usize = 3;

/// A download that is complete.
pub(crate) struct Download {
    size: u64,
    first_byte_seconds: Option<f64>,
    seconds: f64,
    /// Of the server that was asked.
    cpu_seconds: f64,
    peak_bytes: f64,
}

impl Download {
    /// Downloads `path` from `server` and follows redirects. Nothing is kept.
    ///
    /// # Errors
    /// If the answer is not a 200 of `size` bytes.
    pub(crate) fn fetch(server: &BenchServer, path: &str, size: u64) -> Result<Self> {
        let before = server.usage()?;
        let output = Command::new("curl")
            .args([
                "-sSL",
                "-o",
                "/dev/null",
                "-w",
                "%{http_code} %{size_download} %{time_starttransfer} %{time_total}",
            ])
            .arg(format!("{}{path}", server.url()))
            .output()
            .context("start curl")?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let Usage { cpu_seconds, peak_bytes, .. } = server.usage()?;
        let words: Vec<f64> = said.split(' ').filter_map(|word| word.parse().ok()).collect();
        let [status, bytes, first, seconds] = words[..] else {
            bail!("curl {path}: expected four numbers, found {said}")
        };
        ensure!(status == 200.0 && bytes == size as f64, "{path}: expected {size} bytes, found {said}");
        let cpu_seconds = cpu_seconds - before.cpu_seconds;
        Ok(Self { size, first_byte_seconds: Some(first), seconds, cpu_seconds, peak_bytes })
    }

    /// The same figures of a program that wrote `size` bytes.
    pub(crate) fn of_a_program(size: u64, cost: &Cost) -> Self {
        let Cost { seconds, cpu_seconds, peak_bytes, .. } = *cost;
        Self { size, first_byte_seconds: None, seconds, cpu_seconds, peak_bytes }
    }

    /// One figure for each of [`COLUMNS`].
    pub(crate) fn figures(&self) -> [Option<f64>; 6] {
        let bytes = self.size as f64;
        [
            Some(bytes / 1e6 / self.seconds),
            self.first_byte_seconds.map(|seconds| seconds * 1e3),
            Some(self.seconds * 1e3),
            Some(self.cpu_seconds / (bytes / 1e9)),
            Some(self.peak_bytes / (1024.0 * 1024.0)),
            Some(bytes / 1e6),
        ]
    }
}
