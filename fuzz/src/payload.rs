//! Payloads: decompression, cpio members, extraction, the scan for ELF notes.
//!
//! An input is a byte for the form, and then either a whole RPM or a small table of files with a payload behind:
//!
//! ```text
//! form   0-5: compressed, by the number of COMPRESSORS; 6-11: an archive that is compressed here first, so that
//! changes reach the
//!        cpio reader behind checksums; 12: a whole RPM
//! count  of files, modulo 16; then 4 bytes a file: how (see `file`), two bytes of size, inode number
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

/// By their numbers in an input.
pub const COMPRESSORS: [Option<&str>; 6] = [None, Some("gzip"), Some("bzip2"), Some("xz"), Some("lzma"), Some("zstd")];
/// The number of the form "a whole RPM".
pub const WHOLE_RPM: u8 = 12;
/// More contents are not walked through, and no more is unpacked: fuzzing wants many inputs, not large ones.
const MAX_BYTES: u64 = 1 << 20;
/// So many files of one input are extracted.
const MAX_EXTRACTED: usize = 3;

/// A walk, an extraction of each file and a scan see the same bytes, and never more of them than the header announced.
pub fn check(input: &[u8]) {
    let Some((header, payload)) = parse(input) else { return };
    if header.files.iter().map(|file| file.size).fold(0, u64::saturating_add) > MAX_BYTES {
        return;
    }
    let walk = walk(&header, &payload);
    let is_sound = is_sound(&payload);
    let regular: Vec<u32> = (0..).zip(&header.files).filter(|(_, file)| file.is_regular()).map(|(at, _)| at).collect();
    for ordinal in regular.iter().take(MAX_EXTRACTED) {
        extract(&header, &payload, *ordinal, walk.get(ordinal), is_sound);
        extract_by_block(&header, &payload, *ordinal);
    }
    scan(&header, &payload, &regular, &walk, is_sound);
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

/// The file of one row: `/a`, `/b`, ... How: bits 0-2 what it is (4 folder, 5 link, 6 ghost, else regular), bits 3-5 by
/// how much its size is shifted, bit 6 the name of the file before.
fn file(ordinal: u8, [how, low, high, inode]: [u8; 4]) -> File {
    let (mode, flags) = match how & 7 {
        4 => (0o040_755, 0),
        5 => (0o120_777, 0),
        6 => (0o100_644, 1 << 6),
        _ => (0o100_755, 0),
    };
    let letter = char::from(b'a' + ordinal.saturating_sub((how >> 6) & 1));
    File {
        path: format!("/{letter}"),
        mode,
        flags,
        size: u64::from(u16::from_le_bytes([low, high])) << ((how >> 3) & 7),
        mtime: 0,
        inode: inode.into(),
        digest: None,
        link_target: (how & 7 == 5).then(|| "target".into()),
        class: Class::None,
        signature: None,
    }
}

/// `archive` compressed, as fast as can be.
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

/// Can it be decompressed to its end? Else decoders throw away what they made in the call that met the fault, and it
/// depends on how much is asked for at once how many members come out whole.
fn is_sound(payload: &[u8]) -> bool {
    let Ok(archive) = payload::decompress(payload) else { return false };
    io::copy(&mut archive.take(2 * MAX_BYTES), &mut io::sink()).is_ok_and(|bytes| bytes < 2 * MAX_BYTES)
}

/// By ordinal: the contents of each regular file that came whole in a walk over all members.
type Walk = BTreeMap<u32, Vec<u8>>;

fn walk(header: &Header, payload: &[u8]) -> Walk {
    let mut walk = Walk::new();
    let archive = match payload::decompress(payload) {
        Ok(archive) => archive,
        Err(error) => {
            super::is_short(&error);
            return walk;
        }
    };
    let mut archive = Counted { archive, bytes: 0 };
    // What the members and their headers may take, and what is read ahead.
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
                assert!(matches!(members.next(), Ok(None)), "a walk goes on after an error");
                break;
            }
        };
        let (ordinal, size) = (member.ordinal(), member.size());
        let file = member.file();
        assert!(std::ptr::eq(file, &header.files[ordinal as usize]));
        assert!(!std::mem::replace(&mut seen[ordinal as usize], true), "{} twice", file.path);
        let announced = if file.is_regular() { file.size } else { file.size.max(64 << 10) };
        assert!(size <= announced, "{}: {size} bytes, announced {announced}", file.path);
        max_bytes += HEADER_BYTES + announced;
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
    assert!(archive.bytes <= max_bytes, "{} bytes unpacked, announced {max_bytes}", archive.bytes);
    walk
}

fn extract(header: &Header, payload: &[u8], ordinal: u32, walked: Option<&Vec<u8>>, is_sound: bool) {
    let file = &header.files[ordinal as usize];
    let mut out = Vec::new();
    let result = payload::extract_member(payload, header, ordinal, &mut out);
    assert!(out.len() as u64 <= file.size, "{} bytes of {}, announced {}", out.len(), file.path, file.size);
    match (result, walked) {
        (Ok(()), Some(walked)) => assert!(*walked == out, "a walk and an extraction of {} differ", file.path),
        (Err(Error::FileDigest { .. }), Some(walked)) => assert!(file.digest.is_some() && *walked == out),
        (Err(error), None) => is_of_the_payload(&error),
        (Ok(()), None) | (Err(Error::Payload { .. }), Some(_)) if !is_sound => {}
        (result, walked) => panic!("{result:?} of {}, walked {:?}", file.path, walked.map(Vec::len)),
    }
}

/// The scan finds what `elf` finds in each of the contents.
fn scan(header: &Header, payload: &[u8], regular: &[u32], walk: &Walk, is_sound: bool) {
    match scan::scan_files(payload, header, regular, u64::MAX) {
        Ok(found) if is_sound => {
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
            assert!(!is_sound || !is_all_there, "every file was walked through, but the scan says {error}");
        }
    }
}

fn is_of_the_payload(error: &Error) {
    assert!(matches!(error, Error::Payload { .. }), "expected an error of the payload, found {error:?}");
    super::is_short(error);
}

/// Counts what is unpacked.
struct Counted<R> {
    archive: R,
    bytes: u64,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.archive.read(buffer)?;
        self.bytes += read as u64;
        Ok(read)
    }
}
