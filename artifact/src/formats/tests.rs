//! Archives made in memory, sound and hostile.

use std::io::{Cursor, Read, Write};

use ::tar::{Builder, EntryType, Header};
use sha2::{Digest, Sha256};

use super::*;
use crate::elf::image::Image;
use crate::payload::archive::compress;

mod block_entry;
mod cpios;
mod odd;
mod opkg;
mod zips;

fn elf() -> Vec<u8> {
    Image::program(&[0xab; 20]).bytes()
}

fn tar(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut builder = Builder::new(Vec::new());
    for (name, contents) in members {
        builder.append_data(&mut header(contents.len() as u64), name, *contents).unwrap();
    }
    builder.into_inner().unwrap()
}

fn header(size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_size(size);
    header.set_mtime(7);
    header.set_mode(0o755);
    header
}

/// One header block, however wrong, with a right checksum.
fn raw(kind: u8, size: u64, change: impl FnOnce(&mut [u8; 512])) -> Vec<u8> {
    let mut header = header(size);
    header.set_entry_type(EntryType::new(kind));
    header.set_path("raw").unwrap();
    change(header.as_mut_bytes());
    header.set_cksum();
    header.as_bytes().to_vec()
}

fn ar(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut archive = b"!<arch>\n".to_vec();
    for (name, contents) in members {
        writeln!(archive, "{name:<16}{:<12}0     0     100644  {:<10}`", 1_700_000_000, contents.len()).unwrap();
        archive.extend_from_slice(contents);
        archive.resize(archive.len().next_multiple_of(2), b'\n');
    }
    archive
}

const CONTROL: &[u8] = b"Package: p\nVersion: 1-2\nArchitecture: amd64\n";

fn deb(data: &[u8]) -> Vec<u8> {
    ar(&[("debian-binary", b"2.0\n"), ("control.tar", &tar(&[("./control", CONTROL)])), ("data.tar", data)])
}

fn about(format: Format, archive: &[u8]) -> ArchiveInfo<'static> {
    ArchiveInfo { format, name: "a.tar", size: archive.len() as u64, mtime: 5 }
}

fn read_bytes(format: Format, archive: &[u8]) -> Result<ParsedArchive> {
    read_archive(ArchiveBytes::seekable(Cursor::new(archive)), &about(format, archive), 1 << 20)
}

fn error(format: Format, archive: &[u8]) -> String {
    read_bytes(format, archive).expect_err("expected an error").to_string()
}

/// What was found, extracted again, has the digest that was found.
fn extracts(format: Format, archive: &[u8], found: &ParsedArchive) {
    for artifact in &found.artifacts {
        let (mut out, file) = (Vec::new(), file_entry(artifact).unwrap());
        extract_member(ArchiveBytes::stream(archive), format, archive.len() as u64, artifact.ordinal, &file, &mut out)
            .unwrap();
        assert_eq!(<[u8; 32]>::from(Sha256::digest(&out)), artifact.contents.unwrap().sha256);
    }
}

#[test]
fn every_compression_of_a_tar_archive_is_told_by_its_first_bytes() {
    let elf = elf();
    let plain =
        tar(&[("./a", b"text"), ("./usr/bin/p", &elf), ("usr/bin/./q", &elf), ("./.PKGINFO", b"pkgname = x\n")]);
    for compressor in [None, Some("gzip"), Some("bzip2"), Some("xz"), Some("lzma"), Some("zstd")] {
        let archive = compress(compressor, &plain);
        let found = read_bytes(Format::Tar, &archive).unwrap();
        let paths: Vec<(u32, &str)> =
            found.artifacts.iter().map(|found| (found.ordinal, found.path.as_str())).collect();
        assert_eq!(paths, [(1, "/usr/bin/p"), (2, "/usr/bin/q")], "{compressor:?}");
        assert_eq!(*found.package.identity.as_bytes(), <[u8; 32]>::from(Sha256::digest(&archive)));
        assert_eq!(found.artifacts[0].contents.unwrap().mtime, 7);
        extracts(Format::Tar, &archive, &found);
        let catalog = Catalog::read(
            ArchiveBytes::stream(&archive[..]),
            Format::Tar,
            archive.len() as u64,
            found.package.identity,
        )
        .unwrap();
        assert_eq!(catalog.file("/a").map(|listed| (listed.ordinal, listed.file.size)), Some((0, 4)));
        let other = Identity::from_bytes([0; 32]);
        assert!(Catalog::read(ArchiveBytes::stream(&archive[..]), Format::Tar, archive.len() as u64, other).is_err());
    }
}

