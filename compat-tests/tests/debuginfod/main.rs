//! The debuginfod web API of the gateway, for archives on its own disk: `debuginfod-find` as a client, and requests as
//! bytes on a socket for what no client does.

#![expect(clippy::unwrap_used, reason = "helpers of tests: a failure here is a failed test, and shows where")]

mod cache;
mod checklist;
mod downloads;
mod ima;
mod llvm;
mod other_packages;
mod responses;
mod sections;
mod sources;

use std::collections::BTreeSet;
use std::process::Command;

use compat_tests::darkserver::{RunningGateway, Sqlite, import_ok};
use compat_tests::debuginfod::DebuginfodClient;
use compat_tests::fixtures::{self, Truth};
use compat_tests::http::Response;
use compat_tests::process::run;

/// A package whose debuginfo refers to a file of dwz, and whose sources are in -debugsource.
const BIDTEST: &str = "bidtest-1.2~rc1-4.fc99";

const SOURCES: &str = "/usr/src/debug/bidtest-1.2~rc1-4.fc99.x86_64";

/// A gateway for these families.
fn gateway(families: &[&str]) -> (Sqlite, RunningGateway) {
    let directories: Vec<_> = families.iter().map(|family| fixtures::family(family)).collect();
    let index = Sqlite::with_packages(&directories.iter().map(|directory| directory.as_path()).collect::<Vec<_>>());
    let gateway = RunningGateway::start(&index.url());
    (index, gateway)
}

/// The build-id of a member.
fn build_id(family: &str, path: &str) -> String {
    fixtures::truth(family)
        .into_iter()
        .find(|row| row.path == path)
        .unwrap_or_else(|| panic!("{path} in {family}"))
        .build_id
}

fn member(family: &str, nvra: &str, path: &str) -> Vec<u8> {
    fixtures::member(&fixtures::package(family, nvra), path)
}

fn member_of(row: &Truth) -> Vec<u8> {
    fixtures::member(&fixtures::rpm(&row.rpm), &row.path)
}

/// True, true if an ELF file is an executable, and if it is debuginfo, by binutils.
fn kinds(elf: &[u8]) -> (bool, bool) {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), elf).unwrap();
    let output = run(Command::new("readelf").arg("-SW").arg(file.path()), "binutils");
    let text = String::from_utf8(output.stdout).unwrap();
    let has = |name: &str, kind: &str| {
        text.lines().any(|line| {
            let mut words = line.split(']').nth(1).unwrap_or_default().split_whitespace();
            words.next() == Some(name) && words.next() == Some(kind)
        })
    };
    let executable = has(".text", "PROGBITS");
    (executable, has(".debug_info", "PROGBITS") || (has(".symtab", "SYMTAB") && !executable))
}

fn etag(answer: &Response) -> String {
    let etag = answer.header("etag").unwrap();
    assert!(etag.starts_with('"') && etag.ends_with('"'), "expected a strong ETag, found {etag}");
    etag.to_owned()
}

#[test]
fn every_build_id_of_every_family_gives_its_members_by_kind() {
    for family in fixtures::families() {
        let (_index, gateway) = gateway(&[&family]);
        let truth = fixtures::truth_with_bytes(&family);
        assert!(!truth.is_empty(), "{family}: expected rows in truth.tsv");
        for build_id in truth.iter().map(|(row, _)| &row.build_id).collect::<BTreeSet<_>>() {
            for (word, is_executable) in [("executable", true), ("debuginfo", false)] {
                let of_kind = |elf: &[u8]| match (is_executable, kinds(elf)) {
                    (true, (executable, _)) => executable,
                    (false, (_, debuginfo)) => debuginfo,
                };
                let rows: Vec<_> =
                    truth.iter().filter(|(row, bytes)| row.build_id == *build_id && of_kind(bytes)).collect();
                let answer = gateway.get(&format!("/buildid/{build_id}/{word}"));
                if rows.is_empty() {
                    assert_eq!(answer.status, 404, "{family}: {build_id}/{word}");
                    continue;
                }
                assert_eq!(answer.status, 200, "{family}: {build_id}/{word}: {}", gateway.log());
                let (row, bytes) = named(&rows, &answer);
                assert!(
                    answer.body == *bytes,
                    "{family}: {build_id}/{word}: other bytes than {} in {}",
                    row.path,
                    row.rpm
                );
                assert_eq!(answer.header("x-debuginfod-size"), Some(&*bytes.len().to_string()));
            }
        }
    }
}

#[test]
fn reading_the_payload_determines_kinds_that_the_header_lacks() {
    let index = Sqlite::empty();
    let directory = fixtures::family("v6");
    import_ok(&index.url(), &["dir", directory.to_str().unwrap(), "--payload", "always"]);
    let gateway = RunningGateway::start(&index.url());
    let (row, bytes) =
        fixtures::truth_with_bytes("v6").into_iter().find(|(row, _)| row.path == "/usr/bin/sixpack").unwrap();
    for word in ["executable", "debuginfo"] {
        assert!(gateway.get(&format!("/buildid/{}/{word}", row.build_id)).body == bytes, "{word}: other bytes");
    }
}

