//! Which sources a file's line tables name.
//!
//! `.debug_line` is a sequence of programs, each behind a header with its folders and files. The headers are read (by gimli), the
//! programs passed over. Of names that lie elsewhere those in `.debug_line_str` are known, where compilers put them since DWARF 5;
//! `.debug_info` is not looked at, so that what is relative to a folder that only it names is not found.
//!
//! Anybody may have made the file, so a budget bounds what is read of it and how long that may take, and each table its own size: a
//! file of a table takes a hundred times the byte that it needs.

use std::io::{self, Read, Seek};
use std::time::Instant;

use gimli::{AttributeValue, DebugLine, DebugLineOffset, EndianSlice, Endianity, FileEntry, LineProgramHeader, RunTimeEndian};

use super::tables::Tables;
use super::{contents, refuse};
use crate::{Result, path};

/// The folders and files of one program. A unit of a thousand headers has 30 KiB.
const MOST_TABLE_BYTES: u64 = 512 << 10;
/// `.debug_line_str` beyond that is not known. That of LibreOffice's largest library has 200 KiB.
const MOST_STRING_BYTES: u64 = 32 << 20;
/// A longer name is none.
const MOST_NAME_BYTES: usize = 4096;
/// Between two looks at the clock.
const STEP_BYTES: u64 = 1 << 20;
const FILES_AT_ONCE: usize = 1024;
/// The initial length that says that a 64-bit one follows; those above `RESERVED` are none.
const IS_64: u32 = 0xffff_ffff;
const RESERVED: u32 = 0xffff_fff0;

type Slice<'b> = EndianSlice<'b, RunTimeEndian>;
type Header<'b> = LineProgramHeader<Slice<'b>, usize>;

/// What looking through a file may cost.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    /// Bytes of line tables, decompressed, what is passed over included.
    pub bytes: u64,
    /// When to give up.
    pub until: Instant,
}

