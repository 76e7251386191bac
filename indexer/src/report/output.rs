//! Standard output and standard error.

use std::fmt::Display;
use std::io::{self, Write};

/// Writing to standard output failed.
#[derive(Debug, thiserror::Error)]
#[error("standard output: {0}")]
pub(crate) struct OutputError(#[from] io::Error);

/// Prints a line.
pub(crate) fn print(line: &dyn Display) -> Result<(), OutputError> {
    Ok(writeln!(io::stdout(), "{line}")?)
}

/// Writes a line to standard error. A closed standard error is ignored, where `eprintln!` would panic.
pub(crate) fn print_error(line: &dyn Display) {
    let _ = writeln!(io::stderr(), "{line}");
}
