//! Fills an entry: decompresses an archive up to the member, on a thread of its own.

use std::io::{self, Read, Seek, SeekFrom};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use artifact::formats::ArchiveBytes;
use artifact::header::Header;
use artifact::payload::{self, Members};
use artifact::{BuildId, formats};
use tokio::sync::watch;

use super::draft::Draft;
use super::entry::Progress;
use super::growing::Growing;
use super::neighbours::Neighbours;
use super::note::Note;
use super::work::{End, Work, refused};
use super::{Entry, Files, Key};
use crate::config::Abandoned;
use crate::metrics::METRICS;
use crate::permits::Permit;
use crate::providers::archives::{Archive, Inside};
use crate::resolve::outcome::{CauseKind, Miss};

/// Starts an extraction on a thread of its own; the entry tells how far it is.
pub(super) fn start(
    files: &Files,
    key: Key,
    archive: Archive,
    build_id: Option<BuildId>,
    permit: Permit,
) -> Result<Arc<Entry>, Miss> {
    let Some(file) = archive.inside.file(key.ordinal) else {
        let nvra = archive.inside.nvra();
        return Err(Miss::Absent(format!("{nvra}: expected a regular file with number {}, found none", key.ordinal)));
    };
    let folder = files.folder.clone();
    let about = folder.about(key, file);
    // Another gateway on the same folder may have been here.
    if let Some(file) = folder.whole_file(&about) {
        return Ok(Arc::new(Entry::open(about, file)));
    }
    let (draft, room) = match folder.draft(file.size) {
        Ok(draft) => (draft, None),
        Err(error) => {
            let failure = refused(&about, &error);
            let in_memory = folder.stand_in(file.size);
            let (stand_in, room) = in_memory.map_err(|more| Miss::local(format!("{failure}; {more}")))?;
            tracing::warn!(%failure, bytes = file.size, "a member is sent from memory");
            METRICS.cache_memory_fallbacks.inc();
            (stand_in, Some(room))
        }
    };
    let reader = draft.file.try_clone().map_err(|error| refused(&about, &error))?;
    let (sender, progress) = watch::channel(Progress::Growing(0));
    let entry = Arc::new(Entry::growing(about.clone(), Arc::new(reader), room, progress));
    let (nvra, path) = (archive.inside.nvra(), file.path.clone());
    let (files, ordinal, permit) = (files.clone(), key.ordinal, Mutex::new(Some(permit)));
    let stalled = AtomicBool::new(false);
    let runtime = files.runtime.clone();
    let work =
        Arc::new(Work { files, nvra, path, ordinal, build_id, about, entry: entry.clone(), sender, permit, stalled });
    runtime.spawn(give_up_when_stalled(Arc::downgrade(&work)));
    tokio::task::spawn_blocking(move || work.run(archive, draft).keep());
    Ok(entry)
}

/// A read of a disk that is away (NFS) cannot be ended: whoever waits for the member is told when nothing came for long enough, and the permit is
/// given back. The thread ends when its read does.
async fn give_up_when_stalled(work: Weak<Work>) {
    let (mut flowed, mut since) = (0, Instant::now());
    while let Some(work) = work.upgrade() {
        let now = work.entry.flowed();
        if now != flowed {
            (flowed, since) = (now, Instant::now());
        }
        let stalled_after = work.files.stalled_after;
        if since.elapsed() >= stalled_after {
            return work.give_up();
        }
        drop(work);
        tokio::time::sleep(stalled_after / 12).await;
    }
}

impl Work {
    /// What it passes on its way is kept later: nobody waits for that.
    fn run(&self, archive: Archive, draft: Draft) -> Neighbours {
        let started = Instant::now();
        let (nvra, path) = (&self.nvra, &self.path);
        let mut neighbours = Neighbours::new(&self.files, self.path.clone(), started);
        let (result, failure) = match self.extract(archive, draft, &mut neighbours) {
            Ok(()) => return neighbours,
            Err(End::Archive(failure) | End::Differs(failure) | End::All(failure)) => {
                tracing::warn!(%nvra, path, %failure, "extraction failed");
                ("failed", failure)
            }
            Err(End::Unwanted) => {
                tracing::debug!(%nvra, path, "extraction dropped: nobody waits for it any more");
                ("dropped", Miss::gateway(CauseKind::Broken, format!("{nvra}: nobody waited for it any more")))
            }
        };
        METRICS.extractions.with_label_values(&[result]).inc();
        self.sender.send_replace(Progress::Failed(failure));
        neighbours
    }

