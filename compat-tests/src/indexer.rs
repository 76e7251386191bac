//! `darkserver-import listen`, as a process.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;
use tempfile::TempDir;

use crate::darkserver::bare;
use crate::http;
use crate::process::{Process, free_port};
use crate::programs::program;

/// A running indexer.
pub struct RunningIndexer {
    process: Process,
    /// Its port on 127.0.0.1: hooks, metrics and health.
    pub port: u16,
    directory: TempDir,
    /// A command that gets the indexer's command as its arguments.
    through: Vec<String>,
    environment: Vec<(String, String)>,
}

impl RunningIndexer {
    /// Starts an indexer on `database` with the text of a configuration file, without `service.listen`.
    ///
    /// # Panics
    /// If it does not answer in time.
    pub fn start(database: &str, configuration: &str) -> Self {
        Self::start_through(&[], &[("DARKSERVER_DATABASE", database)], configuration)
    }

    /// Starts an indexer in an environment with these variables, by a command that ends in `exec "$@"`.
    ///
    /// # Panics
    /// As [`RunningIndexer::start`].
    pub fn start_through(through: &[&str], environment: &[(&str, &str)], configuration: &str) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        std::fs::write(directory.path().join("indexer.toml"), configuration).expect("write a configuration");
        let through: Vec<String> = through.iter().map(|word| word.to_string()).collect();
        let environment: Vec<(String, String)> =
            environment.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
        let port = free_port();
        let process = launch(directory.path(), port, &through, &environment);
        let mut indexer = Self { process, port, directory, through, environment };
        indexer.wait_until_alive();
        indexer
    }

    /// Ends it by SIGKILL.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Kills it unless it has ended, and starts it again on the same port with the same configuration.
    ///
    /// # Panics
    /// As [`RunningIndexer::start`].
    pub fn restart(&mut self) {
        self.process.kill();
        self.process = launch(self.directory.path(), self.port, &self.through, &self.environment);
        self.wait_until_alive();
    }

    /// Replaces the text of its configuration file, which it reads at its next start.
    pub fn configure(&self, configuration: &str) {
        std::fs::write(self.directory.path().join("indexer.toml"), configuration).expect("write a configuration");
    }

    /// Stops it by SIGTERM. Returns its exit status.
    ///
    /// # Panics
    /// If it does not end within [`STOP_WITHIN`].
    pub fn stop(&mut self) -> Option<i32> {
        self.process.signal(Signal::TERM);
        self.process.wait_within(STOP_WITHIN).code()
    }

    /// `http://127.0.0.1:PORT`
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// A GET request.
    ///
    /// # Panics
    /// If the connection breaks.
    pub fn get(&self, path: &str) -> http::Response {
        http::get(self.port, path).unwrap_or_else(|error| panic!("GET {path}: {error}"))
    }

    /// The value of a metric with exactly these labels as written, 0 if it is not there.
    pub fn metric(&self, line: &str) -> f64 {
        let text = self.get("/metrics").text();
        let value = text.lines().find_map(|row| row.strip_prefix(line)?.strip_prefix(' '));
        value.map_or(0.0, |value| value.parse().expect("a number"))
    }

    /// The file of its configuration.
    pub fn configuration(&self) -> PathBuf {
        self.directory.path().join("indexer.toml")
    }

    /// Its log so far.
    pub fn log(&self) -> String {
        self.process.output()
    }

    /// The process.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    fn wait_until_alive(&mut self) {
        let port = self.port;
        self.process.wait_until("the indexer", || http::get(port, "/healthz").is_ok_and(|answer| answer.status == 200));
    }
}

fn launch(directory: &Path, port: u16, through: &[String], environment: &[(String, String)]) -> Process {
    let mut command = match through.split_first() {
        None => bare(Command::new(program("darkserver-import"))),
        Some((first, rest)) => {
            let mut command = bare(Command::new(first));
            command.args(rest).arg(program("darkserver-import"));
            command
        }
    };
    command
        .env("RUST_LOG", "info,darkserver_import=debug")
        .env("DARKSERVER_ETC", directory)
        .envs(environment.iter().map(|(name, value)| (name, value)))
        .args(["listen", "--listen", &format!("127.0.0.1:{port}"), "--config"])
        .arg(directory.join("indexer.toml"));
    Process::start(&mut command, &directory.join("log"))
}

/// Maximum time from SIGTERM to the end of an indexer: it gives running work 25 s, and its claims back in 5 s.
pub const STOP_WITHIN: Duration = Duration::from_secs(45);

/// Maximum time from a request to a hook to the answer of an index, with room for a busy machine.
pub const ANSWER_WITHIN: Duration = Duration::from_secs(30);
