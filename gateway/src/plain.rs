//! Sources of plain ELF files: the files of a build tree that their DWARF names.
//!
//! A client may ask for any path, so three things must hold of a file that is served: the DWARF of an ELF file with the build-id that was
//! asked for names it; it lies below the folder of the store that the ELF file is in, links included; and it was not written after the
//! ELF file was, because then it is the source of another build.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

use artifact::Identity;
use artifact::sources::Sources;
use moka::future::Cache;
use sql::Location;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

use crate::archives::open_below_root;
use crate::failure::Failure;
use crate::files::Entry;

/// Memory for names of sources.
const NAMES_BYTES: u64 = 64 << 20;
/// Line tables read at once: each may take 256 MiB.
const MOST_READINGS: usize = 2;

/// What the DWARF of plain files names, as far as somebody asked.
#[derive(Clone)]
pub(crate) struct Plain {
    sources: Cache<Identity, Arc<Sources>>,
    readings: Arc<Semaphore>,
}

impl Plain {
    /// Knows nothing yet.
    pub(crate) fn new() -> Self {
        let weight = |_: &Identity, sources: &Arc<Sources>| u32::try_from(sources.bytes()).unwrap_or(u32::MAX);
        let sources = Cache::builder().weigher(weight).max_capacity(NAMES_BYTES).build();
        Self { sources, readings: Arc::new(Semaphore::new(MOST_READINGS)) }
    }

    /// The sources of the whole ELF file `entry`, which is the package `identity`.
    ///
    /// # Errors
    /// It cannot be read.
    pub(crate) async fn sources(&self, identity: Identity, entry: &Arc<Entry>) -> Result<Arc<Sources>, Failure> {
        let read = async {
            let _turn = self.readings.acquire().await;
            let file = entry.whole_file().await?;
            let read = spawn_blocking(move || Sources::read(&mut &*file)).await;
            match read {
                Ok(Ok(sources)) => Ok(Arc::new(sources)),
                // It stays as it is: no reading will find more.
                Ok(Err(error @ artifact::Error::Elf { .. })) => {
                    tracing::warn!(%identity, %error, "a plain file's DWARF was not read");
                    Ok(Arc::new(Sources::default()))
                }
                Ok(Err(error)) => Err(Failure::Unknown(error.to_string())),
                Err(error) => Err(Failure::Unknown(error.to_string())),
            }
        };
        self.sources.try_get_with(identity, read).await.map_err(|failure: Arc<Failure>| Failure::clone(&failure))
    }
}

/// Opens the source file at `path`, of an ELF file at `location` whose contents are as of the second `built_at`.
///
/// # Errors
/// It is not below the store's folder, not there, or newer.
pub(crate) fn open(location: &Location, path: &str, built_at: i64) -> Result<Entry, Failure> {
    let absent = |why: &str| Failure::Absent(format!("store {}: {path}: {why}", location.store.name));
    let root = location.store.root.as_deref().ok_or_else(|| absent("expected a folder of this machine"))?;
    let canonical = root.canonicalize();
    let roots = [Some(root), canonical.as_deref().ok()];
    let below = roots.into_iter().flatten().find_map(|root| Path::new(path).strip_prefix(root).ok()?.to_str());
    let Some(below) = below.filter(|below| !below.is_empty()) else { return Err(absent("expected a path below its folder")) };
    let file = open_below_root(&Location { path: below.to_owned(), ..location.clone() })?;
    let unknown = |error: std::io::Error| Failure::Unknown(format!("{path}: {error}"));
    if file.metadata().map_err(unknown)?.mtime() > built_at {
        return Err(absent("expected a file that is not newer than the ELF file"));
    }
    Entry::of(file).map_err(unknown)
}
