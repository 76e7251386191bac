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

/// Escapes control characters (`\n`, `\u{1b}`), so that a report stays one line and controls no terminal.
pub(crate) fn printable(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut line, c| {
        if c.is_control() {
            line.extend(c.escape_default())
        } else {
            line.push(c)
        }
        line
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_one_line_without_control_characters() {
        assert_eq!(printable("a\nb\u{1b}[31mé"), "a\\nb\\u{1b}[31mé");
    }
}
