//! The GNU build-id note.
//!
//! A note is three words (bytes of name, bytes of description, type), the name and the description, each padded.
//! Build-id notes are aligned to 4 bytes in files of either class. Sections and segments with an alignment of 8 hold
//! `NT_GNU_PROPERTY` notes, but some linkers put both into one segment.

use std::io::{Read, Seek};

use goblin::container::{Container, Ctx, Endian};
use goblin::elf::ProgramHeader;
use goblin::elf::note::NT_GNU_BUILD_ID;
use goblin::elf::program_header::PT_NOTE;
use goblin::elf::section_header::SHT_NOTE;

use super::tables::{self, BoundedFile, Tables};
use crate::{BuildId, Result};

/// The maximum number of bytes that are read of one section or segment of notes.
const MAX_BYTES: u64 = 1 << 20;
/// The maximum number of sections and segments of notes that are read. Real files have a few.
const MAX_TABLE_NOTES: usize = 64;

/// Returns the build-id of a file, of its sections first, then of its segments ([`super::read_elf`]).
pub(super) fn build_id(file: &mut (impl Read + Seek), tables: &Tables) -> Result<Option<BuildId>> {
    let sections =
        tables.sections.iter().flat_map(|sections| sections.iter()).filter(|section| section.sh_type == SHT_NOTE);
    let segments = tables.segments.iter().flatten().filter(|segment| segment.p_type == PT_NOTE);
    let sections =
        sections.map(|section| (section.sh_offset, section.sh_size, section.sh_addralign)).take(MAX_TABLE_NOTES);
    let segments = segments.map(|segment| (segment.p_offset, segment.p_filesz, segment.p_align)).take(MAX_TABLE_NOTES);
    let mut source = BoundedFile { file, bytes: tables.file_bytes };
    for (offset, bytes, align) in sections.chain(segments) {
        // Notes may be truncated, or lie outside of a .debug file. Then other notes are tried.
        let bytes = bytes.min(tables.file_bytes.saturating_sub(offset)).min(MAX_BYTES);
        if bytes > 0
            && let Some(build_id) = find(&source.read(offset, bytes, "notes")?, align, tables.ctx)
        {
            return Ok(Some(build_id));
        }
    }
    Ok(None)
}

/// The build-id that the first bytes of a file indicate. [`super::read_elf`] has to confirm it, because only program
/// headers were read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EarlyBuildId {
    /// The build-id of the first note in a segment.
    Found(BuildId),
    /// The number of first bytes of the file that may contain the build-id.
    NeedsBytes(u64),
    /// The file is not ELF, or its program headers are elsewhere or list no notes with a build-id. In a
    /// debug file the sections may have notes.
    Unknown,
}

/// Finds the build-id in the first bytes of a file. 4 KiB are enough for most programs, whose notes follow the program
/// headers.
pub fn early_build_id(prefix: &[u8]) -> EarlyBuildId {
    let Some((segments, ctx)) = early_segments(prefix) else { return EarlyBuildId::Unknown };
    let notes =
        || segments.iter().filter(|segment| segment.p_type == PT_NOTE && segment.p_filesz > 0).take(MAX_TABLE_NOTES);
    let found = notes().find_map(|segment| {
        let rest = prefix.get(usize::try_from(segment.p_offset).ok()?..)?;
        let bytes = usize::try_from(segment.p_filesz.min(MAX_BYTES)).ok()?.min(rest.len());
        find(&rest[..bytes], segment.p_align, ctx)
    });
    if let Some(build_id) = found {
        return EarlyBuildId::Found(build_id);
    }
    let ends = notes().map(|segment| segment.p_offset.saturating_add(segment.p_filesz.min(MAX_BYTES)));
    ends.filter(|end| *end > prefix.len() as u64).min().map_or(EarlyBuildId::Unknown, EarlyBuildId::NeedsBytes)
}

/// Returns the build-ids of all GNU build-id notes in `bytes`, in both byte orders. For files whose program headers are
/// wrong, as those of debug files are. Notes of ELF files that the file contains are among them.
pub fn build_id_notes(bytes: &[u8]) -> impl Iterator<Item = BuildId> {
    const NAME: &[u8] = b"GNU\0";
    const HEADER: usize = 12;
    bytes.windows(NAME.len()).enumerate().filter(|(_, window)| *window == NAME).filter_map(move |(at, name)| {
        let header = bytes.get(at.checked_sub(HEADER)?..at)?;
        [Endian::Little, Endian::Big].into_iter().find_map(|endian| {
            let ctx = Ctx::new(Container::Big, endian);
            let is_note = word(header, 0, ctx)? as usize == name.len() && word(header, 8, ctx)? == NT_GNU_BUILD_ID;
            let start = at + name.len();
            let end = start.checked_add(word(header, 4, ctx)? as usize).filter(|_| is_note)?;
            BuildId::from_bytes(bytes.get(start..end)?).ok()
        })
    })
}

fn early_segments(prefix: &[u8]) -> Option<(Vec<ProgramHeader>, Ctx)> {
    let (header, ctx) = tables::header(prefix).ok()??;
    let (count, bytes) = tables::segment_table(&header, None, ctx).ok()?;
    let start = usize::try_from(header.e_phoff).ok()?;
    let segments = ProgramHeader::parse(prefix.get(start..start.checked_add(bytes)?)?, 0, count, ctx).ok()?;
    Some((segments, ctx))
}

/// Returns the first build-id among these notes.
fn find(notes: &[u8], align: u64, ctx: Ctx) -> Option<BuildId> {
    let eight = if align == 8 { find_aligned(notes, 8, ctx) } else { None };
    eight.or_else(|| find_aligned(notes, 4, ctx))
}

fn find_aligned(mut notes: &[u8], align: usize, ctx: Ctx) -> Option<BuildId> {
    const NAME: usize = 12;
    loop {
        let name_bytes = word(notes, 0, ctx)? as usize;
        let description_bytes = word(notes, 4, ctx)? as usize;
        let name_end = NAME.checked_add(name_bytes)?;
        let start = name_end.checked_next_multiple_of(align)?;
        let end = start.checked_add(description_bytes)?;
        if word(notes, 8, ctx)? == NT_GNU_BUILD_ID
            && notes.get(NAME..name_end) == Some(b"GNU\0")
            && let Ok(build_id) = BuildId::from_bytes(notes.get(start..end)?)
        {
            return Some(build_id);
        }
        notes = notes.get(end.checked_next_multiple_of(align)?..)?;
    }
}

fn word(bytes: &[u8], at: usize, ctx: Ctx) -> Option<u32> {
    let bytes = bytes.get(at..at + 4)?.try_into().ok()?;
    Some(if ctx.le.is_little() { u32::from_le_bytes(bytes) } else { u32::from_be_bytes(bytes) })
}
