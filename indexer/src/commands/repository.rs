//! The command `repo`: which repository, of which store, and its refresh.

use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use http_client::below;
use serde_json::json;
use sql::{Index, NewStore, Store, Tier};
use url::Url;

use super::check_locations::check_places;
use super::local_stores::{describe_addresses, find_store, refuse_nested, unknown_store};
use super::new_store::{Form, new_store};
use crate::cli::{Common, Payload, RepoArgs, RepositoryFormat};
use crate::feeders::repository::address::Address;
use crate::feeders::repository::places::path_in_store;
use crate::feeders::repository::{Plan, Refresher};
use crate::fetch::network::Network;
use crate::fetch::presence::polite_network;
use crate::pipeline::stop::Stop;
use crate::report::checks::CheckSummary;
use crate::report::failure::{self, CommandFailure, Result};
use crate::report::output::{print, print_error};
use crate::report::progress::ImportProgress;
use crate::report::repository::{RepositoryOutcome, RepositorySummary};
use crate::report::summary::counted;
use crate::report::urls::public_url;
use crate::settings::tables::RepositoryTable;
use crate::settings::{self, RepositorySettings};

/// A repository as the command line or a `[[repository]]` has it.
struct Options {
    name: Option<String>,
    store: Option<String>,
    path: Option<String>,
    url: Option<String>,
    distro: Option<String>,
    format: Option<RepositoryFormat>,
    keys: Vec<PathBuf>,
    metadata_only: bool,
    payload: Option<Payload>,
}

/// Refreshes the repository of the command line, or all of the configuration file.
pub(crate) async fn run(args: RepoArgs, index: &Index, common: &Common) -> Result<ExitCode> {
    if let Some(name) = &args.remove {
        return remove(index, name, common).await;
    }
    let settings = settings::repositories(common)?;
    let stop = Stop::on_signal();
    let (is_all, jobs, temp_limit) = (args.all, usize::from(args.jobs), args.temp_limit.as_u64());
    let plans = if is_all {
        Box::pin(configured(&settings, index, common)).await?
    } else {
        vec![Ok(Box::pin(args.into_plan(index)).await?)]
    };
    let refresher = Refresher {
        index: index.clone(),
        network: Network::new(settings.contact.as_deref(), settings.limits, stop.clone()),
        stop: stop.clone(),
        jobs,
        temp_limit,
    };
    let mut summaries = Vec::new();
    for plan in &plans {
        if stop.is_set() {
            break;
        }
        let plan = match plan {
            Ok(plan) => plan,
            Err(refused) => {
                report(refused, common);
                summaries.push(refused.clone());
                continue;
            }
        };
        let mut progress = ImportProgress::of_repository(common.quiet, &plan.name, &refresher.network);
        let refreshed = Box::pin(refresher.refresh(plan, &mut progress)).await;
        // Clears the progress bar before the summary is printed.
        drop(progress);
        let summary = match refreshed {
            // One repository of several does not stop the others.
            Err(failure @ CommandFailure::Usage(_)) if is_all => refused(&plan.name, &failure),
            refreshed => refreshed?,
        };
        report(&summary, common);
        summaries.push(summary);
    }
    let budget = settings.check.budget;
    let checked = if is_all && !stop.is_set() && !budget.is_zero() {
        let network = polite_network(settings.contact.as_deref(), &stop);
        let stores = index.stores().await?;
        Some(Box::pin(check_places(index, &stores, budget, &network, common.quiet)).await?)
    } else {
        None
    };
    finish(&summaries, checked.as_ref(), is_all, stop.is_set(), common)
}

/// Returns the summary of a repository that nothing was asked about.
fn refused(name: &str, failure: &CommandFailure) -> RepositorySummary {
    let error = Some(failure.to_string());
    RepositorySummary { outcome: RepositoryOutcome::Refused, error, ..RepositorySummary::new(name) }
}

/// Prints the summary of a repository. A refused one is reported also when quiet.
fn report(summary: &RepositorySummary, common: &Common) {
    match &summary.error {
        Some(error) if common.quiet || common.json => {
            print_error(&format_args!("darkserver-import: repository {}: {error}", summary.name));
        }
        _ if common.quiet || common.json => {}
        _ => print_error(summary),
    }
}

/// Prints the summaries as JSON if wanted, and returns the exit status. What checks of places found does not change it.
fn finish(
    summaries: &[RepositorySummary],
    checked: Option<&CheckSummary>,
    is_all: bool,
    is_stopped: bool,
    common: &Common,
) -> Result<ExitCode> {
    if common.json {
        match summaries {
            [summary] if !is_all => print(&serde_json::to_string(summary).map_err(CommandFailure::local)?)?,
            summaries => print(&json!({ "repositories": summaries, "places": checked }))?,
        }
    } else if let Some(checked) = checked
        && !common.quiet
    {
        print_error(checked);
    }
    if is_stopped {
        print_error(&"interrupted: packages read so far are in the index; the same command continues");
        return Ok(ExitCode::from(failure::INTERRUPTED));
    }
    let is_flawless = summaries.iter().all(RepositorySummary::is_flawless);
    Ok(if is_flawless { ExitCode::SUCCESS } else { ExitCode::from(failure::FAILED) })
}

