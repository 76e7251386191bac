//! docs/debuginfod.md names tests that exist, in the files that it names.

use std::path::Path;

/// What stands between backticks and looks like `FILE::TEST`, in the order of the text.
fn names(text: &str) -> Vec<(&str, &str)> {
    let quoted = text.split('`').skip(1).step_by(2);
    quoted.filter_map(|name| name.split_once("::")).filter(|(file, _)| *file != "FILE").collect()
}

#[test]
fn every_test_that_the_checklist_names_is_there() {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let text = std::fs::read_to_string(tests.join("../../docs/debuginfod.md")).unwrap();
    let names = names(&text);
    assert!(names.len() > 40, "expected the tests of a checklist, found {names:?}");
    for (file, test) in names {
        let path = tests.join(file).with_extension("rs");
        let source = std::fs::read_to_string(&path)
            .unwrap_or_else(|error| panic!("{file}::{test}: {}: {error}", path.display()));
        let (before, _) =
            source.split_once(&format!("fn {test}() {{")).unwrap_or_else(|| panic!("{file}::{test}: no such function"));
        assert!(before.rsplit("\n\n").next().unwrap().contains("#[test]"), "{file}::{test}: expected a test");
    }
}

#[test]
fn every_line_of_the_checklist_says_something() {
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/debuginfod.md")).unwrap();
    for line in text.lines().filter(|line| line.starts_with("| ") && *line != "| behaviour | test |") {
        let cells: Vec<&str> = line.trim_matches('|').split(" | ").map(str::trim).collect();
        assert!(
            cells.len() == 2 && cells.iter().all(|cell| !cell.is_empty()),
            "expected a behaviour and who shows it, found {line}"
        );
    }
}
