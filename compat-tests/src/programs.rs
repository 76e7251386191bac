//! The programs of this workspace, never older than their sources.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use crate::process::run;

/// Variables that Cargo sets for a test. Build scripts that read them would run again.
const OF_A_TEST: [&str; 7] =
    ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CRATE_", "CARGO_PRIMARY_", "CARGO_TARGET_TMPDIR", "OUT_DIR"];

/// A program of this workspace, in the profile of the running test or program.
///
/// The first call for a program compares it with its sources, and builds the workspace's programs if one of them is
/// newer.
///
/// # Panics
/// If the build fails, or if the program is still older than a source afterwards.
pub fn program(name: &str) -> PathBuf {
    static CHECKED: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
    let this = std::env::current_exe().expect("the path of this program");
    let directory = this.parent().expect("target/PROFILE or target/PROFILE/deps");
    let directory = if directory.ends_with("deps") { directory.parent().expect("target/PROFILE") } else { directory };
    let mut checked = CHECKED.lock().unwrap_or_else(PoisonError::into_inner);
    if !checked.contains(name) {
        let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace");
        ensure_current(workspace, directory, name);
        checked.insert(name.to_owned());
    }
    directory.join(name)
}

/// Builds the programs of `workspace` into `directory` (`target/PROFILE`) if the program `name` is missing or older
/// than a source.
///
/// # Panics
/// As [`program`].
pub fn ensure_current(workspace: &Path, directory: &Path, name: &str) {
    let program = directory.join(name);
    let Err(reason) = compare(&program).and_then(|built| compare_manifests(workspace, built)) else { return };
    eprintln!("{}: {reason}; building the programs", program.display());
    build(workspace, directory);
    // Not the manifests: a newer one need not change a program.
    if let Err(reason) = compare(&program) {
        panic!("{}: {reason}; run `cargo build --workspace --bins`", program.display());
    }
}

fn build(workspace: &Path, directory: &Path) {
    let profile = directory.file_name().and_then(|name| name.to_str()).expect("target/PROFILE");
    let profile = if profile == "debug" { "dev" } else { profile };
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["build", "--workspace", "--bins", "--locked", "--profile", profile, "--target-dir"]);
    cargo.arg(directory.parent().expect("target")).current_dir(workspace);
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(|name| OF_A_TEST.iter().any(|start| name.starts_with(start))) {
            cargo.env_remove(name);
        }
    }
    let output = run(&mut cargo, "cargo");
    assert!(output.status.success(), "{cargo:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// When `program` was built. Fails with the reason if it is missing or older than a source.
fn compare(program: &Path) -> Result<SystemTime, String> {
    let built = modified(program)?;
    // Cargo lists every source of a program and of the workspace's crates in it, and what they include: a Makefile's
    // rule.
    let list = program.with_extension("d");
    let text = fs::read_to_string(&list).map_err(|error| format!("{}: {error}", list.display()))?;
    let (_, sources) = text.split_once(": ").ok_or_else(|| format!("{}: expected a rule", list.display()))?;
    // A blank in a path is written as "\ ".
    for source in sources.trim().replace("\\ ", "\0").split_whitespace() {
        not_newer(Path::new(&source.replace('\0', " ")), built)?;
    }
    Ok(built)
}

fn compare_manifests(workspace: &Path, built: SystemTime) -> Result<(), String> {
    not_newer(&workspace.join("Cargo.toml"), built)?;
    not_newer(&workspace.join("Cargo.lock"), built)?;
    let entries = fs::read_dir(workspace).map_err(|error| format!("{}: {error}", workspace.display()))?;
    let manifests = entries.flatten().map(|entry| entry.path().join("Cargo.toml"));
    manifests.filter(|manifest| manifest.is_file()).try_for_each(|manifest| not_newer(&manifest, built))
}

fn not_newer(source: &Path, built: SystemTime) -> Result<(), String> {
    if modified(source)? > built { Err(format!("older than {}", source.display())) } else { Ok(()) }
}

fn modified(file: &Path) -> Result<SystemTime, String> {
    fs::metadata(file).and_then(|metadata| metadata.modified()).map_err(|error| format!("{}: {error}", file.display()))
}
