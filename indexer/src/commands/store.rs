//! The commands `store add`, `list` and `remove`.

use std::process::ExitCode;

use serde_json::{Value, json};
use sql::{Index, NewStore, Store, Tier};

use super::check;
use super::local_stores::{base_url, describe_addresses, refuse_nested, utf8, without_query};
use crate::cli::{Common, StoreArgs, StoreCommand};
use crate::feeders::filter::PathFilter;
use crate::report::failure::{self, CommandFailure, Result};
use crate::report::output::{print, print_error};

/// Runs `store add`, `list` or `remove`.
pub(crate) async fn run(
    index: &Index,
    command: StoreCommand,
    filter: &PathFilter,
    common: &Common,
) -> Result<ExitCode> {
    match command {
        StoreCommand::Add(args) => {
            let (stores, new) = (index.stores().await?, new_store(args)?);
            if let Some(root) = &new.root {
                refuse_nested(&stores, &new.name, root, filter)?;
            }
            let is_new = !stores.iter().any(|store| store.name == new.name);
            let store = index.add_store(&new).await?;
            if common.json {
                print(&as_json(&store))?;
            } else if !common.quiet {
                let verb = if is_new { "added" } else { "changed" };
                print(&format_args!("{verb} store {} ({}, {})", store.name, store.tier, describe_addresses(&store)))?;
            }
            Ok(ExitCode::SUCCESS)
        }
        StoreCommand::List => {
            let stores = index.stores().await?;
            if common.json {
                print(&Value::Array(stores.iter().map(as_json).collect()))?;
            } else {
                print_table(&stores)?;
            }
            Ok(ExitCode::SUCCESS)
        }
        StoreCommand::Check(args) => check::run(index, args, common).await,
        StoreCommand::Remove { name } => remove(index, &name, common).await,
    }
}

/// Removes a store; exit status 1 if there is none with that name.
async fn remove(index: &Index, name: &str, common: &Common) -> Result<ExitCode> {
    let stores = index.stores().await?;
    let locations = match stores.iter().find(|store| store.name == name) {
        Some(store) => index.known_locations(store.id).await?.len(),
        None => 0,
    };
    if !index.remove_store(name).await? {
        let names: Vec<&str> = stores.iter().map(|store| store.name.as_str()).collect();
        print_error(&format_args!(
            "darkserver-import: expected the name of a store ({}), found {name}",
            names.join(", ")
        ));
        return Ok(ExitCode::from(failure::FAILED));
    }
    if common.json {
        print(&json!({ "name": name, "locations": locations }))?;
    } else if !common.quiet {
        print(&format_args!("removed store {name} with {locations} locations; the packages stay"))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Checks the arguments of `store add`.
pub(crate) fn new_store(args: StoreArgs) -> Result<NewStore> {
    let tier: Tier = args.tier.parse()?;
    let base_url = args.url.as_deref().map(base_url).transpose()?;
    let root = match args.path {
        Some(_) if tier != Tier::Local => {
            return Err(CommandFailure::Usage(format!("--path is for tier local, found {tier}: give --url")));
        }
        // A directory of another machine, or one that is not mounted, is stored as given.
        Some(path) => match path.canonicalize() {
            Ok(path) => Some(path),
            Err(_) if path.is_absolute() => Some(path),
            Err(error) => return Err(CommandFailure::Usage(format!("--path {}: {error}", path.display()))),
        },
        None => None,
    };
    if let Some(root) = &root {
        utf8(root)?;
    }
    let (pattern, distros) = (args.pattern, args.distros.unwrap_or_default());
    if pattern.is_none() != distros.as_slice().is_empty() {
        return Err(CommandFailure::Usage(format!(
            "store {}: expected --pattern and --distros, which states the distributions that the pattern is valid for, \
             found one of them",
            args.name
        )));
    }
    if pattern.is_some() && base_url.is_none() {
        return Err(CommandFailure::Usage(format!("store {}: --pattern needs --url", args.name)));
    }
    match (tier, &base_url, &root) {
        (Tier::Local, None, None) => Err(CommandFailure::Usage("a store of tier local needs --path or --url".into())),
        (Tier::Local, ..) | (_, Some(_), _) => {
            let StoreArgs { name, priority, absent_statuses, allow_private, .. } = args;
            let redirect_hosts = args.redirect_hosts.unwrap_or_default();
            Ok(NewStore {
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
            })
        }
        (_, None, _) => Err(CommandFailure::Usage(format!("a store of tier {tier} needs --url"))),
    }
}

/// Prints stores as a table.
fn print_table(stores: &[Store]) -> Result<()> {
    let columns = |store: &Store| {
        let root = store.root.as_ref().map_or_else(|| "-".into(), |root| root.display().to_string());
        let url = store.base_url.as_deref().map_or_else(|| "-".into(), |url| without_query(url).to_owned());
        let [tier, priority] = [store.tier.to_string(), store.priority.to_string()];
        [store.name.clone(), tier, priority, store.absent_statuses.to_string(), redirects(store), url, root]
    };
    let rows: Vec<[String; 7]> =
        std::iter::once(["NAME", "TIER", "PRIORITY", "ABSENT", "REDIRECTS", "URL", "PATH"].map(str::to_owned))
            .chain(stores.iter().map(columns))
            .collect();
    let widths: [usize; 7] =
        std::array::from_fn(|at| rows.iter().map(|row| row[at].chars().count()).max().unwrap_or(0));
    for row in &rows {
        let cells: Vec<String> = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        print(&cells.join("  ").trim_end())?;
    }
    Ok(())
}

/// Returns the hosts that a store may redirect to.
fn redirects(store: &Store) -> String {
    let hosts = store.redirect_hosts.to_string();
    match (hosts.is_empty(), store.allow_private) {
        (true, _) => "-".to_owned(),
        (false, true) => format!("{hosts} (private)"),
        (false, false) => hosts,
    }
}

fn as_json(store: &Store) -> Value {
    json!({
        "name": store.name,
        "tier": store.tier.as_str(),
        "priority": store.priority,
        "absent_statuses": store.absent_statuses.as_slice(),
        "redirect_hosts": store.redirect_hosts.as_slice(),
        "allow_private": store.allow_private,
        "url": store.base_url.as_deref().map(without_query),
        "pattern": store.pattern.as_ref().map(ToString::to_string),
        "distros": store.distros.as_slice(),
        "path": store.root,
    })
}
