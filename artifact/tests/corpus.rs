//! The inputs that fuzzing has kept, replayed: `fuzz/corpus/TARGET` reaches every branch that fuzzing has found, and
//! `fuzz/regressions/TARGET` holds what once broke something. `fuzz/README.md` says more.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test may stop at what it did not expect")]

use std::fs;
use std::panic::catch_unwind;
use std::path::Path;
use std::sync::Once;

use rustix::process::{Resource, Rlimit, setrlimit};

#[path = "../../fuzz/src/lib.rs"]
pub mod fuzz;

#[test]
fn build_ids() {
    replay("build_id", fuzz::build_id::check);
}

#[test]
fn line_tables() {
    replay("dwarf", fuzz::dwarf::check);
}

#[test]
fn elf_files() {
    replay("elf", fuzz::elf::check);
}

#[test]
fn other_formats() {
    replay("formats", fuzz::formats::check);
}

#[test]
fn headers() {
    replay("header", fuzz::header::check);
}

#[test]
fn nevras() {
    replay("nevra", fuzz::nevra::check);
}

#[test]
fn payloads() {
    replay("payload", fuzz::payload::check);
}

#[test]
fn source_paths() {
    replay("source_path", fuzz::source_path::check);
}

/// Calls `check` with every input that is kept for `target`.
fn replay(target: &str, check: fn(&[u8])) {
    limit_memory();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz");
    let mut inputs = 0;
    let mut failed = Vec::new();
    let mut directories = vec![root.join("corpus").join(target)];
    // Only some targets have broken something.
    directories.extend(Some(root.join("regressions").join(target)).filter(|directory| directory.is_dir()));
    for directory in directories {
        for entry in fs::read_dir(&directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display())) {
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

/// An input that asks for gigabytes ends the test: the decoders' own limits are 128 MiB, and seven threads run.
fn limit_memory() {
    const MAX_BYTES: u64 = 3 << 30;
    static ONCE: Once = Once::new();
    ONCE.call_once(|| setrlimit(Resource::As, Rlimit { current: Some(MAX_BYTES), maximum: Some(MAX_BYTES) }).unwrap());
}
