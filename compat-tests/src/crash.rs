//! The program of the family `server`, installed without its debuginfo, the core dump that it leaves, and GDB on both.

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::debuginfod::DebuginfodClient;
use crate::fixtures;
use crate::process::run;

/// A crashed program and its core dump, in a directory of their own.
pub struct Crash {
    directory: TempDir,
}

impl Crash {
    /// Installs `server-1.1-RELEASE` and runs it until it crashes.
    pub fn run_server(release: u32) -> Self {
        let crash = Self { directory: tempfile::tempdir().expect("a temporary directory") };
        fixtures::unpack(&fixtures::package("server", &format!("server-1.1-{release}.fc99.x86_64")), &crash.root());
        let script = "ulimit -c unlimited; exec \"$1\"";
        let mut command = Command::new("sh");
        command.args(["-c", script, "sh"]).arg(crash.program()).current_dir(crash.directory.path());
        let output = run(&mut command, "a POSIX shell");
        assert!(!output.status.success(), "expected server-1.1-{release} to crash, found {}", output.status);
        // /proc/sys/kernel/core_pattern names core files, or a program that gets the core instead (core(5)).
        let is_core = |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("core"));
        let files = std::fs::read_dir(crash.directory.path()).expect("a directory").map(|file| file.unwrap().path());
        match files.into_iter().find(is_core) {
            Some(core) => std::fs::rename(core, crash.core()).expect("rename a core"),
            None => crash.dump(),
        }
        crash
    }

    /// The program.
    pub fn program(&self) -> PathBuf {
        self.root().join("usr/bin/server")
    }

    /// The core dump.
    pub fn core(&self) -> PathBuf {
        self.directory.path().join("the-core")
    }

    /// Its directory.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// The modules of the core dump, as `eu-unstrip -n` lists them without a debuginfod server.
    pub fn modules(&self) -> String {
        let mut command = Command::new("eu-unstrip");
        command.env_remove("DEBUGINFOD_URLS").arg("-n").arg(format!("--core={}", self.core().display()));
        let output = run(&mut command, "elfutils");
        assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn root(&self) -> PathBuf {
        self.directory.path().join("root")
    }

    /// Lets GDB write the core dump.
    fn dump(&self) {
        let mut command = Command::new("gdb");
        command.env_remove("DEBUGINFOD_URLS").args(["-nx", "-batch", "-ex", "run", "-ex"]);
        command.arg(format!("generate-core-file {}", self.core().display())).arg(self.program());
        let output = run(&mut command, "gdb");
        assert!(self.core().is_file(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

/// GDB's output of these commands on these files, with an empty cache.
pub fn gdb(client: &DebuginfodClient, commands: &[&str], files: &[&Path]) -> String {
    let mut command = Command::new("gdb");
    client.environment(&mut command);
    command.args(["-nx", "-batch", "-iex", "set debuginfod enabled on", "-iex", "set width 0"]);
    for text in commands {
        command.args(["-ex", text]);
    }
    let output = run(command.args(files), "gdb");
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Expects the stack and the source lines of `server-1.1-RELEASE`'s crash (fixtures/README.md).
///
/// # Panics
/// If GDB's output lacks one of them, or states that a download failed.
#[track_caller]
pub fn expect_crash(said: &str, release: u32) {
    let line = 7 + release;
    for expected in [
        format!("crash_in_1_1_{release} (request="),
        format!("worker/crash.c:{line}"),
        format!("{line}\t    *request->answer = request->number; /* the crash of 1.1-{release} */"),
        format!("serve_1_1_{release} ("),
    ] {
        assert!(said.contains(&expected), "expected {expected:?} in:\n{said}");
    }
    let frames = [
        &format!("crash_in_1_1_{release} "),
        "check_request ",
        "handle_request ",
        &format!("serve_1_1_{release} "),
        "main ",
    ];
    let places: Vec<_> = frames.iter().map(|frame| said.find(&format!(" {frame}("))).collect();
    assert!(places.is_sorted() && places[0].is_some(), "expected the frames {frames:?} in this order in:\n{said}");
    assert!(!said.contains("Download failed"), "{said}");
}
