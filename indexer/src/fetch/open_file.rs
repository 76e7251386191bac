//! An open archive file: its metadata, changes during a read, and a counting reader.

use std::fs::{File, Metadata};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::thread;
use std::time::Duration;

use rustix::fs::OFlags;

use crate::pipeline::stop::Stop;

/// Upper bound of the clock resolution of local file systems.
const CLOCK_TICK: Duration = Duration::from_millis(20);

/// Opens a file without blocking: a FIFO could have replaced it since the walk.
pub(crate) fn open(path: &Path) -> io::Result<File> {
    File::options().read(true).custom_flags(OFlags::NONBLOCK.bits().cast_signed()).open(path)
}

/// Returns the file's metadata once its modification time is older than a clock tick, so that every later change
/// changes the time.
pub(crate) fn stable_metadata(file: &File) -> io::Result<Metadata> {
    let metadata = file.metadata()?;
    if let Ok(age) = metadata.modified()?.elapsed() {
        thread::sleep(CLOCK_TICK.saturating_sub(age));
    }
    Ok(metadata)
}

/// True if the file did not change. The change time is compared too, because the modification time can be set back.
pub(crate) fn is_unchanged_file(before: &Metadata, after: &Metadata) -> bool {
    let state = |file: &Metadata| (file.size(), file.mtime(), file.mtime_nsec(), file.ctime(), file.ctime_nsec());
    state(before) == state(after)
}

/// A reader that counts bytes, and fails once the import is stopped.
pub(crate) struct ArchiveSource<'a> {
    pub(crate) file: &'a File,
    pub(crate) bytes: u64,
    pub(crate) stop: &'a Stop,
}

impl Read for ArchiveSource<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.stop.is_set() {
            // Not `Interrupted`: readers retry after that.
            return Err(io::Error::other("stopped"));
        }
        let read = self.file.read(buffer)?;
        self.bytes += read as u64;
        Ok(read)
    }
}

impl Seek for ArchiveSource<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.file.seek(to)
    }
}
