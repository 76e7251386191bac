//! Archives that are truncated, damaged, too large or cannot be read.

use super::tars::sparse_map;
use super::*;

/// However few bytes a read brings.
struct Dripping<'a>(&'a [u8], usize);

impl Read for Dripping<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let max = buffer.len().min(self.1);
        self.0.read(&mut buffer[..max])
    }
}

#[test]
fn damaged_checksums_after_the_last_member_are_an_error_for_every_read_size() {
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
fn extracting_a_member_that_differs_from_the_indexed_one_fails() {
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
fn a_truncated_archive_is_refused() {
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
fn a_damaged_archive_is_refused_or_read_consistently() {
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

#[test]
fn large_elf_files_are_not_copied_and_decompression_bombs_are_refused() {
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
fn a_read_error_stays_an_io_error() {
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
