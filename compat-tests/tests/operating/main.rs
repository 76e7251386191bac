//! A gateway as its operator sees it while parts of it fail, come back, or change: readiness, logs, and new packages.

#![expect(clippy::unwrap_used, reason = "a failure here is a failed test, and says where")]

mod new_packages;

const SERVER: &str = "server/server-1.1-5.fc99.x86_64.rpm";
