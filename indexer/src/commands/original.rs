//! The original's command, `-r FILE -d DISTRO`: its three sentences, with exit statuses.

use std::path::PathBuf;
use std::process::ExitCode;

use sql::{DatabaseUrl, Index};

use super::import::Importer;
use crate::cli::{Common, ImportArgs, Original};
use crate::report::failure::{CommandFailure, Result};
use crate::settings;

/// The two options.
pub(crate) struct OriginalArguments {
    rpm: PathBuf,
    distro: String,
}

impl OriginalArguments {
    /// Reads the options, `None` if neither is given.
    pub(crate) fn read(original: &Original) -> Result<Option<Self>> {
        if !original.is_given() {
            return Ok(None);
        }
        let refuse = |sentence| CommandFailure::Original { sentence, detail: None };
        let distro = original.distro.clone().filter(|distro| !distro.is_empty());
        let distro = distro.ok_or_else(|| refuse("Please provide a distro name"))?;
        let rpm = original.rpm.clone().filter(|rpm| rpm.is_file());
        let rpm = rpm.ok_or_else(|| refuse("Please provide path to the rpm"))?;
        Ok(Some(Self { rpm, distro }))
    }
}

/// Returns the database. There is no default: the original required its configuration file.
pub(crate) fn database(common: &Common) -> Result<DatabaseUrl> {
    if let Some(database) = settings::configured_database(common)? {
        return Ok(database);
    }
    let sentence = "Please setup the database config file first at /etc/darkserver";
    match sql::original::indexer_database(&common.etc) {
        Ok(Some(database)) => Ok(database),
        Ok(None) => Err(CommandFailure::Original { sentence, detail: None }),
        Err(error) => Err(CommandFailure::Original { sentence, detail: Some(error.to_string()) }),
    }
}

/// Imports the file. Like the original it prints nothing on success.
pub(crate) async fn import(form: OriginalArguments, index: &Index, common: &Common) -> Result<ExitCode> {
    let quiet = Common { quiet: true, ..common.clone() };
    let mut importer = Importer::new(index, &ImportArgs::with_distro(form.distro), &quiet);
    importer.import_files(&[form.rpm]).await?;
    importer.finish(&quiet).await
}
