use std::io::Cursor;

use goblin::elf::program_header::PT_NOTE;
use goblin::elf::section_header::{SHF_ALLOC, SHT_NOBITS, SHT_STRTAB};
use proptest::prelude::*;

use super::image::{Image, any_note, note};
use super::*;

const ID: [u8; 20] = *b"\x42\x0e\x9e\x33\x08\x97\x1f\x4b\x81\x7c\xc5\xbf\x83\x92\x8b\x41\xa6\x90\x9d\x88";
const OTHER: [u8; 8] = [7; 8];

fn parse(bytes: &[u8]) -> Result<Option<Elf>> {
    read_elf(&mut Cursor::new(bytes))
}

fn elf(image: &Image) -> Elf {
    parse(&image.bytes()).unwrap().unwrap()
}

fn id(bytes: &[u8]) -> Option<BuildId> {
    Some(BuildId::from_bytes(bytes).unwrap())
}

/// A file as `strip --only-keep-debug` makes it.
fn debug_file(kind: u16) -> Image {
    Image::new(kind)
        .section(".note.gnu.build-id", SHT_NOTE, SHF_ALLOC, &note(&ID, true))
        .section(".text", SHT_NOBITS, SHF_ALLOC, b"")
        .section(".debug_info", SHT_PROGBITS, 0, b"dwarf")
        .section(".symtab", SHT_SYMTAB, 0, b"symbols")
}

#[test]
fn both_classes_and_both_byte_orders_are_read() {
    for (is_64, is_little, is_extended) in [(true, true), (true, false), (false, true), (false, false)]
        .into_iter()
        .flat_map(|(a, b)| [(a, b, false), (a, b, true)])
    {
        let mut image = Image { is_64, is_little, is_extended, ..Image::program(&ID) };
        image.sections[0].contents = note(&ID, is_little);
        image.segments[1].contents = note(&ID, is_little);
        assert_eq!(elf(&image), Elf { build_id: id(&ID), kind: Some(Kind::Executable), dwarf: false });
        let bytes = image.bytes();
        if !is_extended {
            assert_eq!(Some(early_build_id(&bytes)), id(&ID).map(EarlyBuildId::Found));
        }
        let text = find_section(&mut Cursor::new(&bytes), ".text").unwrap().unwrap();
        assert_eq!(&bytes[text.start as usize..text.end as usize], b"code");
        // One table is enough.
        image.sections.clear();
        if !is_extended {
            assert_eq!(elf(&image), Elf { build_id: id(&ID), kind: Some(Kind::Executable), dwarf: false });
        }
    }
}

#[test]
fn this_test_is_an_executable_with_dwarf() {
    let path = std::env::current_exe().unwrap();
    let mut file = std::fs::File::open(&path).unwrap();
    let elf = read_elf(&mut file).unwrap().unwrap();
    assert_eq!(elf.kind, Some(Kind::Both));
    assert!(elf.dwarf);
    let bytes = std::fs::read(&path).unwrap();
    assert_eq!(Some(early_build_id(&bytes[..4096])), elf.build_id.clone().map(EarlyBuildId::Found));
    match find_section(&mut file, ".note.gnu.build-id").unwrap() {
        Some(range) => {
            let id = elf.build_id.unwrap();
            let note = &bytes[range.start as usize..range.end as usize];
            assert_eq!(note, self::note(id.as_bytes(), cfg!(target_endian = "little")));
        }
        None => assert_eq!(elf.build_id, None),
    }
    assert_eq!(find_section(&mut file, ".bss").unwrap(), None);
    assert_eq!(find_section(&mut file, ".debug_inf").unwrap(), None);
    assert_eq!(find_section(&mut file, "").unwrap(), None);
    let names = find_section(&mut file, ".shstrtab").unwrap().unwrap();
    assert!(bytes[names.start as usize..names.end as usize].windows(11).any(|name| name == b".debug_info"));
}

#[test]
fn other_files_are_no_elf() {
    let bytes = Image::program(&ID).bytes();
    for bytes in [
        &b""[..],
        b"\x7f",
        b"\x7fELF",
        b"#!/bin/sh\n# a script that is longer than any ELF header is, by far.",
        &bytes[..63],
    ] {
        assert_eq!(parse(bytes).unwrap(), None);
        assert_eq!(early_build_id(bytes), EarlyBuildId::Unknown);
        assert!(find_section(&mut Cursor::new(bytes), ".text").is_err());
    }
}

#[test]
fn a_header_of_no_known_class_or_byte_order_is_an_error() {
    for at in [4, 5] {
        let mut bytes = Image::program(&ID).bytes();
        bytes[at] = 9;
        let error = parse(&bytes).unwrap_err().to_string();
        assert!(
            error.starts_with("ELF: expected a header of class 32 or 64 and of either byte order, found"),
            "{error}"
        );
    }
}

