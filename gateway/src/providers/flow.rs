//! Stall timeouts: reading an archive may take long, as long as bytes arrive.

use std::io::{self, Read, Seek, SeekFrom};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use artifact::formats::ArchiveBytes;

use crate::resolve::outcome::{Cause, CauseKind, Miss, Provider};

/// Number of checks within a stall timeout.
const CHECKS: u32 = 8;

/// Counts bytes that arrived.
#[derive(Default)]
pub(crate) struct Flow(AtomicU64);

/// Bytes that are counted as they are read.
struct Counted<R> {
    input: R,
    flow: Arc<Flow>,
}

impl Flow {
    /// Adds `bytes`.
    pub(crate) fn add(&self, bytes: usize) {
        self.0.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Returns the count.
    pub(crate) fn bytes(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Counts what is read of an archive.
    pub(crate) fn of_archive(self: Arc<Self>, archive: ArchiveBytes<'static>) -> ArchiveBytes<'static> {
        match archive {
            ArchiveBytes::Stream(input) => ArchiveBytes::stream(Counted { input, flow: self }),
            ArchiveBytes::Seekable(input) => ArchiveBytes::seekable(Counted { input, flow: self }),
        }
    }

    /// Waits for `future`, which reads the archive `name`.
    ///
    /// # Errors
    /// The error of `future`, or that no byte arrived for `stall_timeout`.
    pub(crate) async fn on<T>(
        &self,
        stall_timeout: Duration,
        provider: Provider,
        name: &str,
        future: impl Future<Output = Result<T, Miss>>,
    ) -> Result<T, Miss> {
        let mut future = std::pin::pin!(future);
        let (mut flowed, mut flowed_at) = (self.bytes(), Instant::now());
        loop {
            if let Ok(done) = tokio::time::timeout(stall_timeout / CHECKS, &mut future).await {
                return done;
            }
            let before = std::mem::replace(&mut flowed, self.bytes());
            if before != flowed {
                flowed_at = Instant::now();
            } else if flowed_at.elapsed() >= stall_timeout {
                let text = format!("{name}: expected bytes of the archive within {stall_timeout:?}, found none");
                return Err(Cause { provider, kind: CauseKind::Timeout, text }.into());
            }
        }
    }
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let read = self.input.read(bytes)?;
        self.flow.add(read);
        Ok(read)
    }
}

impl<R: Seek> Seek for Counted<R> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.input.seek(to)
    }
}
