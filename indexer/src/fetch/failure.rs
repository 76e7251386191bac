//! Why bytes could not be had over HTTP.

use std::io;
use std::time::Duration;

/// Why a fetch failed, after every mirror that may help was tried.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub(crate) struct FetchError {
    pub(crate) kind: FetchErrorKind,
    /// The URL without secrets, what was expected and what was found.
    pub(crate) text: String,
}

/// In which way a fetch failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FetchErrorKind {
    /// Every mirror that was asked states that it does not have it.
    Absent,
    /// The answer is another file than was asked for, or none.
    Wrong,
    /// The server refuses to give it.
    Refused,
    /// The answers broke off, were too slow, or were errors of the server.
    Unavailable,
    /// No mirror gave any answer for a while: nothing can be had now.
    Down,
    /// The run was stopped.
    Stopped,
}

impl FetchError {
    pub(super) fn stopped() -> Self {
        Self { kind: FetchErrorKind::Stopped, text: "stopped".to_owned() }
    }
}

impl From<FetchError> for io::Error {
    fn from(error: FetchError) -> Self {
        let kind = match error.kind {
            FetchErrorKind::Absent => io::ErrorKind::NotFound,
            FetchErrorKind::Wrong => io::ErrorKind::InvalidData,
            FetchErrorKind::Refused => io::ErrorKind::PermissionDenied,
            FetchErrorKind::Unavailable | FetchErrorKind::Down | FetchErrorKind::Stopped => io::ErrorKind::Other,
        };
        Self::new(kind, error)
    }
}

/// Why one mirror did not give something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) kind: FailureKind,
    pub(super) text: String,
    /// True if the connection stands and nothing, or too little, came on it for too long.
    pub(super) is_stalled: bool,
}

/// In which way one mirror failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FailureKind {
    Absent,
    Wrong,
    Refused,
    /// It did not answer. This may pass.
    Silent,
    /// It gave an answer, but not a complete one. This may pass.
    Passing {
        /// The pause that it asked for.
        retry_after: Option<Duration>,
    },
}

impl Failure {
    pub(super) fn new(kind: FailureKind, text: impl Into<String>) -> Self {
        Self { kind, text: text.into(), is_stalled: false }
    }

    pub(super) fn wrong(text: impl Into<String>) -> Self {
        Self::new(FailureKind::Wrong, text)
    }

    pub(super) fn passing(text: impl Into<String>) -> Self {
        Self::new(FailureKind::Passing { retry_after: None }, text)
    }

    /// The same, because nothing, or too little, came for too long.
    pub(super) fn stalled(self) -> Self {
        Self { is_stalled: true, ..self }
    }

    /// The same with the URL before the text.
    pub(super) fn at(self, shown: &str) -> Self {
        Self { text: format!("{shown}: {}", self.text), ..self }
    }

    /// Returns what it means for a fetch if no other mirror helps.
    pub(super) fn into_error(self) -> FetchError {
        let kind = match self.kind {
            FailureKind::Absent => FetchErrorKind::Absent,
            FailureKind::Wrong => FetchErrorKind::Wrong,
            FailureKind::Refused => FetchErrorKind::Refused,
            FailureKind::Silent | FailureKind::Passing { .. } => FetchErrorKind::Unavailable,
        };
        FetchError { kind, text: self.text }
    }
}
