//! Fills an entry: decompresses an archive up to the member, on a thread of its own.

use std::fmt;
use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use artifact::{BuildId, elf};
use tokio::sync::watch;

use super::disk::Draft;
use super::entry::{About, Progress};
use super::{Entry, Key, disk};
use crate::archives::{Archive, Failure, Inside, Place};
use crate::metrics::METRICS;
use crate::turns::Turn;

/// How much of an ELF file is looked at before the first byte leaves.
const FIRST_BYTES: u64 = 64 << 10;

/// Starts an extraction on a thread of its own; the entry tells how far it is.
pub(super) fn start(
    folder: Arc<disk::Folder>,
    key: Key,
    archive: Archive,
    build_id: Option<BuildId>,
    turn: Turn,
) -> Result<Arc<Entry>, Failure> {
    let Some(file) = archive.inside.file(key.ordinal) else {
        let nvra = archive.inside.nvra();
        return Err(Failure::Absent(format!("{nvra}: expected a regular file with number {}, found none", key.ordinal)));
    };
    let digest = file.digest.as_ref().map(ToString::to_string).unwrap_or_default();
    let path = folder.path(key, file.size, &digest);
    let signature = file.signature.as_deref().map(Into::into);
    let about = About { size: file.size, mtime: i64::from(file.mtime), digest, signature, path };

    let refused = |error| refused(&about, &error);
    let draft = folder.draft(file.size).map_err(refused)?;
    let reader = draft.file.try_clone().map_err(refused)?;
    let (sender, progress) = watch::channel(Progress::Growing(0));
    let entry = Arc::new(Entry::growing(about.clone(), Arc::new(reader), progress));
    let path = file.path.clone();
    let Archive { inside, payload, place } = archive;
    let nvra = inside.nvra();
    let work = Work { folder, inside, nvra, path, ordinal: key.ordinal, build_id, about, entry: entry.clone(), sender, place };
    tokio::task::spawn_blocking(move || {
        work.run(payload, draft);
        drop(turn);
    });
    Ok(entry)
}

/// The cache folder did not take a member: counted, with the cause.
fn refused(about: &About, error: &io::Error) -> Failure {
    let full = matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded);
    METRICS.files_refused.with_label_values(&[if full { "full" } else { "failed" }]).inc();
    let folder = about.path.parent().unwrap_or(&about.path);
    Failure::Here(format!("cache folder {}: {error}", folder.display()))
}

/// One extraction.
struct Work {
    folder: Arc<disk::Folder>,
    inside: Inside,
    nvra: String,
    /// Path of the member.
    path: String,
    ordinal: u32,
    build_id: Option<BuildId>,
    about: About,
    entry: Arc<Entry>,
    sender: watch::Sender<Progress>,
    place: Place,
}

impl Work {
    fn run(self, payload: Box<dyn Read + Send>, draft: Draft) {
        let started = Instant::now();
        let (nvra, path) = (&self.nvra, &self.path);
        match self.extract(payload, draft) {
            Ok(()) => {
                METRICS.extractions.with_label_values(&["whole"]).inc();
                METRICS.extraction_seconds.observe(started.elapsed().as_secs_f64());
                tracing::debug!(%nvra, path, bytes = self.about.size, seconds = started.elapsed().as_secs_f64(), "extracted");
                self.sender.send_replace(Progress::Whole);
            }
            Err(failure) => {
                METRICS.extractions.with_label_values(&["failed"]).inc();
                tracing::warn!(%nvra, path, %failure, "extraction failed");
                // Before anybody hears of it: who asks again shall be sent elsewhere. A package that lies does so everywhere.
                if matches!(failure, Failure::Unknown(_)) {
                    self.place.clone().blame();
                }
                self.sender.send_replace(Progress::Failed(failure));
            }
        }
    }

