use super::*;
use crate::RefusedPackage;

const PACKAGES: &str = include_str!("../../tests/samples/Packages");
const RELEASE: &str = include_str!("../../tests/samples/Release");

fn list(text: &[u8]) -> (Result<ListingSummary, String>, Vec<Listed>) {
    let mut listed = Vec::new();
    let summary = read_packages(text, |one| {
        listed.push(one);
        ControlFlow::Continue(())
    });
    (summary.map_err(|error| error.to_string()), listed)
}

fn package(listed: &Listed) -> &ListedPackage {
    match listed {
        Listed::Package(package) => package,
        Listed::Refused(refused) => panic!("{refused:?}"),
    }
}

#[test]
fn packages_of_dpkg_scanpackages_are_read() {
    let (summary, listed) = list(PACKAGES.as_bytes());
    assert_eq!(summary.unwrap().package_count, 2);
    let main = package(&listed[0]);
    assert_eq!(main.nevra.nvra(), "libx1-1.4-rc1-3+b1.amd64");
    assert_eq!((main.nevra.epoch, main.nevra.release.as_str()), (Some(2), "3+b1"));
    assert_eq!(main.source_rpm.as_deref(), Some("x_1.4-rc1-3.dsc"));
    assert_eq!(main.href.target().unwrap(), crate::href::Target::Below("pool/libx1.deb".into()));
    assert_eq!(main.checksum.kind(), Kind::Sha256);
    assert!(main.build_ids.is_empty() && main.size.is_some());
    let debug = package(&listed[1]);
    let ids: Vec<String> = debug.build_ids.iter().map(ToString::to_string).collect();
    assert_eq!(ids, ["44c0baa66fcb59679412d73d4b5188a6077422e3", "603a983df20b2b4f046613dac440cac19f905584"]);
}

#[test]
fn rubbish_is_counted_and_what_lacks_a_field_is_refused() {
    let text = "Package: a\nVersion: 1\nArchitecture: all\nFilename: ./a.deb\n\
                MD5sum: 900150983cd24fb0d6963f7d28e17f72\n\
                Build-Ids: nilnil 0123456789abcdef\n  0123456789abcdef zz\nDescription: caf\u{e9}\n\n\n\
                package: b\nVersion: 1\nArchitecture: all\nFilename: b.deb\n\n\
                Package: c\r\nVersion: x:1\r\nArchitecture: all\r\n";
    let (summary, listed) = list(text.as_bytes());
    assert_eq!(summary, Ok(ListingSummary { package_count: 3, refused_count: 2, stated_count: None }));
    assert_eq!((package(&listed[0]).build_ids.len(), package(&listed[0]).rubbish_count), (1, 2));
    assert_eq!(package(&listed[0]).checksum.kind(), Kind::Md5);
    let refused = |listed: &Listed| match listed {
        Listed::Refused(refused) => refused.clone(),
        Listed::Package(package) => panic!("{package:?}"),
    };
    let reason = "expected a field SHA256 or another checksum, found none".into();
    let href = Some(Href { base: None, href: "b.deb".into() });
    assert_eq!(refused(&listed[1]), RefusedPackage { name: "b 1 all".into(), reason, href });
    let without_href = refused(&listed[2]);
    assert_eq!(without_href.href, None);
    assert!(without_href.reason.contains("expected a number before the colon of a version"));
    assert!(list(b"Description: \xe4\n").0.is_ok());
}

#[test]
fn other_documents_are_no_packages() {
    for (text, message) in [
        ("<html>\n", "Packages, line 1: expected FIELD: VALUE, found \"<html>\""),
        ("<!DOCTYPE html PUBLIC \"http://x\">\n", "line 1: expected FIELD: VALUE"),
        ("{\"error\": 404}\n", "line 1: expected FIELD: VALUE"),
        (" continued\n", "line 1: expected FIELD: VALUE"),
        ("Package: a\n\n continued\n", "line 3: expected FIELD: VALUE"),
        (&format!("Package: {}", "a".repeat(5 << 20)), "line 1: expected lines of at most 4 MiB, found a longer one"),
    ] {
        let error = list(text.as_bytes()).0.unwrap_err();
        assert!(error.contains(message), "{error}");
    }
    assert_eq!(list(b"").0.unwrap().package_count, 0);
}

