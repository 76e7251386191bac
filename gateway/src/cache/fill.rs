//! One fill of an entry. The cache does what is the same for all bytes, wherever they come from: the temporary file,
//! the received bytes, the
//! check of the build-id, the name of the complete file. A [`Filler`] brings the bytes.

use std::io;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use artifact::BuildId;

use super::build_id_note::BuildIdNote;
use super::entry::MemberInfo;
use super::temporary_file::TemporaryFile;
use super::writer::FillWriter;
use super::{Entry, MemberCache, MemberKey, Reader, extraction};
use crate::config::Abandoned;
use crate::metrics::METRICS;
use crate::permits::Permit;
use crate::providers::archives::Archive;
use crate::providers::flow::Flow;
use crate::resolve::outcome::{CauseKind, Miss};

/// How long a fill without readers continues before it is cancelled. A client that comes back within this time finds
/// it.
const ABANDONED_TIMEOUT: Duration = Duration::from_secs(5);

/// Where the bytes of a member come from. A filler tells what is known of the member, then runs on a thread of its
/// own: it writes the bytes to
/// a [`FillWriter`], and calls [`Fill::complete`] after the last one, or [`Fill::fail`].
pub(crate) enum Filler {
    /// A member is extracted from an opened archive.
    Extraction(Box<Archive>),
}

impl Filler {
    /// What is known of the member before its bytes, the name of the source, and the path of the member in it.
    fn describe(&self, cache: &MemberCache, key: MemberKey) -> Result<(MemberInfo, String, String), Miss> {
        match self {
            Self::Extraction(archive) => {
                let nvra = archive.inside.nvra();
                let Some(file) = archive.inside.file(key.ordinal) else {
                    let ordinal = key.ordinal;
                    let text = format!("{nvra}: expected a regular file with number {ordinal}, found none");
                    return Err(Miss::Absent(text));
                };
                Ok((cache.directory.info(key, file), nvra, file.path.clone()))
            }
        }
    }

    fn run(self, fill: &Fill, file: TemporaryFile) {
        match self {
            Self::Extraction(archive) => extraction::run(fill, *archive, file),
        }
    }
}

/// One fill of an entry.
pub(super) struct Fill {
    pub(super) cache: MemberCache,
    pub(super) key: MemberKey,
    pub(super) entry: Arc<Entry>,
    /// Name of the source in logs: of a package its NVRA.
    pub(super) source: String,
    /// Path of the member in the source.
    pub(super) path: String,
    pub(super) build_id: Option<BuildId>,
    /// Counts bytes that are read and written.
    pub(super) flow: Arc<Flow>,
    pub(super) began: Instant,
    /// Released when the member is complete: other fills need not wait for prefetched members.
    permit: Mutex<Option<Permit>>,
}

/// Why a source did not bring the member.
pub(super) enum FillError {
    /// Another source may bring it.
    Source(Miss),
    /// It has other bytes than those that readers may have seen, and it may be the one that is right.
    Differs(Miss),
    /// No other source would bring it.
    Final(Miss),
    /// It has no readers, or was failed because no byte came.
    Cancelled,
}

/// Begins to fill a member on a thread of its own, and returns the first reader. For threads that may block.
///
/// # Errors
/// The source does not have the member, or there is no space for it.
pub(super) fn begin(
    cache: &MemberCache,
    key: MemberKey,
    filler: Filler,
    build_id: Option<BuildId>,
    permit: Permit,
) -> Result<Reader, Miss> {
    let (info, source, path) = filler.describe(cache, key)?;
    let size = info.size;
    let file = cache.temporary_file(size)?;
    let flow = Arc::new(Flow::default());
    let entry = Arc::new(Entry::filling(info, file.file.clone(), flow.clone()));
    let reader = Reader::new(entry.clone());
    // A file that is larger than the whole cache is not published, and evicts nothing.
    cache.entries().insert_filling(key, entry.clone(), if cache.fits(size) { size } else { 0 });
    cache.evict();
    let (cache, began, permit) = (cache.clone(), Instant::now(), Mutex::new(Some(permit)));
    let runtime = cache.runtime.clone();
    let fill = Arc::new(Fill { cache, key, entry, source, path, build_id, flow, began, permit });
    runtime.spawn(fail_when_stalled(Arc::downgrade(&fill)));
    runtime.spawn_blocking(move || filler.run(&fill, file));
    Ok(reader)
}

/// Fails a fill that receives no byte for the stall timeout. A read from a disk that is unavailable (NFS) cannot be
/// ended: its thread ends when
/// the read does.
async fn fail_when_stalled(fill: Weak<Fill>) {
    let (mut flowed, mut since) = (0, Instant::now());
    while let Some(fill) = fill.upgrade() {
        let now = fill.flow.bytes();
        if now != flowed {
            (flowed, since) = (now, Instant::now());
        }
        let timeout = fill.cache.stall_timeout;
        if since.elapsed() >= timeout {
            return fill.stall(timeout);
        }
        drop(fill);
        tokio::time::sleep(timeout / 12).await;
    }
}

