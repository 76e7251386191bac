//! The Python environment of the tests: Koji's client library and genuine publishers of messages.
//!
//! `make/python.sh` makes it from `compat-tests/python/requirements.txt`.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

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

/// Publishes messages by fedora-messaging, which validates them: a line of JSON for each, as `python/publish.py` reads
/// it. `tls` is an authority, a certificate and its key.
///
/// # Panics
/// If the broker does not take them.
#[track_caller]
pub fn publish(url: &str, tls: &[&str], lines: &[String]) {
    feed(script("python/publish.py").arg(url).args(tls), lines);
}

/// Declares a durable queue, and sends texts to it as the original did.
///
/// # Panics
/// As [`publish`].
#[track_caller]
pub fn queue_as_the_original(url: &str, queue: &str, texts: &[String]) {
    feed(script("python/original.py").arg(url).arg(queue), texts);
}

#[track_caller]
fn feed(command: &mut Command, lines: &[String]) {
    let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = child.unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    // A publisher that fails closes its input; its status tells.
    let _ = child.stdin.take().map(|mut stdin| stdin.write_all(text.as_bytes()));
    let output = child.wait_with_output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}
