//! Leases: work that one indexer does at a time.
//!
//! A lease is a row of the database that expires by the database's clock. Its holder renews it while the work runs. If
//! the holder dies, another indexer takes over once the lease has expired, and one on the same machine at once.

use std::fs;
use std::hash::{BuildHasher, RandomState};
use std::process;
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{Pid, test_kill_process};
use sql::Index;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use crate::pipeline::stop::Stop;

/// Time after which a lease, or the claim of a job, expires unless it is renewed.
pub(crate) const TTL: Duration = Duration::from_secs(30);
/// Time between two renewals.
pub(crate) const RENEW_INTERVAL: Duration = Duration::from_secs(8);

/// Where the kernel tells of the machine and its processes.
const PROC: &str = "/proc";
/// Stands for an unknown [`scope`]. It equals none.
const NO_SCOPE: &str = "unknown-";

/// Maximum time to release a lease.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(5);

/// A lease that this process has, and renews until it is released or dropped.
pub(crate) struct Lease {
    index: Index,
    name: String,
    holder: String,
    stop: Stop,
    renewing: JoinHandle<()>,
}

/// The result of asking for a lease.
pub(crate) enum Asked {
    /// This process has it.
    Acquired(Lease),
    /// Another process has it.
    Held {
        /// Its name, HOST:PID.
        by: String,
    },
}

impl Lease {
    /// Takes a lease, unless another process has it. Work under it stops with `parent`.
    ///
    /// # Errors
    /// If the database fails.
    pub(crate) async fn acquire(index: &Index, name: &str, holder: &str, parent: &Stop) -> sql::Result<Asked> {
        if !index.acquire_lease(name, holder, TTL).await? {
            let Some(other) = index.lease(name).await? else {
                return Ok(Asked::Held { by: "another indexer".to_owned() });
            };
            if !is_dead(&other.holder) {
                return Ok(Asked::Held { by: shown(&other.holder).to_owned() });
            }
            tracing::info!(lease = name, holder = shown(&other.holder), "its holder ended: taking the lease over");
            index.release_lease(name, &other.holder).await?;
            if !index.acquire_lease(name, holder, TTL).await? {
                return Ok(Asked::Held { by: "another indexer".to_owned() });
            }
        }
        let stop = parent.child();
        let renewing = tokio::spawn(renew(index.clone(), name.to_owned(), holder.to_owned(), stop.clone()));
        let (index, name, holder) = (index.clone(), name.to_owned(), holder.to_owned());
        Ok(Asked::Acquired(Self { index, name, holder, stop, renewing }))
    }

    /// Returns the flag that is set once the lease is lost, or its parent is set.
    pub(crate) fn stop(&self) -> &Stop {
        &self.stop
    }

