//! Writes the bytes of a member: the first ones are checked before any are sent, and when one source breaks off, the
//! next one has to bring the same bytes before it continues.

use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use artifact::elf::{self, EarlyBuildId};
use sha2::{Digest, Sha256};

use super::build_id_note::BuildIdNote;
use super::entry::sendable;
use super::fill::{Fill, FillError};
use super::temporary_file::{OpenFile, TemporaryFile};
use crate::metrics::METRICS;
use crate::resolve::outcome::{CauseKind, Miss};

/// Bytes of an ELF file that are checked before the first byte is sent, and the maximum if its notes are further
/// behind.
const FIRST_BYTES: u64 = 64 << 10;
const MAX_FIRST_BYTES: u64 = 1 << 20;

/// Bytes that are read at once for their digest.
const HASHED_BYTES: usize = 256 << 10;

/// Readers are woken after so many bytes, or after this time: waking them costs as much as the bytes.
const WAKE_BYTES: u64 = 512 << 10;
const WAKE_INTERVAL: Duration = Duration::from_millis(20);

/// Writes a member, from one source after the other, and counts the received bytes.
pub(super) struct FillWriter<'a> {
    fill: &'a Fill,
    file: Arc<OpenFile>,
    /// `None` once it is complete.
    temporary: Option<TemporaryFile>,
    /// Bytes in the file.
    pub(super) written: u64,
    /// Up to where bytes came from the present source.
    position: u64,
    /// True if the present source did not begin at the first byte.
    is_part: bool,
    /// Bytes that have to be written before any may be sent.
    first: u64,
    /// Bytes that readers know of, and since when.
    announced: u64,
    announced_at: Instant,
    /// True once bytes were overwritten: a note that was read before may be wrong.
    is_overwritten: bool,
    /// Of the bytes in the file; `None` if no digest is known, or bytes were overwritten.
    hasher: Option<Sha256>,
    /// Why writing ended, if the source does not tell.
    pub(super) error: Option<FillError>,
}

impl<'a> FillWriter<'a> {
    /// Nothing is written.
    pub(super) fn new(fill: &'a Fill, temporary: TemporaryFile) -> Self {
        Self {
            fill,
            file: temporary.file.clone(),
            temporary: Some(temporary),
            written: 0,
            position: 0,
            is_part: false,
            first: fill.entry.size().min(FIRST_BYTES),
            announced: 0,
            announced_at: Instant::now(),
            is_overwritten: false,
            hasher: fill.sha256.map(|_| Sha256::new()),
            error: None,
        }
    }

    /// Up to where bytes came from the present source.
    pub(super) fn position(&self) -> u64 {
        self.position
    }

    /// The next source begins at the first byte.
    pub(super) fn restart(&mut self) {
        self.restart_at(0);
    }

    /// The next source begins at the byte `position`, which was written before or is the next one.
    pub(super) fn restart_at(&mut self, position: u64) {
        (self.position, self.is_part) = (position.min(self.written), position > 0);
    }

    /// Checks the digest and the build-id of a file whose bytes are all written. Bytes of members had their digest
    /// checked as they came.
    ///
    /// # Errors
    /// The file has another digest, or states another build-id.
    pub(super) fn verify(&mut self) -> Result<(), FillError> {
        if let Some(expected) = self.fill.sha256 {
            let found = self.sha256()?;
            if found != expected {
                let [expected, found] = [expected, found].map(|digest| faster_hex::hex_string(&digest));
                let text = format!("{}: expected a file with SHA-256 {expected}, found {found}", self.fill.source);
                return Err(FillError::Source(Miss::gateway(CauseKind::Wrong, text)));
            }
        }
        if let Some(expected) = &self.fill.build_id
            && (self.is_overwritten || !self.fill.entry.has_note())
        {
            let note = BuildIdNote::read(&mut &**self.file);
            self.fill.expect_build_id(expected, &note)?;
            self.fill.entry.set_note(note);
        }
        Ok(())
    }

    /// The verified file is complete: readers get its last bytes, then it is published and the permit released.
    ///
    /// # Errors
    /// The entry has failed meanwhile.
    pub(super) fn complete(&mut self) -> Result<(), FillError> {
        METRICS.cache_unsynced_files.inc();
        // Readers do not wait for the disk.
        let is_complete = self.fill.entry.set_complete();
        if is_complete && let Some(file) = self.temporary.take() {
            self.fill.publish(file);
        }
        METRICS.cache_unsynced_files.dec();
        // Not before: the disk has no more to write than concurrent fills may bring.
        self.fill.release_permit();
        if is_complete { Ok(()) } else { Err(FillError::Cancelled) }
    }

