//! A gateway whose cache directory is a small disk of its own: a tmpfs in a mount namespace, which ends with the
//! process. It can be full and read-only, also for root.
//!
//! Needs the right to mount: root's, or that to make a user namespace.

use std::path::PathBuf;
use std::process::Command;

use crate::darkserver::RunningGateway;
use crate::process::run;
use crate::unshare::{command, nsenter, unshare};

/// A gateway, and its disk.
pub struct SmallDisk {
    /// The gateway.
    pub gateway: RunningGateway,
}

impl SmallDisk {
    /// Starts a gateway on `database` with a cache directory of `mib` MiB.
    ///
    /// # Panics
    /// If nothing can be mounted: a test that could not run has not passed.
    pub fn start(database: &str, mib: u32, configuration: &str, arguments: &[&str]) -> Self {
        let script =
            format!("mkdir -p \"$1\" && mount -t tmpfs -o size={mib}m,mode=0700 tmpfs \"$1\" && shift && exec \"$@\"");
        let mut through = unshare("--mount");
        through.extend(["sh", "-c", &script, "sh", "{cache}"]);
        Self {
            gateway: RunningGateway::start_through(
                &through,
                &[("DARKSERVER_DATABASE", database)],
                configuration,
                arguments,
            ),
        }
    }

    /// The disk as this process can see it.
    pub fn path(&mut self) -> PathBuf {
        let disk = self.gateway.cache().parent().expect("the cache directory").to_owned();
        let root = PathBuf::from(format!("/proc/{}/root", self.gateway.process().id()));
        root.join(disk.strip_prefix("/").expect("an absolute path"))
    }

    /// Fills the disk, until [`SmallDisk::empty`].
    pub fn fill(&mut self) {
        let path = self.path().join("filler");
        let mut command = Command::new("sh");
        command.args(["-c", "cat /dev/zero > \"$1\"", "sh"]).arg(path);
        let output = run(&mut command, "a POSIX shell");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains("No space left"), "expected a disk that gets full, found {}: {said}", output.status);
    }

    /// Undoes [`SmallDisk::fill`].
    pub fn empty(&mut self) {
        std::fs::remove_file(self.path().join("filler")).expect("remove what fills the disk");
    }

    /// Mounts it read-only (`ro`) or as before (`rw`).
    pub fn remount(&mut self, how: &str) {
        // No file may be open for writing.
        self.gateway.wait_until_synced();
        let id = self.gateway.process().id().to_string();
        let mut command = command(&nsenter(&id, "--mount"));
        let disk = self.gateway.cache().parent().expect("the cache directory").to_owned();
        command.args(["mount", "-o", &format!("remount,{how}")]).arg(disk);
        let output = run(&mut command, "util-linux");
        assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
}
