//! What a hub answers instead of a result, and why a request to a hub failed.

use std::fmt;

/// The hub's statement that a call failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("fault {code}: {text}")]
pub(crate) struct Fault {
    /// Koji's `faultCode`: 1000 and more, or 1 for an exception that is not Koji's own.
    pub(crate) code: i64,
    pub(crate) text: String,
}

/// Why a request to a hub failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) struct HubError {
    pub(crate) kind: HubErrorKind,
    /// The hub's URL without secrets, what was expected and what was found.
    pub(crate) text: String,
}

/// In which way a request to a hub failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HubErrorKind {
    /// No complete answer came, or the hub states that it is offline. This may pass.
    Unreachable,
    /// The answer is not one of a hub, or not one to the calls that were made.
    Wrong,
    /// The hub states that the call failed.
    Fault,
}

impl Fault {
    /// `faultCode` of `koji.ServerOffline`.
    const SERVER_OFFLINE: i64 = 1014;
    /// `faultCode` of `koji.LockError`.
    const LOCK_ERROR: i64 = 1001;
    /// The code of a result that is not what the call returns. Koji's own codes are positive.
    pub(super) const WRONG_RESULT: i64 = 0;
    /// Maximum number of characters of a hub's text.
    const MAX_TEXT: usize = 500;

    /// Returns a fault with at most the first 500 characters of a hub's text.
    pub(super) fn new(code: i64, text: &str) -> Self {
        Self { code, text: text.chars().take(Self::MAX_TEXT).collect() }
    }

    /// The fault that stands for a result that is not what the call returns.
    pub(super) fn wrong_result(text: impl fmt::Display) -> Self {
        Self::new(Self::WRONG_RESULT, &text.to_string())
    }

    /// True if the same call may succeed later.
    pub(crate) fn may_pass(&self) -> bool {
        matches!(self.code, Self::SERVER_OFFLINE | Self::LOCK_ERROR)
    }
}

impl HubError {
    pub(super) fn new(kind: HubErrorKind, text: impl Into<String>) -> Self {
        Self { kind, text: text.into() }
    }

    pub(super) fn unreachable(text: impl Into<String>) -> Self {
        Self::new(HubErrorKind::Unreachable, text)
    }

    pub(super) fn wrong(text: impl Into<String>) -> Self {
        Self::new(HubErrorKind::Wrong, text)
    }

    /// The same with the hub's URL before the text.
    pub(super) fn at(self, shown: &str) -> Self {
        Self { text: format!("{shown}: {}", self.text), ..self }
    }
}

impl From<Fault> for HubError {
    fn from(fault: Fault) -> Self {
        let kind = match fault.code {
            _ if fault.may_pass() => HubErrorKind::Unreachable,
            Fault::WRONG_RESULT => HubErrorKind::Wrong,
            _ => HubErrorKind::Fault,
        };
        let text = if kind == HubErrorKind::Wrong { fault.text } else { fault.to_string() };
        Self { kind, text }
    }
}

impl fmt::Display for HubError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
