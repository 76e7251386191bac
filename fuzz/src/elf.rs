//! ELF files.

use std::io::{Cursor, Read, Result, Seek, SeekFrom};

use artifact::{Error, Kind, elf};

/// The answer does not depend on how the bytes arrive, names only what is in the file, and costs a bounded number of
/// bytes read.
pub fn check(input: &[u8]) {
    let whole = elf::read_elf(&mut Cursor::new(input));
    let mut slow = Slow { file: Cursor::new(input), read: 0 };
    let slowly = elf::read_elf(&mut slow);
    // Both tables, section header 0, the names, and the notes of 2 x 64 places.
    const MAX_TABLE_READS: usize = 4 + 2 * 64;
    assert!(slow.read <= MAX_TABLE_READS * input.len(), "{} bytes read of {}", slow.read, input.len());

    let early = elf::early_build_id(input);
    let elf = match (whole, slowly) {
        (Ok(one), Ok(other)) => {
            assert_eq!(one, other);
            one
        }
        (Err(error @ Error::Elf { .. }), Err(Error::Elf { .. })) => {
            super::is_short(&error);
            None
        }
        (one, other) => panic!("at once {one:?}, in pieces {other:?}"),
    };
    assert!(
        !matches!(early, elf::EarlyBuildId::Found(_)) || elf.as_ref().is_some_and(|elf| elf.build_id.is_some()),
        "early {early:?}, then {elf:?}"
    );
    if let Some(elf) = &elf {
        assert!(input.starts_with(&elf::MAGIC));
        if let Some(build_id) = &elf.build_id {
            let bytes = build_id.as_bytes();
            assert!(input.windows(bytes.len()).any(|window| window == bytes), "{build_id} is not in the file");
            assert!(elf::build_id_notes(input).any(|found| found == *build_id), "{build_id} is in no note");
        }
        assert!(elf.kind != Some(Kind::Unknown), "{elf:?}");
        assert!(!elf.dwarf || matches!(elf.kind, Some(Kind::Debuginfo | Kind::Both)), "{elf:?}");
    }

    for name in [".text", ".debug_info", ".gdb_index", ".note.gnu.build-id", ".shstrtab", "", "\0"] {
        match elf::find_section(&mut Cursor::new(input), name) {
            Ok(Some(range)) => {
                assert!(
                    range.start < range.end && range.end <= input.len() as u64,
                    "{name}: {range:?} of {}",
                    input.len()
                );
                assert!(!name.contains('\0'));
            }
            Ok(None) => {}
            Err(error @ Error::Elf { .. }) => super::is_short(&error),
            Err(error) => panic!("{name}: {error}"),
        }
    }
}

/// A file that gives few bytes at a time, and counts them.
struct Slow<'a> {
    file: Cursor<&'a [u8]>,
    read: usize,
}

impl Read for Slow<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        const MAX_BYTES: usize = 61;
        let max = buffer.len().min(MAX_BYTES);
        let read = self.file.read(&mut buffer[..max])?;
        self.read += read;
        Ok(read)
    }
}

impl Seek for Slow<'_> {
    fn seek(&mut self, to: SeekFrom) -> Result<u64> {
        self.file.seek(to)
    }
}
