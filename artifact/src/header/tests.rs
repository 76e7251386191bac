//! Headers of fixtures, of inputs found by fuzzing and of changed packages, compared with what the `rpm` crate reads.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use compat_tests::ima::Signer;

use super::*;
use crate::artifacts;
use rpm_crate::compare;

mod rpm_crate;

#[test]
fn fixtures_are_read_as_the_rpm_crate_reads_them_whole() {
    let mut archives = Vec::new();
    for family in root_dir_paths("compat-tests/fixtures/rpms") {
        archives.extend(
            paths_in(&family).into_iter().filter(|path| path.extension().is_some_and(|ending| ending == "rpm")),
        );
    }
    assert!(archives.len() > 40, "{archives:?}");
    for archive in archives {
        let bytes = fs::read(&archive).unwrap();
        assert!(compare(&bytes), "{}", archive.display());
    }
}

#[test]
fn signatures_of_files_are_read_as_the_rpm_crate_reads_them_whole() {
    let (signer, dir) = (Signer::make("ec"), tempfile::tempdir().unwrap());
    for family in ["fedora-compat", "v6", "old-classes"] {
        for rpm in compat_tests::fixtures::rpms(family) {
            let signed = signer.sign(&rpm, dir.path());
            let bytes = fs::read(&signed).unwrap();
            assert!(compare(&bytes));
            let header = Header::parse(&bytes).unwrap();
            let hex = |file: &File| file.signature.as_deref().map(faster_hex::hex_string).unwrap_or_default();
            let found: Vec<_> = header.files.iter().map(|file| (file.path.clone(), hex(file))).collect();
            assert_eq!(found, compat_tests::ima::signatures(&signed), "rpm shows others");
            // The unsigned package has the same identity. It takes the signatures from its own signature header, as
            // Koji stores it, and refuses that of another package.
            let mut unsigned = Header::parse(&fs::read(&rpm).unwrap()).unwrap();
            assert_eq!((unsigned.package.identity, unsigned.has_file_signatures()), (header.package.identity, false));
            let apart = dir.path().join("apart");
            signer.sign_header(&rpm, &apart);
            let apart = fs::read(apart).unwrap();
            let has_digest = family != "old-classes";
            let taken = unsigned.set_file_signatures(&apart);
            assert!(
                if has_digest { taken.unwrap() == header.has_file_signatures() } else { taken.is_err() },
                "{rpm:?}"
            );
            assert_eq!(unsigned.has_file_signatures(), has_digest && header.has_file_signatures());
            for end in 0..apart.len() {
                assert!(unsigned.set_file_signatures(&apart[..end]).is_err(), "{end}");
            }
            unsigned.package.identity = Identity::from_bytes([0; 32]);
            assert!(unsigned.set_file_signatures(&apart).is_err());
        }
    }
}

#[test]
fn inputs_of_fuzzing_are_read_as_the_rpm_crate_reads_them_whole() {
    let inputs = root_dir_paths("fuzz/corpus/header").into_iter().chain(root_dir_paths("fuzz/regressions/header"));
    let accepted: Vec<bool> = inputs.map(|input| compare(&fs::read(input).unwrap())).collect();
    assert!(accepted.contains(&true) && accepted.contains(&false), "{}", accepted.len());
}

#[test]
fn changed_headers_are_read_as_the_rpm_crate_reads_them_whole() {
    for name in [
        "fedora-compat/bidtest-1.2~rc1-4.fc99.x86_64.rpm",
        "old-classes/oldtool-1.0-3.el7.x86_64.rpm",
        "v3/ancient-1.0-1.x86_64.rpm",
        "v6/sixpack-6.0-1.fc99.x86_64.rpm",
        "largefile/largefile-6.0-1.fc99.x86_64.rpm",
    ] {
        let mut bytes = fs::read(root().join("compat-tests/fixtures/rpms").join(name)).unwrap();
        let extent = structure::check(&bytes).unwrap().extent;
        bytes.truncate(extent.end);
        // The tag of the main header's digest is changed, so that a changed header is not refused for its digest.
        let digest = Identity::from_bytes(Sha256::digest(&bytes[extent.main_start..]).into()).to_string();
        let tag = bytes[..extent.main_start].windows(4).position(|window| window == 273_u32.to_be_bytes());
        if bytes.windows(digest.len()).any(|window| window == digest.as_bytes()) {
            bytes[tag.unwrap() + 3] ^= 0x80;
        }
        let mut outcomes = [0, 0];
        let step = compat_tests::scale(11, 1);
        for (round, at) in (0..700.min(extent.end)).chain((700..extent.end).step_by(step)).enumerate() {
            let old = bytes[at];
            for new in [old ^ 1 << (round % 8), 0xff, 0] {
                bytes[at] = new;
                outcomes[usize::from(compare(&bytes))] += 1;
            }
            bytes[at] = old;
        }
        assert!(outcomes.iter().all(|count| *count > 10), "{name}: {outcomes:?}");
    }
}

