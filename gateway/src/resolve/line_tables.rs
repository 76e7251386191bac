//! The sources that the DWARF of ELF files names. A file that is not in a package of the same build is served only if
//! the line tables of the build-id name it.

use std::sync::Arc;

use artifact::sources::Sources;
use moka::future::Cache;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

use crate::cache::{MemberKey, Readable};
use crate::resolve::outcome::{CauseKind, Miss};

/// Maximum of bytes of names of sources in memory.
const NAMES_BYTES: u64 = 64 << 20;
/// Maximum of files whose line tables are read concurrently: each may take 500 MiB.
const MAX_CONCURRENT_READS: usize = 2;

/// The sources of files, by the file.
#[derive(Clone)]
pub(crate) struct LineTables {
    sources: Cache<MemberKey, Arc<Sources>>,
    readings: Arc<Semaphore>,
}

impl LineTables {
    /// No sources yet.
    pub(crate) fn new() -> Self {
        let weight = |_: &MemberKey, sources: &Arc<Sources>| u32::try_from(sources.bytes()).unwrap_or(u32::MAX);
        let sources = Cache::builder().weigher(weight).max_capacity(NAMES_BYTES).build();
        Self { sources, readings: Arc::new(Semaphore::new(MAX_CONCURRENT_READS)) }
    }

    /// The sources of the ELF file of the member `key`.
    ///
    /// # Errors
    /// It cannot be read, or does not become complete.
    pub(crate) async fn sources(&self, key: MemberKey, file: &Readable) -> Result<Arc<Sources>, Miss> {
        let read = async {
            let file = file.complete_file().await?;
            let _permit = self.readings.acquire().await;
            let read = spawn_blocking(move || Sources::read(&mut &**file)).await;
            match read {
                Ok(Ok(sources)) => Ok(Arc::new(sources)),
                // The file does not change: another read would find the same.
                Ok(Err(error @ artifact::Error::Elf { .. })) => {
                    let (identity, ordinal) = (key.identity, key.ordinal);
                    tracing::warn!(%identity, ordinal, %error, "a file's DWARF was not read");
                    Ok(Arc::new(Sources::default()))
                }
                Ok(Err(error)) => Err(Miss::gateway(CauseKind::Broken, error.to_string())),
                Err(error) => Err(Miss::gateway(CauseKind::Broken, error.to_string())),
            }
        };
        self.sources.try_get_with(key, read).await.map_err(|failure: Arc<Miss>| Miss::clone(&failure))
    }
}
