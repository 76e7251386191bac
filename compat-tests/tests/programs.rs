//! A test never runs a stale binary: the helper builds a program that is older than one of its sources.

#![expect(clippy::unwrap_used, reason = "helpers of tests: a failure here is a failed test, and says where")]

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use compat_tests::process::run;
use compat_tests::programs::ensure_current;

/// A package with the program `hello`, which prints a text that it includes.
struct Workspace(tempfile::TempDir);

impl Workspace {
    fn new(text: &str) -> Self {
        let workspace = Self(tempfile::tempdir().unwrap());
        fs::create_dir(workspace.file("src")).unwrap();
        fs::write(workspace.file("Cargo.toml"), "[package]\nname = \"hello\"\nedition = \"2024\"\n[workspace]\n")
            .unwrap();
        fs::write(workspace.file("Cargo.lock"), "version = 4\n[[package]]\nname = \"hello\"\nversion = \"0.0.0\"\n")
            .unwrap();
        fs::write(workspace.file("src/main.rs"), "fn main() { print!(\"{}\", include_str!(\"a text\")); }\n").unwrap();
        fs::write(workspace.file("src/a text"), text).unwrap();
        workspace
    }

    fn file(&self, path: &str) -> PathBuf {
        self.0.path().join(path)
    }

    fn directory(&self) -> PathBuf {
        self.file("target/debug")
    }

    /// Writes a file that is newer than everything built so far.
    fn write(&self, path: &str, text: &str) {
        fs::write(self.file(path), text).unwrap();
        age(&self.directory().join("hello"), Duration::from_secs(2));
    }

    /// What the program prints, and when it was built.
    fn hello(&self) -> (String, SystemTime) {
        ensure_current(self.0.path(), &self.directory(), "hello");
        let program = self.directory().join("hello");
        let output = run(&mut Command::new(&program), "the workspace");
        (String::from_utf8(output.stdout).unwrap(), fs::metadata(program).unwrap().modified().unwrap())
    }
}

fn age(file: &Path, by: Duration) {
    let file = fs::File::open(file).unwrap();
    file.set_modified(file.metadata().unwrap().modified().unwrap() - by).unwrap();
}

#[test]
fn a_program_is_built_if_it_is_missing_or_older_than_a_source() {
    let workspace = Workspace::new("one");
    let (text, built) = workspace.hello();
    assert_eq!(text, "one");
    assert_eq!(workspace.hello(), (text, built), "expected no second build");

    workspace.write("src/a text", "two");
    assert_eq!(workspace.hello().0, "two", "an included file");
    workspace.write("src/main.rs", "fn main() { print!(\"three\"); }\n");
    assert_eq!(workspace.hello().0, "three", "a source file");
    fs::remove_file(workspace.directory().join("hello.d")).unwrap();
    assert_eq!(workspace.hello().0, "three", "a program without a list of its sources");
    let manifest = fs::read_to_string(workspace.file("Cargo.toml")).unwrap();
    workspace.write("Cargo.toml", &format!("{manifest}[profile.dev]\nopt-level = 1\n"));
    let (_, built) = workspace.hello();
    assert!(built > fs::metadata(workspace.file("Cargo.toml")).unwrap().modified().unwrap(), "a manifest");
}

#[test]
fn a_build_that_fails_fails_the_test_with_the_compilers_message() {
    let workspace = Workspace::new("one");
    workspace.hello();
    workspace.write("src/main.rs", "fn main() { misspelled() }\n");
    let panic = catch_unwind(AssertUnwindSafe(|| workspace.hello())).unwrap_err();
    let message = panic.downcast_ref::<String>().unwrap();
    assert!(message.contains("cargo") && message.contains("misspelled"), "{message}");
}
