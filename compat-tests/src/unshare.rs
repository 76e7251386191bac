//! Command lines that make namespaces and enter them, as root or as a user who may make user namespaces.

use std::process::Command;

use rustix::process::geteuid;

/// The start of a command line that runs the rest in a new namespace: `kind` is an option of unshare(1), as `--mount`.
pub fn unshare(kind: &str) -> Vec<&str> {
    let mut words = vec!["unshare", kind];
    if !geteuid().is_root() {
        words.extend(["--user", "--map-root-user"]);
    }
    words
}

/// The start of a command line that runs the rest in the namespace of a process, by its id: `kind` is an option of
/// nsenter(1).
pub fn nsenter<'w>(id: &'w str, kind: &'w str) -> Vec<&'w str> {
    let mut words = vec!["nsenter", "--target", id, kind];
    if !geteuid().is_root() {
        words.extend(["--user", "--preserve-credentials"]);
    }
    words
}

/// A command of these words, for more of them.
pub fn command(words: &[&str]) -> Command {
    let mut command = Command::new(words[0]);
    command.args(&words[1..]);
    command
}
