//! The service `darkserver-import listen`: readiness, metrics, shutdown, jobs and refreshes that several processes
//! share, and processes that are killed.

#![expect(clippy::unwrap_used, reason = "a failure here is a failed test, and shows where")]

mod jobs;
mod operation;
mod repositories;
mod shutdown;
mod support;
