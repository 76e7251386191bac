//! Zip archives, sound and hostile.

use flate2::Crc;

use super::*;

/// A member as it is stored.
#[derive(Clone)]
pub(super) struct ZipEntry {
    name: Vec<u8>,
    method: u16,
    flags: u16,
    stored: Vec<u8>,
    size: u32,
    crc: u32,
    pub(super) mode: u32,
}

pub(super) const STORED: u16 = 0;
pub(super) const DEFLATED: u16 = 8;
/// Sizes and checksum stand behind the contents.
const HAS_DESCRIPTOR: u16 = 1 << 3;
const ENCRYPTED: u16 = 1;

impl ZipEntry {
    pub(super) fn new(name: &str, method: u16, contents: &[u8]) -> Self {
        let mut crc = Crc::new();
        crc.update(contents);
        let stored = match method {
            STORED => contents.to_vec(),
            DEFLATED => {
                let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::default());
                encoder.write_all(contents).unwrap();
                encoder.finish().unwrap()
            }
            12 => compress(Some("bzip2"), contents),
            14 => {
                let file = compress(Some("lzma"), contents);
                [&[9, 20, 5, 0], &file[..5], &file[13..]].concat()
            }
            93 => compress(Some("zstd"), contents),
            95 => compress(Some("xz"), contents),
            _ => b"???".to_vec(),
        };
        let (size, mode) = (contents.len() as u32, 0o100_755);
        Self { name: name.into(), method, flags: 0, stored, size, crc: crc.sum(), mode }
    }

    /// What local header and directory share: from flags to the lengths of the name and of what is extra.
    fn shared(&self, is_local: bool) -> Vec<u8> {
        let hidden = is_local && self.flags & HAS_DESCRIPTOR != 0;
        let number = |number: u32| (if hidden { 0 } else { number }).to_le_bytes();
        // 2020-02-29 12:30:10
        let (time, date) = (12_u16 << 11 | 30 << 5 | 5, 40_u16 << 9 | 2 << 5 | 29);
        let mut bytes = [20, self.flags, self.method, time, date].map(u16::to_le_bytes).concat();
        bytes.extend([number(self.crc), number(self.stored.len() as u32), number(self.size)].concat());
        bytes.extend([self.name.len() as u16, 0].map(u16::to_le_bytes).concat());
        bytes
    }
}

/// An archive behind `prefix`, with offsets from its first byte.
pub(super) fn zip(entries: &[ZipEntry], prefix: &[u8]) -> Vec<u8> {
    let (mut zip, mut directory) = (prefix.to_vec(), Vec::new());
    for entry in entries {
        let at = zip.len() as u32;
        zip.extend([b"PK\x03\x04", &entry.shared(true)[..], &entry.name, &entry.stored].concat());
        if entry.flags & HAS_DESCRIPTOR != 0 {
            zip.extend(b"PK\x07\x08");
            zip.extend([entry.crc, entry.stored.len() as u32, entry.size].map(u32::to_le_bytes).concat());
        }
        // Made on Unix; no comment, disk 0, no attributes, and the mode.
        directory.extend([b"PK\x01\x02", &[20, 3][..], &entry.shared(false), &[0; 6]].concat());
        directory.extend([(entry.mode << 16).to_le_bytes(), at.to_le_bytes()].concat());
        directory.extend(&entry.name);
    }
    let (at, count) = (zip.len() as u32, entries.len() as u16);
    let sizes = [(directory.len() as u32).to_le_bytes(), at.to_le_bytes()].concat();
    zip.extend(directory);
    zip.extend([b"PK\x05\x06", &[0; 4][..], &count.to_le_bytes(), &count.to_le_bytes(), &sizes, &[0; 2]].concat());
    zip
}

