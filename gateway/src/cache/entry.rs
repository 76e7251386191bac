//! One extracted member, read while it grows.

use std::fs::{File, Metadata};
use std::io::{self, BufReader};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use artifact::{BuildId, Identity};
use tokio::sync::watch;
use tokio::task::spawn_blocking;

use super::Content;
use super::cost::keep_cost;
use super::note::Note;
use super::sections::Begun;
use super::signature::{self, Signature};
use super::stand_in::Room;
use crate::providers::archives::read_header;
use crate::providers::flow::Flow;
use crate::resolve::outcome::{CauseKind, Miss, Provider};

/// What is held back of a growing file until its digest is known to be right, so that a wrong file is never complete for anybody.
const HELD_BACK: u64 = 64 << 10;

/// Of every file that is there already: a channel of its own takes 400 bytes, and a cache may have millions of small files.
static KEPT: LazyLock<watch::Receiver<Progress>> = LazyLock::new(|| watch::channel(Progress::Kept).1);

/// An extracted member.
pub(crate) struct Entry {
    about: About,
    /// The descriptor while the file has no name: while it grows, and when it was evicted; and a moment longer, for who asked for it.
    /// Otherwise it is opened by its name, so that a full cache does not hold thousands.
    held: Mutex<Option<Arc<File>>>,
    /// By whoever gives the file its name or takes it away: a disk may take its time for that, and readers do not wait for it.
    naming: Mutex<()>,
    progress: watch::Receiver<Progress>,
    /// What the file's own note says, once that was looked at.
    note: OnceLock<Note>,
    /// Put out of the cache: the file is to have no name.
    evicted: AtomicBool,
    /// Bytes read of the archive and written of the member.
    flow: Flow,
    /// When it was last asked for, seconds since 1970; 0 for never.
    used: AtomicU64,
    /// An archive as it was opened: others may write into it.
    opened: Option<State>,
    /// In memory, because the disk did not take it.
    room: Option<Room>,
    /// Kept before anybody asked for it.
    unmet: AtomicBool,
}

/// What changes when somebody writes into a file: its size, and when it was written.
#[derive(Clone, Copy, PartialEq, Eq)]
struct State {
    size: u64,
    mtime: (i64, i64),
}

/// What is known of a member before its bytes.
#[derive(Clone, Debug)]
pub(crate) struct About {
    /// Bytes.
    pub(crate) size: u64,
    /// Seconds since 1970.
    pub(crate) mtime: i64,
    /// Hex digest of the contents out of the package's header; `""` where it has none.
    pub(crate) digest: String,
    /// The file's own, where the package has one.
    pub(crate) signature: Option<Signature>,
    /// Where the whole file is or will be.
    pub(crate) path: PathBuf,
}

/// How far an extraction is.
#[derive(Clone, Debug)]
pub(crate) enum Progress {
    /// So many bytes are written, not yet verified.
    Growing(u64),
    /// All there and verified; the disk may not have it yet.
    Whole,
    /// All there, and the disk has it under its name, unless it was evicted.
    Kept,
    /// Ended: why.
    Failed(Miss),
}

impl Entry {
    /// An entry that `progress` tells about.
    pub(super) fn growing(
        about: About,
        file: Arc<File>,
        room: Option<Room>,
        progress: watch::Receiver<Progress>,
    ) -> Self {
        Self { room, ..Self::new(about, Some(file), progress) }
    }

    /// An entry whose file is there.
    pub(super) fn whole(about: About) -> Self {
        Self::new(about, None, KEPT.clone())
    }

    /// An entry whose file is there, open.
    pub(super) fn open(about: About, file: File) -> Self {
        Self::new(about, Some(Arc::new(file)), KEPT.clone())
    }

    /// An entry whose file is there, and that nobody asked for.
    pub(super) fn unmet(about: About) -> Self {
        Self { unmet: AtomicBool::new(true), ..Self::whole(about) }
    }

    /// The module of `size` bytes that the compressed kernel module `of` holds. A signature of the compressed file is
    /// none of this one.
    pub(super) fn decompressed(of: &Self, file: File, size: u64, room: Option<Room>) -> Self {
        // One digest names one content.
        let digest = if of.digest().is_empty() { String::new() } else { format!("{}-module", of.digest()) };
        let about = About { size, mtime: of.mtime(), digest, signature: None, path: PathBuf::new() };
        Self { room, ..Self::open(about, file) }
    }

    /// What is known of the member.
    pub(super) fn about(&self) -> &About {
        &self.about
    }

    /// Is it asked for the first time, having been kept before?
    pub(super) fn is_met(&self) -> bool {
        self.unmet.swap(false, Ordering::Relaxed)
    }

    /// A file that is no member of anything and in no cache: an archive itself.
    ///
    /// # Errors
    /// Where its metadata cannot be read.
    pub(crate) fn of(file: File) -> io::Result<Self> {
        let metadata = file.metadata()?;
        let (size, mtime) = (metadata.len(), metadata.mtime());
        let about = About { size, mtime, digest: String::new(), signature: None, path: PathBuf::new() };
        Ok(Self { opened: Some(State::of(&metadata)), ..Self::open(about, file) })
    }

