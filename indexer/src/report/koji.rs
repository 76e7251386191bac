//! The counts of an import from Koji, and its progress.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use bytesize::ByteSize;
use indicatif::{ProgressState, ProgressStyle};
use serde::Serialize;

use crate::fetch::network::{Network, Notice};
use crate::report::output::print_error;
use crate::report::progress::{LINE_INTERVAL, MAX_NAMED, Style};
use crate::report::summary::counted;
use crate::report::time::utc;

/// The counts of an import from Koji: the object that `koji --json` prints, with more beside it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct KojiCounts {
    /// Builds that were looked at, by what became of them.
    pub(crate) imported: u64,
    /// In the index already, with nothing to do.
    pub(crate) unchanged: u64,
    /// The hub states that they were deleted.
    pub(crate) deleted: u64,
    /// Failed or canceled, or without packages to import.
    pub(crate) skipped: u64,
    /// Being built.
    pub(crate) building: u64,
    /// The hub does not know them.
    pub(crate) unknown: u64,
    /// Not imported completely.
    pub(crate) failed: u64,
    /// Packages that are new in the index with their header.
    pub(crate) packages: u64,
    /// Packages that were open and are complete now.
    pub(crate) completed: u64,
    /// Packages that are new in the index without their header.
    pub(crate) claimed: u64,
    /// Packages that were in the index and were not read again.
    pub(crate) known: u64,
    /// Artifacts written.
    pub(crate) artifacts: u64,
    /// Signed copies that were found and are new in the index.
    pub(crate) signed_copies: u64,
    /// RPMs of which the hub has the description alone.
    pub(crate) metadata_only: u64,
    /// RPMs of repositories outside of the Koji.
    pub(crate) external: u64,
    /// RPMs of architectures that are left out.
    pub(crate) skipped_arch: u64,
    /// Headers that were read over HTTP, and the bytes received for them.
    pub(crate) headers: u64,
    pub(crate) header_bytes: u64,
    /// Payloads that were read, and the bytes received for them.
    pub(crate) payloads: u64,
    pub(crate) payload_bytes: u64,
}

impl KojiCounts {
    /// Returns the number of builds that were looked at.
    pub(crate) fn builds(&self) -> u64 {
        let Self { imported, unchanged, deleted, skipped, building, unknown, failed, .. } = self;
        imported + unchanged + deleted + skipped + building + unknown + failed
    }
}

impl fmt::Display for KojiCounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { imported, unchanged, packages, artifacts, claimed, .. } = self;
        write!(f, "{}: {imported} imported, {unchanged} unchanged", counted(self.builds(), "build"))?;
        for (count, what) in [
            (self.deleted, "deleted"),
            (self.skipped, "without packages"),
            (self.building, "still being built"),
            (self.unknown, "UNKNOWN to the hub"),
            (self.failed, "FAILED"),
        ] {
            if count > 0 {
                write!(f, ", {count} {what}")?;
            }
        }
        write!(f, "; {} with {}", counted(*packages, "new package"), counted(*artifacts, "artifact"))?;
        for (count, what) in [
            (*claimed, "claimed"),
            (self.completed, "completed"),
            (self.known, "known"),
            (self.signed_copies, "signed copies"),
            (self.metadata_only, "without a file"),
            (self.external, "external"),
        ] {
            if count > 0 {
                write!(f, ", {count} {what}")?;
            }
        }
        let bytes = ByteSize(self.header_bytes + self.payload_bytes);
        write!(f, "; {} of {bytes}", counted(self.headers, "header"))
    }
}

/// A build that is not in the index completely.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct FailedBuild {
    /// Its name-version-release, or its number.
    pub(crate) build: String,
    pub(crate) reason: String,
}

/// Progress of an import from Koji.
pub(crate) struct KojiProgress {
    name: String,
    style: Style,
    network: Arc<Network>,
    started: Instant,
    /// The builds that failed, at most [`MAX_NAMED`].
    pub(crate) failed: Vec<FailedBuild>,
}

impl KojiProgress {
    /// Returns the progress of an import from an instance. `span` are the completion times of its first and last
    /// build, if they are known: seconds since 1970.
    pub(crate) fn new(quiet: bool, name: &str, network: &Arc<Network>, span: Option<(f64, f64)>) -> Self {
        let bar = if span.is_some() {
            "{spinner} {prefix}: {msg} [{wide_bar}] {percent}% {received} {elapsed_precise}"
        } else {
            "{spinner} {prefix}: {wide_msg} {received} {elapsed_precise}"
        };
        let (traffic, before) = (Arc::clone(network), network.traffic().bytes());
        let received = move |_: &ProgressState, out: &mut dyn fmt::Write| {
            // Writing to memory cannot fail.
            let _ = write!(out, "{}", ByteSize(traffic.traffic().bytes() - before));
        };
        let style =
            Style::new(quiet, name, || Some(ProgressStyle::with_template(bar).ok()?.with_key("received", received)));
        if let (Style::Bar(bar), Some((first, last))) = (&style, span) {
            bar.set_length((last - first).abs() as u64);
        }
        let notices = style.clone();
        let notice = move |server: &str, text: &str| notices.report(server, text);
        network.set_notice((!quiet).then(|| Box::new(notice) as Notice));
        let (name, network) = (name.to_owned(), Arc::clone(network));
        Self { name, style, network, started: Instant::now(), failed: Vec::new() }
    }

    /// Shows the counts so far, and the completion time of the last build. `done` are the seconds between the first
    /// build and this one.
    pub(crate) fn update(&mut self, counts: &KojiCounts, at: f64, done: Option<f64>) {
        let builds = counts.builds();
        let rate = builds as f64 / self.started.elapsed().as_secs_f64().max(0.001);
        let (packages, at) = (counts.packages + counts.claimed, utc(at as i64));
        let text = format!("{at}: {builds} builds, {packages} packages, {rate:.0} builds a second");
        match &mut self.style {
            Style::Bar(bar) => {
                bar.set_message(text);
                if let Some(done) = done {
                    bar.set_position(done as u64);
                }
            }
            Style::Lines { last, .. } if last.elapsed() >= LINE_INTERVAL => {
                *last = Instant::now();
                let received = ByteSize(self.network.traffic().bytes());
                print_error(&format_args!("{}: {text}, {received} received", self.name));
            }
            Style::Lines { .. } | Style::Quiet | Style::Log(_) => {}
        }
    }

    /// Reports what is no error, unless quiet.
    pub(crate) fn note(&self, text: &str) {
        if !matches!(self.style, Style::Quiet) {
            self.style.report(&self.name, text);
        }
    }

    /// Reports a build that failed, also when quiet.
    pub(crate) fn fail(&mut self, build: &str, reason: &str) {
        self.style.report(build, reason);
        if self.failed.len() < MAX_NAMED {
            self.failed.push(FailedBuild { build: build.to_owned(), reason: reason.to_owned() });
        }
    }
}

impl Drop for KojiProgress {
    fn drop(&mut self) {
        self.network.set_notice(None);
        if let Style::Bar(bar) = &self.style {
            bar.finish_and_clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_names_what_there_is() {
        let counts = KojiCounts { imported: 2, failed: 1, packages: 5, artifacts: 9, headers: 5, ..Default::default() };
        assert_eq!(
            counts.to_string(),
            "3 builds: 2 imported, 0 unchanged, 1 FAILED; 5 new packages with 9 artifacts; 5 headers of 0 B"
        );
    }
}
