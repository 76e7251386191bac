//! Who can give bytes: stores (directory, HTTP) and upstreams (other debuginfod servers).

pub(crate) mod archives;
pub(crate) mod federation;
pub(crate) mod flow;
pub(crate) mod http_client;
mod sigcache;

use crate::resolve::outcome::{Cause, CauseKind, Provider};

/// What went wrong with a provider, before its name is known.
#[derive(Debug, PartialEq, Eq)]
struct Fault {
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
        Self::new(http_client::cause_kind(&error), http_client::reason(&error))
    }
}
