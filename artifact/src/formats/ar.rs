//! The outer archive of a Debian package (ar(5), deb(5)): `debian-binary`, `control.tar.*`, `data.tar.*`.

use std::io::{self, Read};

use super::member::read_contents;
use crate::payload::{fill, refuse, unwrap};
use crate::{Error, Result};

/// The first bytes of every ar archive.
pub(super) const MAGIC: &[u8] = b"!<arch>\n";
/// The start of packages of the format that ended in 1995.
const OLD_START: &[u8; MAGIC.len()] = b"0.939000";
pub(super) const HEADER_BYTES: usize = 60;
/// The maximum number of members: a package has three, and a signature or two.
const MAX_MEMBERS: u32 = 64;

/// A walk. Reading it streams the contents of the current member.
pub(super) struct Ar<R> {
    archive: R,
    members: u32,
    size: u64,
    rest: u64,
}

/// One member.
pub(super) struct ArMember {
    pub(super) name: String,
    /// Seconds since 1970.
    pub(super) mtime: i64,
    /// Bytes of its contents, without padding.
    pub(super) size: u64,
}

impl ArMember {
    /// Reads the header of the member with this number, from 1.
    ///
    /// # Errors
    /// [`Error::Payload`] where it is no header, or there are too many members.
    pub(super) fn parse(header: &[u8; HEADER_BYTES], number: u32) -> Result<Self> {
        if &header[58..] != b"`\n" || number > MAX_MEMBERS {
            let found = header[..].escape_ascii().to_string();
            return refuse(
                format!("one of at most {MAX_MEMBERS} ar headers, ending in a backquote and a newline"),
                found,
            );
        }
        let text = |from: usize, to: usize| String::from_utf8_lossy(&header[from..to]).trim_end().to_owned();
        let size = text(48, 58);
        let is_number = size.bytes().all(|byte| byte.is_ascii_digit());
        let Some(size) = size.parse().ok().filter(|_| is_number) else {
            return refuse("a size in an ar header", size.escape_debug().to_string());
        };
        let name = text(0, 16).trim_end_matches('/').to_owned();
        Ok(Self { name, mtime: text(16, 28).parse().unwrap_or(0), size })
    }
}

impl<R: Read> Ar<R> {
    /// The members of an archive.
    ///
    /// # Errors
    /// [`Error::Payload`] where it does not begin like one.
    pub(super) fn new(mut archive: R) -> Result<Self> {
        let mut magic = [0; MAGIC.len()];
        let filled = fill(&mut archive, &mut magic)?;
        if magic == *OLD_START {
            return refuse("!<arch> at the start of a Debian package", "a Debian package of the old format 0.939000");
        }
        if magic[..filled] != *MAGIC {
            return refuse("!<arch> at the start of a Debian package", magic[..filled].escape_ascii().to_string());
        }
        Ok(Self { archive, members: 0, size: 0, rest: 0 })
    }

    /// The next member; what was not read of the one before is skipped.
    ///
    /// # Errors
    /// [`Error::Payload`] where the archive is broken or ends early.
    pub(super) fn next(&mut self) -> Result<Option<ArMember>> {
        // Filled up to an even number of bytes; behind the last member that may be missing.
        let rest = std::mem::take(&mut self.rest);
        let passed = io::copy(&mut self.archive.by_ref().take(rest), &mut io::sink()).map_err(unwrap)?;
        if passed < rest {
            return Err(cut_off(self.size));
        }
        if self.size % 2 == 1 {
            fill(&mut self.archive, &mut [0])?;
        }
        let mut header = [0; HEADER_BYTES];
        match fill(&mut self.archive, &mut header)? {
            0 => return Ok(None),
            HEADER_BYTES => {}
            filled => return refuse(format!("{HEADER_BYTES} bytes of an ar header"), filled.to_string()),
        }
        self.members += 1;
        let member = ArMember::parse(&header, self.members)?;
        (self.size, self.rest) = (member.size, member.size);
        Ok(Some(member))
    }
}

impl<R: Read> Read for Ar<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let size = self.size;
        read_contents(&mut self.archive, &mut self.rest, buffer, || cut_off(size))
    }
}

fn cut_off(size: u64) -> Error {
    Error::Payload { expected: format!("{size} bytes of an ar member"), found: "the archive's end before that".into() }
}
