//! One member of the cache: its state, and its counted readers.
//!
//! An entry begins as [`State::Filling`] and becomes [`State::Complete`], or [`State::Failed`]. A complete file is
//! published under its name ([`State::Published`]) or kept for its present readers only ([`State::Removed`]); eviction
//! removes a published one. Readers need not distinguish complete from published: the one has no name to open it by.
//!
//! Methods named `set_*` and `fail_*` change the state under the lock of the entry. The list of the cache and the
//! names of files have locks of their own.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use artifact::BuildId;
use tokio::sync::Notify;
use tokio::task::spawn_blocking;

use super::build_id_note::BuildIdNote;
use super::sections::PartialFile;
use super::sidecar::{Origin, Signature};
use super::temporary_file::OpenFile;
use super::{Content, Readable};
use crate::locked::locked;
use crate::providers::flow::Flow;
use crate::resolve::outcome::{CauseKind, Miss, Provider};

/// Bytes at the end of a filling file that are held back until its digest is verified, so that no reader completes a
/// wrong file.
const HELD_BACK: u64 = 64 << 10;

/// A member of the cache.
pub(crate) struct Entry {
    info: MemberInfo,
    life: Mutex<Life>,
    /// Wakes waiting readers when the state changes.
    changed: Notify,
}

/// What changes in the life of an entry.
struct Life {
    state: State,
    readers: u32,
    /// The note of the file, once it was read.
    note: Option<BuildIdNote>,
}

/// The state of an entry.
enum State {
    /// `received` bytes are written and not yet verified. `flow` counts what is read and written.
    Filling { received: u64, file: Arc<OpenFile>, flow: Arc<Flow> },
    /// All bytes are verified. The file has no name yet.
    Complete { file: Arc<OpenFile> },
    /// The file has its name in the cache directory. It stays open while it has readers.
    Published { file: Option<Arc<OpenFile>> },
    /// The file has no name any more. Its last readers keep it open.
    Removed { file: Option<Arc<OpenFile>> },
    /// The bytes could not be had.
    Failed(Miss),
}

/// What is known of a member before its bytes.
#[derive(Clone, Debug)]
pub(super) struct MemberInfo {
    /// Bytes.
    pub(super) size: u64,
    /// Seconds since 1970.
    pub(super) mtime: i64,
    /// Hex digest of the contents, as the package's header or the upstream states it; `""` if none is known.
    pub(super) digest: String,
    /// That digest, if it is SHA-256.
    pub(super) sha256: Option<[u8; 32]>,
    /// The file's IMA signature, if the package has one.
    pub(super) signature: Option<Signature>,
    /// Where a relayed file comes from; `None` for the member of a package.
    pub(super) origin: Option<Origin>,
    /// Path of the published file.
    pub(super) path: PathBuf,
}

impl MemberInfo {
    /// True if something is stored beside the file.
    pub(super) fn has_sidecars(&self) -> bool {
        self.signature.is_some() || self.origin.is_some()
    }
}

impl Entry {
    /// An entry whose bytes are written to `file`.
    pub(super) fn filling(info: MemberInfo, file: Arc<OpenFile>, flow: Arc<Flow>) -> Self {
        Self::new(info, State::Filling { received: 0, file, flow })
    }

    /// An entry whose file is in the cache directory.
    pub(super) fn published(info: MemberInfo) -> Self {
        Self::new(info, State::Published { file: None })
    }

    fn new(info: MemberInfo, state: State) -> Self {
        Self { info, life: Mutex::new(Life { state, readers: 0, note: None }), changed: Notify::new() }
    }

    /// What is known of the member.
    pub(super) fn info(&self) -> &MemberInfo {
        &self.info
    }

    /// Bytes.
    pub(super) fn size(&self) -> u64 {
        self.info.size
    }

    /// Path of the published file.
    pub(super) fn path(&self) -> &Path {
        &self.info.path
    }

    /// The number of readers.
    pub(super) fn readers(&self) -> u32 {
        self.life().readers
    }

    /// True once all bytes are verified, also of a removed entry: its readers read on.
    pub(super) fn is_complete(&self) -> bool {
        !matches!(self.life().state, State::Filling { .. } | State::Failed(_))
    }

    /// True if the bytes could not be had from any location.
    pub(crate) fn has_failed(&self) -> bool {
        matches!(self.life().state, State::Failed(_))
    }

