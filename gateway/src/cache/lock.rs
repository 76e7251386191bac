//! The lock of a cache directory: one gateway per directory (docs/adr/0027).
//!
//! The lock is held by an open file (flock(2)), so that the kernel releases it when the process ends, whatever ends it.

use std::fs::{File, Metadata};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::fs::{FlockOperation, OFlags};
use rustix::io::Errno;
use rustix::process::geteuid;

use crate::locked::locked;

/// Name of the lock file. It contains the process id of its holder.
const FILE_NAME: &str = "lock";
/// Between two attempts to lock a directory that another process has locked.
const RETRY_INTERVAL: Duration = Duration::from_millis(50);

/// The lock of a cache directory, released when it is dropped.
pub(super) struct DirectoryLock {
    path: PathBuf,
    /// `None` on a file system without locks.
    held: Mutex<Option<File>>,
}

/// What became of one attempt to lock a directory.
enum Attempt {
    Locked(File),
    /// Another process has the lock.
    Held,
    /// The file system has no locks.
    Unsupported(Errno),
}

impl DirectoryLock {
    /// Locks `directory`. Waits at most `timeout` for a predecessor that is still ending.
    ///
    /// A file system without locks is reported in the log, and the directory is used without one.
    ///
    /// # Errors
    /// Another process still has the lock after `timeout`; the lock file is not a file of this user, or cannot be
    /// created.
    pub(super) async fn acquire(directory: &Path, timeout: Duration) -> Result<Self> {
        let path = directory.join(FILE_NAME);
        let (began, mut is_reported) = (Instant::now(), false);
        let held = loop {
            match attempt(&path).with_context(|| format!("lock {}", path.display()))? {
                Attempt::Locked(file) => break Some(file),
                Attempt::Held if began.elapsed() >= timeout => bail!(
                    "expected a cache directory that no other gateway uses, found {} locked by {} after {timeout:?}",
                    directory.display(),
                    holder(&path)
                ),
                Attempt::Held => {
                    if !is_reported {
                        let (directory, holder) = (directory.display(), holder(&path));
                        tracing::info!(%directory, holder, ?timeout, "waiting for the lock of the cache directory");
                        is_reported = true;
                    }
                    tokio::time::sleep(RETRY_INTERVAL).await;
                }
                Attempt::Unsupported(error) => {
                    tracing::warn!(
                        directory = %directory.display(),
                        %error,
                        "the file system of the cache directory has no locks: no second gateway may use it"
                    );
                    break None;
                }
            }
        };
        Ok(Self { path, held: Mutex::new(held) })
    }

    /// Expects that the directory is still locked, and locks it again if the lock file was removed or replaced.
    ///
    /// # Errors
    /// Another process has locked it meanwhile, or the lock file cannot be created.
    pub(super) fn check(&self) -> Result<()> {
        let mut held = locked(&self.held);
        if held.as_ref().is_none_or(|file| is_current(file, &self.path)) {
            return Ok(());
        }
        match attempt(&self.path).with_context(|| format!("lock {}", self.path.display()))? {
            Attempt::Locked(file) => *held = Some(file),
            Attempt::Held => {
                bail!("expected {} of this gateway, found it of {}", self.path.display(), holder(&self.path))
            }
            Attempt::Unsupported(_) => {}
        }
        Ok(())
    }
}

/// Tries to lock the file at `path`, and writes the process id into it.
fn attempt(path: &Path) -> io::Result<Attempt> {
    let mut file = open(path, false)?;
    loop {
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            // Its last holder removed it meanwhile, or another program did.
            Ok(()) if !is_current(&file, path) => file = open(path, false)?,
            Ok(()) => break,
            Err(Errno::WOULDBLOCK) => return Ok(Attempt::Held),
            Err(Errno::INTR) => {}
            // NFS locks a file exclusively only if it is open for writing.
            Err(Errno::BADF) => file = open(path, true)?,
            Err(error @ (Errno::NOLCK | Errno::NOSYS | Errno::OPNOTSUPP)) => return Ok(Attempt::Unsupported(error)),
            Err(error) => return Err(error.into()),
        }
    }
    // Only messages need it: a full disk does not prevent the lock.
    let written = open(path, true).and_then(|mut file| {
        file.set_len(0)?;
        writeln!(file, "{}", std::process::id())
    });
    if let Err(error) = written {
        tracing::debug!(path = %path.display(), %error, "the process id could not be written into the lock file");
    }
    Ok(Attempt::Locked(file))
}

