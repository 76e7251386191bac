//! Members of tar archives, Debian and Arch packages extracted without decompressing them from the first byte.
//!
//! An import records where each member begins in the unpacked tar archive
//! ([`Contents::tar_offset`](crate::Contents::tar_offset)); the xz block index names the block that holds it.

use std::io::{self, Read, Write};
use std::ops::Range;

use super::tar::Tar;
use super::{deb, expect_file, max_unpacked_bytes};
use crate::header::File;
use crate::payload::block_index::MIN_SKIPPED_BYTES;
use crate::payload::{self, ReadRange, deliver, unwrap};
use crate::{Format, Result};

/// The xz block index of the tar archive inside an archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TarBlockIndex {
    /// The range of the tar archive, which may be compressed, in the archive.
    tar: Range<u64>,
    /// `None` if the archive has no tar archive that can be entered.
    blocks: Option<payload::BlockIndex>,
}

impl TarBlockIndex {
    /// True if reading the index may be worth its cost for a member whose headers begin at `tar_offset`: at least
    /// 1 MiB of the unpacked tar archive precedes it.
    pub fn may_help(format: Format, tar_offset: u64) -> bool {
        matches!(format, Format::Deb | Format::Arch | Format::Tar) && tar_offset >= MIN_SKIPPED_BYTES
    }

    /// Reads the index of an archive of `archive_bytes` bytes. An opkg package whose outer archive is a tar archive has
    /// none.
    ///
    /// # Errors
    /// [`crate::Error::Payload`] where a Debian package is broken; [`crate::Error::Io`] where a range cannot be read.
    pub fn read(format: Format, archive_bytes: u64, read_range: ReadRange<'_, '_>) -> Result<Self> {
        let tar = match format {
            Format::Deb => deb::data_range(archive_bytes, read_range)?,
            Format::Arch | Format::Tar => Some(0..archive_bytes),
            Format::Rpm | Format::Cpio | Format::Zip | Format::File => None,
        };
        let Some(tar) = tar else { return Ok(Self { tar: 0..archive_bytes, blocks: None }) };
        let read_tar = |range: Range<u64>| read_range(tar.start + range.start..tar.start + range.end);
        let blocks = Some(payload::BlockIndex::read(tar.end - tar.start, &read_tar)?);
        Ok(Self { tar, blocks })
    }

    /// Writes the member with this ordinal, whose headers begin at `tar_offset`, to `out` as
    /// [`extract_member`](super::extract_member) does, but decompresses from the block that holds the headers. Returns
    /// `false`, with nothing written, if the archive has no index, too little is saved, or it ends before the member.
    ///
    /// # Errors
    /// As [`extract_member`](super::extract_member). If another member is at `tar_offset`, nothing was written.
    pub fn extract_member(
        &self,
        (ordinal, tar_offset): (u32, u64),
        file: &File,
        read_range: ReadRange<'_, '_>,
        out: &mut (impl Write + Send),
    ) -> Result<bool> {
        let Some(blocks) = &self.blocks else { return Ok(false) };
        let block = blocks.block_start(tar_offset).filter(|block| *block >= MIN_SKIPPED_BYTES);
        let Some(block) = block else { return Ok(false) };
        let (start, tar_bytes) = (self.tar.start, self.tar.end - self.tar.start);
        let read_tar = |range: Range<u64>| read_range(start + range.start..start + range.end);
        let Some(mut archive) = blocks.open_block(block, &read_tar)? else { return Ok(false) };
        let skipped = tar_offset - block;
        if io::copy(&mut archive.by_ref().take(skipped), &mut io::sink()).map_err(unwrap)? < skipped {
            return Ok(false);
        }
        let mut tar = Tar::from_member(archive, max_unpacked_bytes(tar_bytes), ordinal);
        let Some(member) = tar.next()? else { return Ok(false) };
        expect_file(&member, file)?;
        deliver(&mut tar, file, out).map(|()| true)
    }

    /// Returns the memory that the index takes, in bytes, approximately.
    pub fn memory_bytes(&self) -> usize {
        size_of::<Self>() + self.blocks.as_ref().map_or(0, payload::BlockIndex::memory_bytes)
    }
}
