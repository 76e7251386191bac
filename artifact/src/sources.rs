//! The source files that the DWARF of an ELF file names: the files of its line tables. debuginfod clients request them
//! by these names.

use std::collections::{HashMap, HashSet};
use std::io::{Read, Seek};
use std::sync::Arc;
use std::time::{Duration, Instant};

use gimli::{
    AttributeValue, DebugAbbrev, DebugAbbrevOffset, DebugLineOffset, Dwarf, DwarfSections, EndianSlice, Reader as _,
    RunTimeEndian, Section as _, SectionId, Unit, UnitHeader,
};

use crate::{Error, Result, elf, path};

/// The maximum size of all sections that are read, decompressed.
const MAX_BYTES: u64 = 256 << 20;
/// The maximum size of the abbreviations of a unit, and of the header of its line table. One byte of them takes about
/// 100 bytes of memory.
const MAX_TABLE_BYTES: usize = 1 << 20;
/// The maximum time of reading. 100 MB of real DWARF take half a second. Millions of units can share one table, which
/// is read again for each of them.
const READ_TIMEOUT: Duration = Duration::from_secs(20);
/// The maximum length of a path that can be requested (PATH_MAX, limits.h(0p)), and of each of its three parts.
const MAX_PATH_BYTES: usize = 4096;
/// The maximum size of all names.
const MAX_NAME_BYTES: usize = 32 << 20;

/// The sections that are read. Line tables have the names of files and directories, units have directories too.
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
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Sources {
    /// Canonical forms of absolute names.
    absolute: HashSet<String>,
    /// Relative names by their canonical forms; `None` where several have the same one, as `x.c` and `../x.c` do.
    relative: HashMap<String, Option<String>>,
    bytes: usize,
}

impl Sources {
    /// Reads the line tables of a file. A unit that cannot be read has no sources. Relocatable files have none either:
    /// their tables need relocation first. Takes at most 20 s and 500 MiB of memory for any file.
    ///
    /// # Errors
    /// [`Error::Elf`] if the file is not ELF, or its DWARF exceeds a limit; [`Error::Io`] if reading fails.
    pub fn read(file: &mut (impl Read + Seek)) -> Result<Self> {
        Self::read_within(file, READ_TIMEOUT)
    }

    fn read_within(file: &mut (impl Read + Seek), max: Duration) -> Result<Self> {
        let mut rest = MAX_BYTES;
        let mut endian = RunTimeEndian::Little;
        let sections = DwarfSections::load(|id| {
            if !SECTIONS.contains(&id) {
                return Ok(Vec::new());
            }
            let section = elf::section_contents(file, id.name(), rest)?;
            let bytes = section.map(|(bytes, is_little)| {
                endian = if is_little { RunTimeEndian::Little } else { RunTimeEndian::Big };
                bytes
            });
            let bytes = bytes.unwrap_or_default();
            rest -= bytes.len() as u64;
            Ok::<_, Error>(bytes)
        })?;
        let dwarf = sections.borrow(|section| EndianSlice::new(section, endian));
        let (mut sources, mut units) = (Self::default(), dwarf.units());
        let limit = TimeLimit { start: Instant::now(), max };
        while let Ok(Some(header)) = units.next() {
            limit.check()?;
            if let Ok(Some(unit)) = read_unit(&dwarf, header) {
                sources.add(&dwarf, &unit, &limit)?;
            }
        }
        Ok(sources)
    }

    fn add<'a>(&mut self, dwarf: &Dwarf<Slice<'a>>, unit: &Unit<Slice<'a>>, limit: &TimeLimit) -> Result<()> {
        let Some(program) = &unit.line_program else { return Ok(()) };
        let table = program.header();
        let readable = |text: &Slice<'a>| text.len() <= MAX_PATH_BYTES;
        let text = |value: AttributeValue<Slice<'a>>| {
            dwarf.attr_string(unit, value).ok().filter(readable).map(|text| text.to_string_lossy())
        };
        let comp_dir = unit.comp_dir.filter(readable).map(|dir| dir.to_string_lossy()).unwrap_or_default();
        for file in table.file_names() {
            limit.check()?;
            let Some(name) = text(file.path_name()) else { continue };
            let dir = file.directory(table).and_then(text).unwrap_or_default();
            // Directory 0 is the compilation directory (DWARF 5, section 6.2.4). It is part of the name only once.
            let is_comp_dir = file.directory_index() == 0 && dir == comp_dir;
            // Each part is relative to the one before, unless it is absolute.
            let mut whole = String::new();
            for part in [&*comp_dir, if is_comp_dir { "" } else { &*dir }, &*name] {
                if part.starts_with('/') {
                    whole.clear();
                }
                whole.push_str(part);
                if !part.is_empty() {
                    whole.push('/');
                }
            }
            self.insert(&whole);
            if self.bytes > MAX_NAME_BYTES {
                return elf::refuse(format!("at most {MAX_NAME_BYTES} bytes of names of source files"), "more");
            }
        }
        Ok(())
    }

    fn insert(&mut self, name: &str) {
        let canonical = path::canonical(name);
        if name.starts_with('/') {
            if !self.absolute.contains(&canonical) {
                self.bytes += canonical.len() + size_of::<String>();
                self.absolute.insert(canonical);
            }
            return;
        }
        let relative = path::shortest(name);
        match self.relative.get_mut(&canonical) {
            Some(known) if known.as_deref() == Some(&relative) => {}
            Some(known) => *known = None,
            None => {
                self.bytes += canonical.len() + relative.len() + size_of::<(String, Option<String>)>();
                self.relative.insert(canonical, Some(relative));
            }
        }
    }

    /// True if one of the source files has this canonical path.
    pub fn has(&self, path: &str) -> bool {
        self.absolute.contains(path) || self.relative.contains_key(path)
    }

    /// Returns the name with this canonical path: the path itself, or a relative name in its shortest form (`x.c`,
    /// `../src/x.c`). An absolute name precedes relative ones. `None` if there is none, or several relative ones.
    pub fn name(&self, path: &str) -> Option<&str> {
        let relative = || self.relative.get(path)?.as_deref();
        self.absolute.get(path).map(String::as_str).or_else(relative)
    }

    /// Returns the approximate size in memory, in bytes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