/// However few bytes a read brings.
struct Dripping<'a>(&'a [u8], usize);

impl Read for Dripping<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let max = buffer.len().min(self.1);
        self.0.read(&mut buffer[..max])
    }
}

#[test]
fn damage_in_the_checks_behind_the_last_member_is_noticed_however_the_archive_is_read() {
    // Enough behind the end of the archive that a decoder does not happen to read up to the checks.
    let mut plain = tar(&[("usr/bin/p", &elf())]);
    plain.resize(plain.len() + 200_000, 0);
    let checks = [
        ("gzip", "data.tar.gz", 8),
        ("bzip2", "data.tar.bz2", 6),
        ("xz", "data.tar.xz", 33),
        ("zstd", "data.tar.zst", 4),
    ];
    for (compressor, data, behind) in checks {
        let sound = compress(Some(compressor), &plain);
        assert!(read_bytes(Format::Tar, &sound).is_ok(), "{compressor}");
        let mut damaged = sound.clone();
        let at = damaged.len() - behind;
        damaged[at] ^= 0x55;
        if compressor == "zstd" {
            // Its frames have a check only if asked to; a cut is damage anyway.
            damaged = sound[..sound.len() - 1].to_vec();
        }
        let control = tar(&[("./control", CONTROL)]);
        let in_deb = ar(&[("debian-binary", b"2.0\n"), ("control.tar", &control), (data, &damaged)]);
        for (format, archive) in [(Format::Tar, &damaged), (Format::Deb, &in_deb)] {
            for max in [1, 100, 4096, usize::MAX] {
                let read = read_archive(ArchiveBytes::stream(Dripping(archive, max)), &about(format, archive), 1 << 20);
                assert!(
                    matches!(read, Err(Error::Payload { .. })),
                    "{compressor}, {format:?}, {max} bytes at a time: {read:?}"
                );
            }
        }
    }
}

#[test]
fn a_deb_says_who_it_is_and_bytes_behind_it_are_part_of_its_identity() {
    let archive = deb(&tar(&[("./usr/bin/p", &elf())]));
    let found = read_bytes(Format::Deb, &archive).unwrap();
    assert_eq!((found.package.nevra.nvra().as_str(), found.package.built_at), ("p-1-2.amd64", Some(1_700_000_000)));
    extracts(Format::Deb, &archive, &found);
    let longer = [&archive[..], &ar(&[("_gpgorigin", b"a signature")])[8..]].concat();
    let signed = read_bytes(Format::Deb, &longer).unwrap();
    assert_eq!(signed.artifacts, found.artifacts);
    assert_ne!(signed.package.identity, found.package.identity);
}

