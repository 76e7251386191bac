//! Makes the inputs that fuzzing starts from, out of the fixture packages and out of thin air, into the folder that is
//! named: `cargo run --example seeds FOLDER`.

use std::fs;
use std::io::{Cursor, Read};
use std::path::{Path, PathBuf};

use artifact::header::Header;
use artifact::payload::{self, Members};
use fuzz::formats::member;
use fuzz::payload::{COMPRESSORS, WHOLE_RPM, compress};
use goblin::elf::header::{ET_DYN, ET_REL};
use goblin::elf::program_header::PT_NOTE;
use goblin::elf::section_header::{SHF_ALLOC, SHT_NOBITS, SHT_NOTE, SHT_PROGBITS, SHT_SYMTAB};
use image::{Image, any_note, note};

#[path = "../../artifact/src/elf/image.rs"]
mod image;

/// Larger seeds make fuzzing slow.
const MAX_BYTES: usize = 24 << 10;

fn main() {
    let folder = PathBuf::from(std::env::args().nth(1).expect("expected a folder to write to"));
    let mut seeds = Seeds { folder, count: 0 };
    words(&mut seeds);
    for elf in elf_files() {
        seeds.add("elf", &elf);
    }
    for elf in files_with_dwarf() {
        seeds.add("dwarf", &elf);
    }
    archives(&mut seeds);
    formats(&mut seeds);
    seeds.add("header", &many_files_in_a_long_folder());
    packages(&mut seeds);
    println!("{} seeds", seeds.count);
}

struct Seeds {
    folder: PathBuf,
    count: usize,
}

impl Seeds {
    fn add(&mut self, target: &str, bytes: &[u8]) {
        let folder = self.folder.join(target);
        fs::create_dir_all(&folder).expect("a folder for the seeds");
        if bytes.len() <= MAX_BYTES {
            self.count += 1;
            fs::write(folder.join(format!("seed-{:04}", self.count)), bytes).expect("a seed");
        }
    }
}

/// NEVRAs, build-ids and paths, good and odd.
fn words(seeds: &mut Seeds) {
    for nevra in [
        "libstdc++-4.6.2-1.fc16.x86_64",
        "java-1.7.0-openjdk-1.7.0.3-2.1.fc17.8.i686.rpm",
        "bidtest-3:1.2~rc1-4.fc99.x86_64",
        "kernel-debuginfo-common-x86_64-6.9.6-200.el7_9.2.aarch64",
        "n-4294967295:1-1.module+el8.x",
        "n-+1:2:3-1.rpm.rpm",
        "a/../b-1^git-1.\u{e9}",
    ] {
        seeds.add("nevra", nevra.as_bytes());
    }
    let digits = "420e9e3308971f4b817cc5bf83928b41a6909d88";
    for build_id in [
        digits,
        &digits.repeat(4)[..128],
        "42/0e9e3308.3",
        "/usr/lib/debug/.build-id/42/0e9e3308.12.debug",
        "setuid ELF 64-bit LSB pie executable, BuildID[sha1]=420e9e3308971f4b, with debug_info, not stripped",
        "ELF 64-bit LSB executable, BuildID[xxHash]=0x0011223344556677, stripped",
    ] {
        seeds.add("build_id", build_id.as_bytes());
    }
    for path in [
        "/usr/src/debug/hello3-1.0-2.x86_64/foobar///./../hello.c",
        "./../..//a/.../..b/c.",
        "/usr/lib/debug/.build-id/d4/4d\0../../../../local/bin/hello",
        "/usr/bin/sym\0/usr//bin/./a/",
    ] {
        seeds.add("source_path", path.as_bytes());
    }
}

/// Small ELF files of both classes and byte orders, with tables of every kind.
fn elf_files() -> Vec<Vec<u8>> {
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
fn files_with_dwarf() -> Vec<Vec<u8>> {
    let folder = std::env::temp_dir().join(format!("seeds-{}", std::process::id()));
    fs::create_dir_all(folder.join("sub")).expect("a folder for sources");
    fs::write(folder.join("sub/part.h"), "static int part(void) { return 0; }\n").expect("a source");
    fs::write(folder.join("main.c"), "#include \"sub/part.h\"\nint main(void) { return part(); }\n").expect("a source");
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
        assert!(cc.current_dir(&folder).status().expect("cc").success(), "{options}");
        fs::read(folder.join("main")).expect("what cc made")
    });
    fs::remove_dir_all(&folder).expect("an end");
    files.into()
}

