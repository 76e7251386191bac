//! docs/debuginfod.md names tests that exist, in the files that it names.

use std::path::Path;

use crate::functions::Functions;
use crate::{quoted_functions, read};

#[test]
fn every_test_that_the_checklist_names_exists() {
    let text = read("docs/debuginfod.md");
    let names = quoted_functions(&text);
    assert!(names.len() > 40, "expected the tests of a checklist, found {names:?}");
    for (file, test) in names {
        let path = Path::new("compat-tests/tests").join(file).with_extension("rs");
        let tests = Functions::parse(&read(&path)).tests;
        assert!(tests.contains(test), "{file}::{test}: expected the test in {}", path.display());
    }
}

#[test]
fn every_row_of_the_checklist_has_a_behaviour_and_a_test() {
    let text = read("docs/debuginfod.md");
    for line in text.lines().filter(|line| line.starts_with("| ") && *line != "| behaviour | test |") {
        let cells: Vec<&str> = line.trim_matches('|').split(" | ").map(str::trim).collect();
        assert!(
            cells.len() == 2 && cells.iter().all(|cell| !cell.is_empty()),
            "expected a behaviour and its test, found {line}"
        );
    }
}
