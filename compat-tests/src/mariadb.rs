//! A real MariaDB server for a test, in a directory of its own.

use std::fmt::Write as _;
use std::fs::File;
use std::io::Write as _;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, geteuid, kill_process};
use tempfile::TempDir;

use crate::certificates::Certificates;
use crate::darkserver::import_ok;
use crate::fixtures;

const USER: &str = "darkserver";
/// Has special characters, which URLs escape.
const PASSWORD: &str = "p@ss/w%rd";

/// A MariaDB server with its own data, port and socket. Dropping it ends the server and removes its data.
#[derive(Debug)]
pub struct MariaDb {
    server: Option<Child>,
    port: u16,
    directory: TempDir,
    /// More options of the server.
    options: Vec<String>,
    /// A directory of programs that the server starts.
    programs: Option<PathBuf>,
}

impl MariaDb {
    /// Makes an empty server and waits until it answers.
    ///
    /// # Panics
    /// If MariaDB is not installed or does not start: a test that cannot run has failed.
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// The same with more options, as `--innodb-data-file-path=ibdata1:12M:autoextend:max:16M`.
    ///
    /// # Panics
    /// As [`MariaDb::start`].
    pub fn start_with(options: &[&str]) -> Self {
        let directory = empty_directory();
        let mut install = Command::new(find("mariadb-install-db"));
        install.args([
            "--no-defaults",
            "--auth-root-authentication-method=normal",
            "--skip-test-db",
            "--skip-name-resolve",
        ]);
        install.args(["--innodb-log-file-size=8M", "--innodb-buffer-pool-size=32M"]);
        install.arg(format!("--datadir={}", directory.path().join("data").display()));
        // A server that starts removes temporary tables from its directory, also another's.
        install.arg(format!("--tmpdir={}", directory.path().display()));
        if geteuid().is_root() {
            install.arg(format!("--user={}", unprivileged_user()));
        }
        run(&mut install);
        let mut started = Self { server: None, port: 0, directory, options: Vec::new(), programs: None };
        started.set_options(options);
        // Another process may take the port between its choice and the server's start.
        for _ in 0..5 {
            started.port = free_port();
            if started.launch() {
                started.sql(&format!(
                    "create user '{USER}'@'%' identified by '{PASSWORD}'; grant all on *.* to '{USER}'@'%'"
                ));
                return started;
            }
        }
        panic!("mariadbd did not start:\n{}", started.log());
    }

    /// Starts a server with TLS, which sqlx uses if it is offered. MySQL offers it by default, MariaDB since 11.4.
    ///
    /// # Panics
    /// As [`MariaDb::start`].
    pub fn start_with_tls() -> Self {
        let (mut server, certificates) = (Self::start(), Certificates::make());
        let [certificate, key] = [certificates.certificate(), certificates.key()].map(|file| {
            let own = server.directory.path().join(file.file_name().unwrap_or_default());
            let mut install = Command::new("install");
            install.arg("--mode=600").args([&file, &own]);
            if geteuid().is_root() {
                install.arg(format!("--owner={}", unprivileged_user()));
            }
            run(&mut install);
            own.display().to_string()
        });
        server.set_options(&[&format!("--ssl-cert={certificate}"), &format!("--ssl-key={key}")]);
        server.restart();
        server
    }

    /// A server with a copy of the data of one that does not run, not started yet.
    ///
    /// # Panics
    /// If the data cannot be copied.
    pub(crate) fn copy_of(stopped: &Self) -> Self {
        let directory = empty_directory();
        run(Command::new("cp").arg("-a").args([stopped.data(), directory.path().join("data")]));
        Self { server: None, port: free_port(), directory, options: Vec::new(), programs: None }
    }

    /// A server with the database `darkserver`, into which a family of fixtures was imported.
    ///
    /// # Panics
    /// As [`MariaDb::start`], or if the import fails.
    pub fn with_family(family: &str) -> Self {
        let server = Self::start();
        server.create_database("darkserver");
        let url = server.url("darkserver");
        import_ok(&url, &["migrate"]);
        import_ok(&url, &["dir", fixtures::family(family).to_str().expect("a path in UTF-8")]);
        server
    }

    /// Its directory of data.
    pub(crate) fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    /// Puts this directory first in the server's PATH.
    pub(crate) fn set_programs(&mut self, directory: &Path) {
        self.programs = Some(directory.to_owned());
    }

    /// The server that the tests of one process share. It ends when the last of them drops it.
    ///
    /// # Panics
    /// As [`MariaDb::start`].
    pub fn shared() -> Arc<Self> {
        static SHARED: Mutex<Weak<MariaDb>> = Mutex::new(Weak::new());
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        shared.upgrade().unwrap_or_else(|| {
            let server = Arc::new(Self::start());
            *shared = Arc::downgrade(&server);
            server
        })
    }

