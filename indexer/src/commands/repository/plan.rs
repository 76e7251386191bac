//! Repositories as the command line or the configuration file has them become plans: the store is found or added.

use std::fs::File;
use std::io;
use std::path::PathBuf;

use http_client::below;
use sql::{Index, NewStore, Store, Tier};
use url::Url;

use crate::cli::{Payload, RepositoryFormat};
use crate::commands::local_stores::{describe_addresses, find_store, refuse_nested, unknown_store};
use crate::commands::new_store::{Form, new_store};
use crate::feeders::filter::PathFilter;
use crate::feeders::repository::Plan;
use crate::feeders::repository::address::Address;
use crate::feeders::repository::places::path_in_store;
use crate::report::failure::{CommandFailure, Result};
use crate::report::repository::{RepositoryOutcome, RepositorySummary};
use crate::report::urls::public_url;
use crate::settings::RepositorySettings;
use crate::settings::tables::RepositoryTable;

/// A repository as the command line or a `[[repository]]` has it.
pub(super) struct Options {
    pub(super) name: Option<String>,
    pub(super) store: Option<String>,
    pub(super) path: Option<String>,
    pub(super) url: Option<String>,
    pub(super) distro: Option<String>,
    pub(super) format: Option<RepositoryFormat>,
    pub(super) keys: Vec<PathBuf>,
    pub(super) metadata_only: bool,
    pub(super) payload: Option<Payload>,
}

/// Adds or changes the stores of the configuration file, and returns its repositories. One that cannot be asked for,
/// because a key file is missing for example, is refused alone.
///
/// # Errors
/// [`CommandFailure::Usage`] if the file states something that is never right. Nothing was written then.
pub(crate) async fn configured(
    settings: &RepositorySettings,
    filter: &PathFilter,
    index: &Index,
) -> Result<Vec<std::result::Result<Plan, RepositorySummary>>> {
    let file = settings.path.display();
    let in_file = |failure: CommandFailure| match failure {
        CommandFailure::Usage(text) => CommandFailure::Usage(format!("{file}: {text}")),
        other => other,
    };
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
            refuse_nested(&index.stores().await?, &store.name, root, filter).map_err(in_file)?;
        }
        index.add_store(&store).await?;
    }
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

/// Returns the summary of a repository that nothing was asked about.
pub(super) fn refused(name: &str, failure: &CommandFailure) -> RepositorySummary {
    let error = Some(failure.to_string());
    RepositorySummary { outcome: RepositoryOutcome::Refused, error, ..RepositorySummary::new(name) }
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
    pub(super) async fn into_plan(self, index: &Index) -> Result<Plan> {
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
