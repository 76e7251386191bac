//! What a question was decided to: an answer or why there is none, and how that came about.

use std::fmt;
use std::time::Duration;

use sql::Record;

use super::Step;
use super::answer::Answer;
use super::outcome::{Cause, CauseKind, Unavailable};
use super::search::SearchOutcome;
use super::trace::{MAX_BYTES, Trace, ascii};
use crate::providers::federation::verdict::{Absence, UpstreamVerdict, Whole};

/// The decision on a question.
pub(crate) struct Decision {
    pub(crate) answer: Result<Answer, NoAnswer>,
    pub(crate) trace: Trace,
}

/// Why a question has no answer.
#[derive(Clone, Debug)]
pub(crate) enum NoAnswer {
    /// No provider has it.
    Absent(Absence),
    /// An upstream has it, and it is larger than the client accepts: its size in bytes, if that was told.
    TooLarge(Option<u64>),
    /// No provider has the section, and an upstream may have the file and serves whole files alone.
    SectionNotServed,
    /// No provider that answered has it, and one of them failed.
    Unavailable(Unavailable),
}

impl Decision {
    /// Absent, whoever would be asked.
    pub(super) fn absent() -> Self {
        Self { answer: Err(NoAnswer::Absent(Absence::Certain)), trace: Trace::default() }
    }

    /// Unavailable again, as a moment ago.
    pub(super) fn unavailable_again(causes: Unavailable) -> Self {
        Self { answer: Err(NoAnswer::Unavailable(causes)), trace: Trace::of_memory() }
    }
}

/// Writes the text: ASCII, bounded, without the texts of causes, which can name hosts.
impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let causes = match &self.answer {
            Err(NoAnswer::Unavailable(Unavailable(causes))) => causes,
            _ => &self.trace.failures,
        };
        let mut steps = String::new();
        self.trace.write_steps(causes, &mut steps)?;
        let answer = ascii(&format!("answer={}", self.name_of_answer()), MAX_BYTES / 2);
        let steps = ascii(&steps, MAX_BYTES - answer.len());
        write!(f, "{steps}{answer}")
    }
}

impl Decision {
    fn name_of_answer(&self) -> String {
        match &self.answer {
            Ok(Answer::Redirect(_)) => "redirect".into(),
            Ok(Answer::File(_)) => match self.trace.ended_by {
                Some(Step::Relayed) => "file that was relayed before".into(),
                Some(Step::Upstreams) => "file that is relayed".into(),
                Some(Step::Index | Step::Unknown) | None => "file of the index".into(),
            },
            Err(NoAnswer::Absent(Absence::Certain)) if self.trace.ended_by.is_some() => {
                "absence, the file has no such section".into()
            }
            Err(NoAnswer::Absent(Absence::Certain)) => "absence".into(),
            Err(NoAnswer::Absent(Absence::Provisional(text))) => format!("provisional absence {text}"),
            Err(NoAnswer::TooLarge(Some(size))) => format!("too large, {size} bytes"),
            Err(NoAnswer::TooLarge(None)) => "too large".into(),
            Err(NoAnswer::SectionNotServed) => "section not served".into(),
            Err(NoAnswer::Unavailable(_)) => "unavailable".into(),
        }
    }
}

/// The course of a decision: what its steps have found so far. None of them has ended it.
pub(super) struct Course {
    /// Files of the index that may be what is asked for.
    pub(super) unknown: Vec<Record>,
    /// True if the index states that there is such a file.
    pub(super) exists: bool,
    /// Time in which files were extracted that turned out to be something else.
    pub(super) examined: Duration,
    pub(super) trace: Trace,
    causes: Vec<Cause>,
    absence: Absence,
    /// True if an upstream may have the file of a section, and serves whole files alone.
    needs_whole_file: bool,
}

impl Course {
    /// Nothing is found yet.
    pub(super) fn new() -> Self {
        Self {
            unknown: Vec::new(),
            exists: false,
            examined: Duration::ZERO,
            trace: Trace::default(),
            causes: Vec::new(),
            absence: Absence::Certain,
            needs_whole_file: false,
        }
    }