    /// Expects an archive to be as it was opened; of a member there is nothing to expect.
    pub(super) async fn expect_as_opened(&self, file: &Arc<File>) -> io::Result<()> {
        let Some(opened) = self.opened else { return Ok(()) };
        let file = file.clone();
        let found = spawn_blocking(move || file.metadata()).await.map_err(io::Error::other)??;
        if State::of(&found) == opened {
            return Ok(());
        }
        Err(io::Error::other("expected an archive that stays as it was opened, found it changed"))
    }

    /// Expects an archive to be the package `identity`.
    ///
    /// # Errors
    /// It is another one, or cannot be read.
    pub(crate) fn read_header(&self, identity: Identity, store: &str, place: &str) -> Result<(), Miss> {
        let file =
            self.file().map_err(|error| Miss::store(store, CauseKind::of_io(&error), format!("{place}: {error}")))?;
        read_header(&mut BufReader::new(&*file), identity, store, place).map(drop)
    }

    fn new(about: About, held: Option<Arc<File>>, progress: watch::Receiver<Progress>) -> Self {
        Self {
            about,
            held: Mutex::new(held),
            naming: Mutex::new(()),
            progress,
            note: OnceLock::new(),
            evicted: AtomicBool::new(false),
            flow: Flow::default(),
            used: AtomicU64::new(0),
            opened: None,
            room: None,
            unmet: AtomicBool::new(false),
        }
    }

    /// Bytes.
    pub(crate) fn size(&self) -> u64 {
        self.about.size
    }

    /// Seconds since 1970.
    pub(crate) fn mtime(&self) -> i64 {
        self.about.mtime
    }

    /// Hex digest of the contents; `""` where the package has none.
    pub(crate) fn digest(&self) -> &str {
        &self.about.digest
    }

    /// The signature of the whole file, where its package has one.
    pub(crate) fn signature(&self) -> Option<&Signature> {
        self.about.signature.as_ref()
    }

    /// Where the whole file is or will be; empty for what is no member.
    pub(super) fn path(&self) -> &Path {
        &self.about.path
    }

    /// Is it a member, whose name says what it is?
    pub(super) fn has_name(&self) -> bool {
        !self.about.path.as_os_str().is_empty()
    }

    /// All of it.
    pub(crate) fn content(self: &Arc<Self>) -> Content {
        Content::whole(self.clone())
    }

    /// Has the disk not taken it?
    pub(super) fn is_in_memory(&self) -> bool {
        self.room.is_some()
    }

    /// Neither failed nor lost.
    pub(super) fn is_usable(&self) -> bool {
        match &*self.progress.borrow() {
            Progress::Growing(_) => true,
            Progress::Whole | Progress::Kept if self.is_evicted() => false,
            Progress::Whole => true,
            Progress::Kept => std::fs::symlink_metadata(&self.about.path).is_ok_and(|found| found.len() == self.size()),
            Progress::Failed(_) => false,
        }
    }

    /// Is it all there?
    pub(super) fn is_whole(&self) -> bool {
        matches!(&*self.progress.borrow(), Progress::Whole | Progress::Kept)
    }

    /// Did its extraction fail, from every location?
    pub(crate) fn has_failed(&self) -> bool {
        matches!(&*self.progress.borrow(), Progress::Failed(_))
    }

    /// Comes when the extraction has ended and the disk has what it brought: did it fail? Holds no entry.
    pub(super) fn failed(&self) -> impl Future<Output = bool> + use<> {
        let mut progress = self.progress.clone();
        async move {
            let ended = progress.wait_for(|progress| matches!(progress, Progress::Kept | Progress::Failed(_))).await;
            ended.is_ok_and(|progress| matches!(*progress, Progress::Failed(_)))
        }
    }

