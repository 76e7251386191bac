//! The real thing: every fixture package of `compat-tests/fixtures` (its README says what they hold) through headers,
//! links, classes, payload and notes, compared with what other tools found in them.

#![expect(clippy::unwrap_used, reason = "a test may stop at what it did not expect")]

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, BufReader, Cursor, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use artifact::header::{Class, Header};
use artifact::{Artifact, Kind, artifacts, elf, payload, scan};

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../compat-tests/fixtures")
}

/// Every package, by its path below `rpms/`.
fn packages() -> Vec<(String, PathBuf)> {
    let root = fixtures().join("rpms");
    let mut packages = Vec::new();
    for family in fs::read_dir(&root).unwrap_or_else(|error| panic!("{}: {error}", root.display())) {
        for package in fs::read_dir(family.unwrap().path()).unwrap() {
            let path = package.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "rpm") {
                packages.push((path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned(), path));
            }
        }
    }
    packages.sort();
    assert!(packages.len() > 40, "expected more than 40 packages below {}, found {}", root.display(), packages.len());
    packages
}

/// The header of a package, and the file where its payload begins.
fn open(path: &Path) -> (Header, BufReader<File>) {
    let mut file = BufReader::new(File::open(path).unwrap());
    let header = Header::read(&mut file).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    assert_eq!(file.stream_position().unwrap(), header.range.end, "{}", path.display());
    (header, file)
}

/// What the indexer finds: the header's artifacts and those of the open files.
fn all_artifacts(path: &Path) -> Vec<Artifact> {
    let (header, payload) = open(path);
    let found = artifacts::from_header(&header);
    let mut all = scan::scan_files(payload, &header, &found.open, u64::MAX)
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    all.extend(found.artifacts);
    all
}

fn truth() -> BTreeSet<(String, String, String)> {
    let text = fs::read_to_string(fixtures().join("truth.tsv")).unwrap();
    let row = |line: &str| {
        let columns: Vec<&str> = line.split('\t').collect();
        let [rpm, build_id, path] = columns[..] else { panic!("expected three columns, found {line:?}") };
        (rpm.to_owned(), build_id.to_owned(), path.to_owned())
    };
    text.lines().map(row).collect()
}

#[test]
fn header_and_payload_together_give_every_build_id() {
    let mut found = BTreeSet::new();
    for (name, path) in packages() {
        let artifacts = all_artifacts(&path);
        found
            .extend(artifacts.into_iter().map(|artifact| (name.clone(), artifact.build_id.to_string(), artifact.path)));
    }
    let truth = truth();
    let missing: Vec<_> = truth.difference(&found).collect();
    let invented: Vec<_> = found.difference(&truth).collect();
    assert!(missing.is_empty() && invented.is_empty(), "missing: {missing:#?}\ninvented: {invented:#?}");
}

#[test]
fn the_payload_alone_gives_every_build_id() {
    let mut found = BTreeSet::new();
    for (name, path) in packages() {
        let (header, payload) = open(&path);
        let every: Vec<u32> =
            (0..).zip(&header.files).filter(|(_, file)| file.is_regular()).map(|(at, _)| at).collect();
        for artifact in
            scan::scan_files(payload, &header, &every, u64::MAX).unwrap_or_else(|error| panic!("{name}: {error}"))
        {
            found.insert((name.clone(), artifact.build_id.to_string(), artifact.path));
        }
    }
    assert_eq!(found, truth());
}

#[test]
fn header_and_payload_agree_on_kinds_and_dwarf() {
    for (name, path) in packages() {
        let (header, payload) = open(&path);
        let said = artifacts::from_header(&header).artifacts;
        let ordinals: Vec<u32> = said.iter().map(|artifact| artifact.ordinal).collect();
        let seen = scan::scan_files(payload, &header, &ordinals, u64::MAX).unwrap();
        assert_eq!(said.len(), seen.len(), "{name}: {said:#?}, {seen:#?}");
        for (artifact, twin) in said.iter().zip(&seen) {
            let certain = Artifact { dwarf: twin.dwarf, kind: twin.kind, ..artifact.clone() };
            assert_eq!(certain, *twin, "{name}");
            assert!(artifact.kind == Kind::Unknown || artifact.kind == twin.kind, "{name}: {artifact:?}, {twin:?}");
            assert!(artifact.dwarf.is_none() || artifact.dwarf == twin.dwarf, "{name}: {artifact:?}, {twin:?}");
            // Without libmagic's text the header cannot know that a program is not stripped.
            let has_text = matches!(header.files[artifact.ordinal as usize].class, Class::Text(_));
            let (listed, seen) = (artifact.listed_types(), twin.listed_types());
            assert!(
                listed == seen || !has_text && listed.iter().all(|listed| seen.contains(listed)),
                "{name}: {artifact:?}, {twin:?}"
            );
        }
    }
}

#[test]
fn every_regular_file_of_every_package_can_be_extracted_and_has_its_digest() {
    let mut digests = 0;
    for (name, path) in packages() {
        let (header, mut archive) = open(&path);
        for (ordinal, file) in (0..).zip(&header.files).filter(|(_, file)| file.is_regular()) {
            archive.seek(SeekFrom::Start(header.range.end)).unwrap();
            let mut out = Vec::new();
            payload::extract_member(&mut archive, &header, ordinal, &mut out)
                .unwrap_or_else(|error| panic!("{name}: {}: {error}", file.path));
            assert_eq!(out.len() as u64, file.size, "{name}: {}", file.path);
            digests += usize::from(file.digest.is_some());
        }
    }
    assert!(digests > 100, "{digests}");
}

