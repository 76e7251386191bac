//! Files of local stores, whose reads can hang with their directory (NFS).

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{Semaphore, SemaphorePermit};

/// Threads that one local store may block: tokio has 512 in all.
pub(super) const MAX_BLOCKED_THREADS: usize = 64;
/// The longest wait of a read while others block all threads that a store may block.
const READ_PERMIT_TIMEOUT: Duration = Duration::from_secs(10);

/// A file of a local store. Each read of it blocks one of the threads that the store may block.
#[derive(Clone)]
pub(super) struct LocalFile {
    pub(super) file: Arc<File>,
    /// `None` on a thread that has its permit already.
    pub(super) gate: Option<Gate>,
}

/// Where reads of a local store's files wait for a permit.
#[derive(Clone)]
pub(super) struct Gate {
    pub(super) threads: Arc<Semaphore>,
    pub(super) runtime: Handle,
}

impl Gate {
    /// Waits until one more thread may read.
    ///
    /// # Errors
    /// All threads that the store may block are blocked, and stay so.
    fn pass(&self) -> io::Result<SemaphorePermit<'_>> {
        if let Ok(permit) = self.threads.try_acquire() {
            return Ok(permit);
        }
        let waiting = async { tokio::time::timeout(READ_PERMIT_TIMEOUT, self.threads.acquire()).await };
        match self.runtime.block_on(waiting) {
            Ok(permit) => permit.map_err(io::Error::other),
            Err(_) => {
                let text = format!("the directory of its store hangs: {MAX_BLOCKED_THREADS} threads read it");
                Err(io::Error::new(io::ErrorKind::TimedOut, text))
            }
        }
    }
}

impl LocalFile {
    /// Reads bytes from some byte on.
    pub(super) fn read_at(&self, bytes: &mut [u8], at: u64) -> io::Result<usize> {
        let _permit = self.gate.as_ref().map(Gate::pass).transpose()?;
        self.file.read_at(bytes, at)
    }

    /// Its size in bytes. For threads that have their permit.
    pub(super) fn size(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }
}

impl Read for LocalFile {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let _permit = self.gate.as_ref().map(Gate::pass).transpose()?;
        (&*self.file).read(bytes)
    }
}

impl Seek for LocalFile {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        (&*self.file).seek(to)
    }
}
