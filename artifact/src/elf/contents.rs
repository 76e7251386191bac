//! The contents of sections, decompressed.

use std::io::{self, Read, Seek, SeekFrom};

use goblin::container::Container;
use goblin::elf::section_header::SHF_COMPRESSED;

use super::{find_section, refuse, tables};
use crate::{Error, Result};
use tables::Tables;

/// Compression types of `Elf_Chdr`.
const ELFCOMPRESS_ZLIB: u32 = 1;
const ELFCOMPRESS_ZSTD: u32 = 2;

/// Reads the contents of a section, decompressed if they are compressed in either of the two ways. Also returns true if
/// the file is little-endian. `None` if [`find_section`] returns `None`.
///
/// # Errors
/// As [`find_section`]; [`Error::Elf`] if the contents have more than `max_bytes` or cannot be decompressed.
pub(crate) fn section_contents(
    file: &mut (impl Read + Seek),
    name: &str,
    max_bytes: u64,
) -> Result<Option<(Vec<u8>, bool)>> {
    let Some(tables) = Tables::read(file)? else {
        return refuse("an ELF file", "other bytes");
    };
    let (is_little, is_64) = (tables.ctx.le.is_little(), tables.ctx.container == Container::Big);
    let old_name = name.replacen(".debug_", ".zdebug_", 1);
    let mut found = None;
    for (name, is_old) in [(name, false), (&old_name, true)] {
        if let Some(range) = find_section(file, name)? {
            found = Some((range, is_old));
            break;
        }
    }
    let Some((range, is_old)) = found else { return Ok(None) };
    let is_compressed = tables.sections.as_ref().is_ok_and(|sections| {
        let named = sections.iter().find(|section| sections.is_named(section, name));
        !is_old && named.is_some_and(|section| section.sh_flags & u64::from(SHF_COMPRESSED) != 0)
    });
    let stored = range.end - range.start;
    if stored > max_bytes {
        return refuse(format!("section {name} of at most {max_bytes} bytes"), stored.to_string());
    }
    file.seek(SeekFrom::Start(range.start))?;
    let mut input = file.by_ref().take(stored);
    let broken =
        |error: io::Error| Error::Elf { expected: format!("section {name}, compressed"), found: error.to_string() };
    let mut bytes = Vec::new();
    if !is_old && !is_compressed {
        input.read_to_end(&mut bytes)?;
        return Ok(Some((bytes, is_little)));
    }
    // Elf64_Chdr, Elf32_Chdr, or "ZLIB" and the size (elf(5); binutils' bfd/compress.c).
    let mut header = [0; 24];
    let header = &mut header[..if is_64 && !is_old { 24 } else { 12 }];
    input.read_exact(header).map_err(broken)?;
    let kind = if is_old { ELFCOMPRESS_ZLIB } else { tables::word(header, is_little) };
    let mut decompressed: Box<dyn Read> = match kind {
        ELFCOMPRESS_ZLIB => Box::new(flate2::read::ZlibDecoder::new(input)),
        ELFCOMPRESS_ZSTD => Box::new(zstd::Decoder::new(input).map_err(broken)?),
        other => return refuse("zlib or zstd as a section's compression", other.to_string()),
    };
    decompressed.by_ref().take(max_bytes + 1).read_to_end(&mut bytes).map_err(broken)?;
    if bytes.len() as u64 > max_bytes {
        return refuse(format!("section {name} of at most {max_bytes} bytes"), "more");
    }
    Ok(Some((bytes, is_little)))
}