    /// The URL of a database, for a user with all rights.
    pub fn url(&self, database: &str) -> String {
        self.url_of(USER, PASSWORD, database)
    }

    /// The URL of a database for a user made by [`MariaDb::create_user`].
    pub fn url_of(&self, user: &str, password: &str, database: &str) -> String {
        let mut escaped = String::new();
        for byte in password.bytes() {
            // Writing to a String cannot fail.
            let _ = write!(escaped, "%{byte:02X}");
        }
        format!("mysql://{user}:{escaped}@127.0.0.1:{}/{database}", self.port)
    }

    /// The port on 127.0.0.1; it stays the same over [`MariaDb::restart`].
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The unix socket.
    pub fn socket(&self) -> PathBuf {
        self.directory.path().join("socket")
    }

    /// Makes an empty database.
    ///
    /// # Panics
    /// If the server refuses.
    pub fn create_database(&self, name: &str) {
        self.sql(&format!("create database `{name}`"));
    }

    /// Makes a user: `create_user("reader", "secret", "select on index1.*")`.
    ///
    /// # Panics
    /// If the server refuses.
    pub fn create_user(&self, name: &str, password: &str, grants: &str) {
        self.sql(&format!("create user '{name}'@'%' identified by '{password}'; grant {grants} to '{name}'@'%'"));
    }