#[test]
fn an_archive_may_end_behind_a_member_without_blocks_of_zeros() {
    let whole = tar(&[("usr/bin/p", &elf()), ("x", &[7; 1000])]);
    let mut bare = whole.clone();
    bare.truncate(whole.iter().rposition(|byte| *byte != 0).unwrap().next_multiple_of(512));
    assert_eq!(bare.len(), whole.len() - 1024);
    let one_block = [&bare[..], &[0; 512]].concat();
    for data in [&bare, &one_block] {
        for compressor in [None, Some("gzip"), Some("bzip2"), Some("xz"), Some("lzma"), Some("zstd")] {
            let archive = compress(compressor, data);
            let found = read_bytes(Format::Tar, &archive).unwrap();
            assert_eq!(found.artifacts.len(), 1, "{compressor:?}");
            extracts(Format::Tar, &archive, &found);
            // Not where the stream was cut off, nor inside of a member or a header.
            if compressor.is_some() {
                assert!(read_bytes(Format::Tar, &archive[..archive.len() - 1]).is_err(), "{compressor:?}");
            }
            for cut in [1, 511, 513, 1024 + 1] {
                let archive = compress(compressor, &bare[..bare.len() - cut]);
                assert!(read_bytes(Format::Tar, &archive).is_err(), "{compressor:?}, {cut} bytes less");
            }
            let control = compress(compressor, &tar(&[("./control", CONTROL)])[..1024]);
            let deb = ar(&[("debian-binary", b"2.0\n"), ("control.tar.gz", &control), ("data.tar.gz", &archive)]);
            extracts(Format::Deb, &deb, &read_bytes(Format::Deb, &deb).unwrap());
        }
    }
    // What stands before a member does not stand alone.
    for kind in [b'L', b'K', b'x'] {
        let archive = [&bare[..], &raw(kind, 0, |_| {})].concat();
        assert!(error(Format::Tar, &archive).contains("512 more bytes"), "{}", char::from(kind));
    }
    assert!(error(Format::Tar, b"").contains("an empty file"));
}

#[test]
fn compression_is_told_by_first_bytes_and_never_by_a_name() {
    let data = tar(&[("usr/bin/p", &elf())]);
    for compressor in [None, Some("gzip"), Some("bzip2"), Some("xz"), Some("lzma"), Some("zstd")] {
        for name in ["data.tar", "data.tar.gz", "data.tar.xz", "data.tar.zst", "data.tar.lz4"] {
            let parts =
                ar(&[("control.tar.xz", &tar(&[("./control", CONTROL)])), (name, &compress(compressor, &data))]);
            assert_eq!(read_bytes(Format::Deb, &parts).unwrap().artifacts.len(), 1, "{compressor:?} as {name}");
        }
    }
    // Written in parallel, or to be read from anywhere: a frame to be skipped comes first.
    let skippable = [&[0x53, 0x2a, 0x4d, 0x18, 4, 0, 0, 0, 1, 2, 3, 4][..], &compress(Some("zstd"), &data)].concat();
    assert_eq!(read_bytes(Format::Tar, &skippable).unwrap().artifacts.len(), 1);
    // A plain archive whose first name begins like something compressed.
    for name in ["BZh9", "]", "(\u{b5}/"] {
        let archive = tar(&[(name, b"text"), ("p", &elf())]);
        assert_eq!(read_bytes(Format::Tar, &archive).unwrap().artifacts.len(), 1, "{name}");
    }
    for (file, found) in [
        (&b"<html><body>Please log in</body></html>"[..], "first bytes 3c68746d6c3e3c626f64793e506c6561"),
        (&b"\x04\x22\x4d\x18 is LZ4".repeat(100), "first bytes 04224d1820697320"),
        (b"LZIP", "first bytes 4c5a4950"),
    ] {
        for archive in [file, &compress(Some("gzip"), file)] {
            let said = error(Format::Tar, archive);
            assert!(said.contains("gzip, bzip2, xz, lzma or zstd") && said.contains(found), "{said}");
            let said = error(Format::Deb, &ar(&[("data.tar.zst", archive)]));
            assert!(said.contains(found), "{said}");
        }
    }
}

#[test]
fn a_member_that_is_not_the_one_that_was_indexed_is_not_delivered() {
    let archive = tar(&[("a", &elf()), ("b", &elf())]);
    let found = read_bytes(Format::Tar, &archive).unwrap();
    let (artifact, mut out) = (&found.artifacts[0], Vec::new());
    let mut changed = archive.clone();
    changed[600] ^= 1;
    for (archive, ordinal, file) in [
        (&archive, 1, file_entry(artifact).unwrap()),
        (&archive, 2, file_entry(artifact).unwrap()),
        (&archive, 0, File { size: 5, ..file_entry(artifact).unwrap() }),
        (&changed, 0, file_entry(artifact).unwrap()),
    ] {
        assert!(
            extract_member(
                ArchiveBytes::stream(&archive[..]),
                Format::Tar,
                archive.len() as u64,
                ordinal,
                &file,
                &mut out
            )
            .is_err()
        );
    }
}

