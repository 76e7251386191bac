//! `darkserver`: the gateway. Answers debuginfod clients, darkserver's JSON API and Prometheus.
//!
//! In reading order, which is also the order of a request:
//! - [`cli`], [`config`]: flags, environment, files, defaults, in this order of precedence;
//! - [`app`]: binds, wires, serves; [`connection`]: what a request's connection can do (be reset);
//! - [`routes`]: parse a URL into a question, deliver the answer; [`deliver`]: bytes, ranges, validators; [`error`]: the one table
//!   of statuses;
//! - [`resolve`]: the only place that decides the order in which an answer is looked for; [`search`]: through what the index knows;
//! - [`lookup`]: the index behind a short-lived cache; [`archives`]: an archive's bytes from a disk or a store; [`files`]: members
//!   extracted on disk; [`federation`]: other debuginfod servers;
//! - [`metrics`], [`logging`].

mod app;
mod archives;
mod cli;
mod config;
mod connection;
mod deliver;
mod error;
mod federation;
mod files;
mod http_client;
mod logging;
mod lookup;
mod metrics;
mod question;
mod resolve;
mod routes;
mod search;

use std::process::ExitCode;

use clap::Parser;

#[tokio::main]
async fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    let config = match config::Config::load(cli.arguments()) {
        Ok(config) => config,
        Err(error) => {
            eprintln!("darkserver: {error:#}");
            return ExitCode::from(2);
        }
    };
    logging::start(config.log_format);
    match app::run(config).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("darkserver: {error:#}");
            ExitCode::FAILURE
        }
    }
}
