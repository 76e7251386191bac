//! The contents of sections, from their start on, decompressed.

use std::io::{self, BufReader, Read, Seek, SeekFrom};

use goblin::container::Container;
use goblin::elf::SectionHeader;
use goblin::elf::section_header::{SHF_COMPRESSED, SHT_NOBITS};

use super::tables::Tables;
use super::{refuse, section};
use crate::{BuildId, Error, Result};

/// Compression types of `Elf_Chdr`.
const ELFCOMPRESS_ZLIB: u32 = 1;
const ELFCOMPRESS_ZSTD: u32 = 2;
/// zstd's window: 8 MiB, the most that any level below 20 asks for.
const WINDOW_LOG: u32 = 23;

/// The contents of a section, as they are where they are not compressed.
pub(super) fn open<'f>(file: &'f mut (impl Read + Seek), tables: &Tables, name: &str) -> Result<Option<Box<dyn Read + 'f>>> {
    let Ok(sections) = &tables.sections else { return Ok(None) };
    let has_data = |section: &&SectionHeader| section.sh_type != SHT_NOBITS && section.sh_size > 0;
    let Some(header) = sections.iter().find(|section| sections.is_named(section, name)).filter(has_data) else {
        return Ok(None);
    };
    file.seek(SeekFrom::Start(header.sh_offset))?;
    let mut raw = file.take(header.sh_size);
    if header.sh_flags & u64::from(SHF_COMPRESSED) == 0 {
        return Ok(Some(Box::new(BufReader::new(raw))));
    }
    // Type, size and alignment, with something reserved between in files of 64 bits.
    let mut kind = [0; 4];
    raw.read_exact(&mut kind)?;
    let rest: u64 = if tables.ctx.container == Container::Big { 20 } else { 8 };
    io::copy(&mut raw.by_ref().take(rest), &mut io::sink())?;
    let kind = if tables.ctx.is_little_endian() { u32::from_le_bytes(kind) } else { u32::from_be_bytes(kind) };
    match kind {
        ELFCOMPRESS_ZLIB => Ok(Some(Box::new(BufReader::new(flate2::read::ZlibDecoder::new(raw))))),
        ELFCOMPRESS_ZSTD => {
            let mut decoder = zstd::stream::read::Decoder::new(raw)?;
            decoder.window_log_max(WINDOW_LOG)?;
            Ok(Some(Box::new(BufReader::new(decoder))))
        }
        kind => refuse(format!("{name} compressed by zlib or zstd"), format!("type {kind}")),
    }
}

/// The build-id of the file that holds what dwz moved out of this one (`.gnu_debugaltlink`: a file name, a NUL, a build-id).
///
/// # Errors
/// As [`section`].
pub fn alternate(file: &mut (impl Read + Seek)) -> Result<Option<BuildId>> {
    const MOST_BYTES: u64 = 8 << 10;
    let Some(range) = section(file, ".gnu_debugaltlink")? else { return Ok(None) };
    file.seek(SeekFrom::Start(range.start))?;
    let mut bytes = Vec::new();
    file.by_ref().take((range.end - range.start).min(MOST_BYTES)).read_to_end(&mut bytes).map_err(Error::Io)?;
    let id = bytes.iter().position(|byte| *byte == 0).map(|end| &bytes[end + 1..]);
    Ok(id.and_then(|id| BuildId::from_bytes(id).ok()))
}
