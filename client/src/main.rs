//! darkclient: asks a darkserver on the command line which package a build-id comes from.
//!
//! In reading order:
//!
//! - [`args`]: the command line, parsed to a [`Query`];
//! - [`ids`]: build-ids from the command line and standard input, split into requests;
//! - [`config`]: the server's URL;
//! - [`darkserver`]: sends a query over HTTP and returns the server's JSON;
//! - [`mod@print`]: prints that JSON as lines;
//! - [`error`]: errors and exit codes.

#![cfg_attr(not(test), warn(clippy::print_stderr, reason = "it panics where standard error is closed"))]

mod args;
mod config;
mod darkserver;
mod error;
mod ids;
mod print;

use std::io::{self, Write as _};
use std::process::ExitCode;

use args::{Args, Query};
use darkserver::DarkserverClient;
use error::ClientError;

fn main() -> ExitCode {
    let args = Args::from_command_line();
    match run(&args) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(error::NO_DATA),
        Err(ClientError::ClosedOutput) => ExitCode::from(ClientError::ClosedOutput.exit_code()),
        Err(error) => {
            // The original printed messages on standard output, where scripts take them for data. The exit codes are
            // unchanged. `eprintln!` would panic if standard error is closed.
            let _ = writeln!(io::stderr(), "{error}");
            ExitCode::from(error.exit_code())
        }
    }
}

/// Sends the query of the command line and prints the answer. Returns `false` if the server has no data.
fn run(args: &Args) -> Result<bool, ClientError> {
    let query = args.query().ok_or(ClientError::NoQuery)?;
    let base = config::server_url(args.server.as_ref())?;
    let query = match query {
        Query::Ids(words) => Query::Ids(ids::parse_ids(words)?),
        other => other,
    };

    // reqwest needs a default provider, because two dependencies may each bring one. A second call fails without
    // effect.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(ClientError::local)?;
    let answer = runtime.block_on(async { DarkserverClient::new(base, args.timeout)?.fetch_answer(&query).await });
    // A name lookup that hangs in the C library cannot be cancelled. Dropping the runtime would wait for it.
    runtime.shutdown_background();

    print::print_answer(&query, &answer?, args.json)
}