#[test]
fn notes_in_sections_precede_notes_in_segments() {
    // The program headers of a .debug file point to where the program has its notes.
    let image = debug_file(ET_DYN).segment(PT_NOTE, 0, 4, &note(&OTHER, true));
    assert_eq!(elf(&image).build_id, id(&ID));
    let image = debug_file(ET_DYN).segment(PT_NOTE, 0, 4, b"something else that is no note");
    assert_eq!(elf(&image).build_id, id(&ID));
    let mut image = Image::program(&ID);
    image.sections[0].kind = SHT_NOBITS;
    assert_eq!(elf(&image).build_id, id(&ID));
}

#[test]
fn a_build_id_is_found_among_other_notes() {
    let property = any_note(b"GNU\0", 5, &[1; 12], 8, true);
    let abi = any_note(b"GNU\0", 1, &[0; 16], 4, true);
    let xen = any_note(b"Xen\0", 3, &[9; 20], 4, true);
    let long = any_note(b"GNU\0", 3, &[9; 65], 4, true);
    let empty = any_note(b"GNU\0", 3, &[], 4, true);
    let notes = [abi, xen, long, empty, note(&OTHER, true)].concat();
    let image = Image::new(ET_EXEC).section(".notes", SHT_NOTE, SHF_ALLOC, &notes);
    assert_eq!(elf(&image).build_id, id(&OTHER));
    for align in [4, 8] {
        let both = [property.clone(), any_note(b"GNU\0", 3, &OTHER, align, true)].concat();
        let image = Image::new(ET_EXEC).segment(PT_NOTE, 0, 8, &both);
        assert_eq!(elf(&image).build_id, id(&OTHER), "{align}");
    }
}

#[test]
fn without_a_note_there_is_no_build_id() {
    let image = Image::new(ET_EXEC).section(".text", SHT_PROGBITS, SHF_ALLOC, b"code");
    assert_eq!(elf(&image), Elf { build_id: None, kind: Some(Kind::Executable), dwarf: false });
}

#[test]
fn the_kind_follows_the_sections() {
    use Kind::{Both, Debuginfo, Executable};
    let program = Image::program(&ID);
    for (what, image, kind, dwarf) in [
        ("stripped", program.clone(), Some(Executable), false),
        ("with symbols", program.clone().section(".symtab", SHT_SYMTAB, 0, b"s"), Some(Executable), false),
        ("with DWARF", program.clone().section(".debug_info", SHT_PROGBITS, 0, b"d"), Some(Both), true),
        ("old compression", program.clone().section(".zdebug_info", SHT_PROGBITS, 0, b"d"), Some(Both), true),
        ("lines alone", program.clone().section(".debug_line", SHT_PROGBITS, 0, b"d"), Some(Both), false),
        ("Rust", program.clone().section(".debug_gdb_scripts", SHT_PROGBITS, SHF_ALLOC, b"s"), Some(Executable), false),
        (".debug", debug_file(ET_DYN), Some(Debuginfo), true),
        (".debug of a module", debug_file(ET_REL), Some(Debuginfo), true),
        ("module", Image { file_type: ET_REL, ..program }, Some(Executable), false),
        (
            "symbols alone",
            Image::new(ET_EXEC).section(".text", SHT_NOBITS, SHF_ALLOC, b"").section(".symtab", SHT_SYMTAB, 0, b"s"),
            Some(Debuginfo),
            false,
        ),
        ("dwz", Image::new(ET_REL).section(".debug_str", SHT_PROGBITS, 0, b"text\0"), Some(Debuginfo), true),
        ("dwz without data", Image::new(ET_REL).section(".debug_str", SHT_PROGBITS, 0, b""), Some(Debuginfo), false),
        ("DWARF elsewhere", debug_file(ET_DYN).section(".debug_str", SHT_NOBITS, 0, b""), Some(Debuginfo), true),
        ("nothing", Image::new(ET_EXEC), None, false),
    ] {
        let elf = elf(&image);
        assert_eq!((elf.kind, elf.dwarf), (kind, dwarf), "{what}");
    }
    let mut empty = debug_file(ET_DYN);
    empty.sections[2].kind = SHT_NOBITS;
    assert!(!elf(&empty).dwarf);
}

#[test]
fn the_first_section_with_the_exact_name_is_found() {
    let image = Image::new(ET_EXEC)
        .section(".text.hot", SHT_PROGBITS, SHF_ALLOC, b"hot")
        .section(".text", SHT_PROGBITS, SHF_ALLOC, b"first")
        .section(".text", SHT_PROGBITS, SHF_ALLOC, b"second")
        .section(".bss", SHT_NOBITS, SHF_ALLOC, b"")
        .section(".empty", SHT_STRTAB, 0, b"");
    let bytes = image.bytes();
    let contents = |name: &str| {
        let range = find_section(&mut Cursor::new(&bytes), name).unwrap()?;
        Some(bytes[range.start as usize..range.end as usize].to_vec())
    };
    assert_eq!(contents(".text").as_deref(), Some(&b"first"[..]));
    assert_eq!(contents(".text.hot").as_deref(), Some(&b"hot"[..]));
    for absent in [".bss", ".empty", ".tex", "text", ".text.hot\0.text", ""] {
        assert_eq!(contents(absent), None, "{absent:?}");
    }
}