    fn extract(&self, payload: Box<dyn Read + Send>, draft: Draft) -> Result<(), Failure> {
        let nvra = &self.nvra;
        let unknown = |error: &dyn fmt::Display| Failure::Unknown(format!("{nvra}: {error}"));
        let mut growing = Growing { work: self, file: &draft.file, first: Vec::new(), written: 0, ended: None };
        let archive = Flowing { payload, work: self, bytes: 0, started: Instant::now() };
        let extracted = self.inside.extract(archive, self.ordinal, &mut growing);
        if let Some(failure) = growing.ended {
            return Err(failure);
        }
        extracted.map_err(|error| unknown(&error))?;
        if !self.entry.is_noted() {
            self.check_whole(&draft.file)?;
        }
        // Neither the cache nor a reader has it: who began the extraction went away before it was in the cache.
        let is_abandoned = Arc::strong_count(&self.entry) == 1;
        if !is_abandoned && !self.entry.is_evicted() {
            draft.file.sync_data().map_err(|error| refused(&self.about, &error))?;
            match self.publish(draft) {
                Ok(()) => self.entry.named(),
                Err(error) => {
                    let cause = refused(&self.about, &error);
                    tracing::warn!(%nvra, %cause, "a whole member could not be kept");
                    self.entry.unnamed();
                }
            }
        }
        Ok(())
    }

    fn publish(&self, draft: Draft) -> io::Result<()> {
        let About { path, mtime, signature, .. } = &self.about;
        if let Some(signature) = signature {
            self.folder.keep_signature(path, signature)?;
        }
        draft.publish(&self.folder, path, *mtime)
    }

    /// The build-id of a whole file whose first bytes did not show it. What is not ELF has no say: a compressed kernel module, whose
    /// link names what is inside.
    fn check_whole(&self, mut file: &File) -> Result<(), Failure> {
        let elf = self.build_id.is_some().then(|| elf::read(&mut file).ok().flatten()).flatten();
        elf.and_then(|elf| elf.build_id).map_or(Ok(()), |found| self.check(found))
    }

    fn check(&self, found: BuildId) -> Result<(), Failure> {
        match &self.build_id {
            Some(expected) if *expected != found => {
                let nvra = &self.nvra;
                Err(Failure::Absent(format!("{nvra}: expected a file with build-id {expected}, found {found}")))
            }
            _ => {
                self.entry.note(found);
                Ok(())
            }
        }
    }
}

/// The archive, read as long as somebody wants the member and it comes as fast as clients ask for: they give up below 100 KiB/s over
/// 90 s, too.
struct Flowing<'a> {
    payload: Box<dyn Read + Send>,
    work: &'a Work,
    bytes: u64,
    started: Instant,
}

const SLOWEST_BYTES_PER_SECOND: u64 = 100 << 10;
const SLOWNESS_COUNTS_AFTER: Duration = Duration::from_secs(90);

impl Read for Flowing<'_> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        if self.work.entry.is_evicted() && Arc::strong_count(&self.work.entry) == 1 {
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
        Ok(read)
    }
}

/// Writes a file and says how far it is; checks the first bytes before anybody may see them.
struct Growing<'a> {
    work: &'a Work,
    file: &'a File,
    first: Vec<u8>,
    written: u64,
    /// Why it ended, where the archive did not say so: the cache folder did not take it, or it carries another build-id than its
    /// package says.
    ended: Option<Failure>,
}

impl Write for Growing<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let first_bytes = self.work.about.size.min(FIRST_BYTES);
        if self.written < first_bytes {
            self.first.extend_from_slice(bytes);
        }
        if let Err(error) = self.file.write_all(bytes) {
            self.ended = Some(refused(&self.work.about, &error));
            return Err(error);
        }
        self.written += bytes.len() as u64;
        self.work.entry.flows(bytes.len());
        if self.written >= first_bytes {
            if !self.first.is_empty() {
                let first = std::mem::take(&mut self.first);
                if let Some(Err(lie)) = elf::early_build_id(&first).map(|found| self.work.check(found)) {
                    self.ended = Some(lie);
                    return Err(io::Error::other("another build-id"));
                }
            }
            self.work.sender.send_replace(Progress::Growing(self.written));
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
