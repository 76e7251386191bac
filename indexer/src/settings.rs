//! Which database: the option, the environment, the own file, the original's files, or the default.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use config::{Config, ConfigError, File, FileFormat};
use serde::Deserialize;
use sql::DatabaseUrl;

use crate::cli::Common;
use crate::feeders::filter::Filter;
use crate::report::failure::{Failure, Result};

/// The own file's name.
const FILE: &str = "indexer.toml";

/// What the own file can say.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    database: Option<String>,
    /// Globs of what `dir` leaves out, besides those of the command line.
    #[serde(default)]
    exclude: Vec<String>,
    /// Globs of what it reads nevertheless.
    #[serde(default)]
    include: Vec<String>,
}

/// The database to use.
pub(crate) fn database(common: &Common) -> Result<DatabaseUrl> {
    if let Some(database) = configured_database(common)? {
        return Ok(database);
    }
    Ok(sql::original::indexer_database(&common.etc)?.unwrap_or_default())
}

/// The database that the option, the environment (clap reads it) or the own file names. An empty option or variable names none.
pub(crate) fn configured_database(common: &Common) -> Result<Option<DatabaseUrl>> {
    if let Some(url) = common.database.as_deref().filter(|url| !url.is_empty()) {
        return Ok(Some(url.parse()?));
    }
    let (path, must_exist) = own_file(common);
    read_database(&path, must_exist)
}

/// What `dir` leaves out: the globs of the own file and those of the command line.
pub(crate) fn filter(common: &Common, excludes: &[String], includes: &[String]) -> Result<Filter> {
    let (path, must_exist) = own_file(common);
    let settings = read(&path, must_exist)?.unwrap_or_default();
    // Of the file first: an error names it.
    Filter::new(&settings.exclude, &settings.include)
        .map_err(|error| Failure::Usage(format!("{}: {error}", path.display())))?;
    Filter::new(settings.exclude.iter().chain(excludes), settings.include.iter().chain(includes))
}

/// The own file, and whether it must exist.
fn own_file(common: &Common) -> (PathBuf, bool) {
    match &common.config {
        Some(path) => (path.clone(), true),
        None => (common.etc.join(FILE), false),
    }
}

fn read_database(path: &Path, must_exist: bool) -> Result<Option<DatabaseUrl>> {
    match read(path, must_exist)?.and_then(|settings| settings.database) {
        None => Ok(None),
        Some(url) => {
            url.parse().map(Some).map_err(|error: sql::Error| Failure::Usage(format!("{}: {error}", path.display())))
        }
    }
}

/// `None` if there is no file, and none is needed.
fn read(path: &Path, must_exist: bool) -> Result<Option<Settings>> {
    // A link that leads nowhere is there.
    let is_absent = || matches!(path.symlink_metadata(), Err(error) if error.kind() == ErrorKind::NotFound);
    if !must_exist && is_absent() {
        return Ok(None);
    }
    let text = read_text(path).map_err(|wrong| {
        let cure = if must_exist { "" } else { ", or name another file with --config" };
        Failure::Usage(format!("{}: {wrong}{cure}", path.display()))
    })?;
    Config::builder()
        .add_source(File::from_str(&text, FileFormat::Toml))
        .build()
        .and_then(Config::try_deserialize)
        .map(Some)
        .map_err(|error| refuse(path, &error))
}

/// The text of a configuration file, or what is wrong with it and what to do. Opening a FIFO would wait for a writer.
fn read_text(path: &Path) -> Result<String, String> {
    let wrong = |error: io::Error| match error.kind() {
        ErrorKind::NotFound => match path.read_link() {
            Ok(target) => {
                format!("expected a file, found a link to {}, which does not exist: make that file", target.display())
            }
            Err(_) => error.to_string(),
        },
        ErrorKind::PermissionDenied => format!("{error}: let the importer's user read it"),
        _ => error.to_string(),
    };
    let metadata = path.metadata().map_err(wrong)?;
    if !metadata.is_file() {
        let found = if metadata.is_dir() { "a directory" } else { "a pipe, a device or a socket" };
        return Err(format!("expected a regular file, found {found}: write the configuration to a file"));
    }
    String::from_utf8(fs::read(path).map_err(wrong)?).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        format!("expected text in UTF-8, found other bytes from byte {at} on: save it as UTF-8")
    })
}

/// An error without a password. The lines of the file that it quotes go altogether: what is broken need not look like a URL.
fn refuse(path: &Path, error: &ConfigError) -> Failure {
    let found = match error {
        ConfigError::FileParse { cause, .. } => cause.to_string().lines().next().unwrap_or_default().to_owned(),
        ConfigError::Message(text) => text.clone(),
        _ => "a value of another type".into(),
    };
    let found = sql::redact_passwords(&found);
    let expected = "`database = \"URL\"`, and `exclude` and `include` as lists of globs";
    Failure::Usage(format!("{}: expected {expected}, found {found}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_cannot_be_read_is_told_without_its_password() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE);
        for (text, said) in [
            ("database = \"mysql://u:secret@h/d", "line 1"),
            ("database = mysql://u:secret@h/d", "line 1"),
            ("databases = \"mysql://u:secret@h/d\"", "databases"),
            ("\"mysql://u:secret@h/d\" = 1", "unknown"),
            ("database = [\"mysql://u:secret@h/d\"]", "another type"),
            ("database = \"mysql:secret@h\"", "expected"),
        ] {
            std::fs::write(&path, text).unwrap();
            let Err(failure) = read_database(&path, false) else { panic!("{text}") };
            let message = failure.to_string();
            assert!(message.contains(said) && message.contains(FILE), "{text}: {message}");
            assert!(!message.contains("secret"), "{text}: {message}");
        }
    }

    #[test]
    fn a_file_need_not_be_there_unless_it_was_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE);
        assert!(read_database(&path, false).unwrap().is_none());
        assert!(read_database(&path, true).unwrap_err().to_string().contains(FILE));
        std::fs::write(&path, "database = \"sqlite:x.db\"\n").unwrap();
        assert_eq!(read_database(&path, false).unwrap().unwrap().to_string(), "sqlite:x.db");
    }
}
