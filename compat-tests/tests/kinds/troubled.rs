//! Files of unknown kind among stores that hang or fail, poor files, and an index that is not remembered.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use compat_tests::compiled::Program;
use compat_tests::darkserver::{RunningGateway, Sqlite, import_ok};
use compat_tests::fake_server::{self, FakeServer};
use compat_tests::headers::FileClassFormat;
use tempfile::tempdir;

use crate::{build, expect_absent, expect_file, index, linked, path};

const DEBUG_FILE: &str = "/usr/lib/debug/usr/bin/foo.debug";

fn objcopy(options: &[&str], from: &Path, to: &Path) {
    let status = Command::new("objcopy").args(options).arg(from).arg(to).status().unwrap();
    assert!(status.success(), "{options:?}");
}

/// The package of a file at the place of a debug file.
fn debuginfo(into: &Path, file: &Path) -> PathBuf {
    let bytes = fs::read(file).unwrap();
    build(into, &[("foo-debuginfo", &[(DEBUG_FILE, &*bytes)])]).remove(0)
}

#[test]
fn a_program_that_holds_dwarf_is_found_also_where_nothing_of_the_index_is_remembered() {
    let (directory, program) = (tempdir().unwrap(), Program::compile("foo", "/s/foo"));
    let index = index(&[&linked(directory.path(), &program, &program.whole(), FileClassFormat::Mime)]);
    let nothing = FakeServer::start(fake_server::answer_absent);
    for settings in ["found_ttl = \"0s\"\nstale_ttl = \"0s\"\n", "max_entries = 0\n"] {
        for upstreams in [&[][..], &["--upstream", &nothing.url()]] {
            let gateway = RunningGateway::start_with(&index.url(), &format!("[index]\n{settings}"), upstreams);
            for _ in 0..2 {
                expect_file(&gateway, &program.build_id, "debuginfo", &program.whole(), "/usr/bin/foo");
            }
        }
    }
}

#[test]
fn a_store_that_hangs_with_the_debug_file_leaves_time_for_the_program() {
    let (directory, elsewhere, program) = (tempdir().unwrap(), tempdir().unwrap(), Program::compile("foo", "/s/foo"));
    let rpm = linked(directory.path(), &program, &program.whole(), FileClassFormat::Mime);
    debuginfo(elsewhere.path(), &program.debug());
    let hanging = FakeServer::start(fake_server::hang);
    let index = index(&[&rpm]);
    index.add_store("hangs", "mirror", elsewhere.path(), &hanging.url());
    let nothing = FakeServer::start(fake_server::answer_absent);
    for (prefer, upstreams) in
        [("", &[][..]), ("[federation]\nprefer = \"redirect\"\n", &["--upstream", &nothing.url()])]
    {
        let gateway =
            RunningGateway::start_with(&index.url(), &format!("[request]\nbudget = \"4s\"\n{prefer}"), upstreams);
        expect_file(&gateway, &program.build_id, "debuginfo", &program.whole(), "/usr/bin/foo");
    }
    assert!(hanging.connections() > 0);
}

#[test]
fn upstreams_have_their_time_after_a_file_was_examined_that_is_something_else() {
    let (directory, theirs, program) =
        (tempdir().unwrap(), tempdir().unwrap(), Program::compile_library("foo", "/s/foo"));
    let bytes = fs::read(program.debug()).unwrap();
    let package = build(directory.path(), &[("foo", &[("/opt/v/symbols/foo", &*bytes)])]).remove(0);
    // The archive takes longer than a decision may.
    let root = directory.path().to_owned();
    let slow = FakeServer::start(move |head, stream| {
        let archive = fake_server::file(&root, head);
        fake_server::begin(stream, archive.len());
        for piece in archive.chunks(archive.len() / 12 + 1) {
            std::thread::sleep(Duration::from_millis(250));
            let _ = std::io::Write::write_all(stream, piece);
        }
    });
    let ours = Sqlite::empty();
    ours.add_store("slow", "mirror", directory.path(), &slow.url());
    let theirs_rpm = linked(theirs.path(), &program, &program.stripped(), FileClassFormat::Old);
    let their_index = index(&[&theirs_rpm]);
    let upstream = RunningGateway::start(&their_index.url());
    let gateway =
        RunningGateway::start_with(&ours.url(), "[request]\nbudget = \"2s\"\n", &["--upstream", &upstream.url()]);
    let answer = gateway.get(&path(&program.build_id, "executable"));
    let location = format!("{}{}", upstream.url(), path(&program.build_id, "executable"));
    assert_eq!((answer.status, answer.header("location")), (302, Some(&*location)), "{}", package.display());
}

