//! The attempts of one fetch: at which mirror next, and when to give up.

use std::time::{Duration, Instant};

use crate::fetch::failure::{Failure, FailureKind, FetchError, FetchErrorKind};
use crate::fetch::mirrors::{Mirror, MirrorId, Mirrors, UnderWay};

/// Maximum number of answers that broke off or were errors, of all mirrors, for one fetch.
pub(super) const MAX_PASSING: u32 = 6;
/// The number of them that an answer counts for that stalled: it took longer.
const STALL_WEIGHT: u32 = 2;
/// Maximum number of mirrors that state that they do not have a file, or give another one.
const MAX_UNFIT: usize = 4;
/// Maximum time to wait for mirrors that pause once another one stated that it does not have the file.
const MAX_WAIT: Duration = Duration::from_secs(10);

/// The attempts of one fetch.
pub(super) struct Attempts<'a> {
    mirrors: &'a Mirrors,
    /// Mirrors that are not asked again.
    unfit: Vec<MirrorId>,
    /// What the fetch fails with if no other mirror helps.
    unfit_failure: Option<Failure>,
    /// Answers that broke off or were errors.
    passing: u32,
    /// When the first request began that failed and may pass.
    failing_since: Option<Instant>,
    last: Option<Failure>,
    /// Time waited for mirrors that pause, once another one gave an answer.
    waited: Duration,
}

/// A request to one mirror.
pub(super) struct Attempt<'a> {
    pub(super) id: MirrorId,
    pub(super) mirror: &'a Mirror,
    began: Instant,
    _under_way: UnderWay<'a>,
}

impl<'a> Attempts<'a> {
    pub(super) fn new(mirrors: &'a Mirrors) -> Self {
        Self {
            mirrors,
            unfit: Vec::new(),
            unfit_failure: None,
            passing: 0,
            failing_since: None,
            last: None,
            waited: Duration::ZERO,
        }
    }

    /// Waits until a mirror can be asked, and returns it.
    ///
    /// # Errors
    /// No mirror is left, none has answered for too long, or the run is stopped.
    pub(super) async fn next(&mut self) -> Result<Attempt<'a>, FetchError> {
        let mirrors = self.mirrors;
        loop {
            if mirrors.network.stop.is_set() {
                return Err(FetchError::stopped());
            }
            if mirrors.is_down() {
                let last = self.last.take();
                let text = last.map_or_else(|| "no mirror answers".to_owned(), |failure| failure.text);
                let timeout = mirrors.patience();
                let text = format!("{text}; expected an answer of any mirror within {timeout:?}, found none");
                return Err(FetchError { kind: FetchErrorKind::Down, text });
            }
            let pick = if self.unfit.len() < MAX_UNFIT { mirrors.pick(&self.unfit) } else { None };
            let Some(pick) = pick else {
                let failure = self.unfit_failure.take().or(self.last.take());
                let failure = failure.unwrap_or_else(|| Failure::new(FailureKind::Refused, "no mirror is left"));
                return Err(failure.into_error());
            };
            if pick.pause.is_zero() {
                let (id, mirror) = (pick.id, pick.mirror);
                return Ok(Attempt { id, mirror, began: Instant::now(), _under_way: mirror.begin() });
            }
            if self.unfit_failure.is_some() {
                self.waited += pick.pause;
            }
            if let Some(failure) = self.unfit_failure.take_if(|_| self.waited > MAX_WAIT) {
                return Err(failure.into_error());
            }
            tokio::select! {
                () = tokio::time::sleep(pick.pause) => {}
                () = mirrors.watch(pick.mirror, None) => {}
                () = mirrors.network.stopped() => {}
            }
        }
    }

    /// Runs the request of an attempt. `None` if it failed and another attempt may help.
    ///
    /// # Errors
    /// It failed too often, or the run is stopped.
    pub(super) async fn run<T>(
        &mut self,
        attempt: &Attempt<'a>,
        request: impl Future<Output = Result<T, Failure>>,
    ) -> Result<Option<T>, FetchError> {
        let result = tokio::select! {
            result = request => result,
            () = self.mirrors.watch(attempt.mirror, Some(attempt.began)) => {
                let host = &attempt.mirror.host;
                Err(Failure::new(FailureKind::Silent, format!("{host}: expected an answer, found none")).stalled())
            }
            () = self.mirrors.network.stopped() => return Err(FetchError::stopped()),
        };
        let failure = match result {
            Ok(found) => {
                self.mirrors.succeeded(attempt.id);
                return Ok(Some(found));
            }
            Err(failure) => failure,
        };
        self.mirrors.failed(attempt.id, attempt.began, failure.kind);
        match failure.kind {
            FailureKind::Silent | FailureKind::Passing { .. } => {
                let is_silent = failure.kind == FailureKind::Silent;
                let failing_since = *self.failing_since.get_or_insert(attempt.began);
                let is_long = is_silent && failing_since.elapsed() >= self.mirrors.network.limits.down_timeout;
                let has_answered = self.mirrors.has_answered();
                // While no mirror answers, whatever is asked for, the fetch goes on until they count as down.
                if !is_silent || failure.is_stalled && has_answered {
                    self.passing += if failure.is_stalled { STALL_WEIGHT } else { 1 };
                }
                if self.passing >= MAX_PASSING || is_long && has_answered {
                    return Err(failure.into_error());
                }
                self.last = Some(failure);
            }
            FailureKind::Absent | FailureKind::Wrong | FailureKind::Refused => {
                self.unfit.push(attempt.id);
                // Among different ones, an absence proves nothing.
                if self.unfit_failure.as_ref().is_none_or(|first| first.kind == FailureKind::Absent) {
                    self.unfit_failure = Some(failure);
                }
            }
        }
        Ok(None)
    }

    /// Counts the time of an attempt that succeeded for the speed of its mirror.
    pub(super) fn measure(&self, attempt: &Attempt<'_>) {
        attempt.mirror.measured(attempt.began.elapsed());
    }
}
