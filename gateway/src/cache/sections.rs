//! Where sections lie in extracted files. While a file grows its tables are read as soon as they are there; what they say of a whole file
//! is remembered, longer than the file is kept: clients ask for few names and for these again and again.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use artifact::{BuildId, Error, elf};
use moka::future::Cache;
use tokio::task::spawn_blocking;

use super::{Entry, Files, Key};
use crate::resolve::outcome::{CauseKind, Miss};

/// Sections that are remembered.
const MOST: u64 = 20_000;
/// Names of sections are short; others are read anew each time.
const LONGEST_NAME: usize = 64;
/// What is waited for at least, bytes beyond those that are there.
const STEP: u64 = 64 << 10;

/// Where a section lies in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// Its bytes, compression header included.
    At(Range<u64>),
    /// The file has no such section, or no data of it.
    Nowhere,
    /// The file's sections cannot be read, and why: it is no ELF file, or a broken one.
    Unreadable(String),
}

/// What is known of sections, by member, build-id that was asked for, and name. Only of files that are whole and were checked.
#[derive(Clone)]
pub(crate) struct Sections(Cache<(Key, BuildId, Arc<str>), Place>);

impl Sections {
    pub(super) fn new() -> Self {
        Self(Cache::new(MOST))
    }
}

impl Files {
    /// Where the section is, if that is known without its file.
    pub(crate) async fn known_section(&self, key: Key, build_id: &BuildId, name: &str) -> Option<Place> {
        if name.len() > LONGEST_NAME {
            return None;
        }
        self.sections.0.get(&(key, build_id.clone(), name.into())).await
    }

    /// Where the section is, as soon as it can be told: what is nowhere in a file is so only when all of it is there.
    ///
    /// # Errors
    /// Why the extraction failed, or that the file cannot be read.
    pub(crate) async fn section(
        &self,
        key: Key,
        entry: &Arc<Entry>,
        build_id: &BuildId,
        name: &str,
    ) -> Result<Place, Miss> {
        if let Some(place) = self.known_section(key, build_id, name).await {
            return Ok(place);
        }
        let mut available = entry.available(entry.size().min(STEP)).await?;
        loop {
            let is_whole = available == entry.size();
            let read = read(entry, available, name.to_owned());
            let failed =
                |error| Miss::gateway(CauseKind::of_io(&error), format!("{}: {error}", entry.path().display()));
            match read.await.map_err(failed)? {
                Ok(place) if is_whole => {
                    // A name of 64 KiB is nothing to keep thousands of.
                    if name.len() <= LONGEST_NAME && entry.carries(build_id).await.unwrap_or(false) {
                        self.sections.0.insert((key, build_id.clone(), name.into()), place.clone()).await;
                    }
                    return Ok(place);
                }
                Ok(place @ Place::At(_)) => return Ok(place),
                Ok(Place::Nowhere | Place::Unreadable(_)) => available = entry.available(entry.size()).await?,
                Err(need) => available = entry.available(need).await?,
            }
        }
    }
}

/// Reads the tables of a file of which the first `available` bytes are there; up to where they would have to be, where that is too few.
async fn read(entry: &Arc<Entry>, available: u64, name: String) -> io::Result<Result<Place, u64>> {
    let (file, size) = (entry.file()?, entry.size());
    let read = spawn_blocking(move || {
        let mut begun = Begun { file, at: 0, available, size, need: None };
        let section = elf::section(&mut begun, &name);
        match (section, begun.need) {
            (Ok(Some(range)), _) => Ok(Ok(Place::At(range))),
            (Ok(None), _) => Ok(Ok(Place::Nowhere)),
            (Err(Error::Io(_)), Some(need)) => Ok(Err(need)),
            (Err(Error::Io(error)), None) => Err(error),
            (Err(error), _) => Ok(Ok(Place::Unreadable(error.to_string()))),
        }
    });
    read.await.map_err(io::Error::other)?
}

/// The beginning of a file that grows, as if it were the file: what is not there yet is an error. It has a position of its own, so that
/// several can read one descriptor.
pub(super) struct Begun {
    file: Arc<File>,
    at: u64,
    available: u64,
    size: u64,
    /// Up to where it has to grow before what was asked for is there.
    need: Option<u64>,
}

impl Begun {
    /// Of a file that is whole.
    pub(super) fn whole(file: Arc<File>, size: u64) -> Self {
        Self { file, at: 0, available: size, size, need: None }
    }
}

impl Read for Begun {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let end = self.size.min(self.at.saturating_add(buffer.len() as u64));
        if end > self.available {
            // Twice as much each time: few steps, however the file's parts lie.
            self.need = Some(self.size.min(end.max(2 * self.available)));
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let length = usize::try_from(end.saturating_sub(self.at)).unwrap_or(0);
        let read = self.file.read_at(&mut buffer[..length], self.at)?;
        self.at += read as u64;
        Ok(read)
    }
}

impl Seek for Begun {
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
