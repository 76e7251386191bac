//! The walkthroughs of docs/architecture.md name functions that exist, in the files that they name.

use std::path::PathBuf;

use crate::functions::Functions;
use crate::{quoted_functions, read};

/// The source file that a walkthrough means by `name`: of the gateway, if it names no other crate.
fn source_file(name: &str) -> PathBuf {
    let path = match name.split_once('/') {
        Some((crate_name @ ("artifact" | "sql" | "http-client" | "indexer"), module)) => {
            PathBuf::from(crate_name).join("src").join(module)
        }
        _ => PathBuf::from("gateway/src").join(name),
    };
    path.with_extension("rs")
}

#[test]
fn every_function_that_a_walkthrough_names_exists() {
    let text = read("docs/architecture.md");
    let (_, walkthroughs) = text.split_once("## Walkthrough").unwrap();
    let (walkthroughs, _) = walkthroughs.split_once("## The database").unwrap();
    let names = quoted_functions(walkthroughs);
    assert!(names.len() > 30, "expected the names of a request and an import, found {names:?}");
    for (name, function) in names {
        let path = source_file(name);
        let functions = Functions::parse(&read(&path)).code;
        assert!(functions.contains(function), "{name}::{function}: expected the function in {}", path.display());
    }
}