/// Adds or changes the stores of the configuration file, and returns its repositories. One that cannot be asked for,
/// because a key file is missing for example, is refused alone.
///
/// # Errors
/// [`CommandFailure::Usage`] if the file states something that is never right. Nothing was written then.
async fn configured(
    settings: &RepositorySettings,
    index: &Index,
    common: &Common,
) -> Result<Vec<std::result::Result<Plan, RepositorySummary>>> {
    let file = settings.path.display();
    let in_file = |failure: CommandFailure| match failure {
        CommandFailure::Usage(text) => CommandFailure::Usage(format!("{file}: {text}")),
        other => other,
    };
    if settings.repositories.is_empty() {
        return Err(CommandFailure::Usage(format!("{file}: expected [[repository]] tables for --all, found none")));
    }
    let filter = settings::filter(common, &[], &[])?;
    // All of them before the first is added.
    let stores = settings
        .stores
        .iter()
        .cloned()
        .map(|table| table.into_args().and_then(|args| new_store(args, None, Form::Table)));
    let stores = stores.collect::<Result<Vec<NewStore>>>().map_err(in_file)?;
    let known = index.stores().await?;
    let names: Vec<&str> = stores
        .iter()
        .map(|store| &store.name)
        .chain(known.iter().map(|store| &store.name))
        .map(String::as_str)
        .collect();
    for table in &settings.repositories {
        let checked = Options::of_table(table).check(&names);
        checked
            .map_err(|failure| in_file(CommandFailure::Usage(format!("[[repository]] {}: {failure}", table.name))))?;
    }
    for store in stores {
        if let Some(root) = &store.root {
            refuse_nested(&index.stores().await?, &store.name, root, &filter).map_err(in_file)?;
        }
        index.add_store(&store).await?;
    }
    warn_of_others(settings, index, common).await?;
    let mut plans = Vec::new();
    for table in &settings.repositories {
        plans.push(match Options::of_table(table).into_plan(index).await {
            Ok(plan) => Ok(plan),
            Err(failure @ CommandFailure::Usage(_)) => Err(refused(&table.name, &failure)),
            Err(failure) => return Err(failure),
        });
    }
    Ok(plans)
}

/// Names the repositories of the index that the file lacks, unless quiet.
async fn warn_of_others(settings: &RepositorySettings, index: &Index, common: &Common) -> Result<()> {
    let others: Vec<String> = index.repositories().await?.into_iter().map(|repository| repository.name).collect();
    let is_other = |name: &&String| settings.repositories.iter().all(|table| table.name != **name);
    let others: Vec<&str> = others.iter().filter(is_other).map(String::as_str).collect();
    if !others.is_empty() && !common.quiet {
        print_error(&format_args!(
            "darkserver-import: in the index, but not in {}: {}; they stay as they are until `repo --remove NAME`",
            settings.path.display(),
            others.join(", ")
        ));
    }
    Ok(())
}

/// Removes a repository; its packages and their places stay.
async fn remove(index: &Index, name: &str, common: &Common) -> Result<ExitCode> {
    let repositories = index.status().await?.repositories;
    let Some(status) = repositories.iter().find(|status| status.repository.name == name) else {
        let names: Vec<&str> = repositories.iter().map(|status| status.repository.name.as_str()).collect();
        return Err(CommandFailure::Usage(format!(
            "expected the name of a repository ({}), found {name}",
            names.join(", ")
        )));
    };
    index.remove_repository(name).await?;
    let memberships = status.listed + status.ended;
    if common.json {
        print(&json!({ "name": name, "memberships": memberships }))?;
    } else if !common.quiet {
        print(&format_args!(
            "removed repository {name} with {}; the packages and their places stay",
            counted(memberships, "membership")
        ))?;
    }
    Ok(ExitCode::SUCCESS)
}

impl RepoArgs {
    async fn into_plan(self, index: &Index) -> Result<Plan> {
        let Self { url, name, store, path, distro, format, keys, metadata_only, payload, .. } = self;
        Options { name, store, path, url, distro, format, keys, metadata_only, payload }.into_plan(index).await
    }
}

impl Options {
    fn of_table(table: &RepositoryTable) -> Self {
        let table = table.clone();
        Self {
            name: Some(table.name),
            store: table.store,
            path: table.path,
            url: table.url,
            distro: table.distro,
            format: table.format,
            keys: table.keys,
            metadata_only: table.metadata_only,
            payload: table.payload,
        }
    }

    /// Checks what can be checked without the index; `stores` are the names of its stores and of those to be added.
    fn check(&self, stores: &[&str]) -> Result<()> {
        if let Some(name) = self.store.as_deref().filter(|name| !stores.contains(name)) {
            return Err(unknown_store(stores.iter().copied(), name));
        }
        match (&self.url, &self.store) {
            (Some(url), store) => match Address::read(url, self.format)?.directory() {
                None if store.is_none() => Err(list_without_store()),
                _ => Ok(()),
            },
            (None, Some(_)) => Ok(()),
            (None, None) => Err(CommandFailure::Usage("expected `url`, or `store` and `path`, found none".into())),
        }
    }

