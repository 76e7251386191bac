//! The address of a repository: what the operator gave, and what follows from it.

use artifact::Format;
use sql::Store;
use url::Url;

use crate::cli::RepositoryFormat;
use crate::report::failure::{CommandFailure, Result};

/// A repository's URL as the operator gave it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Address {
    pub(crate) kind: AddressKind,
    /// The URL, with its query. Of a base URL without `repodata/repomd.xml` and without a slash at its end.
    pub(crate) url: Url,
}

/// What a URL leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum AddressKind {
    /// The directory that `repodata/` is in.
    Base,
    /// An XML document with mirrors and the hash of `repomd.xml`.
    Metalink,
    /// A text with one base URL in each line.
    Mirrorlist,
    /// A directory of Debian's with `Packages.xz` or `Packages.gz`. The paths in it are relative to `root`.
    Debian { root: Url },
    /// A database of pacman with the files of packages, `NAME.files`, whose directory is the repository.
    Arch { directory: Url },
}

impl Address {
    /// Reads a URL. Its form, or the format, tells what it leads to: a segment with `metalink` or `mirrorlist`, the
    /// suffixes `.meta4`, `.txt`, `.files` and `.db`, a directory `binary-ARCH`, or `Packages.xz`.
    ///
    /// # Errors
    /// If it is no http or https URL, or has a user or password. The message does not repeat the URL.
    pub(crate) fn read(text: &str, format: Option<RepositoryFormat>) -> Result<Self> {
        let refuse = |found: &str| {
            CommandFailure::Usage(format!(
                "expected an http or https URL of a repository, metalink or mirrorlist, found {found}"
            ))
        };
        let mut url = Url::parse(text).map_err(|error| refuse(&error.to_string()))?;
        if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
            return Err(refuse("another scheme"));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(refuse("a user or password, which every client would be shown"));
        }
        url.set_fragment(None);
        let path = url.path().trim_end_matches('/').to_owned();
        let last = path.rsplit('/').next().unwrap_or_default().to_ascii_lowercase();
        let is_format = |wanted| format.is_none_or(|format| format == wanted);
        let names = |word: &str| path.to_ascii_lowercase().split('/').any(|segment| segment.contains(word));
        let kind = if names("metalink") || last.ends_with(".meta4") {
            AddressKind::Metalink
        } else if names("mirrorlist") || last.ends_with(".txt") {
            AddressKind::Mirrorlist
        } else if let Some(directory) = arch_directory(&path, &last).filter(|_| is_format(RepositoryFormat::Arch)) {
            AddressKind::Arch { directory: with_path(&url, directory) }
        } else if format == Some(RepositoryFormat::Arch) {
            return Err(refuse("no database of pacman, as in https://mirror.example.org/core/os/x86_64/core.files"));
        } else if let Some((directory, root)) = debian_directories(&path, format) {
            let root = with_path(&url, root);
            url = with_path(&url, directory);
            AddressKind::Debian { root }
        } else {
            let base = path.strip_suffix("/repodata/repomd.xml").or_else(|| path.strip_suffix("/repodata"));
            url = with_path(&url, base.unwrap_or(&path));
            AddressKind::Base
        };
        Ok(Self { kind, url })
    }

    /// The URL of the directory that the paths of packages are relative to; `None` if a list of mirrors names it.
    pub(crate) fn directory(&self) -> Option<&Url> {
        match &self.kind {
            AddressKind::Base => Some(&self.url),
            AddressKind::Debian { root } => Some(root),
            AddressKind::Arch { directory } => Some(directory),
            AddressKind::Metalink | AddressKind::Mirrorlist => None,
        }
    }

    /// Adds the query of a store, a token say, unless the URL has one of its own or leads to a list of mirrors.
    pub(crate) fn add_query_of(&mut self, store: &Store) {
        let base = store.base_url.as_deref().and_then(|base| Url::parse(base).ok());
        let query = base.as_ref().and_then(Url::query);
        let directory = match &mut self.kind {
            AddressKind::Metalink | AddressKind::Mirrorlist => return,
            AddressKind::Base => None,
            AddressKind::Debian { root: directory } | AddressKind::Arch { directory } => Some(directory),
        };
        for url in directory.into_iter().chain([&mut self.url]) {
            let is_of_store = base.as_ref().is_some_and(|base| base.host_str() == url.host_str());
            if url.query().is_none() && is_of_store {
                url.set_query(query);
            }
        }
    }

    /// The format of the packages.
    pub(crate) fn format(&self) -> Format {
        match self.kind {
            AddressKind::Base | AddressKind::Metalink | AddressKind::Mirrorlist => Format::Rpm,
            AddressKind::Debian { .. } => Format::Deb,
            AddressKind::Arch { .. } => Format::Arch,
        }
    }

    /// A name for the repository: host and path, of letters, digits and `.-_`.
    pub(crate) fn name(&self) -> String {
        let text = format!("{}{}", self.url.host_str().unwrap_or_default(), self.url.path());
        let words = text.split(|c: char| !c.is_ascii_alphanumeric() && !".-_".contains(c));
        words.filter(|word| !word.is_empty()).collect::<Vec<_>>().join("-")
    }
}

