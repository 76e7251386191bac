//! Jobs: work that is to be done, and what cannot be processed.

use std::time::Duration;

use super::import::{check_length, truncate};
use crate::Result;

/// Work that is requested: the input of [`crate::Index::enqueue`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewJob {
    /// What kind of work it is.
    pub kind: &'static str,
    /// Identifies the work: there is at most one job for the same work.
    pub key: String,
    /// What is to be done, in the terms of its kind.
    pub payload: String,
    /// Time to wait before the first try.
    pub delay: Duration,
}

/// A job that a holder has claimed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// Its id. No other job ever has it.
    pub id: i64,
    /// What kind of work it is.
    pub kind: String,
    /// Identifies the work.
    pub key: String,
    /// What is to be done, in the terms of its kind.
    pub payload: String,
    /// Tries that failed since the last request.
    pub attempts: u32,
    /// How often it was requested before it was claimed.
    pub requests: i64,
    /// When the waiting work was requested first, seconds since 1970.
    pub queued_at: i64,
}

/// A message or a job that cannot be processed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Poison {
    /// Its id.
    pub id: i64,
    /// The queue or hook from which it came, or `job` and its kind.
    pub source: String,
    /// Why it cannot be processed.
    pub reason: String,
    /// When it was received, seconds since 1970.
    pub received_at: i64,
    /// The beginning of its body: 120 characters.
    pub payload: String,
}

impl NewJob {
    /// Checks that every value fits the schema.
    pub(crate) fn check(&self) -> Result<()> {
        let subject = truncate(&self.key);
        check_length(&subject, "kind of a job", 32, self.kind.len())?;
        check_length(&subject, "key of a job", 255, self.key.len())?;
        check_length(&subject, "payload of a job", 1 << 20, self.payload.len())
    }
}
