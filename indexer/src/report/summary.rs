//! The summary of an import, and its exit status.

use std::collections::BTreeMap;
use std::fmt;
use std::process::ExitCode;

use artifact::Format;
use serde::Serialize;
use sql::Inserted;

use crate::cli::Common;
use crate::report::failure::{self, CommandFailure, Result};
use crate::report::output::{print, print_error};

/// The counts of an import: the object that `--json` prints.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(crate) struct ImportSummary {
    /// Archives found.
    pub(crate) found: u64,
    /// Of these, valid ones by format.
    pub(crate) formats: BTreeMap<&'static str, u64>,
    /// Of these: known and unchanged, not read.
    pub(crate) unchanged: u64,
    /// Packages that are new in the index.
    pub(crate) imported: u64,
    /// Packages that were open and are complete now.
    pub(crate) completed: u64,
    /// Packages of repositories whose header was not read, new in the index.
    #[serde(skip)]
    pub(crate) claimed: u64,
    /// Known packages at new places of repositories.
    #[serde(skip)]
    pub(crate) located: u64,
    /// Locations that are no longer there.
    pub(crate) gone: u64,
    /// Files and directories that patterns and defaults excluded.
    pub(crate) excluded: u64,
    /// Links to directories outside the store's directory.
    pub(crate) outside_links: u64,
    /// In directories where nothing was found: files of other formats, by the value of `--formats` that finds them.
    pub(crate) other_formats: BTreeMap<&'static str, u64>,
    /// Broken archives.
    pub(crate) broken: u64,
    /// Files and directories that could not be read.
    pub(crate) unreadable: u64,
    /// Directories, of several, that were not imported.
    pub(crate) refused: u64,
    /// Archives whose payload was read: they have no header, or one that leaves files open.
    pub(crate) payloads_read: u64,
    /// Bytes read from the start of archives to the end of their headers.
    pub(crate) header_bytes_read: u64,
    /// Artifacts written.
    pub(crate) artifacts: u64,
    /// Duration in seconds.
    pub(crate) seconds: f64,
}

impl ImportSummary {
    /// Counts a valid archive.
    pub(crate) fn count(&mut self, format: Format) {
        self.found += 1;
        *self.formats.entry(format.as_str()).or_default() += 1;
    }

    /// Adds the counts of an insert.
    pub(crate) fn add(&mut self, inserted: &Inserted) {
        self.imported += inserted.packages_new;
        self.completed += inserted.packages_completed;
        self.artifacts += inserted.artifacts;
    }

    /// True if no archive was broken and everything could be read.
    pub(crate) fn is_flawless(&self) -> bool {
        self.broken == 0 && self.unreadable == 0
    }
}

impl fmt::Display for ImportSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} found, {} unchanged; {} imported with {}, {} completed, {} read; {} gone",
            counted(self.found, "archive"),
            self.unchanged,
            counted(self.imported, "package"),
            counted(self.artifacts, "artifact"),
            self.completed,
            counted(self.payloads_read, "payload"),
            self.gone
        )?;
        if self.excluded > 0 {
            write!(f, "; {} excluded", self.excluded)?;
        }
        if self.outside_links > 0 {
            let links = counted(self.outside_links, "link");
            write!(f, "; {links} to other directories not followed")?;
        }
        if !self.is_flawless() {
            write!(f, "; {} BROKEN, {} UNREADABLE", self.broken, self.unreadable)?;
        }
        if self.refused > 0 {
            let directories = if self.refused == 1 { "directory" } else { "directories" };
            write!(f, "; {} {directories} NOT IMPORTED", self.refused)?;
        }
        write!(f, "; {:.1} s", self.seconds)
    }
}

/// Returns a number with its noun: `1 request`, `2 requests`.
pub(crate) fn counted(count: u64, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

/// Prints the summary and returns the exit status.
pub(crate) fn finish(summary: &ImportSummary, common: &Common, interrupted: bool) -> Result<ExitCode> {
    if common.json {
        print(&serde_json::to_string(summary).map_err(CommandFailure::local)?)?;
    } else if !common.quiet {
        print_error(summary);
    }
    if interrupted {
        print_error(&"interrupted: packages read so far are in the index; the same command continues");
        return Ok(ExitCode::from(failure::INTERRUPTED));
    }
    Ok(match summary {
        ImportSummary { refused: 1.., .. } => ExitCode::from(failure::USAGE),
        summary if summary.is_flawless() => ExitCode::SUCCESS,
        _ => ExitCode::from(failure::FAILED),
    })
}
