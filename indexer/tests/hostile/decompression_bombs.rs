//! Small archives that decompress to gigabytes, in every compression.

use std::fs;
use std::fs::File;
use std::io::{self, Cursor, Write};

use artifact::header::Header;
use artifact::payload;
use compat_tests::scale;

use crate::builders::{Listed, Made, compress, elf, file, member};
use crate::limits;
use crate::support::{ImportFixture, RunOutput};

const COMPRESSORS: [Option<&str>; 6] = [None, Some("gzip"), Some("bzip2"), Some("xz"), Some("lzma"), Some("zstd")];

/// Returns the number of zeros in a bomb: the maximum of a member of a newc archive, without the ELF file before them.
fn zeros() -> u64 {
    scale(128 << 20, (4 << 30) - (1 << 20))
}

/// Imports a package of these files, whose archive is `head` and zeros. Without a compressor its file has a hole for
/// them.
fn import(
    files: &[Listed],
    compressor: Option<&'static str>,
    head: &[u8],
    args: &[&str],
) -> (ImportFixture, RunOutput) {
    let fixture = ImportFixture::new();
    let path = fixture.packages().join("bomb.rpm");
    let payload = if compressor.is_some() { compress(compressor, head, zeros()) } else { head.to_vec() };
    assert!(compressor.is_none() || payload.len() < (zeros() >> 7) as usize, "{compressor:?}: {} bytes", payload.len());
    let bytes = Made { compressor, ..Made::new("bomb", files, payload) }.bytes();
    fs::write(&path, &bytes).unwrap();
    if compressor.is_none() {
        File::options().write(true).open(&path).unwrap().set_len(bytes.len() as u64 + zeros()).unwrap();
    }
    let output = limits::import(&fixture, args);
    (fixture, output)
}

/// The archive of an ELF file, as it is before the zeros.
fn honest(elf: &[u8]) -> Vec<u8> {
    let mut head = member("./usr/bin/a", elf.len());
    head.extend_from_slice(elf);
    head.resize(head.len().next_multiple_of(4), 0);
    head
}

async fn artifacts(fixture: &ImportFixture) -> usize {
    fixture.index().await.records_by_nvra("bomb-1.0-1.x86_64").await.unwrap().records.len()
}

#[tokio::test]
async fn zeros_behind_the_requested_member_are_not_decompressed() {
    let elf = elf([1; 20]);
    for compressor in COMPRESSORS {
        let (fixture, output) = import(&[file("/usr/bin/a", elf.len())], compressor, &honest(&elf), &[]);
        output.counts(&[("imported", 1), ("payloads_read", 1), ("broken", 0)]);
        assert_eq!(artifacts(&fixture).await, 1, "{compressor:?}");
    }
}

#[tokio::test]
async fn zeros_before_the_requested_member_are_skipped() {
    // Members of the size that the header states are skipped, and stored neither in memory nor on disk.
    let elf = elf([2; 20]);
    for compressor in [Some("gzip"), Some("zstd")] {
        let fixture = ImportFixture::new();
        let mut payload = compress(compressor, &member("./usr/bin/0", zeros() as usize), zeros());
        payload.extend(compress(compressor, &honest(&elf), 0));
        let files = [file("/usr/bin/0", zeros() as usize), file("/usr/bin/a", elf.len())];
        fs::write(
            fixture.packages().join("bomb.rpm"),
            Made { compressor, ..Made::new("bomb", &files, payload) }.bytes(),
        )
        .unwrap();
        limits::import(&fixture, &[]).counts(&[("imported", 1), ("payloads_read", 1), ("broken", 0)]);
        assert_eq!(artifacts(&fixture).await, 1, "{compressor:?}");
    }
}

#[tokio::test]
async fn a_member_larger_than_its_header_states_is_refused_before_it_is_decompressed() {
    let elf = elf([3; 20]);
    for compressor in COMPRESSORS {
        let mut head = member("./usr/bin/a", elf.len() + zeros() as usize);
        head.extend_from_slice(&elf);
        let (fixture, output) = import(&[file("/usr/bin/a", elf.len())], compressor, &head, &[]);
        output.counts(&[("imported", 1), ("broken", 1)]);
        let wrong = format!("expected {} bytes of /usr/bin/a, found {}", elf.len(), elf.len() as u64 + zeros());
        assert!(output.stderr.contains(&wrong), "{compressor:?}: {output:?}");
        assert_eq!(artifacts(&fixture).await, 0, "{compressor:?}");
    }
}