#[test]
fn a_release_names_its_index_files() {
    let release = Release::parse(RELEASE).unwrap();
    assert_eq!((release.suite.as_deref(), release.codename.as_deref()), (Some("stable"), Some("bookworm")));
    assert!(release.has_by_hash && release.date.is_some() && release.valid_until.is_none());
    assert_eq!(release.package_lists(), ["main/binary-amd64/Packages"]);
    let plain = release.find("main/binary-amd64/Packages").unwrap();
    assert_eq!(plain.size, PACKAGES.len() as u64);
    assert_eq!(plain.checksum(), Some(&Checksum::of(Kind::Sha256, PACKAGES.as_bytes())));
    assert_eq!(plain.checksums.len(), 2);
    let best = release.find_compressed("main/binary-amd64/Packages").unwrap();
    assert_eq!(best.path, "main/binary-amd64/Packages.xz");
    assert_eq!(release.find_compressed("main/binary-arm64/Packages"), None);
}

#[test]
fn broken_releases_are_refused() {
    let digits = "900150983cd24fb0d6963f7d28e17f72";
    for (text, message) in [
        ("Suite: x\n".into(), "expected index files with checksums, found none"),
        ("<html>".into(), "Release, line 1: expected FIELD: VALUE"),
        (format!("MD5Sum:\n {digits}\n"), "Release, line 2: expected md5, size and path of a file"),
        (format!("MD5Sum:\n {digits} x a\n"), "expected md5, size and path"),
        (format!("SHA256:\n {digits} 1 a\n"), "expected sha256, size and path"),
        (
            format!("MD5Sum:\n {digits} 1 a\nSHA1:\n a9993e364706816aba3e25717850c26c9cd0d89d 2 a\n"),
            "Release, line 4: expected 1 bytes of a, found 2",
        ),
    ] {
        let error = Release::parse(&text).unwrap_err().to_string();
        assert!(error.contains(message), "{error}");
    }
}

#[test]
fn clearsigned_files_are_split() {
    let signed = "-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA512\n\nSuite: x\n- -dashed\n\nend\n\
                  -----BEGIN PGP SIGNATURE-----\n\niHUEAR\n-----END PGP SIGNATURE-----\n";
    let split = split_clearsigned(signed).unwrap().unwrap();
    assert_eq!(split.text, "Suite: x\n-dashed\n\nend\n");
    assert!(split.signature.starts_with("-----BEGIN PGP SIGNATURE-----\n\niHUEAR\n-----END"));
    assert_eq!(split_clearsigned("Suite: x\n").unwrap(), None);
    assert_eq!(split_clearsigned("").unwrap(), None);
    for (broken, message) in [
        (signed.replace("Hash: ", "Charset: "), "line 2: expected a header Hash, or an empty line"),
        (signed.replace("- -dashed", "-dashed"), "line 5: expected a line that is dash-escaped, found \"-dashed\""),
        (format!("{signed}Suite: y\n"), "line 12: expected the end of the file, found \"Suite: y\""),
        (signed.replace("-----END PGP SIGNATURE-----\n", ""), "expected -----END PGP SIGNATURE-----, found the end"),
        ("-----BEGIN PGP SIGNED MESSAGE-----\n\nx\n".into(), "expected -----BEGIN PGP SIGNATURE-----, found the end"),
    ] {
        let error = split_clearsigned(&broken).unwrap_err().to_string();
        assert!(error.starts_with("InRelease, ") && error.contains(message), "{error}");
    }
}
