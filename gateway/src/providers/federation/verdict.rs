//! What the upstreams answered together: found, absent, or unavailable.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::config::AbsentQuorum;
use crate::resolve::answer::Answer;
use crate::resolve::outcome::{Cause, Unavailable};

/// What the upstreams answered together, and each of them.
#[derive(Clone)]
pub(crate) struct UpstreamVerdict {
    pub(crate) whole: Whole,
    /// In the order of their outcomes.
    pub(crate) attempts: Arc<[UpstreamAttempt]>,
}

impl UpstreamVerdict {
    /// No upstream was asked.
    pub(super) fn without_attempts(whole: Whole) -> Self {
        Self { whole, attempts: [].into() }
    }

    /// No upstream could be asked.
    pub(super) fn unavailable(cause: Cause) -> Self {
        Self::without_attempts(Whole::Unavailable(cause.into()))
    }
}

/// What the upstreams answered together.
#[derive(Clone)]
pub(crate) enum Whole {
    /// One of them has it.
    Found(Answer),
    /// One of them has it, and it is larger than the client accepts: its size in bytes, if the upstream told.
    TooLarge(Option<u64>),
    /// None of them has it.
    Absent(Absence),
    /// None of them has it, and some of them serve whole files alone: what was asked for is a section, which a client
    /// can read from the whole file.
    SectionsNotServed,
    /// None of those that answered has it, and the answer of another one is needed.
    Unavailable(Unavailable),
}

/// How far an absence may be relied on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Absence {
    /// All of the quorum answered.
    Certain,
    /// It may be had later: from an upstream that is not reached at present, or that needs time. It is not remembered.
    /// The text names the upstreams and why.
    Provisional(String),
}

/// What an upstream that has it gave.
#[derive(Clone)]
pub(super) enum Given {
    Answer(Answer),
    TooLarge(Option<u64>),
}

/// What one upstream answered, for a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct UpstreamAttempt {
    /// The name of the upstream.
    pub(crate) upstream: String,
    /// One of a few words: `found`, `too_large`, `absent`, `remembered`, `failed`, `open`.
    pub(crate) outcome: &'static str,
    /// How long it took; `None` if it was not asked.
    pub(crate) took: Option<Duration>,
    /// Why, where the outcome alone does not tell.
    pub(crate) detail: String,
}

impl fmt::Display for UpstreamAttempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.upstream, self.outcome)?;
        self.took.map_or(Ok(()), |took| write!(f, " {} ms", took.as_millis()))
    }
}

/// What is known of one upstream that serves what was asked for, when all others had nothing.
pub(super) struct QuorumMember {
    /// The name of the upstream.
    pub(super) name: String,
    pub(super) state: MemberState,
    /// True if the upstream gave a file of this build-id before.
    pub(super) is_known_to_have_it: bool,
}

/// What one upstream stated.
pub(super) enum MemberState {
    /// It does not have it. `is_late` if it may have it some minutes later.
    Absent { is_late: bool },
    /// It was asked and gave no answer.
    Failed(Cause),
    /// It was not asked: its breaker was opened that long ago.
    Away { since: Duration, cause: Cause },
}

