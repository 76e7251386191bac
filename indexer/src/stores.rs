//! The stores of the index: which one a folder belongs to, and the commands `store add`, `list` and `remove`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde_json::{Value, json};
use sql::{Index, NewStore, Store, Tier};
use url::Url;

use crate::cli::{Common, DirArgs, StoreArgs, StoreCommand};
use crate::failure::{self, Failure, Result};
use crate::print;

/// The store that a canonical folder belongs to: the local one whose root it is or lies below, else one that is added.
pub(crate) async fn of_folder(index: &Index, folder: &Path, args: &DirArgs) -> Result<Store> {
    let url = args.url.as_deref().map(base_url).transpose()?;
    let stores = index.stores().await?;
    let Some(store) = local(&stores, folder) else {
        let name = match &args.store {
            Some(name) => name.clone(),
            None => utf8(folder)?.to_owned(),
        };
        if let Some(store) = stores.iter().find(|store| store.name == name) {
            return Err(Failure::Usage(format!("store {name} is another one ({}): give --store another name", place(store))));
        }
        return Ok(index.add_store(&new_local(name, folder, url)?).await?);
    };
    let root = canonical_root(store);
    if args.store.as_ref().is_some_and(|name| *name != store.name) {
        let (folder, root, name) = (folder.display(), root.display(), &store.name);
        return Err(Failure::Usage(format!(
            "{folder} belongs to store {name} ({root}): leave out --store, or remove that store first"
        )));
    }
    match url {
        Some(url) if root != folder => Err(Failure::Usage(format!(
            "--url {url} would be the address of {}, but the store {} is {}: give that folder, or leave out --url",
            folder.display(),
            store.name,
            root.display()
        ))),
        Some(url) if store.base_url.as_ref() != Some(&url) => {
            let Store { name, tier, root, priority, .. } = store.clone();
            Ok(index.add_store(&NewStore { name, tier, base_url: Some(url), root, priority }).await?)
        }
        _ => Ok(store.clone()),
    }
}

/// The store that a canonical file belongs to: the local one that it lies in, else one that is added for its folder.
pub(crate) async fn of_file(index: &Index, stores: &mut Vec<Store>, file: &Path) -> Result<Store> {
    let folder = file.parent().unwrap_or(Path::new("/"));
    if let Some(store) = local(stores, folder) {
        return Ok(store.clone());
    }
    let store = index.add_store(&new_local(utf8(folder)?.to_owned(), folder, None)?).await?;
    stores.push(store.clone());
    Ok(store)
}

/// The canonical form of a local store's root; as it stands if it is not there.
pub(crate) fn canonical_root(store: &Store) -> PathBuf {
    let root = store.root.clone().unwrap_or_default();
    root.canonicalize().unwrap_or(root)
}

/// The local store whose root is nearest above a folder, or the folder itself.
fn local<'a>(stores: &'a [Store], folder: &Path) -> Option<&'a Store> {
    let above = stores.iter().filter(|store| store.tier == Tier::Local && store.root.is_some());
    let above = above.filter(|store| folder.starts_with(canonical_root(store)));
    above.max_by_key(|store| canonical_root(store).components().count())
}

fn new_local(name: String, root: &Path, base_url: Option<String>) -> Result<NewStore> {
    utf8(root)?;
    Ok(NewStore { name, tier: Tier::Local, base_url, root: Some(root.into()), priority: 0 })
}

fn utf8(path: &Path) -> Result<&str> {
    path.to_str().ok_or_else(|| Failure::Usage(format!("{}: expected a path in UTF-8, found other bytes", path.display())))
}

/// Runs `store add`, `list` or `remove`.
pub(crate) async fn run(index: &Index, command: StoreCommand, common: &Common) -> Result<ExitCode> {
    match command {
        StoreCommand::Add(args) => {
            let is_new = !index.stores().await?.iter().any(|store| store.name == args.name);
            let store = index.add_store(&new_store(args)?).await?;
            if common.json {
                print(&as_json(&store))?;
            } else if !common.quiet {
                let verb = if is_new { "added" } else { "changed" };
                print(&format_args!("{verb} store {} ({}, {})", store.name, store.tier, place(&store)))?;
            }
            Ok(ExitCode::SUCCESS)
        }
        StoreCommand::List => {
            let stores = index.stores().await?;
            if common.json {
                print(&Value::Array(stores.iter().map(as_json).collect()))?;
            } else {
                table(&stores)?;
            }
            Ok(ExitCode::SUCCESS)
        }
        StoreCommand::Remove { name } => remove(index, &name, common).await,
    }
}

