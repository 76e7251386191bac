//! Members extracted from the xz block that holds them.

use std::cell::Cell;
use std::ops::Range;

use liblzma::write::XzEncoder;

use super::tars::sparse_map;
use super::*;

const LARGE: usize = 200_000;

/// An ELF file that does not compress.
fn large(number: u32) -> Vec<u8> {
    // Xorshift (Marsaglia 2003).
    let mut state = 0x9e37_79b9 ^ number;
    let noise = (0..LARGE).map(|_| {
        for (left, shift) in [(true, 13), (false, 17), (true, 5)] {
            state ^= if left { state << shift } else { state >> shift };
        }
        state as u8
    });
    elf().into_iter().chain(noise).collect()
}

/// Ten large ELF files with everything before them that can stand before a member, and where that begins.
fn plain() -> (Vec<u8>, Vec<u64>) {
    let (mut builder, mut offsets) = (Builder::new(Vec::new()), Vec::new());
    for number in 0..8 {
        // Between large members there are others.
        builder.append_data(&mut header(3), format!("usr/share/{number}"), &b"abc"[..]).unwrap();
        offsets.push(builder.get_ref().len() as u64);
        let contents = large(number);
        let name = format!("usr/bin/{}{number}", "x".repeat(number as usize * 40));
        if number == 6 {
            builder.append_pax_extensions([("comment", &b"y".repeat(2_000)[..]), ("mtime", b"12.5")]).unwrap();
        }
        builder.append_data(&mut header(contents.len() as u64), name, &contents[..]).unwrap();
    }
    let mut archive = builder.into_inner().unwrap();
    archive.truncate(archive.len() - 1024);
    let contents = large(8);
    let sparse = |size: usize| {
        let bytes = contents.len() as u64;
        raw(b'S', bytes, |block| sparse_map(block, &[(0, bytes)], size as u64))
    };
    let global = [raw(b'g', 10, |_| {}), vec![b' '; 512]].concat();
    for (before, header) in
        [(&[][..], sparse(LARGE * 3)), (&global, raw(b'0', contents.len() as u64, |block| block[0] = b'R'))]
    {
        offsets.push(archive.len() as u64);
        archive.extend([before, &header, &contents].concat());
        archive.resize(archive.len().next_multiple_of(512), 0);
    }
    archive.resize(archive.len() + 1024, 0);
    (archive, offsets)
}

fn xz(archive: &[u8]) -> Vec<u8> {
    let mut encoder = XzEncoder::new(Vec::new(), 0);
    for block in archive.chunks(100_000) {
        encoder.write_all(block).unwrap();
        encoder.flush().unwrap();
    }
    encoder.finish().unwrap()
}

/// Extracts the member by its block: the result, the contents written, and the number of archive bytes that were read.
fn extract_by_block(
    format: Format,
    archive: &[u8],
    artifact: &Artifact,
    tar_offset: u64,
) -> (Result<bool, String>, Vec<u8>, u64) {
    let bytes_read = Cell::new(0);
    let read_range = |range: Range<u64>| -> Result<Box<dyn Read + Send + '_>> {
        bytes_read.set(bytes_read.get() + range.end - range.start);
        match archive.get(usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap()) {
            Some(part) if !part.is_empty() => Ok(Box::new(part)),
            _ => refuse("a part of the archive", "another one"),
        }
    };
    let mut out = Vec::new();
    let index = TarBlockIndex::read(format, archive.len() as u64, &read_range);
    let result = index.and_then(|index| {
        index.extract_member((artifact.ordinal, tar_offset), &file_entry(artifact).unwrap(), &read_range, &mut out)
    });
    (result.map_err(|error| error.to_string()), out, bytes_read.get())
}

fn offset(artifact: &Artifact) -> u64 {
    artifact.contents.unwrap().tar_offset.unwrap()
}

/// The archive as data of a Debian package, behind a small and behind a large `control.tar`.
fn debs(data: &[u8]) -> [Vec<u8>; 2] {
    [0, 100_001].map(|padding| {
        let control = [tar(&[("./control", CONTROL)]), vec![0; padding]].concat();
        ar(&[("debian-binary", b"2.0\n"), ("control.tar", &control), ("data.tar.xz", data), ("_gpgorigin", b"odd")])
    })
}

#[test]
fn members_of_tars_and_debs_are_extracted_without_the_blocks_before_them() {
    let (plain, offsets) = plain();
    let data = xz(&plain);
    let [deb, other] = debs(&data);
    for (format, archive) in [(Format::Tar, &data), (Format::Arch, &data), (Format::Deb, &deb), (Format::Deb, &other)] {
        let found = read_bytes(format, archive).unwrap();
        assert_eq!(found.artifacts.iter().map(offset).collect::<Vec<_>>(), offsets, "{format:?}");
        let identity = found.package.identity;
        let catalog =
            Catalog::read(ArchiveBytes::stream(&archive[..]), format, archive.len() as u64, identity).unwrap();
        for artifact in &found.artifacts {
            let listed = catalog.file(&artifact.path).unwrap();
            assert_eq!((listed.ordinal, listed.tar_offset), (artifact.ordinal, Some(offset(artifact))));
            let (result, out, bytes_read) = extract_by_block(format, archive, artifact, offset(artifact));
            if offset(artifact) < 1_100_000 {
                assert!(result == Ok(false) && out.is_empty(), "{format:?}, {}: {result:?}", artifact.path);
                continue;
            }
            assert_eq!(result, Ok(true), "{format:?}, {}", artifact.path);
            assert_eq!(<[u8; 32]>::from(Sha256::digest(&out)), artifact.contents.unwrap().sha256);
            // The ranges from its block to the end, of which a member reads what it needs, and the index.
            let max = plain.len() as u64 - offset(artifact) + 100_000 + (8 << 10);
            assert!(bytes_read < max, "{format:?}, {}: {bytes_read} bytes, expected {max}", artifact.path);
        }
    }
}

