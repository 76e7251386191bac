//! A file that is being written, without a name (O_TMPFILE, open(2)); where the file system cannot do that, with one that begins with a dot
//! and is removed at the next start.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, CWD, FallocateFlags, FlockOperation, Mode, OFlags, StatVfs, Timespec, Timestamps, UTIME_OMIT,
};
use rustix::io::Errno;

/// How temporary names begin.
pub(super) const BEGINNING: &str = ".draft-";

/// A file that is being written.
pub(super) struct Draft {
    pub(super) file: File,
    /// Its temporary name, where it needs one.
    name: Option<PathBuf>,
}

impl Draft {
    /// A new file in `folder`, with the name that `temporary` gives if it needs one.
    pub(super) fn new(folder: &Path, temporary: impl FnOnce() -> PathBuf) -> io::Result<Self> {
        let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
        match rustix::fs::open(folder, flags, Mode::RUSR | Mode::WUSR) {
            Ok(fd) => Ok(Self { file: fd.into(), name: None }),
            Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::NOENT | Errno::INVAL) => {
                let name = temporary();
                let file = File::options().read(true).write(true).create_new(true).open(&name)?;
                // As long as it is locked, its gateway lives.
                rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive)?;
                Ok(Self { file, name: Some(name) })
            }
            Err(error) => Err(error.into()),
        }
    }

    /// One that has no folder, and never gets a name.
    pub(super) fn in_memory(file: File) -> Self {
        Self { file, name: None }
    }

    /// Takes room for `size` bytes, so that extractions at the same time do not count on the same.
    ///
    /// # Errors
    /// The disk has less.
    pub(super) fn reserve(&self, size: u64) -> io::Result<()> {
        let free = free(rustix::fs::fstatvfs(&self.file)?);
        if size > free {
            let text = format!("expected {size} bytes free on the disk, found {free}");
            return Err(io::Error::new(ErrorKind::StorageFull, text));
        }
        // Not every file system can do this.
        match rustix::fs::fallocate(&self.file, FallocateFlags::KEEP_SIZE, 0, size) {
            Err(error @ (Errno::NOSPC | Errno::DQUOT)) => Err(error.into()),
            _ => Ok(()),
        }
    }

    /// Gives the file its name, in one step, with the member's own time. Its bytes have to be on the disk: whoever finds the name
    /// after a crash has to find them.
    pub(super) fn publish(&mut self, path: &Path, mtime: i64) -> io::Result<()> {
        let modified = Timespec { tv_sec: mtime, tv_nsec: 0 };
        let times =
            Timestamps { last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT }, last_modification: modified };
        rustix::fs::futimens(&self.file, &times)?;
        if let Some(name) = &self.name {
            std::fs::rename(name, path)?;
            self.name = None;
            return Ok(());
        }
        let descriptor = format!("/proc/self/fd/{}", self.file.as_raw_fd());
        match rustix::fs::linkat(CWD, &descriptor, CWD, path, AtFlags::SYMLINK_FOLLOW) {
            // Another process on the same folder was faster with the same bytes.
            Ok(()) | Err(Errno::EXIST) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if let Some(name) = &self.name {
            // Nothing to be done about a failure: the next start removes it.
            let _ = std::fs::remove_file(name);
        }
    }
}

/// Has the gateway of a draft gone?
pub(super) fn is_left(draft: &Path) -> bool {
    let locked = File::open(draft).map(|file| rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive));
    !matches!(locked, Ok(Err(Errno::WOULDBLOCK)))
}

/// How many bytes a disk has room for.
pub(super) fn free(disk: StatVfs) -> u64 {
    disk.f_bavail.saturating_mul(disk.f_frsize)
}