    /// Finds the store, or adds one, and the path of the repository below it.
    async fn into_plan(self, index: &Index) -> Result<Plan> {
        for key in &self.keys {
            if let Err(error) =
                File::open(key).and_then(|file| file.metadata()).and_then(|found| match found.is_file() {
                    true => Ok(()),
                    false => Err(io::Error::other("another kind of file")),
                })
            {
                let shown = key.display();
                return Err(CommandFailure::Usage(format!(
                    "key {shown}: expected a file with OpenPGP keys, found {error}"
                )));
            }
        }
        let stores = index.stores().await?;
        let named = self.store.as_deref().map(|name| find_store(&stores, name)).transpose()?;
        let given = self.path.as_deref().map(|path| path.trim_matches('/').to_owned());
        let (mut address, url) = match (&self.url, named) {
            (Some(url), _) => (Address::read(url, self.format)?, Some(url.clone())),
            (None, Some(store)) => self.below_store(store, given.as_deref().unwrap_or_default())?,
            (None, None) => {
                return Err(CommandFailure::Usage("expected `url`, or `store` and `path`, found none".into()));
            }
        };
        let store = match (named, address.directory()) {
            (Some(store), _) => store.clone(),
            (None, Some(directory)) => self.store_of(index, &stores, &address, directory).await?,
            (None, None) => {
                return Err(list_without_store());
            }
        };
        let path = match (address.directory(), given) {
            (Some(directory), given) if given.is_none() || self.url.is_none() => {
                Some(path_in_store(directory, &store).ok_or_else(|| {
                    CommandFailure::Usage(format!(
                        "expected a URL below that of store {} ({}), found another one: state the path of the \
                         repository below the store's URL with --path",
                        store.name,
                        store.base_url.as_deref().and_then(public_url).unwrap_or_else(|| "none".to_owned())
                    ))
                })?)
            }
            (_, given) => given,
        };
        address.add_query_of(&store);
        Ok(Plan {
            name: self.name.clone().unwrap_or_else(|| address.name()),
            format: address.format(),
            store,
            address,
            url,
            path,
            distro: self.distro.filter(|distro| !distro.is_empty()),
            keys: self.keys,
            metadata_only: self.metadata_only,
            payload: self.payload.unwrap_or(Payload::Missing),
        })
    }

    /// Returns the address at a path of a store, and the URL for the index if that does not follow from both.
    fn below_store(&self, store: &Store, path: &str) -> Result<(Address, Option<String>)> {
        let base = store.base_url.as_deref();
        let base =
            base.ok_or_else(|| CommandFailure::Usage(format!("store {}: expected a URL, found none", store.name)))?;
        let url = below(base, path).ok_or_else(|| {
            CommandFailure::Usage(format!("expected a path below store {}, found {path:?}", store.name))
        })?;
        let address = Address::read(url.as_str(), self.format)?;
        let is_directory =
            address.directory().is_some_and(|directory| directory.path() == url.path().trim_end_matches('/'));
        let stored = (!is_directory && url.path() != "/").then(|| url.to_string());
        Ok((address, stored))
    }

    /// Returns the store whose URL is above the repository's directory, else a new one with that URL.
    async fn store_of(&self, index: &Index, stores: &[Store], address: &Address, directory: &Url) -> Result<Store> {
        let above = stores.iter().filter_map(|store| Some((path_in_store(directory, store)?, store)));
        // The deepest; a store with a pattern is for packages that no listing names there.
        let above = above.min_by_key(|(path, store)| (store.pattern.is_some(), path.len()));
        let url = directory.as_str();
        if let Some((path, store)) = above {
            let is_changed = path.is_empty() && directory.query().is_some() && store.base_url.as_deref() != Some(url);
            if !is_changed {
                return Ok(store.clone());
            }
            // The same directory with another token.
            let changed = NewStore { base_url: Some(url.to_owned()), ..NewStore::from(store.clone()) };
            return Ok(index.add_store(&changed).await?);
        }
        let name = self.name.clone().unwrap_or_else(|| address.name());
        if let Some(store) = stores.iter().find(|store| store.name == name) {
            return Err(CommandFailure::Usage(format!(
                "store {name} is another one ({}): state the store of the repository with --store, or another --name",
                describe_addresses(store)
            )));
        }
        let base_url = Some(url.to_owned());
        Ok(index.add_store(&mirror(name, base_url)).await?)
    }
}

fn mirror(name: String, base_url: Option<String>) -> NewStore {
    NewStore {
        name,
        tier: Tier::Mirror,
        base_url,
        root: None,
        priority: 0,
        pattern: None,
        distros: sql::Distros::default(),
        absent_statuses: sql::AbsentStatuses::default(),
        redirect_hosts: sql::RedirectHosts::default(),
        allow_private: false,
    }
}

fn list_without_store() -> CommandFailure {
    CommandFailure::Usage(
        "a metalink or mirrorlist needs --store: links for clients lead to the URL of a store, never to the mirror of \
         the day"
            .into(),
    )
}
