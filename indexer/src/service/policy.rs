//! What follows from the end of a job: it is done, tried again after a pause, or given up.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use sql::Job;

/// How a try of a job ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum TryEnd {
    /// There is nothing more to do.
    Done,
    /// The build is under way. That is no error.
    Building,
    /// The build was said to be deleted, and the hub has it still: the transaction that deletes it may not be visible.
    NotYet,
    /// The hub does not know the build: it may answer before the transaction that made the build is visible.
    Unknown(String),
    /// The network, a hub, a store or this machine failed.
    Passing(String),
    /// An archive is absent or broken, or the job names what does not exist.
    Permanent(String),
}

/// What becomes of a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Done,
    Retry {
        pause: Duration,
        /// Empty if nothing failed.
        error: String,
    },
    Poison {
        reason: String,
    },
}

/// The kinds of [`TryEnd`] that are counted, each by itself: a hub that was away for a day does not make the first
/// absence of an archive the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Building,
    NotYet,
    Unknown,
    Passing,
    Permanent,
}

/// The pauses after tries of one kind.
struct Pauses {
    first: Duration,
    max: Duration,
    /// Maximum number of tries; `None` for ever.
    max_tries: Option<u32>,
}

impl Kind {
    fn pauses(self) -> Pauses {
        let (first, max, max_tries) = match self {
            Self::Building => (2, 60, None),
            Self::NotYet => (2, 60, Some(7)),
            Self::Unknown => (5, 600, Some(7)),
            Self::Passing => (5, 600, None),
            Self::Permanent => (5, 6 * 3600, Some(12)),
        };
        Pauses { first: Duration::from_secs(first), max: Duration::from_secs(max), max_tries }
    }
}

/// The failures of jobs in a row, of one kind each, since the last request. They are those of this process: after a
/// restart, or in another indexer, a job gets more tries, never fewer.
#[derive(Default)]
pub(super) struct Failures(HashMap<i64, Failed>);

struct Failed {
    kind: Kind,
    /// [`Job::requests`] of the last try.
    requests: i64,
    count: u32,
    last: Instant,
}

/// Number of jobs at which old entries are removed: jobs that another indexer ended.
const MAX_JOBS: usize = 10_000;
/// Age of an entry that is removed then. No pause is longer.
const MAX_AGE: Duration = Duration::from_secs(12 * 3600);

