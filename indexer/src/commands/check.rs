//! The command `store check`: probes stores and states what works.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use http_client::below;
use serde::Serialize;
use sql::{Index, Location, Repository, Store};
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::timeout;

use crate::cli::{CheckArgs, Common};
use crate::commands::check_locations;
use crate::commands::local_stores::find_store;
use crate::feeders;
use crate::fetch::network::{Network, NetworkLimits};
use crate::fetch::probe::{self, Check, Outcome, Target};
use crate::pipeline::stop::Stop;
use crate::report::failure::{self, CommandFailure, Result};
use crate::report::output::{print, printable};
use crate::settings;

/// Maximum time to look into a directory. A dead file server never answers.
const LOCAL_TIMEOUT: Duration = Duration::from_secs(10);
/// Number of known locations that are looked for in a directory.
const SAMPLE: u32 = 20;
/// Maximum time to wait for an answer of a server.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// What was found about a store: an element of `--json`.
#[derive(Serialize)]
struct StoreReport {
    name: String,
    tier: &'static str,
    /// Its URL without secrets, else its directory.
    address: String,
    checks: Vec<Check>,
}

/// Runs `store check`: exit status 1 if something failed.
pub(crate) async fn run(index: &Index, args: CheckArgs, common: &Common) -> Result<ExitCode> {
    let settings = settings::repositories(common)?;
    let stores = select(index.stores().await?, &args.names)?;
    if args.locations {
        let contact = settings.contact.as_deref();
        return check_locations::run(index, &stores, args.budget, contact, common).await;
    }
    let limits = NetworkLimits { stall_timeout: ANSWER_TIMEOUT, down_timeout: ANSWER_TIMEOUT, ..settings.limits };
    let network = Network::new(settings.contact.as_deref(), limits, Stop::default());
    let repositories = index.repositories().await?;
    let mut probes = JoinSet::new();
    for (at, store) in stores.into_iter().enumerate() {
        let known = known_locations(index, &store).await?;
        let keys = |repository: &Repository| {
            let table = settings.repositories.iter().find(|table| table.name == repository.name);
            table.map(|table| table.keys.clone()).unwrap_or_default()
        };
        let own = repositories.iter().filter(|repository| repository.store_id == store.id);
        let own: Vec<_> = own.map(|repository| (repository.clone(), keys(repository))).collect();
        let network = Arc::clone(&network);
        probes.spawn(async move { (at, probe_store(&network, &store, &known, &own).await) });
    }
    let mut reports = Vec::new();
    while let Some(report) = probes.join_next().await {
        reports.push(report.map_err(CommandFailure::local)?);
    }
    reports.sort_by_key(|(at, _)| *at);
    let reports: Vec<StoreReport> = reports.into_iter().map(|(_, report)| report).collect();
    if common.json {
        print(&serde_json::to_string(&reports).map_err(CommandFailure::local)?)?;
    } else if !common.quiet {
        print_table(&reports)?;
    }
    let is_failed = reports.iter().flat_map(|report| &report.checks).any(|check| check.result == Outcome::Failed);
    Ok(if is_failed { ExitCode::from(failure::FAILED) } else { ExitCode::SUCCESS })
}

/// Returns the stores with these names, or all.
fn select(stores: Vec<Store>, names: &[String]) -> Result<Vec<Store>> {
    for name in names {
        find_store(&stores, name)?;
    }
    Ok(stores.into_iter().filter(|store| names.is_empty() || names.contains(&store.name)).collect())
}

/// Returns some present locations of a store.
async fn known_locations(index: &Index, store: &Store) -> Result<Vec<Location>> {
    let packages = index.sample(Some(store.id), SAMPLE).await?;
    let locations = packages.into_iter().flat_map(|package| package.locations);
    let is_known =
        |location: &Location| location.store.id == store.id && location.gone_at.is_none() && !location.derived;
    Ok(locations.filter(is_known).take(SAMPLE as usize).collect())
}