#[test]
fn every_compression_of_a_member_is_read() {
    let elf = elf();
    for method in [STORED, DEFLATED, 12, 14, 93, 95] {
        for flags in [0, HAS_DESCRIPTOR] {
            let entry = |name: &str, contents: &[u8]| ZipEntry { flags, ..ZipEntry::new(name, method, contents) };
            let link = ZipEntry { mode: 0o120_777, ..entry("link", b"usr/bin/p") };
            let names = ["usr/", "a", "usr/bin/p", "../../usr/bin/q", "/usr\\bin/r", "usr\\bin\\s"];
            let contents: [&[u8]; 6] = [b"", b"text", &elf, &elf, &elf, &elf];
            let mut entries: Vec<ZipEntry> =
                names.iter().zip(contents).map(|(name, contents)| entry(name, contents)).collect();
            entries.push(link);
            let archive = zip(&entries, b"");
            for format in [Format::Zip, Format::Tar, Format::Cpio] {
                let found = read_bytes(format, &archive).unwrap_or_else(|error| panic!("{method}, {flags}: {error}"));
                let paths: Vec<_> = found.artifacts.iter().map(|found| (found.ordinal, found.path.as_str())).collect();
                let expected = [(2, "/usr/bin/p"), (3, "/usr/bin/q"), (4, "/usr\\bin/r"), (5, "/usr/bin/s")];
                assert_eq!(paths, expected, "{method}");
                assert_eq!(found.artifacts[0].contents.unwrap().mtime, 1_582_979_410);
                assert_eq!(*found.package.identity.as_bytes(), <[u8; 32]>::from(Sha256::digest(&archive)));
                extracts(format, &archive, &found);
                let as_stream =
                    read_archive(ArchiveBytes::stream(&archive[..]), &about(format, &archive), 1 << 20).unwrap();
                assert_eq!(as_stream, found);
                let identity = found.package.identity;
                let catalog =
                    Catalog::read(ArchiveBytes::stream(&archive[..]), format, archive.len() as u64, identity).unwrap();
                assert_eq!(catalog.file("/a").map(|listed| (listed.ordinal, listed.file.size)), Some((1, 4)));
                assert!(catalog.file("/usr").is_none() && catalog.file("/link").is_none());
                let other = Identity::from_bytes([0; 32]);
                assert!(
                    Catalog::read(ArchiveBytes::stream(&archive[..]), format, archive.len() as u64, other).is_err()
                );
            }
        }
    }
    let empty = zip(&[], b"");
    assert!(read_bytes(Format::Zip, &empty).unwrap().artifacts.is_empty());
}

#[test]
fn the_last_of_several_equal_names_counts_and_unreadable_ones_are_no_files() {
    let elf = elf();
    let secret = ZipEntry { flags: ENCRYPTED, ..ZipEntry::new("secret", DEFLATED, &elf) };
    // Shrunk, imploded, Deflate64, PPMd, and what nobody has.
    let others = [1, 6, 9, 98, 4711].map(|method| ZipEntry::new("other", method, &elf));
    let mut entries = vec![ZipEntry::new("p", STORED, b"text"), secret, ZipEntry::new("p", DEFLATED, &elf)];
    entries.extend(others);
    entries.push(ZipEntry::new("q", STORED, &elf));
    let archive = zip(&entries, b"");
    let found = read_bytes(Format::Zip, &archive).unwrap();
    let paths: Vec<_> = found.artifacts.iter().map(|found| found.path.as_str()).collect();
    assert_eq!(paths, ["/p", "/q"]);
    extracts(Format::Zip, &archive, &found);
}

