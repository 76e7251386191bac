//! What the operator sees while an import runs: a bar in a terminal, a line every few seconds elsewhere.

use std::fmt;
use std::io::{self, IsTerminal};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressState, ProgressStyle};

use crate::report::failure::Failure;
use crate::report::output::say;
use crate::report::summary::Summary;

/// How often a log gets a line.
const LINE_EVERY: Duration = Duration::from_secs(5);

/// Progress of one import.
pub(crate) struct Progress {
    /// What was done so far.
    pub(crate) summary: Summary,
    found: Arc<AtomicU64>,
    style: Style,
    phase: &'static str,
}

enum Style {
    Bar(ProgressBar),
    Lines { started: Instant, last: Instant },
    Quiet,
}

impl Progress {
    /// Progress of an import that begins now.
    pub(crate) fn new(quiet: bool) -> Self {
        let style = if quiet {
            Style::Quiet
        } else if io::stderr().is_terminal() {
            let bar = ProgressBar::no_length();
            if let Ok(style) = ProgressStyle::with_template(
                "{spinner} {msg} {human_pos}/{human_len} [{wide_bar}] {rate} {elapsed_precise}",
            ) {
                let rate = |state: &ProgressState, out: &mut dyn fmt::Write| {
                    // Writing to memory cannot fail.
                    let _ = write!(out, "{:.0}/s", state.per_sec());
                };
                bar.set_style(style.with_key("rate", rate).progress_chars("=> "));
            }
            bar.enable_steady_tick(Duration::from_millis(200));
            Style::Bar(bar)
        } else {
            let now = Instant::now();
            Style::Lines { started: now, last: now }
        };
        Self { summary: Summary::default(), found: Arc::default(), style, phase: "starting" }
    }

    /// The counter of archives found, for a feeder.
    pub(crate) fn found(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.found)
    }

    /// Says what is being done now.
    pub(crate) fn phase(&mut self, phase: &'static str) {
        self.phase = phase;
        if let Style::Bar(bar) = &self.style {
            bar.set_message(phase);
        }
    }

    /// Shows how many archives are done.
    pub(crate) fn show(&mut self) {
        let done = self.summary.found;
        let found = self.found.load(Ordering::Relaxed);
        match &mut self.style {
            Style::Bar(bar) => {
                bar.set_length(found);
                bar.set_position(done);
            }
            Style::Lines { started, last } if last.elapsed() >= LINE_EVERY => {
                *last = Instant::now();
                let seconds = started.elapsed().as_secs_f64();
                let (phase, rate) = (self.phase, done as f64 / seconds);
                say(&format_args!("{phase}: {done} of {found} archives found so far, {rate:.0} a second"));
            }
            Style::Lines { .. } | Style::Quiet => {}
        }
    }

    /// Counts and reports an archive that is no sound package.
    pub(crate) fn broken(&mut self, path: &str, wrong: &str) {
        self.summary.broken += 1;
        self.report(path, wrong);
    }

    /// Counts and reports a file or folder that could not be read.
    pub(crate) fn problem(&mut self, path: &str, wrong: &str) {
        self.summary.problems += 1;
        self.report(path, wrong);
    }

    /// Counts and reports a folder, one of several, that is not imported.
    pub(crate) fn refused(&mut self, failure: &Failure) {
        self.summary.refused += 1;
        self.report("darkserver-import", &failure.to_string());
    }

    /// Counts a link that leads out of the store's directory, and reports it unless quiet.
    pub(crate) fn link_out(&mut self, path: &str, target: &str) {
        self.summary.links_out += 1;
        self.note(
            path,
            &format!("leads out of the store's directory and is not followed: import it with `dir {target}`"),
        );
    }

    /// Says it once, unless quiet: nothing is wrong.
    pub(crate) fn note(&self, path: &str, text: &str) {
        if !matches!(self.style, Style::Quiet) {
            self.report(path, text);
        }
    }

    /// Says it once, also when quiet.
    fn report(&self, path: &str, wrong: &str) {
        let line = format!("{}: {}", printable(path), printable(wrong));
        match &self.style {
            Style::Bar(bar) => bar.suspend(|| say(&line)),
            Style::Lines { .. } | Style::Quiet => say(&line),
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Style::Bar(bar) = &self.style {
            bar.finish_and_clear();
        }
    }
}

/// Control characters of hostile names as `\n` or `\u{1b}`: a report stays one line and no terminal obeys it.
fn printable(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut line, c| {
        if c.is_control() {
            line.extend(c.escape_default())
        } else {
            line.push(c)
        }
        line
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_one_line_without_control_characters() {
        assert_eq!(printable("a\nb\u{1b}[31mé"), "a\\nb\\u{1b}[31mé");
    }
}