    /// How long ago its fill received the last bytes; `None` if it is not being filled.
    pub(super) fn silence(&self) -> Option<Duration> {
        match &self.life().state {
            State::Filling { flow, .. } => Some(flow.silence()),
            _ => None,
        }
    }

    /// `bytes` are written. Nothing happens if the entry has failed meanwhile.
    pub(super) fn receive(&self, bytes: u64) {
        if let State::Filling { received, .. } = &mut self.life().state {
            *received = bytes;
        }
        self.changed.notify_waiters();
    }

    /// All bytes are verified. False if the entry has failed meanwhile.
    pub(super) fn set_complete(&self) -> bool {
        let mut life = self.life();
        let State::Filling { file, .. } = &life.state else { return false };
        life.state = State::Complete { file: file.clone() };
        drop(life);
        self.changed.notify_waiters();
        true
    }

    /// The complete file has its name. Readers get a descriptor for reading alone: one that is open for writing keeps
    /// a disk from being mounted read-only.
    pub(super) fn set_published(&self) {
        let reopened = File::open(&self.info.path).map(|file| Arc::new(OpenFile::from(file)));
        let mut life = self.life();
        if let State::Complete { file } = &life.state {
            let file = reopened.unwrap_or_else(|_| file.clone());
            life.state = State::Published { file: (life.readers > 0).then_some(file) };
        }
    }

    /// The name of the published file is about to be removed. Present readers keep it open.
    pub(super) fn set_removed(&self) {
        let mut life = self.life();
        if life.readers > 0 && matches!(life.state, State::Published { file: None }) {
            // Not under the lock, for which readers wait.
            drop(life);
            if let Err(error) = self.open() {
                tracing::warn!(path = %self.path().display(), %error, "readers of a removed file lose it");
            }
            life = self.life();
        }
        if let State::Published { file } = &mut life.state {
            let file = file.take();
            life.state = State::Removed { file: file.filter(|_| life.readers > 0) };
        }
    }

    /// The complete file gets no name. Present readers keep it open. False if it has its name, or is not complete.
    pub(super) fn discard(&self) -> bool {
        let mut life = self.life();
        let State::Complete { file } = &life.state else { return false };
        life.state = State::Removed { file: Some(file.clone()).filter(|_| life.readers > 0) };
        true
    }

    /// The bytes cannot be had. False if they are complete, or the entry has failed before.
    pub(super) fn fail_filling(&self, failure: Miss) -> bool {
        let mut life = self.life();
        let is_filling = matches!(life.state, State::Filling { .. });
        if is_filling {
            life.state = State::Failed(failure);
        }
        drop(life);
        self.changed.notify_waiters();
        is_filling
    }

    /// The complete file is not on the disk as it was written.
    pub(super) fn fail_complete(&self, failure: Miss) {
        let mut life = self.life();
        if matches!(life.state, State::Complete { .. }) {
            life.state = State::Failed(failure);
        }
    }

    /// The open file. A published one is opened by its name if no reader has it open.
    ///
    /// # Errors
    /// The entry failed or was removed, or the published file cannot be opened or has another size. [`is_lost`] tells
    /// which.
    pub(super) fn open(&self) -> io::Result<Arc<OpenFile>> {
        if let Some(present) = self.present_file() {
            return present;
        }
        let opened = File::open(&self.info.path).and_then(|file| {
            let (expected, found) = (self.info.size, file.metadata()?.len());
            if found == expected {
                return Ok(Arc::new(OpenFile::from(file)));
            }
            let text = format!("expected a file of {expected} bytes, found {found}");
            Err(io::Error::new(ErrorKind::InvalidData, text))
        });
        let mut life = self.life();
        if let State::Published { file: file @ None } = &mut life.state {
            return opened.inspect(|opened| *file = Some(opened.clone()));
        }
        drop(life);
        // Opened by another reader or removed meanwhile.
        self.present_file().unwrap_or(opened)
    }

    /// The file without opening it, or why there is none; `None` if it has to be opened by its name.
    fn present_file(&self) -> Option<io::Result<Arc<OpenFile>>> {
        match &self.life().state {
            State::Filling { file, .. }
            | State::Complete { file }
            | State::Published { file: Some(file) }
            | State::Removed { file: Some(file) } => Some(Ok(file.clone())),
            State::Published { file: None } => None,
            State::Removed { file: None } => {
                let text = format!("{}: expected a file in the cache, found it removed", self.path().display());
                Some(Err(io::Error::new(ErrorKind::NotFound, text)))
            }
            State::Failed(failure) => Some(Err(io::Error::other(failure.to_string()))),
        }
    }