/// The directory of pacman's database, `core.files` or `core.files.tar.gz`; also that of `core.db`, beside which it is.
fn arch_directory<'a>(path: &'a str, last: &str) -> Option<&'a str> {
    let is_database =
        [".files", ".db"].into_iter().any(|word| last.ends_with(word) || last.contains(&format!("{word}.tar")));
    if is_database { Some(path.rsplit_once('/').map_or("", |(directory, _)| directory)) } else { None }
}

/// The directory of `Packages`, and the root of Debian's archive: above `dists/`, else the same directory.
fn debian_directories(path: &str, format: Option<RepositoryFormat>) -> Option<(&str, &str)> {
    let (above, last) = path.rsplit_once('/').unwrap_or(("", path));
    // A directory of RPMs is often called Packages.
    let is_listed = format == Some(RepositoryFormat::Deb) || path.contains("/dists/");
    let is_index = last.starts_with("Packages.") || last == "Packages" && is_listed;
    let directory = if is_index { above } else { path };
    // RPMs are often in a directory `Packages`, which may be a repository.
    let is_debian =
        last.starts_with("Packages.") || directory.rsplit('/').next().is_some_and(|name| name.starts_with("binary-"));
    let root = directory.find("/dists/").and_then(|at| directory.get(..at)).unwrap_or(directory);
    match format {
        Some(RepositoryFormat::Deb) => Some((directory, root)),
        Some(RepositoryFormat::Rpm | RepositoryFormat::Arch) => None,
        None => is_debian.then_some((directory, root)),
    }
}

fn with_path(url: &Url, path: &str) -> Url {
    let mut url = url.clone();
    url.set_path(path);
    url
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_of_a_url_tells_what_it_leads_to() {
        for (text, kind, directory) in [
            ("https://m.example/el9/x86_64/", AddressKind::Base, Some("https://m.example/el9/x86_64")),
            ("https://m.example/el9/repodata/repomd.xml?t=1", AddressKind::Base, Some("https://m.example/el9?t=1")),
            ("http://m.example", AddressKind::Base, Some("http://m.example/")),
            ("http://m.example/el9/Packages", AddressKind::Base, Some("http://m.example/el9/Packages")),
            ("https://m.example/metalink?repo=fedora-44&arch=x86_64", AddressKind::Metalink, None),
            ("https://m.example/x/repodata/repomd.xml.metalink", AddressKind::Metalink, None),
            ("https://m.example/x/repodata/repomd.xml.meta4", AddressKind::Metalink, None),
            ("https://m.example/mirrorlist/9/baseos", AddressKind::Mirrorlist, None),
            ("https://m.example/mirrors.txt", AddressKind::Mirrorlist, None),
        ] {
            let address = Address::read(text, None).unwrap();
            assert_eq!(address.kind, kind, "{text}");
            assert_eq!(address.directory().map(Url::as_str), directory, "{text}");
        }
        for (text, url, directory) in [
            (
                "http://d.example/debian/dists/bookworm/main/binary-amd64/",
                "/debian/dists/bookworm/main/binary-amd64",
                "/debian",
            ),
            (
                "http://d.example/debian/dists/bookworm/main/binary-amd64/Packages.xz",
                "/debian/dists/bookworm/main/binary-amd64",
                "/debian",
            ),
            ("http://d.example/flat/Packages.gz", "/flat", "/flat"),
            ("http://a.example/core/os/x86_64/core.files", "/core/os/x86_64/core.files", "/core/os/x86_64"),
            ("http://a.example/core/core.db.tar.gz", "/core/core.db.tar.gz", "/core"),
        ] {
            let address = Address::read(text, None).unwrap();
            assert_eq!((address.url.path(), address.directory().map(Url::path)), (url, Some(directory)), "{text}");
        }
    }

    #[test]
    fn a_name_is_made_of_host_and_path_without_the_query() {
        let name = |text: &str| Address::read(text, None).unwrap().name();
        assert_eq!(name("https://m.example:8080/el9/x86_64/?token=secret"), "m.example-el9-x86_64");
    }

    #[test]
    fn other_urls_are_refused_without_their_secrets() {
        for bad in ["", "el9", "ftp://h/secret", "http://u:secret@h/", "/srv/secret"] {
            let message = Address::read(bad, None).unwrap_err().to_string();
            assert!(
                message.contains("expected an http or https URL") && !message.contains("secret"),
                "{bad}: {message}"
            );
        }
    }
}