#[test]
fn an_archive_that_is_cut_off_anywhere_is_refused() {
    let data = tar(&[("usr/bin/p", &elf()), ("x", &[7; 1000])]);
    for (format, archive) in [(Format::Tar, data.clone()), (Format::Deb, deb(&data))] {
        // The zeros at its end may be missing; so may a member, if the file ends behind another.
        let end = archive.iter().rposition(|byte| *byte != 0).unwrap().next_multiple_of(512);
        let second = 512 + elf().len().next_multiple_of(512);
        for at in 0..end {
            let is_told = format == Format::Deb || at != second;
            assert_eq!(
                read_bytes(format, &archive[..at]).is_err(),
                is_told,
                "{format:?} cut at {at} of {}",
                archive.len()
            );
        }
    }
}

#[test]
fn an_archive_that_is_damaged_anywhere_breaks_nothing() {
    let data = tar(&[("usr/bin/p", &elf()), ("x", &[7; 1000])]);
    let mut pax = Builder::new(Vec::new());
    pax.append_pax_extensions([("path", "usr/bin/q".as_bytes()), ("mtime", b"12.5"), ("size", b"0")]).unwrap();
    pax.append(&header(0), &b""[..]).unwrap();
    let pax = pax.into_inner().unwrap();
    let sparse =
        [raw(b'S', 3, |block| sparse_map(block, &[(512, 3)], 2000)), b"abc".to_vec(), vec![0; 509 + 1024]].concat();
    for (format, archive) in
        [(Format::Tar, data.clone()), (Format::Deb, deb(&data)), (Format::Tar, pax), (Format::Arch, sparse)]
    {
        for at in 0..archive.len() {
            for change in [0xff, 0x01] {
                let mut damaged = archive.clone();
                damaged[at] ^= change;
                if let Ok(found) = read_bytes(format, &damaged) {
                    extracts(format, &damaged, &found);
                    let catalog = Catalog::read(
                        ArchiveBytes::stream(&damaged[..]),
                        format,
                        damaged.len() as u64,
                        found.package.identity,
                    )
                    .unwrap();
                    assert!(found.artifacts.iter().all(|artifact| catalog.file(&artifact.path).is_some()));
                }
            }
        }
    }
}

fn sparse_map(block: &mut [u8; 512], pieces: &[(u64, u64)], size: u64) {
    for (at, (offset, bytes)) in pieces.iter().enumerate() {
        let text = format!("{offset:011o}\0{bytes:011o}\0");
        block[386 + 24 * at..386 + 24 * at + 24].copy_from_slice(text.as_bytes());
    }
    block[483..495].copy_from_slice(format!("{size:011o}\0").as_bytes());
}

#[test]
fn sparse_files_come_out_with_their_holes_and_lying_maps_are_refused() {
    let with = |pieces: &[(u64, u64)], size: u64| {
        [raw(b'S', 3, |block| sparse_map(block, pieces, size)), b"abc".to_vec(), vec![0; 509 + 1024]].concat()
    };
    let sound = with(&[(2, 2), (700, 1)], 800);
    let identity = Identity::from_bytes(Sha256::digest(&sound).into());
    let catalog = Catalog::read(ArchiveBytes::stream(&sound[..]), Format::Tar, sound.len() as u64, identity).unwrap();
    let Listed { ordinal, file, .. } = catalog.file("/raw").unwrap();
    let mut out = Vec::new();
    extract_member(ArchiveBytes::stream(&sound[..]), Format::Tar, sound.len() as u64, *ordinal, file, &mut out)
        .unwrap();
    let mut expected = vec![0; 800];
    expected[2..4].copy_from_slice(b"ab");
    expected[700] = b'c';
    assert_eq!(out, expected);
    for (pieces, size) in [
        (&[(0, 2), (1, 1)][..], 800),
        (&[(0, 3)], 2),
        (&[(0, 2)], 800),
        (&[(0, 4)], 800),
        (&[(700, 2), (0, 1)], 800),
        (&[(0o77_777_777_777, 3)], 800),
    ] {
        let said = error(Format::Tar, &with(pieces, size));
        assert!(said.contains("sparse file"), "{pieces:?} of {size}: {said}");
    }
    // 21 pieces in each of endless blocks.
    let mut endless = raw(b'S', 0, |block| block[482] = 1);
    let mut block = [b'1'; 512];
    block[504] = 1;
    endless.extend(block.repeat(5000));
    let said = error(Format::Tar, &endless);
    assert!(said.contains("at most 65536 pieces") || said.contains("its end"), "{said}");
}