#[tokio::test]
async fn an_elf_file_of_zeros_is_refused_before_it_fills_the_temporary_directory() {
    let elf = elf([4; 20]);
    let bytes = elf.len() + zeros() as usize;
    for compressor in COMPRESSORS {
        let mut head = member("./usr/bin/a", bytes);
        head.extend_from_slice(&elf);
        // The size of a hole equals that of its contents, so that only `--temp-limit` refuses it.
        let args: &[&str] = if compressor.is_some() { &[] } else { &["--temp-limit", "64MiB"] };
        let (fixture, output) = import(&[file("/usr/bin/a", bytes)], compressor, &head, args);
        output.counts(&[("imported", 1), ("broken", 1)]);
        assert!(output.stderr.contains("expected ELF files of at most "), "{compressor:?}: {output:?}");
        assert!(output.stderr.contains(&format!("found {bytes} bytes of /usr/bin/a")), "{compressor:?}: {output:?}");
        let packages = fixture.index().await.packages_by_nvra("bomb-1.0-1.x86_64").await.unwrap().read;
        assert!(packages[0].open && packages[0].locations[0].gone_at.is_none(), "{compressor:?}: {packages:?}");
    }
}

#[test]
fn a_tebibyte_that_only_the_header_announces_is_refused() {
    // The stripped archives of v6 packages have no sizes of their own.
    let fixture = ImportFixture::new();
    let mut payload = b"07070X00000000\0\0".to_vec();
    payload.extend(elf([5; 20]));
    let files = [Listed { size: 1 << 40, ..file("/usr/bin/a", 0) }];
    let compressor = Some("zstd");
    let payload = compress(compressor, &payload, zeros());
    fs::write(fixture.packages().join("bomb.rpm"), Made { compressor, ..Made::new("bomb", &files, payload) }.bytes())
        .unwrap();
    let output = limits::import(&fixture, &[]);
    output.counts(&[("imported", 1), ("broken", 1)]);
    assert!(output.stderr.contains("found 1099511627776 bytes of /usr/bin/a"), "{output:?}");
}

#[test]
fn windows_of_gigabytes_are_refused() {
    // Frame header of zstd: no size, a window of 2 GiB. Header of lzma: a dictionary of 4 GiB less one byte.
    let zstd = [&[0x28, 0xb5, 0x2f, 0xfd, 0x00, 0xa8][..], &[0; 64]].concat();
    let lzma = [&[0x5d, 0xff, 0xff, 0xff, 0xff][..], &[0xff; 8], &[0; 64]].concat();
    for (compressor, payload) in [("zstd", zstd), ("lzma", lzma)] {
        let fixture = ImportFixture::new();
        let package =
            Made { compressor: Some(compressor), ..Made::new("window", &[file("/usr/bin/a", 100_000)], payload) };
        fs::write(fixture.packages().join("window.rpm"), package.bytes()).unwrap();
        let output = limits::import(&fixture, &[]);
        output.counts(&[("imported", 1), ("broken", 1)]);
        assert!(output.stderr.contains("that needs at most 128 MiB of memory, found "), "{output:?}");
    }
}

#[test]
fn an_extraction_never_delivers_more_than_the_header_states() {
    struct Counted(u64);
    impl Write for Counted {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0 += bytes.len() as u64;
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let zeros = 32 << 20;
    for compressor in COMPRESSORS {
        for (announced, contents) in [(1_000, 1_000), (1_000, zeros), (zeros, 1_000)] {
            let archive = compress(compressor, &member("./a", contents), 40 << 20);
            let bytes = Made { compressor, ..Made::new("bomb", &[file("/a", announced)], archive) }.bytes();
            let header = Header::parse(&bytes).unwrap();
            let mut payload = Cursor::new(&bytes[header.range.end as usize..]);
            let mut out = Counted(0);
            let extracted = payload::extract_member(&mut payload, &header, 0, &mut out);
            assert_eq!(extracted.is_ok(), announced == contents, "{compressor:?}: {extracted:?}");
            assert_eq!(out.0, if announced == contents { announced as u64 } else { 0 }, "{compressor:?}");
        }
    }
}
