//! Archives without a header that are not read from their first byte: the import noted where each member begins in
//! the unpacked tar archive ([`Contents::tar_offset`](crate::Contents::tar_offset)), and some compressions can be
//! entered in the middle.

use std::io::{self, Read, Write};
use std::ops::Range;

use super::tar::Tar;
use super::{deb, expect, max_unpacked_bytes};
use crate::header::File;
use crate::payload::block_index::WORTH_BYTES;
use crate::payload::{self, ReadRange, deliver, unwrap};
use crate::{Format, Result};

/// Where the tar archive inside an archive can be entered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TarBlockIndex {
    /// Where the tar archive, which may be compressed, lies in the archive.
    tar: Range<u64>,
    /// Of the tar archive; `None` if it has to be read from its first byte.
    blocks: Option<payload::BlockIndex>,
}

impl TarBlockIndex {
    /// True if reading the block index may be worth it, for a member whose headers begin at `tar_offset`: enough is
    /// before it.
    pub fn may_help(format: Format, tar_offset: u64) -> bool {
        matches!(format, Format::Deb | Format::Arch | Format::Tar) && tar_offset >= WORTH_BYTES
    }

    /// Reads where an archive of `bytes` bytes can be entered. A package of opkg whose outer archive is a tar archive
    /// has to be read from its first byte.
    ///
    /// # Errors
    /// [`crate::Error::Payload`] where a Debian package is broken; [`crate::Error::Io`] where a part cannot be read.
    pub fn read(format: Format, bytes: u64, part: ReadRange<'_, '_>) -> Result<Self> {
        let tar = match format {
            Format::Deb => deb::data_range(bytes, part)?,
            Format::Arch | Format::Tar => Some(0..bytes),
            Format::Rpm | Format::Cpio | Format::Zip | Format::File => None,
        };
        let Some(tar) = tar else { return Ok(Self { tar: 0..bytes, blocks: None }) };
        let of_tar = |range: Range<u64>| part(tar.start + range.start..tar.start + range.end);
        let blocks = Some(payload::BlockIndex::read(tar.end - tar.start, &of_tar)?);
        Ok(Self { tar, blocks })
    }

    /// Writes the member with this number, whose headers begin at `tar_offset`, to `out` as [`extract_member`](super::extract_member)
    /// does, without reading what is before its block. `false`, and nothing is written, where the archive cannot be
    /// entered or ends before the member, and where too little is saved.
    ///
    /// # Errors
    /// As [`extract_member`](super::extract_member). Nothing was written where the member at `tar_offset` is another one.
    pub fn extract_member(
        &self,
        (ordinal, tar_offset): (u32, u64),
        file: &File,
        part: ReadRange<'_, '_>,
        out: &mut (impl Write + Send),
    ) -> Result<bool> {
        let Some(blocks) = &self.blocks else { return Ok(false) };
        let Some(entrance) = blocks.entrance(tar_offset).filter(|entrance| *entrance >= WORTH_BYTES) else {
            return Ok(false);
        };
        let (start, bytes) = (self.tar.start, self.tar.end - self.tar.start);
        let of_tar = |range: Range<u64>| part(start + range.start..start + range.end);
        let mut archive = blocks.open(entrance, bytes, &of_tar)?;
        let before = tar_offset - entrance;
        if io::copy(&mut archive.by_ref().take(before), &mut io::sink()).map_err(unwrap)? < before {
            return Ok(false);
        }
        let mut tar = Tar::from_member(archive, max_unpacked_bytes(bytes), ordinal);
        let Some(member) = tar.next()? else { return Ok(false) };
        expect(&member, file)?;
        deliver(&mut tar, file, out).map(|()| true)
    }

    /// Memory that they take, about.
    pub fn memory_bytes(&self) -> usize {
        size_of::<Self>() + self.blocks.as_ref().map_or(0, payload::BlockIndex::memory_bytes)
    }
}
