//! A restart and an upgrade, as docs/operations.md describes them, lose no request: the sockets stay open meanwhile.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use compat_tests::darkserver::{Sqlite, import_ok};
use compat_tests::programs::program;
use compat_tests::{fixtures, wait_until};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::nginx::Nginx;
use super::{block, document, server};

/// The part of systemd: it holds the socket, starts the gateway on it and ends it.
struct Manager {
    socket: UnixListener,
    directory: TempDir,
    database: String,
    gateway: Option<Child>,
}

impl Manager {
    fn start(sqlite: &Sqlite) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let socket = UnixListener::bind(directory.path().join("gateway.sock")).unwrap();
        // As many connections may wait as in darkserver.socket: the second call of listen(2) changes the backlog.
        rustix::net::listen(&socket, 4096).unwrap();
        let mut manager = Self { socket, directory, database: sqlite.url(), gateway: None };
        manager.start_gateway();
        manager
    }

    fn socket(&self) -> PathBuf {
        self.directory.path().join("gateway.sock")
    }

    fn start_gateway(&mut self) {
        // The process of the shell becomes that of the gateway: its id is the one that is meant.
        let script = "exec 3<&0 < /dev/null; LISTEN_PID=$$ LISTEN_FDS=1 exec \"$@\"";
        let log = std::fs::File::options().create(true).append(true).open(self.directory.path().join("log")).unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", script, "sh"]).arg(program("darkserver"));
        command.arg("--cache-dir").arg(self.directory.path().join("cache"));
        command.env("DARKSERVER_DATABASE", &self.database).env("DARKSERVER_ETC", self.directory.path());
        command.stdin(OwnedFd::from(self.socket.try_clone().unwrap())).stderr(log);
        self.gateway = Some(command.spawn().unwrap());
    }

    /// `systemctl restart`: a new gateway starts when the one before has ended.
    fn restart(&mut self) {
        let mut gateway = self.gateway.take().unwrap();
        kill_process(Pid::from_child(&gateway), Signal::TERM).unwrap();
        assert!(gateway.wait().unwrap().success(), "{}", self.log());
        self.start_gateway();
    }

    /// Starts a new gateway while the one before still answers requests. The new one waits for its cache directory.
    fn replace(&mut self) {
        let mut predecessor = self.gateway.take().unwrap();
        self.start_gateway();
        kill_process(Pid::from_child(&predecessor), Signal::TERM).unwrap();
        assert!(predecessor.wait().unwrap().success(), "{}", self.log());
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("log")).unwrap()
    }
}

impl Drop for Manager {
    fn drop(&mut self) {
        if let Some(mut gateway) = self.gateway.take() {
            let _ = gateway.kill();
            let _ = gateway.wait();
        }
        if std::thread::panicking() {
            eprintln!("{}", self.log());
        }
    }
}

/// Clients that ask through nginx without a pause while `operation` runs. Every answer has to be the whole file.
fn under_load(nginx: &Nginx, mut operation: impl FnMut(&dyn Fn() -> usize)) {
    let (path, bytes) = server();
    // Several requests on each connection to nginx, and files, absent files and metadata.
    let files = format!("{}{path}?[1-20]", nginx.url());
    let absent = format!("{}/buildid/[1000000001-1000000005]/debuginfo", nginx.url());
    let expected = format!("200 {}\n", bytes.len()).repeat(20) + &"404 10\n".repeat(5);
    let (stop, answers, wrong) = (AtomicBool::new(false), AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for version in ["--http1.1", "--http2", "--http1.1", "--http2"] {
            let (stop, answers, wrong) = (&stop, &answers, &wrong);
            let (files, absent, expected) = (&files, &absent, &expected);
            scope.spawn(move || {
                while !stop.load(Ordering::SeqCst) {
                    let format = "%{http_code} %{size_download}\n";
                    let found = nginx
                        .curl(format, &[&[version, files, absent], &["--output", "/dev/null"].repeat(2)[..]].concat());
                    if found != *expected {
                        wrong.lock().unwrap().push(found);
                    }
                    answers.fetch_add(25, Ordering::SeqCst);
                }
            });
        }
        operation(&|| answers.load(Ordering::SeqCst));
        stop.store(true, Ordering::SeqCst);
    });
    let wrong = wrong.into_inner().unwrap();
    assert!(wrong.is_empty(), "expected {expected}found {}", wrong.join("and "));
}

/// Waits until 200 more requests were answered.
fn more_answers(answers: &dyn Fn() -> usize) {
    let before = answers();
    wait_until("answers", || answers() >= before + 200);
}

/// Does the same to the gateway three times under load: each time another process answers, and no request is lost.
fn lose_no_request(operation: fn(&mut Manager)) {
    let sqlite = Sqlite::with_packages(&[&fixtures::family("server")]);
    let mut manager = Manager::start(&sqlite);
    let nginx = Nginx::before_gateway(&manager.socket());
    under_load(&nginx, |answers| {
        more_answers(answers);
        for _ in 0..3 {
            operation(&mut manager);
            more_answers(answers);
        }
    });
    assert_eq!(manager.log().matches("listening address=").count(), 4, "{}", manager.log());
}

#[test]
fn a_restart_loses_no_request() {
    lose_no_request(Manager::restart);
}

#[test]
fn an_upgrade_loses_no_request() {
    let sqlite = Sqlite::with_packages(&[&fixtures::family("server")]);
    let mut manager = Manager::start(&sqlite);
    let nginx = Nginx::before_gateway(&manager.socket());
    let sample = block(&document("docs/operations.md"), "sh", "install PREFIX=/usr/local\nsystemctl");
    // No import runs while the schema is migrated.
    let step = |text: &str| sample.find(text).unwrap_or_else(|| panic!("expected {text} in:\n{sample}"));
    assert!(step("systemctl stop darkserver-import") < step("migrate"));
    assert!(step("migrate") < step("systemctl start darkserver-import"));
    under_load(&nginx, |answers| {
        more_answers(answers);
        for line in sample.lines() {
            match line {
                // A program that runs keeps its file when another one takes its name.
                "make build" | "make install PREFIX=/usr/local" | "systemctl daemon-reload" => {}
                "systemctl stop darkserver-import.timer darkserver-import.service" => {}
                "systemctl start darkserver-import.timer" => {}
                "runuser -u darkserver -- env -C /var/lib/darkserver /usr/local/bin/darkserver-import migrate" => {
                    import_ok(&sqlite.url(), &["migrate"]);
                }
                "systemctl restart darkserver.service" => manager.restart(),
                other => panic!("expected a step of an upgrade, found {other}"),
            }
            more_answers(answers);
        }
    });
    assert_eq!(manager.log().matches("listening address=").count(), 2, "{}", manager.log());
}

#[test]
fn a_successor_that_starts_early_loses_no_request() {
    lose_no_request(Manager::replace);
}
