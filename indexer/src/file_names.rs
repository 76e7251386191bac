//! Names of files of packages that came before there was a table for them: filled in once.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use serde_json::json;
use sql::{FileNames, Index};

use crate::cli::{Common, Switch};
use crate::failure::Result;
use crate::output::print;

/// Between two lines about progress.
const NEWS: Duration = Duration::from_secs(5);

/// Fills in what is missing; mostly that is nothing.
pub(crate) async fn fill(index: &Index, common: &Common) -> Result<u64> {
    let mut told = Instant::now();
    let tell = |packages| {
        if !common.quiet && told.elapsed() >= NEWS {
            told = Instant::now();
            eprintln!("filling in names of files: {packages} packages done; can be interrupted, the next import goes on");
        }
    };
    Ok(index.fill_file_names(tell).await?)
}

/// `file-names [on|off]`
pub(crate) async fn run(index: &Index, wanted: Option<Switch>, common: &Common) -> Result<ExitCode> {
    if let Some(wanted) = wanted {
        index.want_file_names(wanted == Switch::On).await?;
    }
    let filled = fill(index, common).await?;
    let state = if index.file_names().await? == FileNames::Off { "off" } else { "on" };
    if common.json {
        print(&json!({ "file_names": state, "packages": filled }))?;
    } else if state == "on" {
        print(&format_args!("names of files are in the index; of {filled} packages they were missing"))?;
    } else {
        print(&"names of files are not in the index")?;
    }
    Ok(ExitCode::SUCCESS)
}
