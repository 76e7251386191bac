//! Whether an archive is at its place. The archive itself is not read.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use http_client::below;
use sql::{CheckResult, Location, Store};
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use crate::fetch::network::{Network, NetworkLimits};
use crate::pipeline::stop::Stop;

mod http;
mod local;

/// Maximum time to look into a directory. A dead file server answers never.
const LOCAL_TIMEOUT: Duration = Duration::from_secs(10);

/// Maximum number of requests at once to one host.
pub(crate) const MAX_PER_HOST: usize = 4;

/// What was found at a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Finding {
    /// The archive, as far as its size tells.
    Present {
        /// Bytes, if the server stated them.
        size: Option<u64>,
    },
    /// The store does not have it, or has another file in its place.
    Gone {
        /// What was found.
        reason: String,
    },
    /// Nothing is known.
    Failed {
        /// What was expected and what was found.
        reason: String,
        /// True if the server asks for fewer requests.
        is_overloaded: bool,
    },
}

impl From<Finding> for CheckResult {
    fn from(finding: Finding) -> Self {
        match finding {
            Finding::Present { size } => Self::Present { size },
            Finding::Gone { .. } => Self::Gone,
            Finding::Failed { reason, .. } => Self::Failed(reason),
        }
    }
}

/// Returns the network of a run that looks at many places. `contact` is a URL at which the operator can be reached.
pub(crate) fn polite_network(contact: Option<&str>, stop: &Stop) -> Arc<Network> {
    let limits = NetworkLimits { max_per_host: MAX_PER_HOST, ..NetworkLimits::default() };
    Network::new(contact, limits, stop.clone())
}

/// True if the store's archives are looked for in its directory: it is on this machine, or there is no URL.
pub(crate) fn is_local(store: &Store) -> bool {
    store.root.as_ref().is_some_and(|root| store.base_url.is_none() || root.is_dir())
}

/// Looks for the archive of a location. A file of another size than the index has is another file. The size of a place
/// that follows from a pattern is not known to be that of its archive.
pub(crate) async fn look(location: &Location, network: &Network) -> Finding {
    let (store, expected) = (&location.store, location.size.filter(|_| !location.derived));
    let finding = match (&store.root, &store.base_url) {
        (Some(root), _) if is_local(store) => look_locally(root, &location.path).await,
        (_, Some(base_url)) => match below(base_url, &location.path) {
            Some(url) => http::look(network, store, &url, expected).await,
            None => failed(format!("expected a path below the store's URL, found {:?}", location.path)),
        },
        (_, None) => failed("expected a store with a URL or a directory, found neither".to_owned()),
    };
    match (finding, expected) {
        (Finding::Present { size: Some(found) }, Some(expected)) if found != expected => {
            Finding::Gone { reason: format!("other file: expected {expected} bytes, found {found}") }
        }
        (finding, _) => finding,
    }
}

/// Looks for the file `path` below a directory. One that is missing or empty proves nothing: it may not be mounted.
pub(crate) async fn look_locally(root: &Path, path: &str) -> Finding {
    let (root, path) = (root.to_owned(), path.to_owned());
    match timeout(LOCAL_TIMEOUT, spawn_blocking(move || local::look(&root, &path))).await {
        Ok(Ok(finding)) => finding,
        Ok(Err(error)) => failed(error.to_string()),
        Err(_) => failed(format!("expected an answer of the file system within {LOCAL_TIMEOUT:?}, found none")),
    }
}

fn failed(reason: String) -> Finding {
    Finding::Failed { reason, is_overloaded: false }
}