    /// Ends the lease, so that another process can take it at once. If the database fails, it expires.
    pub(crate) async fn release(self) {
        self.renewing.abort();
        let released = timeout(RELEASE_TIMEOUT, self.index.release_lease(&self.name, &self.holder)).await;
        match released {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(lease = self.name, %error, "the lease was not released; it expires"),
            Err(_) => tracing::warn!(lease = self.name, "the lease was not released in time; it expires"),
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.renewing.abort();
    }
}

async fn renew(index: Index, name: String, holder: String, stop: Stop) {
    loop {
        sleep(RENEW_INTERVAL).await;
        match index.acquire_lease(&name, &holder, TTL).await {
            Ok(true) => {}
            Ok(false) => {
                tracing::warn!(lease = name, "another indexer has the lease: stopping the work under it");
                return stop.set();
            }
            // The database was down for long. The work needs it too.
            Err(error) => tracing::warn!(lease = name, %error, "the lease was not renewed"),
        }
    }
}

/// Returns a name for this process in claims and leases, HOST:PID:RANDOM, that no other has.
pub(crate) fn new_holder() -> String {
    let random = RandomState::new().hash_one(process::id());
    let scope = scope(PROC).unwrap_or_else(|| NO_SCOPE.to_owned());
    format!("{}:{}:{scope}{random:016x}", host(), process::id())
}

/// The part of a holder's name that people read.
fn shown(holder: &str) -> &str {
    holder.rsplit_once(':').map_or(holder, |(name, _)| name)
}

/// True if a holder was a process of this machine, and does not exist any more. Unknown is `false`.
pub(crate) fn is_dead(holder: &str) -> bool {
    let mut parts = holder.rsplitn(3, ':');
    let (Some(random), Some(pid), Some(of_host)) = (parts.next(), parts.next(), parts.next()) else { return false };
    let Some(pid) = pid.parse().ok().and_then(Pid::from_raw) else { return false };
    let is_here = of_host == host() && scope(PROC).is_some_and(|scope| random.starts_with(&scope));
    // Without permission to signal it, it exists.
    is_here && test_kill_process(pid) == Err(Errno::SRCH)
}

fn host() -> String {
    let name = |file: &str| fs::read_to_string(file).ok().map(|name| name.trim().to_owned());
    let mut names = ["/proc/sys/kernel/hostname", "/etc/hostname"].into_iter().filter_map(name);
    names.find(|name| !name.is_empty()).unwrap_or_else(|| "unknown".to_owned())
}

/// A hash of the machine's boot and of this process's namespace of process numbers, in hex: containers can have equal
/// host names, and the same number is another process in another container. `None` where `proc` does not tell both, as
/// under systemd's `ProcSubset=pid`: then nothing can be said of another process.
fn scope(proc: &str) -> Option<String> {
    let boot = fs::read_to_string(format!("{proc}/sys/kernel/random/boot_id")).ok()?;
    let namespace = fs::read_link(format!("{proc}/self/ns/pid")).ok()?;
    if boot.trim().is_empty() {
        return None;
    }
    let text = format!("{boot}{}", namespace.display());
    let hash = text.bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    Some(format!("{hash:08x}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_holder_is_dead_if_its_process_of_this_machine_ended() {
        let own = new_holder();
        assert!(!is_dead(&own) && own != new_holder(), "{own}");
        let mut child = process::Command::new("true").spawn().unwrap();
        let (pid, own_pid) = (child.id(), process::id());
        child.wait().unwrap();
        let ended = own.replacen(&format!(":{own_pid}:"), &format!(":{pid}:"), 1);
        assert!(is_dead(&ended), "{ended}");
        assert_eq!(shown(&ended), format!("{}:{pid}", host()));
        let (name, random) = ended.rsplit_once(':').unwrap();
        let other_scope = format!("{name}:{}{}", if random.starts_with('0') { "1" } else { "0" }, &random[1..]);
        for alive in [format!("x{ended}"), other_scope, String::new(), "import-7".into(), format!("{}:0:x", host())] {
            assert!(!is_dead(&alive), "{alive}");
        }
    }
    #[test]
    fn without_the_boot_of_the_machine_no_holder_is_dead() {
        let proc = tempfile::tempdir().unwrap();
        let path = proc.path().to_str().unwrap();
        assert_eq!(scope(path), None, "neither");
        fs::create_dir_all(proc.path().join("self/ns")).unwrap();
        std::os::unix::fs::symlink("pid:[4026531836]", proc.path().join("self/ns/pid")).unwrap();
        assert_eq!(scope(path), None, "no boot, as under ProcSubset=pid");
        fs::create_dir_all(proc.path().join("sys/kernel/random")).unwrap();
        let boot = proc.path().join("sys/kernel/random/boot_id");
        fs::write(&boot, "\n").unwrap();
        assert_eq!(scope(path), None, "an empty one");
        fs::write(&boot, "5f2d\n").unwrap();
        assert_eq!(scope(path).unwrap().len(), NO_SCOPE.len());
        let mut child = process::Command::new("true").spawn().unwrap();
        let pid = child.id();
        child.wait().unwrap();
        let of_unknown_boot = format!("{}:{pid}:{NO_SCOPE}0123456789abcdef", host());
        assert!(!is_dead(&of_unknown_boot), "{of_unknown_boot}");
    }
}
