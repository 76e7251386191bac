//! Where the gateway listens, and what every kind of listener has in common: addresses, unix sockets, TLS, sockets of
//! systemd; what pages of other origins may read.

#![expect(clippy::unwrap_used, reason = "a failure here is a failed test, and says where")]

mod cors;
mod several;
mod systemd;
mod tls;
mod unix;

use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use compat_tests::darkserver::Sqlite;
use compat_tests::fixtures;
use compat_tests::process::{free_port, run};
use compat_tests::programs::program;
use compat_tests::wait_within;

/// How long anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
const UNKNOWN: &str = "00000000000000000000000000000000000000aa";

/// An index of some servers, a path of a file in it and the file.
fn servers() -> (Sqlite, String, Vec<u8>) {
    let rpm = "server/server-1.1-5.fc99.x86_64.rpm";
    let path = format!("/buildid/{}/executable", fixtures::build_id(rpm, "/usr/bin/server"));
    (
        Sqlite::with_packages(&[&fixtures::family("server")]),
        path,
        fixtures::member(&fixtures::rpm(rpm), "/usr/bin/server"),
    )
}

/// An upstream that refuses connections: what is not in the index cannot be decided.
fn nowhere() -> String {
    format!("http://127.0.0.1:{}", free_port())
}

/// `curl` with these arguments; the body goes to standard output.
fn curl(arguments: &[&str]) -> Output {
    let mut command = Command::new("curl");
    run(command.args(["--silent", "--show-error", "--max-time", "60"]).args(arguments), "curl")
}

/// What curl says of a request that has to succeed, by `--write-out`.
fn curl_says(format: &str, arguments: &[&str]) -> String {
    let output = curl(&[arguments, &["--output", "/dev/null", "--write-out", format]].concat());
    assert!(output.status.success(), "curl {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Why a gateway does not start with this configuration.
fn refusal(configuration: &str, arguments: &[&str]) -> String {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("gateway.toml");
    std::fs::write(&path, configuration).unwrap();
    let mut command = Command::new(program("darkserver"));
    command.arg("--config").arg(path).arg("--cache-dir").arg(directory.path().join("cache")).args(arguments);
    let output = run(command.env("DARKSERVER_DATABASE", "sqlite:/nonexistent.db"), "the workspace");
    assert!(!output.status.success());
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[track_caller]
fn wait_until(what: &str, holds: impl FnMut() -> bool) {
    wait_within(PATIENCE, what, holds);
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}