/// The time limit of a read.
struct TimeLimit {
    start: Instant,
    max: Duration,
}

impl TimeLimit {
    /// Fails once the time is over.
    fn check(&self) -> Result<()> {
        if self.start.elapsed() < self.max {
            return Ok(());
        }
        elf::refuse(format!("DWARF that is read within {:?}", self.max), "more")
    }
}

/// Reads a unit. `None` if one of its tables is too large.
fn read_unit<'a>(dwarf: &Dwarf<Slice<'a>>, header: UnitHeader<Slice<'a>>) -> gimli::Result<Option<Unit<Slice<'a>>>> {
    let mut table = *dwarf.debug_abbrev.reader();
    table.skip(header.debug_abbrev_offset().0)?;
    table.truncate(table.len().min(MAX_TABLE_BYTES))?;
    let abbreviations = DebugAbbrev::from(table).abbreviations(DebugAbbrevOffset(0))?;
    let mut entries = header.entries(&abbreviations);
    entries.next_dfs()?;
    // The names of the attributes do not matter: of several with one name, gimli may use any.
    for attribute in entries.current().map(|root| root.attrs()).unwrap_or_default() {
        if let AttributeValue::DebugLineRef(offset) = attribute.value()
            && line_table_bytes(dwarf, offset)? > MAX_TABLE_BYTES
        {
            return Ok(None);
        }
    }
    Unit::new_with_abbreviations(dwarf, header, Arc::new(abbreviations)).map(Some)
}

