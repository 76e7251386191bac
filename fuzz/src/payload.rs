//! Payloads: decompression, cpio members, extraction, the scan for ELF notes.
//!
//! An input is one byte for the form, followed by a whole RPM, or by a small table of files and a payload:
//!
//! ```text
//! form   0-5: a payload, compressed with the compressor of this index in COMPRESSORS
//!        6-11: an archive that is compressed here first, so that changes reach the cpio reader despite checksums
//!        12: a whole RPM
//! count  number of files, modulo 16; then 4 bytes per file: flags (see `file`), two bytes of size, inode number
//! rest   the payload
//! ```

use std::collections::BTreeMap;
use std::io::{self, Cursor, Read, Write};
use std::ops::Range;

use artifact::header::{Class, File, Header};
use artifact::payload::{self, BlockIndex, Members};
use artifact::{Artifact, Error, Format, Identity, Nevra, Package, elf, scan};
use liblzma::stream::{LzmaOptions, Stream};
use liblzma::write::XzEncoder;

/// The compressors, by their index in an input.
pub const COMPRESSORS: [Option<&str>; 6] = [None, Some("gzip"), Some("bzip2"), Some("xz"), Some("lzma"), Some("zstd")];
/// The form of an input that is a whole RPM.
pub const WHOLE_RPM: u8 = 12;
/// The maximum size of all contents of an input, and of what is decompressed. Many small inputs find more than large
/// ones.
const MAX_BYTES: u64 = 1 << 20;
/// The maximum number of files of one input that are extracted.
const MAX_EXTRACTED: usize = 3;

/// Panics unless a walk, an extraction of each file and a scan give the same bytes, at most as many as the header
/// states.
pub fn check(input: &[u8]) {
    let Some((header, payload)) = parse(input) else { return };
    if header.files.iter().map(|file| file.size).fold(0, u64::saturating_add) > MAX_BYTES {
        return;
    }
    let walk = walk(&header, &payload);
    let is_valid = is_valid(&payload);
    let regular: Vec<u32> = (0..).zip(&header.files).filter(|(_, file)| file.is_regular()).map(|(at, _)| at).collect();
    for ordinal in regular.iter().take(MAX_EXTRACTED) {
        extract(&header, &payload, *ordinal, walk.get(ordinal), is_valid);
        extract_by_block(&header, &payload, *ordinal);
    }
    scan(&header, &payload, &regular, &walk, is_valid);
}

/// A member extracted by its block has the size that the header states, or nothing is written. These headers have no
/// digests, so the bytes may be those of another member.
fn extract_by_block(header: &Header, payload: &[u8], ordinal: u32) {
    let read_range = |range: Range<u64>| -> artifact::Result<Box<dyn Read + Send>> {
        let range = usize::try_from(range.start).ok().zip(usize::try_from(range.end).ok());
        let part = range.and_then(|(start, end)| payload.get(start..end));
        let cut_off = || Error::Io(io::ErrorKind::UnexpectedEof.into());
        Ok(Box::new(Cursor::new(part.ok_or_else(cut_off)?.to_vec())))
    };
    let Ok(index) = BlockIndex::read(payload.len() as u64, &read_range) else { return };
    let mut out = Vec::new();
    match index.extract_member(header, ordinal, &read_range, &mut out) {
        Ok(true) => {
            let size = header.file_by_ordinal(ordinal).map(|file| file.size);
            assert_eq!(Some(out.len() as u64), size);
        }
        Ok(false) => assert!(out.is_empty()),
        Err(error) => super::is_short(&error),
    }
}