#[test]
fn sections_of_an_extracted_program_are_read() {
    let path = fixtures().join("rpms/payloads/payload-xz-1.0-1.fc99.x86_64.rpm");
    let (header, archive) = open(&path);
    let (ordinal, _) = header.file("/usr/bin/payload-xz").unwrap();
    let mut program = Cursor::new(Vec::new());
    payload::extract_member(archive, &header, ordinal, program.get_mut()).unwrap();
    let elf = elf::read_elf(&mut program).unwrap().unwrap();
    assert_eq!(elf.kind, Some(Kind::Both));
    let early = elf::early_build_id(&program.get_ref()[..4096.min(program.get_ref().len())]);
    assert_eq!(Some(early), elf.build_id.clone().map(elf::EarlyBuildId::Found));
    let note = elf::find_section(&mut program, ".note.gnu.build-id").unwrap().unwrap();
    let note = &program.get_ref()[note.start as usize..note.end as usize];
    assert_eq!(&note[16..], elf.build_id.unwrap().as_bytes());
}

/// Packages whose headers differ in shape: v4 with zstd, rewritten as of old, v3, v6 and one with LONGFILESIZES.
const SHAPES: [&str; 5] = [
    "fedora-compat/bidtest-1.2~rc1-4.fc99.x86_64.rpm",
    "old-classes/oldtool-1.0-3.el7.x86_64.rpm",
    "v3/ancient-1.0-1.x86_64.rpm",
    "v6/sixpack-6.0-1.fc99.x86_64.rpm",
    "largefile/largefile-6.0-1.fc99.x86_64.rpm",
];

#[test]
fn a_header_with_a_changed_byte_is_read_or_refused_and_quickly() {
    for name in SHAPES {
        let mut bytes = fs::read(fixtures().join("rpms").join(name)).unwrap();
        let header = Header::parse(&bytes).unwrap();
        let end = header.range.end as usize;
        bytes.truncate(end);
        let start = Instant::now();
        let mut accepted = 0;
        // A prime step touches every part of the header; the index is where harm is done, so every byte of its first
        // entries.
        let places = (0..600.min(end)).chain((600..end).step_by(compat_tests::scale(7, 1)));
        for (round, at) in places.enumerate() {
            let old = bytes[at];
            let one_bit = (0..compat_tests::scale(1, 8)).map(|bit| old ^ 1 << ((round + bit) % 8));
            for new in one_bit.chain([0xff, 0]) {
                bytes[at] = new;
                if let Ok(header) = Header::parse(&bytes) {
                    accepted += 1;
                    // What is accepted must be usable.
                    let found = artifacts::from_header(&header);
                    let _ = scan::scan_files(io::empty(), &header, &found.open, u64::MAX);
                }
            }
            bytes[at] = old;
        }
        // Signatures have room for changes that nothing notices.
        assert!(accepted > 0, "{name}");
        assert!(start.elapsed() < Duration::from_secs(compat_tests::scale(60, 1800)), "{name}: {:?}", start.elapsed());
    }
}

#[test]
fn a_truncated_header_is_refused() {
    for name in SHAPES {
        let bytes = fs::read(fixtures().join("rpms").join(name)).unwrap();
        let end = Header::parse(&bytes).unwrap().range.end as usize;
        for length in (0..end).step_by(3).chain(end - 3..end) {
            assert!(Header::parse(&bytes[..length]).is_err(), "{name}: {length}");
            assert!(Header::read(&mut &bytes[..length]).is_err(), "{name}: {length}");
        }
        assert!(Header::parse(&bytes[..end]).is_ok());
    }
}

#[test]
fn a_changed_payload_is_never_taken_for_the_right_one() {
    for name in ["payloads/payload-lzma-1.0-1.fc99.x86_64.rpm", "payloads/payload-none-1.0-1.fc99.x86_64.rpm"]
        .into_iter()
        .chain(SHAPES)
    {
        let mut bytes = fs::read(fixtures().join("rpms").join(name)).unwrap();
        let header = Header::parse(&bytes).unwrap();
        let start = header.range.end as usize;
        let ordinals: Vec<u32> =
            (0..).zip(&header.files).filter(|(_, file)| file.is_regular()).map(|(at, _)| at).collect();
        let right: Vec<Vec<u8>> = ordinals
            .iter()
            .map(|ordinal| {
                let mut out = Vec::new();
                payload::extract_member(&bytes[start..], &header, *ordinal, &mut out).unwrap();
                out
            })
            .collect();
        let step = ((bytes.len() - start) / 60).max(1);
        for at in (start..bytes.len()).step_by(step) {
            bytes[at] ^= 0x10;
            for (ordinal, right) in ordinals.iter().zip(&right) {
                let mut out = Vec::new();
                if payload::extract_member(&bytes[start..], &header, *ordinal, &mut out).is_ok() {
                    assert_eq!(&out, right, "{name}: {at}");
                }
            }
            bytes[at] ^= 0x10;
        }
    }
}
