//! Where the metadata of a repository is: a base URL, or the mirrors of a metalink or mirrorlist.

use std::sync::Arc;

use http_client::without_secrets;
use repodata::metalink::{Metalink, Mirror};
use repodata::mirrorlist;
use sql::{Store, Verified};
use url::Url;

use super::address::{Address, AddressKind};
use super::download::{self, RefreshError};
use crate::fetch::http::Fetcher;
use crate::fetch::mirrors::Mirrors;
use crate::fetch::network::Network;

/// The servers of a repository.
pub(crate) struct Sources {
    /// Fetches what is below the repository.
    pub(crate) fetcher: Fetcher,
    /// URLs of the repository's directory, the preferred first.
    pub(crate) bases: Vec<Url>,
    /// The metalink, which has the checksums of `repomd.xml`.
    pub(crate) metalink: Option<Metalink>,
    /// How a `repomd.xml` of the metalink is verified: the metalink came by HTTPS from a host that the operator wrote
    /// down, or by HTTP.
    pub(crate) verified: Verified,
}

impl Sources {
    /// Resolves an address, with the rules of a store for hosts.
    ///
    /// # Errors
    /// [`RefreshError::Refused`] if a metalink or mirrorlist cannot be had, or is none.
    pub(crate) async fn resolve(
        address: &Address,
        network: &Arc<Network>,
        store: &Store,
    ) -> Result<Self, RefreshError> {
        let refuse = |error: String| RefreshError::Refused(format!("{}: {error}", without_secrets(&address.url)));
        let mirrors =
            |base: &Url| Mirrors::of_base(network, store, base.as_str()).map_err(|error| refuse(error.to_string()));
        if let Some(directory) = address.directory() {
            let fetcher = Fetcher::new(mirrors(directory)?);
            return Ok(Self { fetcher, bases: vec![directory.clone()], metalink: None, verified: Verified::No });
        }
        let fetcher = Fetcher::new(mirrors(&address.url)?);
        let text = download::document(&fetcher, "").await.map_err(RefreshError::into_refused)?;
        let (bases, metalink) = if address.kind == AddressKind::Metalink {
            let metalink = Metalink::read(text.as_slice()).map_err(|error| refuse(error.to_string()))?;
            (metalink.mirrors.iter().filter_map(Mirror::base).collect(), Some(metalink))
        } else {
            let bases = mirrorlist::read(&String::from_utf8_lossy(&text)).map_err(|error| refuse(error.to_string()))?;
            (bases, None)
        };
        let listed = Mirrors::listed(network, store, &bases).map_err(|error| refuse(error.to_string()))?;
        let is_verified = metalink.is_some() && address.url.scheme() == "https";
        let verified = if is_verified { Verified::Metalink } else { Verified::No };
        Ok(Self { fetcher: Fetcher::new(listed), bases, metalink, verified })
    }
}
