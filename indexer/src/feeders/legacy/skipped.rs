//! Rows that are left out, counted by reason.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::report::output::printable;

/// Number of rows that are named for each reason.
const MAX_EXAMPLES: usize = 3;
/// Number of characters of a value that are shown.
const MAX_SHOWN: usize = 80;

/// Why a row is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum SkipReason {
    /// The file has none: the original stored `-`, or an empty text.
    NoBuildId,
    /// NULL in a column that a row needs.
    Null,
    /// Other characters than hex digits.
    NotHex,
    /// Half a byte too much.
    OddDigits,
    /// More bytes than a build-id can have.
    LongBuildId,
    /// Not a name-version-release.arch.
    Name,
    /// No name of a file, or one that cannot exist.
    Path,
    /// A value that does not fit the index.
    TooLong,
    /// The same file of the same package was there already.
    Duplicate,
    /// Another path of a build-id in its package: the original followed symbolic links.
    OtherPath,
    /// More build-ids than a package can have.
    TooMany,
}

impl SkipReason {
    /// A text for people.
    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::NoBuildId => "without a build-id",
            Self::Null => "with NULL",
            Self::NotHex => "whose build-id is not hex",
            Self::OddDigits => "whose build-id has an odd number of digits",
            Self::LongBuildId => "whose build-id is too long",
            Self::Name => "whose package name is none",
            Self::Path => "whose path is none",
            Self::TooLong => "with a value that is too long",
            Self::Duplicate => "as a repetition of another",
            Self::OtherPath => "with another path of the same file",
            Self::TooMany => "of a package with too many files",
        }
    }
}

/// A row that was left out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct SkippedRow {
    pub(crate) reason: SkipReason,
    /// Its position, or its package.
    pub(crate) row: String,
    /// The value.
    pub(crate) found: String,
}

/// Counts of rows that were left out, with the first of each reason.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct SkippedRows {
    pub(crate) counts: BTreeMap<SkipReason, u64>,
    pub(crate) examples: Vec<SkippedRow>,
}

impl SkippedRows {
    /// Counts a row; `row` states where it is.
    pub(crate) fn add(&mut self, reason: SkipReason, found: &str, row: impl FnOnce() -> String) {
        let count = self.counts.entry(reason).or_default();
        *count += 1;
        if *count <= MAX_EXAMPLES as u64 {
            let found = printable(&found.chars().take(MAX_SHOWN).collect::<String>());
            self.examples.push(SkippedRow { reason, row: row(), found });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_rows_of_each_reason_are_kept() {
        let mut skipped = SkippedRows::default();
        for number in 0..9 {
            skipped.add(SkipReason::Name, "x\n", || format!("row {number}"));
        }
        skipped.add(SkipReason::Null, "", || "row 9".to_owned());
        assert_eq!(skipped.counts.values().sum::<u64>(), 10);
        let rows: Vec<&str> = skipped.examples.iter().map(|example| example.row.as_str()).collect();
        assert_eq!(rows, ["row 0", "row 1", "row 2", "row 9"]);
        assert_eq!(skipped.examples.first().unwrap().found, "x\\n");
    }
}
