//! Files of which neither text nor path tells whether they run: unstripped programs, and debug files under names that
//! tell nothing.

use std::fs;
use std::path::{Path, PathBuf};

use compat_tests::compiled::Program;
use compat_tests::darkserver::{RunningGateway, import_ok};
use compat_tests::fake_server::{self, FakeServer};
use compat_tests::headers::class;
use tempfile::{TempDir, tempdir};

use crate::{build, expect_absent, expect_file, expect_types, expect_unavailable, index, path, rows, served};

const SYMBOLS: &str = "/opt/v/symbols/foo";
const PROGRAM: &str = "/opt/v/bin/foo";

/// A package with one file.
fn package(file: &Path, at: &str) -> (TempDir, PathBuf) {
    let directory = tempdir().unwrap();
    let rpms = build(directory.path(), &[("foo", &[(at, &*fs::read(file).unwrap())])]);
    (directory, rpms[0].clone())
}

#[test]
fn a_debug_file_under_a_name_that_tells_nothing_is_no_executable() {
    for program in [Program::compile("foo", "/s/foo"), Program::compile_library("foo", "/s/foo")] {
        let (_directory, rpm) = package(&program.debug(), SYMBOLS);
        assert!(class(&rpm, SYMBOLS).ends_with(", with debug_info, not stripped"));
        let id = &program.build_id;
        // Either comes first once: what one answer told must not make the other wrong.
        for words in [["executable", "debuginfo"], ["debuginfo", "executable"]] {
            let (_index, gateway) = served(&[&rpm]);
            assert_eq!(rows(&gateway, id), [SYMBOLS]);
            for word in words.iter().chain(&words) {
                match *word {
                    "debuginfo" => expect_file(&gateway, id, word, &program.debug(), SYMBOLS),
                    _ => expect_absent(&gateway, id, word),
                }
            }
            assert_eq!(gateway.get(&path(id, "section/.debug_info")).status, 200);
        }
    }
}

#[test]
fn the_program_beside_such_a_debug_file_is_the_executable() {
    let (directory, program) = (tempdir().unwrap(), Program::compile_library("foo", "/s/foo"));
    let [stripped, debug] = [program.stripped(), program.debug()].map(|file| fs::read(file).unwrap());
    let rpms = build(directory.path(), &[("foo", &[(PROGRAM, &*stripped)]), ("foo-symbols", &[(SYMBOLS, &*debug)])]);
    let id = &program.build_id;
    for rpms in [[&*rpms[0], &*rpms[1]], [&*rpms[1], &*rpms[0]]] {
        let (_index, gateway) = served(&rpms);
        expect_file(&gateway, id, "debuginfo", &program.debug(), SYMBOLS);
        expect_file(&gateway, id, "executable", &program.stripped(), PROGRAM);
        expect_types(&gateway, id, PROGRAM, &["executable"], true);
        expect_types(&gateway, id, SYMBOLS, &["debuginfo", "executable"], false);
    }
}

#[test]
fn an_unstripped_program_is_both() {
    for program in [Program::compile("foo", "/s/foo"), Program::compile_library("foo", "/s/foo")] {
        let (_directory, rpm) = package(&program.whole(), PROGRAM);
        assert!(class(&rpm, PROGRAM).ends_with(", with debug_info, not stripped"));
        let (_index, gateway) = served(&[&rpm]);
        for word in ["executable", "debuginfo"] {
            expect_file(&gateway, &program.build_id, word, &program.whole(), PROGRAM);
        }
        assert_eq!(rows(&gateway, &program.build_id), [PROGRAM]);
    }
}

#[test]
fn a_stripped_program_is_an_executable_alone() {
    let program = Program::compile("foo", "/s/foo");
    let (_directory, rpm) = package(&program.stripped(), PROGRAM);
    assert!(class(&rpm, PROGRAM).ends_with(", stripped"));
    let (_index, gateway) = served(&[&rpm]);
    expect_file(&gateway, &program.build_id, "executable", &program.stripped(), PROGRAM);
    expect_absent(&gateway, &program.build_id, "debuginfo");
    expect_types(&gateway, &program.build_id, PROGRAM, &["executable"], true);
    assert_eq!(rows(&gateway, &program.build_id), [PROGRAM]);
}

#[test]
fn metadata_tells_both_types_and_that_they_are_not_certain() {
    let library = Program::compile_library("foo", "/s/foo");
    let mut classes = Vec::new();
    for (file, at) in [(library.debug(), SYMBOLS), (library.whole(), PROGRAM)] {
        let (_directory, rpm) = package(&file, at);
        classes.push(class(&rpm, at));
        let (_index, gateway) = served(&[&rpm]);
        expect_types(&gateway, &library.build_id, at, &["debuginfo", "executable"], false);
    }
    assert_eq!(classes[0], classes[1], "expected two files that the header cannot tell apart");
}

#[test]
fn upstreams_answer_for_the_program_of_such_a_debug_file() {
    let program = Program::compile_library("foo", "/s/foo");
    let (_directory, rpm) = package(&program.debug(), SYMBOLS);
    let (index, id) = (index(&[&rpm]), &program.build_id);
    let with = |upstream: &FakeServer| {
        RunningGateway::start_with(&index.url(), "[request]\nbudget = \"2s\"\n", &["--upstream", &upstream.url()])
    };
    let (has_it, knows_nothing, fails) = (
        FakeServer::start(fake_server::serve_elf),
        FakeServer::start(fake_server::answer_absent),
        FakeServer::start(fake_server::fail),
    );
    let answer = with(&has_it).get(&path(id, "executable"));
    let location = format!("{}{}", has_it.url(), path(id, "executable"));
    assert_eq!((answer.status, answer.header("location")), (302, Some(&*location)));
    expect_absent(&with(&knows_nothing), id, "executable");
    expect_unavailable(&with(&fails), id, "executable");
}

#[test]
fn a_payload_that_was_read_at_import_makes_types_certain() {
    let library = Program::compile_library("foo", "/s/foo");
    for (file, at, types) in
        [(library.debug(), SYMBOLS, &["debuginfo"][..]), (library.whole(), PROGRAM, &["debuginfo", "executable"])]
    {
        let (_directory, rpm) = package(&file, at);
        let index = index(&[]);
        import_ok(&index.url(), &["rpm", rpm.to_str().unwrap(), "--payload", "always"]);
        expect_types(&RunningGateway::start(&index.url()), &library.build_id, at, types, true);
    }
}
