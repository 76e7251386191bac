//! darkserver-bench: darkserver, the distribution's debuginfod and the limits of the machine on the same work, in turn.
//!
//! - [`index`], [`answer`], [`serve`] (and in it [`sections`]), [`scale`], [`federate`], [`repository`], [`reach`]:
//!   the benches; each fills [`table`]s, which print medians and ratios;
//! - [`servers`]: the processes under load, [`cost`]: what a process used, [`load`]: wrk and oha, [`download`]: curl,
//!   [`corpus`]: what they work on;
//! - [`machine`]: where it ran, and with which versions; [`report`]: where the figures go.
//!
//! The peers are programs of this crate too: `constant` is the gateway's HTTP service around a handler that does
//! nothing, `read-headers` reads an import's headers and writes them nowhere.

#![expect(clippy::print_stdout, reason = "tables are what this program is for")]

mod answer;
mod corpus;
mod cost;
mod download;
mod federate;
mod index;
mod load;
mod machine;
mod reach;
mod report;
mod repository;
mod scale;
mod sections;
mod serve;
mod servers;
mod table;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use clap::{Args, Parser, Subcommand};

use crate::federate::FederateOptions;
use crate::reach::ReachOptions;
use crate::repository::RepositoryOptions;

/// Measures darkserver beside debuginfod and beside the limits of the machine, in one run.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    bench: Bench,
}

#[derive(Subcommand)]
enum Bench {
    /// From a directory of RPMs to an index: empty at first, and with nothing changed.
    Index(Options),
    /// Requests per second, and latencies at half of the highest rate.
    Answer(Options),
    /// Large members, cold and warm.
    Serve(Options),
    /// An index of millions of build-ids on MariaDB: what it takes, and what a miss costs.
    Scale {
        #[command(flatten)]
        options: Options,
        /// How many.
        #[arg(long, default_value_t = 10_000_000, value_name = "NUMBER")]
        build_ids: u64,
    },
    /// Federation: the same upstreams behind our gateway and behind debuginfod, healthy and hanging.
    Federate(FederateOptions),
    /// From a generated repository behind a local HTTP server to an index, and one question beside dnf.
    Repository(RepositoryOptions),
    /// From builds of Koji to answers: by messages, and by a backfill.
    Reach(ReachOptions),
}

/// What all benches take.
#[derive(Args)]
pub(crate) struct Options {
    /// Directory of real RPMs (see bench/corpus/README.md).
    #[arg(long, value_name = "DIR")]
    rpms: PathBuf,
    /// Directory of archives with generated headers.
    #[arg(long, value_name = "DIR")]
    headers: PathBuf,
    /// How often everything is done; figures are medians.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// How long one load lasts.
    #[arg(long, default_value_t = 3, value_name = "SECONDS")]
    seconds: u64,
    /// Where to write results.
    #[arg(long, value_name = "DIR", default_value = "bench/results")]
    results: PathBuf,
    /// Only the tables whose title contains this.
    #[arg(long, value_name = "TEXT", default_value = "")]
    only: String,
}

impl Options {
    pub(crate) fn load_time(&self) -> Duration {
        Duration::from_secs(self.seconds)
    }
}

fn main() -> Result<()> {
    match Cli::parse().bench {
        Bench::Index(options) => index::run(&options),
        Bench::Answer(options) => answer::run(&options),
        Bench::Serve(options) => serve::run(&options),
        Bench::Scale { options, build_ids } => scale::run(&options, build_ids),
        Bench::Federate(options) => federate::run(&options),
        Bench::Repository(options) => repository::run(&options),
        Bench::Reach(options) => reach::run(&options),
    }
}