/// In each of these packages one tag of the main header is missing, has another type, fewer or more rows, or unusual
/// contents. rpm accepts them all (`rpm -qp`).
#[test]
fn a_package_that_rpm_accepts_is_not_refused_for_one_odd_tag() {
    let rpm = root().join("compat-tests/fixtures/rpms/fedora-compat/bidtest-1.2~rc1-4.fc99.x86_64.rpm");
    let (dir, sound) = (tempfile::tempdir().unwrap(), Header::parse(&fs::read(&rpm).unwrap()).unwrap());
    let script = root().join("compat-tests/fixtures/make/odd_tags.py");
    let mut python = Command::new("python3");
    let made = python.env("PYTHONDONTWRITEBYTECODE", "1").arg(script).arg(&rpm).arg(dir.path()).status().unwrap();
    assert!(made.success());
    let mut archives = paths_in(dir.path());
    archives.sort();
    assert!(archives.len() > 300, "{}", archives.len());
    let mut refused = 0;
    for archive in archives {
        let (bytes, name) = (fs::read(&archive).unwrap(), archive.file_stem().unwrap().to_str().unwrap().to_owned());
        let mut rpm = Command::new("rpm");
        let queried = rpm.args(["-qp", "--nosignature", "--nodigest"]).arg(&archive).output().unwrap();
        // rpm 4.18 crashes on some of them.
        if !queried.status.success() {
            refused += 1;
        }
        let is_read = |header: &Header| !header.package.nevra.name.is_empty() && header.package.nevra.arch.len() > 2;
        let header = Header::parse(&bytes).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(is_read(&header), "{name}: {:?}", header.package.nevra);
        // Tags that do not concern build-ids change no artifact. The payload is read whichever compressor the header
        // names.
        let (tag, _) = name.split_once('-').unwrap();
        if !["1028", "1030", "1036", "1037", "1096", "1116", "1117", "1118", "1141", "1142"].contains(&tag) {
            assert_eq!(artifacts::from_header(&header).artifacts, artifacts::from_header(&sound).artifacts, "{name}");
        }
        if tag == "1125" {
            let (ordinal, _) =
                header.files.iter().enumerate().find(|(_, file)| file.is_regular() && file.size > 0).unwrap();
            let (ordinal, payload) =
                (u32::try_from(ordinal).unwrap(), &bytes[usize::try_from(header.range.end).unwrap()..]);
            crate::payload::extract_member(payload, &header, ordinal, &mut Vec::new())
                .unwrap_or_else(|error| panic!("{name}: {error}"));
        }
    }
    assert!(refused < 10, "{refused}");
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn root_dir_paths(path: &str) -> Vec<PathBuf> {
    paths_in(&root().join(path))
}

fn paths_in(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
    entries.map(|entry| entry.unwrap().path()).collect()
}

#[test]
fn a_damaged_header_does_not_match_its_digest_of_either_algorithm() {
    for (path, name, algorithm) in [
        ("old-classes/oldtool-1.0-3.el7.x86_64.rpm", &b"oldtool-1.0-3.el7.src.rpm"[..], "SHA-1"),
        ("payloads/payload-none-1.0-1.fc99.x86_64.rpm", b"payload-none-1.0-1.fc99.src.rpm", "SHA-256"),
    ] {
        let path = format!("{}/../compat-tests/fixtures/rpms/{path}", env!("CARGO_MANIFEST_DIR"));
        let mut bytes = fs::read(path).unwrap();
        assert!(Header::parse(&bytes).is_ok());
        let at = bytes.windows(name.len()).position(|window| window == name).unwrap();
        bytes[at + 2] ^= 1;
        let error = Header::parse(&bytes).unwrap_err().to_string();
        assert!(error.starts_with(&format!("main header: expected {algorithm} ")), "{error}");
    }
}
