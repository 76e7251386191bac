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
fn every_suite_is_in_the_list() {
    let names = quoted(&document("CONTRIBUTING.md"));
    for entry in std::fs::read_dir(root().join("compat-tests/tests")).unwrap() {
        let path = entry.unwrap().path();
        let suite = path.file_stem().and_then(|name| name.to_str()).unwrap();
        assert!(names.contains(suite), "expected the suite {suite} in CONTRIBUTING.md");
    }
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

#[test]
fn every_test_that_is_named_exists() {
    let guide = document("CONTRIBUTING.md");
    let commands: Vec<&str> = guide.lines().filter(|line| line.starts_with("cargo test ")).collect();
    assert!(commands.len() >= 4, "expected commands with cargo test, found {commands:?}");
    for command in commands {
        let words: Vec<&str> = command.split_whitespace().take_while(|word| *word != "#").collect();
        let after = |option: &str| words.iter().skip_while(|word| **word != option).nth(1).copied();
        let package = after("-p").unwrap();
        let Some(suite) = after("--test") else {
            assert!(words.contains(&"--lib") && root().join(package).join("src/lib.rs").is_file(), "{command}");
            continue;
        };
        let directory = root().join(package).join("tests").join(suite);
        assert!(directory.with_extension("rs").is_file() || directory.join("main.rs").is_file(), "{command}");
        let filter = words.last().copied().filter(|word| *word != suite).map(|word| word.trim_end_matches("::"));
        let is_module = filter.is_none_or(|module| directory.join(module).with_extension("rs").is_file());
        assert!(is_module, "{command}: expected a module in {}", directory.display());
    }
}
