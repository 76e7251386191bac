//! A directory over HTTP, as a mirror would have it.

use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use crate::process::{Process, free_port};

/// A running file server (Python's own, which every machine with the tests has).
pub struct FileServer {
    process: Process,
    /// Its port.
    pub port: u16,
    _directory: TempDir,
}

impl FileServer {
    /// Serves `directory`.
    pub fn start(directory: &Path) -> Self {
        let own = tempfile::tempdir().expect("a temporary directory");
        let port = free_port();
        let mut command = Command::new("python3");
        command
            .args(["-u", "-m", "http.server", "--bind", "127.0.0.1", &port.to_string(), "--directory"])
            .arg(directory);
        let mut process = Process::start(&mut command, &own.path().join("log"));
        process.wait_for_port(port);
        Self { process, port, _directory: own }
    }

    /// `http://127.0.0.1:PORT`
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Its access log.
    pub fn log(&self) -> String {
        self.process.output()
    }

    /// Ends it.
    pub fn stop(&mut self) {
        self.process.kill();
    }
}