impl Fill {
    /// Expects the build-id that a file states.
    ///
    /// # Errors
    /// It states another one, or none.
    pub(super) fn expect_build_id(&self, expected: &BuildId, note: &BuildIdNote) -> Result<(), FillError> {
        let source = &self.source;
        let found = match note {
            note if note.allows(expected) => return Ok(()),
            BuildIdNote::Elf(Some(found)) => found.to_string(),
            _ => "none".to_owned(),
        };
        let text = format!("{source}: expected a file with build-id {expected}, found {found}");
        Err(FillError::Source(Miss::Absent(text)))
    }

    /// Counts a failed write of the file.
    pub(super) fn write_failed(&self, error: &io::Error) -> FillError {
        FillError::Final(self.cache.directory.write_failure(error))
    }

    /// True if nothing needs more bytes: the entry has failed, or it has no readers and is not to be finished for
    /// later requests.
    /// `abandoned_since` is when it was first seen without readers.
    pub(super) fn is_cancelled(&self, abandoned_since: &mut Option<Instant>) -> bool {
        if self.entry.has_failed() {
            return true;
        }
        if self.entry.readers() > 0 {
            *abandoned_since = None;
            return false;
        }
        let since = *abandoned_since.get_or_insert_with(Instant::now);
        self.cache.abandoned == Abandoned::Cancel && since.elapsed() >= ABANDONED_TIMEOUT
            || !self.cache.entries().has(self.key, &self.entry)
    }

    /// Checks the build-id of a file whose bytes are all written and have the right digest.
    ///
    /// # Errors
    /// The file states another build-id.
    pub(super) fn verify(&self, writer: &FillWriter<'_>) -> Result<(), FillError> {
        if let Some(expected) = &self.build_id
            && (writer.is_overwritten || !self.entry.has_note())
        {
            let note = BuildIdNote::read(&mut &**writer.file);
            self.expect_build_id(expected, &note)?;
            self.entry.set_note(note);
        }
        Ok(())
    }

    /// The verified file is complete: readers get its last bytes, then it is published and the permit released.
    ///
    /// # Errors
    /// The entry has failed meanwhile.
    pub(super) fn complete(&self, writer: &mut FillWriter<'_>) -> Result<(), FillError> {
        METRICS.cache_unsynced_files.inc();
        // Readers do not wait for the disk.
        let is_complete = self.entry.complete();
        if is_complete && let Some(file) = writer.temporary.take() {
            self.publish(file);
        }
        METRICS.cache_unsynced_files.dec();
        // Not before: the disk has no more to write than concurrent fills may bring.
        self.release_permit();
        if is_complete { Ok(()) } else { Err(FillError::Cancelled) }
    }

    /// Writes a complete file to the disk and publishes it. If that fails, its present readers read on, and the next
    /// request fills it anew.
    fn publish(&self, file: TemporaryFile) {
        let (cache, key, entry) = (&self.cache, self.key, &self.entry);
        if file.file.is_in_memory() || !cache.fits(entry.size()) {
            return self.remove();
        }
        let synced = file.file.sync_data();
        let is_synced = synced.is_ok();
        if let Err(error) = synced.and_then(|()| cache.publish(key, entry, file, self.began.elapsed())) {
            let failure = cache.directory.write_failure(&error);
            tracing::warn!(nvra = self.source, cause = %failure, "a complete member could not be published");
            if !is_synced {
                // Bytes that are read from now on may differ from those that were written.
                entry.fail(failure);
            }
            return self.remove();
        }
        cache.evict();
    }

    /// The file of the entry gets no name.
    fn remove(&self) {
        self.cache.entries().remove(self.key, &self.entry);
        self.entry.remove();
        self.cache.show();
    }

    /// The member could not be had from any source: readers are told, and the next request fills it anew.
    pub(super) fn fail(&self, failure: Miss) {
        self.entry.fail(failure);
        self.cache.detach_entry(self.key, &self.entry);
    }

    /// No byte came for `timeout`. A complete entry stays so: only the disk is slow.
    fn stall(&self, timeout: Duration) {
        if self.entry.is_filling() {
            let (nvra, path) = (&self.source, &self.path);
            tracing::warn!(%nvra, path, ?timeout, "a fill failed: no byte came");
            let text = format!("{nvra}: expected bytes of the archive within {timeout:?}, found none");
            self.fail(Miss::gateway(CauseKind::Timeout, text));
        }
        self.release_permit();
    }

    fn release_permit(&self) {
        self.permit.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}

impl Drop for Fill {
    fn drop(&mut self) {
        // After a panic.
        if self.entry.is_filling() {
            self.fail(Miss::gateway(CauseKind::Broken, format!("{}: the fill ended early", self.source)));
        }
    }
}
