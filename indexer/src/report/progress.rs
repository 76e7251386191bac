//! Progress of an import: a bar in a terminal, else a line every few seconds.

use std::fmt;
use std::io::{self, IsTerminal};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytesize::ByteSize;
use indicatif::{HumanDuration, ProgressBar, ProgressState, ProgressStyle};

use crate::fetch::network::{Network, Notice};
use crate::report::failure::CommandFailure;
use crate::report::output::{print_error, printable};
use crate::report::summary::ImportSummary;
use crate::report::urls::without_url_secrets;

/// Number of refused packages of a repository that are named. The others are counted.
pub(crate) const MAX_NAMED: usize = 100;
/// Number of these that the index keeps, and the length of each, in characters.
const MAX_KEPT: (usize, usize) = (3, 400);
/// Interval between two lines of progress in a log.
pub(super) const LINE_INTERVAL: Duration = Duration::from_secs(5);

impl Style {
    /// Returns the style for standard error. `bar` makes that of a bar, `name` is its prefix.
    pub(super) fn new(quiet: bool, name: &str, bar: impl FnOnce() -> Option<ProgressStyle>) -> Self {
        if quiet {
            return Self::Quiet;
        }
        if !io::stderr().is_terminal() {
            let now = Instant::now();
            return Self::Lines { started: now, last: now };
        }
        let shown = ProgressBar::no_length();
        if let Some(style) = bar() {
            shown.set_style(style.progress_chars("=> "));
        }
        shown.set_prefix(name.to_owned());
        shown.set_message("starting");
        shown.enable_steady_tick(Duration::from_millis(200));
        Self::Bar(shown)
    }

    /// Prints a line beside the bar.
    pub(super) fn report(&self, path: &str, reason: &str) {
        let line = format!("{}: {}", printable(path), printable(reason));
        match self {
            Self::Bar(bar) => bar.suspend(|| print_error(&line)),
            Self::Lines { .. } | Self::Quiet => print_error(&line),
            Self::Log(repository) => tracing::warn!(repository = &**repository, "{line}"),
        }
    }
}

/// Adds the key `rate`: archives a second.
fn with_rate(style: ProgressStyle) -> ProgressStyle {
    let rate = |state: &ProgressState, out: &mut dyn fmt::Write| {
        // Writing to memory cannot fail.
        let _ = write!(out, "{:.0}/s", state.per_sec());
    };
    style.with_key("rate", rate)
}

/// Progress of one import.
pub(crate) struct ImportProgress {
    /// The counts so far.
    pub(crate) summary: ImportSummary,
    found: Arc<AtomicU64>,
    style: Style,
    phase: &'static str,
    /// Reports of packages that are printed at the end: what is refused now may be replaced by an update.
    deferred: Option<Vec<(String, String)>>,
    /// Number of reports beyond these, which are not kept.
    more: u64,
    /// Of a repository: its name, the network, and the bytes that it had received before.
    network: Option<(String, Arc<Network>, u64)>,
}

#[derive(Clone)]
pub(super) enum Style {
    Bar(ProgressBar),
    Lines {
        started: Instant,
        last: Instant,
    },
    Quiet,
    /// Reports are log lines about this repository.
    Log(Arc<str>),
}

impl ImportProgress {
    /// Returns the progress of an import that starts now.
    pub(crate) fn new(quiet: bool) -> Self {
        let bar = "{spinner} {msg} {human_pos}/{human_len} [{wide_bar}] {rate} {elapsed_precise}";
        Self::with_style(Style::new(quiet, "", || ProgressStyle::with_template(bar).ok().map(with_rate)))
    }

    fn with_style(style: Style) -> Self {
        Self {
            summary: ImportSummary::default(),
            found: Arc::default(),
            style,
            phase: "starting",
            deferred: None,
            more: 0,
            network: None,
        }
    }

    /// Returns the progress of a refresh of a repository, with the bytes received and the time left. Reports of
    /// packages are kept to its end.
    pub(crate) fn of_repository(quiet: bool, name: &str, network: &Arc<Network>) -> Self {
        let bar = "{spinner} {prefix}: {msg} {human_pos}/{human_len} [{wide_bar}] {rate} {received} {left}";
        let (traffic, before) = (Arc::clone(network), network.traffic().bytes());
        let received = move |_: &ProgressState, out: &mut dyn fmt::Write| {
            let _ = write!(out, "{}", ByteSize(traffic.traffic().bytes() - before));
        };
        let left = |state: &ProgressState, out: &mut dyn fmt::Write| {
            if state.pos() > 0 && state.len() != Some(state.pos()) {
                let _ = write!(out, "{} left", HumanDuration(state.eta()));
            }
        };
        let style = || {
            let style = ProgressStyle::with_template(bar).ok()?;
            Some(with_rate(style).with_key("received", received).with_key("left", left))
        };
        Self::deferred(Style::new(quiet, name, style), name, network)
    }

    /// Returns the progress of a refresh by the service: reports are log lines.
    pub(crate) fn of_service(name: &str, network: &Arc<Network>) -> Self {
        Self::deferred(Style::Log(name.into()), name, network)
    }

    fn deferred(style: Style, name: &str, network: &Arc<Network>) -> Self {
        let mut progress = Self::with_style(style);
        let (style, before) = (progress.style.clone(), network.traffic().bytes());
        let is_quiet = matches!(style, Style::Quiet);
        let notice = move |server: &str, text: &str| style.report(server, text);
        network.set_notice((!is_quiet).then(|| Box::new(notice) as Notice));
        progress.deferred = Some(Vec::new());
        progress.network = Some((name.to_owned(), Arc::clone(network), before));
        progress
    }