async fn remove(index: &Index, name: &str, common: &Common) -> Result<ExitCode> {
    let stores = index.stores().await?;
    let locations = match stores.iter().find(|store| store.name == name) {
        Some(store) => index.known_locations(store.id).await?.len(),
        None => 0,
    };
    if !index.remove_store(name).await? {
        let names: Vec<&str> = stores.iter().map(|store| store.name.as_str()).collect();
        eprintln!("darkserver-import: expected the name of a store ({}), found {name}", names.join(", "));
        return Ok(ExitCode::from(failure::FAILED));
    }
    if common.json {
        print(&json!({ "name": name, "locations": locations }))?;
    } else if !common.quiet {
        print(&format_args!("removed store {name} with {locations} locations; the packages stay"))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn new_store(args: StoreArgs) -> Result<NewStore> {
    let tier: Tier = args.tier.parse()?;
    let base_url = args.url.as_deref().map(base_url).transpose()?;
    let root = match args.path {
        Some(_) if tier != Tier::Local => {
            return Err(Failure::Usage(format!("--path is for tier local, found {tier}: give --url")));
        }
        // The folder may be another machine's, or not mounted: then it stands as it was given.
        Some(path) => match path.canonicalize() {
            Ok(path) => Some(path),
            Err(_) if path.is_absolute() => Some(path),
            Err(error) => return Err(Failure::Usage(format!("--path {}: {error}", path.display()))),
        },
        None => None,
    };
    if let Some(root) = &root {
        utf8(root)?;
    }
    match (tier, &base_url, &root) {
        (Tier::Local, None, None) => Err(Failure::Usage("a store of tier local needs --path or --url".into())),
        (Tier::Local, ..) | (_, Some(_), _) => Ok(NewStore { name: args.name, tier, base_url, root, priority: args.priority }),
        (_, None, _) => Err(Failure::Usage(format!("a store of tier {tier} needs --url"))),
    }
}

/// Reads a base URL; slashes at its end go.
fn base_url(text: &str) -> Result<String> {
    // No refusal repeats the text: it may hold a password.
    let refuse = |found: &str| {
        Failure::Usage(format!("--url: expected an http or https URL, as in https://mirror.example.org/pub, found {found}"))
    };
    let url = Url::parse(text).map_err(|error| refuse(&error.to_string()))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(refuse("another scheme"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(refuse("a user or password, which every client would be shown"));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(refuse("a query or fragment, behind which no path can stand"));
    }
    Ok(url.as_str().trim_end_matches('/').to_owned())
}

fn table(stores: &[Store]) -> Result<()> {
    let columns = |store: &Store| {
        let root = store.root.as_ref().map_or_else(|| "-".into(), |root| root.display().to_string());
        let url = store.base_url.clone().unwrap_or_else(|| "-".into());
        [store.name.clone(), store.tier.to_string(), store.priority.to_string(), url, root]
    };
    let rows: Vec<[String; 5]> = std::iter::once(["NAME", "TIER", "PRIORITY", "URL", "PATH"].map(str::to_owned))
        .chain(stores.iter().map(columns))
        .collect();
    let widths: [usize; 5] = std::array::from_fn(|at| rows.iter().map(|row| row[at].chars().count()).max().unwrap_or(0));
    for row in &rows {
        let cells: Vec<String> = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        print(&cells.join("  ").trim_end())?;
    }
    Ok(())
}

fn as_json(store: &Store) -> Value {
    json!({
        "name": store.name,
        "tier": store.tier.as_str(),
        "priority": store.priority,
        "url": store.base_url,
        "path": store.root,
    })
}

fn place(store: &Store) -> String {
    match (&store.root, &store.base_url) {
        (Some(root), Some(url)) => format!("{}, {url}", root.display()),
        (Some(root), None) => root.display().to_string(),
        (None, Some(url)) => url.clone(),
        (None, None) => "nowhere".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base_urls_lose_slashes_at_their_end() {
        assert_eq!(base_url("https://mirror.example.org/pub//").unwrap(), "https://mirror.example.org/pub");
        assert_eq!(base_url("http://mirror.example.org").unwrap(), "http://mirror.example.org");
    }

    #[test]
    fn what_is_no_base_url_is_refused_without_its_password() {
        for bad in ["", "mirror", "ftp://h/", "file:///srv", "http://u:secret@h/", "http://h/?secret", "http://h/#secret"] {
            let message = base_url(bad).unwrap_err().to_string();
            assert!(message.contains("expected an http or https URL") && !message.contains("secret"), "{bad}: {message}");
        }
    }

    #[test]
    fn the_nearest_local_store_above_a_folder_is_its_store() {
        let store =
            |id, tier, root: &str| Store { id, name: id.to_string(), tier, base_url: None, root: Some(root.into()), priority: 0 };
        let stores =
            [store(1, Tier::Local, "/none/a"), store(2, Tier::Local, "/none/a/b"), store(3, Tier::Mirror, "/none/a/b/c")];
        for (folder, id) in [("/none/a", 1), ("/none/a/x", 1), ("/none/a/b", 2), ("/none/a/b/c/d", 2)] {
            assert_eq!(local(&stores, Path::new(folder)).unwrap().id, id, "{folder}");
        }
        assert!(local(&stores, Path::new("/none/ab")).is_none());
    }
}
