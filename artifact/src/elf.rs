//! ELF files: build-id, kind and sections, of 32 and 64 bits and both byte orders.
//!
//! Only the ELF header, the two tables, the section names and the notes are read, so a library of 150 MB takes
//! microseconds. [`section_contents`] alone reads contents, for DWARF. Files come from anywhere, so every offset is
//! checked against the file's length and everything that is read has an upper bound (`tables`, `notes`).

mod contents;
mod notes;
mod tables;

use std::io::{Read, Seek};
use std::ops::Range;

use goblin::elf::SectionHeader;
use goblin::elf::header::{ET_DYN, ET_EXEC, ET_REL};
use goblin::elf::program_header::{PF_X, PT_LOAD};
use goblin::elf::section_header::{SHT_NOBITS, SHT_NOTE, SHT_NULL, SHT_PROGBITS, SHT_SYMTAB};

use crate::{BuildId, Error, Kind, Result};
use tables::Tables;

pub(crate) use contents::section_contents;
pub use notes::{EarlyBuildId, build_id_notes, early_build_id};

/// The first bytes of every ELF file.
pub const MAGIC: [u8; 4] = *b"\x7fELF";

/// Build-id, kind and DWARF of an ELF file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Elf {
    /// From its GNU build-id note.
    pub build_id: Option<BuildId>,
    /// Its kind, never [`Kind::Unknown`]. `None` if it is neither executable nor debuginfo.
    pub kind: Option<Kind>,
    /// True if it holds DWARF.
    pub dwarf: bool,
}

/// Reads an ELF file. `None` if the file does not begin with the ELF magic or is shorter than an ELF header.
///
/// The **build-id** is that of the first GNU build-id note in a section, or in a segment if no section has one.
/// elfutils does the same (dwelf_elf_gnu_build_id): a `.debug` file keeps the program headers of the program that it
/// was split from, and their offsets need not fit its own contents, while its sections do.
///
/// The **kind** follows debuginfod's two artifact types:
/// - executable: a program or shared object with an allocated `PROGBITS` section, or without section headers and with
///   an executable segment. Unlike debuginfod, a relocatable file with such a section counts too: a kernel module. In
///   a module's `.debug` file those sections are `NOBITS`;
/// - debuginfo: a section `.debug_*` or `.zdebug_*`, or else a symbol table and no allocated section other than
///   `NOBITS` and notes. Unlike debuginfod, an allocated `.debug_gdb_scripts` does not count as DWARF: stripped Rust
///   programs keep it.
///
/// **DWARF** means `.debug_info` or `.zdebug_info` with data. In a file without code and symbol table, such as a dwz
/// file, it means any debug section with data.
///
/// One broken table counts as absent if the other one can be read.
///
/// # Errors
/// [`Error::Elf`] if the file is ELF and neither table can be read; [`Error::Io`] if reading fails.
pub fn read_elf(file: &mut (impl Read + Seek)) -> Result<Option<Elf>> {
    let Some(tables) = Tables::read(file)? else {
        return Ok(None);
    };
    let build_id = notes::build_id(file, &tables)?;
    let shape = Shape::from_tables(&tables);
    let kind = match (shape.is_executable, shape.is_debuginfo) {
        (true, true) => Some(Kind::Both),
        (true, false) => Some(Kind::Executable),
        (false, true) => Some(Kind::Debuginfo),
        (false, false) => None,
    };
    Ok(Some(Elf { build_id, kind, dwarf: shape.has_dwarf }))
}

/// True if the section headers and the contents of all sections lie within the file: no part was cut off. False for a
/// file without section headers, of which that cannot be told.
///
/// # Errors
/// [`Error::Elf`] if the file is ELF and neither of its tables can be read; [`Error::Io`] if reading fails.
pub fn is_complete(file: &mut (impl Read + Seek)) -> Result<bool> {
    let Some(tables) = Tables::read(file)? else { return Ok(false) };
    let Ok(sections) = tables.sections else { return Ok(false) };
    let is_inside = |section: &SectionHeader| {
        let end = section.sh_offset.checked_add(section.sh_size);
        section.sh_type == SHT_NOBITS || end.is_some_and(|end| end <= tables.file_bytes)
    };
    Ok(!sections.is_empty() && sections.iter().all(is_inside))
}

