//! Support of the compatibility tests: real processes, each started by its test and ended by its process id.
//!
//! - packages: [`fixtures`], the committed RPMs and their contents; [`repository`], repositories of them;
//!   [`rpmbuild`], RPMs made for a test; [`compiled`], programs, and Debian packages, Arch packages and tar archives of
//!   them; [`headers`], the file classes in headers; [`ima`], packages with signed files; [`crash`], a program of the
//!   fixtures and its core dump;
//! - servers: [`darkserver`], our three programs; [`indexer`], the service of one; [`programs`], which builds them;
//!   [`mariadb`] and [`galera`]; [`rabbitmq`]; [`debuginfod`], elfutils' server and client; [`files`], a directory
//!   over HTTP; [`static_server`], one that counts what it sends, and lies; [`koji_hub`], a Koji;
//! - faults: [`fake_server`], servers that send wrong answers, hang or break off; [`upstreams`], debuginfod servers
//!   with faults that change; [`namespaces`], servers behind a link that goes down; [`proxy`], connections that are
//!   slow, stall or break; [`small_disk`], a cache directory that can be full or read-only;
//!   [`unshare`], command lines in namespaces of their own;
//! - clients: [`http`], requests as bytes on a socket; [`exposition`], Prometheus' text format; [`certificates`], an
//!   authority and clients that trust it; [`chromium`], a browser; [`python`], the environment of Python programs;
//! - [`process`], the guard of every process.
//!
//! A missing program fails the test with the package to install: a test that could not run has not passed.

#![expect(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "test support: a failure here is a failed test, and shows where"
)]

use std::time::{Duration, Instant};

pub mod certificates;
pub mod chromium;
pub mod compiled;
pub mod crash;
pub mod darkserver;
pub mod debuginfod;
pub mod exposition;
pub mod fake_server;
pub mod files;
pub mod fixtures;
pub mod galera;
pub mod headers;
pub mod http;
pub mod ima;
pub mod indexer;
pub mod koji_hub;
pub mod mariadb;
pub mod namespaces;
pub mod process;
pub mod programs;
pub mod proxy;
pub mod python;
pub mod rabbitmq;
pub mod repository;
pub mod rpmbuild;
pub mod small_disk;
pub mod static_server;
pub mod unshare;
pub mod upstreams;

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
