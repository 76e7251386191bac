//! Runs of the program beside a test, which kills them if they hang.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use compat_tests::wait_until;
use rustix::process::{Pid, Signal, kill_process};

use crate::support::{RunOutput, program, run_output};

/// `--wait 3` of the imports that fail. Each try is aborted after this time, and no try starts later than that: an
/// import ends within twice the time.
pub(crate) const RETRY_TIMEOUT: Duration = Duration::from_secs(3);
/// Time within which the program makes its first connection or fails.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Time within which the program starts and exits.
pub(crate) const EXIT_TIMEOUT: Duration = Duration::from_secs(3);
/// A run that takes longer hangs.
const MAX_DURATION: Duration = Duration::from_secs(240);

/// Returns a command that runs the program on an index.
pub(crate) fn command(database: &str, args: &[&str]) -> Command {
    let mut command = program();
    command.env("DARKSERVER_DATABASE", database).args(args);
    command
}

/// Runs the program with `--json` to its end.
pub(crate) fn run(database: &str, args: &[&str]) -> RunOutput {
    Running::start(command(database, args)).finish()
}

/// As [`run`], and it must succeed.
pub(crate) fn run_ok(database: &str, args: &[&str]) -> RunOutput {
    let output = run(database, args);
    assert_eq!(output.code, Some(0), "{args:?}: {output:?}");
    output
}

/// Runs the program, which must succeed, and returns the bytes that it read and wrote, as [`Running::progress`] counts
/// them.
pub(crate) fn length(database: &str, args: &[&str]) -> u64 {
    let (mut running, mut length) = (Running::start(command(database, args)), 0);
    while let Some(progress) = running.progress() {
        length = progress;
        thread::sleep(Duration::from_micros(300));
    }
    let output = running.finish();
    assert_eq!(output.code, Some(0), "{args:?}: {output:?}");
    length
}

/// A run of the program beside the test. It is killed when this is dropped.
pub(crate) struct Running {
    child: Option<Child>,
    stderr: Arc<Mutex<String>>,
    /// Reads standard error to its end.
    reader: Option<JoinHandle<()>>,
    started: Instant,
}

impl Running {
    /// Starts it with `--json`.
    pub(crate) fn start(mut command: Command) -> Self {
        command.arg("--json").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let stderr = Arc::new(Mutex::new(String::new()));
        let (mut lines, text) = (BufReader::new(child.stderr.take().unwrap()), stderr.clone());
        let reader = thread::spawn(move || {
            let mut line = Vec::new();
            while lines.read_until(b'\n', &mut line).is_ok_and(|bytes| bytes > 0) {
                text.lock().unwrap().push_str(&String::from_utf8_lossy(&line));
                line.clear();
            }
        });
        Self { child: Some(child), stderr, reader: Some(reader), started: Instant::now() }
    }

    /// Waits until the program has written a line with this text to standard error.
    pub(crate) fn wait_for_stderr(&self, text: &str) {
        wait_until(text, || self.stderr.lock().unwrap().contains(text));
    }

    /// Returns its exit status once it has ended.
    pub(crate) fn is_done(&mut self) -> Option<ExitStatus> {
        self.child.as_mut().unwrap().try_wait().unwrap()
    }

    /// Returns its process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.as_ref().unwrap().id()
    }

    /// Returns the bytes that it has read and written so far, a measure that does not depend on the speed of the
    /// machine. `None` once it has ended.
    pub(crate) fn progress(&mut self) -> Option<u64> {
        if self.is_done().is_some() {
            return None;
        }
        // The file cannot be read if the process has just ended.
        let state = fs::read_to_string(format!("/proc/{}/io", self.id())).ok()?;
        let bytes = |name: &str| state.lines().find_map(|line| line.strip_prefix(name)?.parse::<u64>().ok());
        Some(bytes("rchar: ")? + bytes("wchar: ")?)
    }

    /// Stops it until [`Running::resume`].
    pub(crate) fn pause(&self) {
        self.signal(Signal::STOP);
        let state = format!("/proc/{}/stat", self.id());
        let is_stopped = || fs::read_to_string(&state).unwrap().rsplit(')').next().unwrap().starts_with(" T");
        wait_until("the import stops", is_stopped);
    }

    /// Resumes it.
    pub(crate) fn resume(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(self.child.as_ref().unwrap()), signal).unwrap();
    }

    /// Kills it, and returns its output so far.
    pub(crate) fn kill(mut self) -> RunOutput {
        self.child.as_mut().unwrap().kill().unwrap();
        self.output()
    }

    /// Waits for its end. Its standard output is short enough for a pipe.
    pub(crate) fn finish(mut self) -> RunOutput {
        while self.is_done().is_none() {
            if self.started.elapsed() > MAX_DURATION {
                panic!("hangs: {:?}", self.kill());
            }
            thread::sleep(Duration::from_millis(2));
        }
        self.output()
    }

    fn output(&mut self) -> RunOutput {
        let mut output = self.child.take().unwrap().wait_with_output().unwrap();
        self.reader.take().unwrap().join().unwrap();
        output.stderr = self.stderr.lock().unwrap().clone().into_bytes();
        run_output(&output)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            // It may have ended.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
