//! Fills an entry: decompresses an archive up to the member, on a thread of its own.

use std::fs::File;
use std::io::{self, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use artifact::header::Header;
use artifact::{BuildId, elf, payload};
use tokio::sync::watch;

use super::disk::Draft;
use super::entry::{About, Progress};
use super::{Entry, Key, disk};
use crate::archives::{Archive, Failure, Place};
use crate::metrics::METRICS;

/// How much of an ELF file is looked at before the first byte leaves.
const FIRST_BYTES: u64 = 64 << 10;
/// How long the first bytes may take: a client gives up after 90 s without any.
const FIRST_BYTES_TIMEOUT: Duration = Duration::from_secs(75);

/// Starts an extraction; comes back when the first bytes are there and right, or when it failed before.
pub(super) async fn start(
    folder: Arc<disk::Folder>,
    key: Key,
    archive: Archive,
    build_id: Option<BuildId>,
) -> Result<Arc<Entry>, Failure> {
    let nvra = archive.header.package.nevra.nvra();
    let unknown = |error: &dyn std::fmt::Display| Failure::Unknown(format!("{nvra}: {error}"));
    let Some(file) = archive.header.by_ordinal(key.ordinal).filter(|file| file.is_regular()) else {
        return Err(Failure::Absent(format!("{nvra}: expected a regular file with number {}, found none", key.ordinal)));
    };
    let digest = file.digest.as_ref().map(ToString::to_string).unwrap_or_default();
    let path = folder.path(key, &digest);
    let about = About { size: file.size, mtime: i64::from(file.mtime), digest, path };

    let draft = folder.draft().map_err(|error| unknown(&error))?;
    let reader = draft.file.try_clone().map_err(|error| unknown(&error))?;
    let (sender, mut progress) = watch::channel(Progress::Growing(0));
    let entry = Arc::new(Entry::growing(about.clone(), Arc::new(reader), progress.clone()));
    let work = Work {
        header: archive.header,
        ordinal: key.ordinal,
        build_id,
        about,
        entry: entry.clone(),
        sender,
        place: archive.place,
    };
    tokio::task::spawn_blocking(move || work.run(archive.payload, draft));

    let first = entry.size().min(FIRST_BYTES);
    let begun = progress.wait_for(|progress| !matches!(progress, Progress::Growing(written) if *written < first || first == 0));
    match tokio::time::timeout(FIRST_BYTES_TIMEOUT, begun).await {
        Ok(Ok(progress)) => match &*progress {
            Progress::Failed(cause) => Err(unknown(cause)),
            Progress::Growing(_) | Progress::Whole => Ok(()),
        },
        Ok(Err(_)) => Err(unknown(&"the extraction ended early")),
        Err(_) => Err(unknown(&format!("expected first bytes within {FIRST_BYTES_TIMEOUT:?}, found none"))),
    }?;
    Ok(entry)
}

/// One extraction.
struct Work {
    header: Arc<Header>,
    ordinal: u32,
    build_id: Option<BuildId>,
    about: About,
    entry: Arc<Entry>,
    sender: watch::Sender<Progress>,
    place: Place,
}

impl Work {
    fn run(self, archive: Box<dyn io::Read + Send>, draft: Draft) {
        let started = Instant::now();
        let nvra = &self.header.package.nevra;
        let path = self.header.by_ordinal(self.ordinal).map_or("", |file| file.path.as_str());
        match self.extract(archive, draft) {
            Ok(()) => {
                METRICS.extractions.with_label_values(&["whole"]).inc();
                METRICS.extraction_seconds.observe(started.elapsed().as_secs_f64());
                tracing::debug!(%nvra, path, bytes = self.about.size, seconds = started.elapsed().as_secs_f64(), "extracted");
                self.sender.send_replace(Progress::Whole);
            }
            Err(cause) => {
                METRICS.extractions.with_label_values(&["failed"]).inc();
                tracing::warn!(%nvra, path, cause, "extraction failed");
                // Before anybody hears of it: who asks again shall be sent elsewhere.
                self.place.clone().blame();
                self.sender.send_replace(Progress::Failed(cause.into()));
            }
        }
    }

    fn extract(&self, archive: Box<dyn io::Read + Send>, draft: Draft) -> Result<(), String> {
        let mut growing = Growing { work: self, file: &draft.file, first: Vec::new(), written: 0 };
        payload::extract(archive, &self.header, self.ordinal, &mut growing).map_err(|error| error.to_string())?;
        self.check_whole(&draft.file)?;
        draft.publish(&self.about.path, self.about.mtime).map_err(|error| error.to_string())?;
        self.entry.named();
        Ok(())
    }

    /// The build-id of a whole file whose first bytes did not show it.
    fn check_whole(&self, mut file: &File) -> Result<(), String> {
        let Some(expected) = &self.build_id else { return Ok(()) };
        let elf = elf::read(&mut file).map_err(|error| error.to_string())?;
        match elf.and_then(|elf| elf.build_id) {
            Some(found) => self.check(expected, found),
            // Not ELF: a compressed kernel module, whose link names what is inside.
            None => Ok(()),
        }
    }

    fn check(&self, expected: &BuildId, found: BuildId) -> Result<(), String> {
        if found != *expected {
            return Err(format!("expected a file with build-id {expected}, found {found}"));
        }
        self.entry.note(found);
        Ok(())
    }
}

/// Writes a file and says how far it is; checks the first bytes before anybody may see them.
struct Growing<'a> {
    work: &'a Work,
    file: &'a File,
    first: Vec<u8>,
    written: u64,
}

impl Write for Growing<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let first_bytes = self.work.about.size.min(FIRST_BYTES);
        if self.written < first_bytes {
            self.first.extend_from_slice(bytes);
        }
        self.file.write_all(bytes)?;
        self.written += bytes.len() as u64;
        if self.written >= first_bytes {
            if !self.first.is_empty() {
                let first = std::mem::take(&mut self.first);
                if let (Some(expected), Some(found)) = (&self.work.build_id, elf::early_build_id(&first)) {
                    self.work.check(expected, found).map_err(io::Error::other)?;
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
