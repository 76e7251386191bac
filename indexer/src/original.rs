//! The form of the original's command, `-r FILE -d DISTRO`: its options and its three sentences, with exit codes that tell.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use sql::{DatabaseUrl, Index};

use crate::cli::{Common, ImportArgs};
use crate::failure::{Failure, Result};
use crate::import::Importer;
use crate::settings;

/// The original's options. Both are required, which the original said in its own words.
#[derive(Args)]
pub(crate) struct Original {
    /// One RPM file (the original's form)
    #[arg(short = 'r', long = "rpm", value_name = "FILE")]
    rpm: Option<PathBuf>,
    /// Its distribution (the original's form)
    #[arg(id = "original_distro", short = 'd', long = "distro", value_name = "DISTRO")]
    distro: Option<String>,
}

/// Both options.
pub(crate) struct Form {
    rpm: PathBuf,
    distro: String,
}

impl Original {
    /// Is one of the options there?
    pub(crate) fn is_given(&self) -> bool {
        self.rpm.is_some() || self.distro.is_some()
    }

    /// Both options, `None` if neither is there.
    pub(crate) fn form(&self) -> Result<Option<Form>> {
        if !self.is_given() {
            return Ok(None);
        }
        let say = |sentence| Failure::Original { sentence, detail: None };
        let distro = self.distro.clone().filter(|distro| !distro.is_empty());
        let distro = distro.ok_or_else(|| say("Please provide a distro name"))?;
        let rpm = self.rpm.clone().filter(|rpm| rpm.is_file());
        let rpm = rpm.ok_or_else(|| say("Please provide path to the rpm"))?;
        Ok(Some(Form { rpm, distro }))
    }
}

/// The database. Unlike the commands this form has no default: the original asked for its file.
pub(crate) fn database(common: &Common) -> Result<DatabaseUrl> {
    if let Some(database) = settings::configured_database(common)? {
        return Ok(database);
    }
    let sentence = "Please setup the database config file first at /etc/darkserver";
    match sql::original::indexer_database(&common.etc) {
        Ok(Some(database)) => Ok(database),
        Ok(None) => Err(Failure::Original { sentence, detail: None }),
        Err(error) => Err(Failure::Original { sentence, detail: Some(error.to_string()) }),
    }
}

/// Imports the file. Like the original it says nothing when all is well.
pub(crate) async fn import(form: Form, index: &Index, common: &Common) -> Result<ExitCode> {
    let quiet = Common { quiet: true, ..common.clone() };
    let (mut importer, stop) = Importer::new(index, &ImportArgs::with_distro(form.distro), &quiet);
    importer.import_files(&[form.rpm]).await?;
    crate::finish(&importer.into_summary(), &quiet, stop.is_set())
}