    /// Ends it for everybody but its own thread. What is whole stays so, if only the disk takes its time.
    fn give_up(&self) {
        let limit = self.files.stalled_after;
        if !self.entry.is_whole() {
            self.stalled.store(true, Ordering::Relaxed);
            let (nvra, path) = (&self.nvra, &self.path);
            tracing::warn!(%nvra, path, ?limit, "extraction given up: no byte came");
            let text = format!("{nvra}: expected bytes of the archive within {limit:?}, found none");
            self.sender.send_replace(Progress::Failed(Miss::gateway(CauseKind::Timeout, text)));
        }
        self.permit.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    fn extract(&self, mut archive: Archive, draft: Draft, neighbours: &mut Neighbours) -> Result<(), End> {
        let file = draft.file.try_clone().map_err(|error| End::All(refused(&self.about, &error)))?;
        let (mut growing, mut draft) = (Growing::new(self, &file), Some(draft));
        while let Err(end) = self.extract_from(&mut archive, &mut growing, &mut draft, neighbours) {
            let (End::Archive(failure) | End::Differs(failure)) = &end else { return Err(end) };
            // Before anybody hears of it: who asks again shall be sent elsewhere. A package that lies does so everywhere.
            if matches!(&end, End::Archive(miss) if miss.is_of_provider()) {
                archive.place.blame();
            }
            let (nvra, path, written) = (&self.nvra, &self.path, growing.written);
            match archive.place.elsewhere() {
                Some(next) => archive = next,
                None => return Err(end),
            }
            tracing::warn!(%nvra, path, written, %failure, "extraction goes on from another location");
            METRICS.extraction_resumes.inc();
        }
        Ok(())
    }

    /// All of the member out of one archive, of which `growing` may have a part already; when it is whole, everybody is told.
    fn extract_from(
        &self,
        archive: &mut Archive,
        growing: &mut Growing<'_>,
        draft: &mut Option<Draft>,
        neighbours: &mut Neighbours,
    ) -> Result<(), End> {
        growing.begin();
        neighbours.begin();
        let unwanted = AtomicBool::new(false);
        let flowing = |payload| -> Box<dyn Read + Send> { Box::new(self.flowing(payload, &unwanted)) };
        let end = |growing: &mut Growing<'_>, error: artifact::Error| {
            growing.ended.take().unwrap_or_else(|| match unwanted.load(Ordering::Relaxed) {
                true => End::Unwanted,
                false => End::Archive(Miss::gateway(CauseKind::Broken, format!("{}: {error}", self.nvra))),
            })
        };
        match archive.enter(self.ordinal, &flowing, growing) {
            Ok(true) => return self.finish(growing, draft),
            Ok(false) => {}
            Err(error) if growing.ended.is_some() || unwanted.load(Ordering::Relaxed) => {
                return Err(end(growing, error));
            }
            Err(error) => {
                tracing::debug!(%error, nvra = self.nvra, "a payload that was entered is read from its first byte");
                growing.begin();
            }
        }
        let payload = match archive.take() {
            ArchiveBytes::Stream(payload) => ArchiveBytes::stream(self.flowing(payload, &unwanted)),
            ArchiveBytes::Seekable(payload) => ArchiveBytes::seekable(self.flowing(payload, &unwanted)),
        };
        match &archive.inside {
            Inside::Rpm(header) => {
                let archive = payload::decompress(payload).map_err(|error| end(growing, error))?;
                let mut members = Members::new(archive, header);
                self.find(header, &mut members, growing, neighbours).map_err(|error| end(growing, error))?;
                self.finish(growing, draft)?;
                neighbours.go_on(header.package.identity, &mut members);
            }
            Inside::OtherFormat { format, bytes, ordinal, file, .. } => {
                let extracted = formats::extract_member(payload, *format, *bytes, *ordinal, file, growing);
                extracted.map_err(|error| end(growing, error))?;
                self.finish(growing, draft)?;
            }
        }
        Ok(())
    }

    /// What is read of an archive, as long as the member is wanted.
    fn flowing<'a, P>(&'a self, payload: P, unwanted: &'a AtomicBool) -> Flowing<'a, P> {
        Flowing { payload, work: self, bytes: 0, started: Instant::now(), alone_since: None, unwanted }
    }

    /// Walks up to the member, and writes it.
    fn find<R: Read>(
        &self,
        header: &Header,
        members: &mut Members<'_, R>,
        growing: &mut Growing<'_>,
        neighbours: &mut Neighbours,
    ) -> artifact::Result<()> {
        neighbours.expect(header, self.ordinal);
        while let Some(mut member) = members.next()? {
            if member.holds(self.ordinal) {
                return member.deliver(growing);
            }
            neighbours.pass(header.package.identity, &mut member)?;
        }
        let file = header.file_by_ordinal(self.ordinal);
        Err(file.map_or(
            artifact::Error::Payload { expected: self.path.clone(), found: "no such file".into() },
            payload::missing_member,
        ))
    }

