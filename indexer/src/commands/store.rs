//! The commands `store add`, `list` and `remove`.

use std::process::ExitCode;

use serde_json::{Value, json};
use sql::{Index, Store};

use super::check;
use super::local_stores::{describe_addresses, find_store, refuse_nested};
use super::new_store::{Form, new_store};
use crate::cli::{Common, StoreCommand};
use crate::feeders::filter::PathFilter;
use crate::report::failure::Result;
use crate::report::output::{print, printable};
use crate::report::summary::counted;
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

/// Removes a store with everything that only it has.
async fn remove(index: &Index, name: &str, common: &Common) -> Result<ExitCode> {
    let stores = index.stores().await?;
    let store = find_store(&stores, name)?;
    let locations = index.known_locations(store.id).await?.len();
    let repositories = index.status().await?.repositories;
    let own = repositories.iter().filter(|status| status.repository.store_id == store.id);
    let (names, memberships): (Vec<&str>, Vec<u64>) =
        own.map(|status| (status.repository.name.as_str(), status.listed + status.ended)).unzip();
    let memberships: u64 = memberships.iter().sum();
    index.remove_store(name).await?;
    if common.json {
        print(&json!({
            "name": name, "locations": locations, "repositories": names, "memberships": memberships,
        }))?;
    } else if !common.quiet {
        let listings = match names.as_slice() {
            [] => String::new(),
            [name] => format!(", its repository {name} and {}", counted(memberships, "membership")),
            names => format!(", its repositories {} and {}", names.join(", "), counted(memberships, "membership")),
        };
        let locations = counted(locations as u64, "location");
        print(&printable(&format!("removed store {name} with {locations}{listings}; the packages stay")))?;
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
        let url = store.base_url.as_deref().and_then(public_url).unwrap_or_else(|| "-".into());
        let pattern = store.pattern.as_ref().map_or_else(|| "-".into(), ToString::to_string);
        let distros = if pattern == "-" { pattern.clone() } else { store.distros.to_string() };
        let [tier, priority] = [store.tier.to_string(), store.priority.to_string()];
        [
            store.name.clone(),
            tier,
            priority,
            store.absent_statuses.to_string(),
            redirects(store),
            url,
            root,
            distros,
            pattern,
        ]
    };
    let rows: Vec<[String; 9]> = std::iter::once(
        ["NAME", "TIER", "PRIORITY", "ABSENT", "REDIRECTS", "URL", "PATH", "DISTROS", "PATTERN"].map(str::to_owned),
    )
    .chain(stores.iter().map(columns))
    .collect();
    let widths: [usize; 9] =
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
        "url": store.base_url.as_deref().and_then(public_url),
        "pattern": store.pattern.as_ref().map(ToString::to_string),
        "distros": store.distros.as_slice(),
        "path": store.root,
    })
}
