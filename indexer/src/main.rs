//! darkserver-import: finds archives, reads their headers, fills the index.
//!
//! - [`cli`]: the command line; [`settings`]: the configuration file;
//! - [`commands`]: `dir` and `rpm`, `store`, `migrate`, and the form of the original's command;
//! - [`feeders`]: each yields candidates;
//! - [`fetch`]: opens and reads a candidate;
//! - [`pipeline`]: readers in parallel, and the writer of batches;
//! - [`report`]: progress, summary, output, and exit status.
//!
//! Data flows one way: feeder -> candidates -> readers, one per job -> outcomes -> writer -> index.

#![cfg_attr(not(test), warn(clippy::print_stderr, reason = "it panics where standard error is closed"))]

mod cli;
mod commands;
mod feeders;
mod fetch;
mod pipeline;
mod report;
mod settings;

use std::io::{self, IsTerminal};
use std::process::ExitCode;

use tracing_subscriber::EnvFilter;

use cli::Cli;
use report::failure::CommandFailure;

fn main() -> ExitCode {
    let cli = Cli::from_command_line();
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(io::stderr().is_terminal())
        .with_writer(io::stderr)
        .init();
    let result = tokio::runtime::Runtime::new().map_err(CommandFailure::local).and_then(|runtime| {
        let result = runtime.block_on(commands::run(cli));
        // Threads that hang on a dead file server cannot be stopped; dropping the runtime would wait for them.
        runtime.shutdown_background();
        result
    });
    match result {
        Ok(code) => code,
        Err(failure) => failure.report(),
    }
}
