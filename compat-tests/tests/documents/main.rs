//! The documents are true: functions and tests that they name exist. Lines and cells of tables are short.

#![expect(clippy::unwrap_used, reason = "a failure here is a failed test, and says where")]

mod checklist;
mod functions;
mod lines;
mod walkthroughs;

use std::path::Path;

/// The directory of the repository.
fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// The text of a file of the repository.
fn read(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The names `FILE::FUNCTION` between backticks, in the order of the text.
fn quoted_functions(text: &str) -> Vec<(&str, &str)> {
    let quoted = text.split('`').skip(1).step_by(2);
    quoted.filter_map(|name| name.split_once("::")).filter(|(file, _)| !file.is_empty() && *file != "FILE").collect()
}
