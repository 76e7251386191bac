//! Federation: our gateway and elfutils' debuginfod in front of the same upstreams, each in turn.
//!
//! - [`large`]: a large file; [`black_holes`]: answers while upstreams hang; [`replay`]: what upstreams are asked;
//!   [`debugger`]: GDB on a program with many unknown libraries;
//! - [`upstreams`]: servers of this process that count requests, and black holes; [`federating`]: the servers in front
//!   of them; [`client`]: timed requests.

mod black_holes;
mod client;
mod debugger;
mod federating;
mod large;
mod replay;
mod upstreams;

use std::path::PathBuf;

use anyhow::Result;
use clap::{Args, ValueEnum};

use crate::report;
use crate::table::ResultTable;

pub(super) const DEBUGINFOD: &str = "debuginfod";
pub(super) const REDIRECT: &str = "darkserver, redirect";
pub(super) const RELAY: &str = "darkserver, relay";

/// Options of this bench, which needs no corpus.
#[derive(Args)]
pub(crate) struct FederateOptions {
    /// How much is done.
    #[arg(long, value_enum, default_value_t = Size::Medium)]
    size: Size,
    /// How often everything is done; figures are medians.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Where to write results.
    #[arg(long, value_name = "DIR", default_value = "bench/results")]
    results: PathBuf,
    /// Only the tables whose title contains this.
    #[arg(long, value_name = "TEXT", default_value = "")]
    only: String,
}

/// How much is done.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Size {
    /// A large file of 20 MB, a replay of 200 requests: for a look.
    Small,
    /// 500 MB and 2,000 requests.
    Medium,
    /// Medium, and GDB asking upstreams itself and through debuginfod: ten minutes more.
    Large,
}

impl Size {
    /// Bytes of the large file.
    fn large_file(self) -> u64 {
        if self == Self::Small { 20_000_000 } else { 500_000_000 }
    }

    /// Requests of the replay.
    fn replayed(self) -> usize {
        if self == Self::Small { 200 } else { 2000 }
    }

    /// True if GDB also runs without our gateway.
    fn has_gdb_alone(self) -> bool {
        self == Self::Large
    }
}

/// Fills one table.
type FederateBench = fn(&FederateOptions) -> Result<ResultTable>;

pub(crate) fn run(options: &FederateOptions) -> Result<()> {
    let benches: [(&str, FederateBench); 4] = [
        (large::TITLE, large::run),
        (black_holes::TITLE, black_holes::run),
        (replay::TITLE, replay::run),
        (debugger::TITLE, debugger::run),
    ];
    let mut tables = Vec::new();
    for (title, bench) in benches {
        if title.contains(&options.only) {
            tables.push(bench(options)?);
        }
    }
    let command = match options.size {
        Size::Small => "make bench-federate SIZE=small",
        Size::Medium => "make bench-federate",
        Size::Large => "make bench-federate SIZE=large",
    };
    report::publish(&options.results, "federate", command, &tables)
}
