//! The summary of an import of an original's rows.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;
use sql::legacy::OriginalTable;

use crate::feeders::legacy::skipped::{SkipReason, SkippedRow, SkippedRows};
use crate::report::summary::counted;

/// The counts: the object that `--json` prints.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(crate) struct LegacySummary {
    /// The source, without its password.
    pub(crate) source: String,
    /// True if nothing was written.
    pub(crate) dry_run: bool,
    /// Rows of each table.
    pub(crate) tables: BTreeMap<&'static str, u64>,
    /// Rows of all tables.
    pub(crate) rows: u64,
    /// Rows that were left out, by reason.
    pub(crate) skipped: BTreeMap<SkipReason, u64>,
    /// The first of them for each reason.
    pub(crate) examples: Vec<SkippedRow>,
    /// Packages with their rows.
    pub(crate) packages: u64,
    /// Of these: new in the index.
    pub(crate) new: u64,
    /// Build-ids of all these packages.
    pub(crate) build_ids: u64,
    /// Packages with a URL below a store.
    pub(crate) places: u64,
    /// URLs in a directory that Koji does not have: the original's error.
    pub(crate) wrong_urls: u64,
    /// URLs below no store of the index.
    pub(crate) other_urls: u64,
    /// Why not all rows were read. Those before are in the index.
    pub(crate) error: Option<String>,
    /// Duration in seconds.
    pub(crate) seconds: f64,
}

impl LegacySummary {
    /// Adds what was read.
    pub(crate) fn set_read(&mut self, tables: &[(OriginalTable, u64)], error: Option<String>) {
        self.tables = tables.iter().map(|(table, rows)| (table.name(), *rows)).collect();
        self.rows = self.tables.values().sum();
        self.error = error;
    }

    /// Sets the rows that were left out.
    pub(crate) fn set_skipped(&mut self, skipped: SkippedRows) {
        (self.skipped, self.examples) = (skipped.counts, skipped.examples);
    }
}

impl fmt::Display for LegacySummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let packages = counted(self.packages, "package");
        write!(f, "{} read; {packages} with {}", counted(self.rows, "row"), counted(self.build_ids, "build-id"))?;
        if self.dry_run {
            f.write_str(", nothing written")?;
        } else {
            write!(f, ", {} new in the index", self.new)?;
        }
        for (count, text) in [
            (self.places, "at a place of a store"),
            (self.wrong_urls, "with a URL that was wrong"),
            (self.other_urls, "with a URL below no store"),
        ] {
            if count > 0 {
                write!(f, ", {count} {text}")?;
            }
        }
        write!(f, "; {:.1} s", self.seconds)?;
        for (reason, count) in &self.skipped {
            write!(f, "\nleft out: {} {}", counted(*count, "row"), reason.text())?;
            let of_reason = self.examples.iter().filter(|example| example.reason == *reason);
            let examples: Vec<String> =
                of_reason.map(|SkippedRow { row, found, .. }| format!("{row}: {found:?}")).collect();
            if !examples.is_empty() {
                write!(f, " ({})", examples.join("; "))?;
            }
        }
        match &self.error {
            Some(error) if self.dry_run => write!(f, "\nNOT READ TO ITS END: {error}"),
            Some(error) => write!(f, "\nNOT READ TO ITS END: {error}; the rows before are in the index"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_has_what_was_left_out_and_why() {
        let mut skipped = SkippedRows::default();
        skipped.add(SkipReason::NoBuildId, "-", || "line 3, byte 40".to_owned());
        let mut summary = LegacySummary { packages: 2, new: 1, build_ids: 3, seconds: 0.1, ..Default::default() };
        summary.set_read(&[(OriginalTable::Dark, 4)], Some("line 4, byte 50: expected a, found b".to_owned()));
        summary.set_skipped(skipped);
        assert_eq!(
            summary.to_string(),
            "4 rows read; 2 packages with 3 build-ids, 1 new in the index; 0.1 s\nleft out: 1 row without a build-id \
             (line 3, byte 40: \"-\")\nNOT READ TO ITS END: line 4, byte 50: expected a, found b; the rows before are \
             in the index"
        );
    }
}
