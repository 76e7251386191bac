//! Fills an entry: decompresses an archive up to the member, on a thread of its own.

use std::io::{self, ErrorKind, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use artifact::BuildId;
use tokio::sync::watch;

use super::disk::Draft;
use super::entry::{About, Note, Progress};
use super::growing::Growing;
use super::{Entry, Key, disk};
use crate::archives::{Archive, Failure};
use crate::config::Abandoned;
use crate::metrics::METRICS;
use crate::turns::Turn;

/// Starts an extraction on a thread of its own; the entry tells how far it is.
pub(super) fn start(
    folder: Arc<disk::Folder>,
    key: Key,
    archive: Archive,
    build_id: Option<BuildId>,
    turn: Turn,
    abandoned: Abandoned,
) -> Result<Arc<Entry>, Failure> {
    let Some(file) = archive.inside.file(key.ordinal) else {
        let nvra = archive.inside.nvra();
        return Err(Failure::Absent(format!("{nvra}: expected a regular file with number {}, found none", key.ordinal)));
    };
    let digest = file.digest.as_ref().map(ToString::to_string).unwrap_or_default();
    let path = folder.path(key, file.size, &digest);
    let signature = file.signature.as_deref().map(Into::into);
    let about = About { size: file.size, mtime: i64::from(file.mtime), digest, signature, path };

    // Another gateway on the same folder may have been here.
    if folder.has(&about) {
        return Ok(Arc::new(Entry::whole(about)));
    }
    let (draft, room) = match folder.draft(file.size) {
        Ok(draft) => (draft, None),
        Err(error) => {
            let failure = refused(&about, &error);
            let in_memory = folder.stand_in(file.size);
            let (stand_in, room) = in_memory.map_err(|more| Failure::Here(format!("{failure}; {more}")))?;
            tracing::warn!(%failure, bytes = file.size, "a member is sent from memory");
            METRICS.files_in_memory.inc();
            (stand_in, Some(room))
        }
    };
    let reader = draft.file.try_clone().map_err(|error| refused(&about, &error))?;
    let (sender, progress) = watch::channel(Progress::Growing(0));
    let entry = Arc::new(Entry::growing(about.clone(), Arc::new(reader), room, progress));
    let (nvra, path) = (archive.inside.nvra(), file.path.clone());
    let work = Work { folder, nvra, path, ordinal: key.ordinal, build_id, about, entry: entry.clone(), sender, abandoned };
    tokio::task::spawn_blocking(move || {
        work.run(archive, draft);
        drop(turn);
    });
    Ok(entry)
}

/// The cache folder did not take a member: counted, with the cause.
pub(super) fn refused(about: &About, error: &io::Error) -> Failure {
    let full = matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded);
    METRICS.files_refused.with_label_values(&[if full { "full" } else { "failed" }]).inc();
    let folder = about.path.parent().unwrap_or(&about.path);
    Failure::Here(format!("cache folder {}: {error}", folder.display()))
}

/// One extraction.
pub(super) struct Work {
    folder: Arc<disk::Folder>,
    pub(super) nvra: String,
    /// Path of the member.
    path: String,
    ordinal: u32,
    pub(super) build_id: Option<BuildId>,
    pub(super) about: About,
    pub(super) entry: Arc<Entry>,
    pub(super) sender: watch::Sender<Progress>,
    abandoned: Abandoned,
}

/// Why an archive did not give the member.
pub(super) enum End {
    /// Another one may give it.
    Archive(Failure),
    /// It has other bytes than those that somebody may have seen, and it may be the one that is right.
    Differs(Failure),
    /// No other one would.
    All(Failure),
    /// Nobody waits for it any more.
    Unwanted,
}

impl Work {
    fn run(self, archive: Archive, draft: Draft) {
        let started = Instant::now();
        let (nvra, path) = (&self.nvra, &self.path);
        let (result, progress) = match self.extract(archive, draft) {
            Ok(()) => {
                METRICS.extraction_seconds.observe(started.elapsed().as_secs_f64());
                tracing::debug!(%nvra, path, bytes = self.about.size, seconds = started.elapsed().as_secs_f64(), "extracted");
                ("whole", Progress::Whole)
            }
            Err(End::Archive(failure) | End::Differs(failure) | End::All(failure)) => {
                tracing::warn!(%nvra, path, %failure, "extraction failed");
                ("failed", Progress::Failed(failure))
            }
            Err(End::Unwanted) => {
                tracing::debug!(%nvra, path, "extraction dropped: nobody waits for it any more");
                ("dropped", Progress::Failed(Failure::Unknown(format!("{nvra}: nobody waited for it any more"))))
            }
        };
        METRICS.extractions.with_label_values(&[result]).inc();
        self.sender.send_replace(progress);
    }