    /// It is asked for: for the first time in this second?
    pub(super) fn use_now(&self) -> bool {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs());
        self.used.swap(now, Ordering::Relaxed) != now
    }

    /// Keeps beside the file what it cost, for the next run.
    pub(super) fn keep_cost(&self, cost: Duration) {
        if let Err(error) = self.file().and_then(|file| keep_cost(&file, cost)) {
            tracing::debug!(path = %self.about.path.display(), %error, "what a file cost will be guessed after a restart");
        }
    }

    /// Waits until the file is whole.
    ///
    /// # Errors
    /// Why the extraction failed.
    pub(crate) async fn whole_file(&self) -> Result<Arc<File>, Miss> {
        self.available(self.size()).await?;
        let failed = |error| Miss::gateway(CauseKind::of_io(&error), format!("{}: {error}", self.about.path.display()));
        self.file().map_err(failed)
    }

    /// Waits for bytes of this entry as long as its extraction goes on, for at most `patience` without any byte.
    ///
    /// # Errors
    /// What `bytes` says, or that it does not go on.
    pub(crate) async fn while_it_flows<T>(
        &self,
        patience: Duration,
        bytes: impl Future<Output = Result<T, Miss>>,
    ) -> Result<T, Miss> {
        self.flow.on(patience, Provider::Gateway, &self.about.path.display().to_string(), bytes).await
    }

    /// How many bytes flowed so far.
    pub(super) fn flowed(&self) -> u64 {
        self.flow.bytes()
    }

    /// So many bytes were read or written.
    pub(super) fn flows(&self, bytes: usize) {
        self.flow.add(bytes);
    }

    /// Does the ELF file's own note say `expected`? What is no ELF file has no say, nor one that nobody looked at while it grows.
    ///
    /// # Errors
    /// Where the file cannot be read any more, or its extraction failed.
    pub(crate) async fn carries(&self, expected: &BuildId) -> io::Result<bool> {
        if self.note.get().is_none() && self.is_whole() {
            // Others may read the same descriptor.
            let mut file = Begun::whole(self.file()?, self.size());
            let note = spawn_blocking(move || Note::of(&mut file)).await.map_err(io::Error::other)?;
            self.note.get_or_init(|| note);
        }
        Ok(self.note.get().is_none_or(|note| note.allows(expected)))
    }

    /// This was found.
    pub(super) fn note(&self, note: Note) {
        self.note.get_or_init(|| note);
    }

    /// Was the build-id looked at?
    pub(super) fn is_noted(&self) -> bool {
        self.note.get().is_some()
    }

    /// Was it put out of the cache?
    pub(super) fn is_evicted(&self) -> bool {
        self.evicted.load(Ordering::SeqCst)
    }

    /// Has `publish` give the file its name, unless it was evicted while it grew. From now on it is held open for reading alone: what is open
    /// for writing keeps a disk from being mounted read-only.
    pub(super) fn name(&self, publish: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        let _naming = self.naming.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.is_evicted() {
            publish()?;
            if let Ok(file) = File::open(&self.about.path) {
                *self.held() = Some(Arc::new(file));
            }
        }
        Ok(())
    }

    /// Lets go of the descriptor: from now on the file is opened by its name, if it has one.
    pub(super) fn let_go(&self) {
        let mut held = self.held();
        if !self.is_evicted() {
            held.take();
        }
    }

    fn held(&self) -> MutexGuard<'_, Option<Arc<File>>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The file is whole and gets no name: who reads it goes on, and the next one has it extracted again.
    pub(super) fn unnamed(&self) {
        self.evicted.store(true, Ordering::SeqCst);
    }

    /// Takes the file's name away, once: later it is another one's. When this comes back, it is gone. Whoever still holds the entry has
    /// a descriptor.
    pub(super) fn evict(&self) {
        let open = || File::open(&self.about.path).map(Arc::new).ok();
        self.leave_folder(|held| *held = held.take().or_else(open));
    }

    /// The same without a descriptor: the disk has its room back when nobody has the file open.
    pub(super) fn evict_for_room(&self) {
        self.leave_folder(|held| *held = None);
    }

    fn leave_folder(&self, hold: impl FnOnce(&mut Option<Arc<File>>)) {
        let _naming = self.naming.lock().unwrap_or_else(PoisonError::into_inner);
        // First, so that nobody lets go of what is held now.
        if !self.evicted.swap(true, Ordering::SeqCst) {
            hold(&mut self.held());
            self.remove();
        }
    }

    /// Takes its name away. Who has the file open goes on reading.
    pub(super) fn remove(&self) {
        let signature = self.about.signature.as_ref().map_or(Ok(()), |_| signature::remove(&self.about.path));
        for removed in [std::fs::remove_file(&self.about.path), signature] {
            if let Err(error) = removed
                && error.kind() != io::ErrorKind::NotFound
            {
                tracing::warn!(path = %self.about.path.display(), %error, "an evicted file could not be removed");
            }
        }
    }

    pub(super) fn file(&self) -> io::Result<Arc<File>> {
        let held = || self.held().clone();
        if let Some(file) = held() {
            return Ok(file);
        }
        // Evicted just now: then the descriptor is held again.
        File::open(&self.about.path).map(Arc::new).or_else(|error| held().ok_or(error))
    }

    /// Waits until the bytes up to `end` may leave, and says up to where they may.
    pub(super) async fn available(&self, end: u64) -> Result<u64, Miss> {
        let mut progress = self.progress.clone();
        loop {
            match &*progress.borrow_and_update() {
                Progress::Whole | Progress::Kept => return Ok(self.size()),
                Progress::Failed(failure) => return Err(failure.clone()),
                Progress::Growing(written) => {
                    let may_leave = may_leave(*written, self.size());
                    if may_leave >= end {
                        return Ok(may_leave);
                    }
                }
            }
            let ended = |_| Miss::gateway(CauseKind::Broken, "the extraction ended early");
            progress.changed().await.map_err(ended)?;
        }
    }
}

/// How many bytes of a file of `size` may leave when `written` are there.
pub(super) fn may_leave(written: u64, size: u64) -> u64 {
    written.min(size.saturating_sub(HELD_BACK))
}

impl State {
    fn of(metadata: &Metadata) -> Self {
        Self { size: metadata.len(), mtime: (metadata.mtime(), metadata.mtime_nsec()) }
    }
}

#[cfg(test)]
mod tests;
