//! Cpio archives.

use std::fmt::Write as _;

use super::*;

/// A member of the newc form, or with checksum of the crc form.
struct NewcEntry<'e> {
    name: &'e str,
    mode: u32,
    inode: u32,
    links: u32,
    contents: &'e [u8],
}

impl<'e> NewcEntry<'e> {
    fn file(name: &'e str, contents: &'e [u8]) -> Self {
        Self { name, mode: 0o100_755, inode: 0, links: 1, contents }
    }

    fn bytes(&self, magic: &str) -> Vec<u8> {
        let sum: u32 = if magic == "070702" { self.contents.iter().map(|byte| u32::from(*byte)).sum() } else { 0 };
        let mut header = magic.to_owned();
        let (size, name_bytes) = (self.contents.len() as u32, self.name.len() as u32 + 1);
        for number in [self.inode, self.mode, 0, 0, self.links, 7, size, 8, 1, 0, 0, name_bytes, sum] {
            write!(header, "{number:08x}").unwrap();
        }
        let mut bytes = format!("{header}{}\0", self.name).into_bytes();
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes.extend(self.contents);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }
}

fn cpio(magic: &str, entries: &[NewcEntry<'_>]) -> Vec<u8> {
    let trailer = NewcEntry { mode: 0, ..NewcEntry::file("TRAILER!!!", b"") };
    entries.iter().chain([&trailer]).flat_map(|entry| entry.bytes(magic)).collect()
}

fn paths(found: &ParsedArchive) -> Vec<(u32, &str)> {
    found.artifacts.iter().map(|found| (found.ordinal, found.path.as_str())).collect()
}

#[test]
fn both_forms_in_every_compression_are_read() {
    let elf = elf();
    let entries = [
        NewcEntry { mode: 0o040_755, ..NewcEntry::file("usr", b"") },
        NewcEntry::file("a", b"text"),
        NewcEntry { mode: 0o120_777, ..NewcEntry::file("link", b"usr/bin/p") },
        NewcEntry::file("./usr/bin/p", &elf),
        NewcEntry::file("../../usr/bin/q", &elf),
    ];
    for magic in ["070701", "070702"] {
        for compressor in [None, Some("gzip"), Some("bzip2"), Some("xz"), Some("lzma"), Some("zstd")] {
            let mut plain = cpio(magic, &entries);
            plain.resize(plain.len().next_multiple_of(512), 0);
            let archive = compress(compressor, &plain);
            // However it is called.
            for format in [Format::Cpio, Format::Tar, Format::Zip] {
                let found = read_bytes(format, &archive).unwrap();
                assert_eq!(paths(&found), [(3, "/usr/bin/p"), (4, "/usr/bin/q")], "{magic}, {compressor:?}");
                assert_eq!(found.artifacts[0].contents.unwrap().mtime, 7);
                assert_eq!(found.package.format, format);
                extracts(format, &archive, &found);
                let identity = found.package.identity;
                let catalog =
                    Catalog::read(ArchiveBytes::stream(&archive[..]), format, archive.len() as u64, identity).unwrap();
                assert_eq!(catalog.file("/a").map(|listed| (listed.ordinal, listed.file.size)), Some((1, 4)));
                assert!(catalog.file("/link").is_none() && catalog.file("/usr").is_none());
            }
            if compressor.is_some() {
                assert!(read_bytes(Format::Cpio, &archive[..archive.len() - 1]).is_err(), "{compressor:?}");
            }
        }
    }
}

#[test]
fn contents_of_hard_links_are_with_the_last_of_them() {
    let elf = elf();
    let link = |name, contents| NewcEntry { inode: 5, links: 3, ..NewcEntry::file(name, contents) };
    let empty = NewcEntry { inode: 6, links: 2, ..NewcEntry::file("empty", b"") };
    let archive =
        cpio("070701", &[link("a", b""), NewcEntry::file("x", b"text"), link("b", b""), empty, link("c", &elf)]);
    let found = read_bytes(Format::Cpio, &archive).unwrap();
    assert_eq!(paths(&found), [(1, "/c"), (2, "/a"), (3, "/b")]);
    assert!(found.artifacts.iter().all(|artifact| artifact.contents == found.artifacts[0].contents));
    let first = ParsedArchive { artifacts: found.artifacts[..1].to_vec(), ..found.clone() };
    extracts(Format::Cpio, &archive, &first);
    let catalog =
        Catalog::read(ArchiveBytes::stream(&archive[..]), Format::Cpio, archive.len() as u64, found.package.identity)
            .unwrap();
    assert_eq!(catalog.file("/b").map(|listed| (listed.ordinal, listed.file.path.as_str())), Some((1, "/c")));
    assert_eq!(catalog.file("/empty").map(|listed| listed.file.size), Some(0));
}

#[test]
fn concatenated_archives_as_in_an_initramfs_are_read() {
    let elf = elf();
    let early = cpio("070701", &[NewcEntry::file("kernel/microcode", b"code"), NewcEntry::file("early", &elf)]);
    let late = cpio("070701", &[NewcEntry::file("usr/bin/p", &elf)]);
    for compressor in [None, Some("gzip"), Some("xz"), Some("zstd")] {
        let mut archive = early.clone();
        archive.resize(archive.len().next_multiple_of(512), 0);
        archive.extend(compress(compressor, &late));
        let found = read_bytes(Format::Cpio, &archive).unwrap();
        assert_eq!(paths(&found), [(1, "/early"), (2, "/usr/bin/p")], "{compressor:?}");
        extracts(Format::Cpio, &archive, &found);
    }
    assert!(error(Format::Cpio, &early.repeat(17)).contains("at most 16 cpio archives"));
    let garbage = [&early[..], b"something else"].concat();
    assert_eq!(read_bytes(Format::Cpio, &garbage).unwrap().artifacts.len(), 1);
}

#[test]
fn other_cpio_forms_and_damaged_archives_are_refused() {
    for (start, name) in [(&b"070707000000"[..], "odc"), (b"\xc7\x71\0\0", "bin"), (b"\x71\xc7\0\0", "bin")] {
        let archive = [start, &[0; 600]].concat();
        for archive in [archive.clone(), compress(Some("gzip"), &archive)] {
            let said = error(Format::Cpio, &archive);
            assert!(said.contains("newc or crc, found the old") && said.contains(name), "{said}");
        }
    }
    let whole = cpio("070702", &[NewcEntry::file("a", &elf()), NewcEntry::file("b", &[7; 1001])]);
    for end in 0..whole.len() {
        assert!(read_bytes(Format::Cpio, &whole[..end]).is_err(), "{end} of {}", whole.len());
    }
    for at in 0..whole.len() {
        for change in [0xff, 0x01] {
            let mut damaged = whole.clone();
            damaged[at] ^= change;
            if let Ok(found) = read_bytes(Format::Cpio, &damaged) {
                extracts(Format::Cpio, &damaged, &found);
            }
        }
    }
    let mut damaged = whole.clone();
    let at = damaged.len() - 200;
    damaged[at] ^= 1;
    assert!(error(Format::Cpio, &damaged).contains("the checksum"));
    let payload = crate::payload::archive::stripped(&[(0, b"text")]);
    assert!(error(Format::Cpio, &payload).contains("first bytes 303730373058"));
    // 100 GiB of zeros in some MiB.
    let zeros = compress(Some("zstd"), &vec![0; 64 << 20]);
    let bomb = [compress(Some("zstd"), &cpio("070701", &[NewcEntry::file("a", b"")])), zeros.repeat(100)].concat();
    assert!(error(Format::Cpio, &bomb).contains("at most 1073741824 bytes in a cpio archive"));
}