#[test]
fn a_section_beyond_the_end_of_the_file_is_an_error() {
    let mut bytes = Image::new(ET_EXEC).section(".text", SHT_PROGBITS, SHF_ALLOC, b"code").bytes();
    let headers = bytes.len() - 3 * 64;
    bytes[headers + 64 + 32..headers + 64 + 40].copy_from_slice(&u64::MAX.to_le_bytes());
    let error = find_section(&mut Cursor::new(&bytes), ".text").unwrap_err().to_string();
    assert!(
        error.contains("expected section .text within 288 bytes of file, found 18446744073709551615 bytes"),
        "{error}"
    );
}

#[test]
fn the_build_id_is_in_the_segments_if_the_section_table_is_broken() {
    let bytes = Image::program(&ID).bytes();
    // Cut off before the section headers, which come last.
    let cut = &bytes[..bytes.len() - 10];
    assert_eq!(parse(cut).unwrap().unwrap(), Elf { build_id: id(&ID), kind: Some(Kind::Executable), dwarf: false });
    assert!(find_section(&mut Cursor::new(cut), ".text").is_err());
    let alone = Image { segments: Vec::new(), ..Image::program(&ID) }.bytes();
    let error = parse(&alone[..alone.len() - 10]).unwrap_err().to_string();
    assert!(error.starts_with("ELF: expected section headers within "), "{error}");
}

#[test]
fn tables_of_absurd_size_are_not_allocated() {
    let mut bytes = Image { is_extended: true, ..Image::program(&ID) }.bytes();
    let table = u64::from_le_bytes(bytes[40..48].try_into().unwrap()) as usize;
    bytes[table + 32..table + 40].copy_from_slice(&(1_u64 << 40).to_le_bytes());
    let error = parse(&bytes).unwrap_err().to_string();
    assert_eq!(error, "ELF: expected at most 262144 section headers, found 1099511627776");
}

#[test]
fn a_truncated_file_gives_its_build_id_or_none() {
    for image in [Image::program(&ID), debug_file(ET_DYN)] {
        let bytes = image.bytes();
        for end in 0..bytes.len() {
            if let Ok(Some(elf)) = parse(&bytes[..end]) {
                assert!(elf.build_id.is_none() || elf.build_id == id(&ID));
            }
            match early_build_id(&bytes[..end]) {
                EarlyBuildId::Found(early) => assert_eq!(Some(early), id(&ID)),
                // So many bytes are enough, unless the notes there are others.
                EarlyBuildId::NeedsBytes(needed) => {
                    assert!(needed > end as u64 && needed <= bytes.len() as u64);
                    assert_ne!(early_build_id(&bytes[..needed as usize]), EarlyBuildId::NeedsBytes(needed));
                }
                EarlyBuildId::Unknown => {}
            }
            let _ = find_section(&mut Cursor::new(&bytes[..end]), ".text");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn changed_files_never_panic(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..12),
        is_64 in any::<bool>(),
        is_little in any::<bool>(),
        is_extended in any::<bool>(),
    ) {
        let mut bytes = Image { is_64, is_little, is_extended, ..Image::program(&ID) }.bytes();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        let build_id = parse(&bytes).ok().flatten().and_then(|elf| elf.build_id);
        prop_assert!(build_id.is_none_or(|build_id| build_id_notes(&bytes).any(|found| found == build_id)));
        let _ = early_build_id(&bytes);
        let _ = find_section(&mut Cursor::new(&bytes), ".text");
    }
}

#[test]
fn notes_are_found_in_both_byte_orders_and_at_any_offset() {
    let notes = |bytes: &[u8]| build_id_notes(bytes).collect::<Vec<_>>();
    let [little, big] = [true, false].map(|is_little| note(&ID, is_little));
    assert_eq!(notes(&little), [id(&ID).unwrap()]);
    let both =
        [b"\x7fELF and more", &big[..], &any_note(b"GNU\0", 5, &ID, 4, true), b"x", &note(&OTHER, true), &[0; 9]]
            .concat();
    assert_eq!(notes(&both), [id(&ID).unwrap(), id(&OTHER).unwrap()]);
    for is_little in [true, false] {
        let mut image = Image { is_little, ..debug_file(ET_DYN) };
        image.sections[0].contents = note(&ID, is_little);
        assert_eq!(notes(&image.bytes()), [id(&ID).unwrap()]);
    }
    for cut in 0..little.len() {
        assert!(notes(&little[..cut]).is_empty(), "{cut}");
    }
    for no_note in [&b""[..], b"GNU\0", b"<html>GNU</html>", &note(&[1; 65], true), &note(&[], true), &little[4..]] {
        assert!(notes(no_note).is_empty(), "{no_note:?}");
    }
}

#[test]
fn a_part_of_a_file_is_not_complete() {
    let bytes = debug_file(ET_EXEC).bytes();
    let is_whole = |bytes: &[u8]| is_complete(&mut Cursor::new(bytes)).unwrap_or(false);
    assert!(is_whole(&bytes));
    for length in 0..bytes.len() {
        assert!(!is_whole(&bytes[..length]), "{length} of {} bytes", bytes.len());
    }
}