#[test]
fn sizes_that_nobody_has_are_refused_before_anything_is_kept_for_them() {
    const HUGE: u64 = 0o77_777_777_777;
    for (kind, size, expected) in [
        (b'L', HUGE, "a name of at most 16384 bytes"),
        (b'K', HUGE, "a link's target of at most 16384 bytes"),
        (b'x', HUGE, "extended headers of at most 1048576 bytes"),
        (b'g', HUGE, "more bytes of a tar archive"),
        (b'0', HUGE, "more bytes of a tar archive"),
    ] {
        let said = error(Format::Tar, &raw(kind, size, |_| {}));
        assert!(said.contains(expected), "{}: {said}", char::from(kind));
    }
    let mut base_256 = raw(b'0', 0, |block| block[124..136].copy_from_slice(&[0xff; 12]));
    base_256.extend([0; 2048]);
    assert!(read_bytes(Format::Tar, &base_256).is_err());
    for records in
        ["999999 path=x\n", "0 path=x\n", "x", "11 path\n", "12 size=abc\n", "20 size=9999999999999\n", "-1 a=b\n"]
    {
        let mut archive = raw(b'x', records.len() as u64, |_| {});
        archive.extend(records.as_bytes());
        archive.resize(archive.len().next_multiple_of(512), 0);
        archive.extend(tar(&[("a", b"")]));
        assert!(read_bytes(Format::Tar, &archive).is_err(), "{records:?}");
    }
    for size in ["9999999999", "-1", "0x10", "1 2"] {
        let archive = format!("!<arch>\n{:<16}{:<32}{size:<10}`\nbytes", "data.tar", 0);
        assert!(read_bytes(Format::Deb, archive.as_bytes()).is_err(), "{size}");
    }
    let many = ar(&vec![("x", &b""[..]); 100]);
    assert!(error(Format::Deb, &many).contains("at most 64 ar headers"));
}

#[test]
fn a_large_elf_file_is_not_copied_and_a_bomb_not_unfolded() {
    let large = [elf(), vec![0; 2 << 20]].concat();
    let too_large = |archive: &[u8]| read_bytes(Format::Tar, archive).unwrap().too_large.unwrap();
    assert!(too_large(&tar(&[("a", &large)])).contains("ELF files of at most 1048576 bytes"));
    // A sparse one would unfold to gigabytes.
    let (elf, realsize) = (elf(), 8_u64 << 30);
    let piece = elf.len() as u64;
    let mut sparse = raw(b'S', piece, |block| {
        sparse_map(block, &[(0, piece)], 0);
        block[483..495].copy_from_slice(&[0x80, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0]);
    });
    sparse.extend(&elf);
    sparse.resize(sparse.len().next_multiple_of(512) + 1024, 0);
    assert!(too_large(&sparse).contains(&format!("found {realsize} bytes of /raw")));
    // 100 GiB of zeros in some MiB.
    let zeros = compress(Some("zstd"), &vec![0; 64 << 20]);
    let bomb = [compress(Some("zstd"), &raw(b'0', 0o77_777_777_777, |_| {})), zeros.repeat(100)].concat();
    let said = error(Format::Tar, &bomb);
    assert!(said.contains("at most 1073741824 bytes in a tar archive"), "{} bytes: {said}", bomb.len());
}

