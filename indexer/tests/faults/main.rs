//! Faults at every moment of an import: the program or the database dies, hangs, refuses or is full, archives change
//! while they are read, other imports run in parallel. Afterwards the index equals that of an undisturbed run.
//!
//! - [`support`] (of the tests beside these): the program and a directory of packages; [`locked_index`]: databases and
//!   their contents as text; [`crash_points`]: the moments of faults; [`import_process`]: a run of the program with a
//!   time limit; [`server`]: an import into a server; [`proxy`]: a network with faults;
//! - the tests: [`indexer_killed`], [`server_killed`], [`network`], [`refusals`], [`archives`], [`parallel_imports`],
//!   [`repositories`].

#![expect(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a failure of the support is a failed test, and says where"
)]

mod archives;
mod crash_points;
mod import_process;
mod indexer_killed;
mod locked_index;
mod network;
mod parallel_imports;
mod proxy;
mod refusals;
mod repositories;
mod server;
mod server_killed;
#[path = "../import/support.rs"]
#[expect(dead_code, reason = "made for the tests beside these")]
mod support;
