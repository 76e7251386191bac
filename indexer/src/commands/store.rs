//! The commands `store add`, `list` and `remove`.

use std::process::ExitCode;

use serde_json::{Value, json};
use sql::{Index, Store};

use super::check;
use super::local_stores::{describe_addresses, refuse_nested, without_query};
use super::new_store::{Form, new_store};
use crate::cli::{Common, StoreCommand};
use crate::feeders::filter::PathFilter;
use crate::report::failure::{self, Result};
use crate::report::output::{print, print_error, printable};
use crate::report::urls::public_url;

/// Runs `store add`, `list` or `remove`.
pub(crate) async fn run(
    index: &Index,
    command: StoreCommand,
    filter: &PathFilter,
    common: &Common,
) -> Result<ExitCode> {
    match command {
        StoreCommand::Add(args) => {
            let stores = index.stores().await?;
            let before = stores.iter().find(|store| store.name == args.name);
            let has_path = args.path.is_some();
            let new = new_store(args, before, Form::Options)?;
            if let Some(root) = new.root.as_ref().filter(|_| has_path) {
                refuse_nested(&stores, &new.name, root, filter)?;
            }
            let store = index.add_store(&new).await?;
            if common.json {
                print(&as_json(&store))?;
            } else if !common.quiet {
                print(&printable(&describe(before, &store)))?;
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

/// States what `store add` did.
fn describe(before: Option<&Store>, store: &Store) -> String {
    let Store { name, tier, .. } = store;
    match before.map(|before| changes(before, store)) {
        None => format!("added store {name} ({tier}, {})", describe_addresses(store)),
        Some(changes) if changes.is_empty() => format!("store {name} is as it was"),
        Some(changes) => format!("changed store {name}: {}", changes.join(", ")),
    }
}

/// Returns what differs between two states of a store, without secrets.
fn changes(before: &Store, after: &Store) -> Vec<String> {
    let texts = |store: &Store| {
        let root = store.root.as_ref().map(|root| root.display().to_string());
        [
            ("tier", store.tier.to_string()),
            ("url", store.base_url.as_deref().and_then(public_url).unwrap_or_default()),
            ("path", root.unwrap_or_default()),
            ("priority", store.priority.to_string()),
            ("absent statuses", store.absent_statuses.to_string()),
            ("redirect hosts", store.redirect_hosts.to_string()),
            ("allow private", store.allow_private.to_string()),
            ("pattern", store.pattern.as_ref().map(ToString::to_string).unwrap_or_default()),
            ("distros", store.distros.to_string()),
        ]
    };
    let shown = |text: String| if text.is_empty() { "none".to_owned() } else { text };
    let pairs = texts(before).into_iter().zip(texts(after)).filter(|((_, before), (_, after))| before != after);
    let mut changes: Vec<String> =
        pairs.map(|((name, before), (_, after))| format!("{name} {} (was {})", shown(after), shown(before))).collect();
    if before.base_url != after.base_url && !changes.iter().any(|change| change.starts_with("url ")) {
        changes.push("another query of the url".to_owned());
    }
    changes
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
