//! What a process used: of one that ran to its end, and of one that goes on.

use std::fs;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};
use wait4::Wait4;

/// What a whole process used.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cost {
    pub(crate) seconds: f64,
    /// User and system.
    pub(crate) cpu_seconds: f64,
    /// Resident.
    pub(crate) peak_bytes: f64,
    /// By read system calls, from disk or memory.
    pub(crate) read_bytes: f64,
}

impl Cost {
    /// Runs a command to its end, which must be a success; with its standard output.
    pub(crate) fn of(command: &mut Command) -> Result<(Self, String)> {
        let output = tempfile::tempfile()?;
        let started = Instant::now();
        let child = command
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(Stdio::null())
            .spawn()
            .with_context(|| format!("start {command:?}"))?;
        let pid = child.id();
        let is_over = AtomicBool::new(false);
        let (peak_bytes, seconds) = thread::scope(|scope| -> Result<_> {
            let peak = scope.spawn(|| watch_peak(pid, &is_over));
            // Still a zombie then, whose account can be read.
            let waited = waitid(WaitId::Pid(Pid::from_child(&child)), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT);
            let seconds = started.elapsed().as_secs_f64();
            is_over.store(true, Ordering::Relaxed);
            waited?;
            Ok((peak.join().unwrap_or(f64::NAN), seconds))
        })?;
        let read_bytes = read_bytes(pid);
        let used = { child }.wait4()?;
        ensure!(used.status.success(), "{command:?}: expected success, found {}", used.status);
        let cpu_seconds = (used.rusage.utime + used.rusage.stime).as_secs_f64();
        let said = std::io::read_to_string(std::io::Seek::rewind(&mut &output).map(|()| &output)?)?;
        Ok((Self { seconds, cpu_seconds, peak_bytes, read_bytes }, said))
    }
}

/// The highest resident size, looked at every few milliseconds: what wait4(2) tells begins with that of the process
/// which forked.
fn watch_peak(pid: u32, is_over: &AtomicBool) -> f64 {
    let mut peak: f64 = 0.0;
    while !is_over.load(Ordering::Relaxed) {
        peak = peak.max(peak_bytes(pid).unwrap_or(0.0));
        thread::sleep(Duration::from_millis(2));
    }
    peak
}

fn peak_bytes(pid: u32) -> Option<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let kilobytes =
        status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.parse::<f64>().ok());
    kilobytes.map(|kilobytes| kilobytes * 1024.0)
}

fn read_bytes(pid: u32) -> f64 {
    let account = fs::read_to_string(format!("/proc/{pid}/io")).unwrap_or_default();
    account.lines().find_map(|line| line.strip_prefix("rchar: ")?.trim().parse().ok()).unwrap_or(f64::NAN)
}

/// What a running process used so far.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Usage {
    pub(crate) cpu_seconds: f64,
    pub(crate) peak_bytes: f64,
    pub(crate) read_bytes: f64,
}

impl Usage {
    pub(crate) fn of(pid: u32) -> Result<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        // The name in parentheses may hold blanks; fields are counted behind it (proc(5)): utime is 14, stime 15.
        let Some((_, fields)) = stat.rsplit_once(')') else {
            bail!("/proc/{pid}/stat: expected a name in parentheses")
        };
        let fields: Vec<&str> = fields.split_whitespace().collect();
        let ticks = |at: usize| fields.get(at - 3).and_then(|field| field.parse::<f64>().ok()).unwrap_or(f64::NAN);
        let cpu_seconds = (ticks(14) + ticks(15)) / rustix::param::clock_ticks_per_second() as f64;
        Ok(Self { cpu_seconds, peak_bytes: peak_bytes(pid).unwrap_or(f64::NAN), read_bytes: read_bytes(pid) })
    }
}