impl Failures {
    /// Returns what becomes of a job after a try. One that was requested again begins anew: whoever asks for it again,
    /// as each message about a build does, may know of something that has changed.
    pub(super) fn judge(&mut self, job: &Job, end: TryEnd) -> Verdict {
        let (job, requests) = (job.id, job.requests);
        let (kind, text) = match end {
            TryEnd::Done => {
                self.0.remove(&job);
                return Verdict::Done;
            }
            TryEnd::Building => (Kind::Building, String::new()),
            TryEnd::NotYet => (Kind::NotYet, String::new()),
            TryEnd::Unknown(text) => (Kind::Unknown, text),
            TryEnd::Passing(text) => (Kind::Passing, text),
            TryEnd::Permanent(text) => (Kind::Permanent, text),
        };
        if self.0.len() >= MAX_JOBS {
            self.0.retain(|_, failed| failed.last.elapsed() < MAX_AGE);
        }
        let last = Instant::now();
        let failed = self.0.entry(job).or_insert(Failed { kind, requests, count: 0, last });
        let before = if (failed.kind, failed.requests) == (kind, requests) { failed.count } else { 0 };
        *failed = Failed { kind, requests, count: before.saturating_add(1), last };
        let Pauses { first, max, max_tries } = kind.pauses();
        if max_tries.is_some_and(|max| before + 1 >= max) {
            self.0.remove(&job);
            if kind == Kind::NotYet {
                // It was not deleted, or it was restored since.
                return Verdict::Done;
            }
            return Verdict::Poison { reason: format!("given up after {} tries: {text}", before + 1) };
        }
        let pause = first.saturating_mul(1 << before.min(20)).min(max);
        Verdict::Retry { pause, error: text }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(requests: i64) -> Job {
        let text = String::new;
        Job { id: 1, kind: text(), key: text(), payload: text(), attempts: 0, requests, queued_at: 0 }
    }

    /// The pauses in seconds after tries that end alike, and the number of the try that is the last.
    fn tries(failures: &mut Failures, end: &TryEnd, count: usize) -> (Vec<u64>, Option<usize>) {
        let mut pauses = Vec::new();
        for at in 1..=count {
            match failures.judge(&job(1), end.clone()) {
                Verdict::Retry { pause, .. } => pauses.push(pause.as_secs()),
                Verdict::Poison { .. } => return (pauses, Some(at)),
                Verdict::Done => panic!("{end:?}"),
            }
        }
        (pauses, None)
    }

    #[test]
    fn pauses_double_up_to_a_maximum() {
        let mut failures = Failures::default();
        let (pauses, last) = tries(&mut failures, &TryEnd::Building, 100);
        assert_eq!((&pauses[..7], last), (&[2, 4, 8, 16, 32, 60, 60][..], None));
        let (pauses, last) = tries(&mut failures, &TryEnd::Passing("down".into()), 100);
        assert_eq!((&pauses[..9], last), (&[5, 10, 20, 40, 80, 160, 320, 600, 600][..], None));
    }

    #[test]
    fn what_stays_as_it_is_becomes_poison() {
        let mut failures = Failures::default();
        let (pauses, last) = tries(&mut failures, &TryEnd::Unknown("no build".into()), 100);
        assert_eq!((pauses, last), (vec![5, 10, 20, 40, 80, 160], Some(7)));
        let (pauses, last) = tries(&mut failures, &TryEnd::Permanent("absent".into()), 100);
        assert_eq!((pauses.len(), pauses.last(), last), (11, Some(&5120), Some(12)));
    }

    #[test]
    fn a_deletion_is_believed_by_the_hubs_answer_alone() {
        let mut failures = Failures::default();
        let verdicts: Vec<Verdict> = (0..7).map(|_| failures.judge(&job(1), TryEnd::NotYet)).collect();
        let pauses = [2, 4, 8, 16, 32, 60].map(Duration::from_secs);
        let retry = |pause| Verdict::Retry { pause, error: String::new() };
        let expected: Vec<Verdict> = pauses.into_iter().map(retry).chain([Verdict::Done]).collect();
        assert_eq!(verdicts, expected);
    }

    #[test]
    fn requests_use_up_no_tries() {
        let mut failures = Failures::default();
        let unknown = TryEnd::Unknown("no build".into());
        for requests in 1..100 {
            let verdict = failures.judge(&job(requests), unknown.clone());
            assert_eq!(verdict, Verdict::Retry { pause: Duration::from_secs(5), error: "no build".into() });
        }
        // Without another request the tries count on.
        let verdicts: Vec<Verdict> = (0..6).map(|_| failures.judge(&job(99), unknown.clone())).collect();
        assert!(matches!(verdicts[4], Verdict::Retry { .. }), "{verdicts:?}");
        assert!(matches!(verdicts[5], Verdict::Poison { .. }), "{verdicts:?}");
    }

    #[test]
    fn failures_of_one_kind_do_not_count_for_another() {
        let mut failures = Failures::default();
        tries(&mut failures, &TryEnd::Passing("down".into()), 50);
        let absent = TryEnd::Permanent("absent".into());
        assert_eq!(
            failures.judge(&job(1), absent.clone()),
            Verdict::Retry { pause: Duration::from_secs(5), error: "absent".into() }
        );
        assert_eq!(failures.judge(&job(1), TryEnd::Done), Verdict::Done);
        assert_eq!(tries(&mut failures, &absent, 100).1, Some(12));
    }
}
