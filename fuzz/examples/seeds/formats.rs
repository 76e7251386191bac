//! Archives of formats other than RPM.

use fuzz::formats::member;
use fuzz::payload::{COMPRESSORS, compress};

use crate::Seeds;
use crate::elf::elf_files;
use crate::payload::padded;

/// Adds tar archives of every dialect, alone and as the data of Debian packages; whole Debian packages; plain files.
pub(crate) fn add_formats(seeds: &mut Seeds) {
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
    add_opkg(seeds, &control, &data);
    add_cpio_archives(seeds, elf);
    add_zip_archives(seeds, elf);
}

/// Adds packages of opkg, without their outer gzip.
fn add_opkg(seeds: &mut Seeds, control: &[u8], data: &[u8]) {
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

/// Adds cpio archives of both forms, with hard links, concatenated, compressed.
fn add_cpio_archives(seeds: &mut Seeds, elf: &[u8]) {
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
        let directory =
            [newc(magic, 2, 0o040_755, 2, "usr", b""), newc(magic, 3, 0o120_777, 1, "link", b"usr/p")].concat();
        let plain = [&directory[..], &file("usr/p", elf), &file("t", b"text"), &links, &trailer].concat();
        let mut two = [&file("early", elf)[..], &trailer].concat();
        two.resize(two.len().next_multiple_of(512), 0);
        two.extend(compress(Some("zstd"), &plain).unwrap_or_default());
        for archive in [&plain, &two, &compress(Some("gzip"), &plain).unwrap_or_default()] {
            seeds.add("formats", &[&[5], &archive[..]].concat());
        }
    }
}

/// Adds zip archives with members of every compression, with sizes before and after their contents.
fn add_zip_archives(seeds: &mut Seeds, elf: &[u8]) {
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
            let central = one(0);
            let length = |bytes: &[u8]| u32::try_from(bytes.len()).expect("small").to_le_bytes();
            let before = [local, descriptor].concat();
            let end =
                [b"PK\x05\x06", &[0, 0, 0, 0, 1, 0, 1, 0][..], &length(&central), &length(&before), &[0, 0]].concat();
            seeds.add("formats", &[&[6], &before[..], &central, &end].concat());
        }
    }
}