fn parse(input: &[u8]) -> Option<(Header, Vec<u8>)> {
    let (&form, rest) = input.split_first()?;
    if form == WHOLE_RPM {
        let mut archive = rest.to_vec();
        let header = super::header::parse(&mut archive).ok()?;
        let payload = archive.split_off(usize::try_from(header.range.end).ok()?);
        return Some((header, payload));
    }
    let compressor = *COMPRESSORS.get(usize::from(form) % COMPRESSORS.len())?;
    let (&count, rest) = rest.split_first()?;
    let (table, rest) = rest.split_at_checked(4 * usize::from(count % 16))?;
    let files = (0..).zip(table.as_chunks().0).map(|(ordinal, row)| file(ordinal, *row)).collect();
    let is_compressed = usize::from(form) < COMPRESSORS.len();
    let payload = if is_compressed { rest.to_vec() } else { compress(compressor, rest)? };
    let nevra = Nevra { name: "n".into(), epoch: None, version: "1".into(), release: "1".into(), arch: "x".into() };
    let package = Package {
        nevra,
        source_rpm: None,
        identity: Identity::from_bytes([0; 32]),
        built_at: None,
        format: Format::Rpm,
    };
    let compressor = compressor.map(str::to_owned);
    Some((Header { package, range: 0..0, files, compressor, signing_key: None, archive_bytes: None }, payload))
}

/// Returns the file of one row: `/a`, `/b`, ... Bits 0-2 of the flags are its type (4 directory, 5 link, 6 ghost, else
/// regular), bits 3-5 a left shift of its size. With bit 6 it has the name of the file before it.
fn file(ordinal: u8, [file_flags, low, high, inode]: [u8; 4]) -> File {
    let (mode, flags) = match file_flags & 7 {
        4 => (0o040_755, 0),
        5 => (0o120_777, 0),
        6 => (0o100_644, 1 << 6),
        _ => (0o100_755, 0),
    };
    let letter = char::from(b'a' + ordinal.saturating_sub((file_flags >> 6) & 1));
    File {
        path: format!("/{letter}"),
        mode,
        flags,
        size: u64::from(u16::from_le_bytes([low, high])) << ((file_flags >> 3) & 7),
        mtime: 0,
        inode: inode.into(),
        digest: None,
        link_target: (file_flags & 7 == 5).then(|| "target".into()),
        class: Class::None,
        signature: None,
    }
}

/// Compresses `archive` at the fastest level. `None` without a compressor, or if it fails.
pub fn compress(compressor: Option<&str>, archive: &[u8]) -> Option<Vec<u8>> {
    let xz = |stream: Stream| {
        let mut encoder = XzEncoder::new_stream(Vec::new(), stream);
        encoder.write_all(archive)?;
        encoder.finish()
    };
    match compressor? {
        "gzip" => {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(archive).ok()?;
            encoder.finish().ok()
        }
        "bzip2" => {
            let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
            encoder.write_all(archive).ok()?;
            encoder.finish().ok()
        }
        "xz" => xz(Stream::new_easy_encoder(0, liblzma::stream::Check::Crc32).ok()?).ok(),
        "lzma" => xz(Stream::new_lzma_encoder(&LzmaOptions::new_preset(0).ok()?).ok()?).ok(),
        _ => zstd::encode_all(archive, 1).ok(),
    }
}

/// True if the payload can be decompressed to its end. Otherwise decoders discard the output of the call that finds the
/// fault, so the number of complete members depends on the size of the reads.
fn is_valid(payload: &[u8]) -> bool {
    let Ok(archive) = payload::decompress(payload) else { return false };
    io::copy(&mut archive.take(2 * MAX_BYTES), &mut io::sink()).is_ok_and(|bytes| bytes < 2 * MAX_BYTES)
}

/// The contents of each regular file that a walk over all members read completely, by ordinal.
type WalkedContents = BTreeMap<u32, Vec<u8>>;