/// Decides from the words of all upstreams that serve what was asked for, none of which found it.
///
/// An upstream whose breaker was open for `unreachable_after` leaves the quorum, unless the word of all is needed, it
/// is known to have the file, `exists` states that there is such a file, or no other upstream answered.
pub(super) fn decide(
    members: Vec<QuorumMember>,
    quorum: AbsentQuorum,
    unreachable_after: Duration,
    exists: bool,
) -> Result<Absence, Unavailable> {
    let has_answer = members.iter().any(|member| matches!(member.state, MemberState::Absent { .. }));
    let (mut causes, mut away, mut late) = (Vec::new(), Vec::new(), Vec::new());
    for QuorumMember { name, state, is_known_to_have_it } in members {
        match state {
            MemberState::Absent { is_late: false } => {}
            MemberState::Absent { is_late: true } => late.push(name),
            MemberState::Failed(cause) => causes.push(cause),
            MemberState::Away { since, cause } => {
                let may_leave = quorum == AbsentQuorum::Reachable
                    && since >= unreachable_after
                    && has_answer
                    && !is_known_to_have_it
                    && !exists;
                if may_leave { away.push(name) } else { causes.push(cause) }
            }
        }
    }
    if !causes.is_empty() {
        return Err(Unavailable(causes));
    }
    let reasons = [("without", away), ("may come later from", late)];
    let reasons: Vec<String> = reasons
        .into_iter()
        .filter(|(_, names)| !names.is_empty())
        .map(|(reason, names)| format!("{reason} {}", names.join(", ")))
        .collect();
    Ok(if reasons.is_empty() { Absence::Certain } else { Absence::Provisional(reasons.join("; ")) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resolve::outcome::{CauseKind, Provider};

    const AFTER: Duration = Duration::from_secs(300);

    fn member(name: &str, state: MemberState) -> QuorumMember {
        QuorumMember { name: name.into(), state, is_known_to_have_it: false }
    }

    fn cause(name: &str) -> Cause {
        Cause { provider: Provider::Upstream(name.into()), kind: CauseKind::Timeout, text: name.into() }
    }

    fn absent(name: &str) -> QuorumMember {
        member(name, MemberState::Absent { is_late: false })
    }

    fn away(name: &str, seconds: u64) -> QuorumMember {
        member(name, MemberState::Away { since: Duration::from_secs(seconds), cause: cause(name) })
    }

    fn names(decided: &Result<Absence, Unavailable>) -> Vec<&str> {
        decided.as_ref().unwrap_err().0.iter().map(|cause| cause.text.as_str()).collect()
    }

    #[test]
    fn all_that_answered_make_an_absence_certain() {
        let decided = decide(vec![absent("a"), absent("b")], AbsentQuorum::Reachable, AFTER, false);
        assert_eq!(decided.unwrap(), Absence::Certain);
        assert_eq!(decide(vec![], AbsentQuorum::All, AFTER, false).unwrap(), Absence::Certain, "nobody serves it");
    }

    #[test]
    fn one_that_failed_leaves_it_open() {
        let failed = || member("b", MemberState::Failed(cause("b")));
        for quorum in [AbsentQuorum::Reachable, AbsentQuorum::All] {
            assert_eq!(names(&decide(vec![absent("a"), failed()], quorum, AFTER, false)), ["b"]);
        }
    }

    #[test]
    fn one_that_is_away_for_long_leaves_the_quorum_while_another_answers() {
        let reachable = |members| decide(members, AbsentQuorum::Reachable, AFTER, false);
        assert_eq!(names(&reachable(vec![absent("a"), away("b", 299)])), ["b"]);
        let provisional = reachable(vec![absent("a"), away("b", 300), away("c", 9000)]).unwrap();
        assert_eq!(provisional, Absence::Provisional("without b, c".into()));
        assert_eq!(names(&reachable(vec![away("a", 9000), away("b", 9000)])), ["a", "b"], "nobody answered");
        let all = decide(vec![absent("a"), away("b", 9000)], AbsentQuorum::All, AFTER, false);
        assert_eq!(names(&all), ["b"]);
    }

    #[test]
    fn what_is_known_to_exist_is_never_absent_while_one_is_away() {
        let known = QuorumMember { is_known_to_have_it: true, ..away("b", 9000) };
        assert_eq!(names(&decide(vec![absent("a"), known], AbsentQuorum::Reachable, AFTER, false)), ["b"]);
        let exists = decide(vec![absent("a"), away("b", 9000)], AbsentQuorum::Reachable, AFTER, true);
        assert_eq!(names(&exists), ["b"]);
    }

    #[test]
    fn one_that_is_late_makes_an_absence_provisional() {
        let late = member("suse", MemberState::Absent { is_late: true });
        let decided = decide(vec![absent("a"), late], AbsentQuorum::All, AFTER, false).unwrap();
        assert_eq!(decided, Absence::Provisional("may come later from suse".into()));
    }
}
