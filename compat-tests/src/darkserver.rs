//! Our own programs, as processes.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

use crate::http;
use crate::process::{Process, free_port, run};
use crate::programs::program;
use crate::wait_until;

/// `darkserver-import` with these arguments on `database`, in an environment without settings.
pub fn import(database: &str, arguments: &[&str]) -> Output {
    import_in(&[], database, arguments)
}

/// As [`import`], in an environment with these variables.
pub fn import_in(environment: &[(&str, &Path)], database: &str, arguments: &[&str]) -> Output {
    run(import_command(database, arguments).envs(environment.iter().copied()), "the workspace")
}

/// The command of [`import`], to be started.
pub fn import_command(database: &str, arguments: &[&str]) -> Command {
    let mut command = bare(Command::new(program("darkserver-import")));
    command.env("DARKSERVER_DATABASE", database).args(arguments);
    command
}

/// As [`import`], and it must succeed.
pub fn import_ok(database: &str, arguments: &[&str]) -> Output {
    let output = import(database, arguments);
    assert!(output.status.success(), "darkserver-import {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

/// Runs `darkserver` with these environment variables alone; it must fail to start. Returns its exit status and output.
pub fn failed_start(environment: &[(&str, &str)], arguments: &[&str]) -> Output {
    let mut command = Command::new(program("darkserver"));
    command.env_clear().envs(environment.iter().copied()).args(["--listen", "127.0.0.1:0"]).args(arguments);
    let output = run(&mut command, "the workspace");
    assert!(!output.status.success(), "expected that darkserver {arguments:?} does not start");
    output
}

/// `darkclient` against `server`.
pub fn darkclient(server: &str, arguments: &[&str]) -> Output {
    let mut command = bare(Command::new(program("darkclient")));
    run(command.env("DARKSERVER_URL", server).args(arguments), "the workspace")
}

/// The command in an environment without settings of ours.
pub(crate) fn bare(mut command: Command) -> Command {
    for (name, _) in std::env::vars() {
        if name.starts_with("DARKSERVER_") || name.starts_with("DEBUGINFOD_") {
            command.env_remove(name);
        }
    }
    command
}

/// A running gateway with its own cache directory.
pub struct RunningGateway {
    process: Process,
    /// Its port on 127.0.0.1.
    pub port: u16,
    directory: TempDir,
    /// A command that gets the gateway's command as its arguments.
    through: Vec<String>,
    environment: Vec<(String, String)>,
    arguments: Vec<String>,
}

impl RunningGateway {
    /// Starts a gateway on `database`.
    pub fn start(database: &str) -> Self {
        Self::start_with(database, "", &[])
    }

    /// Starts a gateway on `database` with the text of a configuration file and further arguments.
    pub fn start_with(database: &str, configuration: &str, arguments: &[&str]) -> Self {
        Self::start_in(&[("DARKSERVER_DATABASE", database)], configuration, arguments)
    }

    /// Starts a gateway in an environment with these variables, with the text of a configuration file and further
    /// arguments.
    pub fn start_in(environment: &[(&str, &str)], configuration: &str, arguments: &[&str]) -> Self {
        Self::start_on(free_port(), environment, configuration, arguments)
    }

    /// As [`RunningGateway::start_in`], on a given port.
    pub fn start_on(port: u16, environment: &[(&str, &str)], configuration: &str, arguments: &[&str]) -> Self {
        Self::launch(port, &[], environment, configuration, arguments)
    }

    /// As [`RunningGateway::start_in`], by a command that ends in `exec "$@"`. `{cache}` in it stands for the cache
    /// directory, `{port}` for the port.
    pub fn start_through(
        through: &[&str],
        environment: &[(&str, &str)],
        configuration: &str,
        arguments: &[&str],
    ) -> Self {
        Self::launch(free_port(), through, environment, configuration, arguments)
    }

    fn launch(
        port: u16,
        through: &[&str],
        environment: &[(&str, &str)],
        configuration: &str,
        arguments: &[&str],
    ) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        std::fs::write(directory.path().join("gateway.toml"), configuration).expect("write a configuration");
        let environment: Vec<(String, String)> =
            environment.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
        let arguments: Vec<String> = arguments.iter().map(|argument| argument.to_string()).collect();
        let cache = directory.path().join("cache");
        let cache = cache.to_str().expect("a UTF-8 path");
        let through: Vec<String> =
            through.iter().map(|word| word.replace("{cache}", cache).replace("{port}", &port.to_string())).collect();
        let process = launch(&directory, port, &through, &environment, &arguments);
        Self { process, port, directory, through, environment, arguments }
    }

    /// Kills it (SIGKILL), and starts it again on the same port with the same cache directory.
    pub fn restart(&mut self) {
        self.process.kill();
        self.process = launch(&self.directory, self.port, &self.through, &self.environment, &self.arguments);
    }

    /// `http://127.0.0.1:PORT`
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Its directory of extracted files.
    pub fn cache(&self) -> PathBuf {
        self.directory.path().join("cache").join("files")
    }

    /// Waits until every complete file is synced to the cache directory: clients get it before that.
    ///
    /// # Panics
    /// After 20 seconds.
    pub fn wait_until_synced(&self) {
        wait_until("whole files on the disk", || self.metric("gateway_cache_unsynced_files") == 0.0);
    }

    /// A GET request.
    ///
    /// # Panics
    /// If the connection breaks; [`http::get`] returns the error instead.
    pub fn get(&self, path: &str) -> http::Response {
        http::get(self.port, path).unwrap_or_else(|error| panic!("GET {path}: {error}"))
    }

    /// Expects that the connection of a request is reset: the answer is unavailable.
    ///
    /// # Panics
    /// If it ends in an orderly way, or with a status.
    #[track_caller]
    pub fn expect_reset(&self, path: &str) {
        match http::get(self.port, path) {
            Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
            Err(error) => panic!("GET {path}: expected a reset, found {error}"),
            Ok(answer) => {
                panic!("GET {path}: expected a reset, found {} with {} bytes", answer.status, answer.body.len())
            }
        }
    }

    /// The value of a metric with exactly these labels as written, 0 if it is not there.
    pub fn metric(&self, line: &str) -> f64 {
        let text = self.get("/metrics").text();
        let value = text.lines().find_map(|row| row.strip_prefix(line)?.strip_prefix(' '));
        value.map_or(0.0, |value| value.parse().expect("a number"))
    }

    /// Its log so far.
    pub fn log(&self) -> String {
        self.process.output()
    }

    /// The process.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }
}

fn launch(
    directory: &TempDir,
    port: u16,
    through: &[String],
    environment: &[(String, String)],
    arguments: &[String],
) -> Process {
    let mut command = match through.split_first() {
        None => bare(Command::new(program("darkserver"))),
        Some((first, rest)) => {
            let mut command = bare(Command::new(first));
            command.args(rest).arg(program("darkserver"));
            command
        }
    };
    command
        .env("RUST_LOG", "info,gateway=debug")
        .envs(environment.iter().map(|(name, value)| (name, value)))
        .arg("--listen")
        .arg(format!("127.0.0.1:{port}"))
        .arg("--cache-dir")
        .arg(directory.path().join("cache"))
        .arg("--config")
        .arg(directory.path().join("gateway.toml"))
        .args(arguments);
    let mut process = Process::start(&mut command, &directory.path().join("log"));
    process.wait_until("the gateway", || http::get(port, "/healthz").is_ok_and(|answer| answer.status == 200));
    process
}

/// A SQLite index in a directory of its own.
pub struct Sqlite {
    directory: TempDir,
}

impl Sqlite {
    /// A database file that does not exist yet.
    pub fn empty() -> Self {
        Self { directory: tempfile::tempdir().expect("a temporary directory") }
    }

    /// An index of the packages in these directories.
    pub fn with_packages(directories: &[&Path]) -> Self {
        let sqlite = Self::empty();
        import_ok(&sqlite.url(), &["migrate"]);
        for directory in directories {
            import_ok(&sqlite.url(), &["dir", directory.to_str().expect("a UTF-8 path")]);
        }
        sqlite
    }

    /// Imports `directory` as the store `name`. Gateways read its archives from `url` alone.
    pub fn add_store(&self, name: &str, tier: &str, directory: &Path, url: &str) {
        let directory = directory.to_str().expect("a UTF-8 path");
        import_ok(&self.url(), &["dir", directory, "--store", name, "--url", url]);
        import_ok(&self.url(), &["store", "add", name, "--tier", tier, "--url", url, "--path", ""]);
    }

    /// `sqlite:PATH`
    pub fn url(&self) -> String {
        format!("sqlite:{}", self.path().display())
    }

    /// The file.
    pub fn path(&self) -> PathBuf {
        self.directory.path().join("darkserver.db")
    }
}