    /// Adds the outcome of a search here. Returns what it decides.
    pub(super) fn add_outcome(
        &mut self,
        outcome: Result<SearchOutcome, Unavailable>,
    ) -> Option<Result<Answer, NoAnswer>> {
        match outcome {
            Ok(SearchOutcome::Found(found)) => Some(Ok(Answer::File(found))),
            Ok(SearchOutcome::Settled) => Some(Err(NoAnswer::Absent(Absence::Certain))),
            Ok(SearchOutcome::Absent) => None,
            Err(Unavailable(causes)) => {
                self.causes.extend(causes);
                None
            }
        }
    }

    /// Adds the verdict of the upstreams. Returns what it decides.
    pub(super) fn add_verdict(&mut self, verdict: UpstreamVerdict) -> Option<Result<Answer, NoAnswer>> {
        self.trace.attempts = Some(verdict.attempts);
        match verdict.whole {
            Whole::Found(answer) => Some(Ok(answer)),
            Whole::TooLarge(size) => Some(Err(NoAnswer::TooLarge(size))),
            Whole::SectionsNotServed => {
                self.needs_whole_file = true;
                None
            }
            Whole::Absent(absence) => {
                self.absence = absence;
                None
            }
            Whole::Unavailable(Unavailable(causes)) => {
                self.causes.extend(causes);
                None
            }
        }
    }

    /// The index has a record of what the upstreams, which were asked before, do not have. An absence that is
    /// provisional, since one of them is away, is none then.
    pub(super) fn distrust_absence(&mut self) {
        if let Absence::Provisional(text) = &self.absence {
            let text = format!("the index has a record of it, the upstreams have nothing {text}");
            self.causes.push(Cause::gateway(CauseKind::Refused, text));
        }
    }

    /// The decision, once `step` has ended it by `answer`.
    pub(super) fn end(self, step: Step, answer: Result<Answer, NoAnswer>) -> Decision {
        Decision { answer, trace: Trace { ended_by: Some(step), failures: self.causes, ..self.trace } }
    }

