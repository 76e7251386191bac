//! Which source files the DWARF of an ELF file names: the files of its line tables, as debuginfod clients ask for them.

use std::collections::HashSet;
use std::io::{Read, Seek};

use gimli::{AttributeValue, Dwarf, DwarfSections, EndianSlice, RunTimeEndian, SectionId, Unit};

use crate::{Error, Result, elf, path};

/// All sections that are read have no more bytes, unpacked.
const MOST_BYTES: u64 = 256 << 20;
/// Heads of line tables that are read have no more bytes: units may share one, and each reads it anew.
const MOST_TABLE_BYTES: u64 = 512 << 20;
/// All names that are found have no more bytes.
const MOST_NAME_BYTES: usize = 32 << 20;

/// What is looked at: names of files stand in line tables, those of folders also in the units.
const SECTIONS: [SectionId; 7] = [
    SectionId::DebugAbbrev,
    SectionId::DebugInfo,
    SectionId::DebugLine,
    SectionId::DebugLineStr,
    SectionId::DebugStr,
    SectionId::DebugStrOffsets,
    SectionId::DebugAddr,
];

type Slice<'a> = EndianSlice<'a, RunTimeEndian>;

/// The source files of an ELF file.
#[derive(Debug, Default)]
pub struct Sources {
    paths: HashSet<String>,
    bytes: usize,
}

impl Sources {
    /// Reads the line tables of a file. A unit that cannot be read has no sources. Relocatable files have none either: their tables are
    /// put right by a linker or loader.
    ///
    /// # Errors
    /// [`Error::Elf`] where the file is not ELF, or its DWARF is larger than believed; [`Error::Io`] where reading fails.
    pub fn read(file: &mut (impl Read + Seek)) -> Result<Self> {
        let mut rest = MOST_BYTES;
        let mut endian = RunTimeEndian::Little;
        let sections = DwarfSections::load(|id| {
            if !SECTIONS.contains(&id) {
                return Ok(Vec::new());
            }
            let section = elf::contents(file, id.name(), rest)?;
            let bytes = section.map(|(bytes, is_little)| {
                endian = if is_little { RunTimeEndian::Little } else { RunTimeEndian::Big };
                bytes
            });
            let bytes = bytes.unwrap_or_default();
            rest -= bytes.len() as u64;
            Ok::<_, Error>(bytes)
        })?;
        let dwarf = sections.borrow(|section| EndianSlice::new(section, endian));
        let mut sources = Self::default();
        let (mut units, mut rest) = (dwarf.units(), MOST_TABLE_BYTES);
        while let Ok(Some(header)) = units.next() {
            if let Ok(unit) = dwarf.unit(header) {
                sources.add(&dwarf, &unit, &mut rest)?;
            }
        }
        Ok(sources)
    }

    fn add<'a>(&mut self, dwarf: &Dwarf<Slice<'a>>, unit: &Unit<Slice<'a>>, rest: &mut u64) -> Result<()> {
        let Some(program) = &unit.line_program else { return Ok(()) };
        let table = program.header();
        *rest = match rest.checked_sub(table.header_length() as u64) {
            Some(rest) => rest,
            None => return elf::refuse(format!("at most {MOST_TABLE_BYTES} bytes of line tables"), "more"),
        };
        let text = |value: AttributeValue<Slice<'a>>| dwarf.attr_string(unit, value).ok().map(|text| text.to_string_lossy());
        let folder = unit.comp_dir.map(|folder| folder.to_string_lossy()).unwrap_or_default();
        for file in table.file_names() {
            let Some(name) = text(file.path_name()) else { continue };
            let within = file.directory(table).and_then(text).unwrap_or_default();
            // Each is relative to the one before, unless it is absolute.
            let mut whole = String::new();
            for part in [&*folder, &*within, &*name] {
                if part.starts_with('/') {
                    whole.clear();
                }
                whole.push_str(part);
                whole.push('/');
            }
            let path = path::canonical(&whole);
            self.bytes += if self.paths.contains(&path) { 0 } else { path.len() + size_of::<String>() };
            if self.bytes > MOST_NAME_BYTES {
                return elf::refuse(format!("at most {MOST_NAME_BYTES} bytes of names of source files"), "more");
            }
            self.paths.insert(path);
        }
        Ok(())
    }

    /// Is the file at this canonical path one of them?
    pub fn has(&self, path: &str) -> bool {
        self.paths.contains(path)
    }

    /// Memory that it takes, about.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;
    use std::path::Path;
    use std::process::Command;

    use super::*;

    fn compile(folder: &Path, options: &[&str]) -> Vec<u8> {
        std::fs::create_dir_all(folder.join("sub")).unwrap();
        std::fs::write(folder.join("sub/part.h"), "static int part(void) { return 0; }\n").unwrap();
        std::fs::write(folder.join("main.c"), "#include \"sub/part.h\"\nint main(void) { return part(); }\n").unwrap();
        let mut command = Command::new("cc");
        let output = command.args(["-g", "main.c", "-o", "main"]).args(options).current_dir(folder).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        std::fs::read(folder.join("main")).unwrap()
    }

    #[test]
    fn line_tables_of_every_version_and_compression_name_their_files() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        let root = root.to_str().unwrap();
        let as_relative = format!("-ffile-prefix-map={root}=.");
        for (options, base) in [
            (&["-gdwarf-3"][..], root),
            (&["-gdwarf-4"], root),
            (&["-gdwarf-5"], root),
            (&["-gdwarf-5", "-gz=zlib"], root),
            (&["-gdwarf-4", "-gz=zlib-gnu"], root),
            (&[&as_relative], ""),
        ] {
            let elf = compile(folder.path(), options);
            let sources = Sources::read(&mut Cursor::new(elf)).unwrap();
            for name in ["main.c", "sub/part.h"] {
                assert!(sources.has(&format!("{base}/{name}")), "{options:?}: {name} among {sources:?}");
            }
            assert!(!sources.has("/etc/passwd") && !sources.has(&format!("{base}/main")), "{options:?}");
        }
    }

    #[test]
    fn damaged_dwarf_names_less_and_breaks_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let whole = compile(folder.path(), &[]);
        assert!(Sources::read(&mut Cursor::new(&b"no ELF"[..])).is_err());
        for at in (0..whole.len()).step_by(17) {
            let mut damaged = whole.clone();
            damaged[at] ^= 0xff;
            if let Ok(sources) = Sources::read(&mut Cursor::new(damaged)) {
                assert!(sources.bytes() < 1 << 20, "{at}");
            }
            let _ = Sources::read(&mut Cursor::new(&whole[..at]));
        }
    }
}
