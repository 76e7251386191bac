//! The ELF header, the program headers and the section headers.

use std::io::{Read, Seek, SeekFrom};

use goblin::container::{Container, Ctx};
use goblin::elf::header::Header;
use goblin::elf::section_header::{SHN_XINDEX, SHT_NOBITS};
use goblin::elf::{Elf, ProgramHeader, SectionHeader};

use super::{MAGIC, refuse};
use crate::payload::fill;
use crate::{Error, Result};

/// Bytes of a header: of 64-bit files, and of 32-bit files.
const HEADER_BYTES: usize = 64;
const HEADER_BYTES_32: usize = 52;
/// The maximum number of sections: 16 MiB of table. Object files with one section a function have tens of thousands.
const MAX_SECTIONS: u64 = 1 << 18;
/// The maximum number of program headers.
const MAX_SEGMENTS: u64 = 1 << 16;
/// The maximum size of all section names.
const MAX_NAME_BYTES: u64 = 16 << 20;
/// `e_phnum` where the number of program headers is too large for it; section header 0 has it then (elf(5)).
const PN_XNUM: u16 = 0xffff;

/// Both tables of an ELF file, each with what is wrong with it.
pub(super) struct Tables {
    /// `ET_*`
    pub(super) file_type: u16,
    /// Length of the file.
    pub(super) file_bytes: u64,
    /// Word size and byte order.
    pub(super) ctx: Ctx,
    /// The program headers.
    pub(super) segments: Result<Vec<ProgramHeader>>,
    /// The section headers.
    pub(super) sections: Result<SectionTable>,
}

impl Tables {
    /// Reads them; `None` where the file is not ELF, an error where neither table can be read.
    pub(super) fn read(file: &mut (impl Read + Seek)) -> Result<Option<Self>> {
        let file_bytes = file.seek(SeekFrom::End(0))?;
        let mut bytes = [0; HEADER_BYTES];
        file.rewind()?;
        let filled = fill(file, &mut bytes)?;
        let Some((header, ctx)) = header(&bytes[..filled])? else {
            return Ok(None);
        };
        let mut source = BoundedFile { file, bytes: file_bytes };
        let sections = apart(SectionTable::read(&mut source, &header, ctx))?;
        let first = sections.as_ref().ok().and_then(|sections| sections.headers.first());
        let segments = apart(segments(&mut source, &header, first, ctx))?;
        match (sections, segments) {
            (Err(error), Err(_)) => Err(error),
            (Err(error), Ok(segments)) if segments.is_empty() => Err(error),
            (Ok(sections), Err(error)) if sections.headers.is_empty() => Err(error),
            (sections, segments) => Ok(Some(Self { file_type: header.e_type, file_bytes, ctx, segments, sections })),
        }
    }
}

/// The ELF header that `bytes` begin with, with word size and byte order; `None` where they do not begin like one or
/// are too few.
pub(super) fn header(bytes: &[u8]) -> Result<Option<(Header, Ctx)>> {
    const CLASS_32: u8 = 1;
    let need = if bytes.get(4) == Some(&CLASS_32) { HEADER_BYTES_32 } else { HEADER_BYTES };
    if !bytes.starts_with(&MAGIC) || bytes.len() < need {
        return Ok(None);
    }
    let header = Elf::parse_header(bytes).map_err(broken("a header of class 32 or 64 and of either byte order"))?;
    let container = header.container().map_err(broken("class 32 or 64"))?;
    let endianness = header.endianness().map_err(broken("byte order LSB or MSB"))?;
    Ok(Some((header, Ctx::new(container, endianness))))
}

/// Entries and bytes of the program header table as far as the ELF header tells; `first` is section header 0.
pub(super) fn segment_table(header: &Header, first: Option<&SectionHeader>, ctx: Ctx) -> Result<(usize, usize)> {
    let count = match (header.e_phnum, first) {
        _ if header.e_phoff == 0 => 0,
        (PN_XNUM, Some(first)) => u64::from(first.sh_info),
        (PN_XNUM, None) => return refuse("the number of program headers in section header 0", "no section headers"),
        (count, _) => u64::from(count),
    };
    table_bytes("program headers", count, MAX_SEGMENTS, header.e_phentsize, if is_64(ctx) { 56 } else { 32 })
}

fn segments(
    source: &mut BoundedFile<'_, impl Read + Seek>,
    header: &Header,
    first: Option<&SectionHeader>,
    ctx: Ctx,
) -> Result<Vec<ProgramHeader>> {
    let (count, bytes) = segment_table(header, first, ctx)?;
    if count == 0 {
        return Ok(Vec::new());
    }
    let table = source.read(header.e_phoff, bytes as u64, "program headers")?;
    ProgramHeader::parse(&table, 0, count, ctx).map_err(broken("program headers"))
}

/// The section headers of a file, with their names.
pub(super) struct SectionTable {
    headers: Vec<SectionHeader>,
    /// The contents of the section that holds the names; empty where they cannot be read.
    names: Vec<u8>,
}

