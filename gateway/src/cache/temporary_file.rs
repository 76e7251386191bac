//! A file that is being written, without a name (O_TMPFILE, open(2)). Where the file system cannot do that, it has a
//! name that begins with
//! a dot, and is removed at the next start.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::ops::Deref;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{AtFlags, CWD, FallocateFlags, Mode, OFlags, StatVfs, Timespec, Timestamps, UTIME_OMIT};
use rustix::io::Errno;

use super::memory_fallback::Reservation;

/// How temporary names begin.
pub(super) const PREFIX: &str = ".temporary-";

/// An open file, with the memory that is reserved for it if it is in memory.
pub(crate) struct OpenFile {
    file: File,
    reservation: Option<Reservation>,
}

impl OpenFile {
    /// True if the file is in memory, because it could not be written to the disk.
    pub(super) fn is_in_memory(&self) -> bool {
        self.reservation.is_some()
    }
}

impl From<File> for OpenFile {
    fn from(file: File) -> Self {
        Self { file, reservation: None }
    }
}

impl Deref for OpenFile {
    type Target = File;

    fn deref(&self) -> &File {
        &self.file
    }
}

/// A file that is being written.
pub(super) struct TemporaryFile {
    pub(super) file: Arc<OpenFile>,
    /// Its temporary name, if it needs one.
    name: Option<PathBuf>,
}

impl TemporaryFile {
    /// Creates a file in `directory`, with the name that `name` returns if it needs one.
    ///
    /// # Errors
    /// The file cannot be created.
    pub(super) fn create(directory: &Path, name: impl FnOnce() -> PathBuf) -> io::Result<Self> {
        let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
        let (file, name) = match rustix::fs::open(directory, flags, Mode::RUSR | Mode::WUSR) {
            Ok(descriptor) => (File::from(descriptor), None),
            Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::NOENT | Errno::INVAL) => {
                let name = name();
                (File::options().read(true).write(true).create_new(true).open(&name)?, Some(name))
            }
            Err(error) => return Err(error.into()),
        };
        Ok(Self { file: Arc::new(file.into()), name })
    }

    /// A file in memory, which is never published.
    pub(super) fn in_memory(file: File, reservation: Reservation) -> Self {
        Self { file: Arc::new(OpenFile { file, reservation: Some(reservation) }), name: None }
    }

    /// Reserves `size` bytes of the disk, so that concurrent fills do not count on the same bytes.
    ///
    /// # Errors
    /// The disk has less.
    pub(super) fn reserve(&self, size: u64) -> io::Result<()> {
        let free = free(rustix::fs::fstatvfs(&**self.file)?);
        if size > free {
            let text = format!("expected {size} bytes free on the disk, found {free}");
            return Err(io::Error::new(ErrorKind::StorageFull, text));
        }
        // Not every file system can do this.
        match rustix::fs::fallocate(&**self.file, FallocateFlags::KEEP_SIZE, 0, size) {
            Err(error @ (Errno::NOSPC | Errno::DQUOT)) => Err(error.into()),
            _ => Ok(()),
        }
    }

    /// Gives the file its name, in one step, with the member's own time. Its bytes must be on the disk before: a name
    /// that is found after
    /// a crash must have them.
    ///
    /// # Errors
    /// The file system refuses the name or the time.
    pub(super) fn publish(&mut self, path: &Path, mtime: i64) -> io::Result<()> {
        let modified = Timespec { tv_sec: mtime, tv_nsec: 0 };
        let times =
            Timestamps { last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT }, last_modification: modified };
        rustix::fs::futimens(&**self.file, &times)?;
        if let Some(name) = &self.name {
            std::fs::rename(name, path)?;
            self.name = None;
            return Ok(());
        }
        let descriptor = format!("/proc/self/fd/{}", self.file.as_raw_fd());
        let link = || rustix::fs::linkat(CWD, &descriptor, CWD, path, AtFlags::SYMLINK_FOLLOW);
        match link() {
            // A file that the cache does not know of, put there by another program.
            Err(Errno::EXIST) => {
                std::fs::remove_file(path)?;
                Ok(link()?)
            }
            linked => Ok(linked?),
        }
    }
}

impl Drop for TemporaryFile {
    fn drop(&mut self) {
        if let Some(name) = &self.name {
            // The next start removes it if this fails.
            let _ = std::fs::remove_file(name);
        }
    }
}

/// Bytes that a disk has free for this user.
pub(super) fn free(disk: StatVfs) -> u64 {
    disk.f_bavail.saturating_mul(disk.f_frsize)
}