    /// How many of `bytes` the file has already. If it has others, those that cannot have been sent are overwritten.
    fn skip_written(&mut self, bytes: &[u8]) -> Result<usize, FillError> {
        let known = bytes.len().min(usize::try_from(self.written - self.position).unwrap_or(usize::MAX));
        let mut before = vec![0; known];
        self.file.read_exact_at(&mut before, self.position).map_err(|error| self.fill.write_failed(&error))?;
        let Some(same) = before.iter().zip(bytes).position(|(before, now)| before != now) else { return Ok(known) };
        let differs = self.position + same as u64;
        // What a source without the first bytes brings belongs to the bytes before, or to another file.
        if differs < self.sent() || self.is_part {
            let source = &self.fill.source;
            let text = format!("{source}: expected the same bytes as before, found others from byte {differs} on");
            return Err(FillError::Differs(Miss::gateway(CauseKind::Wrong, text)));
        }
        (self.written, self.is_overwritten, self.hasher) = (differs, true, None);
        Ok(same)
    }

    /// The digest of the complete file.
    fn sha256(&mut self) -> Result<[u8; 32], FillError> {
        if let Some(hasher) = self.hasher.take() {
            return Ok(hasher.finalize().into());
        }
        let (mut hasher, mut bytes, mut at) = (Sha256::new(), vec![0; HASHED_BYTES], 0);
        while at < self.written {
            let length = bytes.len().min(usize::try_from(self.written - at).unwrap_or(usize::MAX));
            let read = self.file.read_exact_at(&mut bytes[..length], at);
            read.map_err(|error| self.fill.write_failed(&error))?;
            hasher.update(&bytes[..length]);
            at += length as u64;
        }
        Ok(hasher.finalize().into())
    }

    /// Bytes that readers may have seen.
    fn sent(&self) -> u64 {
        sendable(self.announced, self.fill.entry.size())
    }

    /// Announces the written bytes to readers, if the first ones are right.
    fn announce(&mut self) -> Result<(), FillError> {
        if self.written < self.first {
            return Ok(());
        }
        if let (Some(expected), false) = (&self.fill.build_id, self.fill.entry.has_note()) {
            let size = self.fill.entry.size();
            let max = size.min(MAX_FIRST_BYTES);
            // After bytes were sent, only the complete file is checked.
            if self.sent() == 0 {
                let mut first = vec![0; usize::try_from(self.written.min(max)).unwrap_or(0)];
                self.file.read_exact_at(&mut first, 0).map_err(|error| self.fill.write_failed(&error))?;
                match elf::early_build_id(&first) {
                    EarlyBuildId::Found(found) => {
                        let note = BuildIdNote::Elf(Some(found));
                        self.fill.expect_build_id(expected, &note)?;
                        self.fill.entry.set_note(note);
                    }
                    EarlyBuildId::NeedsBytes(needed) if needed <= max && needed > self.written => {
                        self.first = needed;
                        return Ok(());
                    }
                    // The complete file is checked soon: nothing is sent of a file without a note.
                    EarlyBuildId::Unknown if size <= MAX_FIRST_BYTES => {
                        self.first = u64::MAX;
                        return Ok(());
                    }
                    EarlyBuildId::NeedsBytes(_) | EarlyBuildId::Unknown => {}
                }
            }
        }
        let unannounced = self.written.saturating_sub(self.announced);
        if self.announced == 0 || unannounced >= WAKE_BYTES || self.announced_at.elapsed() >= WAKE_INTERVAL {
            (self.announced, self.announced_at) = (self.announced.max(self.written), Instant::now());
            self.fill.entry.receive(self.written);
        }
        Ok(())
    }

    /// Tells readers of the bytes that they do not know of yet, when no further ones come for a while.
    pub(super) fn announce_rest(&mut self) {
        if self.announced > 0 && self.written > self.announced {
            (self.announced, self.announced_at) = (self.written, Instant::now());
            self.fill.entry.receive(self.written);
        }
    }

    fn write_new(&mut self, bytes: &[u8]) -> Result<(), FillError> {
        let skipped = if self.position < self.written { self.skip_written(bytes)? } else { 0 };
        let rest = &bytes[skipped..];
        self.position += bytes.len() as u64;
        self.fill.flow.add(bytes.len());
        if rest.is_empty() {
            return Ok(());
        }
        self.file.write_all_at(rest, self.written).map_err(|error| self.fill.write_failed(&error))?;
        self.written += rest.len() as u64;
        if let Some(hasher) = &mut self.hasher {
            hasher.update(rest);
        }
        self.announce()
    }
}

impl Write for FillWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.write_new(bytes) {
            Ok(()) => Ok(bytes.len()),
            Err(error) => {
                self.error = Some(error);
                Err(io::Error::other("the fill ended"))
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
