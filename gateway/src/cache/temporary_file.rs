//! A file that is being written, without a name (O_TMPFILE, open(2)). Where the file system cannot do that, it has a
//! name that begins with a dot, and is removed at the next start.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::ops::Deref;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{AtFlags, CWD, FallocateFlags, Mode, OFlags, StatVfs, Timespec, Timestamps, UTIME_OMIT};
use rustix::io::Errno;
use tokio::runtime::Handle;

use super::memory_fallback::Reservation;

/// How temporary names begin.
pub(super) const PREFIX: &str = ".temporary-";

/// Bytes of a block of stat(2).
const BLOCK_BYTES: u64 = 512;

/// Minimum of bytes that take long to free.
const MIN_SLOW_BYTES: u64 = 1 << 20;

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

impl Drop for OpenFile {
    /// Closes a large file without a name on a thread that may block: its blocks are freed then.
    fn drop(&mut self) {
        if let Ok(runtime) = Handle::try_current()
            && is_freed_slowly(&self.file)
            && let Ok(last) = self.file.try_clone()
        {
            let reservation = self.reservation.take();
            runtime.spawn_blocking(move || drop((last, reservation)));
        }
    }
}

/// True if the last descriptor of the file frees many blocks.
fn is_freed_slowly(file: &File) -> bool {
    file.metadata().is_ok_and(|found| found.nlink() == 0 && found.blocks() * BLOCK_BYTES >= MIN_SLOW_BYTES)
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
    /// that is found after a crash must have them.
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

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;

    use super::*;

    #[tokio::test]
    async fn only_large_files_without_a_name_are_freed_slowly() {
        let directory = tempfile::tempdir().unwrap();
        let write = |name: &str, bytes: u64| {
            let path = directory.path().join(name);
            std::fs::write(&path, vec![1; usize::try_from(bytes).unwrap()]).unwrap();
            (File::open(&path).unwrap(), path)
        };
        let (large, path) = write("large", MIN_SLOW_BYTES);
        assert!(!is_freed_slowly(&large));
        std::fs::remove_file(path).unwrap();
        assert!(is_freed_slowly(&large));
        let (small, path) = write("small", 4096);
        std::fs::remove_file(path).unwrap();
        assert!(!is_freed_slowly(&small));
        // Its last descriptor is another one.
        let descriptor = large.try_clone().unwrap();
        drop(OpenFile::from(large));
        let mut first = [0];
        descriptor.read_exact_at(&mut first, 0).unwrap();
        assert_eq!(first, [1]);
    }
}
