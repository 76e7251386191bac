//! What the compatibility tests are made of: real processes, each started by the test that needs it and ended by its process id.
//!
//! - [`fixtures`]: the committed RPMs and what `eu-readelf` says of them; [`rpmbuild`]: larger and stranger ones, made for a test;
//! - [`headers`]: what the headers of such packages state of files, and how to make them state less;
//! - [`compiled`]: programs compiled for a test, and the Debian packages, Arch packages and tar archives that they go into;
//! - [`crash`]: a fixture's program and the core dump that it leaves;
//! - [`darkserver`]: our own three programs; [`mariadb`]: a MariaDB server; [`debuginfod`]: elfutils' server and client;
//!   [`galera`]: a cluster of two; [`files`]: a directory over HTTP; [`fake_server`]: upstreams that lie, hang or break off; [`proxy`]: a way that can be disturbed;
//! - [`ima`]: packages whose files are signed, and what checks the signatures;
//! - [`small_disk`]: a gateway with a cache directory that gets full;
//! - [`certificates`]: an authority that a test makes, and a client that trusts it; [`chromium`]: a browser;
//! - [`http`]: requests as bytes on a socket, so that a test sees a reset as a reset;
//! - [`process`]: the guard that all of them share.
//!
//! A program that is missing fails the test with the name of the package to install: a test that could not run has not passed.

#![expect(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "test support: a failure here is a failed test, and says where"
)]

use std::time::{Duration, Instant};

pub mod certificates;
pub mod chromium;
pub mod compiled;
pub mod crash;
pub mod darkserver;
pub mod debuginfod;
pub mod fake_server;
pub mod files;
pub mod fixtures;
pub mod galera;
pub mod headers;
pub mod http;
pub mod ima;
pub mod mariadb;
pub mod process;
pub mod programs;
pub mod proxy;
pub mod rpmbuild;
pub mod small_disk;

/// Waits until `condition` holds.
///
/// # Panics
/// After 20 seconds.
#[track_caller]
pub fn wait_until(what: &str, condition: impl FnMut() -> bool) {
    wait_within(Duration::from_secs(20), what, condition);
}

/// Waits until `condition` holds, for at most `limit`. Returns how long it took.
///
/// # Panics
/// If the condition does not hold within `limit`.
#[track_caller]
pub fn wait_within(limit: Duration, what: &str, mut condition: impl FnMut() -> bool) -> Duration {
    let started = Instant::now();
    while !condition() {
        assert!(started.elapsed() < limit, "{what}: expected within {limit:?}, still not so");
        std::thread::sleep(Duration::from_millis(10));
    }
    started.elapsed()
}

/// How much a test does: `short` in `make test`, `long` in `make soak`.
pub fn scale<T>(short: T, long: T) -> T {
    if std::env::var_os("DARKSERVER_SOAK").is_some() { long } else { short }
}
