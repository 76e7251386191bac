//! Faults at every moment of an import: the program dies, the database dies, hangs, refuses or fills up, archives
//! change while they are read, others import at the same time. Afterwards the index equals that of an undisturbed run.
//!
//! - [`support`] (of the tests beside these): the program and a folder of packages; [`index`]: databases, and all they
//!   hold as text; [`moments`]: when a fault comes; [`running`]: a run of the program that cannot hang; [`server`]: an
//!   import into a server; [`proxy`]: a network with faults;
//! - the tests: [`killed`], [`server_killed`], [`network`], [`refusals`], [`archives`], [`together`].

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
mod server;
mod server_killed;
#[path = "../import/support.rs"]
#[expect(dead_code, reason = "made for the tests beside these")]
mod support;
