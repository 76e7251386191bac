//! The lock of a cache directory: one gateway per directory (docs/adr/0027).
//!
//! The lock is held by an open file (flock(2)), so that the kernel releases it when the process ends, whatever ends it.

use std::fs::File;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::fs::FlockOperation;
use rustix::io::Errno;

/// Name of the lock file. It contains the process id of its holder.
const FILE_NAME: &str = "lock";
/// Between two attempts to lock a directory that another process has locked.
const RETRY_INTERVAL: Duration = Duration::from_millis(50);

/// The lock of a cache directory, released when it is dropped.
pub(super) struct DirectoryLock {
    _file: File,
}

impl DirectoryLock {
    /// Locks `directory`. Waits at most `timeout` for a predecessor that is still ending.
    ///
    /// A file system without locks is reported in the log, and the directory is used without one.
    ///
    /// # Errors
    /// Another process still has the lock after `timeout`, or the lock file cannot be written.
    pub(super) async fn acquire(directory: &Path, timeout: Duration) -> Result<Self> {
        let path = directory.join(FILE_NAME);
        let open = |is_writable| {
            let writable = File::options().create(true).truncate(false).read(true).write(true).open(&path)?;
            // A descriptor that is open for writing keeps a disk from being mounted read-only.
            if is_writable { Ok(writable) } else { File::open(&path) }
        };
        let context = || path.display().to_string();
        let mut file = open(false).with_context(context)?;
        let (began, mut is_reported) = (Instant::now(), false);
        loop {
            match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => break,
                Err(Errno::WOULDBLOCK) if began.elapsed() < timeout => {
                    if !is_reported {
                        let (directory, holder) = (directory.display(), holder(&path));
                        tracing::info!(%directory, holder, ?timeout, "waiting for the lock of the cache directory");
                        is_reported = true;
                    }
                    tokio::time::sleep(RETRY_INTERVAL).await;
                }
                Err(Errno::WOULDBLOCK) => bail!(
                    "expected a cache directory that no other gateway uses, found {} locked by {} after {timeout:?}",
                    directory.display(),
                    holder(&path)
                ),
                Err(Errno::INTR) => {}
                // NFS locks a file exclusively only if it is open for writing.
                Err(Errno::BADF) => file = open(true).with_context(context)?,
                Err(error @ (Errno::NOLCK | Errno::NOSYS | Errno::OPNOTSUPP)) => {
                    tracing::warn!(
                        directory = %directory.display(),
                        %error,
                        "the file system of the cache directory has no locks: no second gateway may use it"
                    );
                    break;
                }
                Err(error) => return Err(error).with_context(|| format!("lock {}", path.display())),
            }
        }
        std::fs::write(&path, format!("{}\n", std::process::id())).with_context(context)?;
        Ok(Self { _file: file })
    }
}

/// The holder of a lock file as its contents name it.
fn holder(path: &Path) -> String {
    let id = std::fs::read_to_string(path).ok().and_then(|text| text.trim().parse::<u32>().ok());
    id.map_or_else(|| "an unknown process".to_owned(), |id| format!("process {id}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: Duration = Duration::from_millis(120);

    #[tokio::test]
    async fn a_second_holder_is_refused_with_the_id_of_the_first() {
        let directory = tempfile::tempdir().unwrap();
        let first = DirectoryLock::acquire(directory.path(), SHORT).await.unwrap();
        let error = DirectoryLock::acquire(directory.path(), SHORT).await.err().unwrap().to_string();
        let expected = format!("locked by process {} after 120ms", std::process::id());
        assert!(error.ends_with(&expected), "{error}");
        drop(first);
        DirectoryLock::acquire(directory.path(), Duration::ZERO).await.unwrap();
    }

    #[tokio::test]
    async fn a_predecessor_that_ends_in_time_is_succeeded() {
        let directory = tempfile::tempdir().unwrap();
        let first = DirectoryLock::acquire(directory.path(), SHORT).await.unwrap();
        let successor = DirectoryLock::acquire(directory.path(), Duration::from_secs(20));
        let mut successor = std::pin::pin!(successor);
        assert!(tokio::time::timeout(SHORT, &mut successor).await.is_err());
        drop(first);
        successor.await.unwrap();
    }
}
