//! `darkserver`: the gateway. Answers debuginfod clients, darkserver's JSON API and Prometheus.
//!
//! The directories, in the order in which a request meets them:
//! - [`server`]: sockets, TLS, connection limits, resets;
//! - [`http`]: routes; requests become questions, answers become responses;
//! - [`resolve`]: the order in which an answer is looked for;
//! - [`index`]: cached database reads, the filter, the health of the database;
//! - [`providers`]: stores and upstreams;
//! - [`cache`]: members on disk.
//!
//! Beside them: [`cli`] and [`config`], [`app`] (binds, wires, serves), [`readiness`], [`metrics`], [`logging`].
//! [`upstream_check`] is a command of its own.
//!
//! The program is this library's [`main`]; [`serve`] stands alone so that `bench/` can measure the same application
//! around a handler that does nothing.

#![cfg_attr(not(test), warn(clippy::print_stderr, reason = "it panics where standard error is closed"))]

mod app;
mod cache;
mod cli;
mod config;
mod http;
mod index;
mod locked;
mod logging;
mod metrics;
mod permits;
mod providers;
mod readiness;
mod resolve;
mod server;
mod upstream_check;

pub use app::serve;

use std::fmt::Display;
use std::io::{self, Write as _};
use std::process::ExitCode;
use std::time::Duration;

/// How long threads may go on after the last request.
const LAST_WAIT: Duration = Duration::from_secs(2);

/// Log lines as the program writes them by default.
pub fn start_logging() {
    logging::start(logging::LogFormat::default());
}

/// The program `darkserver`: reads its command line and serves until a signal.
pub fn main() -> ExitCode {
    let cli = match cli::Cli::read() {
        Ok(cli) => cli,
        Err(text) => {
            let _ = io::stderr().write_all(text.as_bytes());
            return ExitCode::from(2);
        }
    };
    let arguments = match cli.task() {
        cli::Task::Serve(arguments) => arguments,
        cli::Task::CheckUpstreams(arguments) => {
            return upstream_check::run(arguments).unwrap_or_else(|error| {
                say(&format_args!("{error:#}"));
                ExitCode::from(2)
            });
        }
    };
    let inherited = server::listen::Listener::inherited();
    let loaded = config::Config::load(arguments).and_then(|config| {
        let inherited = inherited?;
        app::check_certificate(&config, &inherited)?;
        Ok((config, inherited))
    });
    let (config, inherited) = match loaded {
        Ok(loaded) => loaded,
        Err(error) => {
            say(&format_args!("{error:#}"));
            return ExitCode::from(2);
        }
    };
    logging::start(config.log_format);
    // Copies of archives that cannot be read as they come are temporary files without names: the cache's disk has
    // room. Only a second call could fail.
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

/// Writes a line to standard error before logging is started, or after it. Nothing happens if nobody reads there:
/// `eprintln!` would panic.
fn say(line: &dyn Display) {
    let _ = writeln!(io::stderr(), "darkserver: {line}");
}