    /// Waits until the bytes up to `end` may be sent, and returns up to where they may.
    ///
    /// # Errors
    /// Why the bytes could not be had.
    pub(super) async fn available(&self, end: u64) -> Result<u64, Miss> {
        loop {
            let changed = self.changed.notified();
            match &self.life().state {
                State::Filling { received, .. } => {
                    let sendable = sendable(*received, self.info.size);
                    if sendable >= end {
                        return Ok(sendable);
                    }
                }
                State::Complete { .. } | State::Published { .. } | State::Removed { .. } => return Ok(self.info.size),
                State::Failed(failure) => return Err(failure.clone()),
            }
            changed.await;
        }
    }

    /// Records what the note of the file states.
    pub(super) fn set_note(&self, note: BuildIdNote) {
        self.life().note.get_or_insert(note);
    }

    /// True once the note of the file was read.
    pub(super) fn has_note(&self) -> bool {
        self.life().note.is_some()
    }

    fn life(&self) -> MutexGuard<'_, Life> {
        locked(&self.life)
    }
}

/// A counted reader of an entry, which keeps a published file open. Its drop counts it off.
pub(crate) struct Reader(Arc<Entry>);

impl Reader {
    /// Counts a reader of `entry`.
    pub(super) fn new(entry: Arc<Entry>) -> Self {
        entry.life().readers += 1;
        Self(entry)
    }

    /// The entry.
    pub(super) fn entry(&self) -> &Arc<Entry> {
        &self.0
    }

    /// All of its bytes.
    pub(crate) fn content(&self) -> Content {
        Content::whole(Readable::Member(self.clone()))
    }

    /// Waits until the file is complete.
    ///
    /// # Errors
    /// Why the bytes could not be had.
    pub(crate) async fn complete_file(&self) -> Result<Arc<OpenFile>, Miss> {
        self.available(self.size()).await?;
        let failed = |error| Miss::gateway(CauseKind::of_io(&error), format!("{}: {error}", self.path().display()));
        self.open().map_err(failed)
    }

    /// Waits for `bytes` of this entry as long as it is filled, for at most `patience` without any byte.
    ///
    /// # Errors
    /// The error of `bytes`, or that no byte came.
    pub(crate) async fn while_it_flows<T>(
        &self,
        patience: Duration,
        bytes: impl Future<Output = Result<T, Miss>>,
    ) -> Result<T, Miss> {
        let flow = match &self.life().state {
            State::Filling { flow, .. } => Some(flow.clone()),
            _ => None,
        };
        match flow {
            Some(flow) => flow.on(patience, Provider::Gateway, &self.path().display().to_string(), bytes).await,
            None => bytes.await,
        }
    }

    /// True unless the note of the ELF file states another build-id than `expected`. A file that is no ELF file has no
    /// note, nor has one that is filled and whose note was not read yet.
    ///
    /// # Errors
    /// The file cannot be read.
    pub(crate) async fn carries(&self, expected: &BuildId) -> io::Result<bool> {
        if !self.has_note() && self.is_complete() {
            // Other readers use the same descriptor.
            let mut file = PartialFile::complete(self.open()?, self.size());
            let note = spawn_blocking(move || BuildIdNote::read(&mut file)).await.map_err(io::Error::other)?;
            self.set_note(note);
        }
        Ok(self.life().note.as_ref().is_none_or(|note| note.allows(expected)))
    }
}

impl Clone for Reader {
    fn clone(&self) -> Self {
        Self::new(self.0.clone())
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let mut life = self.0.life();
        life.readers -= 1;
        if life.readers == 0
            && let State::Published { file } | State::Removed { file } = &mut life.state
        {
            let closed = file.take();
            drop(life);
            drop(closed);
        }
    }
}

impl Deref for Reader {
    type Target = Entry;

    fn deref(&self) -> &Entry {
        &self.0
    }
}

/// True if `error` of opening a published file proves that the file was removed or replaced. Other errors may pass: too
/// many files are open, or the disk fails.
pub(super) fn is_lost(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory | ErrorKind::InvalidData)
}

/// How many bytes of a file of `size` may be sent when `received` are written.
pub(super) fn sendable(received: u64, size: u64) -> u64 {
    received.min(size.saturating_sub(HELD_BACK))
}

#[cfg(test)]
mod tests;