/// Archives in both forms, with every compressor, compressed already and yet to be compressed; and what is wrong with
/// archives.
fn archives(seeds: &mut Seeds) {
    let elf = &elf_files()[1];
    let size = u16::try_from(elf.len()).expect("a small ELF file").to_le_bytes();
    // As `fuzz::payload` has its table: how, size, inode.
    let rows = [
        [4, 0, 16, 0],
        [0, size[0], size[1], 0],
        [0, 0, 0, 0],
        [5, 6, 0, 0],
        [0, 6, 0, 7],
        [0, 6, 0, 7],
        [6, 4, 0, 0],
        [0, 8, 0, 0],
    ];
    let members: [(u32, &str, &[u8]); 7] = [
        (0, "./a", b""),
        (1, "./b", elf),
        (2, "/c", b""),
        (3, "d", b"target"),
        (4, "./e", b""),
        (5, "./f", b"linked"),
        (7, "./h", b"the last"),
    ];
    let long: Vec<u8> = members.iter().flat_map(|(_, name, contents)| long(name, contents)).collect();
    let stripped: Vec<u8> = members.iter().flat_map(|(ordinal, _, contents)| stripped(*ordinal, contents)).collect();
    let odd = [self::long("../../b", elf), self::long("/etc/passwd", b""), self::long("./b", &[7; 99])].concat();
    let trailer = self::long("TRAILER!!!", b"");
    for (number, compressor) in (0_u8..).zip(COMPRESSORS) {
        for archive in [&long, &stripped, &odd, &stripped[..stripped.len() - 9].to_vec()] {
            let archive = [&archive[..], &trailer].concat();
            seeds.add("payload", &input(number + 6, &rows, &archive));
            let compressed = compress(compressor, &archive).unwrap_or(archive);
            seeds.add("payload", &input(number, &rows, &compressed));
            seeds.add("payload", &input(number, &rows, &compressed[..compressed.len() / 2]));
        }
        // 4 MiB of zeros where one byte, and where half a MiB is announced.
        let bomb = [self::long("a", &vec![0; 4 << 20]), trailer.clone()].concat();
        let bomb = compress(compressor, &bomb).unwrap_or_default();
        seeds.add("payload", &input(number, &[[0, 1, 0, 0]], &bomb));
        seeds.add("payload", &input(number, &[[0x38, 0, 0x10, 0]], &bomb));
    }
}

