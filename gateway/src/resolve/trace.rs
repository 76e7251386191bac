//! Why an answer was what it was, for a person: in the log, and in the header `X-Darkserver-Trace` where
//! `federation.trace` asks for it.
//!
//! ```text
//! filter=absent; fedora=absent 12 ms; ubuntu=open; answer=provisional absence without ubuntu
//! ```

use std::fmt::{self, Write as _};
use std::sync::Arc;

use super::Step;
use super::outcome::{Cause, Provider};
use crate::index::filter;
use crate::providers::federation::verdict::UpstreamAttempt;

/// The longest text, bytes: it is a header.
pub(super) const MAX_BYTES: usize = 1024;

/// What was asked on the way to a decision, and what it answered. Nothing is allocated for what only the filter knows.
#[derive(Debug, Default)]
pub(crate) struct Trace {
    /// True if the answer was unavailable a moment ago, and nothing was asked this time.
    pub(super) is_remembered: bool,
    /// The filter's verdict, if the index was asked.
    pub(super) filter: Option<filter::Verdict>,
    /// The number of records of the build-id, if they were read.
    pub(super) records: Option<usize>,
    /// The number of records that packages with claims of the build-id have, if they were read.
    pub(super) confirmed: Option<usize>,
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
    pub(super) fn write_steps(&self, causes: &[Cause], text: &mut String) -> fmt::Result {
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
        if let Some(confirmed) = self.confirmed {
            write!(text, "confirmed={confirmed}; ")?;
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

/// At most `max` bytes of a text, with `?` for each character that no header has.
pub(super) fn ascii(text: &str, max: usize) -> String {
    const CUT: &str = "...; ";
    let is_printable = |c: char| c.is_ascii_graphic() || c == ' ';
    let mut text: String = text.chars().map(|c| if is_printable(c) { c } else { '?' }).collect();
    if text.len() > max {
        text.truncate(max - CUT.len());
        text.push_str(CUT);
    }
    text
}
