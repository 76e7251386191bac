//! Which of the original's URLs are places of a store.
//!
//! The releases 1.0 to 2.0 wrote `PKGS/NAME/VERSION/RELEASE/ARCH/FILE` with the name of the package itself. Koji's
//! directory has the name of the *source* package. The URL of `apr-devel` led to `packages/apr-devel/...`, which never
//! existed. Such a URL must not become a place.

use artifact::Nevra;
use repodata::href::path_below;
use sql::{NewLocation, Store};
use url::Url;

/// Ends of names that no source package has.
const DEBUG_PACKAGES: [&str; 2] = ["-debuginfo", "-debugsource"];

/// The stores that URLs can be below.
pub(crate) struct UrlStores {
    /// Their ids and URLs, the longest paths first.
    stores: Vec<(i64, Url)>,
}

/// A URL below a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FoundPlace {
    pub(crate) location: NewLocation,
    /// True if the directory has the package's own name, which is right for the main package of a build alone.
    pub(crate) is_own_directory: bool,
}

impl UrlStores {
    pub(crate) fn new(stores: &[Store]) -> Self {
        let url = |store: &Store| Some((store.id, plain(store.base_url.as_deref()?)?));
        let mut stores: Vec<(i64, Url)> = stores.iter().filter_map(url).collect();
        stores.sort_by_key(|(_, base)| std::cmp::Reverse(base.path().len()));
        Self { stores }
    }

    /// Returns where a URL leads: below a store, to a file with the package's name.
    pub(crate) fn find(&self, nevra: &Nevra, url: &str) -> Option<FoundPlace> {
        let url = plain(url)?;
        let (store_id, path) = self.stores.iter().find_map(|(id, base)| {
            let mut url = url.clone();
            // The original's configuration had http before 2017.
            if url.port().is_none() && base.port().is_none() {
                url.set_scheme(base.scheme()).ok()?;
            }
            Some((*id, path_below(&url, base).ok()??))
        })?;
        let parts: Vec<&str> = path.split('/').collect();
        let (file, directories) = parts.split_last()?;
        if *file != format!("{nevra}.rpm") {
            return None;
        }
        let own = [nevra.name.as_str(), nevra.version.as_str(), nevra.release.as_str()];
        let is_own_directory = directories.windows(own.len()).any(|parts| parts == own);
        let location =
            NewLocation { store_id, path, size: None, mtime_ns: None, header: None, checksum: None, signing_key: None };
        Some(FoundPlace { location, is_own_directory })
    }
}

/// Returns the names of packages whose existence makes this one a sub-package of the same build: `bash` for `bash-doc`.
/// `None` if the name alone tells it.
pub(crate) fn main_packages(nevra: &Nevra) -> Option<Vec<String>> {
    if DEBUG_PACKAGES.iter().any(|end| nevra.name.ends_with(end)) {
        return None;
    }
    let name = |name: &str| Nevra { name: name.to_owned(), ..nevra.clone() }.nvra();
    Some(nevra.name.match_indices('-').filter(|(at, _)| *at > 0).map(|(at, _)| name(&nevra.name[..at])).collect())
}

/// Reads a URL; `//` in its path is one slash, as in the original's configuration. Query and secrets are dropped.
fn plain(text: &str) -> Option<Url> {
    let mut url = Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https"))?;
    let path: Vec<&str> = url.path().split('/').filter(|part| !part.is_empty()).collect();
    let path = path.join("/");
    url.set_path(&path);
    url.set_query(None);
    url.set_fragment(None);
    url.set_username("").ok()?;
    url.set_password(None).ok()?;
    Some(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stores(bases: &[(i64, &str)]) -> UrlStores {
        let mut stores: Vec<(i64, Url)> = bases.iter().map(|(id, base)| (*id, plain(base).unwrap())).collect();
        stores.sort_by_key(|(_, base)| std::cmp::Reverse(base.path().len()));
        UrlStores { stores }
    }

    #[test]
    fn urls_below_a_store_are_its_paths() {
        let stores = stores(&[
            (1, "https://kojipkgs.fedoraproject.org"),
            (2, "https://kojipkgs.fedoraproject.org/packages/"),
            (3, "http://h:8080/pub"),
        ]);
        let nvra = "apr-1.4.5-1.fc16.x86_64";
        let below = "apr/1.4.5/1.fc16/x86_64/apr-1.4.5-1.fc16.x86_64.rpm";
        for (url, found) in [
            (format!("https://kojipkgs.fedoraproject.org//packages/{below}"), Some((2, below.to_owned(), true))),
            (format!("http://u:p@kojipkgs.fedoraproject.org/packages/{below}?x#y"), Some((2, below.to_owned(), true))),
            (format!("https://kojipkgs.fedoraproject.org/vol/a/{below}"), Some((1, format!("vol/a/{below}"), true))),
            (format!("http://h:8080/pub/{nvra}.rpm"), Some((3, format!("{nvra}.rpm"), false))),
            (format!("https://h:8080/pub/{nvra}.rpm"), None),
            (format!("http://h/pub/{nvra}.rpm"), None),
            ("https://kojipkgs.fedoraproject.org/packages/other-1-1.x86_64.rpm".to_owned(), None),
            (format!("https://kojipkgs.fedoraproject.org/packages/..%2f{nvra}.rpm"), None),
            (format!("https://elsewhere.example/packages/{below}"), None),
            ("".to_owned(), None),
            (format!("ftp://h:8080/pub/{nvra}.rpm"), None),
        ] {
            let place = stores.find(&nvra.parse().unwrap(), &url);
            let place = place.map(|place| (place.location.store_id, place.location.path, place.is_own_directory));
            assert_eq!(place, found, "{url}");
        }
    }

    #[test]
    fn sub_packages_are_told_by_their_names_and_those_of_others() {
        let names = |nvra: &str| main_packages(&nvra.parse().unwrap());
        assert_eq!(names("apr-debuginfo-1-1.x86_64"), None);
        assert_eq!(names("apr-1-1.x86_64"), Some(Vec::new()));
        let expected = ["java-1-1.x86_64", "java-1.7.0-1-1.x86_64", "java-1.7.0-openjdk-1-1.x86_64"];
        assert_eq!(names("java-1.7.0-openjdk-devel-1-1.x86_64"), Some(expected.map(str::to_owned).to_vec()));
    }

    #[test]
    fn a_right_url_of_a_sub_package_is_not_in_a_directory_of_its_own() {
        let stores = stores(&[(1, "https://k/packages")]);
        let nevra = "apr-debuginfo-1.4.5-1.fc16.x86_64".parse().unwrap();
        let find = |directory: &str| {
            stores.find(&nevra, &format!("https://k/packages/{directory}/1.4.5/1.fc16/x86_64/{nevra}.rpm"))
        };
        assert!(!find("apr").unwrap().is_own_directory);
        assert!(find("apr-debuginfo").unwrap().is_own_directory);
    }
}