/// Tar archives of every dialect, alone and as the data of Debian packages; whole Debian packages; plain files.
fn formats(seeds: &mut Seeds) {
    const END: usize = 1024;
    let elves = elf_files();
    let elf = &elves[1];
    let open = |name: &str, contents: &[u8]| {
        let mut member = member(name, contents);
        member.truncate(member.len() - END);
        member
    };
    let typed = |kind: u8, name: &str, contents: &[u8], change: &dyn Fn(&mut [u8])| {
        let mut member = open(name, contents);
        member[156] = kind;
        change(&mut member[..512]);
        member[148..156].copy_from_slice(b"        ");
        let sum: u32 = member[..512].iter().map(|byte| u32::from(*byte)).sum();
        member[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        member
    };
    let none = |_: &mut [u8]| {};
    let pax = |records: &[&str]| {
        let record = |text: &&str| {
            (1..99)
                .map(|length| format!("{length} {text}\n"))
                .find(|record| record.starts_with(&record.len().to_string()))
        };
        let records: String = records.iter().filter_map(record).collect();
        typed(b'x', "pax", records.as_bytes(), &none)
    };
    let sparse = |header: &mut [u8]| {
        header[386..434].copy_from_slice(b"00000000000\000000000100\000000000400\000000000200\0");
        header[482] = 0;
        header[483..495].copy_from_slice(b"00000001000\0");
    };
    let map = format!("2\n0\n64\n256\n{}\n", elf.len() - 64);
    let stored = [&map.as_bytes()[..], &vec![0; 512 - map.len()], elf].concat();
    let real_size = format!("GNU.sparse.realsize={}", 256 + elf.len() - 64);
    let archives: Vec<Vec<u8>> = vec![
        open("./usr/bin/a", elf),
        [open("a", b"text"), open("usr/bin/a", elf), open("usr/bin/a", &elves[3])].concat(),
        [typed(b'L', "long", "l/".repeat(80).as_bytes(), &none), open("short", elf)].concat(),
        [pax(&["path=p/q", "mtime=12.5", "size=0"]), open("short", b"")].concat(),
        [typed(b'S', "s", &elf[..0o300], &sparse), open("after", elf)].concat(),
        [pax(&["GNU.sparse.major=1", "GNU.sparse.minor=0", "GNU.sparse.name=s", &real_size]), open("x", &stored)]
            .concat(),
        [pax(&["GNU.sparse.size=400", "GNU.sparse.map=0,100,300,50"]), open("x", &elf[..150])].concat(),
        [pax(&["GNU.sparse.size=99", "GNU.sparse.offset=0", "GNU.sparse.numbytes=9"]), open("x", &elf[..9])].concat(),
        [open("a", elf), typed(b'1', "b", b"", &|header| header[157] = b'a'), typed(b'2', "c", b"", &none)].concat(),
        [open(".PKGINFO", b"pkgname = a\npkgver = 1:2-3\narch = x\npkgbase = b\n"), open("usr/bin/a", elf)].concat(),
        typed(b'0', "huge", b"", &|header| header[124..136].copy_from_slice(&[0xff; 12])),
    ];
    for archive in &archives {
        let archive = [&archive[..], &[0; END]].concat();
        for form in [1, 2, 4] {
            seeds.add("formats", &[&[form], &archive[..]].concat());
        }
    }
    for compressor in COMPRESSORS {
        let archive = [&archives[1][..], &[0; END]].concat();
        seeds.add("formats", &[&[2], &compress(compressor, &archive).unwrap_or_default()[..]].concat());
    }
    let data = compress(Some("xz"), &[&archives[0][..], &[0; END]].concat()).unwrap_or_default();
    let mut deb = b"!<arch>\n".to_vec();
    let control = member("./control", b"Package: p\nSource: q (1:2-3)\nVersion: 1:2-3+b1\nArchitecture: amd64\n");
    for (name, contents) in [("debian-binary", &b"2.0\n"[..]), ("control.tar", &control), ("data.tar.xz", &data)] {
        deb.extend(format!("{name:<16}{:<32}{:<10}`\n", 1_700_000_000, contents.len()).as_bytes());
        deb.extend(contents);
        deb.resize(deb.len().next_multiple_of(2), b'\n');
    }
    seeds.add("formats", &[&[0], &deb[..]].concat());
    seeds.add("formats", &[&[0], &deb[..deb.len() / 2]].concat());
    for elf in elves.iter().step_by(2) {
        seeds.add("formats", &[&[3], &elf[..]].concat());
        seeds.add("formats", &[&[3], &compress(Some("zstd"), elf).unwrap_or_default()[..]].concat());
    }
    opkg(seeds, &control, &data);
    cpio_archives(seeds, elf);
    zip_archives(seeds, elf);
}

/// Packages of opkg, without the gzip around them.
fn opkg(seeds: &mut Seeds, control: &[u8], data: &[u8]) {
    const END: usize = 1024;
    let open = |name: &str, contents: &[u8]| {
        let mut member = member(name, contents);
        member.truncate(member.len() - END);
        member
    };
    let (control, data) = (open("./control.tar.gz", control), open("./data.tar.gz", data));
    let version = open("./debian-binary", b"2.0\n");
    for outer in [[&version[..], &control, &data].concat(), [&version[..], &data, &control, &[0; END]].concat()] {
        seeds.add("formats", &[&[7], &outer[..]].concat());
    }
}

/// Archives of both forms, with hard links, one after the other, compressed.
fn cpio_archives(seeds: &mut Seeds, elf: &[u8]) {
    let newc = |magic: &str, inode: usize, mode: usize, links: usize, name: &str, contents: &[u8]| {
        let sum = contents.iter().map(|byte| usize::from(*byte)).sum::<usize>();
        let mut numbers = [inode, mode, 0, 0, links, 7, contents.len(), 8, 1, 0, 0, name.len() + 1, 0];
        numbers[12] = if magic == "070702" { sum } else { 0 };
        let digits: String = numbers.iter().map(|number| format!("{number:08x}")).collect();
        let head = padded(format!("{magic}{digits}{name}\0").into_bytes());
        [head, padded(contents.to_vec())].concat()
    };
    for magic in ["070701", "070702"] {
        let file = |name: &str, contents: &[u8]| newc(magic, 1, 0o100_755, 1, name, contents);
        let trailer = newc(magic, 0, 0, 1, "TRAILER!!!", b"");
        let links = [("a", &b""[..]), ("b", b""), ("c", elf)]
            .map(|(name, contents)| newc(magic, 5, 0o100_644, 3, name, contents))
            .concat();
        let folder =
            [newc(magic, 2, 0o040_755, 2, "usr", b""), newc(magic, 3, 0o120_777, 1, "link", b"usr/p")].concat();
        let plain = [&folder[..], &file("usr/p", elf), &file("t", b"text"), &links, &trailer].concat();
        let mut two = [&file("early", elf)[..], &trailer].concat();
        two.resize(two.len().next_multiple_of(512), 0);
        two.extend(compress(Some("zstd"), &plain).unwrap_or_default());
        for archive in [&plain, &two, &compress(Some("gzip"), &plain).unwrap_or_default()] {
            seeds.add("formats", &[&[5], &archive[..]].concat());
        }
    }
}

/// Archives with members of every compression, sizes before and behind their contents.
fn zip_archives(seeds: &mut Seeds, elf: &[u8]) {
    let lzma = |contents: &[u8]| {
        let file = compress(Some("lzma"), contents).unwrap_or_default();
        [&[9, 20, 5, 0], &file[..5], &file[13..]].concat()
    };
    let stored = [
        (0, elf.to_vec()),
        (12, compress(Some("bzip2"), elf).unwrap_or_default()),
        (14, lzma(elf)),
        (93, compress(Some("zstd"), elf).unwrap_or_default()),
        (95, compress(Some("xz"), elf).unwrap_or_default()),
    ];
    let gzip = compress(Some("gzip"), elf).unwrap_or_default();
    let deflated = (8, gzip[10..gzip.len() - 8].to_vec());
    let crc = u32::from_le_bytes(gzip[gzip.len() - 8..gzip.len() - 4].try_into().expect("a checksum"));
    for (method, stored) in stored.into_iter().chain([deflated]) {
        for flags in [0_u16, 8] {
            let name = b"usr/bin/p";
            let sizes = [crc, u32::try_from(stored.len()).expect("small"), u32::try_from(elf.len()).expect("small")];
            let sizes = sizes.map(u32::to_le_bytes).concat();
            let hidden = if flags == 0 { sizes.clone() } else { vec![0; 12] };
            let lengths = [u16::try_from(name.len()).expect("short"), 0].map(u16::to_le_bytes).concat();
            let first = [20, flags, method, 0x63c5, 0x505d].map(u16::to_le_bytes).concat();
            let local = [b"PK\x03\x04", &first[..], &hidden, &lengths, name, &stored].concat();
            let descriptor = if flags == 0 { Vec::new() } else { [b"PK\x07\x08", &sizes[..]].concat() };
            let one = |at: u32| {
                let mode = [0, 0, 0o355, 0o201];
                [b"PK\x01\x02", &[20, 3][..], &first, &sizes, &lengths, &[0; 6], &mode, &at.to_le_bytes(), name]
                    .concat()
            };
            let directory = one(0);
            let length = |bytes: &[u8]| u32::try_from(bytes.len()).expect("small").to_le_bytes();
            let before = [local, descriptor].concat();
            let end =
                [b"PK\x05\x06", &[0, 0, 0, 0, 1, 0, 1, 0][..], &length(&directory), &length(&before), &[0, 0]].concat();
            seeds.add("formats", &[&[6], &before[..], &directory, &end].concat());
        }
    }
}

fn input(form: u8, rows: &[[u8; 4]], payload: &[u8]) -> Vec<u8> {
    let count = u8::try_from(rows.len()).expect("a small table");
    [&[form, count], rows.as_flattened(), payload].concat()
}

fn long(name: &str, contents: &[u8]) -> Vec<u8> {
    let mut numbers = [0; 13];
    (numbers[6], numbers[11]) = (contents.len(), name.len() + 1);
    let digits: String = numbers.iter().map(|number| format!("{number:08x}")).collect();
    let head = padded(format!("070701{digits}{name}\0").into_bytes());
    [head, padded(contents.to_vec())].concat()
}

fn stripped(ordinal: u32, contents: &[u8]) -> Vec<u8> {
    [format!("07070X{ordinal:08x}\0\0").into_bytes(), padded(contents.to_vec())].concat()
}

fn padded(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

/// A header of 9 KiB whose paths would take 4 MiB.
fn many_files_in_a_long_folder() -> Vec<u8> {
    const FILES: usize = 1000;
    const STRING: u32 = 6;
    const STRINGS: u32 = 8;
    const NUMBERS: u32 = 4;
    let folder = format!("/{}/\0", "long".repeat(1000));
    let words = [(1000, b"n\0"), (1001, b"1\0"), (1002, b"1\0"), (1022, b"x\0")];
    let mut main = vec![(1116, NUMBERS, FILES, vec![0; 4 * FILES])];
    main.extend(words.map(|(tag, word)| (tag, STRING, 1, word.to_vec())));
    main.push((1117, STRINGS, FILES, b"a\0".repeat(FILES)));
    main.push((1118, STRINGS, 1, folder.into_bytes()));
    let mut lead = vec![0; 96];
    lead[..6].copy_from_slice(&[0xed, 0xab, 0xee, 0xdb, 3, 0]);
    let signature = tags(&[(1000, NUMBERS, 1, vec![0; 8])]);
    [lead, signature, tags(&main)].concat()
}

/// A header of tag, type, count and data of each entry.
fn tags(entries: &[(u32, u32, usize, Vec<u8>)]) -> Vec<u8> {
    let word = |number: usize| u32::try_from(number).expect("a small number").to_be_bytes();
    let data: Vec<u8> = entries.iter().flat_map(|(.., data)| data.clone()).collect();
    let mut header = [&[0x8e, 0xad, 0xe8, 1, 0, 0, 0, 0], &word(entries.len())[..], &word(data.len())].concat();
    let mut offset = 0;
    for (tag, kind, count, data) in entries {
        header.extend([tag.to_be_bytes(), kind.to_be_bytes(), word(offset), word(*count)].as_flattened());
        offset += data.len();
    }
    [header, data].concat()
}

/// Headers, small packages as they are, and the ELF files of the fixtures.
fn packages(seeds: &mut Seeds) {
    for path in fixtures() {
        let archive = fs::read(&path).expect("a fixture");
        let header = Header::parse(&archive).expect("a fixture with a sound header");
        let (head, payload) = archive.split_at(usize::try_from(header.range.end).expect("a small header"));
        seeds.add("header", head);
        seeds.add("payload", &[&[WHOLE_RPM], &archive[..]].concat());
        let payload = payload::decompress(payload).expect("a known compressor");
        let mut members = Members::new(payload, &header);
        while let Some(mut member) = members.next().expect("a sound payload") {
            let mut contents = Vec::new();
            member.read_to_end(&mut contents).expect("a sound member");
            if artifact::elf::read_elf(&mut Cursor::new(&contents)).expect("a sound ELF file").is_some() {
                seeds.add("elf", &contents);
            }
        }
    }
}

fn fixtures() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../compat-tests/fixtures/rpms");
    let list = |folder: &Path| {
        fs::read_dir(folder).expect("a folder of fixtures").map(|entry| entry.expect("an entry").path())
    };
    let mut packages: Vec<PathBuf> = list(&root).flat_map(|family| list(&family).collect::<Vec<_>>()).collect();
    packages.retain(|path| path.extension().is_some_and(|extension| extension == "rpm"));
    packages.sort();
    packages
}