    fn extract(&self, mut archive: Archive, draft: Draft) -> Result<(), End> {
        let mut growing = Growing::new(self, &draft.file);
        while let Err(end) = self.extract_from(&mut archive, &mut growing) {
            let (End::Archive(failure) | End::Differs(failure)) = &end else { return Err(end) };
            // Before anybody hears of it: who asks again shall be sent elsewhere. A package that lies does so everywhere.
            if matches!(end, End::Archive(Failure::Unknown(_))) {
                archive.place.blame();
            }
            let (nvra, path, written) = (&self.nvra, &self.path, growing.written);
            match archive.place.elsewhere() {
                Some(next) => archive = next,
                None => return Err(end),
            }
            tracing::warn!(%nvra, path, written, %failure, "extraction goes on from another location");
            METRICS.extractions_continued.inc();
        }
        // Neither the cache nor a reader has it: who began the extraction went away before it was in the cache.
        let is_abandoned = Arc::strong_count(&self.entry) == 1;
        if self.entry.is_in_memory() {
            self.entry.unnamed();
        } else if !is_abandoned && !self.entry.is_evicted() {
            draft.file.sync_data().map_err(|error| End::All(refused(&self.about, &error)))?;
            match self.publish(draft) {
                Ok(()) => self.entry.named(),
                Err(error) => {
                    let (nvra, cause) = (&self.nvra, refused(&self.about, &error));
                    tracing::warn!(%nvra, %cause, "a whole member could not be kept");
                    self.entry.unnamed();
                }
            }
        }
        Ok(())
    }

    /// All of the member out of one archive, of which `growing` may have a part already.
    fn extract_from(&self, archive: &mut Archive, growing: &mut Growing<'_>) -> Result<(), End> {
        growing.begin();
        let unwanted = AtomicBool::new(false);
        let flowing = |payload| -> Box<dyn Read + Send> {
            Box::new(Flowing { payload, work: self, bytes: 0, started: Instant::now(), alone_since: None, unwanted: &unwanted })
        };
        let extracted = archive.extract(self.ordinal, &flowing, growing);
        if let Some(end) = growing.ended.take() {
            return Err(end);
        }
        match extracted {
            Err(_) if unwanted.load(Ordering::Relaxed) => return Err(End::Unwanted),
            Err(error) => return Err(End::Archive(Failure::Unknown(format!("{}: {error}", self.nvra)))),
            Ok(()) => {}
        }
        match &self.build_id {
            Some(expected) if growing.rewritten || !self.entry.is_noted() => {
                let note = Note::of(growing.file);
                self.expect(expected, &note)?;
                self.entry.note(note);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn publish(&self, draft: Draft) -> io::Result<()> {
        let About { path, mtime, signature, .. } = &self.about;
        if let Some(signature) = signature {
            self.folder.keep_signature(path, signature)?;
        }
        draft.publish(&self.folder, path, *mtime)
    }

    /// Expects what a file says of its build-id.
    pub(super) fn expect(&self, expected: &BuildId, note: &Note) -> Result<(), End> {
        let nvra = &self.nvra;
        let found = match note {
            note if note.allows(expected) => return Ok(()),
            Note::Says(Some(found)) => found.to_string(),
            _ => "none".to_owned(),
        };
        Err(End::Archive(Failure::Absent(format!("{nvra}: expected a file with build-id {expected}, found {found}"))))
    }
}

/// The archive, read as long as somebody wants the member and it comes as fast as clients ask for: they give up below 100 KiB/s over
/// 90 s, too.
struct Flowing<'a> {
    payload: Box<dyn Read + Send>,
    work: &'a Work,
    bytes: u64,
    started: Instant,
    alone_since: Option<Instant>,
    unwanted: &'a AtomicBool,
}

const SLOWEST_BYTES_PER_SECOND: u64 = 100 << 10;
const SLOWNESS_COUNTS_AFTER: Duration = Duration::from_secs(90);

/// Who comes back within this time finds an extraction that would be dropped.
const ALONE_FOR: Duration = Duration::from_secs(5);

impl Flowing<'_> {
    /// Has nobody a use for the member? The extraction itself has an entry, the cache another one, and everybody who waits or reads.
    fn is_unwanted(&mut self) -> bool {
        let entries = Arc::strong_count(&self.work.entry);
        if entries > 2 {
            self.alone_since = None;
            return false;
        }
        let alone_since = *self.alone_since.get_or_insert_with(Instant::now);
        let dropped = self.work.abandoned == Abandoned::Drop && alone_since.elapsed() >= ALONE_FOR;
        dropped || entries == 1 && self.work.entry.is_evicted()
    }
}

impl Read for Flowing<'_> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        if self.is_unwanted() {
            self.unwanted.store(true, Ordering::Relaxed);
            return Err(io::Error::other("nobody waits for it any more"));
        }
        let took = self.started.elapsed();
        if took > SLOWNESS_COUNTS_AFTER && self.bytes / took.as_secs() < SLOWEST_BYTES_PER_SECOND {
            let found = self.bytes / took.as_secs();
            let text = format!("expected at least {SLOWEST_BYTES_PER_SECOND} bytes of the archive a second, found {found}");
            return Err(io::Error::other(text));
        }
        let read = self.payload.read(bytes)?;
        self.bytes += read as u64;
        self.work.entry.flows(read);
        METRICS.archive_bytes.inc_by(read as u64);
        Ok(read)
    }
}
