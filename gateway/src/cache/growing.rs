//! A member as it is written: its first bytes are checked before anybody may see them, and when one archive breaks off the next one has to
//! bring the same bytes before it goes on.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use artifact::elf::{self, Early};

use super::entry::{Progress, may_leave};
use super::note::Note;
use super::work::{End, Work, refused};
use crate::resolve::outcome::{CauseKind, Miss};

/// How much of an ELF file is looked at before the first byte leaves, and how much if its notes are further behind.
const FIRST_BYTES: u64 = 64 << 10;
const MOST_FIRST_BYTES: u64 = 1 << 20;

/// Clients are told of so many more bytes, or of fewer after this time: waking them costs as much as the bytes.
const STEP: u64 = 512 << 10;
const SOON: Duration = Duration::from_millis(20);

/// Writes a member, out of one archive after the other, and says how far it is.
pub(super) struct Growing<'a> {
    work: &'a Work,
    pub(super) began: Instant,
    pub(super) file: &'a File,
    /// Bytes in the file.
    pub(super) written: u64,
    /// Bytes that came out of the present archive.
    at: u64,
    /// Bytes that have to be there before any may leave.
    first: u64,
    /// Bytes that clients were told of, and when.
    told: u64,
    told_at: Instant,
    /// Bytes were written anew: what the first ones said need not be true any more.
    pub(super) rewritten: bool,
    /// Why it ended, where the archive did not say so.
    pub(super) ended: Option<End>,
}

impl<'a> Growing<'a> {
    /// Nothing is there yet.
    pub(super) fn new(work: &'a Work, file: &'a File) -> Self {
        Self {
            work,
            began: Instant::now(),
            file,
            written: 0,
            at: 0,
            first: work.about.size.min(FIRST_BYTES),
            told: 0,
            told_at: Instant::now(),
            rewritten: false,
            ended: None,
        }
    }

    /// The next archive begins.
    pub(super) fn begin(&mut self) {
        self.at = 0;
    }

    /// How many of `bytes` the file has already. Where it has others, those that nobody can have seen are written anew.
    fn passed(&mut self, bytes: &[u8]) -> Result<usize, End> {
        let known = bytes.len().min(usize::try_from(self.written - self.at).unwrap_or(usize::MAX));
        let mut before = vec![0; known];
        self.file.read_exact_at(&mut before, self.at).map_err(|error| End::All(refused(&self.work.about, &error)))?;
        let Some(same) = before.iter().zip(bytes).position(|(before, now)| before != now) else { return Ok(known) };
        let differs = self.at + same as u64;
        if differs < self.released() {
            let nvra = &self.work.nvra;
            let text = format!(
                "{nvra}: expected the bytes of another copy of the archive, found others from byte {differs} on"
            );
            return Err(End::Differs(Miss::gateway(CauseKind::Wrong, text)));
        }
        (self.written, self.rewritten) = (differs, true);
        Ok(same)
    }

    /// Bytes that somebody may have seen.
    fn released(&self) -> u64 {
        may_leave(self.told, self.work.about.size)
    }

    /// Lets bytes leave that are there, if the first ones are right.
    fn release(&mut self) -> Result<(), End> {
        if self.written < self.first {
            return Ok(());
        }
        if let (Some(expected), false) = (&self.work.build_id, self.work.entry.is_noted()) {
            let most = self.work.about.size.min(MOST_FIRST_BYTES);
            // Once they are seen, only the whole file can tell.
            if self.released() == 0 {
                let mut first = vec![0; usize::try_from(self.written.min(most)).unwrap_or(0)];
                self.file.read_exact_at(&mut first, 0).map_err(|error| End::All(refused(&self.work.about, &error)))?;
                match elf::early_build_id(&first) {
                    Early::Is(found) => {
                        let note = Note::Says(Some(found));
                        self.work.expect(expected, &note)?;
                        self.work.entry.note(note);
                    }
                    Early::Behind(needed) if needed <= most && needed > self.written => {
                        self.first = needed;
                        return Ok(());
                    }
                    // All of it is looked at soon: what has no note is not begun.
                    Early::Silent if self.work.about.size <= MOST_FIRST_BYTES => {
                        self.first = u64::MAX;
                        return Ok(());
                    }
                    Early::Behind(_) | Early::Silent => {}
                }
            }
        }
        if self.told == 0 || self.written.saturating_sub(self.told) >= STEP || self.told_at.elapsed() >= SOON {
            (self.told, self.told_at) = (self.told.max(self.written), Instant::now());
            self.work.sender.send_replace(Progress::Growing(self.written));
        }
        Ok(())
    }

    fn take(&mut self, bytes: &[u8]) -> Result<(), End> {
        let passed = if self.at < self.written { self.passed(bytes)? } else { 0 };
        let rest = &bytes[passed..];
        self.at += bytes.len() as u64;
        self.work.entry.flows(bytes.len());
        if rest.is_empty() {
            return Ok(());
        }
        self.file.write_all_at(rest, self.written).map_err(|error| End::All(refused(&self.work.about, &error)))?;
        self.written += rest.len() as u64;
        self.release()
    }
}

impl Write for Growing<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.take(bytes) {
            Ok(()) => Ok(bytes.len()),
            Err(end) => {
                self.ended = Some(end);
                Err(io::Error::other("ended"))
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
