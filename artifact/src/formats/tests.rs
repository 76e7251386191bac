//! Archives made in memory, valid and hostile.

use std::io::{Cursor, Read, Write};

use ::tar::{Builder, EntryType, Header};
use sha2::{Digest, Sha256};

use super::*;
use crate::elf::image::Image;
use crate::payload::archive::compress;

mod block_entry;
mod cpios;
mod damaged;
mod odd;
mod opkg;
mod tars;
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
fn every_compression_of_a_tar_archive_is_detected() {
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

#[test]
fn a_deb_is_named_by_control_and_trailing_bytes_change_its_identity() {
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
fn compression_is_detected_by_first_bytes_and_not_by_the_name() {
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
fn member_paths_are_normalized_and_invalid_package_names_are_refused() {
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
fn a_plain_file_without_a_build_id_is_no_package() {
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
