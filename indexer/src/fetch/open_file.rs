//! The file that an archive is in: opened, at rest, the same as before, read.

use std::fs::{File, Metadata};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::thread;
use std::time::Duration;

use rustix::fs::OFlags;

use crate::pipeline::stop::Stop;

/// No local file system's clock ticks more slowly.
const CLOCK_TICK: Duration = Duration::from_millis(20);

/// Opens what is believed to be a file: a pipe that took its place meanwhile must not be waited for.
pub(crate) fn open(path: &Path) -> io::Result<File> {
    File::options().read(true).custom_flags(OFlags::NONBLOCK.bits().cast_signed()).open(path)
}

/// What the file is now, at a moment from which on every change would show in its time: clocks of file systems have ticks.
pub(crate) fn stable_metadata(file: &File) -> io::Result<Metadata> {
    let metadata = file.metadata()?;
    if let Ok(age) = metadata.modified()?.elapsed() {
        thread::sleep(CLOCK_TICK.saturating_sub(age));
    }
    Ok(metadata)
}

/// Was the file left alone meanwhile? The time of its last modification alone could have been set back.
pub(crate) fn is_unchanged_file(before: &Metadata, after: &Metadata) -> bool {
    let state = |file: &Metadata| (file.size(), file.mtime(), file.mtime_nsec(), file.ctime(), file.ctime_nsec());
    state(before) == state(after)
}

/// An archive that counts what is read of it, and breaks off when the import shall stop.
pub(crate) struct ArchiveSource<'a> {
    pub(crate) file: &'a File,
    pub(crate) bytes: u64,
    pub(crate) stop: &'a Stop,
}

impl Read for ArchiveSource<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.stop.is_set() {
            // Not `Interrupted`, after which readers try again.
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
