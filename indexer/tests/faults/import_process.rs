//! A run of the program that cannot hang: a test would wait for it for ever.

use std::fs;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::support::{Said, program, said};

/// No run of these tests takes this long on any machine, unless it hangs.
const HANGS: Duration = Duration::from_secs(240);

/// The program on an index.
pub(crate) fn command(database: &str, args: &[&str]) -> Command {
    let mut command = program();
    command.env("DARKSERVER_DATABASE", database).args(args);
    command
}

/// Runs the program with `--json` to its end.
pub(crate) fn run(database: &str, args: &[&str]) -> Said {
    Running::start(command(database, args)).finish()
}

/// As [`run`], and it must succeed.
pub(crate) fn run_ok(database: &str, args: &[&str]) -> Said {
    let said = run(database, args);
    assert_eq!(said.code, Some(0), "{args:?}: {said:?}");
    said
}

/// Runs the program, which must succeed, and says how much it read and wrote: the length of a run in terms of
/// [`Running::progress`].
pub(crate) fn length(database: &str, args: &[&str]) -> u64 {
    let (mut running, mut length) = (Running::start(command(database, args)), 0);
    while let Some(progress) = running.progress() {
        length = progress;
        thread::sleep(Duration::from_micros(300));
    }
    let said = running.finish();
    assert_eq!(said.code, Some(0), "{args:?}: {said:?}");
    length
}

/// A run that goes on beside the test; dropped, it is killed.
pub(crate) struct Running {
    child: Option<Child>,
    started: Instant,
}

impl Running {
    /// Starts it with `--json`.
    pub(crate) fn start(mut command: Command) -> Self {
        let child = command.arg("--json").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        Self { child: Some(child.unwrap()), started: Instant::now() }
    }

    /// Its exit code when it is done.
    pub(crate) fn is_done(&mut self) -> Option<ExitStatus> {
        self.child.as_mut().unwrap().try_wait().unwrap()
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.as_ref().unwrap().id()
    }

    /// How many bytes it has read and written so far: how far it is, however busy the machine is. `None` when it is
    /// done.
    pub(crate) fn progress(&mut self) -> Option<u64> {
        if self.is_done().is_some() {
            return None;
        }
        // Of a process that ended in this moment it cannot be read.
        let state = fs::read_to_string(format!("/proc/{}/io", self.id())).ok()?;
        let bytes = |name: &str| state.lines().find_map(|line| line.strip_prefix(name)?.parse::<u64>().ok());
        Some(bytes("rchar: ")? + bytes("wchar: ")?)
    }

    /// Holds it until [`Running::go_on`], wherever it is.
    pub(crate) fn hold(&self) {
        self.signal(Signal::STOP);
        let state = format!("/proc/{}/stat", self.id());
        while !fs::read_to_string(&state).unwrap().rsplit(')').next().unwrap().starts_with(" T") {
            thread::sleep(Duration::from_micros(200));
        }
    }

    /// Lets it go on.
    pub(crate) fn go_on(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(self.child.as_ref().unwrap()), signal).unwrap();
    }

    /// Ends it at once; what was said until then.
    pub(crate) fn kill(mut self) -> Said {
        let mut child = self.child.take().unwrap();
        child.kill().unwrap();
        said(&child.wait_with_output().unwrap())
    }

    /// Waits for its end. Its output is short enough for a pipe.
    pub(crate) fn finish(mut self) -> Said {
        while self.is_done().is_none() {
            if self.started.elapsed() > HANGS {
                panic!("hangs: {:?}", self.kill());
            }
            thread::sleep(Duration::from_millis(2));
        }
        said(&self.child.take().unwrap().wait_with_output().unwrap())
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
