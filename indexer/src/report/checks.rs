//! Progress and summary of checks of places.

use std::fmt;
use std::io::{self, IsTerminal};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use crate::fetch::presence::Finding;
use crate::report::output::{print_error, printable};
use crate::report::summary::counted;
use crate::report::urls::without_url_secrets;

/// Interval between two lines of progress in a log.
const LINE_INTERVAL: Duration = Duration::from_secs(5);

/// The counts of checks: the object that `--json` prints.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(crate) struct CheckSummary {
    /// Places that were looked at.
    pub(crate) looked_at: u64,
    /// Of these, places that have their archive.
    pub(crate) present: u64,
    /// Of these, places that had their archive, and have none or another file now.
    pub(crate) gone: u64,
    /// Of these, places that follow from a pattern, and have never had their archive.
    pub(crate) absent: u64,
    /// Of these, places of which nothing is known.
    pub(crate) failed: u64,
    /// Places in the index that are due, and were not looked at.
    pub(crate) left: u64,
    /// Names of stores that were left because of failures.
    pub(crate) given_up: Vec<String>,
    /// Duration.
    pub(crate) seconds: f64,
}

/// Progress of checks: a bar in a terminal, else a line every few seconds.
pub(crate) struct CheckProgress {
    started: Instant,
    style: Style,
    state: Mutex<State>,
}

enum Style {
    Bar(ProgressBar),
    Lines,
    Quiet,
    /// Reports are log lines.
    Log,
}

struct State {
    summary: CheckSummary,
    /// When the last line was printed.
    line_at: Instant,
}

impl CheckProgress {
    /// Returns the progress of checks that begin now and take `budget` at most.
    pub(crate) fn new(quiet: bool, budget: Duration) -> Self {
        let style = if quiet {
            Style::Quiet
        } else if io::stderr().is_terminal() {
            let bar = ProgressBar::new(budget.as_secs());
            if let Ok(style) = ProgressStyle::with_template("{spinner} checking places [{bar:20}] {eta} left: {msg}") {
                bar.set_style(style.progress_chars("=> "));
            }
            bar.enable_steady_tick(Duration::from_millis(200));
            Style::Bar(bar)
        } else {
            Style::Lines
        };
        Self::with_style(style)
    }

    /// Returns the progress of checks by the service.
    pub(crate) fn of_service() -> Self {
        Self::with_style(Style::Log)
    }

    fn with_style(style: Style) -> Self {
        let now = Instant::now();
        Self { started: now, style, state: Mutex::new(State { summary: CheckSummary::default(), line_at: now }) }
    }

    /// Counts what was found at a place. `was_seen` if its archive was there before.
    pub(crate) fn count(&self, finding: &Finding, was_seen: bool) {
        let mut state = self.state();
        let summary = &mut state.summary;
        summary.looked_at += 1;
        match finding {
            Finding::Present { .. } => summary.present += 1,
            Finding::Gone { .. } if was_seen => summary.gone += 1,
            Finding::Gone { .. } => summary.absent += 1,
            Finding::Failed { .. } => summary.failed += 1,
        }
        let CheckSummary { looked_at, gone, absent, failed, .. } = *summary;
        let text = format!("{looked_at} looked at, {gone} gone, {absent} not there, {failed} failed");
        match &self.style {
            Style::Bar(bar) => {
                bar.set_position(self.started.elapsed().as_secs());
                bar.set_message(text);
            }
            Style::Lines if state.line_at.elapsed() >= LINE_INTERVAL => {
                state.line_at = Instant::now();
                print_error(&format_args!("checking places: {text}"));
            }
            Style::Lines | Style::Quiet | Style::Log => {}
        }
    }

    /// Reports a store that is left for the next run.
    pub(crate) fn give_up(&self, store: &str, reason: &str) {
        self.state().summary.given_up.push(store.to_owned());
        let line = format!("store {store}: left for the next run: {}", without_url_secrets(reason));
        match &self.style {
            Style::Bar(bar) => bar.suspend(|| print_error(&printable(&line))),
            Style::Lines | Style::Quiet => print_error(&printable(&line)),
            Style::Log => tracing::warn!("{}", printable(&line)),
        }
    }

    /// Returns the counts, with the number of places that were not looked at.
    pub(crate) fn summary(&self, left: u64) -> CheckSummary {
        CheckSummary { left, seconds: self.started.elapsed().as_secs_f64(), ..self.state().summary.clone() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for CheckProgress {
    fn drop(&mut self) {
        if let Style::Bar(bar) = &self.style {
            bar.finish_and_clear();
        }
    }
}

impl fmt::Display for CheckSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { looked_at, present, gone, absent, failed, left, given_up, seconds } = self;
        let places = counted(*looked_at, "place");
        write!(
            f,
            "{places} looked at: {present} present, {gone} gone, {absent} not there, {failed} failed; {left} left"
        )?;
        if !given_up.is_empty() {
            write!(f, "; stores GIVEN UP: {}", given_up.join(", "))?;
        }
        write!(f, "; {seconds:.1} s")
    }
}
