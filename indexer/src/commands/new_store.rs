//! A store as `store add` or a `[[store]]` states it.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use sql::{NewStore, Store, Tier};

use super::local_stores::{base_url, utf8};
use crate::cli::{OrNone, StoreArgs};
use crate::report::failure::{CommandFailure, Result};

/// The form of a statement, for messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// Options of `store add`.
    Options,
    /// A `[[store]]` of indexer.toml.
    Table,
}

impl Form {
    /// The store, for messages.
    fn subject(self, name: &str) -> String {
        match self {
            Self::Options => format!("store {name}"),
            Self::Table => format!("[[store]] {name}"),
        }
    }

    /// An option or key, for messages.
    fn key(self, key: &str) -> String {
        match self {
            Self::Options => format!("--{key}"),
            Self::Table => key.to_owned(),
        }
    }
}

/// Returns the store to be added or changed. What is not given is as in `before`, else the default; an empty text
/// clears. Of pattern and distros, one that is cleared clears the other.
///
/// # Errors
/// [`CommandFailure::Usage`] states the store, the option or key, what was expected and what was found.
pub(crate) fn new_store(args: StoreArgs, before: Option<&Store>, form: Form) -> Result<NewStore> {
    let StoreArgs { name, tier, url, path, priority, absent_statuses, redirect_hosts, allow_private, .. } = args;
    let subject = form.subject(&name);
    let refuse = |text: String| CommandFailure::Usage(format!("{subject}: {text}"));
    let key = |name| form.key(name);
    let tier: Tier = match (tier, before) {
        (Some(tier), _) => tier.parse().map_err(|error: sql::Error| refuse(error.to_string()))?,
        (None, Some(before)) => before.tier,
        (None, None) => {
            return Err(refuse(format!(
                "{}: expected local, mirror, koji, archive or retrace for a new store, found none",
                key("tier")
            )));
        }
    };
    let base_url = match url.as_deref() {
        Some("") => None,
        Some(url) => Some(base_url(url, &format!("{subject}: {}", key("url")))?),
        None => before.and_then(|before| before.base_url.clone()),
    };
    let root = match path {
        Some(path) if path.is_empty() => None,
        Some(path) => Some(directory(path).map_err(|text| refuse(format!("{} {text}", key("path"))))?),
        // A store that is local no more has no directory.
        None => before.filter(|_| tier == Tier::Local).and_then(|before| before.root.clone()),
    };
    if root.is_some() && tier != Tier::Local {
        let (path, url) = (key("path"), key("url"));
        return Err(refuse(format!(
            "{path} is for tier local, found {tier}: give {url}, and no {path} or an empty one"
        )));
    }
    if let Some(root) = &root {
        utf8(root)?;
    }
    let (pattern, distros) = match (args.pattern, args.distros) {
        (Some(OrNone(None)), None) | (None, Some(OrNone(None))) => (None, None),
        (pattern, distros) => (
            pattern.map_or_else(|| before.and_then(|before| before.pattern.clone()), |OrNone(pattern)| pattern),
            distros.map_or_else(|| before.map(|before| before.distros.clone()), |OrNone(distros)| distros),
        ),
    };
    let distros = distros.unwrap_or_default();
    if pattern.is_some() == distros.as_slice().is_empty() {
        return Err(refuse(format!(
            "expected {} and {}, which states the distributions that the pattern is valid for, found one of them",
            key("pattern"),
            key("distros")
        )));
    }
    if pattern.is_some() && base_url.is_none() {
        return Err(refuse(format!("{} needs {}, found none", key("pattern"), key("url"))));
    }
    match (tier, &base_url, &root) {
        (Tier::Local, None, None) => {
            Err(refuse(format!("a store of tier local needs {} or {}, found none", key("path"), key("url"))))
        }
        (Tier::Local, ..) | (_, Some(_), _) => Ok(NewStore {
            name,
            tier,
            base_url,
            root,
            priority: priority.or(before.map(|before| before.priority)).unwrap_or_default(),
            pattern,
            distros,
            absent_statuses: given(absent_statuses, before.map(|before| &before.absent_statuses)),
            redirect_hosts: given(redirect_hosts, before.map(|before| &before.redirect_hosts)),
            allow_private: allow_private.or(before.map(|before| before.allow_private)).unwrap_or_default(),
        }),
        (_, None, _) => Err(refuse(format!("a store of tier {tier} needs {}, found none", key("url")))),
    }
}