async fn probe_store(
    network: &Arc<Network>,
    store: &Store,
    known: &[Location],
    repositories: &[(Repository, Vec<PathBuf>)],
) -> StoreReport {
    let mut checks = Vec::new();
    if let Some(root) = &store.root {
        checks.extend(probe_directory(root, known).await);
    }
    let mut address = store.root.as_ref().map(|root| root.display().to_string());
    if let Some(base) = store.base_url.as_deref() {
        let place = known.first().and_then(|location| below(base, &location.path));
        let target = match place {
            Some(url) => Some(Target { url, is_file: true }),
            None => below(base, "").map(|url| Target { url, is_file: false }),
        };
        let client = network.client(store.redirect_hosts.as_slice(), &[], store.allow_private);
        match (target, client) {
            (Some(target), Ok(client)) => {
                address = below(base, "").map(|url| http_client::without_secrets(&url).into());
                checks.extend(probe::probe(network, &client, &target).await);
            }
            (None, _) => checks.push(Check::new("reachable", Outcome::Failed, "expected an http URL, found another")),
            (_, Err(error)) => checks.push(Check::new("reachable", Outcome::Failed, format!("{error:#}"))),
        }
    }
    for (repository, keys) in repositories {
        checks.extend(feeders::repository::probe::probe(network, store, repository, keys).await);
    }
    let address = address.unwrap_or_else(|| "-".to_owned());
    StoreReport { name: store.name.clone(), tier: store.tier.as_str(), address, checks }
}

/// Looks whether a directory can be read, and has some of its locations.
async fn probe_directory(root: &Path, known: &[Location]) -> Vec<Check> {
    let directory = root.to_owned();
    let sample: Vec<(String, Option<u64>)> =
        known.iter().map(|location| (location.path.clone(), location.size)).collect();
    match timeout(LOCAL_TIMEOUT, spawn_blocking(move || look(&directory, &sample))).await {
        Ok(Ok(checks)) => checks,
        Ok(Err(error)) => vec![Check::new("directory", Outcome::Unknown, error.to_string())],
        Err(_) => {
            let detail = format!("{}: expected an answer within {LOCAL_TIMEOUT:?}, found none", root.display());
            vec![Check::new("directory", Outcome::Failed, detail)]
        }
    }
}

fn look(root: &Path, sample: &[(String, Option<u64>)]) -> Vec<Check> {
    let first = std::fs::read_dir(root).and_then(|mut entries| entries.next().transpose());
    let directory = match first {
        Err(error) => {
            let detail = format!("{}: expected a directory, found {error}", root.display());
            return vec![Check::new("directory", Outcome::Failed, detail)];
        }
        Ok(None) => Check::new("directory", Outcome::Warning, format!("{}: found an empty directory", root.display())),
        Ok(Some(_)) => Check::new("directory", Outcome::Ok, format!("{} can be read", root.display())),
    };
    let missing = |(path, size): &(String, Option<u64>)| {
        let found = match std::fs::metadata(root.join(path)) {
            Ok(file) if size.is_none_or(|size| size == file.len()) => return None,
            Ok(file) => format!("{} bytes", file.len()),
            Err(error) => error.to_string(),
        };
        let expected = size.map_or("a file".to_owned(), |size| format!("{size} bytes"));
        Some(format!("{path}: expected {expected}, found {found}"))
    };
    let missing: Vec<String> = sample.iter().filter_map(missing).collect();
    let (count, there) = (sample.len(), sample.len() - missing.len());
    let locations = match missing.first() {
        _ if sample.is_empty() => Check::new("locations", Outcome::Unknown, "the index has no location of it"),
        None => Check::new("locations", Outcome::Ok, format!("{there} of {count} of a sample are there")),
        Some(first) => {
            let detail = format!("{there} of {count} of a sample are there; {first}");
            Check::new("locations", Outcome::Failed, detail)
        }
    };
    vec![directory, locations]
}

/// Prints a block of lines for each store.
fn print_table(reports: &[StoreReport]) -> Result<()> {
    for report in reports {
        print(&printable(&format!("{} ({}) {}", report.name, report.tier, report.address)))?;
        for check in &report.checks {
            let repository = check.repository.as_ref().map(|name| format!("{name}: ")).unwrap_or_default();
            let line = format!("  {:10} {:8} {repository}{}", check.check, check.result.as_str(), check.detail);
            print(&printable(&line))?;
        }
    }
    Ok(())
}
