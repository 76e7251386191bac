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
    format!("{}:{}:{}{:08x}", host(), process::id(), scope(), random >> 32)
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
    let is_here = of_host == host() && random.starts_with(&scope());
    // Without permission to signal it, it exists.
    is_here && test_kill_process(pid) == Err(Errno::SRCH)
}

fn host() -> String {
    fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default().trim().to_owned()
}

/// A hash of the machine's boot and of this process's namespace of process numbers, in hex: containers can have equal
/// host names, and the same number is another process in another container.
fn scope() -> String {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let namespace = fs::read_link("/proc/self/ns/pid").unwrap_or_default();
    let text = format!("{boot}{}", namespace.display());
    let hash = text.bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    format!("{hash:08x}")
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
}
