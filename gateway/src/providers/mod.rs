//! Providers of bytes: stores (directory, HTTP) and upstreams (other debuginfod servers).

pub(crate) mod archives;
pub(crate) mod breaker;
pub(crate) mod federation;
pub(crate) mod flow;
pub(crate) mod identity;
pub(crate) mod latency;
mod sigcache;
pub(crate) mod walk;

use crate::resolve::outcome::{Cause, CauseKind, Miss, Provider};

/// The failure of a provider, without its name.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    kind: CauseKind,
    text: String,
}

impl Fault {
    fn new(kind: CauseKind, text: impl Into<String>) -> Self {
        Self { kind, text: text.into() }
    }

    /// The cause, with the upstream's name before its text.
    fn of_upstream(self, name: &str) -> Cause {
        let text = format!("upstream {name}: {}", self.text);
        Cause { provider: Provider::Upstream(name.to_owned()), kind: self.kind, text }
    }
}

impl From<reqwest::Error> for Fault {
    fn from(error: reqwest::Error) -> Self {
        Self::new(CauseKind::of_http(&error), http_client::reason(&error))
    }
}

/// Why a store did not give an archive, without the store's name.
#[derive(Debug)]
pub(crate) enum StoreError {
    /// It definitely does not have it: what was expected and what was found.
    Absent(String),
    /// It could not be asked, or what it gave is not what was asked for.
    Failed(Fault),
}

impl StoreError {
    fn failed(kind: CauseKind, text: impl Into<String>) -> Self {
        Self::Failed(Fault::new(kind, text))
    }

    /// The same as the outcome of the store `name`, whose text names it already.
    pub(crate) fn of_store(self, name: &str) -> Miss {
        match self {
            Self::Absent(text) => Miss::Absent(text),
            Self::Failed(Fault { kind, text }) => {
                Cause { provider: Provider::Store(name.to_owned()), kind, text }.into()
            }
        }
    }
}
