use super::*;
use crate::elf::image::Image;
use crate::payload::archive::{compress, file, hard_link, header, newc, stripped, symlink};
use crate::{BuildId, Kind};

const ID: [u8; 20] = [0x42; 20];

fn artifact(ordinal: u32, path: &str) -> Artifact {
    let build_id = BuildId::from_bytes(&ID).unwrap();
    Artifact { ordinal, build_id, kind: Kind::Executable, dwarf: Some(false), path: path.into(), contents: None }
}

#[test]
fn open_elf_files_with_a_build_id_make_artifacts_and_others_do_not() {
    let program = Image::program(&ID).bytes();
    let bare = Image::new(2).bytes();
    let files = vec![
        file("/a", &program),
        file("/closed", &program),
        file("/script", b"#!/bin/sh"),
        file("/empty", b""),
        file("/bare", &bare),
        file("/broken", b"\x7fELF\x09 and enough bytes to be a header, but not one that makes any sense at all"),
    ];
    let header = header(files, Some("zstd"));
    let broken = b"\x7fELF\x09 and enough bytes to be a header, but not one that makes any sense at all";
    let members: [(u32, &[u8]); 6] =
        [(0, &program), (1, &program), (2, b"#!/bin/sh"), (3, b""), (4, &bare), (5, broken)];
    let payload = compress(Some("zstd"), &stripped(&members));
    assert_eq!(scan_files(&payload[..], &header, &[0, 2, 3, 4, 5], u64::MAX).unwrap(), [artifact(0, "/a")]);
    assert_eq!(scan_files(&b"never read"[..], &header, &[], u64::MAX).unwrap(), []);
}

#[test]
fn every_open_hard_link_makes_an_artifact() {
    let program = Image::program(&ID).bytes();
    let files = (0..4).map(|number| hard_link(&format!("/{number}"), &program, 3)).collect();
    let header = header(files, None);
    let payload = newc(&[("0", b""), ("1", b""), ("2", b""), ("3", &program)]);
    assert_eq!(scan_files(&payload[..], &header, &[2, 0], u64::MAX).unwrap(), [artifact(0, "/0"), artifact(2, "/2")]);
}

#[test]
fn an_unstripped_program_is_executable_and_debuginfo() {
    let program = Image::program(&ID).section(".debug_info", 1, 0, b"dwarf").bytes();
    let header = header(vec![file("/a", &program)], None);
    let found = scan_files(&newc(&[("a", &program)])[..], &header, &[0], u64::MAX).unwrap();
    assert_eq!(found, [Artifact { kind: Kind::Both, dwarf: Some(true), ..artifact(0, "/a") }]);
}

#[test]
fn a_program_larger_than_the_memory_limit_is_read_from_disk() {
    let program = Image::program(&ID).section(".rodata", 1, 2, &vec![1; 3 << 20]).bytes();
    let header = header(vec![file("/large", &program)], None);
    assert_eq!(
        scan_files(&newc(&[("large", &program)])[..], &header, &[0], u64::MAX).unwrap(),
        [artifact(0, "/large")]
    );
}

#[test]
fn the_rest_of_the_payload_is_not_read() {
    let program = Image::program(&ID).bytes();
    let header = header(vec![file("/a", &program), file("/b", &program)], None);
    let payload = newc(&[("a", &program)]);
    assert_eq!(scan_files(&payload[..payload.len() - 100], &header, &[0], u64::MAX).unwrap(), [artifact(0, "/a")]);
    let error = scan_files(&payload[..], &header, &[0, 1], u64::MAX).unwrap_err().to_string();
    assert_eq!(error, "payload: expected the contents of /b, found an archive without them");
}

#[test]
fn a_program_with_another_digest_is_an_error() {
    let program = Image::program(&ID).bytes();
    let header = header(vec![file("/a", &program)], None);
    // With another first byte it does not look like a program any more.
    for at in [program.len() - 1, 0] {
        let mut other = program.clone();
        other[at] ^= 1;
        let error = scan_files(&newc(&[("a", &other)])[..], &header, &[0], u64::MAX).unwrap_err();
        assert!(matches!(error, Error::FileDigest { .. }), "{error}");
    }
}

#[test]
fn open_must_be_regular_files() {
    let header = header(vec![symlink("/link", "a")], None);
    for ordinal in [0, 1] {
        assert!(matches!(scan_files(&b""[..], &header, &[ordinal], u64::MAX), Err(Error::Payload { .. })));
    }
}
