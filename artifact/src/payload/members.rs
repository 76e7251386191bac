//! A walk over the members of an archive.

use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};

use super::cpio::{self, CpioEntry};
use super::hard_links::HardLinks;
use super::{deliver, refuse, unwrap, wrap};
use crate::header::{File, Header};
use crate::{Error, Result, path};

/// The size of the buffer for skipped members.
const SKIP_BYTES: usize = 64 << 10;
/// The maximum size of a member that is no regular file: the target of a symbolic link.
const MAX_TARGET_BYTES: u64 = 64 << 10;

/// The members of a decompressed archive, one after the other, each tied to its file in the header.
///
/// A member that the header does not know, one that comes twice, and one whose size is not the header's are errors: the
/// bytes that a walk can produce are those that the header announced.
pub struct Members<'h, R> {
    archive: BufReader<R>,
    header: &'h Header,
    hard_links: HardLinks,
    /// By path; made when the first member with a name comes.
    ordinals: Option<HashMap<&'h str, u32>>,
    seen: Vec<bool>,
    /// The current member's ordinal, bytes, and how many of them are still in the archive.
    ordinal: u32,
    size: u64,
    rest: u64,
    ended: bool,
}

impl<'h, R: Read> Members<'h, R> {
    /// The members of `archive`, which [`decompress`](super::decompress()) decompressed, of the package with this
    /// header.
    pub fn new(archive: R, header: &'h Header) -> Self {
        Self {
            archive: BufReader::with_capacity(SKIP_BYTES, archive),
            header,
            hard_links: HardLinks::find(&header.files),
            ordinals: None,
            seen: vec![false; header.files.len()],
            ordinal: 0,
            size: 0,
            rest: 0,
            ended: false,
        }
    }

    /// The next member; what was not read of the one before is skipped. `None` after the archive's trailer, and after
    /// an error.
    ///
    /// # Errors
    /// [`Error::Payload`] where the archive is broken, ends early or disagrees with the header; [`Error::Io`] where
    /// reading it fails.
    #[expect(clippy::should_implement_trait, reason = "a member borrows the walk, which Iterator cannot say")]
    pub fn next(&mut self) -> Result<Option<Member<'_, 'h, R>>> {
        if std::mem::replace(&mut self.ended, true) {
            return Ok(None);
        }
        self.skip()?;
        let (ordinal, size) = match CpioEntry::read(&mut self.archive)? {
            Some(CpioEntry::Trailer) => return Ok(None),
            Some(CpioEntry::Named(named)) => (self.find(&named.name)?, Some(u64::from(named.size))),
            Some(CpioEntry::Numbered(ordinal)) => (ordinal, None),
            None => {
                let members = self.seen.iter().filter(|seen| **seen).count();
                return refuse("a trailer at the archive's end", format!("the payload's end after {members} members"));
            }
        };
        let Some(file) = self.header.file_by_ordinal(ordinal) else {
            return refuse(
                format!("a file number below {} in a cpio header", self.header.files.len()),
                ordinal.to_string(),
            );
        };
        if std::mem::replace(&mut self.seen[ordinal as usize], true) {
            return refuse(format!("{} once in the archive", file.path), "it twice");
        }
        let size = match size {
            Some(size) => self.check_size(ordinal, file, size)?,
            None => self.implied_size(ordinal, file),
        };
        (self.ordinal, self.size, self.rest) = (ordinal, size, size);
        self.ended = false;
        Ok(Some(Member { file, members: self }))
    }

    /// The ordinal of the file that a member with this name stands for.
    fn find(&mut self, name: &str) -> Result<u32> {
        let files = &self.header.files;
        let ordinals =
            self.ordinals.get_or_insert_with(|| files.iter().map(|file| file.path.as_str()).zip(0..).collect());
        match ordinals.get(path::absolute(name).as_str()) {
            Some(ordinal) => Ok(*ordinal),
            None => refuse("a member that the header lists", format!("{name:?}")),
        }
    }

