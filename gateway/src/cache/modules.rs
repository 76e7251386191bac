//! Kernel modules, decompressed: archives hold them compressed, and clients want the ELF file inside.
//!
//! The compressed file is a member like any other. What is in it goes to a file without a name, which is kept for a
//! while: decompressing a module takes a fraction of the time that extracting it takes.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::sync::Arc;
use std::time::Duration;

use artifact::{Error, modules};
use moka::future::Cache;
use tokio::task::spawn_blocking;

use super::note::Note;
use super::sections::Begun;
use super::work::refused;
use super::{Entry, Files, Key, disk};
use crate::metrics::METRICS;
use crate::permits::Permit;
use crate::resolve::outcome::{CauseKind, Miss};

/// The room that decompressed modules may take, bytes, and as a part of the cache.
const MAX_BYTES: u64 = 256 << 20;
const MAX_PART: u64 = 8;
/// How long one is kept that is not asked for.
const IDLE_TTL: Duration = Duration::from_secs(300);
/// What is written at once.
const WRITE_BYTES: usize = 128 << 10;

/// Decompressed modules, by the member that holds them.
#[derive(Clone)]
pub(super) struct Modules(Cache<Key, Arc<Entry>>);

impl Modules {
    /// For a cache of `cache_bytes`.
    pub(super) fn new(cache_bytes: u64) -> Self {
        let weight = |_: &Key, module: &Arc<Entry>| u32::try_from(module.size()).unwrap_or(u32::MAX);
        let max_bytes = MAX_BYTES.min(cache_bytes / MAX_PART);
        Self(Cache::builder().weigher(weight).max_capacity(max_bytes).time_to_idle(IDLE_TTL).build())
    }
}

impl Files {
    /// The decompressed module that is in a member, if it is here.
    pub(crate) async fn known_module(&self, key: Key) -> Option<Arc<Entry>> {
        self.modules.0.get(&key).await
    }

    /// The decompressed module that is in the member `compressed`, which is whole. What is not compressed is returned
    /// as it is. The permit is released when the module is there.
    ///
    /// # Errors
    /// Absent if there is no ELF file in it, or more than a module may have; otherwise why it could not be
    /// decompressed.
    pub(crate) async fn module(&self, key: Key, compressed: &Arc<Entry>, permit: Permit) -> Result<Arc<Entry>, Miss> {
        let decompress = async {
            let file = compressed.whole_file().await.map_err(Some)?;
            let (folder, compressed) = (self.folder.clone(), compressed.clone());
            let decompress = move || {
                let decompressed = decompress(&folder, &compressed, &file);
                drop(permit);
                decompressed
            };
            let decompressed = spawn_blocking(decompress).await;
            decompressed.unwrap_or_else(|error| Err(Miss::local(error.to_string()))).map_err(Some)?.ok_or(None)
        };
        match self.modules.0.try_get_with(key, decompress).await {
            Ok(module) => {
                if module.is_in_memory() {
                    // Others need the room.
                    self.modules.0.invalidate(&key).await;
                }
                Ok(module)
            }
            Err(failure) => Option::clone(&failure).map_or_else(|| Ok(compressed.clone()), Err),
        }
    }
}

/// Decompresses a module into a file without a name. `None` if it is not compressed.
fn decompress(folder: &disk::Folder, compressed: &Entry, file: &Arc<File>) -> Result<Option<Arc<Entry>>, Miss> {
    // Twice: the first time tells how much room it needs, and whether it may have it.
    let mut size = Count(0);
    if !decompress_to(&mut size, compressed, file)? {
        return Ok(None);
    }
    let Count(size) = size;
    let (draft, room) = match folder.draft(size) {
        Ok(draft) => (draft, None),
        Err(error) => {
            let failure = refused(compressed.about(), &error);
            let in_memory = folder.stand_in(size);
            let (draft, room) = in_memory.map_err(|more| Miss::local(format!("{failure}; {more}")))?;
            METRICS.cache_memory_fallbacks.inc();
            (draft, Some(room))
        }
    };
    let module = draft.file.try_clone().map_err(|error| refused(compressed.about(), &error))?;
    let mut out = BufWriter::with_capacity(WRITE_BYTES, &module);
    decompress_to(&mut out, compressed, file)?;
    out.flush().map_err(|error| refused(compressed.about(), &error))?;
    drop(out);
    match Note::of(&mut &module) {
        Note::NoElf => {
            let path = compressed.path().display();
            Err(Miss::Absent(format!("{path}: expected an ELF file in a compressed kernel module, found none")))
        }
        note => {
            let entry = Entry::decompressed(compressed, module, size, room);
            entry.note(note);
            Ok(Some(Arc::new(entry)))
        }
    }
}

/// Decompresses a module, whose compressed bytes `file` has, to `out`. False if it is not compressed.
fn decompress_to(out: &mut impl Write, compressed: &Entry, file: &Arc<File>) -> Result<bool, Miss> {
    let path = compressed.path().display();
    // Others may read the same descriptor.
    let file = Begun::whole(file.clone(), compressed.size());
    modules::decompress(file, out, modules::max_bytes(compressed.size())).map_err(|error| match error {
        Error::Io(error) => refused(compressed.about(), &error),
        // Its bytes are those of the package, of which every copy has the same.
        error if !compressed.digest().is_empty() => Miss::Absent(format!("{path}: {error}")),
        error => Miss::gateway(CauseKind::Broken, format!("{path}: {error}")),
    })
}

/// Counts the bytes that are written to it.
struct Count(u64);

impl Write for Count {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
