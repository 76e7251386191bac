//! darkserver-import: finds archives, reads their headers, fills the index.
//!
//! - [`cli`]: the command line; [`settings`]: the configuration file;
//! - [`commands`]: `dir` and `rpm`, `store`, `migrate`, and the form of the original's command;
//! - [`feeders`]: each yields candidates;
//! - [`fetch`]: opens and reads a candidate;
//! - [`koji`]: asks Koji's hub;
//! - [`pipeline`]: readers in parallel, and the writer of batches;
//! - [`jobs`], [`service`]: `listen`, which runs until a signal; [`logging`]: its log lines;
//! - [`report`]: progress, summary, output, and exit status.
//!
//! Data flows one way: feeder -> candidates -> readers, one per job -> outcomes -> writer -> index.

#![cfg_attr(not(test), warn(clippy::print_stderr, reason = "it panics where standard error is closed"))]

mod cli;
mod commands;
mod feeders;
mod fetch;
mod jobs;
mod koji;
mod logging;
mod pipeline;
mod report;
mod service;
mod settings;

use std::process::ExitCode;

use cli::{Cli, Command};
use report::failure::CommandFailure;

fn main() -> ExitCode {
    let cli = Cli::from_command_line();
    // The service reads its settings first.
    if !matches!(cli.command, Some(Command::Listen(_))) {
        logging::start_command();
    }
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