/// Opens the lock file, and creates it if necessary. A descriptor that is open for writing keeps a disk from being
/// mounted read-only, so the lock is held without.
///
/// # Errors
/// It is not a regular file of this user. Another user who may open it could lock it: only this user may.
fn open(path: &Path, is_writable: bool) -> io::Result<File> {
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
    let options = |is_writable| {
        let mut options = File::options();
        options.read(true).write(is_writable).mode(0o600).custom_flags(flags);
        options
    };
    let file = match options(is_writable).open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            match options(true).create_new(true).open(path) {
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                created => drop(created?),
            }
            options(is_writable).open(path)?
        }
        opened => opened?,
    };
    let found = file.metadata()?;
    if !found.is_file() || found.uid() != geteuid().as_raw() {
        let text = format!("expected a regular file of this user, found one of user {}", found.uid());
        return Err(io::Error::other(text));
    }
    if found.mode() & 0o077 != 0 {
        file.set_permissions(PermissionsExt::from_mode(0o600))?;
    }
    Ok(file)
}

/// True if `path` still names the open file.
fn is_current(file: &File, path: &Path) -> bool {
    let inode = |found: &Metadata| (found.dev(), found.ino());
    let (Ok(held), Ok(named)) = (file.metadata(), std::fs::symlink_metadata(path)) else { return false };
    inode(&held) == inode(&named)
}

/// The holder of a lock file as its contents name it.
fn holder(path: &Path) -> String {
    let mut text = String::new();
    let read = open(path, false).and_then(|file| file.take(32).read_to_string(&mut text));
    let id = read.ok().and_then(|_| text.trim().parse::<u32>().ok());
    id.map_or_else(|| "an unknown process".to_owned(), |id| format!("process {id}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: Duration = Duration::from_millis(120);

    async fn refusal(directory: &Path) -> String {
        format!("{:#}", DirectoryLock::acquire(directory, SHORT).await.err().unwrap())
    }

    #[tokio::test]
    async fn a_second_holder_is_refused_with_the_id_of_the_first() {
        let directory = tempfile::tempdir().unwrap();
        let first = DirectoryLock::acquire(directory.path(), SHORT).await.unwrap();
        let error = refusal(directory.path()).await;
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

    #[tokio::test]
    async fn only_this_user_can_open_the_lock_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(FILE_NAME);
        std::fs::write(&path, "").unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o644)).unwrap();
        let _lock = DirectoryLock::acquire(directory.path(), SHORT).await.unwrap();
        assert_eq!(path.metadata().unwrap().mode() & 0o777, 0o600);
    }

    #[tokio::test]
    async fn a_link_or_a_pipe_in_the_place_of_the_lock_file_is_refused_and_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let (path, victim) = (directory.path().join(FILE_NAME), directory.path().join("victim"));
        std::fs::write(&victim, "precious").unwrap();
        std::os::unix::fs::symlink(&victim, &path).unwrap();
        assert!(refusal(directory.path()).await.starts_with(&format!("lock {}: ", path.display())));
        assert_eq!(std::fs::read_to_string(&victim).unwrap(), "precious");
        std::fs::remove_file(&path).unwrap();
        rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR, 0).unwrap();
        let error = refusal(directory.path()).await;
        assert!(error.contains("expected a regular file of this user"), "{error}");
    }

    #[tokio::test]
    async fn a_removed_lock_file_is_locked_again_unless_another_gateway_was_faster() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(FILE_NAME);
        let first = DirectoryLock::acquire(directory.path(), SHORT).await.unwrap();
        std::fs::remove_file(&path).unwrap();
        first.check().unwrap();
        let error = refusal(directory.path()).await;
        assert!(error.contains("locked by process"), "{error}");
        std::fs::remove_file(&path).unwrap();
        let _second = DirectoryLock::acquire(directory.path(), SHORT).await.unwrap();
        let error = first.check().unwrap_err().to_string();
        assert!(error.contains("expected") && error.contains("found it of process"), "{error}");
    }
}
