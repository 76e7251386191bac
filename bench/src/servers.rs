//! The servers under load. Their logs go nowhere, but are written: every one of them logs each request by default.

use std::ffi::OsStr;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use compat_tests::http;
use compat_tests::process::{Process, free_port};
use compat_tests::programs::program;
use tempfile::TempDir;

use crate::cost::Usage;

/// The file with the sizes of the bodies that nginx sent, in its directory.
const SENT: &str = "sent.log";

/// A server of HTTP on 127.0.0.1. It ends when it is dropped.
pub(crate) struct BenchServer {
    process: Process,
    pub(crate) port: u16,
    /// Its cache, settings or log.
    directory: TempDir,
}

/// The bodies that a server of files sent.
#[derive(Clone, Copy, Default)]
pub(crate) struct Sent {
    pub(crate) bytes: f64,
    pub(crate) requests: f64,
}

impl Sent {
    /// What was sent after `before`.
    pub(crate) fn since(self, before: Self) -> Self {
        Self { bytes: self.bytes - before.bytes, requests: self.requests - before.requests }
    }
}

impl BenchServer {
    /// Our gateway on `database`, with a cache of its own and, but for `configuration`, with defaults.
    pub(crate) fn gateway(database: &str, configuration: &str) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let cache = directory.path().join("cache");
        Self::gateway_in(directory, database, configuration, &cache)
    }

    /// Our gateway on `database`, with a cache directory that outlives it.
    pub(crate) fn gateway_on_cache(database: &str, cache: &Path) -> Result<Self> {
        Self::gateway_in(tempfile::tempdir()?, database, "", cache)
    }

    fn gateway_in(directory: TempDir, database: &str, configuration: &str, cache: &Path) -> Result<Self> {
        let settings = directory.path().join("gateway.toml");
        std::fs::write(&settings, configuration)?;
        let mut command = bare(program("darkserver"));
        command.env("DARKSERVER_DATABASE", database).arg("--config").arg(settings).arg("--cache-dir").arg(cache);
        Self::start(command, directory, "/healthz")
    }

    /// The gateway's HTTP service with a handler that always gives the response that `like` gives for `path`.
    pub(crate) fn constant(like: &Self, path: &str) -> Result<Self> {
        let answer = http::get(like.port, path).with_context(|| format!("GET {path}"))?;
        let directory = tempfile::tempdir()?;
        let body = directory.path().join("body");
        std::fs::write(&body, &answer.body)?;
        let mut command = bare(program("constant"));
        command.arg("--body").arg(body).args(["--status", &answer.status.to_string()]);
        for (name, value) in &answer.headers {
            if !["content-length", "date", "connection", "transfer-encoding"].contains(&name.to_lowercase().as_str()) {
                command.arg("--header").arg(format!("{name}: {value}"));
            }
        }
        Self::start(command, directory, path)
    }

    /// elfutils' server on a directory of RPMs; ready when it has scanned them.
    pub(crate) fn debuginfod(rpms: &Path, database: &Path, max_seconds: u64) -> Result<Self> {
        Self::debuginfod_with(&[], "-R", rpms, Some(database), max_seconds)
    }

    /// elfutils' server on a directory of ELF files (`scan` is `-F`) or RPMs (`-R`), in an environment with these
    /// variables; ready when it has scanned the directory. Without `database` it has one of its own.
    pub(crate) fn debuginfod_with(
        environment: &[(&str, &str)],
        scan: &str,
        files: &Path,
        database: Option<&Path>,
        max_seconds: u64,
    ) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let mut command = bare("debuginfod");
        command.env("HOME", directory.path()).env_remove("XDG_CACHE_HOME").env("TMPDIR", directory.path());
        command.envs(environment.iter().copied());
        let own_database = directory.path().join("index.sqlite");
        command.args([scan, "-t", "0", "-g", "0", "-d"]).arg(database.unwrap_or(&own_database));
        let port = free_port();
        command.args(["-p", &port.to_string()]).arg(files);
        let mut this = Self { process: launch(command), port, directory };
        this.wait(Duration::from_secs(max_seconds), || {
            http::get(port, "/metrics").is_ok_and(|answer| has_scanned(&answer.text()))
        })?;
        Ok(this)
    }

    /// nginx on a directory of files, with sendfile; one process, whose CPU is counted.
    pub(crate) fn files(files: &Path) -> Result<Self> {
        Self::nginx(files, "access_log /dev/null")
    }

    /// As [`Self::files`], and [`Self::sent`] states what it sent.
    pub(crate) fn files_counted(files: &Path) -> Result<Self> {
        Self::nginx(files, &format!("log_format sent $body_bytes_sent; access_log {SENT} sent"))
    }

    fn nginx(files: &Path, log: &str) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let port = free_port();
        let own = directory.path().display();
        let settings = format!(
            "daemon off; master_process off; pid {own}/pid; error_log stderr;\nevents {{}}\n\
             http {{ sendfile on; tcp_nopush on; {log}; \
             client_body_temp_path {own}/body; proxy_temp_path {own}/proxy; fastcgi_temp_path {own}/fastcgi; \
             uwsgi_temp_path {own}/uwsgi; scgi_temp_path {own}/scgi; \
             server {{ listen 127.0.0.1:{port}; root {}; }} }}\n",
            files.display()
        );
        std::fs::write(directory.path().join("nginx.conf"), format!("user root;\n{settings}"))?;
        let mut command = bare("nginx");
        command.arg("-c").arg(directory.path().join("nginx.conf")).arg("-p").arg(directory.path());
        let mut this = Self { process: launch(command), port, directory };
        this.wait(Duration::from_secs(10), || http::get(port, "/").is_ok())?;
        Ok(this)
    }

    /// Starts a server that is told where to listen as ours are.
    fn start(mut command: Command, directory: TempDir, ready: &str) -> Result<Self> {
        let port = free_port();
        command.arg("--listen").arg(format!("127.0.0.1:{port}"));
        let mut this = Self { process: launch(command), port, directory };
        this.wait(Duration::from_secs(20), || http::get(port, ready).is_ok())?;
        Ok(this)
    }

    fn wait(&mut self, max: Duration, mut ready: impl FnMut() -> bool) -> Result<()> {
        let started = Instant::now();
        while !ready() {
            if started.elapsed() > max {
                bail!("process {}: expected it to be ready within {max:?}", self.process.id());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// `http://127.0.0.1:PORT`
    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// What [`Self::files_counted`] sent so far.
    pub(crate) fn sent(&self) -> Result<Sent> {
        let log = std::fs::read_to_string(self.directory.path().join(SENT)).context("read nginx' log")?;
        let mut sent = Sent::default();
        for line in log.lines() {
            sent.bytes += line.parse::<f64>().with_context(|| format!("expected a number of bytes, found {line}"))?;
            sent.requests += 1.0;
        }
        Ok(sent)
    }

    /// What it used so far.
    pub(crate) fn usage(&self) -> Result<Usage> {
        Usage::of(self.process.id())
    }
}

/// A command in an environment without settings of ours or of debuginfod.
fn bare(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars() {
        if name.starts_with("DARKSERVER_") || name.starts_with("DEBUGINFOD_") || name == "RUST_LOG" {
            command.env_remove(name);
        }
    }
    command
}

fn launch(mut command: Command) -> Process {
    Process::start(&mut command, Path::new("/dev/null"))
}

/// One traversal is over and nothing waits to be scanned.
fn has_scanned(metrics: &str) -> bool {
    let value = |line: &str| metrics.lines().find_map(|row| row.strip_prefix(line)?.trim().parse::<f64>().ok());
    value("thread_work_total{role=\"traverse\"}").is_some_and(|passes| passes >= 1.0)
        // Missing if the directory has no files.
        && value("thread_work_pending{role=\"scan\"}").unwrap_or(0.0) == 0.0
        && value("thread_busy{role=\"scan\"}") == Some(0.0)
}