    /// All bytes are there, and are those of the header: everybody is told, and then the file gets its name.
    fn finish(&self, growing: &mut Growing<'_>, draft: &mut Option<Draft>) -> Result<(), End> {
        if let Some(expected) = &self.build_id
            && (growing.rewritten || !self.entry.is_noted())
        {
            let note = Note::of(&mut &*growing.file);
            self.expect(expected, &note)?;
            self.entry.note(note);
        }
        let (nvra, path, seconds) = (&self.nvra, &self.path, growing.began.elapsed().as_secs_f64());
        METRICS.extraction_duration.observe(seconds);
        METRICS.extractions.with_label_values(&["complete"]).inc();
        tracing::debug!(%nvra, path, bytes = self.about.size, seconds, "extracted");
        METRICS.cache_unsynced_files.inc();
        // Clients do not wait for the disk.
        self.sender.send_replace(Progress::Whole);
        match draft.take() {
            Some(draft) if self.is_to_be_kept() => self.keep(draft),
            _ => self.leave(),
        }
        METRICS.cache_unsynced_files.dec();
        // Not before: what the disk has still to take is no more than extractions may bring at a time.
        self.permit.lock().unwrap_or_else(PoisonError::into_inner).take();
        Ok(())
    }

    /// Not what the cache has no place for, nor where neither it nor a reader has it: who began the extraction went away before it was in
    /// the cache.
    fn is_to_be_kept(&self) -> bool {
        let has_place = !self.entry.is_in_memory() && self.files.fits(self.about.size);
        has_place && !self.entry.is_evicted() && Arc::strong_count(&self.entry) > 1
    }

    /// Brings the whole file to the disk and gives it its name; whoever has it open goes on where that fails.
    fn keep(&self, draft: Draft) {
        let synced = draft.file.sync_data();
        let is_synced = synced.is_ok();
        match synced.and_then(|()| self.entry.name(|| self.files.folder.publish(draft, &self.about))) {
            Ok(()) => {
                self.sender.send_replace(Progress::Kept);
            }
            Err(error) => {
                let (nvra, cause) = (&self.nvra, refused(&self.about, &error));
                tracing::warn!(%nvra, %cause, "a whole member could not be kept");
                if is_synced {
                    return self.leave();
                }
                // What is read from now on need not be what was written.
                self.sender.send_replace(Progress::Failed(cause));
            }
        }
    }

    /// The disk does not get it.
    fn leave(&self) {
        self.entry.unnamed();
        self.sender.send_replace(Progress::Kept);
    }
}

/// The archive, read as long as somebody wants the member and it comes as fast as clients ask for: they give up below 100 KiB/s over
/// 90 s, too.
struct Flowing<'a, P> {
    payload: P,
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

impl<P> Flowing<'_, P> {
    /// Has nobody a use for the member? The extraction itself has an entry, the cache another one, and everybody who waits or reads.
    fn is_unwanted(&mut self) -> bool {
        if self.work.stalled.load(Ordering::Relaxed) {
            return true;
        }
        let entries = Arc::strong_count(&self.work.entry);
        if entries > 2 {
            self.alone_since = None;
            return false;
        }
        let alone_since = *self.alone_since.get_or_insert_with(Instant::now);
        let dropped = self.work.files.abandoned == Abandoned::Cancel && alone_since.elapsed() >= ALONE_FOR;
        dropped || entries == 1 && self.work.entry.is_evicted()
    }
}

impl<P: Read> Read for Flowing<'_, P> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        if self.is_unwanted() {
            self.unwanted.store(true, Ordering::Relaxed);
            return Err(io::Error::other("nobody waits for it any more"));
        }
        let took = self.started.elapsed();
        if took > SLOWNESS_COUNTS_AFTER && self.bytes / took.as_secs() < SLOWEST_BYTES_PER_SECOND {
            let found = self.bytes / took.as_secs();
            let text =
                format!("expected at least {SLOWEST_BYTES_PER_SECOND} bytes of the archive a second, found {found}");
            return Err(io::Error::other(text));
        }
        let read = self.payload.read(bytes)?;
        self.bytes += read as u64;
        self.work.entry.flows(read);
        METRICS.archive_read_bytes.inc_by(read as u64);
        Ok(read)
    }
}

impl<P: Seek> Seek for Flowing<'_, P> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.payload.seek(to)
    }
}

#[cfg(test)]
mod tests;
