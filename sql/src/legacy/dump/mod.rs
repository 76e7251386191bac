//! Dumps: files of `mysqldump`, `mariadb-dump`, `pg_dump` and the `.dump` of SQLite.
//!
//! A dump is read once from its beginning to its end, in bounded memory: no statement is held, and no value above
//! [`super::MAX_VALUE_BYTES`]. Of other tables than the original's two, nothing is kept.
//!
//! The reader is our own: parsers of SQL want whole statements, and one INSERT of a dump has megabytes.

mod copy;
mod lexer;
mod source;
mod statements;
#[cfg(test)]
mod tests;

use std::fmt;
use std::io::{self, Read};
use std::ops::ControlFlow;

use super::{OriginalRow, OriginalTable};

/// A result of reading a dump.
pub type Result<T, E = DumpError> = std::result::Result<T, E>;

/// A position in a dump, before compression.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Position {
    /// The line, from 1.
    pub line: u64,
    /// The number of bytes before it.
    pub byte: u64,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, byte {}", self.line, self.byte)
    }
}

/// A dump that cannot be read to its end.
#[derive(Debug, thiserror::Error)]
pub enum DumpError {
    /// The text is not that of a dump, or is cut off.
    #[error("{at}: expected {expected}, found {found}")]
    Syntax {
        /// The position.
        at: Position,
        /// The expected text.
        expected: String,
        /// What was found. Never a value of a row.
        found: String,
    },
    /// The file cannot be read, or decompressed.
    #[error("{at}: {source}")]
    Io {
        /// The position.
        at: Position,
        /// The reason.
        source: io::Error,
    },
}

/// What a dump held.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DumpSummary {
    /// The original's tables that were found, each once, with the number of their rows.
    pub tables: Vec<(OriginalTable, u64)>,
    /// Number of other tables that were created or filled.
    pub other_tables: u64,
    /// Number of bytes read, after decompression.
    pub bytes: u64,
}

/// Reads the rows of the original's tables, and calls `each` with every whole row and its position. Stops early if that
/// breaks. `summary` is up to date also after an error.
///
/// # Errors
/// [`DumpError`]; rows before it were passed on.
pub fn read(
    input: impl Read,
    summary: &mut DumpSummary,
    each: impl FnMut(OriginalRow, Position) -> ControlFlow<()>,
) -> Result<()> {
    statements::Dump::new(input, summary, each).read()
}