#[test]
fn names_are_labels_and_their_number_is_bounded() {
    let elf = elf();
    let mut archive = raw(b'0', elf.len() as u64, |block| block[..16].copy_from_slice(b"../../etc/passwd"));
    archive.extend(&elf);
    archive.resize(archive.len().next_multiple_of(512) + 1024, 0);
    assert_eq!(read_bytes(Format::Tar, &archive).unwrap().artifacts[0].path, "/etc/passwd");
    for (control, expected) in
        [(&b"Package: a/b\nVersion: 1\nArchitecture: x\n"[..], "without slashes"), (b"", "in control")]
    {
        let archive = ar(&[("control.tar", &tar(&[("control", control)])), ("data.tar", &tar(&[]))]);
        assert!(error(Format::Deb, &archive).contains(expected), "{expected}");
    }
    assert!(error(Format::Deb, &ar(&[("control.tar", &tar(&[("control", CONTROL)]))])).contains("data.tar"));
    assert!(error(Format::Deb, &ar(&[("data.tar", &tar(&[]))])).contains("control in a Debian package"));
}

#[test]
fn a_plain_file_is_elf_with_a_build_id_or_nothing() {
    let about = ArchiveInfo { format: Format::File, name: "p", size: 0, mtime: 9 };
    let plain = |bytes: &[u8]| read_plain_file(&mut Cursor::new(bytes.to_vec()), &about, "/srv/p", 1 << 20).unwrap();
    let elf = elf();
    let found = plain(&elf).unwrap();
    let contents = found.artifacts[0].contents.unwrap();
    assert_eq!((contents.size, contents.mtime, found.artifacts[0].path.as_str()), (elf.len() as u64, 9, "/srv/p"));
    assert_eq!(contents.sha256, *found.package.identity.as_bytes());
    extracts(Format::File, &elf, &found);
    for bytes in [&b""[..], b"\x7fELF", b"#!/bin/sh\necho hello, hello\n", &elf[..60]] {
        assert!(plain(bytes).is_none(), "{} bytes", bytes.len());
    }
    let (mut longer, file) = (elf.clone(), file_entry(&found.artifacts[0]).unwrap());
    longer[100] ^= 1;
    for changed in [&longer[..], &elf[..elf.len() - 1]] {
        assert!(extract_member(ArchiveBytes::stream(changed), Format::File, 0, 0, &file, &mut Vec::new()).is_err());
    }
}

#[test]
fn an_error_of_the_disk_stays_one() {
    struct BrokenOff;
    impl Read for BrokenOff {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::new(io::ErrorKind::ConnectionReset, "gone"))
        }
    }
    let data = tar(&[("usr/bin/p", &elf())]);
    for (format, archive) in
        [(Format::Tar, data.clone()), (Format::Tar, compress(Some("xz"), &data)), (Format::Deb, deb(&data))]
    {
        for at in [0, 100, archive.len() / 2] {
            let broken = (&archive[..at]).chain(BrokenOff);
            let error = read_archive(ArchiveBytes::stream(broken), &about(format, &archive), 1 << 20).unwrap_err();
            assert!(matches!(&error, Error::Io(error) if error.to_string() == "gone"), "{format:?} at {at}: {error}");
        }
    }
}

#[test]
fn a_hard_link_is_an_elf_file_if_its_target_is_one_when_it_is_made() {
    let mut builder = Builder::new(Vec::new());
    let add = |builder: &mut Builder<Vec<u8>>, name: &str, contents: &[u8]| {
        builder.append_data(&mut header(contents.len() as u64), name, contents).unwrap();
    };
    let link = |builder: &mut Builder<Vec<u8>>, name: &str, target: &str| {
        let mut header = header(0);
        header.set_entry_type(EntryType::Link);
        builder.append_link(&mut header, name, target).unwrap();
    };
    add(&mut builder, "a", &elf());
    link(&mut builder, "b", "a");
    link(&mut builder, "c", "b");
    add(&mut builder, "a", b"#!/bin/sh\n");
    link(&mut builder, "d", "a");
    link(&mut builder, "e", "nowhere");
    let found = read_bytes(Format::Tar, &builder.into_inner().unwrap()).unwrap();
    let names: Vec<_> = found.artifacts.iter().map(|artifact| (artifact.ordinal, artifact.path.as_str())).collect();
    assert_eq!(names, [(0, "/a"), (1, "/b"), (2, "/c")]);
    assert!(found.artifacts.iter().all(|artifact| artifact.contents == found.artifacts[0].contents));
}
