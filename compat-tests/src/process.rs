//! Processes that end with their test.

use std::fs::File;
use std::hash::{BuildHasher, RandomState};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// Maximum time until a server accepts its first connection.
pub const START_WITHIN: Duration = Duration::from_secs(30);

/// A running process; dropping it ends it by its id and waits for it.
pub struct Process {
    child: Child,
    /// The file of its output, which a failed test prints.
    log: PathBuf,
}

impl Process {
    /// Starts `command` with its output in the file `log`.
    pub fn start(command: &mut Command, log: &Path) -> Self {
        let out = File::options().create(true).append(true).open(log).expect("open a log file");
        let err = out.try_clone().expect("clone a descriptor");
        let child = command.stdin(Stdio::null()).stdout(out).stderr(err).spawn();
        let child = child.unwrap_or_else(|error| panic!("start {command:?}: {error}"));
        Self { child, log: log.to_owned() }
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The file of its output.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// Its output so far.
    pub fn output(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// Waits until `ready` returns true.
    ///
    /// # Panics
    /// If the process ends, or after [`START_WITHIN`]; both with its output.
    pub fn wait_until(&mut self, what: &str, mut ready: impl FnMut() -> bool) {
        let started = Instant::now();
        while !ready() {
            if let Some(status) = self.child.try_wait().expect("ask for a child's state") {
                panic!("{what}: the process ended with {status}:\n{}", self.output());
            }
            assert!(started.elapsed() < START_WITHIN, "{what}: not within {START_WITHIN:?}:\n{}", self.output());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits until something listens on the port of this machine.
    pub fn wait_for_port(&mut self, port: u16) {
        self.wait_until(&format!("listen on port {port}"), || TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok());
    }

    /// Sends a signal.
    pub fn signal(&self, signal: rustix::process::Signal) {
        let id = i32::try_from(self.child.id()).ok().and_then(rustix::process::Pid::from_raw).expect("a process id");
        rustix::process::kill_process(id, signal).expect("send a signal");
    }

    /// Waits until it ends.
    pub fn wait(&mut self) -> std::process::ExitStatus {
        self.child.wait().expect("wait for a child")
    }

    /// Waits until it ends, for at most `limit`.
    ///
    /// # Panics
    /// If it does not end in time, with its output.
    pub fn wait_within(&mut self, limit: Duration) -> std::process::ExitStatus {
        let started = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("ask for a child's state") {
                return status;
            }
            assert!(started.elapsed() < limit, "expected an end within {limit:?}, found none:\n{}", self.output());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Ends it by SIGKILL.
    pub fn kill(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprintln!("--- {} ---\n{}", self.log.display(), self.output());
        }
    }
}

/// An unused port of this machine, followed by another unused one. Both are below the ports of outgoing connections
/// (32768 and more on Linux), one of which could take them before a server binds them.
pub fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    // Test programs run at the same time: each starts at another port.
    let begin = RandomState::new().hash_one(std::process::id()) as u32;
    let is_free = |port: u16| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok();
    let _ = NEXT.compare_exchange(0, begin | 1, Ordering::Relaxed, Ordering::Relaxed);
    (0..1000)
        .map(|_| 10_000 + (NEXT.fetch_add(2, Ordering::Relaxed) % 22_000) as u16)
        .find(|port| is_free(*port) && is_free(*port + 1))
        .expect("a free port")
}

/// Runs a program to its end. Returns its exit status and output.
///
/// # Panics
/// If the program is missing, with the package to install.
pub fn run(command: &mut Command, package: &str) -> std::process::Output {
    command.output().unwrap_or_else(|error| panic!("run {command:?} (install {package}): {error}"))
}
