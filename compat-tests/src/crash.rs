//! The program of the family `server`, installed without its debuginfo, and the core dump that it leaves.

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::fixtures;
use crate::process::run;

/// A crash, with everything that it left in a directory of its own.
pub struct Crash {
    directory: TempDir,
}

impl Crash {
    /// Installs `server-1.1-RELEASE` and lets it crash.
    pub fn run_server(release: u32) -> Self {
        let crash = Self { directory: tempfile::tempdir().expect("a temporary directory") };
        fixtures::unpack(&fixtures::package("server", &format!("server-1.1-{release}.fc99.x86_64")), &crash.root());
        let script = "ulimit -c unlimited; exec \"$1\"";
        let mut command = Command::new("sh");
        command.args(["-c", script, "sh"]).arg(crash.program()).current_dir(crash.directory.path());
        let output = run(&mut command, "a POSIX shell");
        assert!(!output.status.success(), "expected server-1.1-{release} to crash, found {}", output.status);
        // /proc/sys/kernel/core_pattern says what a core is called, and may send it to a program instead (core(5)).
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

    /// The modules of the core dump, as `eu-unstrip -n` lists them without asking anybody.
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

    /// The same core by GDB's own hand.
    fn dump(&self) {
        let mut command = Command::new("gdb");
        command.env_remove("DEBUGINFOD_URLS").args(["-nx", "-batch", "-ex", "run", "-ex"]);
        command.arg(format!("generate-core-file {}", self.core().display())).arg(self.program());
        let output = run(&mut command, "gdb");
        assert!(self.core().is_file(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
}