/// Returns the size, in bytes, of the header of a line table, without reading it (DWARF 5, section 6.2.4).
fn line_table_bytes(dwarf: &Dwarf<Slice<'_>>, offset: DebugLineOffset) -> gimli::Result<usize> {
    let mut table = *dwarf.debug_line.reader();
    table.skip(offset.0)?;
    let (_, format) = table.read_initial_length()?;
    if table.read_u16()? >= 5 {
        // Sizes of addresses and of segment selectors.
        table.skip(2)?;
    }
    table.read_length(format)
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;
    use std::path::Path;
    use std::process::Command;

    use goblin::elf::header::ET_DYN;
    use goblin::elf::section_header::SHT_PROGBITS;

    use super::*;
    use crate::elf::image::Image;

    fn compile(dir: &Path, options: &[&str]) -> Vec<u8> {
        std::fs::create_dir_all(dir.join("sub")).unwrap();
        std::fs::write(dir.join("sub/part.h"), "static int part(void) { return 0; }\n").unwrap();
        std::fs::write(dir.join("main.c"), "#include \"sub/part.h\"\nint main(void) { return part(); }\n").unwrap();
        let mut command = Command::new("cc");
        let output = command.args(["-g", "main.c", "-o", "main"]).args(options).current_dir(dir).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        std::fs::read(dir.join("main")).unwrap()
    }

    #[test]
    fn line_tables_of_every_version_and_compression_name_their_files() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
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
            let elf = compile(dir.path(), options);
            let sources = Sources::read(&mut Cursor::new(elf)).unwrap();
            for name in ["main.c", "sub/part.h"] {
                assert!(sources.has(&format!("{base}/{name}")), "{options:?}: {name} among {sources:?}");
            }
            assert!(!sources.has("/etc/passwd") && !sources.has(&format!("{base}/main")), "{options:?}");
        }
    }

    #[test]
    fn relative_names_are_kept_and_ambiguous_ones_are_none() {
        for (version, own, names) in [
            ("-gdwarf-4", ".", ["main.c", "sub/part.h"]),
            ("-gdwarf-5", ".", ["main.c", "sub/part.h"]),
            ("-gdwarf-4", "build/../out", ["out/main.c", "out/sub/part.h"]),
            ("-gdwarf-5", "build/../out", ["out/main.c", "out/sub/part.h"]),
            ("-gdwarf-4", "../../src", ["../../src/main.c", "../../src/sub/part.h"]),
            ("-gdwarf-5", "../../src", ["../../src/main.c", "../../src/sub/part.h"]),
            ("-gdwarf-5", "a.b/mod@v1.2.3", ["a.b/mod@v1.2.3/main.c", "a.b/mod@v1.2.3/sub/part.h"]),
        ] {
            let dir = tempfile::tempdir().unwrap();
            let root = dir.path().canonicalize().unwrap();
            let elf = compile(dir.path(), &[version, &format!("-ffile-prefix-map={}={own}", root.display())]);
            let sources = Sources::read(&mut Cursor::new(elf)).unwrap();
            for name in names {
                let path = path::canonical(name);
                let found = (sources.has(&path), sources.name(&path));
                assert_eq!(found, (true, Some(name)), "{version} {own}: {sources:?}");
            }
        }
        let mut sources = Sources::default();
        for name in ["a.c", "./a.c", "../a.c", "b.c", "../../c.c", "/c.c", "/d/../d.c"] {
            sources.insert(name);
        }
        let absolute = ["/c.c", "/d.c"].map(|path| (path, Some(path)));
        for (path, name) in [("/a.c", None), ("/b.c", Some("b.c")), ("/e.c", None)].into_iter().chain(absolute) {
            assert_eq!((sources.has(path), sources.name(path)), (path != "/e.c", name), "{path}");
        }
    }

    /// Returns an ELF file with these DWARF sections.
    fn dwarf(sections: &[(&'static str, &[u8])]) -> Cursor<Vec<u8>> {
        let image = Image::new(ET_DYN);
        Cursor::new(
            sections.iter().fold(image, |image, (name, bytes)| image.section(name, SHT_PROGBITS, 0, bytes)).bytes(),
        )
    }

    /// The abbreviation 1: a compile unit with `flags` flags, a directory, and a line table, which is given twice.
    fn abbreviation(flags: usize) -> Vec<u8> {
        [&[1, 0x11, 0][..], &[0x3f, 0x19].repeat(flags), &[0x1b, 0x08, 0x10, 0x17, 0x10, 0x17, 0, 0, 0]].concat()
    }

    /// Returns a unit of DWARF 4 in `/src` with the abbreviations at 0 and the line table at `line`.
    fn unit_at(line: u32) -> Vec<u8> {
        let line = line.to_le_bytes();
        let body = [&[4, 0, 0, 0, 0, 0, 8, 1][..], b"/src\0", &[0; 4], &line].concat();
        [&(body.len() as u32).to_le_bytes()[..], &body].concat()
    }

    /// A line table of DWARF 4 with `files` files, `fN`, none of which has a directory.
    fn line_table(files: usize) -> Vec<u8> {
        let files: Vec<u8> = (0..files).flat_map(|file| [format!("f{file}").as_bytes(), &[0; 4]].concat()).collect();
        let head = [&[1, 1, 1, 0, 1, 1][..], &[0], &files, &[0]].concat();
        let body = [&[4, 0][..], &(head.len() as u32).to_le_bytes(), &head].concat();
        [&(body.len() as u32).to_le_bytes()[..], &body].concat()
    }

    #[test]
    fn large_tables_are_not_read() {
        let small = line_table(3);
        let lines = [&small[..], &line_table(200_000)].concat();
        assert!(lines.len() > MAX_TABLE_BYTES);
        for (flags, line, names) in [(0, 0, 3), (10, 0, 3), (MAX_TABLE_BYTES / 2, 0, 0), (0, small.len(), 0)] {
            let (abbreviation, info) = (abbreviation(flags), unit_at(line as u32));
            let mut file = dwarf(&[(".debug_info", &info), (".debug_abbrev", &abbreviation), (".debug_line", &lines)]);
            let sources = Sources::read(&mut file).unwrap();
            assert_eq!(sources.absolute.len(), names, "{flags} flags, line table at {line}");
            assert_eq!(sources.has("/src/f2"), names > 0, "{flags} flags, line table at {line}");
        }
    }

    #[test]
    fn units_that_share_a_large_table_are_refused_after_a_time_limit() {
        let (abbreviation, info) = (abbreviation(500_000), unit_at(0).repeat(100_000));
        let mut file =
            dwarf(&[(".debug_info", &info), (".debug_abbrev", &abbreviation), (".debug_line", &line_table(1))]);
        let start = Instant::now();
        let error = Sources::read_within(&mut file, Duration::from_millis(300)).unwrap_err().to_string();
        assert!(error.contains("expected DWARF that is read within 300ms, found more"), "{error}");
        assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    }

    #[test]
    fn damaged_dwarf_never_panics() {
        let dir = tempfile::tempdir().unwrap();
        let whole = compile(dir.path(), &[]);
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