#[test]
fn of_two_programs_the_one_that_holds_dwarf_is_the_debuginfo() {
    let (directory, program) = (tempdir().unwrap(), Program::compile("foo", "/s/foo"));
    let poor = directory.path().join("poor");
    objcopy(&["--remove-section=.debug_info", "--remove-section=.debug_abbrev"], &program.whole(), &poor);
    let (one, other) = (tempdir().unwrap(), tempdir().unwrap());
    let whole = linked(one.path(), &program, &program.whole(), FileClassFormat::Mime);
    let poor = linked(other.path(), &program, &poor, FileClassFormat::Mime);
    for order in [[&*whole, &*poor], [&*poor, &*whole]] {
        let index = index(&order);
        let gateway = RunningGateway::start(&index.url());
        for _ in 0..2 {
            expect_file(&gateway, &program.build_id, "debuginfo", &program.whole(), "/usr/bin/foo");
        }
    }
}

#[test]
fn symbols_alone_do_not_prove_that_there_is_no_dwarf() {
    let (directory, program) = (tempdir().unwrap(), Program::compile("foo", "/s/foo"));
    let symbols = directory.path().join("symbols");
    objcopy(&["--strip-debug"], &program.debug(), &symbols);
    let symbols = debuginfo(directory.path(), &symbols);
    let whole = linked(directory.path(), &program, &program.whole(), FileClassFormat::Mime);
    let index = index(&[&whole, &symbols]);
    let gateway = RunningGateway::start(&index.url());
    for section in [".debug_info", ".debug_line"] {
        assert_eq!(gateway.get(&path(&program.build_id, &format!("section/{section}"))).status, 200, "{section}");
    }
}

#[test]
fn the_debug_file_of_a_kernel_is_no_kernel() {
    let program = Program::compile_library("foo", "/s/foo");
    let (debug, whole) = (fs::read(program.debug()).unwrap(), fs::read(program.whole()).unwrap());
    for (member, bytes, runs) in [
        ("/usr/lib/debug/boot/vmlinux-5.4", &debug, false),
        ("/usr/lib/debug/boot/vmlinux-5.4.dbg", &debug, false),
        ("/boot/.debug/vmlinux-5.4", &debug, false),
        ("/usr/lib/debug/lib/modules/5.4/vmlinux", &whole, true),
    ] {
        let directory = tempdir().unwrap();
        let index = index(&[&build(directory.path(), &[("foo", &[(member, &**bytes)])]).remove(0)]);
        let gateway = RunningGateway::start(&index.url());
        let file = if runs { program.whole() } else { program.debug() };
        expect_file(&gateway, &program.build_id, "debuginfo", &file, member);
        if runs {
            expect_file(&gateway, &program.build_id, "executable", &file, member);
        } else {
            expect_absent(&gateway, &program.build_id, "executable");
        }
    }
}

#[test]
fn a_location_that_failed_does_not_make_unknown_what_another_one_told() {
    let (directory, program) = (tempdir().unwrap(), Program::compile("foo", "/s/foo"));
    linked(directory.path(), &program, &program.stripped(), FileClassFormat::Mime);
    let failing = FakeServer::start(fake_server::fail);
    let index = Sqlite::empty();
    index.add_store("fails", "local", directory.path(), &failing.url());
    import_ok(&index.url(), &["dir", directory.path().to_str().unwrap(), "--store", "good"]);
    let gateway = RunningGateway::start(&index.url());
    expect_absent(&gateway, &program.build_id, "debuginfo");
    assert!(failing.connections() > 0);
}
