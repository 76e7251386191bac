//! darkclient: asks a darkserver on the command line which package a build-id comes from.
//!
//! In reading order:
//!
//! - [`args`]: the command line, and the [`Question`] it asks;
//! - [`ids`]: build-ids out of words and of standard input, and how many of them fit into one request;
//! - [`config`]: which server is asked;
//! - [`ask`]: one question over HTTP, answered with the server's JSON;
//! - [`mod@print`]: that JSON as lines;
//! - [`failure`]: what can go wrong, and the exit codes.

#![cfg_attr(not(test), warn(clippy::print_stderr, reason = "it panics where standard error is closed"))]

mod args;
mod ask;
mod config;
mod failure;
mod ids;
mod print;

use std::io::{self, Write as _};
use std::process::ExitCode;

use args::{Args, Question};
use ask::Server;
use failure::Failure;

fn main() -> ExitCode {
    let args = Args::from_command_line();
    match run(&args) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(failure::NO_DATA),
        Err(failure) => {
            // The original printed these on standard output. There a script takes them for data, so they go to
            // standard error; what scripts did rely on, the exit codes, is unchanged.
            // Where nobody reads it, the exit code says as much: `eprintln!` would panic.
            let _ = writeln!(io::stderr(), "{failure}");
            ExitCode::from(failure.exit_code())
        }
    }
}

/// Asks what the command line asks and prints the answer. `false` when the server knows nothing.
fn run(args: &Args) -> Result<bool, Failure> {
    let question = args.question().ok_or(Failure::NoQuestion)?;
    let base = config::server(args.server.as_ref())?;
    let question = match question {
        Question::Ids(words) => Question::Ids(ids::expand(words)?),
        other => other,
    };

    // Two crates of the tree could each bring a provider; reqwest wants one named. A second call would only be refused.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::local)?;
    let answer = runtime.block_on(async { Server::new(base, args.timeout)?.ask(&question).await });
    // A name look-up that hangs in the C library cannot be cancelled, and dropping the runtime would wait for it.
    runtime.shutdown_background();

    print::answer(&question, &answer?, args.json)
}
