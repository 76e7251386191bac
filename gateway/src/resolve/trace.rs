//! Why an answer was what it was, for a person: in the log, and in the header `X-Darkserver-Trace` where
//! `federation.trace` asks for it.
//!
//! ```text
//! filter=absent; fedora=absent 12 ms; ubuntu=open; answer=provisional absence without ubuntu
//! ```

use std::fmt::{self, Write as _};
use std::sync::Arc;

use super::Step;
use super::answer::Answer;
use super::decision::{Decision, NoAnswer};
use super::outcome::{Cause, Provider, Unavailable};
use crate::index::filter;
use crate::providers::federation::verdict::{Absence, UpstreamAttempt};

/// The longest text, bytes: it is a header.
const MAX_BYTES: usize = 1024;

/// What was asked on the way to a decision, and what it answered. Nothing is allocated for what only the filter knows.
#[derive(Debug, Default)]
pub(crate) struct Trace {
    /// True if the answer was unavailable a moment ago, and nothing was asked this time.
    pub(super) is_remembered: bool,
    /// The filter's verdict, if the index was asked.
    pub(super) filter: Option<filter::Verdict>,
    /// The number of records of the build-id, if they were read.
    pub(super) records: Option<usize>,
    /// The number of files of which only the contents can tell, if they were examined.
    pub(super) examined: Option<usize>,
    /// The upstreams, if they were asked.
    pub(super) attempts: Option<Arc<[UpstreamAttempt]>>,
    /// The step that ended the decision; `None` if all were made.
    pub(super) ended_by: Option<Step>,
    /// What failed, although another one had an answer.
    pub(super) failures: Vec<Cause>,
}

impl Trace {
    /// Nothing was asked: it was unavailable a moment ago.
    pub(super) fn of_memory() -> Self {
        Self { is_remembered: true, ..Self::default() }
    }

    /// Writes what was asked, each with `; ` behind it.
    fn write_steps(&self, causes: &[Cause], text: &mut String) -> fmt::Result {
        if self.is_remembered {
            text.push_str("memory=unavailable; ");
        }
        match self.filter {
            Some(filter::Verdict::Absent) => text.push_str("filter=absent; "),
            Some(filter::Verdict::Maybe) => text.push_str("filter=maybe; "),
            Some(filter::Verdict::Unavailable) => text.push_str("filter=unavailable; "),
            None => {}
        }
        if let Some(records) = self.records {
            write!(text, "records={records}; ")?;
        }
        if let Some(examined) = self.examined {
            write!(text, "examined={examined}; ")?;
        }
        for Cause { provider, kind, .. } in causes {
            let kind = kind.as_str();
            match provider {
                Provider::Index => write!(text, "index={kind}; ")?,
                Provider::Store(name) => write!(text, "store {name}={kind}; ")?,
                // Its attempt tells more.
                Provider::Upstream(_) if self.attempts.is_some() => {}
                Provider::Upstream(name) => write!(text, "{name}={kind}; ")?,
                Provider::Gateway => write!(text, "gateway={kind}; ")?,
            }
        }
        for attempt in self.attempts.iter().flat_map(|attempts| attempts.iter()) {
            write!(text, "{attempt}; ")?;
        }
        Ok(())
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

/// At most `max` bytes of a text, with `?` for each character that no header has.
fn ascii(text: &str, max: usize) -> String {
    const CUT: &str = "...; ";
    let is_printable = |c: char| c.is_ascii_graphic() || c == ' ';
    let mut text: String = text.chars().map(|c| if is_printable(c) { c } else { '?' }).collect();
    if text.len() > max {
        text.truncate(max - CUT.len());
        text.push_str(CUT);
    }
    text
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::resolve::outcome::CauseKind;

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
