//! Settings in order of precedence: option, environment, configuration file, the original's files, default.

use std::io::ErrorKind;
use std::num::NonZeroU8;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use sql::DatabaseUrl;

use crate::cli::Common;
use crate::feeders::filter::PathFilter;
use crate::fetch::network::NetworkLimits;
use crate::report::failure::{CommandFailure, Result};
use hooks::HooksTable;
use koji::KojiTable;
use messages::MessagesTable;
use service::ServiceTable;
use tables::{CheckTable, RepositoryTable, StoreTable};

pub(crate) mod hooks;
pub(crate) mod koji;
pub(crate) mod messages;
mod original;
pub(crate) mod service;
pub(crate) mod tables;

/// Name of the configuration file.
const FILE: &str = "indexer.toml";
/// What the configuration file holds, for messages.
const EXPECTED: &str = "`database = \"URL\"`, `exclude` and `include` as lists of globs, `contact`, \
                        `requests_per_host`, `[check]`, `[service]`, `[hooks]`, `[[store]]`, `[[repository]]`, \
                        `[[koji]]` and `[[messages]]`, as in docs/indexer.toml";

/// The keys of the configuration file.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct ConfigurationFile {
    database: Option<String>,
    /// Globs that `dir` excludes, in addition to those of the command line.
    #[serde(default)]
    exclude: Vec<String>,
    /// Globs that `dir` includes although an exclude or a default matches.
    #[serde(default)]
    include: Vec<String>,
    #[serde(default, deserialize_with = "tables::contact")]
    contact: Option<String>,
    requests_per_host: Option<NonZeroU8>,
    #[serde(default)]
    check: CheckTable,
    #[serde(default)]
    hooks: HooksTable,
    #[serde(default)]
    service: ServiceTable,
    #[serde(default, rename = "store")]
    stores: Vec<StoreTable>,
    #[serde(default, rename = "repository")]
    repositories: Vec<RepositoryTable>,
    #[serde(default)]
    koji: Vec<KojiTable>,
    #[serde(default)]
    messages: Vec<MessagesTable>,
}

/// What the configuration file holds for `repo` and for checks.
pub(crate) struct RepositorySettings {
    /// The file, for messages.
    pub(crate) path: PathBuf,
    /// How the operator can be reached, for the header User-Agent.
    pub(crate) contact: Option<String>,
    /// The limits of requests.
    pub(crate) limits: NetworkLimits,
    /// The check at the end of `repo --all`.
    pub(crate) check: CheckTable,
    /// The stores, in the file's order.
    pub(crate) stores: Vec<StoreTable>,
    /// The repositories, in the file's order.
    pub(crate) repositories: Vec<RepositoryTable>,
}

/// Returns the contact, the limits, the stores and the repositories of the configuration file.
///
/// # Errors
/// [`CommandFailure::Usage`] if the file cannot be read, or two stores or two repositories have the same name.
pub(crate) fn repositories(common: &Common) -> Result<RepositorySettings> {
    let (path, must_exist) = configuration_file(common);
    let ConfigurationFile { contact, requests_per_host, check, stores, repositories, .. } = read(&path, must_exist)?;
    let mut limits = NetworkLimits::default();
    if let Some(requests) = requests_per_host {
        limits.max_per_host = usize::from(requests.get());
    }
    let names = [
        ("store", stores.iter().map(|store| store.name.as_str()).collect::<Vec<_>>()),
        ("repository", repositories.iter().map(|repository| repository.name.as_str()).collect()),
    ];
    for (table, mut names) in names {
        names.sort_unstable();
        if let Some(pair) = names.windows(2).find(|pair| pair.first() == pair.last()) {
            return Err(CommandFailure::Usage(format!(
                "{}: expected different names of [[{table}]], found {} twice",
                path.display(),
                pair.first().copied().unwrap_or_default()
            )));
        }
    }
    Ok(RepositorySettings { path, contact, limits, check, stores, repositories })
}

/// Returns the database to use.
pub(crate) fn database(common: &Common) -> Result<DatabaseUrl> {
    if let Some(database) = configured_database(common)? {
        return Ok(database);
    }
    Ok(sql::original::indexer_database(&common.etc)?.unwrap_or_default())
}

