//! Kernel modules, decompressed: archives have them compressed, and clients want the ELF file inside.
//!
//! The compressed file is a member like any other. The decompressed one is a file without a name, which is kept for a
//! while: decompressing a module takes a fraction of the time that extracting it takes.

use std::io::{self, BufWriter, Write};
use std::sync::Arc;
use std::time::Duration;

use artifact::{Error, modules};
use moka::future::Cache;
use tokio::task::spawn_blocking;

use super::build_id_note::BuildIdNote;
use super::sections::PartialFile;
use super::temporary_file::OpenFile;
use super::{MemberCache, MemberKey, Readable, Reader};
use crate::permits::Permit;
use crate::resolve::outcome::{CauseKind, Miss};

/// Maximum of bytes of all decompressed modules, and as a fraction of the cache.
const MAX_BYTES: u64 = 256 << 20;
const MAX_FRACTION: u64 = 8;
/// How long a module is kept that is not requested.
const IDLE_TTL: Duration = Duration::from_secs(300);
/// Bytes written at once.
const WRITE_BYTES: usize = 128 << 10;

/// A decompressed kernel module.
pub(crate) struct Module {
    pub(super) file: Arc<OpenFile>,
    /// Bytes.
    pub(super) size: u64,
    /// Of the compressed file, seconds since 1970.
    pub(super) mtime: i64,
    /// Made from the digest of the compressed file, since one digest names one content; `""` if it has none.
    pub(super) digest: String,
    pub(super) note: BuildIdNote,
}

/// Decompressed modules, by the member that has them.
#[derive(Clone)]
pub(super) struct Modules(Cache<MemberKey, Arc<Module>>);

impl Modules {
    /// For a cache of `cache_bytes`.
    pub(super) fn new(cache_bytes: u64) -> Self {
        let weight = |_: &MemberKey, module: &Arc<Module>| u32::try_from(module.size).unwrap_or(u32::MAX);
        let max_bytes = MAX_BYTES.min(cache_bytes / MAX_FRACTION);
        Self(Cache::builder().weigher(weight).max_capacity(max_bytes).time_to_idle(IDLE_TTL).build())
    }
}

impl MemberCache {
    /// The decompressed module of a member, if it is kept.
    pub(crate) async fn known_module(&self, key: MemberKey) -> Option<Readable> {
        self.modules.0.get(&key).await.map(Readable::Module)
    }

    /// The decompressed module in the complete member `compressed`. A file that is not compressed is returned as it is.
    /// The permit is released when the module is decompressed.
    ///
    /// # Errors
    /// Absent if there is no ELF file in it, or more than a module may have; otherwise why it could not be
    /// decompressed.
    pub(crate) async fn module(&self, key: MemberKey, compressed: &Reader, permit: Permit) -> Result<Readable, Miss> {
        let decompress = async {
            let file = compressed.complete_file().await.map_err(Some)?;
            let (cache, compressed) = (self.clone(), compressed.clone());
            let decompress = move || {
                let decompressed = decompress(&cache, &compressed, &file);
                drop(permit);
                decompressed
            };
            let decompressed = spawn_blocking(decompress).await;
            decompressed.unwrap_or_else(|error| Err(Miss::local(error.to_string()))).map_err(Some)?.ok_or(None)
        };
        match self.modules.0.try_get_with(key, decompress).await {
            Ok(module) => {
                if module.file.is_in_memory() {
                    // Other members need the memory.
                    self.modules.0.invalidate(&key).await;
                }
                Ok(Readable::Module(module))
            }
            Err(failure) => Option::clone(&failure).map_or_else(|| Ok(compressed.clone().into()), Err),
        }
    }
}

/// Decompresses a module into a file without a name. `None` if it is not compressed.
fn decompress(cache: &MemberCache, compressed: &Reader, file: &Arc<OpenFile>) -> Result<Option<Arc<Module>>, Miss> {
    // Twice: the first time tells how much space it needs, and whether it may have it.
    let mut counted = ByteCount(0);
    if !decompress_to(&mut counted, cache, compressed, file)? {
        return Ok(None);
    }
    let ByteCount(size) = counted;
    let module = cache.temporary_file(size)?.file.clone();
    let mut out = BufWriter::with_capacity(WRITE_BYTES, &**module);
    decompress_to(&mut out, cache, compressed, file)?;
    out.flush().map_err(|error| cache.directory.write_failure(&error))?;
    drop(out);
    match BuildIdNote::read(&mut &**module) {
        BuildIdNote::NoElf => {
            let path = compressed.path().display();
            Err(Miss::Absent(format!("{path}: expected an ELF file in a compressed kernel module, found none")))
        }
        note => {
            let info = compressed.info();
            let digest = if info.digest.is_empty() { String::new() } else { format!("{}-module", info.digest) };
            Ok(Some(Arc::new(Module { file: module, size, mtime: info.mtime, digest, note })))
        }
    }
}

/// Decompresses a module, whose compressed bytes `file` has, to `out`. False if it is not compressed.
fn decompress_to(
    out: &mut impl Write,
    cache: &MemberCache,
    compressed: &Reader,
    file: &Arc<OpenFile>,
) -> Result<bool, Miss> {
    let path = compressed.path().display();
    // Other readers use the same descriptor.
    let file = PartialFile::complete(file.clone(), compressed.size());
    modules::decompress(file, out, modules::max_bytes(compressed.size())).map_err(|error| match error {
        Error::Io(error) => cache.directory.write_failure(&error),
        // Its bytes are those of the package: every copy has the same.
        error if !compressed.info().digest.is_empty() => Miss::Absent(format!("{path}: {error}")),
        error => Miss::gateway(CauseKind::Broken, format!("{path}: {error}")),
    })
}

/// Counts the bytes that are written to it.
struct ByteCount(u64);

impl Write for ByteCount {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