impl SectionTable {
    fn read(source: &mut BoundedFile<'_, impl Read + Seek>, header: &Header, ctx: Ctx) -> Result<Self> {
        let none = Self { headers: Vec::new(), names: Vec::new() };
        if header.e_shoff == 0 {
            return Ok(none);
        }
        let size_of = |count| {
            table_bytes("section headers", count, MAX_SECTIONS, header.e_shentsize, if is_64(ctx) { 64 } else { 40 })
        };
        let mut read = |count: u64| {
            let (count, bytes) = size_of(count)?;
            let table = source.read(header.e_shoff, bytes as u64, "section headers")?;
            SectionHeader::parse_from(&table, 0, count, ctx).map_err(broken("section headers"))
        };
        let mut headers = match u64::from(header.e_shnum) {
            // Too many for e_shnum: section header 0 has the number (elf(5)).
            0 => match read(1)?.first().map(|first| first.sh_size) {
                None | Some(0) => return Ok(none),
                Some(count) => read(count)?,
            },
            count => read(count)?,
        };
        headers.shrink_to_fit();
        let names_at = match u32::from(header.e_shstrndx) {
            SHN_XINDEX => headers.first().map_or(0, |first| first.sh_link),
            index => index,
        };
        let names = match headers.get(names_at as usize) {
            Some(section) if names_at != 0 && section.sh_type != SHT_NOBITS && section.sh_size <= MAX_NAME_BYTES => {
                apart(source.read(section.sh_offset, section.sh_size, "section names"))?.unwrap_or_default()
            }
            _ => Vec::new(),
        };
        Ok(Self { headers, names })
    }

    /// In the order of the table.
    pub(super) fn iter(&self) -> impl Iterator<Item = &SectionHeader> {
        self.headers.iter()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.headers.is_empty()
    }

    /// True if the section has this name.
    pub(super) fn is_named(&self, section: &SectionHeader, name: &str) -> bool {
        let rest = self.name_and_rest(section).strip_prefix(name.as_bytes());
        !name.contains('\0') && rest.is_some_and(|rest| rest.first() == Some(&0))
    }

    /// True if the section's name begins with this prefix.
    pub(super) fn has_prefix(&self, section: &SectionHeader, prefix: &str) -> bool {
        self.name_and_rest(section).starts_with(prefix.as_bytes())
    }

    /// The names from this section's on. Its NUL is not looked for: many sections may share one endless name.
    fn name_and_rest(&self, section: &SectionHeader) -> &[u8] {
        self.names.get(section.sh_name..).unwrap_or_default()
    }
}

/// A file that is read in pieces, all of them within its length.
pub(super) struct BoundedFile<'f, F> {
    pub(super) file: &'f mut F,
    pub(super) bytes: u64,
}

impl<F: Read + Seek> BoundedFile<'_, F> {
    pub(super) fn read(&mut self, offset: u64, bytes: u64, what: &str) -> Result<Vec<u8>> {
        let place = || format!("{bytes} bytes at {offset}");
        if offset.checked_add(bytes).is_none_or(|end| end > self.bytes) {
            return refuse(format!("{what} within {} bytes of file", self.bytes), place());
        }
        self.file.seek(SeekFrom::Start(offset))?;
        let mut buffer = Vec::new();
        let read = self.file.by_ref().take(bytes).read_to_end(&mut buffer)?;
        if read as u64 == bytes { Ok(buffer) } else { refuse(format!("{what}, {}", place()), format!("{read} bytes")) }
    }
}

/// Number of entries and bytes of a table, within the limits.
fn table_bytes(what: &str, count: u64, max: u64, entry_bytes: u16, expected_bytes: u16) -> Result<(usize, usize)> {
    if count > 0 && entry_bytes != expected_bytes {
        return refuse(format!("{what} of {expected_bytes} bytes"), entry_bytes.to_string());
    }
    match usize::try_from(count) {
        Ok(entries) if count <= max => Ok((entries, entries * usize::from(entry_bytes))),
        _ => refuse(format!("at most {max} {what}"), count.to_string()),
    }
}

/// The first four bytes as a number; 0 where there are fewer.
pub(super) fn word(bytes: &[u8], is_little: bool) -> u32 {
    bytes
        .first_chunk()
        .map_or(0, |bytes| if is_little { u32::from_le_bytes(*bytes) } else { u32::from_be_bytes(*bytes) })
}

fn is_64(ctx: Ctx) -> bool {
    ctx.container == Container::Big
}

/// What is wrong with the file, apart from what went wrong in reading it.
fn apart<T>(result: Result<T>) -> Result<Result<T>> {
    match result {
        Ok(value) => Ok(Ok(value)),
        Err(error @ Error::Elf { .. }) => Ok(Err(error)),
        Err(error) => Err(error),
    }
}

fn broken(expected: &str) -> impl FnOnce(goblin::error::Error) -> Error {
    move |error| Error::Elf { expected: expected.to_owned(), found: error.to_string() }
}
