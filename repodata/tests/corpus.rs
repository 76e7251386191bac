//! The inputs that fuzzing has kept, replayed: `fuzz/corpus/TARGET` reaches every branch that fuzzing has found, and
//! `fuzz/regressions/TARGET` holds what once broke something. `fuzz/README.md` says more.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test may stop at what it did not expect")]

use std::fs;
use std::panic::catch_unwind;
use std::path::Path;

#[path = "../../fuzz/src/metadata/mod.rs"]
pub mod metadata;

#[test]
fn files_databases() {
    replay("arch", metadata::arch::check);
}

#[test]
fn debian_indices() {
    replay("deb", metadata::deb::check);
}

#[test]
fn filelists() {
    replay("filelists", metadata::filelists::check);
}

#[test]
fn metalinks() {
    replay("metalink", metadata::metalink::check);
}

#[test]
fn primaries() {
    replay("primary", metadata::primary::check);
}

#[test]
fn repomds() {
    replay("repomd", metadata::repomd::check);
}

/// Calls `check` with every input that is kept for `target`.
fn replay(target: &str, check: fn(&[u8])) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz");
    let mut inputs = 0;
    let mut failed = Vec::new();
    let mut directories = vec![root.join("corpus").join(target)];
    // Only some targets have broken something.
    directories.extend(Some(root.join("regressions").join(target)).filter(|directory| directory.is_dir()));
    for directory in directories {
        for entry in fs::read_dir(&directory).expect("a directory of inputs") {
            let path = entry.unwrap().path();
            let input = fs::read(&path).unwrap();
            if catch_unwind(|| check(&input)).is_err() {
                failed.push(path);
            }
            inputs += 1;
        }
    }
    assert!(inputs > 10, "expected more than 10 inputs for {target}, found {inputs}");
    assert!(failed.is_empty(), "{} of {inputs} inputs: {failed:#?}", failed.len());
}
