//! Archives for tests: headers and payloads made in memory, without rpm.

use std::io::Write;

use liblzma::stream::{LzmaOptions, Stream};
use liblzma::write::XzEncoder;
use sha2::{Digest, Sha256};

use crate::digest::{Algorithm, FileDigest};
use crate::header::{Class, File, Header};
use crate::{Format, Identity, Nevra, Package};

/// A header with these files.
pub(crate) fn header(files: Vec<File>, compressor: Option<&str>) -> Header {
    let nevra =
        Nevra { name: "n".into(), epoch: None, version: "1".into(), release: "1".into(), arch: "noarch".into() };
    let package = Package {
        nevra,
        source_rpm: None,
        identity: Identity::from_bytes([0; 32]),
        built_at: None,
        format: Format::Rpm,
    };
    Header {
        package,
        range: 0..0,
        archive_bytes: None,
        files,
        compressor: compressor.map(str::to_owned),
        signing_key: None,
    }
}

/// A regular file with these contents and its SHA-256.
pub(crate) fn file(path: &str, contents: &[u8]) -> File {
    let digest = FileDigest::parse(Algorithm::Sha256, &faster_hex::hex_string(&Sha256::digest(contents))).unwrap();
    File {
        path: path.into(),
        mode: 0o100_644,
        flags: 0,
        size: contents.len() as u64,
        mtime: 0,
        inode: 0,
        digest: Some(digest),
        link_target: None,
        class: Class::None,
        signature: None,
    }
}

/// A hard link: a regular file with an inode number.
pub(crate) fn hard_link(path: &str, contents: &[u8], inode: u32) -> File {
    File { inode, ..file(path, contents) }
}

/// A directory, with the size that rpm writes to the header.
pub(crate) fn directory(path: &str) -> File {
    File { mode: 0o040_755, size: 4096, digest: None, ..file(path, b"") }
}

/// A symbolic link.
pub(crate) fn symlink(path: &str, target: &str) -> File {
    File { mode: 0o120_777, digest: None, link_target: Some(target.into()), ..file(path, target.as_bytes()) }
}

/// A newc archive of names and contents, as they are.
pub(crate) fn newc(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut archive = Vec::new();
    for (name, contents) in members {
        long(&mut archive, name, contents);
    }
    long(&mut archive, "TRAILER!!!", b"");
    archive
}

/// A stripped archive of ordinals and contents, as they are.
pub(crate) fn stripped(members: &[(u32, &[u8])]) -> Vec<u8> {
    let mut archive = Vec::new();
    for (ordinal, contents) in members {
        write!(archive, "07070X{ordinal:08x}\0\0").unwrap();
        archive.extend_from_slice(contents);
        pad(&mut archive);
    }
    long(&mut archive, "TRAILER!!!", b"");
    archive
}

fn long(archive: &mut Vec<u8>, name: &str, contents: &[u8]) {
    let mut numbers = [0; 13];
    (numbers[6], numbers[11]) = (contents.len(), name.len() + 1);
    archive.extend_from_slice(b"070701");
    for number in numbers {
        write!(archive, "{number:08x}").unwrap();
    }
    archive.extend_from_slice(name.as_bytes());
    archive.push(0);
    pad(archive);
    archive.extend_from_slice(contents);
    pad(archive);
}

fn pad(archive: &mut Vec<u8>) {
    archive.resize(archive.len().next_multiple_of(4), 0);
}

/// Bytes compressed the way that a header names.
pub(crate) fn compress(compressor: Option<&str>, bytes: &[u8]) -> Vec<u8> {
    match compressor {
        Some("gzip") => {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
            encoder.write_all(bytes).unwrap();
            encoder.finish().unwrap()
        }
        Some("bzip2") => {
            let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::default());
            encoder.write_all(bytes).unwrap();
            encoder.finish().unwrap()
        }
        Some("xz") => {
            let mut encoder = XzEncoder::new(Vec::new(), 2);
            encoder.write_all(bytes).unwrap();
            encoder.finish().unwrap()
        }
        Some("lzma") => {
            let stream = Stream::new_lzma_encoder(&LzmaOptions::new_preset(2).unwrap()).unwrap();
            let mut encoder = XzEncoder::new_stream(Vec::new(), stream);
            encoder.write_all(bytes).unwrap();
            encoder.finish().unwrap()
        }
        Some("zstd") => zstd::encode_all(bytes, 3).unwrap(),
        _ => bytes.to_vec(),
    }
}
