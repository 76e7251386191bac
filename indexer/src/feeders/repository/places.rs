//! Where the entries of a repository lead: a path below a configured store, and nowhere else.

use repodata::Href;
use repodata::href::{Target, path_below};
use sql::Store;
use url::Url;

/// The places that locations of a repository may lead to.
pub(crate) struct Places {
    /// The repository's store.
    store_id: i64,
    /// The repository's path below its store, without slashes at the ends.
    path: String,
    /// URLs of the repository's directory.
    own: Vec<Url>,
    /// Other stores, with their URLs.
    stores: Vec<(i64, Url)>,
}

/// A path below a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StorePath {
    pub(crate) store_id: i64,
    pub(crate) path: String,
    /// The path below the repository; `None` if the place is in another store or elsewhere in the store.
    pub(crate) relative: Option<String>,
}

impl Places {
    /// Returns the places of a repository at `path` of a store, whose directory has the URLs `own`.
    pub(crate) fn new(store: &Store, path: &str, own: Vec<Url>, stores: &[Store]) -> Self {
        let url = |store: &Store| Some((store.id, Url::parse(store.base_url.as_deref()?).ok()?));
        let stores = stores.iter().filter_map(url).collect();
        Self { store_id: store.id, path: path.to_owned(), own, stores }
    }

    /// Returns where an entry leads.
    ///
    /// # Errors
    /// The reason why it is refused: it leads out of the repository, or to another host than those of stores.
    pub(crate) fn find(&self, href: &Href) -> Result<StorePath, String> {
        let url = match href.target().map_err(|error| error.to_string())? {
            Target::Below(path) => return Ok(self.below(path)),
            Target::Url(url) => url,
        };
        for own in &self.own {
            if let Some(path) = path_below(&url, own).map_err(|error| error.to_string())? {
                return Ok(self.below(path));
            }
        }
        let mut found: Option<(usize, i64, String)> = None;
        for (store_id, base) in &self.stores {
            if let Some(path) = path_below(&url, base).map_err(|error| error.to_string())? {
                let depth = base.path().len();
                if found.as_ref().is_none_or(|(deepest, ..)| depth > *deepest) {
                    found = Some((depth, *store_id, path));
                }
            }
        }
        match found {
            Some((_, store_id, path)) => Ok(StorePath { store_id, path, relative: None }),
            None => Err(format!(
                "expected a location below the repository or a configured store, found another one on {}",
                url.host_str().unwrap_or("no host")
            )),
        }
    }

    /// Returns the place of a path below the repository.
    fn below(&self, relative: String) -> StorePath {
        let path = if self.path.is_empty() { relative.clone() } else { format!("{}/{relative}", self.path) };
        StorePath { store_id: self.store_id, path, relative: Some(relative) }
    }
}

/// Returns the path of a directory below the URL of a store, without slashes at the ends; `None` if it is not below it.
/// Queries do not count.
pub(crate) fn path_in_store(directory: &Url, store: &Store) -> Option<String> {
    let base = Url::parse(store.base_url.as_deref()?).ok()?;
    let mut file = directory.clone();
    file.set_path(&format!("{}/{FILE}", directory.path().trim_end_matches('/')));
    let path = path_below(&file, &base).ok()??;
    Some(path.strip_suffix(FILE)?.trim_end_matches('/').to_owned())
}

/// The name of any file, for the path of its directory.
const FILE: &str = "x";

#[cfg(test)]
mod tests {
    use sql::{AbsentStatuses, Distros, RedirectHosts, Tier};

    use super::*;

    fn store(id: i64, url: &str) -> Store {
        Store {
            id,
            name: id.to_string(),
            tier: Tier::Mirror,
            base_url: Some(url.into()),
            root: None,
            priority: 0,
            pattern: None,
            distros: Distros::default(),
            absent_statuses: AbsentStatuses::default(),
            redirect_hosts: RedirectHosts::default(),
            allow_private: false,
        }
    }

    #[test]
    fn entries_lead_below_the_repository_or_a_configured_store() {
        let stores = [store(1, "https://m.example/pub?token=1"), store(2, "http://other.example")];
        let own = vec![Url::parse("http://mirror.of.the.day/el9").unwrap()];
        let places = Places::new(&stores[0], "el9", own, &stores);
        let find =
            |base: Option<&str>, href: &str| places.find(&Href { base: base.map(str::to_owned), href: href.into() });
        let place = |store_id, path: &str, relative: Option<&str>| {
            Ok(StorePath { store_id, path: path.into(), relative: relative.map(str::to_owned) })
        };
        assert_eq!(find(None, "a/b%2B+~^.rpm"), place(1, "el9/a/b%2B+~^.rpm", Some("a/b%2B+~^.rpm")));
        assert_eq!(find(Some("http://mirror.of.the.day/el9/"), "b.rpm"), place(1, "el9/b.rpm", Some("b.rpm")));
        assert_eq!(find(None, "https://m.example/pub/x/b.rpm"), place(1, "x/b.rpm", None));
        assert_eq!(find(None, "http://other.example/x/b%2B.rpm"), place(2, "x/b+.rpm", None));
        for (href, expected) in
            [("../b.rpm", ".."), ("http://evil.example/b.rpm", "evil.example"), ("ftp://h/b", "http")]
        {
            let reason = find(None, href).unwrap_err();
            assert!(reason.contains(expected), "{href}: {reason}");
        }
    }

    #[test]
    fn a_directory_has_a_path_below_the_url_of_its_store() {
        let path = |url: &str| path_in_store(&Url::parse(url).unwrap(), &store(1, "https://m.example/pub?token=1"));
        assert_eq!(path("https://m.example/pub/el9/x/").as_deref(), Some("el9/x"));
        assert_eq!(path("https://m.example/pub?token=2").as_deref(), Some(""));
        assert_eq!(path("https://m.example/public"), None);
        assert_eq!(path("https://other.example/pub"), None);
    }
}
