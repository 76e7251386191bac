//! The walkthroughs of docs/architecture.md name functions that exist, in the files that they name.

use std::path::Path;

/// `FILE::FUNCTION` between backticks, in the order of the text.
fn names(text: &str) -> Vec<(&str, &str)> {
    let quoted = text.split('`').skip(1).step_by(2);
    quoted.filter_map(|name| name.split_once("::")).filter(|(file, _)| !file.is_empty() && *file != "FILE").collect()
}

/// The source file that a walkthrough means.
fn file(root: &Path, name: &str) -> std::path::PathBuf {
    match name.split_once('/') {
        Some((part @ ("artifact" | "sql" | "indexer"), module)) => {
            root.join(part).join("src").join(module).with_extension("rs")
        }
        _ => root.join("gateway/src").join(name).with_extension("rs"),
    }
}

#[test]
fn every_function_that_a_walkthrough_names_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let text = std::fs::read_to_string(root.join("docs/architecture.md")).unwrap();
    let (_, walkthroughs) = text.split_once("## Walkthrough").unwrap();
    let (walkthroughs, _) = walkthroughs.split_once("## The database").unwrap();
    let names = names(walkthroughs);
    assert!(names.len() > 30, "expected the names of a request and an import, found {names:?}");
    for (name, function) in names {
        let path = file(root, name);
        let source = std::fs::read_to_string(&path)
            .unwrap_or_else(|error| panic!("{name}::{function}: {}: {error}", path.display()));
        let is_there = source.contains(&format!("fn {function}(")) || source.contains(&format!("fn {function}<"));
        assert!(is_there, "{name}::{function}: expected the function in {}, found none", path.display());
    }
}