/// Returns the database that the option, the environment (read by clap) or the configuration file names. An empty
/// option or variable names none.
pub(crate) fn configured_database(common: &Common) -> Result<Option<DatabaseUrl>> {
    if let Some(url) = common.database.as_deref().filter(|url| !url.is_empty()) {
        return Ok(Some(url.parse()?));
    }
    let (path, must_exist) = configuration_file(common);
    read_database(&path, must_exist)
}

/// Returns the filter of `dir`: the globs of the configuration file and those of the command line.
pub(crate) fn filter(common: &Common, excludes: &[String], includes: &[String]) -> Result<PathFilter> {
    let (path, must_exist) = configuration_file(common);
    let settings = read(&path, must_exist)?;
    // Those of the file first, so that an error names the file.
    PathFilter::new(&settings.exclude, &settings.include)
        .map_err(|error| CommandFailure::Usage(format!("{}: {error}", path.display())))?;
    PathFilter::new(settings.exclude.iter().chain(excludes), settings.include.iter().chain(includes))
}

/// Reads the configuration file.
fn configuration(common: &Common) -> Result<ConfigurationFile> {
    let (path, must_exist) = configuration_file(common);
    read(&path, must_exist)
}

/// Returns the path of the configuration file, and whether the file must exist.
fn configuration_file(common: &Common) -> (PathBuf, bool) {
    match &common.config {
        Some(path) => (path.clone(), true),
        None => (common.etc.join(FILE), false),
    }
}

fn read_database(path: &Path, must_exist: bool) -> Result<Option<DatabaseUrl>> {
    match read(path, must_exist)?.database {
        None => Ok(None),
        Some(url) => url
            .parse()
            .map(Some)
            .map_err(|error: sql::Error| CommandFailure::Usage(format!("{}: {error}", path.display()))),
    }
}

fn read(path: &Path, must_exist: bool) -> Result<ConfigurationFile> {
    match sql::configuration::read_toml(path, must_exist) {
        Ok(file) => Ok(file),
        // serde lists the keys of a table itself.
        // So does a message about the value of a key: it names the key.
        Err(error @ sql::Error::Toml { .. })
            if error.to_string().contains("unknown field ") || error.to_string().contains(" in `") =>
        {
            Err(CommandFailure::Usage(error.to_string()))
        }
        Err(error @ sql::Error::Toml { .. }) => Err(CommandFailure::Usage(format!("{error}: expected {EXPECTED}"))),
        Err(error) => Err(refuse(&error, must_exist)),
    }
}

/// Adds advice to an error.
fn refuse(error: &sql::Error, must_exist: bool) -> CommandFailure {
    let permission = match error {
        sql::Error::File { source, .. } if source.kind() == ErrorKind::PermissionDenied => {
            ": let the importer's user read it"
        }
        _ => "",
    };
    let other_file = if must_exist { "" } else { ", or name another file with --config" };
    CommandFailure::Usage(format!("{error}{permission}{other_file}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_invalid_file_is_reported_without_its_password() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(FILE);
        for (text, expected) in [
            ("database = \"mysql://u:secret@h/d", "line 1"),
            ("database = mysql://u:secret@h/d", "line 1"),
            ("databases = \"mysql://u:secret@h/d\"", "databases"),
            ("\"mysql://u:secret@h/d\" = 1", "unknown"),
            ("database = [\"mysql://u:secret@h/d\"]", "invalid type"),
            ("database = \"mysql:secret@h\"", "expected"),
            ("requests_per_host = 0", "line 1"),
            ("[service]\nlisten = \"localhost:8003\"", "expected ADDRESS:PORT like 127.0.0.1:8003, found \"localhost"),
            ("requests_per_host = 256", "line 1"),
        ] {
            std::fs::write(&path, text).unwrap();
            let Err(failure) = read_database(&path, false) else { panic!("{text}") };
            let message = failure.to_string();
            assert!(message.contains(expected) && message.contains(FILE), "{text}: {message}");
            assert!(!message.contains("secret"), "{text}: {message}");
        }
    }

    #[test]
    fn a_file_must_exist_only_if_it_was_named() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(FILE);
        assert!(read_database(&path, false).unwrap().is_none());
        assert!(read_database(&path, true).unwrap_err().to_string().contains(FILE));
        std::fs::write(&path, "database = \"sqlite:x.db\"\n").unwrap();
        assert_eq!(read_database(&path, false).unwrap().unwrap().to_string(), "sqlite:x.db");
    }
}