/// The row that an answer's headers name.
fn named<'a>(rows: &[&'a (Truth, Vec<u8>)], answer: &Response) -> &'a (Truth, Vec<u8>) {
    let (file, archive) = (answer.header("x-debuginfod-file"), answer.header("x-debuginfod-archive"));
    let is_named = |(row, _): &(Truth, _)| Some(&*row.path) == file && Some(&*format!("{}.rpm", row.nvra())) == archive;
    rows.iter()
        .find(|row| is_named(row))
        .unwrap_or_else(|| panic!("expected one of the rows of truth.tsv, found {file:?} in {archive:?}"))
}

#[test]
fn debuginfod_find_gets_executables_debuginfo_and_sources_of_old_and_new_packages() {
    for (family, release, debuginfo, source) in [
        (
            "fedora-compat",
            "bidtest-1.2~rc1-4.fc99.x86_64",
            "/usr/lib/debug/usr/bin/a-1.2~rc1-4.fc99.x86_64.debug",
            "src/a.c",
        ),
        (
            "fedora-alldebug",
            "bidtest-1.2~rc1-4.fc99.x86_64",
            "/usr/lib/debug/usr/bin/a-1.2~rc1-4.fc99.x86_64.debug",
            "src/a.c",
        ),
        (
            "fedora-none",
            "bidtest-1.2~rc1-4.fc99.x86_64",
            "/usr/lib/debug/usr/bin/a-1.2~rc1-4.fc99.x86_64.debug",
            "src/a.c",
        ),
        ("old-classes", "oldtool-1.0", "/usr/lib/debug/usr/bin/oldtool.debug", "src/oldtool.c"),
        ("old-noclasses", "oldtool-1.0", "/usr/lib/debug/usr/bin/oldtool.debug", "src/oldtool.c"),
    ] {
        let (_index, gateway) = gateway(&[family]);
        let client = DebuginfodClient::new(&gateway.url());
        let truth = fixtures::truth(family);
        let row = truth.iter().find(|row| row.path == debuginfo).unwrap();
        // Copies of one program with one build-id differ in their .gnu_debuglink.
        let executable = client.found(&["executable", &row.build_id]);
        let mut copies = truth.iter().filter(|other| other.build_id == row.build_id && !other.path.ends_with(".debug"));
        assert!(copies.any(|copy| member_of(copy) == executable), "{family}: another executable");
        assert!(client.found(&["debuginfo", &row.build_id]) == member_of(row), "{family}: other debuginfo");
        let source = format!("/usr/src/debug/{release}/{source}");
        let rpms = fixtures::rpms(family);
        let holder = if family.starts_with("old") { "-debuginfo-" } else { "-debugsource-" };
        let rpm = rpms.iter().find(|rpm| rpm.to_string_lossy().contains(holder)).unwrap();
        assert_eq!(client.found(&["source", &row.build_id, &source]), fixtures::member(rpm, &source), "{family}");
        // The second request is answered by the client's cache.
        let before = gateway.metric("gateway_requests_total{endpoint=\"debuginfo\",status=\"200\"}");
        assert!(
            client.found(&["debuginfo", &row.build_id]) == member_of(row),
            "{family}: other debuginfo out of the cache"
        );
        assert_eq!(gateway.metric("gateway_requests_total{endpoint=\"debuginfo\",status=\"200\"}"), before, "{family}");
    }
}

#[test]
fn debuginfod_find_reports_an_absent_file() {
    let (_index, gateway) = gateway(&["server"]);
    let output = DebuginfodClient::new(&gateway.url()).find(&["debuginfo", "00112233445566778899aabbccddeeff00112233"]);
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("No such file or directory"), "{said}");
}

#[test]
fn of_two_files_with_one_build_id_the_one_with_dwarf_is_the_debuginfo() {
    let (_index, gateway) = gateway(&["dwarf-twins"]);
    let path = "/usr/lib/debug/usr/bin/twin.debug";
    let answer = gateway.get(&format!("/buildid/{}/debuginfo", build_id("dwarf-twins", path)));
    assert_eq!(answer.header("x-debuginfod-archive"), Some("twin-full-1.0-1.fc99.x86_64.rpm"));
    assert!(answer.body == member("dwarf-twins", "twin-full-1.0-1.fc99.x86_64", path), "other bytes");
    assert_eq!(answer.header("cache-control"), Some("public, max-age=604800, immutable"));
}

