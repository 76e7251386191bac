//! Lines of code and documents have at most 120 columns, cells of tables at most 25 words.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use crate::{read, root};

const MAX_COLUMNS: usize = 120;
const MAX_WORDS: usize = 25;
/// Directories of generated, recorded or downloaded files.
const SKIPPED: [&str; 5] = [".git", "target", "var", "rpms", "results"];

/// Returns the files with one of these extensions, relative to the repository. An extension can be a whole name.
fn files(extensions: &[&str]) -> Vec<PathBuf> {
    let (mut paths, mut found) = (vec![root().to_path_buf()], Vec::new());
    while let Some(path) = paths.pop() {
        let name = path.file_name().and_then(OsStr::to_str).unwrap_or_default();
        let extension = path.extension().and_then(OsStr::to_str).unwrap_or(name);
        if path.is_dir() && !SKIPPED.contains(&name) {
            paths.extend(std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
        } else if path.is_file() && extensions.contains(&extension) {
            found.push(path.strip_prefix(root()).unwrap().to_owned());
        }
    }
    assert!(!found.is_empty(), "expected files with {extensions:?}, found none");
    found.sort();
    found
}

fn is_table_row(path: &Path, line: &str) -> bool {
    path.extension().is_some_and(|end| end == "md") && line.trim_start().starts_with('|')
}

/// `FILE:LINE: TEXT` of the lines of these files that `is_wrong`.
fn lines(files: &[PathBuf], is_wrong: impl Fn(&Path, &str) -> bool) -> Vec<String> {
    let mut found = Vec::new();
    for path in files {
        for (number, line) in (1..).zip(read(path).lines()) {
            if is_wrong(path, line) {
                found.push(format!("{}:{number}: {line}", path.display()));
            }
        }
    }
    found
}

#[test]
fn a_line_has_at_most_120_columns() {
    let files = files(&["rs", "md", "sh", "toml", "yaml", "Makefile", "run"]);
    let found = lines(&files, |path, line| {
        line.chars().count() > MAX_COLUMNS && !is_table_row(path, line) && !line.contains("://")
    });
    assert!(found.is_empty(), "expected at most {MAX_COLUMNS} columns, found {}:\n{}", found.len(), found.join("\n"));
}

#[test]
fn a_cell_of_a_table_has_at_most_25_words() {
    let found = lines(&files(&["md"]), |path, line| {
        let words = |cell: &str| cell.split_whitespace().filter(|word| word.contains(char::is_alphanumeric)).count();
        is_table_row(path, line) && line.split(" | ").any(|cell| words(cell) > MAX_WORDS)
    });
    assert!(found.is_empty(), "expected at most {MAX_WORDS} words, found {} rows:\n{}", found.len(), found.join("\n"));
}