    /// Compares the size in a cpio header with the one in the RPM's header.
    fn check_size(&self, ordinal: u32, file: &File, size: u64) -> Result<u64> {
        let is_expected = if file.is_regular() {
            // Of hard links all but one are empty in the archive.
            size == file.size || size == 0 && self.hard_links.is_linked(ordinal)
        } else {
            // rpm writes 4,096 to its header for directories, and nothing to the archive.
            size <= file.size.max(MAX_TARGET_BYTES)
        };
        if is_expected {
            return Ok(size);
        }
        refuse(format!("{} bytes of {}", file.size, file.path), size.to_string())
    }

    /// Returns the size of a member without one, computed as rpm does (lib/rpmfi.c, iterReadArchiveNext).
    fn implied_size(&self, ordinal: u32, file: &File) -> u64 {
        if file.is_regular() {
            if self.hard_links.last(ordinal) == ordinal { file.size } else { 0 }
        } else if file.is_link() {
            // The size counts the bytes of the target as packaged; a target that is not UTF-8 has other bytes here.
            if file.size > 0 { file.size } else { file.link_target.as_ref().map_or(0, |target| target.len() as u64) }
        } else {
            0
        }
    }

    /// Skips to the end of the current member.
    fn skip(&mut self) -> Result<()> {
        while self.rest > 0 {
            let skipped = match self.archive.fill_buf() {
                Ok([]) => return Err(self.cut_off()),
                Ok(bytes) => bytes.len().min(usize::try_from(self.rest).unwrap_or(usize::MAX)),
                Err(error) if error.kind() == ErrorKind::Interrupted => 0,
                Err(error) => return Err(unwrap(error)),
            };
            self.archive.consume(skipped);
            self.rest -= skipped as u64;
        }
        let padding = cpio::padding(std::mem::take(&mut self.size));
        cpio::exactly(&mut self.archive, &mut [0; 3][..padding], "padding")
    }

    /// Returns the error for an archive that ends within the current member.
    fn cut_off(&self) -> Error {
        let path = self.header.file_by_ordinal(self.ordinal).map_or("a member", |file| &file.path);
        Error::Payload {
            expected: format!("{} bytes of {path}", self.size),
            found: format!("the payload's end after {}", self.size - self.rest),
        }
    }
}

/// One member. Reading it streams its contents; errors of this crate come as [`io::Error`]s around them.
pub struct Member<'m, 'h, R> {
    file: &'h File,
    members: &'m mut Members<'h, R>,
}

impl<'h, R> Member<'_, 'h, R> {
    /// The number of its file in the header.
    pub fn ordinal(&self) -> u32 {
        self.members.ordinal
    }

    /// Its file in the header.
    pub fn file(&self) -> &'h File {
        self.file
    }

    /// Bytes that the archive holds for it: none for all but one of a group of hard links, the target for a symbolic
    /// link.
    pub fn size(&self) -> u64 {
        self.members.size
    }

    /// Writes its contents to `out`, which sees them before their digest is compared with the header's.
    ///
    /// # Errors
    /// As [`extract_member`](super::extract_member).
    pub fn deliver(&mut self, out: &mut (impl Write + Send)) -> Result<()>
    where
        R: Read,
    {
        let file = self.file;
        deliver(self, file, out)
    }

    /// True if it carries the contents of this file. A hard link carries the contents of all its group.
    pub fn holds(&self, ordinal: u32) -> bool {
        self.has_contents() && self.group() == self.members.hard_links.first(ordinal)
    }

    /// True if it carries the contents of a regular file. False for a hard link whose contents another member carries.
    pub fn has_contents(&self) -> bool {
        self.file.is_regular() && self.members.size == self.file.size
    }

    /// Returns the first file of its group of hard links.
    pub(crate) fn group(&self) -> u32 {
        self.members.hard_links.first(self.members.ordinal)
    }
}

impl<R: Read> Read for Member<'_, '_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let max = buffer.len().min(usize::try_from(self.members.rest).unwrap_or(usize::MAX));
        if max == 0 {
            return Ok(0);
        }
        let read = self.members.archive.read(&mut buffer[..max])?;
        if read == 0 {
            return Err(wrap(self.members.cut_off()));
        }
        self.members.rest -= read as u64;
        Ok(read)
    }
}
