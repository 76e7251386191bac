//! Payloads: cpio archives in both forms, with every compressor.

use fuzz::payload::{COMPRESSORS, compress};

use crate::Seeds;
use crate::elf::elf_files;

/// Adds archives in both forms with every compressor, compressed and to be compressed by the target, valid and invalid.
pub(crate) fn add_archives(seeds: &mut Seeds) {
    let elf = &elf_files()[1];
    let size = u16::try_from(elf.len()).expect("a small ELF file").to_le_bytes();
    // Rows as `fuzz::payload` reads them: flags, size, inode.
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
        // 4 MiB of zeros in files whose size in the header is one byte and half a MiB.
        let bomb = [self::long("a", &vec![0; 4 << 20]), trailer.clone()].concat();
        let bomb = compress(compressor, &bomb).unwrap_or_default();
        seeds.add("payload", &input(number, &[[0, 1, 0, 0]], &bomb));
        seeds.add("payload", &input(number, &[[0x38, 0, 0x10, 0]], &bomb));
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

pub(crate) fn padded(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}
