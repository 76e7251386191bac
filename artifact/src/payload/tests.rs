use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::archive::{compress, directory, file, hard_link, header, newc, stripped, symlink};
use super::*;

fn extracted(payload: &[u8], header: &Header, ordinal: u32) -> Result<Vec<u8>, String> {
    let mut out = Vec::new();
    extract_member(payload, header, ordinal, &mut out).map(|()| out).map_err(|error| error.to_string())
}

/// A package with a bit of everything, and its archive in the long and in the stripped form.
fn mixed(compressor: Option<&str>) -> (Header, Vec<u8>, Vec<u8>) {
    let files = vec![
        directory("/usr/share/doc/a"),
        file("/usr/bin/a", b"program"),
        file("/usr/bin/empty", b""),
        symlink("/usr/bin/link", "../bin/a"),
        hard_link("/usr/bin/hard1", b"linked", 7),
        hard_link("/usr/bin/hard2", b"linked", 7),
        File { flags: 1 << 6, ..file("/var/log/ghost", b"none") },
        file("/usr/bin/z", b"the last"),
    ];
    let long = newc(&[
        ("./usr/share/doc/a", b""),
        ("./usr/bin/a", b"program"),
        ("./usr/bin/empty", b""),
        ("./usr/bin/link", b"../bin/a"),
        ("./usr/bin/hard1", b""),
        ("./usr/bin/hard2", b"linked"),
        ("./usr/bin/z", b"the last"),
    ]);
    let short =
        stripped(&[(0, b""), (1, b"program"), (2, b""), (3, b"../bin/a"), (4, b""), (5, b"linked"), (7, b"the last")]);
    (header(files, compressor), compress(compressor, &long), compress(compressor, &short))
}

const CONTENTS: [(u32, &[u8]); 5] = [(1, b"program"), (2, b""), (4, b"linked"), (5, b"linked"), (7, b"the last")];

#[test]
fn every_regular_file_is_extracted_from_both_forms_and_every_compressor() {
    for compressor in [None, Some("gzip"), Some("bzip2"), Some("xz"), Some("lzma"), Some("zstd")] {
        let (header, long, short) = mixed(compressor);
        for payload in [long, short] {
            for (ordinal, contents) in CONTENTS {
                assert_eq!(extracted(&payload, &header, ordinal).as_deref(), Ok(contents), "{compressor:?} {ordinal}");
            }
        }
    }
}

#[test]
fn names_with_and_without_leading_dot_and_slash_are_the_same() {
    let header = header(vec![file("/usr/x", b"x")], None);
    for name in ["./usr/x", "usr/x", "/usr/x"] {
        assert_eq!(extracted(&newc(&[(name, b"x")]), &header, 0).as_deref(), Ok(&b"x"[..]));
    }
}

#[test]
fn a_hard_link_has_the_contents_whichever_member_holds_them() {
    let files = [1, 2, 3].map(|number| hard_link(&format!("/{number}"), b"data", 9)).to_vec();
    let header = header(files, None);
    for carrier in 0..3 {
        let members =
            [("1", 0), ("2", 1), ("3", 2)].map(|(name, at)| (name, if at == carrier { &b"data"[..] } else { b"" }));
        for ordinal in 0..3 {
            assert_eq!(
                extracted(&newc(&members), &header, ordinal).as_deref(),
                Ok(&b"data"[..]),
                "{ordinal} in {carrier}"
            );
        }
    }
}

#[test]
fn equal_inode_numbers_of_different_files_are_no_hard_links() {
    let header = header(vec![hard_link("/1", b"data", 9), hard_link("/2", b"atad", 9), file("/3", b"data")], None);
    let payload = newc(&[("1", b""), ("2", b"atad"), ("3", b"data")]);
    assert_eq!(extracted(&payload, &header, 0).unwrap_err(), "payload: expected 4 bytes of /1, found 0");
}