/// Returns the value that is given, else the former one, else the default; the default if it is cleared.
fn given<T: Clone + Default>(given: Option<OrNone<T>>, before: Option<&T>) -> T {
    given.map_or_else(|| before.cloned(), |OrNone(value)| value).unwrap_or_default()
}

/// Returns the absolute path of a directory. One of another machine, or one that is not mounted, is taken as given.
fn directory(path: OsString) -> std::result::Result<PathBuf, String> {
    let path = Path::new(&path);
    match path.canonicalize() {
        Ok(path) => Ok(path),
        Err(_) if path.is_absolute() => Ok(path.to_owned()),
        Err(error) => Err(format!("{}: expected a directory, found {error}", path.display())),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: StoreArgs,
    }

    fn read(options: &[&str], before: Option<&Store>) -> Result<NewStore> {
        let line = Line::try_parse_from([&["add", "s"], options].concat()).unwrap_or_else(|error| panic!("{error}"));
        new_store(line.args, before, Form::Options)
    }

    fn stored(new: NewStore) -> Store {
        let NewStore { name, tier, base_url, root, priority, pattern, distros, .. } = new;
        let NewStore { absent_statuses, redirect_hosts, allow_private, .. } = new;
        Store {
            id: 1,
            name,
            tier,
            base_url,
            root,
            priority,
            pattern,
            distros,
            absent_statuses,
            redirect_hosts,
            allow_private,
        }
    }

    fn koji() -> Store {
        let options = [
            "--tier=koji",
            "--url=https://koji.example.org/x/",
            "--pattern={name}/{nvra}.rpm",
            "--distros=fc*",
            "--priority=-5",
            "--absent-statuses=404",
            "--redirect-hosts=a.example.org",
            "--allow-private",
        ];
        stored(read(&options, None).unwrap())
    }

    #[test]
    fn what_is_not_given_stays_as_it_is() {
        let before = koji();
        assert_eq!(read(&[], Some(&before)).unwrap(), NewStore::from(before.clone()));
        let changed = read(&["--tier", "archive", "--url", "https://old.example.org"], Some(&before)).unwrap();
        let expected = NewStore {
            tier: Tier::Archive,
            base_url: Some("https://old.example.org".into()),
            ..NewStore::from(before.clone())
        };
        assert_eq!(changed, expected);
    }

    #[test]
    fn an_empty_value_clears() {
        let before = koji();
        let options = ["--pattern", "", "--absent-statuses", "", "--redirect-hosts", "", "--allow-private=false"];
        let cleared = read(&options, Some(&before)).unwrap();
        let plain = read(&["--tier=koji", "--url=https://koji.example.org/x", "--priority=-5"], None).unwrap();
        assert_eq!(cleared, plain);
        let local = read(&["--tier=local", "--url=", "--path=/srv/none"], Some(&stored(plain))).unwrap();
        assert_eq!((local.base_url, local.root), (None, Some("/srv/none".into())));
    }

    #[test]
    fn messages_name_the_store_and_the_key() {
        for (options, form, expected) in [
            (&["--tier=koji", "--url=ftp://h"][..], Form::Options, "store s: --url: expected an http or https URL"),
            (&["--tier=koji", "--url=ftp://h"], Form::Table, "[[store]] s: url: expected an http or https URL"),
            (&["--tier=koji", "--path=/srv"], Form::Table, "[[store]] s: path is for tier local"),
            (&["--url=http://h"], Form::Options, "store s: --tier: expected local, mirror"),
            (&["--tier=koji", "--url=http://h", "--distros=a"], Form::Options, "store s: expected --pattern and"),
        ] {
            let line = Line::try_parse_from([&["add", "s"], options].concat()).unwrap_or_else(|e| panic!("{e}"));
            let message = new_store(line.args, None, form).unwrap_err().to_string();
            assert!(message.starts_with(expected), "{message}");
        }
    }
}
