//! darkserver-import as its users see it: the real program, real packages, SQLite files and MariaDB.
//!
//! - [`support`]: a directory of packages with an index beside it, and the index as text;
//! - the tests: [`fixtures`], [`changes`], [`check`], [`filters`], [`interrupted`], [`broken`], [`command`],
//!   [`stores`], [`places`], [`repositories`], [`show`], [`verify`], [`mariadb`].

#![expect(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a failure of the support is a failed test, and says where"
)]

mod broken;
mod changes;
mod check;
mod command;
mod filters;
mod fixtures;
mod interrupted;
mod mariadb;
mod places;
mod repositories;
mod show;
mod stores;
mod support;
mod verify;