#[test]
fn the_payload_is_not_read_beyond_the_member() {
    let header = header(vec![file("/1", b"data"), file("/2", b"more")], None);
    let mut payload = newc(&[("1", b"data")]);
    const TRAILER_BYTES: usize = 124;
    payload.truncate(payload.len() - TRAILER_BYTES);
    payload.extend_from_slice(b"rubbish, not a trailer");
    assert_eq!(extracted(&payload, &header, 0).as_deref(), Ok(&b"data"[..]));
    let error = extracted(&payload, &header, 1).unwrap_err();
    assert!(error.contains(r#"at the start of a cpio header, found "rubbis""#), "{error}");
}

#[test]
fn errors_name_what_cannot_be_extracted() {
    let (header, payload, _) = mixed(None);
    for (ordinal, message) in [
        (8, "payload: expected a file number below 8, found 8"),
        (u32::MAX, "payload: expected a file number below 8, found 4294967295"),
        (0, "payload: expected /usr/share/doc/a to be a regular file with contents, found mode 40755, flags 0x0"),
        (3, "payload: expected /usr/bin/link to be a regular file with contents, found mode 120777, flags 0x0"),
        (6, "payload: expected /var/log/ghost to be a regular file with contents, found mode 100644, flags 0x40"),
    ] {
        assert_eq!(extracted(&payload, &header, ordinal).unwrap_err(), message);
    }
}

#[test]
fn archives_that_disagree_with_the_header_are_refused() {
    let header = header(vec![file("/1", b"data"), file("/2", b"more")], None);
    for (payload, message) in [
        (newc(&[("1", b"data")]), "payload: expected the contents of /2, found an archive without them"),
        (newc(&[("1", b"dat"), ("2", b"more")]), "payload: expected 4 bytes of /1, found 3"),
        (newc(&[("1", b"data"), ("2", b"")]), "payload: expected 4 bytes of /2, found 0"),
        (newc(&[("3", b"data")]), r#"payload: expected a member that the header lists, found "3""#),
        (newc(&[("1", b"data"), ("./1", b"data")]), "payload: expected /1 once in the archive, found it twice"),
        (stripped(&[(2, b"data")]), "payload: expected a file number below 2 in a cpio header, found 2"),
        (
            newc(&[("1", b"data"), ("2", b"mare")]),
            "/2: expected SHA-256 digest 187897ce0afcf20b50ba2b37dca84a951b7046f29ed5ab94f010619f69d6e189, found",
        ),
        (newc(&[("1", b"data")])[..114].to_vec(), "payload: expected 4 bytes of /1, found the payload's end after 2"),
        (
            newc(&[("1", b"data")])[..116].to_vec(),
            "payload: expected a trailer at the archive's end, found the payload's end after 1 m",
        ),
        (newc(&[("2", b"more")])[..113].to_vec(), "payload: expected 4 bytes of /2, found the payload's end after 1"),
        (Vec::new(), "payload: expected a trailer at the archive's end, found the payload's end after 0 members"),
    ] {
        let error = extracted(&payload, &header, 1).unwrap_err();
        assert!(error.starts_with(message), "{error}");
    }
}

#[test]
fn a_walk_ends_after_an_error() {
    let header = header(vec![file("/1", b"data")], None);
    let mut members = Members::new(&b"rubbish that is long enough"[..], &header);
    assert!(members.next().is_err());
    assert!(members.next().unwrap().is_none());
}

#[test]
fn a_member_may_be_read_in_part() {
    let (header, payload, _) = mixed(None);
    let mut members = Members::new(&payload[..], &header);
    let mut ordinals = Vec::new();
    while let Some(mut member) = members.next().unwrap() {
        let mut bytes = [0; 3];
        let read = fill(&mut member, &mut bytes).unwrap();
        assert_eq!(read as u64, member.size().min(3));
        assert_eq!(member.file().path, header.files[member.ordinal() as usize].path);
        ordinals.push(member.ordinal());
    }
    assert_eq!(ordinals, [0, 1, 2, 3, 4, 5, 7]);
}

#[test]
fn a_truncated_payload_gives_the_right_bytes_or_an_error() {
    for compressor in [None, Some("gzip"), Some("bzip2"), Some("xz"), Some("lzma"), Some("zstd")] {
        let (header, long, short) = mixed(compressor);
        for payload in [long, short] {
            for end in 0..payload.len() {
                for (ordinal, contents) in CONTENTS {
                    match extracted(&payload[..end], &header, ordinal) {
                        Ok(out) => assert_eq!(out, contents),
                        Err(error) => assert!(error.starts_with("payload: expected "), "{compressor:?} {end}: {error}"),
                    }
                }
            }
        }
    }
}

#[test]
fn large_members_stream_in_large_chunks() {
    struct Chunks(Vec<usize>);
    impl Write for Chunks {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.push(bytes.len());
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let contents: Vec<u8> = (0..300_000_u32).map(|number| (number % 251) as u8).collect();
    for compressor in ["gzip", "bzip2", "xz", "zstd"] {
        let header = header(vec![file("/large", &contents)], Some(compressor));
        let payload = compress(Some(compressor), &newc(&[("large", &contents)]));
        let mut chunks = Chunks(Vec::new());
        extract_member(&payload[..], &header, 0, &mut chunks).unwrap();
        chunks.0.retain(|bytes| *bytes > 0);
        assert_eq!(chunks.0, [131_072, 131_072, 37_856], "{compressor}");
    }
}

#[test]
fn many_hard_links_are_found_in_linear_time() {
    let names: Vec<String> = (0..16_000).map(|number| format!("/usr/share/{number}")).collect();
    for inode in [0, 5] {
        let files = names.iter().map(|name| hard_link(name, b"data", inode)).collect();
        let header = header(files, None);
        let payload = newc(&names.iter().map(|name| (name.as_str(), &b"data"[..])).collect::<Vec<_>>());
        let start = Instant::now();
        let mut members = Members::new(&payload[..], &header);
        let mut count = 0;
        while members.next().unwrap().is_some() {
            count += 1;
        }
        assert_eq!(count, 16_000);
        // About 50 ms; a walk along a list for each member takes minutes in a debug build.
        assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn changed_payloads_never_panic_and_are_never_taken_for_the_right_ones(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        compressor in prop::sample::select(
            vec![None, Some("gzip"), Some("bzip2"), Some("xz"), Some("lzma"), Some("zstd")]
        ),
        is_short in any::<bool>(),
    ) {
        let (header, long, short) = mixed(compressor);
        let mut payload = if is_short { short } else { long };
        for (at, byte) in changes {
            let at = at.index(payload.len());
            payload[at] = byte;
        }
        for (ordinal, contents) in CONTENTS {
            if let Ok(out) = extracted(&payload, &header, ordinal) {
                prop_assert_eq!(out, contents);
            }
        }
    }
}
