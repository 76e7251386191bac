//! The Python environment of the tests: Koji's client library and genuine publishers of messages.
//!
//! `make/python.sh` makes it from `compat-tests/python/requirements.txt`.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Returns the directory of the virtual environment.
///
/// # Panics
/// If it was not made.
#[track_caller]
pub fn environment() -> PathBuf {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../var/python-venv");
    assert!(
        directory.join("state").is_file(),
        "{}: expected the Python environment of the tests, found none: run make/python.sh",
        directory.display()
    );
    directory
}

/// Returns the environment's interpreter.
///
/// # Panics
/// If the environment was not made.
#[track_caller]
pub fn interpreter() -> PathBuf {
    environment().join("bin/python")
}

/// Returns a command of the environment's interpreter that runs `script`, a file below `compat-tests`.
///
/// Its output is not buffered, and it writes no bytecode beside the sources.
///
/// # Panics
/// If the environment or the script does not exist.
#[track_caller]
pub fn script(script: &str) -> Command {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(script);
    assert!(path.is_file(), "{}: expected a script", path.display());
    let mut command = Command::new(interpreter());
    command.arg("-B").arg("-u").arg(path).env_remove("PYTHONPATH").env_remove("PYTHONHOME");
    command
}
