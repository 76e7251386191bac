//! Where sections are in members. The tables of a file that is being filled are read as soon as they are written.
//! Positions in complete files are remembered longer than the files are cached: clients request few names, and these
//! again and again. Of relayed files nothing is remembered: the next one with the same key may have other bytes.

use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use artifact::{BuildId, Error, elf};
use moka::future::Cache;
use tokio::task::spawn_blocking;

use super::temporary_file::OpenFile;
use super::{MemberCache, MemberKey, Readable};
use crate::resolve::outcome::{CauseKind, Miss};

/// Maximum of remembered sections.
const MAX_SECTIONS: u64 = 20_000;
/// Maximum length of a remembered name. Sections with longer names are looked up each time.
const MAX_NAME_BYTES: usize = 64;
/// Bytes that the first read of the tables waits for.
const FIRST_BYTES: u64 = 64 << 10;

/// Where a section is in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum SectionPosition {
    /// Its bytes, compression header included.
    At(Range<u64>),
    /// The file has no such section, or no data of it.
    Missing,
    /// The file's sections cannot be read, with the reason: it is no ELF file, or a broken one.
    Unreadable(String),
}

/// Positions of sections, by member, requested build-id, and name. Only of files that are complete and verified.
#[derive(Clone)]
pub(super) struct SectionPositions(Cache<(MemberKey, BuildId, Arc<str>), SectionPosition>);

impl SectionPositions {
    /// Nothing is remembered.
    pub(super) fn new() -> Self {
        Self(Cache::new(MAX_SECTIONS))
    }
}

impl MemberCache {
    /// Where a section is, if that is known without its file.
    pub(crate) async fn known_section(
        &self,
        key: MemberKey,
        build_id: &BuildId,
        name: &str,
    ) -> Option<SectionPosition> {
        if name.len() > MAX_NAME_BYTES {
            return None;
        }
        self.section_positions.0.get(&(key, build_id.clone(), name.into())).await
    }

    /// Finds a section as soon as its file has enough bytes. A section is missing only if the complete file lacks it.
    ///
    /// # Errors
    /// Why the bytes could not be had, or that the file cannot be read.
    pub(crate) async fn find_section(
        &self,
        key: MemberKey,
        file: &Readable,
        build_id: &BuildId,
        name: &str,
    ) -> Result<SectionPosition, Miss> {
        let is_remembered = file.origin().is_none() && name.len() <= MAX_NAME_BYTES;
        if is_remembered && let Some(place) = self.known_section(key, build_id, name).await {
            return Ok(place);
        }
        let mut available = file.available(file.size().min(FIRST_BYTES)).await?;
        loop {
            let is_complete = available == file.size();
            let read = read_position(file, available, name.to_owned());
            let read = match read.await {
                Ok(read) => read,
                Err(error) => {
                    self.small_contents.forget(file).await;
                    return Err(Miss::gateway(CauseKind::of_io(&error), format!("{}: {error}", file.name())));
                }
            };
            match read {
                TableRead::Position(place) if is_complete => {
                    // Thousands of names of 64 KiB each would take too much memory.
                    if is_remembered && file.carries(build_id).await.unwrap_or(false) {
                        self.section_positions.0.insert((key, build_id.clone(), name.into()), place.clone()).await;
                    }
                    return Ok(place);
                }
                TableRead::Position(place @ SectionPosition::At(_)) => return Ok(place),
                TableRead::Position(SectionPosition::Missing | SectionPosition::Unreadable(_)) => {
                    available = file.available(file.size()).await?
                }
                TableRead::Needs(need) => available = file.available(need).await?,
            }
        }
    }
}

/// What the first bytes of a file tell of a section.
enum TableRead {
    /// Where it is.
    Position(SectionPosition),
    /// The number of bytes from the start of the file that the tables need.
    Needs(u64),
}

/// Reads the tables of a file whose first `available` bytes are written.
async fn read_position(file: &Readable, available: u64, name: String) -> io::Result<TableRead> {
    let (file, size) = (file.open()?, file.size());
    let read = spawn_blocking(move || {
        let mut partial = PartialFile { file, at: 0, available, size, need: None };
        let section = elf::find_section(&mut partial, &name);
        match (section, partial.need) {
            (Ok(Some(range)), _) => Ok(TableRead::Position(SectionPosition::At(range))),
            (Ok(None), _) => Ok(TableRead::Position(SectionPosition::Missing)),
            (Err(Error::Io(_)), Some(need)) => Ok(TableRead::Needs(need)),
            (Err(Error::Io(error)), None) => Err(error),
            (Err(error), _) => Ok(TableRead::Position(SectionPosition::Unreadable(error.to_string()))),
        }
    });
    read.await.map_err(io::Error::other)?
}

/// The first bytes of a file that is being filled, read as if they were the file: a read beyond them is an error. It
/// has a position of its own, so that several readers can use one descriptor.
pub(super) struct PartialFile {
    file: Arc<OpenFile>,
    at: u64,
    available: u64,
    size: u64,
    /// The number of bytes that the last read would have needed.
    need: Option<u64>,
}

impl PartialFile {
    /// All bytes of a complete file.
    pub(super) fn complete(file: Arc<OpenFile>, size: u64) -> Self {
        Self { file, at: 0, available: size, size, need: None }
    }
}

impl Read for PartialFile {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let end = self.size.min(self.at.saturating_add(buffer.len() as u64));
        if end > self.available {
            // Twice as many each time, for few steps.
            self.need = Some(self.size.min(end.max(2 * self.available)));
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let length = usize::try_from(end.saturating_sub(self.at)).unwrap_or(0);
        let read = self.file.read_at(&mut buffer[..length], self.at)?;
        self.at += read as u64;
        Ok(read)
    }
}

impl Seek for PartialFile {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let at = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::End(by) => self.size.checked_add_signed(by),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
        };
        self.at = at.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.at)
    }
}
