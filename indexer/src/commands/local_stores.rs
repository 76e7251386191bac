//! Stores for local directories and files.

use std::path::{Path, PathBuf};

use sql::{AbsentStatuses, Distros, Index, NewStore, RedirectHosts, Store, Tier};
use url::Url;

use crate::cli::DirArgs;
use crate::feeders::filter::PathFilter;
use crate::report::failure::{CommandFailure, Result};
use crate::report::urls::public_url;

/// Returns the store of a canonical directory: the local store whose root is or contains it, else a new one.
///
/// # Errors
/// If the directory contains that of another store and the filter does not exclude it: its packages would be indexed
/// twice.
pub(crate) async fn of_directory(
    index: &Index,
    directory: &Path,
    args: &DirArgs,
    filter: &PathFilter,
) -> Result<Store> {
    let url = args.url.as_deref().map(|url| base_url(url, "--url")).transpose()?;
    let stores = index.stores().await?;
    let Some(store) = local(&stores, directory) else {
        let name = match &args.store {
            Some(name) => name.clone(),
            None => utf8(directory)?.to_owned(),
        };
        if let Some(store) = stores.iter().find(|store| store.name == name) {
            return Err(CommandFailure::Usage(format!(
                "store {name} is another one ({}): give --store another name",
                describe_addresses(store)
            )));
        }
        refuse_inner(&stores, directory, directory, filter)?;
        return Ok(index.add_store(&new_local(name, directory, url)?).await?);
    };
    let root = canonical_root(store);
    refuse_inner(&stores, &root, directory, filter)?;
    if args.store.as_ref().is_some_and(|name| *name != store.name) {
        let (directory, root, name) = (directory.display(), root.display(), &store.name);
        return Err(CommandFailure::Usage(format!(
            "{directory} belongs to store {name} ({root}): omit --store, or remove that store first"
        )));
    }
    match url {
        Some(url) if root != directory => Err(CommandFailure::Usage(format!(
            "--url {url} would be the address of {}, but the store {} is {}: give that directory, or omit --url",
            directory.display(),
            store.name,
            root.display()
        ))),
        Some(url) if store.base_url.as_ref() != Some(&url) => {
            let changed = NewStore { base_url: Some(url), ..NewStore::from(store.clone()) };
            Ok(index.add_store(&changed).await?)
        }
        _ => Ok(store.clone()),
    }
}

/// Returns the store of a canonical file: the local one that contains it, else a new one for its directory.
pub(crate) async fn of_file(index: &Index, stores: &mut Vec<Store>, file: &Path) -> Result<Store> {
    let directory = file.parent().unwrap_or(Path::new("/"));
    if let Some(store) = local(stores, directory) {
        return Ok(store.clone());
    }
    let store = index.add_store(&new_local(utf8(directory)?.to_owned(), directory, None)?).await?;
    stores.push(store.clone());
    Ok(store)
}

/// Returns the canonical path of a local store's root; the path as it is if it does not exist.
pub(crate) fn canonical_root(store: &Store) -> PathBuf {
    let root = store.root.clone().unwrap_or_default();
    root.canonicalize().unwrap_or(root)
}

/// Returns the local stores, with their canonical roots.
fn local_roots(stores: &[Store]) -> impl Iterator<Item = (&Store, PathBuf)> {
    let local = stores.iter().filter(|store| store.tier == Tier::Local && store.root.is_some());
    local.map(|store| (store, canonical_root(store)))
}

/// Refuses a directory of a store at `root` that contains the directory of another store, unless the filter excludes
/// that one.
fn refuse_inner(stores: &[Store], root: &Path, directory: &Path, filter: &PathFilter) -> Result<()> {
    for (store, inner) in local_roots(stores) {
        let Ok(below) = inner.strip_prefix(root) else { continue };
        if inner != root && inner.starts_with(directory) && filter.excluded_directory(below).is_none() {
            let (name, shown) = (&store.name, inner.display());
            return Err(CommandFailure::Usage(format!(
                "{} contains the directory of store {name} ({shown}), whose packages would be indexed twice: \
                 exclude it with --exclude '/{}/' and import it by itself with `dir {shown}`, or remove that store \
                 with `store remove {name}`",
                directory.display(),
                below.display(),
            )));
        }
    }
    Ok(())
}

/// Refuses a local store `name` at `root` that is inside another one's directory, or contains it, unless the filter of
/// the configuration excludes the inner one.
pub(crate) fn refuse_nested(stores: &[Store], name: &str, root: &Path, filter: &PathFilter) -> Result<()> {
    for (store, other) in local_roots(stores).filter(|(store, _)| store.name != name) {
        let (outer, inner) = if root.starts_with(&other) { (&*other, root) } else { (root, &*other) };
        let Ok(below) = inner.strip_prefix(outer) else { continue };
        if filter.excluded_directory(below).is_some() {
            continue;
        }
        let (relation, advice) = match (root == other, root == inner) {
            (true, _) => ("is", format!("change that store, or import it with `dir {}`", root.display())),
            (false, true) => (
                "is inside",
                format!("import below that store with `dir {}`, which needs no store of its own", root.display()),
            ),
            (false, false) => ("contains", format!("remove that store first with `store remove {}`", store.name)),
        };
        return Err(CommandFailure::Usage(format!(
            "{} {relation} the directory of store {} ({}), and packages would be indexed twice: {advice}",
            root.display(),
            store.name,
            other.display(),
        )));
    }
    Ok(())
}