    /// The decision, once all steps are made and none has ended it.
    pub(super) fn conclude(self) -> Decision {
        let no_answer = match (self.causes.is_empty(), self.needs_whole_file) {
            (true, true) => NoAnswer::SectionNotServed,
            (true, false) => NoAnswer::Absent(self.absence),
            (false, _) => NoAnswer::Unavailable(Unavailable(self.causes)),
        };
        Decision { answer: Err(no_answer), trace: self.trace }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::filter;
    use crate::providers::federation::verdict::UpstreamAttempt;
    use crate::resolve::outcome::Provider;

    fn verdict(whole: Whole) -> UpstreamVerdict {
        UpstreamVerdict { whole, attempts: [].into() }
    }

    fn cause() -> Cause {
        Cause::store("s", CauseKind::Timeout, "store s: slow")
    }

    #[test]
    fn all_that_have_nothing_make_an_absence_as_certain_as_the_upstreams_are() {
        let mut course = Course::new();
        assert!(course.add_outcome(Ok(SearchOutcome::Absent)).is_none());
        assert!(matches!(course.conclude().answer, Err(NoAnswer::Absent(Absence::Certain))));
        let mut course = Course::new();
        assert!(course.add_verdict(verdict(Whole::Absent(Absence::Provisional("without b".into())))).is_none());
        assert!(matches!(course.conclude().answer, Err(NoAnswer::Absent(Absence::Provisional(_)))));
    }

    #[test]
    fn one_that_failed_makes_it_unavailable_unless_another_has_it() {
        let failed = || {
            let mut course = Course::new();
            assert!(course.add_outcome(Err(cause().into())).is_none());
            course
        };
        let mut course = failed();
        assert!(course.add_verdict(verdict(Whole::Absent(Absence::Certain))).is_none());
        assert!(matches!(course.conclude().answer, Err(NoAnswer::Unavailable(causes)) if causes.0 == [cause()]));
        let mut course = failed();
        let end = course.add_verdict(verdict(Whole::TooLarge(Some(7)))).unwrap();
        let decision = course.end(Step::Upstreams, end);
        assert!(matches!(decision.answer, Err(NoAnswer::TooLarge(Some(7)))));
        assert_eq!(decision.trace.failures, [cause()]);
    }

    #[test]
    fn a_file_that_settles_the_question_ends_it() {
        let mut course = Course::new();
        let end = course.add_outcome(Ok(SearchOutcome::Settled));
        assert!(matches!(end, Some(Err(NoAnswer::Absent(Absence::Certain)))));
    }

    #[test]
    fn what_the_index_knows_is_not_absent_while_an_upstream_is_away() {
        let mut course = Course::new();
        course.add_verdict(verdict(Whole::Absent(Absence::Provisional("without b".into()))));
        course.distrust_absence();
        assert!(matches!(course.conclude().answer, Err(NoAnswer::Unavailable(_))));
        let mut course = Course::new();
        course.add_verdict(verdict(Whole::Absent(Absence::Certain)));
        course.distrust_absence();
        assert!(matches!(course.conclude().answer, Err(NoAnswer::Absent(Absence::Certain))));
    }

    fn attempt(upstream: &str, outcome: &'static str, took: Option<u64>) -> UpstreamAttempt {
        let detail = "http://me:secret@private.example".to_owned();
        UpstreamAttempt { upstream: upstream.into(), outcome, took: took.map(Duration::from_millis), detail }
    }

    #[test]
    fn a_text_names_what_was_asked_and_what_it_answered() {
        let attempts = [attempt("fedora", "absent", Some(12)), attempt("ubuntu", "open", None)];
        let trace =
            Trace { filter: Some(filter::Verdict::Absent), attempts: Some(attempts.into()), ..Trace::default() };
        let answer = Err(NoAnswer::Absent(Absence::Provisional("without ubuntu".into())));
        assert_eq!(
            Decision { answer, trace }.to_string(),
            "filter=absent; fedora=absent 12 ms; ubuntu=open; answer=provisional absence without ubuntu"
        );
        assert_eq!(Decision::absent().to_string(), "answer=absence");
    }

    #[test]
    fn causes_are_named_by_provider_and_kind_alone() {
        let causes = vec![
            Cause::index(CauseKind::Timeout, "index: mysql://me:secret@db"),
            Cause::store("köji", CauseKind::Reset, "http://me:secret@koji"),
            Cause { provider: Provider::Upstream("suse".into()), kind: CauseKind::Wrong, text: "secret".into() },
        ];
        let again = Decision::unavailable_again(Unavailable(causes.clone())).to_string();
        assert_eq!(again, "memory=unavailable; index=timeout; store k?ji=reset; suse=wrong; answer=unavailable");
        let attempts = [attempt("suse", "failed", Some(3))];
        let trace = Trace { records: Some(2), attempts: Some(attempts.into()), failures: causes, ..Trace::default() };
        let decision = Decision { answer: Err(NoAnswer::TooLarge(Some(9))), trace };
        assert_eq!(
            decision.to_string(),
            "records=2; index=timeout; store k?ji=reset; suse=failed 3 ms; answer=too large, 9 bytes"
        );
    }

    #[test]
    fn a_text_is_bounded_and_keeps_its_answer() {
        let attempts: Vec<_> = (0..99).map(|n| attempt(&format!("upstream-{n}"), "absent", Some(1))).collect();
        let trace = Trace { attempts: Some(attempts.into()), ..Trace::default() };
        let away = format!("without {}", "b, ".repeat(999));
        let text = Decision { answer: Err(NoAnswer::Absent(Absence::Provisional(away))), trace }.to_string();
        assert!(text.len() <= MAX_BYTES && text.contains("...; answer=provisional absence without b"), "{text}");
    }
}
