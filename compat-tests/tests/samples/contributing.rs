//! CONTRIBUTING.md names files and `make` targets that exist.

use std::collections::BTreeSet;

use super::{document, root};

/// What stands between backticks outside of blocks of code.
fn quoted(text: &str) -> BTreeSet<String> {
    let outside: String = text.split("```").step_by(2).collect();
    outside.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

#[test]
fn every_file_that_is_named_exists() {
    let names = quoted(&document("CONTRIBUTING.md"));
    let is_path = |name: &&String| name.contains('/') && !name.contains([' ', ':', '<', '*']) && !name.starts_with('/');
    let paths: Vec<&String> = names.iter().filter(is_path).collect();
    assert!(paths.len() > 30, "expected the paths of ten examples, found {paths:?}");
    let missing: Vec<&&String> = paths.iter().filter(|path| !root().join(path).exists()).collect();
    assert!(missing.is_empty(), "expected these files, found none: {missing:?}");
}

#[test]
fn every_target_of_make_that_is_named_exists() {
    let makefile = document("Makefile");
    for file in ["CONTRIBUTING.md", "README.md", "docs/operations.md", "packaging/README.md"] {
        let text = document(file);
        let calls = text.split(['`', '\n']).filter_map(|code| code.trim_start().strip_prefix("make "));
        for call in calls.filter(|call| !text.contains(&format!(" make {call}"))) {
            let target = call.split(' ').next().unwrap_or_default();
            assert!(makefile.contains(&format!("\n{target}:")), "{file}: make {target}: expected a target");
        }
    }
}