    /// Runs the real client as the server's root, with more arguments (later ones win) and an input.
    ///
    /// # Panics
    /// If it cannot be run. Its messages and exit status are in the result.
    pub fn client(&self, arguments: &[&str], input: &str) -> Output {
        let mut client = Command::new(find("mariadb"))
            .args(["--no-defaults", "--user=root", "--default-character-set=utf8mb4"])
            .arg(format!("--socket={}", self.socket().display()))
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("the client mariadb: {error}"));
        let mut stdin = client.stdin.take();
        let output = thread::scope(|scope| {
            scope.spawn(move || {
                // A client that stops at an error closes its input early: its exit status tells.
                let _ = stdin.take().map(|mut stdin| stdin.write_all(input.as_bytes()));
            });
            client.wait_with_output()
        });
        output.unwrap_or_else(|error| panic!("the client mariadb: {error}"))
    }

    /// Runs statements as the server's root; the result has one line per row, values separated by tabs.
    ///
    /// # Panics
    /// If a statement fails.
    pub fn sql(&self, statements: &str) -> String {
        let output = self.client(&["--batch", "--skip-column-names"], statements);
        assert!(output.status.success(), "{statements}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// The SQL that the real `mariadb-dump`, as the server's root, writes for a database, with more arguments. It is
    /// text: bytes are written in hex.
    ///
    /// # Panics
    /// If it fails.
    pub fn dump(&self, database: &str, arguments: &[&str]) -> String {
        let mut dump = Command::new(find("mariadb-dump"));
        dump.args([
            "--no-defaults",
            "--user=root",
            "--single-transaction",
            "--hex-blob",
            "--default-character-set=utf8mb4",
        ]);
        dump.arg(format!("--socket={}", self.socket().display())).args(arguments).arg(database);
        let output = dump.output().unwrap_or_else(|error| panic!("{dump:?}: {error}"));
        assert!(output.status.success(), "{dump:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Ends the server by SIGKILL.
    pub fn kill(&mut self) {
        if let Some(mut server) = self.server.take() {
            // An error means that it has ended by itself.
            let _ = server.kill();
            let _ = server.wait();
        }
    }

    /// Ends the server by SIGTERM and waits for it.
    ///
    /// # Panics
    /// If it cannot be told to end.
    pub fn stop(&mut self) {
        if let Some(mut server) = self.server.take() {
            kill_process(Pid::from_child(&server), Signal::TERM)
                .unwrap_or_else(|error| panic!("stopping mariadbd: {error}"));
            let _ = server.wait();
        }
    }

    /// Stops the server by SIGSTOP: connections stay open and get no answer.
    ///
    /// # Panics
    /// If it does not run.
    pub fn pause(&self) {
        self.signal(Signal::STOP);
        // Waits until each thread has received the signal (proc(5): the state follows the name).
        let threads = format!("/proc/{}/task", self.server.as_ref().map_or(0, Child::id));
        let runs = |thread: std::fs::DirEntry| {
            let stat = std::fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
            !stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('T'))
        };
        let deadline = Instant::now() + Duration::from_secs(10);
        while std::fs::read_dir(&threads).into_iter().flatten().flatten().any(runs) {
            assert!(Instant::now() < deadline, "mariadbd does not stop");
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// Continues a paused server.
    ///
    /// # Panics
    /// As [`MariaDb::pause`].
    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        let server = self.server.as_ref().unwrap_or_else(|| panic!("mariadbd does not run"));
        kill_process(Pid::from_child(server), signal)
            .unwrap_or_else(|error| panic!("signal {signal:?} to mariadbd: {error}"));
    }

    /// Starts the server again, on the same port with the same data; ends it first if it runs.
    ///
    /// # Panics
    /// If it does not start.
    pub fn restart(&mut self) {
        self.stop();
        // A connection of another process may have its port for a moment.
        let started = (0..5).any(|tries| {
            thread::sleep(Duration::from_secs(tries));
            self.launch()
        });
        assert!(started, "mariadbd did not start again:\n{}", self.log());
    }

    /// Other options from the next [`MariaDb::restart`] on.
    pub fn set_options(&mut self, options: &[&str]) {
        self.options = options.iter().map(|option| option.to_string()).collect();
    }

    /// Starts the server and waits until it answers. `false` if it ended instead.
    fn launch(&mut self) -> bool {
        let directory = self.directory.path();
        let log =
            |name: &str| File::create(directory.join(name)).unwrap_or_else(|error| panic!("log of mariadbd: {error}"));
        let mut server = Command::new(find("mariadbd"));
        server.args(["--no-defaults", "--bind-address=127.0.0.1", "--skip-name-resolve", "--performance-schema=off"]);
        server.args([
            "--innodb-log-file-size=8M",
            "--innodb-buffer-pool-size=64M",
            "--innodb-flush-log-at-trx-commit=2",
        ]);
        server.arg(format!("--datadir={}", directory.join("data").display()));
        server.arg(format!("--tmpdir={}", directory.display()));
        server.arg(format!("--socket={}", self.socket().display()));
        server.arg(format!("--pid-file={}", directory.join("pid").display()));
        server.arg(format!("--port={}", self.port));
        if geteuid().is_root() {
            server.arg(format!("--user={}", unprivileged_user()));
        }
        server.args(&self.options);
        if let Some(programs) = &self.programs {
            let path = std::env::var_os("PATH").unwrap_or_default();
            let directories = std::iter::once(programs.clone()).chain(std::env::split_paths(&path));
            server.env("PATH", std::env::join_paths(directories).unwrap_or(path.clone()));
        }
        server.stdin(Stdio::null()).stdout(log("stdout")).stderr(log("stderr"));
        self.server = Some(server.spawn().unwrap_or_else(|error| panic!("mariadbd: {error}")));
        let deadline = Instant::now() + Duration::from_secs(60);
        while Instant::now() < deadline {
            if self.client(&["--connect-timeout=2"], "select 1").status.success() {
                return true;
            }
            if self.server.as_mut().is_some_and(|server| !matches!(server.try_wait(), Ok(None))) {
                self.server = None;
                return false;
            }
            thread::sleep(Duration::from_millis(50));
        }
        panic!("mariadbd does not answer after 60 s:\n{}", self.log());
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("stderr")).unwrap_or_default()
    }
}

impl Drop for MariaDb {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A directory that the server may write to.
fn empty_directory() -> TempDir {
    let directory = tempfile::tempdir().unwrap_or_else(|error| panic!("a directory for MariaDB: {error}"));
    if geteuid().is_root() {
        // mariadbd refuses to run as root.
        run(Command::new("chown").arg(format!("{}:", unprivileged_user())).arg(directory.path()));
    }
    directory
}

/// The user of the server if the tests run as root. Most packages of the server make the user `mysql`.
fn unprivileged_user() -> &'static str {
    let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    if users.lines().any(|line| line.starts_with("mysql:")) { "mysql" } else { "nobody" }
}

/// Finds a program in PATH or where distributions keep servers.
fn find(program: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/usr/libexec", "/usr/local/sbin", "/usr/local/bin"].map(PathBuf::from))
        .map(|directory| directory.join(program))
        .find(|file| Path::is_file(file))
        .unwrap_or_else(|| {
            panic!(
                "expected {program}, found none: install MariaDB's server and client \
                 (Debian: mariadb-server, Fedora: mariadb-server mariadb)"
            )
        })
}

fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0))
        .and_then(|listener| listener.local_addr())
        .unwrap_or_else(|error| panic!("a free port: {error}"))
        .port()
}

fn run(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(
        output.status.success(),
        "{command:?}: {}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}