#[test]
fn a_file_without_certain_dwarf_may_be_cached_for_an_hour_only() {
    let directory = tempfile::tempdir().unwrap();
    fixtures::copy(&[fixtures::package("dwarf-twins", "twin-stripped-1.0-1.fc99.x86_64")], directory.path());
    let index = Sqlite::with_packages(&[directory.path()]);
    let gateway = RunningGateway::start(&index.url());
    let id = build_id("dwarf-twins", "/usr/lib/debug/usr/bin/twin.debug");
    let answer = gateway.get(&format!("/buildid/{id}/debuginfo"));
    assert_eq!((answer.status, answer.header("cache-control")), (200, Some("public, max-age=3600")));
    let section = gateway.get(&format!("/buildid/{id}/section/.symtab"));
    assert_eq!((section.status, section.header("cache-control")), (200, Some("public, max-age=604800, immutable")));
}

#[test]
fn dwz_files_are_found_by_the_id_that_gnu_debugaltlink_names() {
    for (family, debuginfo) in [
        ("fedora-compat", "/usr/lib/debug/usr/bin/a-1.2~rc1-4.fc99.x86_64.debug"),
        ("old-classes", "/usr/lib/debug/usr/bin/oldtool.debug"),
    ] {
        let (_index, gateway) = gateway(&[family]);
        let link = gateway.get(&format!("/buildid/{}/section/.gnu_debugaltlink", build_id(family, debuginfo)));
        assert_eq!(link.status, 200, "{family}");
        let name = link.body.split(|byte| *byte == 0).next().unwrap();
        let id: String = link.body[name.len() + 1..].iter().map(|byte| format!("{byte:02x}")).collect();
        let row = fixtures::truth(family).into_iter().find(|row| row.path.contains("/.dwz/")).unwrap();
        assert_eq!(id, row.build_id, "{family}");
        let answer = gateway.get(&format!("/buildid/{id}/debuginfo"));
        assert_eq!((answer.status, answer.header("x-debuginfod-file")), (200, Some(&*row.path)), "{family}");
        assert!(answer.body == member_of(&row), "{family}: other bytes");
        assert_eq!(gateway.get(&format!("/buildid/{id}/executable")).status, 404, "{family}");
    }
}

#[test]
fn a_set_uid_program_is_found_by_its_numbered_link() {
    let directory = tempfile::tempdir().unwrap();
    fixtures::copy(&[fixtures::package("fedora-compat", "bidtest-sub-9.9-4.fc99.x86_64")], directory.path());
    let index = Sqlite::with_packages(&[directory.path()]);
    let gateway = RunningGateway::start(&index.url());
    let answer = gateway.get(&format!("/buildid/{}/executable", build_id("fedora-compat", "/usr/libexec/asuid")));
    assert_eq!((answer.status, answer.header("x-debuginfod-file")), (200, Some("/usr/libexec/asuid")));
    assert!(
        answer.body == member("fedora-compat", "bidtest-sub-9.9-4.fc99.x86_64", "/usr/libexec/asuid"),
        "other bytes"
    );
}

#[test]
fn the_first_hard_link_has_the_bytes_stored_with_the_last() {
    for (family, nvra, first) in [
        ("fedora-compat", "bidtest-1.2~rc1-4.fc99.x86_64", "/usr/bin/a"),
        ("v6", "sixpack-6.0-1.fc99.x86_64", "/usr/bin/sixpack"),
        ("largefile", "largefile-6.0-1.fc99.x86_64", "/usr/bin/largefile"),
    ] {
        let directory = tempfile::tempdir().unwrap();
        fixtures::copy(&[fixtures::package(family, nvra)], directory.path());
        let index = Sqlite::with_packages(&[directory.path()]);
        let gateway = RunningGateway::start(&index.url());
        let answer = gateway.get(&format!("/buildid/{}/executable", build_id(family, first)));
        assert_eq!(answer.header("x-debuginfod-file"), Some(first), "{family}");
        assert!(answer.body == member(family, nvra, first) && !answer.body.is_empty(), "{family}: other bytes");
    }
}

#[test]
fn with_all_families_in_one_index_every_answer_is_correct() {
    let families = fixtures::families();
    let (_index, gateway) = gateway(&families.iter().map(String::as_str).collect::<Vec<_>>());
    let truth: Vec<_> = families.iter().flat_map(|family| fixtures::truth_with_bytes(family)).collect();
    for build_id in truth.iter().map(|(row, _)| &row.build_id).collect::<BTreeSet<_>>() {
        let mut answered = 0;
        for word in ["executable", "debuginfo"] {
            let answer = gateway.get(&format!("/buildid/{build_id}/{word}"));
            if answer.status == 404 {
                continue;
            }
            assert_eq!(answer.status, 200, "{build_id}/{word}");
            let is_right = |(row, bytes): &(Truth, Vec<u8>)| {
                row.build_id == *build_id
                    && Some(&*row.path) == answer.header("x-debuginfod-file")
                    && *bytes == answer.body
            };
            assert!(truth.iter().any(is_right), "{build_id}/{word}: other bytes");
            answered += 1;
        }
        assert!(answered > 0, "{build_id}");
    }
}
