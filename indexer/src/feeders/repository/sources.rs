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
    /// How a `repomd.xml` of the metalink is verified: every hop to the metalink was HTTPS to a host that the operator
    /// wrote down, or one was not.
    pub(crate) verified: Verified,
    /// True if another party chose the mirrors, of which some may be behind.
    pub(crate) is_list: bool,
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
            let bases = vec![directory.clone()];
            return Ok(Self { fetcher, bases, metalink: None, verified: Verified::No, is_list: false });
        }
        let fetcher = Fetcher::new(mirrors(&address.url)?);
        let found = download::document_of(&fetcher, "").await.map_err(RefreshError::into_refused)?;
        let text = found.bytes;
        let (bases, metalink) = if address.kind == AddressKind::Metalink {
            let metalink = Metalink::read(text.as_slice()).map_err(|error| refuse(error.to_string()))?;
            (metalink.mirrors.iter().filter_map(Mirror::base).collect(), Some(metalink))
        } else {
            let bases = mirrorlist::read(&String::from_utf8_lossy(&text)).map_err(|error| refuse(error.to_string()))?;
            (bases, None)
        };
        let listed = Mirrors::listed(network, store, &bases).map_err(|error| refuse(error.to_string()))?;
        let is_verified = metalink.is_some()
            && !found.hops.is_empty()
            && found.hops.iter().all(|hop| is_vouched(hop, address, store));
        let verified = if is_verified { Verified::Metalink } else { Verified::No };
        Ok(Self { fetcher: Fetcher::new(listed), bases, metalink, verified, is_list: true })
    }
}

/// True if a URL is HTTPS at a host that the operator wrote down: that of the address or of the store, or one of
/// `redirect_hosts`, where `*` is none.
fn is_vouched(hop: &Url, address: &Address, store: &Store) -> bool {
    let base = store.base_url.as_deref().and_then(|base| Url::parse(base).ok());
    let own = [Some(&address.url), base.as_ref()].into_iter().flatten().filter_map(Url::host_str);
    let mut hosts = own.chain(store.redirect_hosts.as_slice().iter().map(String::as_str));
    hop.scheme() == "https"
        && hop.host_str().is_some_and(|host| hosts.any(|written| written.eq_ignore_ascii_case(host)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_https_at_a_host_that_was_written_down_is_vouched_for() {
        let address = Address::read("https://mirrors.example/metalink?repo=f44", None).unwrap();
        let store = Store {
            id: 1,
            name: "fedora".into(),
            tier: sql::Tier::Mirror,
            base_url: Some("https://downloads.example/pub".into()),
            root: None,
            priority: 0,
            pattern: None,
            distros: sql::Distros::default(),
            absent_statuses: sql::AbsentStatuses::default(),
            redirect_hosts: "*,lists.example".parse().unwrap(),
            allow_private: false,
        };
        for (hop, is_written) in [
            ("https://mirrors.example/metalink", true),
            ("https://downloads.example/metalink", true),
            ("https://Lists.example:8443/x", true),
            ("http://mirrors.example/metalink", false),
            ("https://elsewhere.example/metalink", false),
        ] {
            assert_eq!(is_vouched(&Url::parse(hop).unwrap(), &address, &store), is_written, "{hop}");
        }
    }
}
