//! The place of an archive that a hook names: a path below a store of the index, and nowhere else.

use artifact::Format;
use percent_encoding::percent_decode_str;
use repodata::href::path_below;
use sql::Store;
use url::Url;

use super::refusal::Refusal;
use crate::feeders::formats::Formats;
use crate::feeders::hook::is_plain;
use crate::fetch::presence;

/// Maximum length of a path in bytes: PATH_MAX of Linux.
const MAX_PATH_BYTES: usize = 4096;
/// Maximum length of a URL in bytes.
const MAX_URL_BYTES: usize = 3 * MAX_PATH_BYTES;

/// An archive of a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// Name of the store.
    pub(super) store: String,
    /// Path below its URL or directory, not encoded.
    pub(super) path: String,
}

/// Returns the place of a URL below the URL of a store; of the deepest one if there are several.
///
/// # Errors
/// It is no plain URL of an archive, or not below a store.
pub(super) fn of_url(url: &str, stores: &[Store]) -> Result<Place, Refusal> {
    let parsed = plain_url(url).map_err(|expected| Refusal::malformed(expected, url))?;
    let mut found: Option<(usize, &Store, String)> = None;
    for store in stores {
        let Some(base) = store.base_url.as_deref().and_then(|base| Url::parse(base).ok()) else { continue };
        let below = path_below(&parsed, &base);
        let below = below.map_err(|_| Refusal::malformed("a path in UTF-8 without encoded slashes", url))?;
        let Some(path) = below else { continue };
        let depth = base.path().trim_end_matches('/').len();
        if found.as_ref().is_none_or(|(deepest, ..)| depth > *deepest) {
            found = Some((depth, store, path));
        }
    }
    match found {
        Some((_, store, path)) => check(store, path),
        None => {
            let host = parsed.host_str().unwrap_or("no host");
            Err(Refusal::unprocessable(
                "a URL below the URL of a store (`store list`)",
                format!("another one on {host}"),
            ))
        }
    }
}

/// Returns the place of a path of a store.
///
/// # Errors
/// There is no such store, or the path is none of an archive.
pub(super) fn of_path(store: &str, path: &str, stores: &[Store]) -> Result<Place, Refusal> {
    match stores.iter().find(|known| known.name == store) {
        Some(store) => check(store, path.to_owned()),
        None => Err(Refusal::unprocessable("the name of a store (`store list`)", store)),
    }
}

/// Parses a URL that means what it seems to: the parser removes dot segments, blanks and backslashes, and what is
/// encoded can be decoded to others.
fn plain_url(url: &str) -> Result<Url, &'static str> {
    if url.len() > MAX_URL_BYTES || url.chars().any(|c| c.is_control() || c.is_whitespace() || c == '\\') {
        return Err("a URL without blanks, backslashes and control characters");
    }
    let Some((scheme, rest)) = url.split_once("://") else { return Err("an http or https URL") };
    if !["http", "https"].iter().any(|known| scheme.eq_ignore_ascii_case(known)) {
        return Err("an http or https URL");
    }
    if url.contains(['?', '#']) {
        return Err("a URL without query and fragment");
    }
    let (authority, path) = rest.split_once('/').ok_or("a URL with a path")?;
    if authority.contains('@') {
        return Err("a URL without user and password");
    }
    for segment in path.split('/') {
        let decoded = percent_decode_str(segment).decode_utf8().map_err(|_| "a path in UTF-8")?;
        if matches!(&*decoded, "" | "." | "..") || decoded.contains(['/', '\\']) {
            return Err("a path without empty and dot segments, and without encoded slashes");
        }
    }
    Url::parse(url).map_err(|_| "an http or https URL")
}

/// Expects the path of an archive that the store can give.
fn check(store: &Store, path: String) -> Result<Place, Refusal> {
    if path.len() > MAX_PATH_BYTES || !is_plain(&path) {
        let expected = "a path below the store of at most 4096 bytes, without empty and dot segments";
        return Err(Refusal::malformed(expected, path));
    }
    let name = path.rsplit('/').next().unwrap_or(&path);
    let format = Formats::archives().of(name.as_bytes());
    match format {
        Some(Format::Rpm) => {}
        Some(_) if presence::is_local(store) => {}
        Some(_) => return Err(Refusal::unprocessable("the path of an RPM: the store has no directory here", path)),
        None => return Err(Refusal::unprocessable("the path of an archive, as a/b.rpm", path)),
    }
    if store.base_url.is_none() && store.root.is_none() {
        return Err(Refusal::unprocessable("a store with a URL or a directory", store.name.clone()));
    }
    Ok(Place { store: store.name.clone(), path })
}

