//! Tar archives: their ends, sizes, sparse files and hard links.

use super::*;

#[test]
fn an_archive_may_end_after_a_member_without_zero_blocks() {
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

pub(super) fn sparse_map(block: &mut [u8; 512], pieces: &[(u64, u64)], size: u64) {
    for (at, (offset, bytes)) in pieces.iter().enumerate() {
        let text = format!("{offset:011o}\0{bytes:011o}\0");
        block[386 + 24 * at..386 + 24 * at + 24].copy_from_slice(text.as_bytes());
    }
    block[483..495].copy_from_slice(format!("{size:011o}\0").as_bytes());
}

#[test]
fn sparse_files_are_extracted_with_holes_and_invalid_maps_are_refused() {
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
fn excessive_sizes_are_refused_before_memory_is_allocated() {
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
fn a_hard_link_has_the_contents_of_its_target_at_that_position() {
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