/// Do the line tables of this ELF file name the source at this path, which is [`path::canonical`]? What goes beyond the budget or cannot
/// be read is not named.
///
/// # Errors
/// [`crate::Error::Elf`] where the file is not ELF or its section headers cannot be read; [`crate::Error::Io`] where reading fails.
pub fn names_source(file: &mut (impl Read + Seek), source: &str, mut budget: Budget) -> Result<bool> {
    let Some(tables) = Tables::read(file)? else {
        return refuse("an ELF file", "other bytes");
    };
    let mut strings = Vec::new();
    if let Some(section) = contents::open(file, &tables, ".debug_line_str")? {
        section.take(MOST_STRING_BYTES).read_to_end(&mut strings)?;
    }
    let endian = if tables.ctx.is_little_endian() { RunTimeEndian::Little } else { RunTimeEndian::Big };
    let Some(mut lines) = contents::open(file, &tables, ".debug_line")? else { return Ok(false) };
    let name = source.rsplit('/').next().unwrap_or_default().as_bytes();
    while let Some(table) = next_table(&mut lines, endian, &mut budget)? {
        let wanted = Wanted { source, name, strings: &strings, until: budget.until };
        let section = DebugLine::new(&table, endian);
        // The size of addresses is nothing that the tables depend on. A table that is broken names nothing.
        let program = section.program(DebugLineOffset(0), 8, None, None);
        if program.is_ok_and(|program| wanted.is_in(program.header())) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The next program without its code, as a `.debug_line` of its own; `None` at the end, where the budget is used up, and where nothing
/// can be read any more.
fn next_table(lines: &mut impl Read, endian: RunTimeEndian, budget: &mut Budget) -> io::Result<Option<Vec<u8>>> {
    loop {
        let Some((is_64, unit_bytes)) = next_unit(lines, endian)? else { return Ok(None) };
        budget.bytes = match budget.bytes.checked_sub(unit_bytes.saturating_add(12)) {
            Some(left) if Instant::now() < budget.until => left,
            _ => return Ok(None),
        };
        // Version, since version 5 two sizes, and how far it is from there to the program.
        let mut head = Vec::new();
        lines.by_ref().take(unit_bytes.min(2)).read_to_end(&mut head)?;
        let version = if head.len() == 2 { endian.read_u16(&head) } else { 0 };
        let length_at = if version >= 5 { 4 } else { 2 };
        let head_bytes = length_at + if is_64 { 8 } else { 4 };
        let missing = unit_bytes.min(head_bytes as u64).saturating_sub(head.len() as u64);
        lines.by_ref().take(missing).read_to_end(&mut head)?;
        let Some(rest) = unit_bytes.checked_sub(head_bytes as u64) else {
            // Too short for a program: padding.
            continue;
        };
        let Some(length) = head.get(length_at..head_bytes) else { return Ok(None) };
        let table_bytes = if is_64 { endian.read_u64(length) } else { u64::from(endian.read_u32(length)) };
        if table_bytes > rest || table_bytes > MOST_TABLE_BYTES {
            if !pass(lines, rest, budget)? {
                return Ok(None);
            }
            continue;
        }
        let mut table = start(is_64, head_bytes as u64 + table_bytes, endian);
        table.append(&mut head);
        lines.by_ref().take(table_bytes).read_to_end(&mut table)?;
        return Ok(pass(lines, rest - table_bytes, budget)?.then_some(table));
    }
}

/// Is the next unit one of 64-bit DWARF, and how many bytes of it follow?
fn next_unit(lines: &mut impl Read, endian: RunTimeEndian) -> io::Result<Option<(bool, u64)>> {
    let mut bytes = [0; 8];
    if !fill(lines, &mut bytes[..4])? {
        return Ok(None);
    }
    match endian.read_u32(&bytes[..4]) {
        IS_64 => Ok(fill(lines, &mut bytes)?.then(|| (true, endian.read_u64(&bytes)))),
        RESERVED.. => Ok(None),
        unit_bytes => Ok(Some((false, unit_bytes.into()))),
    }
}

/// The length with which a unit of so many bytes begins.
fn start(is_64: bool, unit_bytes: u64, endian: RunTimeEndian) -> Vec<u8> {
    let mut start = vec![0; if is_64 { 12 } else { 4 }];
    if is_64 {
        endian.write_u32(&mut start, IS_64);
        endian.write_u64(&mut start[4..], unit_bytes);
    } else {
        // A table of at most `MOST_TABLE_BYTES`.
        endian.write_u32(&mut start, u32::try_from(unit_bytes).unwrap_or(0));
    }
    start
}

/// Fills the buffer; `false` where the input ends before.
fn fill(input: &mut impl Read, buffer: &mut [u8]) -> io::Result<bool> {
    match input.read_exact(buffer) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        read => read.map(|()| true),
    }
}

/// Passes over so many bytes, unless the time is over.
fn pass(input: &mut impl Read, mut bytes: u64, budget: &Budget) -> io::Result<bool> {
    while bytes > 0 {
        let step = bytes.min(STEP_BYTES);
        if Instant::now() >= budget.until || io::copy(&mut input.by_ref().take(step), &mut io::sink())? < step {
            return Ok(false);
        }
        bytes -= step;
    }
    Ok(true)
}

/// What is looked for.
struct Wanted<'w> {
    source: &'w str,
    /// The last part of it: most names differ there.
    name: &'w [u8],
    strings: &'w [u8],
    until: Instant,
}

impl<'w> Wanted<'w> {
    fn is_in(&self, header: &Header<'w>) -> bool {
        let mut groups = header.file_names().chunks(FILES_AT_ONCE).take_while(|_| Instant::now() < self.until);
        groups.any(|files| files.iter().any(|file| self.is(file, header)))
    }

    fn is(&self, file: &FileEntry<Slice<'w>, usize>, header: &Header<'w>) -> bool {
        let Some(name) = self.text(&file.path_name()).filter(|name| name.ends_with(self.name)) else { return false };
        let folder = file.directory(header).and_then(|folder| self.text(&folder));
        // Since version 5 the first folder is the one that the compiler ran in; before, only .debug_info knows it.
        let ran_in = header.include_directories().first().filter(|_| header.version() >= 5).and_then(|folder| self.text(folder));
        let parts: Vec<&[u8]> = [ran_in, folder, Some(name)].into_iter().flatten().collect();
        // What is absolute stands for itself.
        let Some(first) = parts.iter().rposition(|part| part.starts_with(b"/")) else { return false };
        let whole = parts[first..].join(&b'/');
        str::from_utf8(&whole).is_ok_and(|whole| path::canonical(whole) == self.source)
    }

    /// A name, wherever it lies.
    fn text(&self, value: &AttributeValue<Slice<'w>>) -> Option<&'w [u8]> {
        match value {
            AttributeValue::String(text) => Some(text.slice()),
            AttributeValue::DebugLineStrRef(at) => {
                let text = self.strings.get(at.0..)?;
                let text = &text[..text.len().min(MOST_NAME_BYTES)];
                memchr::memchr(0, text).map(|end| &text[..end])
            }
            _ => None,
        }
    }
}
