//! Debian packages, tar archives and plain files: what has no header.
//!
//! An input is a byte for the format (modulo 8: a Debian package, an Arch package, a tar archive, a plain file, a tar
//! archive that becomes the data of a Debian package here, so that changes reach it, a cpio archive, a zip archive, and
//! a package of opkg), and then the file.

use std::collections::HashSet;
use std::io::{self, Cursor, Read};
use std::ops::Range;

use artifact::formats::{self, ArchiveBytes, ArchiveInfo, Catalog, ParsedArchive, TarBlockIndex};
use artifact::sources::Sources;
use artifact::{Artifact, Error, Format, path};
use sha2::{Digest, Sha256};

/// ELF files are no larger here.
const MAX_ELF_BYTES: u64 = 1 << 20;

/// What is found has the digests that it says, and comes out again, also of an archive that is entered; a catalog knows
/// it; arriving in pieces changes nothing.
pub fn check(input: &[u8]) {
    let Some((form, rest)) = input.split_first() else { return };
    let (format, file) = match form % 8 {
        0 => (Format::Deb, rest.to_vec()),
        1 => (Format::Arch, rest.to_vec()),
        2 => (Format::Tar, rest.to_vec()),
        3 => return plain(rest),
        4 => (Format::Deb, deb(rest)),
        5 => (Format::Cpio, rest.to_vec()),
        6 => (Format::Zip, rest.to_vec()),
        _ => (Format::Deb, ipk(rest)),
    };
    let about = ArchiveInfo { format, name: "a.tar.zst", size: file.len() as u64, mtime: 1 };
    let whole = formats::read_archive(ArchiveBytes::seekable(Cursor::new(&file[..])), &about, MAX_ELF_BYTES);
    let slowly = formats::read_archive(ArchiveBytes::stream(Slow(&file)), &about, MAX_ELF_BYTES);
    let found = match (whole, slowly) {
        (Ok(one), Ok(other)) => {
            assert_eq!(one, other);
            one
        }
        (Err(error), Err(_)) => return super::is_short(&error),
        (one, other) => panic!("at once {one:?}, in pieces {other:?}"),
    };
    holds(&file, format, &found);
    let catalog =
        match Catalog::read(ArchiveBytes::stream(&file[..]), format, file.len() as u64, found.package.identity) {
            Ok(catalog) => catalog,
            Err(error @ Error::FileDigest { .. }) => panic!("{error}"),
            Err(error) => return super::is_short(&error),
        };
    for artifact in &found.artifacts {
        assert!(catalog.file(&artifact.path).is_some(), "{}", artifact.path);
    }
}

fn plain(file: &[u8]) {
    let about = ArchiveInfo { format: Format::File, name: "a", size: file.len() as u64, mtime: 1 };
    for path in ["/a", "/a.ko.xz"] {
        if let Ok(Some(found)) = formats::read_plain_file(&mut Cursor::new(file), &about, path, MAX_ELF_BYTES) {
            assert!(!found.artifacts.is_empty());
            holds(file, Format::File, &found);
        }
    }
    if let Err(error) = Sources::read(&mut Cursor::new(file)) {
        super::is_short(&error);
    }
}

fn holds(file: &[u8], format: Format, found: &ParsedArchive) {
    assert_eq!(*found.package.identity.as_bytes(), <[u8; 32]>::from(Sha256::digest(file)));
    assert!(found.artifacts.is_sorted());
    let nevra = &found.package.nevra;
    for part in [&nevra.name, &nevra.version, &nevra.release, &nevra.arch] {
        assert!(!part.is_empty() && !part.contains('/') && !part.contains(char::is_control), "{part:?}");
    }
    let mut seen = HashSet::new();
    for artifact in &found.artifacts {
        assert_eq!(artifact.path, path::canonical(&artifact.path));
        // Hard links have no contents of their own: they are those of the member that comes first.
        if !seen.insert(artifact.contents) {
            continue;
        }
        let (contents, wanted) = (artifact.contents.expect("contents"), formats::file_entry(artifact).expect("a file"));
        let mut out = Vec::new();
        formats::extract_member(
            ArchiveBytes::stream(file),
            format,
            file.len() as u64,
            artifact.ordinal,
            &wanted,
            &mut out,
        )
        .expect("what was read before");
        assert_eq!((out.len() as u64, <[u8; 32]>::from(Sha256::digest(&out))), (contents.size, contents.sha256));
        extract_by_block(file, format, artifact);
    }
}

/// A member extracted by its block has the contents that were read, or nothing is written.
fn extract_by_block(file: &[u8], format: Format, artifact: &Artifact) {
    let (Some(contents), Some(wanted)) = (artifact.contents, formats::file_entry(artifact)) else { return };
    let Some(tar_offset) = contents.tar_offset else { return };
    let read_range = |range: Range<u64>| -> artifact::Result<Box<dyn Read + Send>> {
        let range = usize::try_from(range.start).ok().zip(usize::try_from(range.end).ok());
        let part = range.and_then(|(start, end)| file.get(start..end));
        let cut_off = || Error::Io(io::ErrorKind::UnexpectedEof.into());
        Ok(Box::new(Cursor::new(part.ok_or_else(cut_off)?.to_vec())))
    };
    let Ok(index) = TarBlockIndex::read(format, file.len() as u64, &read_range) else { return };
    let mut out = Vec::new();
    match index.extract_member((artifact.ordinal, tar_offset), &wanted, &read_range, &mut out) {
        Ok(true) => assert_eq!(<[u8; 32]>::from(Sha256::digest(&out)), contents.sha256),
        Ok(false) => assert!(out.is_empty()),
        Err(error) => super::is_short(&error),
    }
}

/// A Debian package with this as its data.
fn deb(data: &[u8]) -> Vec<u8> {
    let control = b"Package: p\nVersion: 1-1\nArchitecture: all\n";
    let mut deb = b"!<arch>\n".to_vec();
    for (name, contents) in [("control.tar", &member("control", control)[..]), ("data.tar", data)] {
        deb.extend(format!("{name:<16}{:<32}{:<10}`\n", 0, contents.len()).as_bytes());
        deb.extend(contents);
        deb.resize(deb.len().next_multiple_of(2), b'\n');
    }
    deb
}

/// A package of opkg with this as its outer archive, stored within gzip: a compressed one would hide changes.
fn ipk(outer: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::none());
    std::io::Write::write_all(&mut encoder, outer).and_then(|()| encoder.finish()).unwrap_or_default()
}

/// A tar archive with one member, and its end.
pub fn member(name: &str, contents: &[u8]) -> Vec<u8> {
    let mut header = [0; 512];
    header[..name.len()].copy_from_slice(name.as_bytes());
    header[100..108].copy_from_slice(b"0000644\0");
    header[124..136].copy_from_slice(format!("{:011o}\0", contents.len()).as_bytes());
    header[136..148].copy_from_slice(b"00000000001\0");
    header[148..156].copy_from_slice(b"        ");
    header[156] = b'0';
    header[257..263].copy_from_slice(b"ustar\0");
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    let mut tar = [&header[..], contents].concat();
    tar.resize(tar.len().next_multiple_of(512) + 1024, 0);
    tar
}

/// Gives few bytes at a time.
struct Slow<'a>(&'a [u8]);

impl Read for Slow<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let max = buffer.len().min(7);
        self.0.read(&mut buffer[..max])
    }
}