#[cfg(test)]
mod tests {
    use sql::{AbsentStatuses, Distros, RedirectHosts, Tier};

    use super::*;

    fn store(name: &str, url: Option<&str>, root: Option<&str>) -> Store {
        Store {
            id: 1,
            name: name.into(),
            tier: Tier::Mirror,
            base_url: url.map(str::to_owned),
            root: root.map(Into::into),
            priority: 0,
            pattern: None,
            distros: Distros::default(),
            absent_statuses: AbsentStatuses::default(),
            redirect_hosts: RedirectHosts::default(),
            allow_private: false,
        }
    }

    fn stores() -> Vec<Store> {
        vec![
            store("pub", Some("https://m.example/pub?token=secret"), None),
            store("deep", Some("https://m.example/pub/deep/"), None),
            store("local", None, Some("/")),
            store("nowhere", None, None),
        ]
    }

    #[test]
    fn a_url_leads_below_the_deepest_store() {
        for (url, store, path) in [
            ("https://m.example/pub/a/b.rpm", "pub", "a/b.rpm"),
            ("HTTPS://M.example:443/pub/libstdc%2B%2B^1~2.rpm", "pub", "libstdc++^1~2.rpm"),
            ("https://m.example/pub/deep/b%2525.rpm", "deep", "b%25.rpm"),
            ("https://m.example/pub/deeper/b.rpm", "pub", "deeper/b.rpm"),
        ] {
            let place = of_url(url, &stores()).unwrap_or_else(|refusal| panic!("{url}: {refusal:?}"));
            assert_eq!((place.store.as_str(), place.path.as_str()), (store, path), "{url}");
        }
    }

    #[test]
    fn other_urls_are_refused() {
        for url in [
            "",
            "b.rpm",
            "/pub/b.rpm",
            "//m.example/pub/b.rpm",
            "ftp://m.example/pub/b.rpm",
            "file:///pub/b.rpm",
            "https://m.example",
            "https://m.example/pub",
            "https://m.example/pub/",
            "https://m.example/pub/a/",
            "https://m.example/public/b.rpm",
            "http://m.example/pub/b.rpm",
            "https://m.example:8443/pub/b.rpm",
            "https://m.example./pub/b.rpm",
            "https://other.example/pub/b.rpm",
            "https://m.example@other.example/pub/b.rpm",
            "https://@m.example/pub/b.rpm",
            "https://u:p@m.example/pub/b.rpm",
            "https://m.example/pub/../pub/b.rpm",
            "https://m.example/pub/./b.rpm",
            "https://m.example/pub/%2e%2E/pub/b.rpm",
            "https://m.example/pub/.%2e/b.rpm",
            "https://m.example/pub//b.rpm",
            "https://m.example/pub/a%2Fb.rpm",
            "https://m.example/pub/a%5Cb.rpm",
            "https://m.example/pub\\b.rpm",
            "https://m.example/pub/%00.rpm",
            "https://m.example/pub/%ff.rpm",
            "https://m.example/pub/b.rpm?x",
            "https://m.example/pub/b.rpm#x",
            "https://m.example/pub/b.rpm ",
            "https://m.exam\tple/pub/b.rpm",
            "https://m.example/pub/b.txt",
            "https://m.example/pub/b.deb",
        ] {
            assert!(of_url(url, &stores()).is_err(), "{url}");
        }
        let long = format!("https://m.example/pub/{}.rpm", "a".repeat(MAX_PATH_BYTES));
        assert!(of_url(&long, &stores()).is_err());
    }

    #[test]
    fn a_path_stays_below_its_store() {
        for (store, path, is_place) in [
            ("pub", "a/b.rpm", true),
            ("local", "b.deb", true),
            ("pub", "b.deb", false),
            ("local", "etc/passwd", false),
            ("nowhere", "b.rpm", false),
            ("other", "b.rpm", false),
            ("pub", "/b.rpm", false),
            ("pub", "../b.rpm", false),
            ("pub", "a/../b.rpm", false),
            ("pub", "a//b.rpm", false),
            ("pub", "", false),
            ("pub", "a\0.rpm", false),
        ] {
            assert_eq!(of_path(store, path, &stores()).is_ok(), is_place, "{store} {path:?}");
        }
    }
}