fn walk(header: &Header, payload: &[u8]) -> WalkedContents {
    let mut walk = WalkedContents::new();
    let archive = match payload::decompress(payload) {
        Ok(archive) => archive,
        Err(error) => {
            super::is_short(&error);
            return walk;
        }
    };
    let mut archive = DecompressedBytes { archive, bytes: 0 };
    // The maximum size of the members and their headers, and of what is read ahead.
    const HEADER_BYTES: u64 = 110 + (16 << 10) + 6;
    let mut max_bytes = HEADER_BYTES + (64 << 10);
    let mut seen = vec![false; header.files.len()];
    let mut members = Members::new(&mut archive, header);
    loop {
        let mut member = match members.next() {
            Ok(Some(member)) => member,
            Ok(None) => break,
            Err(error) => {
                is_of_the_payload(&error);
                assert!(matches!(members.next(), Ok(None)), "a walk continues after an error");
                break;
            }
        };
        let (ordinal, size) = (member.ordinal(), member.size());
        let file = member.file();
        assert!(std::ptr::eq(file, &header.files[ordinal as usize]));
        assert!(!std::mem::replace(&mut seen[ordinal as usize], true), "{} twice", file.path);
        let expected = if file.is_regular() { file.size } else { file.size.max(64 << 10) };
        assert!(size <= expected, "{}: {size} bytes, expected {expected}", file.path);
        max_bytes += HEADER_BYTES + expected;
        let held: Vec<u32> = (0..).take(header.files.len()).filter(|ordinal| member.holds(*ordinal)).collect();
        assert!(held.iter().all(|ordinal| header.files[*ordinal as usize].size == size));
        let mut contents = Vec::new();
        match member.read_to_end(&mut contents) {
            Ok(read) => assert_eq!(read as u64, size),
            Err(error) => {
                assert!(contents.len() as u64 <= size);
                is_of_the_payload(&error.downcast::<Error>().unwrap_or_else(Error::Io));
                break;
            }
        }
        for ordinal in held {
            walk.entry(ordinal).or_insert_with(|| contents.clone());
        }
    }
    drop(members);
    assert!(archive.bytes <= max_bytes, "{} bytes decompressed, expected {max_bytes}", archive.bytes);
    walk
}

fn extract(header: &Header, payload: &[u8], ordinal: u32, walked: Option<&Vec<u8>>, is_valid: bool) {
    let file = &header.files[ordinal as usize];
    let mut out = Vec::new();
    let result = payload::extract_member(payload, header, ordinal, &mut out);
    assert!(out.len() as u64 <= file.size, "{} bytes of {}, expected {}", out.len(), file.path, file.size);
    match (result, walked) {
        (Ok(()), Some(walked)) => assert!(*walked == out, "a walk and an extraction of {} differ", file.path),
        (Err(Error::FileDigest { .. }), Some(walked)) => assert!(file.digest.is_some() && *walked == out),
        (Err(error), None) => is_of_the_payload(&error),
        (Ok(()), None) | (Err(Error::Payload { .. }), Some(_)) if !is_valid => {}
        (result, walked) => panic!("{result:?} of {}, walked {:?}", file.path, walked.map(Vec::len)),
    }
}

/// Panics unless the scan finds the same ELF files as `elf` finds in the walked contents.
fn scan(header: &Header, payload: &[u8], regular: &[u32], walk: &WalkedContents, is_valid: bool) {
    match scan::scan_files(payload, header, regular, u64::MAX) {
        Ok(found) if is_valid => {
            let mut expected = Vec::new();
            for ordinal in regular {
                let Some(contents) = walk.get(ordinal) else { panic!("scanned, but never walked: {ordinal}") };
                if let Ok(Some(elf)) = elf::read_elf(&mut Cursor::new(contents))
                    && let (Some(build_id), Some(kind)) = (elf.build_id, elf.kind)
                {
                    let path = header.files[*ordinal as usize].path.clone();
                    let dwarf = Some(elf.dwarf);
                    expected.push(Artifact { ordinal: *ordinal, build_id, kind, dwarf, path, contents: None });
                }
            }
            expected.sort();
            assert_eq!(found, expected);
        }
        Ok(_) => {}
        Err(Error::FileDigest { .. }) => assert!(header.files.iter().any(|file| file.digest.is_some())),
        Err(error) => {
            is_of_the_payload(&error);
            let is_all_there = regular.iter().all(|ordinal| walk.contains_key(ordinal));
            assert!(!is_valid || !is_all_there, "every file was walked through, but the scan failed: {error}");
        }
    }
}

fn is_of_the_payload(error: &Error) {
    assert!(matches!(error, Error::Payload { .. }), "expected an error of the payload, found {error:?}");
    super::is_short(error);
}

/// A reader that counts the decompressed bytes.
struct DecompressedBytes<R> {
    archive: R,
    bytes: u64,
}

impl<R: Read> Read for DecompressedBytes<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.archive.read(buffer)?;
        self.bytes += read as u64;
        Ok(read)
    }
}