#[test]
fn truncated_or_damaged_archives_are_refused_or_give_the_right_bytes() {
    let elf = elf();
    let archive = zip(
        &[ZipEntry::new("a", DEFLATED, &elf), ZipEntry::new("b", STORED, &elf), ZipEntry::new("c", 93, b"text")],
        b"",
    );
    for end in 0..archive.len() {
        assert!(read_bytes(Format::Zip, &archive[..end]).is_err(), "{end} of {}", archive.len());
    }
    for at in 0..archive.len() {
        for change in [0xff, 0x01] {
            let mut damaged = archive.clone();
            damaged[at] ^= change;
            if let Ok(found) = read_bytes(Format::Zip, &damaged) {
                extracts(Format::Zip, &damaged, &found);
            }
        }
    }
    // In the contents of a member that a directory with its checksum has.
    let at = archive.windows(8).position(|window| *window == elf[elf.len() - 8..]).unwrap();
    let mut damaged = archive.clone();
    damaged[at] ^= 1;
    assert!(error(Format::Zip, &damaged).contains("the CRC-32"), "{}", error(Format::Zip, &damaged));
}

#[test]
fn decompression_bombs_are_refused_before_they_are_unpacked() {
    // Members that share their bytes.
    let mut shared = zip(&[ZipEntry::new("a", DEFLATED, &vec![0; 1 << 20])], b"");
    let directory = shared.windows(4).position(|window| window == b"PK\x01\x02").unwrap();
    let (end, count) = (shared.len() - 22, 50_u16);
    let one = shared[directory..end].to_vec();
    shared.truncate(directory);
    for number in 0..count {
        let mut one = one.clone();
        *one.last_mut().unwrap() = b'A' + number as u8;
        shared.extend(one);
    }
    let bytes = (one.len() * usize::from(count)) as u32;
    let sizes = [bytes.to_le_bytes(), (directory as u32).to_le_bytes()].concat();
    shared.extend([b"PK\x05\x06", &[0; 4][..], &count.to_le_bytes(), &count.to_le_bytes(), &sizes, &[0; 2]].concat());
    assert!(error(Format::Zip, &shared).contains("members of at most"), "{}", error(Format::Zip, &shared));
    // Sizes that nobody has.
    let large = ZipEntry { size: u32::MAX - 1, ..ZipEntry::new("a", DEFLATED, &elf()) };
    assert!(error(Format::Zip, &zip(&[large], b"")).contains("at most 1073741824 bytes of contents"));
    for size in [0, 1, elf().len() as u32 - 1, elf().len() as u32 + 1] {
        let lying = zip(&[ZipEntry { size, ..ZipEntry::new("a", DEFLATED, &elf()) }], b"");
        match read_bytes(Format::Zip, &lying) {
            Ok(found) => assert!(found.artifacts.is_empty() && size < 20, "{size}"),
            Err(error) => assert!(error.to_string().contains("bytes of a zip member"), "{error}"),
        }
    }
    // A directory of many megabytes.
    let names: Vec<ZipEntry> =
        (0..400).map(|number| ZipEntry::new(&format!("{number}{}", "x".repeat(60_000)), STORED, b"")).collect();
    assert!(error(Format::Zip, &zip(&names, b"")).contains("a directory of at most 16777216 bytes"));
}

#[test]
fn a_read_error_in_a_zip_archive_stays_an_io_error() {
    struct BrokenFile(Cursor<Vec<u8>>, u64);
    impl Read for BrokenFile {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.1 = self.1.checked_sub(1).ok_or_else(|| io::Error::new(io::ErrorKind::ConnectionReset, "gone"))?;
            let max = buffer.len().min(100);
            self.0.read(&mut buffer[..max])
        }
    }
    impl Seek for BrokenFile {
        fn seek(&mut self, to: io::SeekFrom) -> io::Result<u64> {
            self.0.seek(to)
        }
    }
    let archive = zip(&[ZipEntry::new("a", DEFLATED, &elf()), ZipEntry::new("b", STORED, &elf())], b"");
    for reads in 0..60 {
        let broken = ArchiveBytes::seekable(BrokenFile(Cursor::new(archive.clone()), reads));
        match read_archive(broken, &about(Format::Zip, &archive), 1 << 20) {
            Ok(found) => assert!(found.artifacts.len() == 2 && reads > 20),
            Err(error) => {
                assert!(matches!(&error, Error::Io(error) if error.to_string() == "gone"), "{reads}: {error}")
            }
        }
    }
}
