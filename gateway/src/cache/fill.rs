//! One fill of an entry: what is the same for all bytes, wherever they come from.

use std::io;
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

use artifact::BuildId;

use super::build_id_note::BuildIdNote;
use super::temporary_file::TemporaryFile;
use super::{Entry, MemberCache, MemberKey};
use crate::config::Abandoned;
use crate::locked::locked;
use crate::permits::Permit;
use crate::providers::flow::Flow;
use crate::resolve::outcome::{CauseKind, Miss};

/// How long a fill without readers continues before it is cancelled. A client that comes back within this time finds
/// it.
const ABANDONED_TIMEOUT: Duration = Duration::from_secs(5);

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
    /// True if the file must be an ELF file. A member may be a compressed kernel module.
    pub(super) must_be_elf: bool,
    /// Of the contents, if the complete file has to be compared with it.
    pub(super) sha256: Option<[u8; 32]>,
    /// Counts bytes that are read and written.
    pub(super) flow: Arc<Flow>,
    pub(super) began: Instant,
    /// When it was first seen without readers.
    pub(super) abandoned_since: Mutex<Option<Instant>>,
    /// Released when the member is complete: other fills need not wait for prefetched members.
    pub(super) permit: Mutex<Option<Permit>>,
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

/// Fails a fill that receives no byte for the stall timeout. A read from a disk that is unavailable (NFS) cannot be
/// ended: its thread ends when the read does.
pub(super) async fn fail_when_stalled(fill: Weak<Fill>) {
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
            BuildIdNote::NoElf if self.must_be_elf => "none in an ELF file that can be read".to_owned(),
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
    /// later requests. From then on no request finds it.
    pub(super) fn is_cancelled(&self) -> bool {
        if self.entry.has_failed() {
            return true;
        }
        let mut abandoned_since = locked(&self.abandoned_since);
        if self.entry.readers() > 0 {
            *abandoned_since = None;
            return false;
        }
        let since = *abandoned_since.get_or_insert_with(Instant::now);
        let mut entries = self.cache.entries();
        if self.cache.abandoned == Abandoned::Cancel && since.elapsed() >= ABANDONED_TIMEOUT {
            entries.remove_unread(self.key, &self.entry)
        } else {
            !entries.has(self.key, &self.entry)
        }
    }

    /// Writes a complete file to the disk and publishes it. If that fails, its present readers read on, and the next
    /// request fills it anew.
    pub(super) fn publish(&self, file: TemporaryFile) {
        let (cache, key, entry) = (&self.cache, self.key, &self.entry);
        if file.file.is_in_memory() || !cache.fits(entry.size()) {
            return self.discard();
        }
        let synced = file.file.sync_data();
        let is_synced = synced.is_ok();
        if let Err(error) = synced.and_then(|()| cache.publish(key, entry, file, self.began.elapsed())) {
            let failure = cache.directory.write_failure(&error);
            tracing::warn!(nvra = self.source, cause = %failure, "a complete member could not be published");
            if !is_synced {
                // Bytes that are read from now on may differ from those that were written.
                entry.fail_complete(failure);
            }
            return self.discard();
        }
        cache.evict();
    }

    /// Removes the complete entry from the list. Its file gets no name, its present readers read on.
    fn discard(&self) {
        self.entry.discard();
        self.remove_entry();
    }

    /// Removes the entry from the list: the next request fills it anew.
    fn remove_entry(&self) {
        self.cache.entries().remove(self.key, &self.entry);
        self.cache.show();
    }

    /// Fails the entry, unless it is complete, and removes it from the list: the member could not be had from any
    /// source. False if it is complete or has failed before.
    pub(super) fn fail(&self, failure: Miss) -> bool {
        let is_failed = self.entry.fail_filling(failure);
        if is_failed {
            self.remove_entry();
        }
        is_failed
    }

    /// No byte came for `timeout`. A complete entry stays so: only the disk is slow.
    fn stall(&self, timeout: Duration) {
        let (nvra, path) = (&self.source, &self.path);
        let text = format!("{nvra}: expected bytes within {timeout:?}, found none");
        if self.fail(Miss::gateway(CauseKind::Timeout, text)) {
            tracing::warn!(%nvra, path, ?timeout, "a fill failed: no byte came");
        }
        self.release_permit();
    }

    pub(super) fn release_permit(&self) {
        locked(&self.permit).take();
    }
}

impl Drop for Fill {
    fn drop(&mut self) {
        // After a panic. A fill that ended is published, discarded or failed.
        if self.entry.discard() {
            self.remove_entry();
        } else {
            self.fail(Miss::gateway(CauseKind::Broken, format!("{}: the fill ended early", self.source)));
        }
    }
}
