//! The outcome of one provider of bytes or records: found, absent, or failed.

use std::{fmt, io};

use http_client::FailureKind;

/// `Ok` if a provider has what was asked for, else why it gave nothing.
pub(crate) type Outcome<T> = Result<T, Miss>;

/// Why a provider gave nothing.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum Miss {
    /// It definitely does not have it: what was expected and what was found.
    #[error("{0}")]
    Absent(String),
    /// It could not be asked, or what it gave is not what was asked for. Whether it has it is unknown.
    #[error("{0}")]
    Failed(#[from] Cause),
}

impl Miss {
    /// The store `name` failed.
    pub(crate) fn store(name: &str, kind: CauseKind, text: impl Into<String>) -> Self {
        Cause::store(name, kind, text).into()
    }

    /// This gateway failed to read what a provider had given it.
    pub(crate) fn gateway(kind: CauseKind, text: impl Into<String>) -> Self {
        Cause::gateway(kind, text).into()
    }

    /// This machine failed: no other provider would help.
    pub(crate) fn local(text: impl Into<String>) -> Self {
        Self::gateway(CauseKind::Local, text)
    }

    /// The outcome of several providers of the same: absent if it is at none, else a failure with the texts of all
    /// failures. That of this machine counts before others.
    pub(crate) fn of_all(misses: impl IntoIterator<Item = Self>) -> Self {
        let (mut absent, mut failed) = (Vec::new(), Unavailable::default());
        for miss in misses {
            match miss {
                Self::Absent(text) => absent.push(text),
                Self::Failed(cause) => failed.0.push(cause),
            }
        }
        let text = failed.to_string();
        let first = failed.0.iter().position(|cause| cause.kind == CauseKind::Local).unwrap_or(0);
        match failed.0.into_iter().nth(first) {
            Some(cause) => Self::Failed(Cause { text, ..cause }),
            None => Self::Absent(absent.join("; ")),
        }
    }

    /// True if another provider of the same may succeed.
    pub(crate) fn is_of_provider(&self) -> bool {
        matches!(self, Self::Failed(cause) if cause.kind != CauseKind::Local)
    }

    /// The same as a failure of one provider alone: this machine could not take what that one gave, and may take what
    /// another one gives.
    pub(crate) fn of_one_provider(self) -> Self {
        match self {
            Self::Failed(cause) if cause.kind == CauseKind::Local => {
                Self::Failed(Cause { kind: CauseKind::Broken, ..cause })
            }
            miss => miss,
        }
    }

    /// True if this machine could not take what a provider gave.
    pub(crate) fn is_local(&self) -> bool {
        matches!(self, Self::Failed(cause) if cause.kind == CauseKind::Local)
    }
}

/// Returns the value of the label `outcome` in metrics: `found`, `absent` or `failed`.
pub(crate) fn label<T>(outcome: &Outcome<T>) -> &'static str {
    match outcome {
        Ok(_) => "found",
        Err(Miss::Absent(_)) => "absent",
        Err(Miss::Failed(_)) => "failed",
    }
}

/// Why a provider failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub(crate) struct Cause {
    pub(crate) provider: Provider,
    pub(crate) kind: CauseKind,
    /// What was expected and what was found, for logs. It begins with the provider's name.
    pub(crate) text: String,
}

/// A provider of bytes or records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Provider {
    /// The database.
    Index,
    /// The store with this name.
    Store(String),
    /// The upstream with this name.
    Upstream(String),
    /// This gateway: its cache, its limits.
    Gateway,
}

/// In which way a provider failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CauseKind {
    /// It gave no answer, or no further byte, in time.
    Timeout,
    /// It refused the connection or the request.
    Refused,
    /// It ended the connection before the answer was complete.
    Reset,
    /// Its answer cannot be read.
    Broken,
    /// It answered with something else than was asked for.
    Wrong,
    /// This machine failed: no other provider would help.
    Local,
}

impl Cause {
    /// The index failed.
    pub(crate) fn index(kind: CauseKind, text: impl Into<String>) -> Self {
        Self { provider: Provider::Index, kind, text: text.into() }
    }

    /// The store `name` failed.
    pub(crate) fn store(name: &str, kind: CauseKind, text: impl Into<String>) -> Self {
        Self { provider: Provider::Store(name.to_owned()), kind, text: text.into() }
    }

    /// This gateway failed to read what a provider had given it.
    pub(crate) fn gateway(kind: CauseKind, text: impl Into<String>) -> Self {
        Self { provider: Provider::Gateway, kind, text: text.into() }
    }
}

impl CauseKind {
    /// One word, for people.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Timeout => "timeout",
            Self::Refused => "refused",
            Self::Reset => "reset",
            Self::Broken => "broken",
            Self::Wrong => "wrong",
            Self::Local => "local",
        }
    }

    /// Classifies an error of reading or writing.
    pub(crate) fn of_io(error: &io::Error) -> Self {
        FailureKind::of_io(error).into()
    }

    /// Classifies an HTTP error.
    pub(crate) fn of_http(error: &reqwest::Error) -> Self {
        FailureKind::of(error).into()
    }
}

impl From<FailureKind> for CauseKind {
    fn from(kind: FailureKind) -> Self {
        match kind {
            FailureKind::Timeout => Self::Timeout,
            FailureKind::Refused => Self::Refused,
            FailureKind::Reset => Self::Reset,
            FailureKind::Broken => Self::Broken,
        }
    }
}

/// No answer: no provider has it, and some of them failed. Every failure counts.
#[derive(Clone, Debug, Default)]
pub(crate) struct Unavailable(pub(crate) Vec<Cause>);

impl fmt::Display for Unavailable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, cause) in self.0.iter().enumerate() {
            let separator = if at > 0 { "; " } else { "" };
            write!(f, "{separator}{cause}")?;
        }
        Ok(())
    }
}

impl From<Cause> for Unavailable {
    fn from(cause: Cause) -> Self {
        Self(vec![cause])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_counts_before_absence_and_one_of_this_machine_before_others() {
        let absent = || Miss::Absent("no such file".into());
        let hangs = || Miss::store("a", CauseKind::Timeout, "store a: hangs");
        let full = || Miss::local("the disk is full");
        assert!(
            matches!(Miss::of_all([absent(), absent()]), Miss::Absent(text) if text == "no such file; no such file")
        );
        let failed = Miss::of_all([absent(), hangs()]);
        assert!(failed.is_of_provider() && failed.to_string() == "store a: hangs", "{failed}");
        let local = Miss::of_all([hangs(), full()]);
        assert!(local.is_local() && local.to_string() == "store a: hangs; the disk is full", "{local}");
    }
}