/// Returns the local store with the deepest root that contains a directory.
fn local<'a>(stores: &'a [Store], directory: &Path) -> Option<&'a Store> {
    let above = local_roots(stores).filter(|(_, root)| directory.starts_with(root));
    above.max_by_key(|(_, root)| root.components().count()).map(|(store, _)| store)
}

fn new_local(name: String, root: &Path, base_url: Option<String>) -> Result<NewStore> {
    utf8(root)?;
    Ok(NewStore {
        name,
        tier: Tier::Local,
        base_url,
        root: Some(root.into()),
        priority: 0,
        pattern: None,
        distros: Distros::default(),
        absent_statuses: AbsentStatuses::default(),
        redirect_hosts: RedirectHosts::default(),
        allow_private: false,
    })
}

pub(crate) fn utf8(path: &Path) -> Result<&str> {
    path.to_str().ok_or_else(|| {
        CommandFailure::Usage(format!("{}: expected a path in UTF-8, found other bytes", path.display()))
    })
}

/// Returns the path of a directory below the root of its store, as locations have it; empty for the root itself.
pub(crate) fn below(store: &Store, root: &Path, directory: &Path) -> Result<String> {
    let path = directory.strip_prefix(root).ok().and_then(Path::to_str);
    path.map(str::to_owned).ok_or_else(|| {
        CommandFailure::Usage(format!(
            "{}: expected a path in UTF-8 below {} (store {})",
            directory.display(),
            root.display(),
            store.name
        ))
    })
}

/// Reads a base URL; trailing slashes are removed. `what` names the option or key in messages.
pub(crate) fn base_url(text: &str, what: &str) -> Result<String> {
    // No message repeats the text: it can hold a password.
    let refuse = |found: &str| {
        CommandFailure::Usage(format!(
            "{what}: expected an http or https URL, as in https://mirror.example.org/pub, found {found}"
        ))
    };
    let mut url = Url::parse(text).map_err(|error| refuse(&error.to_string()))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(refuse("another scheme"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(refuse("a user or password, which every client would be shown"));
    }
    if url.fragment().is_some() {
        return Err(refuse("a fragment, after which no path can follow"));
    }
    // A query, as the tokens of signed URLs are, goes to every request.
    let path = url.path().trim_end_matches('/').to_owned();
    url.set_path(&path);
    let text = url.as_str();
    Ok(if url.query().is_none() { text.trim_end_matches('/') } else { text }.to_owned())
}

/// Returns the store with a name.
///
/// # Errors
/// [`CommandFailure::Usage`] if there is none.
pub(crate) fn find_store<'a>(stores: &'a [Store], name: &str) -> Result<&'a Store> {
    let found = stores.iter().find(|store| store.name == name);
    found.ok_or_else(|| unknown_store(stores.iter().map(|store| store.name.as_str()), name))
}

/// States the names of the stores that there are.
pub(crate) fn unknown_store<'a>(stores: impl Iterator<Item = &'a str>, name: &str) -> CommandFailure {
    let mut names: Vec<&str> = stores.collect();
    names.sort_unstable();
    names.dedup();
    let names = if names.is_empty() { "there are none".to_owned() } else { names.join(", ") };
    CommandFailure::Usage(format!("expected the name of a store ({names}), found {name}: add it with `store add`"))
}

/// Returns the directory and the URL of a store, for messages.
pub(crate) fn describe_addresses(store: &Store) -> String {
    match (&store.root, store.base_url.as_deref().and_then(public_url)) {
        (Some(root), Some(url)) => format!("{}, {url}", root.display()),
        (Some(root), None) => root.display().to_string(),
        (None, Some(url)) => url,
        (None, None) => "without directory and URL".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trailing_slashes_of_base_urls_are_removed() {
        assert_eq!(base_url("https://mirror.example.org/pub//", "--url").unwrap(), "https://mirror.example.org/pub");
        assert_eq!(base_url("http://mirror.example.org", "--url").unwrap(), "http://mirror.example.org");
        assert_eq!(base_url("http://h/pub/?token=a/", "--url").unwrap(), "http://h/pub?token=a/");
    }

    #[test]
    fn an_invalid_base_url_is_refused_without_its_password() {
        for bad in ["", "mirror", "ftp://h/", "file:///srv", "http://u:secret@h/", "http://h/#secret"] {
            let message = base_url(bad, "--url").unwrap_err().to_string();
            assert!(
                message.contains("expected an http or https URL") && !message.contains("secret"),
                "{bad}: {message}"
            );
        }
    }

    #[test]
    fn the_deepest_local_store_that_contains_a_directory_is_its_store() {
        let store = |id, tier, root: &str| Store {
            id,
            name: id.to_string(),
            tier,
            base_url: None,
            root: Some(root.into()),
            priority: 0,
            pattern: None,
            distros: Distros::default(),
            absent_statuses: AbsentStatuses::default(),
            redirect_hosts: RedirectHosts::default(),
            allow_private: false,
        };
        let stores = [
            store(1, Tier::Local, "/none/a"),
            store(2, Tier::Local, "/none/a/b"),
            store(3, Tier::Mirror, "/none/a/b/c"),
        ];
        for (directory, id) in [("/none/a", 1), ("/none/a/x", 1), ("/none/a/b", 2), ("/none/a/b/c/d", 2)] {
            assert_eq!(local(&stores, Path::new(directory)).unwrap().id, id, "{directory}");
        }
        assert!(local(&stores, Path::new("/none/ab")).is_none());
    }
}
