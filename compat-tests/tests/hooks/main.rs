//! Hooks and uploads of `darkserver-import listen`, and `darkserver-import push`: real processes, real packages, and a
//! gateway that answers.
//!
//! - [`support`]: an indexer with a store for uploads;
//! - the tests: [`refusals`], [`uploads`], [`crashes`], [`archives`], [`push`].

#![expect(clippy::unwrap_used, reason = "helpers of tests: a failure here is a failed test, and shows where")]

mod archives;
mod crashes;
mod push;
mod refusals;
mod support;
mod uploads;
