//! Probes the metadata of a repository for `store check`: its list of mirrors, `repomd.xml`, and its signature.

use std::path::PathBuf;
use std::sync::Arc;

use artifact::Format;
use http_client::below;
use sql::{Repository, Store, Verified};

use super::address::{Address, AddressKind};
use super::download::RefreshError;
use super::repomd::{self, Document};
use super::signature;
use super::sources::Sources;
use crate::cli::RepositoryFormat;
use crate::fetch::failure::FetchErrorKind;
use crate::fetch::http::Fetcher;
use crate::fetch::mirrors::Mirrors;
use crate::fetch::network::Network;
use crate::fetch::probe::{Check, Outcome};

/// Maximum size of a signature in bytes.
const MAX_SIGNATURE_BYTES: u64 = 256 << 10;

/// Probes a repository of a store. `keys` are the files that are configured for it.
pub(crate) async fn probe(
    network: &Arc<Network>,
    store: &Store,
    repository: &Repository,
    keys: &[PathBuf],
) -> Vec<Check> {
    let check = |check, outcome, detail: String| Check {
        repository: Some(repository.name.clone()),
        ..Check::new(check, outcome, detail)
    };
    let failed = |name, error: RefreshError| check(name, Outcome::Failed, text(error));
    let of_store = || Some(below(store.base_url.as_deref()?, &repository.path)?.to_string());
    let Some(url) = repository.url.clone().or_else(of_store) else {
        return vec![check("metadata", Outcome::Unknown, "the store has no URL".to_owned())];
    };
    let format = match repository.format {
        Format::Deb => RepositoryFormat::Deb,
        Format::Arch => RepositoryFormat::Arch,
        _ => RepositoryFormat::Rpm,
    };
    let mut address = match Address::read(&url, Some(format)) {
        Ok(address) => address,
        Err(error) => return vec![check("metadata", Outcome::Failed, error.to_string())],
    };
    address.add_query_of(store);
    let list = match address.kind {
        AddressKind::Metalink => Some("metalink"),
        AddressKind::Mirrorlist => Some("mirrorlist"),
        AddressKind::Base | AddressKind::Debian { .. } | AddressKind::Arch { .. } => None,
    };
    let sources = match Sources::resolve(&address, network, store).await {
        Ok(sources) => sources,
        Err(error) => return vec![failed(list.unwrap_or("metadata"), error)],
    };
    let mut checks = Vec::new();
    let mirrors = sources.bases.len();
    match address.kind {
        AddressKind::Metalink if sources.verified == Verified::Metalink => {
            let detail = format!("{mirrors} mirrors; its hash verifies repomd.xml");
            checks.push(check("metalink", Outcome::Ok, detail));
        }
        AddressKind::Metalink => {
            let detail = format!("{mirrors} mirrors; its hash verifies nothing, because it came by http");
            checks.push(check("metalink", Outcome::Warning, detail));
        }
        AddressKind::Mirrorlist => checks.push(check("mirrorlist", Outcome::Ok, format!("{mirrors} mirrors, no hash"))),
        AddressKind::Base => {}
        AddressKind::Debian { .. } | AddressKind::Arch { .. } => {
            let (outcome, detail) = begins(network, store, &address).await;
            return vec![check("metadata", outcome, detail)];
        }
    }
    match Document::fetch(&sources, None).await.and_then(|document| document.parse().map(|repomd| (document, repomd))) {
        Ok((document, repomd)) => {
            let revision = repomd.revision.map(|revision| format!(", revision {revision}")).unwrap_or_default();
            let detail = format!("{} of {} bytes{revision}", repomd::PATH, document.bytes.len());
            checks.push(check("metadata", Outcome::Ok, detail));
            let (outcome, detail) = signature(&sources, keys, &document.bytes).await;
            checks.push(check("signature", outcome, detail));
        }
        Err(error) => checks.push(failed("metadata", error)),
    }
    checks
}

/// Looks for the signature of `repomd.xml`, and checks it where keys are configured.
async fn signature(sources: &Sources, keys: &[PathBuf], document: &[u8]) -> (Outcome, String) {
    let path = format!("{}.asc", repomd::PATH);
    let is_verified = sources.verified == Verified::Metalink;
    match (sources.fetcher.small_file(&path, MAX_SIGNATURE_BYTES).await, keys.len()) {
        (Ok(_), 0) if is_verified => (Outcome::Ok, format!("{path} is there; the metalink verifies without it")),
        (Ok(_), 0) => {
            (Outcome::Warning, format!("{path} is there, but no keys are configured: nothing verifies the metadata"))
        }
        (Ok(signature), _) => match signature::check(keys, repomd::PATH, document, &signature.bytes).await {
            Ok(good) => {
                let detail = format!("{path} is by one of the configured keys: {} {}", good.fingerprint, good.user);
                (Outcome::Ok, detail)
            }
            Err(error) => (Outcome::Failed, text(error)),
        },
        (Err(error), 0) if error.kind == FetchErrorKind::Absent && is_verified => {
            (Outcome::Ok, "none; the metalink verifies".to_owned())
        }
        (Err(error), 0) if error.kind == FetchErrorKind::Absent => {
            (Outcome::Warning, "none: nothing verifies the metadata".to_owned())
        }
        (Err(error), 0) => (Outcome::Unknown, error.text),
        (Err(error), _) => (Outcome::Failed, format!("expected a signature, because keys are configured: {error}")),
    }
}

/// Asks for the first bytes of a listing of Debian or pacman.
async fn begins(network: &Arc<Network>, store: &Store, address: &Address) -> (Outcome, String) {
    let mirrors = match Mirrors::of_base(network, store, address.url.as_str()) {
        Ok(mirrors) => mirrors,
        Err(error) => return (Outcome::Failed, error.to_string()),
    };
    let fetcher = Fetcher::new(mirrors);
    let names: &[&str] = match address.kind {
        AddressKind::Debian { .. } => &["Packages.xz", "Packages.gz"],
        _ => &[""],
    };
    let mut last = String::new();
    for name in names {
        match fetcher.open(name, 0, None).chunk().await {
            Ok(Some(_)) => return (Outcome::Ok, format!("{} is there", shown(address, name))),
            Ok(None) => last = format!("{}: expected a listing, found an empty file", shown(address, name)),
            Err(error) => last = error.text,
        }
    }
    (Outcome::Failed, last)
}

/// The name of a listing, for people.
fn shown(address: &Address, name: &str) -> String {
    let last = address.url.path().rsplit('/').next().unwrap_or_default();
    if name.is_empty() { last.to_owned() } else { name.to_owned() }
}

fn text(error: RefreshError) -> String {
    match error {
        RefreshError::Inconsistent(text) | RefreshError::Refused(text) => text,
        RefreshError::Stopped => "stopped".to_owned(),
        RefreshError::Command(failure) => failure.to_string(),
    }
}
