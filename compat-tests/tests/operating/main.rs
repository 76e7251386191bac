//! A gateway as its operator sees it while parts of it fail, come back, or change: readiness, logs, and new packages.

#![expect(clippy::unwrap_used, reason = "a failure here is a failed test, and says where")]

mod logs;
mod new_packages;
mod readiness;

use compat_tests::darkserver::RunningGateway;
use compat_tests::fixtures;

const SERVER: &str = "server/server-1.1-5.fc99.x86_64.rpm";

/// The path of the program of [`SERVER`].
fn program() -> String {
    format!("/buildid/{}/executable", fixtures::build_id(SERVER, "/usr/bin/server"))
}

/// A path with an absent build-id.
fn absent_path(number: u32) -> String {
    format!("/buildid/{number:040x}/debuginfo")
}

/// Lines of the log with these words in them.
fn lines(gateway: &RunningGateway, words: &[&str]) -> usize {
    gateway.log().lines().filter(|line| words.iter().all(|word| line.contains(word))).count()
}
