//! `darkserver`: the gateway. Answers debuginfod clients, darkserver's JSON API and Prometheus.
//!
//! In reading order, which is also the order of a request:
//! - [`cli`], [`config`]: flags, environment, files, defaults, in this order of precedence;
//! - [`app`]: binds, wires, serves; [`connection`]: accepts connections, ends those that wait too long, resets;
//! - [`question`], [`answer`]: what is asked and what it resolves to;
//! - [`routes`]: parse a URL into a question, deliver the answer; [`deliver`]: bytes, ranges, validators; [`error`]: the one table
//!   of statuses;
//! - [`resolve`]: the only place that decides the order in which an answer is looked for; [`search`]: through what the index knows; [`metadata`]:
//!   what is known of files, from everybody;
//! - [`lookup`]: the index behind a filter and a short-lived cache; [`filter`]: what is certainly not in it; [`watch`]: can it be asked? [`archives`]: an archive's bytes from a disk or a
//!   store; [`files`]: members extracted on disk; [`line_tables`]: which sources these name; [`plain`]: sources of plain files; [`federation`]: other debuginfod servers;
//! - [`readiness`]: can anything be answered? [`metrics`], [`logging`].
//!
//! The program is this library's [`main`]; [`serve`] stands alone so that `bench/` can measure the same application around a handler
//! that does nothing.

#![cfg_attr(not(test), warn(clippy::print_stderr, reason = "it panics where standard error is closed"))]

mod answer;
mod app;
mod archives;
mod cli;
mod config;
mod connection;
mod deliver;
mod error;
mod failure;
mod federation;
mod files;
mod filter;
mod flow;
mod http_client;
mod line_tables;
mod logging;
mod lookup;
mod metadata;
mod metrics;
mod plain;
mod question;
mod readiness;
mod resolve;
mod routes;
mod search;
mod sigcache;
mod turns;
mod watch;

pub use app::serve;

use std::fmt::Display;
use std::io::{self, Write as _};
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;

/// How long threads may go on after the last request.
const LAST_WAIT: Duration = Duration::from_secs(2);

/// Log lines as the program writes them by default.
pub fn start_logging() {
    logging::start(logging::LogFormat::default());
}

/// The program `darkserver`: reads its command line and serves until a signal.
pub fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    let inherited = connection::listen::Listener::inherited();
    let (config, inherited) = match config::Config::load(cli.arguments()).and_then(|config| Ok((config, inherited?))) {
        Ok(told) => told,
        Err(error) => {
            say(&format_args!("{error:#}"));
            return ExitCode::from(2);
        }
    };
    logging::start(config.log_format);
    // Copies of archives that cannot be read as they come are temporary files without names: the cache's disk has room. Only a second call
    // could fail.
    let _ = tempfile::env::override_temp_dir(&config.cache_dir);
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            say(&error);
            return ExitCode::FAILURE;
        }
    };
    let result = runtime.block_on(app::run(config, inherited));
    // Not for ever: a thread may wait for a disk that does not answer.
    runtime.shutdown_timeout(LAST_WAIT);
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format_args!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// Writes a line to standard error before logging is started, or after it. Nothing happens if nobody reads there: `eprintln!` would panic.
fn say(line: &dyn Display) {
    let _ = writeln!(io::stderr(), "darkserver: {line}");
}