#[test]
fn members_of_arch_packages_are_extracted_by_block() {
    let (plain, _) = plain();
    let info = tar(&[(".PKGINFO", b"pkgname = p\npkgver = 1-1\narch = any\n")]);
    let archive = xz(&[&info[..info.len() - 1024], &plain].concat());
    let found = read_bytes(Format::Arch, &archive).unwrap();
    let last = found.artifacts.last().unwrap();
    let (result, out, bytes_read) = extract_by_block(Format::Arch, &archive, last, offset(last));
    assert_eq!((result, <[u8; 32]>::from(Sha256::digest(&out))), (Ok(true), last.contents.unwrap().sha256));
    assert!(bytes_read < archive.len() as u64 / 4, "{bytes_read} bytes of {}", archive.len());
}

#[test]
fn archives_without_several_xz_blocks_have_no_index() {
    let (plain, _) = plain();
    for compressor in ["none", "xz", "gzip", "zstd", "bzip2"] {
        let data = compress(Some(compressor), &plain);
        let [deb, _] = debs(&data);
        for (format, archive) in [(Format::Tar, &data), (Format::Deb, &deb)] {
            let found = read_bytes(format, archive).unwrap();
            let last = found.artifacts.last().unwrap();
            let (result, out, _) = extract_by_block(format, archive, last, offset(last));
            assert_eq!((result, out.len()), (Ok(false), 0), "{format:?}, {compressor}");
        }
    }
    // One of opkg, whose outer archive is no ar.
    let parts = [("control.tar", &tar(&[("control", CONTROL)])[..]), ("data.tar.xz", &xz(&plain))];
    let archive = compress(Some("gzip"), &tar(&parts));
    let found = read_bytes(Format::Deb, &archive).unwrap();
    let last = found.artifacts.last().unwrap();
    assert_eq!(extract_by_block(Format::Deb, &archive, last, offset(last)).0, Ok(false));
    for (format, tar_offset, helps) in [
        (Format::Tar, 1 << 20, true),
        (Format::Tar, (1 << 20) - 1, false),
        (Format::Zip, 1 << 30, false),
        (Format::Rpm, 1 << 30, false),
    ] {
        assert_eq!(TarBlockIndex::may_help(format, tar_offset), helps, "{format:?}, {tar_offset}");
    }
}

#[test]
fn nothing_is_written_if_the_member_is_not_at_its_offset() {
    let (plain, _) = plain();
    let data = xz(&plain);
    let [deb, _] = debs(&data);
    for (format, archive) in [(Format::Tar, &data), (Format::Deb, &deb)] {
        let found = read_bytes(format, archive).unwrap();
        let [.., before, _, last] = &found.artifacts[..] else { panic!("{found:?}") };
        let at = offset(last);
        let end = plain.len() as u64;
        for wrong in [offset(before), at - 512, at + 512, at + 1, end - 512, end, end + 1, u64::MAX] {
            let (result, out, _) = extract_by_block(format, archive, last, wrong);
            assert!(result != Ok(true) && out.is_empty(), "{format:?}, {wrong}: {result:?}, {} bytes", out.len());
        }
    }
}

#[test]
fn block_extraction_from_a_damaged_archive_fails_or_is_exact() {
    let (plain, _) = plain();
    let data = xz(&plain);
    let [deb, _] = debs(&data);
    let found = read_bytes(Format::Deb, &deb).unwrap();
    let last = found.artifacts.last().unwrap();
    let data_at = deb.windows(6).position(|start| start == [0xfd, b'7', b'z', b'X', b'Z', 0]).unwrap();
    // In the magic, in headers of ar, in the member's block, in the index.
    for at in
        [3, 60, 8 + 48, 132, data_at - 60, data_at - 2, data_at + 3, data_at + data.len() - 150_000, deb.len() - 100]
    {
        let mut damaged = deb.clone();
        damaged[at] ^= 0x55;
        let (result, out, _) = extract_by_block(Format::Deb, &damaged, last, offset(last));
        let is_right = <[u8; 32]>::from(Sha256::digest(&out)) == last.contents.unwrap().sha256;
        assert!(result != Ok(true) || is_right, "{at}: {result:?}");
        assert!(result != Ok(false) || out.is_empty(), "{at}: {} bytes", out.len());
    }
    for length in (0..2_000).step_by(7).chain([deb.len() / 2, deb.len() - 100]) {
        let (result, out, _) = extract_by_block(Format::Deb, &deb[..length], last, offset(last));
        assert!(result != Ok(true) && out.is_empty(), "{length} bytes: {result:?}");
    }
}
