//! `darkserver-import koji` with a real hub on loopback, real RPMs, and both databases: what it prints and returns,
//! what `show` and the gateway tell afterwards, and backfills that are killed.
//!
//! - [`support`]: runs of the program on either database;
//! - the tests: [`builds`], [`backfills`].

#![expect(clippy::unwrap_used, reason = "helpers of tests: a failure here is a failed test, and shows where")]

mod backfills;
mod builds;
mod support;
