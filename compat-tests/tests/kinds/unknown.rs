//! Linked programs of which the header does not tell whether they hold DWARF.

use std::fs;

use compat_tests::compiled::Program;
use compat_tests::headers::{FileClassFormat, class};
use tempfile::tempdir;

use crate::{build, expect_absent, expect_file, expect_types, linked, path, rows, served};

/// What the header of this form states of a program.
fn expect_class(class: &str, form: FileClassFormat, end: &str) {
    let is_right = match form {
        FileClassFormat::Mime => class == "application/x-pie-executable",
        FileClassFormat::None => class.is_empty(),
        FileClassFormat::Old => class.starts_with("ELF ") && class.ends_with(end) && !class.contains("debug_info"),
    };
    assert!(is_right, "{form:?}: {class}");
}

#[test]
fn an_unstripped_program_is_its_own_debuginfo() {
    for form in FileClassFormat::ALL {
        let (directory, program) = (tempdir().unwrap(), Program::compile("foo", "/s/foo"));
        let rpm = linked(directory.path(), &program, &program.whole(), form);
        expect_class(&class(&rpm, "/usr/bin/foo"), form, ", not stripped");
        let id = &program.build_id;
        let (_index, gateway) = served(&[&rpm]);
        assert_eq!(rows(&gateway, id), ["/usr/bin/foo"]);
        expect_file(&gateway, id, "executable", &program.whole(), "/usr/bin/foo");
        assert_eq!(gateway.get(&path(id, "section/.debug_info")).status, 200, "{form:?}");
        for _ in 0..2 {
            expect_file(&gateway, id, "debuginfo", &program.whole(), "/usr/bin/foo");
        }
        expect_file(&gateway, id, "executable", &program.whole(), "/usr/bin/foo");
    }
}

#[test]
fn debuginfo_is_answered_before_anybody_asked_for_the_program() {
    for form in FileClassFormat::ALL {
        let (directory, program) = (tempdir().unwrap(), Program::compile("foo", "/s/foo"));
        let (_index, gateway) = served(&[&linked(directory.path(), &program, &program.whole(), form)]);
        for word in ["debuginfo", "executable"] {
            expect_file(&gateway, &program.build_id, word, &program.whole(), "/usr/bin/foo");
        }
    }
}

#[test]
fn a_stripped_program_has_no_debuginfo() {
    for form in FileClassFormat::ALL {
        let (directory, program) = (tempdir().unwrap(), Program::compile("foo", "/s/foo"));
        let rpm = linked(directory.path(), &program, &program.stripped(), form);
        expect_class(&class(&rpm, "/usr/bin/foo"), form, ", stripped");
        let (_index, gateway) = served(&[&rpm]);
        for _ in 0..2 {
            expect_absent(&gateway, &program.build_id, "debuginfo");
            expect_file(&gateway, &program.build_id, "executable", &program.stripped(), "/usr/bin/foo");
        }
    }
}

#[test]
fn metadata_tells_the_executable_alone_and_that_it_is_not_certain() {
    for form in FileClassFormat::ALL {
        let (directory, program) = (tempdir().unwrap(), Program::compile("foo", "/s/foo"));
        let (_index, gateway) = served(&[&linked(directory.path(), &program, &program.whole(), form)]);
        expect_types(&gateway, &program.build_id, "/usr/bin/foo", &["executable"], false);
    }
}

#[test]
fn a_debug_file_goes_before_a_program_that_may_have_dwarf() {
    for form in [FileClassFormat::Mime, FileClassFormat::None] {
        let (directory, program) = (tempdir().unwrap(), Program::compile("foo", "/s/foo"));
        let debug = "/usr/lib/debug/usr/bin/foo.debug";
        let bytes = fs::read(program.debug()).unwrap();
        let debuginfo = build(directory.path(), &[("foo-debuginfo", &[(debug, &*bytes)])]).remove(0);
        let main = linked(directory.path(), &program, &program.whole(), form);
        let (_index, gateway) = served(&[&debuginfo, &main]);
        expect_file(&gateway, &program.build_id, "debuginfo", &program.debug(), debug);
        expect_file(&gateway, &program.build_id, "executable", &program.whole(), "/usr/bin/foo");
    }
}