    /// Returns the counter of archives found, for a feeder.
    pub(crate) fn found_counter(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.found)
    }

    /// Sets the phase that is displayed.
    pub(crate) fn set_phase(&mut self, phase: &'static str) {
        self.phase = phase;
        if let Style::Bar(bar) = &self.style {
            // What is done belongs to the phase before.
            bar.set_length(self.found.load(Ordering::Relaxed));
            bar.set_position(self.summary.found);
            bar.set_message(phase);
        }
    }

    /// Updates the bar, or prints a line if one is due.
    pub(crate) fn update_display(&mut self) {
        let done = self.summary.found;
        let found = self.found.load(Ordering::Relaxed);
        match &mut self.style {
            Style::Bar(bar) => {
                bar.set_length(found);
                bar.set_position(done);
            }
            Style::Lines { started, last } if last.elapsed() >= LINE_INTERVAL => {
                *last = Instant::now();
                let seconds = started.elapsed().as_secs_f64();
                let (phase, rate) = (self.phase, done as f64 / seconds);
                match &self.network {
                    Some((name, network, before)) => {
                        let received = ByteSize(network.traffic().bytes() - before);
                        let left = found.saturating_sub(done) as f64 / rate.max(0.1);
                        print_error(&format_args!(
                            "{name}: {phase}: {done} of {found} packages, {rate:.0} a second, {received} received, \
                             {left:.0} s left"
                        ));
                    }
                    None => print_error(&format_args!(
                        "{phase}: {done} of {found} archives found so far, {rate:.0} a second"
                    )),
                }
            }
            Style::Lines { .. } | Style::Quiet | Style::Log(_) => {}
        }
    }

    /// Forgets the archives that were broken or unreadable, and those that were found.
    pub(crate) fn restart(&mut self) {
        (self.summary.broken, self.summary.unreadable, self.summary.found) = (0, 0, 0);
        self.found.store(0, Ordering::Relaxed);
        if let Some(deferred) = &mut self.deferred {
            deferred.clear();
            self.more = 0;
        }
    }

    /// The first packages of a repository that are refused, with reasons and without secrets.
    pub(crate) fn first_refused(&self) -> Option<String> {
        let (count, length) = MAX_KEPT;
        let kept = self.deferred.as_ref()?.iter().take(count).map(|(path, reason)| {
            let text = without_url_secrets(&format!("{path}: {reason}"));
            if text.chars().count() > length { text.chars().take(length).chain(['…']).collect() } else { text }
        });
        Some(kept.collect::<Vec<String>>().join("; ")).filter(|text| !text.is_empty())
    }

    /// Prints the reports that were kept, and returns them with the number of those that were not.
    pub(crate) fn take_deferred(&mut self) -> (Vec<(String, String)>, u64) {
        let deferred = self.deferred.take().unwrap_or_default();
        for (path, reason) in &deferred {
            self.report(path, reason);
        }
        let more = std::mem::take(&mut self.more);
        if more > 0 {
            let name = self.network.as_ref().map(|(name, ..)| name.clone()).unwrap_or_default();
            self.report(&name, &format!("and {more} more packages"));
        }
        (deferred, more)
    }

    fn report_or_defer(&mut self, path: &str, reason: &str) {
        // What the network states can begin with the path, too.
        let reason = reason.strip_prefix(path).and_then(|rest| rest.strip_prefix(": ")).unwrap_or(reason);
        match &mut self.deferred {
            Some(deferred) if deferred.len() < MAX_NAMED => deferred.push((path.to_owned(), reason.to_owned())),
            Some(_) => self.more += 1,
            None => self.report(path, reason),
        }
    }

    /// Counts and reports a broken archive.
    pub(crate) fn report_broken(&mut self, path: &str, reason: &str) {
        self.summary.broken += 1;
        self.report_or_defer(path, reason);
    }

    /// Counts broken packages that nothing names.
    pub(crate) fn count_broken(&mut self, count: u64) {
        self.summary.broken += count;
        self.more += count;
    }

    /// Counts and reports a file or directory that could not be read.
    pub(crate) fn report_unreadable(&mut self, path: &str, reason: &str) {
        self.summary.unreadable += 1;
        self.report_or_defer(path, reason);
    }

    /// Counts and reports a directory, one of several, that is not imported.
    pub(crate) fn report_refused(&mut self, failure: &CommandFailure) {
        self.summary.refused += 1;
        self.report("darkserver-import", &failure.to_string());
    }

    /// Counts a link that leads out of the store's directory, and reports it unless quiet.
    pub(crate) fn report_outside_link(&mut self, path: &str, target: &str) {
        self.summary.outside_links += 1;
        self.report_note(
            path,
            &format!("leads out of the store's directory and is not followed: import it with `dir {target}`"),
        );
    }

    /// Reports a note, unless quiet. A note is no error.
    pub(crate) fn report_note(&self, path: &str, text: &str) {
        if !matches!(self.style, Style::Quiet) {
            self.report(path, text);
        }
    }

    /// Prints a line, also when quiet.
    fn report(&self, path: &str, reason: &str) {
        self.style.report(path, reason);
    }
}

impl Drop for ImportProgress {
    fn drop(&mut self) {
        if let Some((_, network, _)) = &self.network {
            network.set_notice(None);
        }
        if let Style::Bar(bar) = &self.style {
            bar.finish_and_clear();
        }
    }
}