/// Returns the range, in the file, of the first section with exactly this name. A section with `SHF_COMPRESSED` begins
/// with its compression header. `None` if there is no such section, or it has no data in this file (`NOBITS`, or size
/// 0).
///
/// # Errors
/// [`Error::Elf`] if the file is not ELF, its section headers cannot be read, or the section extends beyond the end of
/// the file; [`Error::Io`] if reading fails.
pub fn find_section(file: &mut (impl Read + Seek), name: &str) -> Result<Option<Range<u64>>> {
    let Some(tables) = Tables::read(file)? else {
        return refuse("an ELF file", "other bytes");
    };
    let sections = tables.sections?;
    let Some(section) = sections.iter().find(|section| sections.is_named(section, name)) else {
        return Ok(None);
    };
    if section.sh_type == SHT_NOBITS || section.sh_size == 0 {
        return Ok(None);
    }
    match section.sh_offset.checked_add(section.sh_size) {
        Some(end) if end <= tables.file_bytes => Ok(Some(section.sh_offset..end)),
        _ => refuse(
            format!("section {name} within {} bytes of file", tables.file_bytes),
            format!("{} bytes at {}", section.sh_size, section.sh_offset),
        ),
    }
}

/// Returns rpm's name of the architecture that an ELF file is for. `prefix` are its first bytes, at least 20. `None`
/// for other files and unknown machines.
pub fn rpm_arch(prefix: &[u8]) -> Option<&'static str> {
    use goblin::elf::header as elf;
    let (is_64, is_little) = (*prefix.get(4)? == 2, *prefix.get(5)? == 1);
    let bytes = prefix.strip_prefix(&MAGIC).and(prefix.get(18..20))?.try_into().ok()?;
    let machine = if is_little { u16::from_le_bytes(bytes) } else { u16::from_be_bytes(bytes) };
    Some(match machine {
        elf::EM_386 => "i686",
        elf::EM_X86_64 => "x86_64",
        elf::EM_AARCH64 => "aarch64",
        elf::EM_ARM => "armv7hl",
        elf::EM_PPC64 if is_little => "ppc64le",
        elf::EM_PPC64 => "ppc64",
        elf::EM_PPC => "ppc",
        elf::EM_S390 if is_64 => "s390x",
        elf::EM_RISCV if is_64 => "riscv64",
        elf::EM_MIPS => "mips",
        elf::EM_SPARC | elf::EM_SPARCV9 => "sparc64",
        258 => "loongarch64",
        _ => return None,
    })
}

/// The facts that the tables of a file state about its use.
#[derive(Default)]
struct Shape {
    is_executable: bool,
    is_debuginfo: bool,
    has_dwarf: bool,
}

impl Shape {
    fn from_tables(tables: &Tables) -> Self {
        let Some(sections) = tables.sections.as_ref().ok().filter(|sections| !sections.is_empty()) else {
            let mut segments = tables.segments.iter().flatten();
            let runs = segments
                .any(|segment| segment.p_type == PT_LOAD && segment.p_flags & PF_X != 0 && segment.p_filesz > 0);
            return Self { is_executable: runs && matches!(tables.file_type, ET_EXEC | ET_DYN), ..Self::default() };
        };
        let mut has_code = false;
        let mut has_symbols = false;
        let mut has_contents = false;
        let mut has_debug_sections = false;
        let mut has_debug_data = false;
        let mut has_debug_info = false;
        for section in sections.iter() {
            if section.is_alloc() {
                has_code |= section.sh_type == SHT_PROGBITS && section.sh_size > 0;
                has_contents |= !matches!(section.sh_type, SHT_NOBITS | SHT_NOTE | SHT_NULL);
            } else if sections.has_prefix(section, ".debug_") || sections.has_prefix(section, ".zdebug_") {
                let has_data = section.sh_type != SHT_NOBITS && section.sh_size > 0;
                has_debug_sections = true;
                has_debug_data |= has_data;
                has_debug_info |= has_data
                    && (sections.is_named(section, ".debug_info") || sections.is_named(section, ".zdebug_info"));
            }
            has_symbols |= section.sh_type == SHT_SYMTAB;
        }
        Self {
            is_executable: has_code && matches!(tables.file_type, ET_EXEC | ET_DYN | ET_REL),
            is_debuginfo: has_debug_sections || has_symbols && !has_contents,
            has_dwarf: has_debug_info || has_debug_data && !has_contents && !has_symbols,
        }
    }
}

pub(crate) fn refuse<T>(expected: impl Into<String>, found: impl Into<String>) -> Result<T> {
    Err(Error::Elf { expected: expected.into(), found: found.into() })
}

#[cfg(test)]
pub(crate) mod image;
#[cfg(test)]
mod tests;
