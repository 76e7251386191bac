//! Does it go on? What comes of an archive may take long, as long as bytes come.

use std::io::{self, Read, Seek, SeekFrom};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use artifact::formats::ArchiveBytes;

use crate::resolve::outcome::{Cause, CauseKind, Miss, Provider};

/// How often is looked before it is given up.
const LOOKS: u32 = 8;

/// Bytes that came so far.
#[derive(Default)]
pub(crate) struct Flow(AtomicU64);

/// Bytes that are counted as they are read.
struct Counted<R> {
    input: R,
    flow: Arc<Flow>,
}

impl Flow {
    /// So many more.
    pub(crate) fn add(&self, bytes: usize) {
        self.0.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// How many came.
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

    /// Waits for what comes of the archive `name` as long as it flows, for at most `patience` while it does not.
    ///
    /// # Errors
    /// What `future` says, or that it does not go on.
    pub(crate) async fn on<T>(
        &self,
        patience: Duration,
        provider: Provider,
        name: &str,
        future: impl Future<Output = Result<T, Miss>>,
    ) -> Result<T, Miss> {
        let mut future = std::pin::pin!(future);
        let (mut flowed, mut flowed_at) = (self.bytes(), Instant::now());
        loop {
            if let Ok(done) = tokio::time::timeout(patience / LOOKS, &mut future).await {
                return done;
            }
            let before = std::mem::replace(&mut flowed, self.bytes());
            if before != flowed {
                flowed_at = Instant::now();
            } else if flowed_at.elapsed() >= patience {
                let text = format!("{name}: expected bytes of the archive within {patience:?}, found none");
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
