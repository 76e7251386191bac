//! What an import did, and how the operator is told.

use std::collections::BTreeMap;
use std::fmt;
use std::process::ExitCode;

use artifact::Format;
use serde::Serialize;
use sql::Inserted;

use crate::cli::Common;
use crate::report::failure::{self, CommandFailure, Result};
use crate::report::output::{print, print_error};

/// What an import did: the object that `--json` prints.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(crate) struct ImportSummary {
    /// Archives found.
    pub(crate) found: u64,
    /// Of these, sound ones by format.
    pub(crate) formats: BTreeMap<&'static str, u64>,
    /// Of these: known and unchanged, not read.
    pub(crate) unchanged: u64,
    /// Packages that the index did not know.
    pub(crate) imported: u64,
    /// Packages that were open and are complete now.
    pub(crate) refined: u64,
    /// Locations that are no longer there.
    pub(crate) gone: u64,
    /// Files and directories that patterns and defaults left out.
    pub(crate) excluded: u64,
    /// Links that lead out of the store's directory.
    pub(crate) links_out: u64,
    /// Of a directory in which nothing was found: files by formats that were not looked for.
    pub(crate) other_formats: BTreeMap<&'static str, u64>,
    /// Archives that are no sound packages.
    pub(crate) broken: u64,
    /// Files and directories that could not be read.
    pub(crate) problems: u64,
    /// Folders, of several, that were not imported: missing, or not to be imported like this.
    pub(crate) refused: u64,
    /// Archives whose payload was read, because they have no header, or one that could not say everything.
    pub(crate) payloads_read: u64,
    /// Bytes read of archives up to the end of their headers.
    pub(crate) header_bytes_read: u64,
    /// Artifacts written.
    pub(crate) artifacts: u64,
    /// Time taken.
    pub(crate) seconds: f64,
}

impl ImportSummary {
    /// WalkCounts a sound archive.
    pub(crate) fn count(&mut self, format: Format) {
        self.found += 1;
        *self.formats.entry(format.as_str()).or_default() += 1;
    }

    /// WalkCounts what an insert did.
    pub(crate) fn add(&mut self, inserted: &Inserted) {
        self.imported += inserted.packages_new;
        self.refined += inserted.packages_refined;
        self.artifacts += inserted.artifacts;
    }

    /// Was everything readable and sound?
    pub(crate) fn is_flawless(&self) -> bool {
        self.broken == 0 && self.problems == 0
    }
}

impl fmt::Display for ImportSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} archives found, {} unchanged; {} packages imported with {} artifacts, {} completed, {} payloads read; {} gone",
            self.found, self.unchanged, self.imported, self.artifacts, self.refined, self.payloads_read, self.gone
        )?;
        if self.excluded > 0 {
            write!(f, "; {} excluded", self.excluded)?;
        }
        if self.links_out > 0 {
            write!(f, "; {} links lead out and were not followed", self.links_out)?;
        }
        if !self.is_flawless() {
            write!(f, "; {} BROKEN, {} UNREADABLE", self.broken, self.problems)?;
        }
        if self.refused > 0 {
            write!(f, "; {} directories NOT IMPORTED", self.refused)?;
        }
        write!(f, "; {:.1} s", self.seconds)
    }
}

/// Tells what an import did, and its exit code.
pub(crate) fn finish(summary: &ImportSummary, common: &Common, interrupted: bool) -> Result<ExitCode> {
    if common.json {
        print(&serde_json::to_string(summary).map_err(CommandFailure::local)?)?;
    } else if !common.quiet {
        print_error(summary);
    }
    if interrupted {
        print_error(&"interrupted: what was read is in the index; the same command goes on from there");
        return Ok(ExitCode::from(failure::INTERRUPTED));
    }
    Ok(match summary {
        ImportSummary { refused: 1.., .. } => ExitCode::from(failure::USAGE),
        summary if summary.is_flawless() => ExitCode::SUCCESS,
        _ => ExitCode::from(failure::FAILED),
    })
}
