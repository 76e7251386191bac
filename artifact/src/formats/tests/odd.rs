//! Archives that other programs read, and that begin or end in ways of their own.

use std::fs;
use std::process::Command;

use super::zips::{DEFLATED, STORED, ZipEntry, zip};
use super::*;

fn run(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// A directory with the file `usr/bin/p`, an ELF file.
fn tree() -> tempfile::TempDir {
    let tree = tempfile::tempdir().unwrap();
    fs::create_dir_all(tree.path().join("usr/bin")).unwrap();
    fs::write(tree.path().join("usr/bin/p"), elf()).unwrap();
    tree
}

fn paths(found: &ParsedArchive) -> Vec<&str> {
    found.artifacts.iter().map(|artifact| artifact.path.as_str()).collect()
}

#[test]
fn labels_of_gnu_tar_have_no_size() {
    let tree = tree();
    for format in ["gnu", "oldgnu"] {
        let archive = tree.path().join(format);
        run(Command::new("tar")
            .args(["-V", "label", "--format", format, "-cf"])
            .arg(&archive)
            .arg("usr")
            .current_dir(&tree));
        let archive = fs::read(archive).unwrap();
        assert_eq!((archive[156], &archive[124..136]), (b'V', &[0; 12][..]));
        let found = read_bytes(Format::Tar, &archive).unwrap();
        assert_eq!(paths(&found), ["/usr/bin/p"], "{format}");
        extracts(Format::Tar, &archive, &found);
    }
    let bad = raw(b'0', 0, |block| block[124..136].copy_from_slice(b"not a number"));
    assert!(error(Format::Tar, &bad).contains("a size"), "{}", error(Format::Tar, &bad));
}

#[test]
fn tar_members_of_unknown_types_are_regular_files() {
    let elf = elf();
    let of = |kind: u8| {
        let mut archive = raw(kind, elf.len() as u64, |_| {});
        archive.extend(&elf);
        archive.resize(archive.len().next_multiple_of(512) + 1024, 0);
        archive
    };
    for kind in *b"0789Zaz" {
        let archive = of(kind);
        let found = read_bytes(Format::Tar, &archive).unwrap();
        assert_eq!(paths(&found), ["/raw"], "{}", char::from(kind));
        extracts(Format::Tar, &archive, &found);
    }
    for kind in *b"DMNAEI" {
        assert!(read_bytes(Format::Tar, &of(kind)).unwrap().artifacts.is_empty(), "{}", char::from(kind));
    }
    // An extended header of Solaris.
    let record = b"13 path=/q/r\n";
    let mut extended = raw(b'X', record.len() as u64, |_| {});
    extended.extend(record);
    extended.resize(1024, 0);
    assert_eq!(paths(&read_bytes(Format::Tar, &[extended, of(b'0')].concat()).unwrap()), ["/q/r"]);
}

#[test]
fn zeros_alone_are_an_empty_tar_archive_and_leading_zeros_are_refused() {
    for zeros in [512, 1024, 10_240, 32_768] {
        let empty = vec![0; zeros];
        assert!(read_bytes(Format::Tar, &empty).unwrap().artifacts.is_empty(), "{zeros}");
        for behind in [&b"\x01CD001\x01"[..], &tar(&[("p", &elf())])] {
            for compressor in [None, Some("gzip")] {
                let image = compress(compressor, &[&empty[..], behind].concat());
                let said = error(Format::Tar, &image);
                assert!(
                    said.contains("a tar archive, found") && said.contains("zeros and other bytes behind"),
                    "{said}"
                );
            }
        }
    }
}

#[test]
fn a_zip_archive_with_a_prefix_is_recognized_by_its_end() {
    let entries = [ZipEntry::new("a", STORED, b"text"), ZipEntry::new("usr/bin/p", DEFLATED, &elf())];
    let plain = zip(&entries, b"");
    let mut archives: Vec<Vec<u8>> = Vec::new();
    for prefix in [&b"PK\x07\x08"[..], b"#!/bin/sh\nexec java -jar $0\n", b"MZ\x90\0", &elf(), b"some text"] {
        // With offsets from the first byte, and from that of the first member, as `cat` leaves them.
        archives.extend([zip(&entries, prefix), [prefix, &plain].concat()]);
    }
    let tree = tree();
    fs::write(tree.path().join("__main__.py"), "print(1)\n").unwrap();
    let app = tempfile::NamedTempFile::new().unwrap();
    run(Command::new("python3")
        .args(["-m", "zipapp", "-p", "/usr/bin/env python3", "-o"])
        .arg(app.path())
        .arg(tree.path()));
    let app = fs::read(app.path()).unwrap();
    assert!(app.starts_with(b"#!"));
    archives.push(app);
    for archive in &archives {
        for format in [Format::Zip, Format::Tar] {
            let found = read_bytes(format, archive).unwrap();
            assert_eq!(paths(&found), ["/usr/bin/p"]);
            assert_eq!(*found.package.identity.as_bytes(), <[u8; 32]>::from(Sha256::digest(archive)));
            extracts(format, archive, &found);
            let as_stream = read_archive(ArchiveBytes::stream(&archive[..]), &about(format, archive), 1 << 20).unwrap();
            assert_eq!(as_stream.artifacts, found.artifacts);
        }
        // Nothing of the kind in packages of Arch.
        assert!(read_bytes(Format::Arch, archive).is_err());
    }
    for other in [&b"#!/bin/sh\necho no archive\n"[..], &elf(), b"MZ", b"<html>"] {
        for format in [Format::Zip, Format::Tar] {
            let said = error(format, other);
            assert!(said.contains("a tar, cpio or zip archive") && said.contains("found first bytes"), "{said}");
        }
    }
}

#[test]
fn a_member_that_info_zip_read_from_standard_input_is_a_file() {
    let elf = elf();
    let of = |mode: u32| {
        let mut entry = ZipEntry::new("-", DEFLATED, &elf);
        entry.mode = mode;
        zip(&[entry], b"")
    };
    for mode in [0o010_600, 0o100_644, 0o600, 0] {
        let found = read_bytes(Format::Zip, &of(mode)).unwrap();
        assert_eq!(paths(&found), ["/-"], "{mode:o}");
        extracts(Format::Zip, &of(mode), &found);
    }
    for mode in [0o120_777, 0o020_600, 0o060_600, 0o040_755] {
        assert!(read_bytes(Format::Zip, &of(mode)).unwrap().artifacts.is_empty(), "{mode:o}");
    }
}

#[test]
fn a_debian_package_of_the_old_format_is_named() {
    assert!(
        error(Format::Deb, b"0.939000\n272\n\xfd7zXZ").contains("found a Debian package of the old format 0.939000")
    );
}

#[test]
fn elf_files_and_modules_beyond_the_limit_do_not_hide_the_others() {
    let (elf, large) = (elf(), [elf(), vec![0; 2 << 20]].concat());
    let module = compress(Some("xz"), &large);
    let name = "lib/modules/6/x.ko.xz";
    for (members, expected) in [
        (
            [("large", &large), ("p", &elf)],
            format!("ELF files of at most 1048576 bytes, found {} bytes of /large", large.len()),
        ),
        (
            [(name, &module), ("p", &elf)],
            "1048576 bytes when it is decompressed, found more in /lib/modules/6/x.ko.xz".into(),
        ),
    ] {
        let bytes = members.map(|(name, contents)| (name, contents.as_slice()));
        let entries = members.map(|(name, contents)| ZipEntry::new(name, DEFLATED, contents));
        for (format, archive) in
            [(Format::Tar, tar(&bytes)), (Format::Deb, deb(&tar(&bytes))), (Format::Zip, zip(&entries, b""))]
        {
            let found = read_bytes(format, &archive).unwrap();
            assert_eq!(paths(&found), ["/p"], "{format:?}");
            extracts(format, &archive, &found);
            let said = found.too_large.unwrap();
            assert!(said.contains(&expected), "{format:?}: {said}");
            let all = read_archive(ArchiveBytes::stream(&archive[..]), &about(format, &archive), 4 << 20).unwrap();
            assert!(all.too_large.is_none() && all.artifacts.len() == 2, "{format:?}");
        }
    }
}
