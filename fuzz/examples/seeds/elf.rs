//! ELF files.

use std::fs;

use goblin::elf::header::{ET_DYN, ET_REL};
use goblin::elf::program_header::PT_NOTE;
use goblin::elf::section_header::{SHF_ALLOC, SHT_NOBITS, SHT_NOTE, SHT_PROGBITS, SHT_SYMTAB};

use crate::image::{Image, any_note, note};

/// Small ELF files of both classes and byte orders, with tables of every kind.
pub(crate) fn elf_files() -> Vec<Vec<u8>> {
    const ID: [u8; 20] = *b"\x42\x0e\x9e\x33\x08\x97\x1f\x4b\x81\x7c\xc5\xbf\x83\x92\x8b\x41\xa6\x90\x9d\x88";
    let mut images = Vec::new();
    for (is_64, is_little, is_extended) in
        (0..8).map(|number| (number & 1 == 0, number & 2 == 0, number & 4 != 0)).collect::<Vec<_>>()
    {
        let mut image = Image { is_64, is_little, is_extended, ..Image::program(&ID) };
        image.sections[0].contents = note(&ID, is_little);
        image.segments[1].contents = note(&ID, is_little);
        images.push(Image { sections: Vec::new(), ..image.clone() });
        images.push(image);
    }
    for file_type in [ET_DYN, ET_REL] {
        let debug_file = Image::new(file_type)
            .section(".note.gnu.build-id", SHT_NOTE, SHF_ALLOC, &note(&ID, true))
            .section(".text", SHT_NOBITS, SHF_ALLOC, b"")
            .section(".debug_info", SHT_PROGBITS, 0, b"dwarf")
            .section(".symtab", SHT_SYMTAB, 0, b"symbols");
        images.push(debug_file.clone().segment(PT_NOTE, 0, 4, b"something else that is no note"));
        images.push(debug_file.section(".zdebug_info", SHT_PROGBITS, 0, b"ZLIB"));
    }
    let notes =
        [any_note(b"GNU\0", 5, &[1; 12], 8, true), any_note(b"GNU\0", 1, &[0; 16], 4, true), note(&ID, true)].concat();
    images.push(Image::new(ET_DYN).segment(PT_NOTE, 0, 8, &notes));
    images.iter().map(Image::bytes).collect()
}

/// Small programs with DWARF of every version and compression, as `cc` makes them.
pub(crate) fn files_with_dwarf() -> Vec<Vec<u8>> {
    let dir = std::env::temp_dir().join(format!("seeds-{}", std::process::id()));
    fs::create_dir_all(dir.join("sub")).expect("a directory for sources");
    fs::write(dir.join("sub/part.h"), "static int part(void) { return 0; }\n").expect("a source");
    fs::write(dir.join("main.c"), "#include \"sub/part.h\"\nint main(void) { return part(); }\n").expect("a source");
    let all = [
        "-gdwarf-2",
        "-gdwarf-3",
        "-gdwarf-4",
        "-gdwarf-5",
        "-gdwarf-5 -gz=zlib",
        "-gdwarf-4 -gz=zlib-gnu",
        "-gdwarf-5 -gdwarf64",
    ];
    let files = all.map(|options| {
        let mut cc = std::process::Command::new("cc");
        cc.args(["-shared", "-nostdlib", "-Wl,-z,noseparate-code", "main.c", "-o", "main"]).args(options.split(' '));
        assert!(cc.current_dir(&dir).status().expect("cc").success(), "{options}");
        fs::read(dir.join("main")).expect("the output of cc")
    });
    fs::remove_dir_all(&dir).expect("the directory is removed");
    files.into()
}
