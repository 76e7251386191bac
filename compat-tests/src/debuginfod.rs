//! elfutils' server and client, as the distribution ships them, and newer ones that know `metadata`.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

use crate::http;
use crate::process::{Process, free_port, run};

/// One of elfutils' programs with metadata by path, pattern and build-id (0.195 or newer). It is taken from the
/// directory that `make/debuginfod.sh` fills, else from the distribution.
///
/// # Panics
/// If it is older.
pub fn newest(program: &str) -> Command {
    let ours = Path::new(env!("CARGO_MANIFEST_DIR")).join("../var/debuginfod").join(program);
    let path = if ours.is_file() { ours } else { program.into() };
    let version = run(Command::new(&path).arg("--version"), "debuginfod, or run make/debuginfod.sh");
    let version = String::from_utf8_lossy(&version.stdout).into_owned();
    let minor: u32 =
        version.lines().next().and_then(|line| line.rsplit_once(" 0.")?.1.trim().parse().ok()).unwrap_or_default();
    assert!(
        minor >= 195,
        "{}: expected elfutils 0.195 or newer, found {version}; run make/debuginfod.sh",
        path.display()
    );
    Command::new(path)
}

/// A running `debuginfod` that serves a directory of RPMs.
pub struct Debuginfod {
    process: Process,
    /// Its port.
    pub port: u16,
    _directory: TempDir,
}

impl Debuginfod {
    /// Starts one and waits until it has scanned `rpms`.
    pub fn start(rpms: &Path) -> Self {
        Self::start_with(rpms, &["-R"])
    }

    /// Starts one with these options, and waits until it has scanned `archives`.
    pub fn start_with(archives: &Path, options: &[&str]) -> Self {
        Self::start_as(Command::new("debuginfod"), "", archives, options)
    }

    /// As [`Debuginfod::start`], of the newest version, with these upstreams, separated by blanks.
    pub fn start_newest(upstreams: &str, rpms: &Path) -> Self {
        Self::start_as(newest("debuginfod"), upstreams, rpms, &["-R"])
    }

    /// As [`Debuginfod::start`], with these upstreams, separated by blanks.
    pub fn start_federated(upstreams: &str, rpms: &Path) -> Self {
        Self::start_as(Command::new("debuginfod"), upstreams, rpms, &["-R"])
    }

    fn start_as(mut command: Command, upstreams: &str, archives: &Path, options: &[&str]) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let port = free_port();
        command.env("DEBUGINFOD_URLS", upstreams).env("DEBUGINFOD_CACHE_PATH", directory.path().join("cache"));
        command.env("HOME", directory.path()).env("TMPDIR", directory.path());
        command.args(options).args(["-t", "0", "-g", "0", "-d"]).arg(directory.path().join("index.sqlite"));
        command.args(["-p", &port.to_string()]).arg(archives);
        let mut process = Process::start(&mut command, &directory.path().join("log"));
        // Two passes: a dwz reference may be scanned before the package that resolves it.
        let done = |text: &str| {
            let value = |line: &str| text.lines().find_map(|row| row.strip_prefix(line)?.trim().parse::<f64>().ok());
            value("thread_work_total{role=\"traverse\"}").is_some_and(|passes| passes >= 1.0)
                && value("thread_work_pending{role=\"scan\"}") == Some(0.0)
                && value("thread_busy{role=\"scan\"}") == Some(0.0)
        };
        process.wait_until("debuginfod", || http::get(port, "/metrics").is_ok_and(|answer| done(&answer.text())));
        Self { process, port, _directory: directory }
    }

    /// `http://127.0.0.1:PORT`
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Its access log.
    pub fn log(&self) -> String {
        self.process.output()
    }
}

/// A debuginfod client with a cache of its own, empty at first.
pub struct DebuginfodClient {
    directory: TempDir,
    urls: String,
}

impl DebuginfodClient {
    /// A client of these servers, separated by blanks.
    pub fn new(urls: &str) -> Self {
        Self { directory: tempfile::tempdir().expect("a temporary directory"), urls: urls.to_owned() }
    }

    /// Sets the client's environment for any program that uses libdebuginfod: GDB, eu-stack...
    pub fn environment(&self, command: &mut Command) {
        command
            .env("DEBUGINFOD_URLS", &self.urls)
            .env("DEBUGINFOD_CACHE_PATH", self.cache())
            .env("DEBUGINFOD_TIMEOUT", "20")
            .env("HOME", self.directory.path());
    }

    /// Its cache directory.
    pub fn cache(&self) -> PathBuf {
        self.directory.path().join("cache")
    }

    /// `debuginfod-find` with these arguments.
    pub fn find(&self, arguments: &[&str]) -> Output {
        self.find_in(&[], arguments)
    }

    /// As [`DebuginfodClient::find`], in an environment with these variables too.
    pub fn find_in(&self, environment: &[(&str, &str)], arguments: &[&str]) -> Output {
        let mut command = Command::new("debuginfod-find");
        self.environment(&mut command);
        run(
            command.envs(environment.iter().copied()).arg("-v").args(arguments),
            "debuginfod (Debian) or elfutils-debuginfod-client (Fedora)",
        )
    }

    /// Runs the newest `debuginfod-find` for metadata: JSON on its standard output.
    pub fn metadata(&self, key: &str, value: &str) -> Output {
        let mut command = newest("debuginfod-find");
        self.environment(&mut command);
        run(command.args(["metadata", key, value]), "debuginfod, or run make/debuginfod.sh")
    }

    /// The bytes that `debuginfod-find` found.
    ///
    /// # Panics
    /// If it finds nothing, with its messages.
    pub fn found(&self, arguments: &[&str]) -> Vec<u8> {
        let output = self.find(arguments);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "debuginfod-find {arguments:?}: {said}");
        let path = String::from_utf8(output.stdout).expect("a UTF-8 path");
        std::fs::read(path.trim()).expect("the file that was found")
    }
}
