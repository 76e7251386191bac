//! Stall timeouts: reading an archive may take long, as long as bytes arrive.

use std::io::{self, Read, Seek, SeekFrom};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use artifact::formats::ArchiveBytes;

use crate::resolve::outcome::{Cause, CauseKind, Miss, Provider};

/// Number of checks within a stall timeout.
const CHECKS: u32 = 8;

/// Counts bytes that arrived.
pub(crate) struct Flow {
    bytes: AtomicU64,
    /// When the last ones arrived, in nanoseconds since [`START`].
    last_at: AtomicU64,
}

/// Instants are counted from this one.
static START: LazyLock<Instant> = LazyLock::new(Instant::now);

fn now() -> u64 {
    u64::try_from(START.elapsed().as_nanos()).unwrap_or(u64::MAX)
}

/// Bytes that are counted as they are read.
struct Counted<R> {
    input: R,
    flow: Arc<Flow>,
}

impl Flow {
    /// Adds `bytes`.
    pub(crate) fn add(&self, bytes: usize) {
        // The time before the bytes: a task that counts the bytes knows of their time.
        self.last_at.store(now(), Ordering::Relaxed);
        self.bytes.fetch_add(bytes as u64, Ordering::Release);
    }

    /// Returns the count.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Acquire)
    }

    /// Returns how long ago the last bytes arrived, or the count began.
    pub(crate) fn silence(&self) -> Duration {
        Duration::from_nanos(now().saturating_sub(self.last_at.load(Ordering::Relaxed)))
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

impl Default for Flow {
    fn default() -> Self {
        Self { bytes: AtomicU64::new(0), last_at: AtomicU64::new(now()) }
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
