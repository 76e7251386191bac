//! A client that notes how long each answer took. It follows redirects and never asks twice.

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use compat_tests::http;

/// What a client learns from an answer.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Found,
    Absent,
    /// A 503, or a connection that was reset or closed before the whole answer came.
    Unavailable,
}

/// One answer.
pub(super) struct Timed {
    pub(super) verdict: Verdict,
    /// Until its last byte.
    pub(super) time: Duration,
}

/// The answers to some requests.
pub(super) struct Answers {
    /// Sorted by time.
    answers: Vec<Timed>,
    /// From the first request to the last answer.
    time: Duration,
}

impl Answers {
    /// Requests all of these paths, `at_once` at a time.
    pub(super) fn of(port: u16, paths: &[String], at_once: usize) -> Result<Self> {
        let (waiting, started) = (Mutex::new(paths.iter().collect::<VecDeque<_>>()), Instant::now());
        let next = || waiting.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        let ask_in_turn = || -> Result<Vec<Timed>> { std::iter::from_fn(next).map(|path| ask(port, path)).collect() };
        let parts = std::thread::scope(|scope| {
            let clients: Vec<_> = (0..at_once).map(|_| scope.spawn(ask_in_turn)).collect();
            clients
                .into_iter()
                .map(|client| client.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
                .collect::<Result<Vec<_>>>()
        })?;
        let mut answers: Vec<Timed> = parts.into_iter().flatten().collect();
        answers.sort_by_key(|answer| answer.time);
        Ok(Self { answers, time: started.elapsed() })
    }

    /// Answers per second.
    pub(super) fn rate(&self) -> f64 {
        self.answers.len() as f64 / self.time.as_secs_f64()
    }

    /// The time within which this share of the answers came, in milliseconds.
    pub(super) fn percentile(&self, share: f64) -> Option<f64> {
        let last = self.answers.len().checked_sub(1)?;
        let at = (self.answers.len() as f64 * share).ceil() as usize;
        Some(self.answers[at.saturating_sub(1).min(last)].time.as_secs_f64() * 1e3)
    }

    pub(super) fn count(&self, verdict: Verdict) -> usize {
        self.answers.iter().filter(|answer| answer.verdict == verdict).count()
    }

    /// The share of the answers with this verdict, in percent.
    pub(super) fn percent_of(&self, verdict: Verdict) -> f64 {
        100.0 * self.count(verdict) as f64 / self.answers.len() as f64
    }

    /// The share of the answers that came within this time, in percent.
    pub(super) fn percent_within(&self, time: Duration) -> f64 {
        let within = self.answers.iter().filter(|answer| answer.time <= time).count();
        100.0 * within as f64 / self.answers.len() as f64
    }
}

/// Requests a path, and what it is redirected to.
///
/// # Errors
/// If the answer is neither a file nor a refusal.
pub(super) fn ask(port: u16, path: &str) -> Result<Timed> {
    let started = Instant::now();
    let verdict = ask_following(port, path)?;
    Ok(Timed { verdict, time: started.elapsed() })
}

fn ask_following(port: u16, path: &str) -> Result<Verdict> {
    let answer = match http::get(port, path) {
        Err(error) if [ErrorKind::ConnectionReset, ErrorKind::UnexpectedEof].contains(&error.kind()) => {
            return Ok(Verdict::Unavailable);
        }
        answer => answer.with_context(|| format!("GET {path}"))?,
    };
    match answer.status {
        200 => Ok(Verdict::Found),
        302 => {
            let location = answer.header("location").unwrap_or_default();
            let target = location.strip_prefix("http://127.0.0.1:").and_then(|rest| rest.split_once('/'));
            let (port, path) = target.with_context(|| format!("expected a URL of this machine, found {location}"))?;
            ask_following(port.parse()?, &format!("/{path}"))
        }
        404 => Ok(Verdict::Absent),
        503 => Ok(Verdict::Unavailable),
        status => bail!("GET {path}: expected a file, a redirect, 404 or 503, found {status}"),
    }
}
