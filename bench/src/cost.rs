//! What a process used: of one that ran to its end, and of one that goes on.

use std::fs;
use std::process::{Command, Stdio};
use std::time::Instant;

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
        // Still a zombie then, whose account can be read.
        waitid(WaitId::Pid(Pid::from_child(&child)), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT)?;
        let seconds = started.elapsed().as_secs_f64();
        let read_bytes = read_bytes(child.id());
        let used = child.wait4()?;
        let said = std::io::read_to_string(std::io::Seek::rewind(&mut &output).map(|()| &output)?)?;
        ensure!(used.status.success(), "{command:?}: expected success, found {}", used.status);
        let cpu_seconds = (used.rusage.utime + used.rusage.stime).as_secs_f64();
        Ok((Self { seconds, cpu_seconds, peak_bytes: used.rusage.maxrss as f64, read_bytes }, said))
    }
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
        let Some((_, fields)) = stat.rsplit_once(')') else { bail!("/proc/{pid}/stat: expected a name in parentheses") };
        let fields: Vec<&str> = fields.split_whitespace().collect();
        let ticks = |at: usize| fields.get(at - 3).and_then(|field| field.parse::<f64>().ok()).unwrap_or(f64::NAN);
        let cpu_seconds = (ticks(14) + ticks(15)) / rustix::param::clock_ticks_per_second() as f64;
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        let peak_kilobytes =
            status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.parse().ok());
        Ok(Self { cpu_seconds, peak_bytes: peak_kilobytes.unwrap_or(f64::NAN) * 1024.0, read_bytes: read_bytes(pid) })
    }
}
