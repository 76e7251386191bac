//! What an extraction told of a file is remembered when the file itself is not kept.

use compat_tests::compiled::Program;
use compat_tests::darkserver::RunningGateway;
use compat_tests::headers::FileClassFormat;
use compat_tests::wait_until;
use tempfile::tempdir;

use crate::{build, expect_absent, expect_file, index, linked};

/// A cache that keeps no file.
const NO_CACHE: [&str; 2] = ["--cache-size", "1KiB"];

/// Extractions so far, whatever became of them, and the bytes of archives that they read.
fn extractions(gateway: &RunningGateway) -> (f64, f64) {
    gateway.wait_until_synced();
    let of = |result: &str| gateway.metric(&format!("gateway_extractions_total{{result=\"{result}\"}}"));
    (["complete", "failed", "cancelled"].map(of).iter().sum(), gateway.metric("gateway_archive_read_bytes_total"))
}

/// Expects that the first question extracts, and that later ones do not.
fn expect_one_extraction(gateway: &RunningGateway, build_id: &str, word: &str) {
    assert_eq!(extractions(gateway), (0.0, 0.0));
    expect_absent(gateway, build_id, word);
    // The answer may be known before the extraction ends.
    wait_until("an extraction that told what the file is", || extractions(gateway).0 == 1.0);
    let first = extractions(gateway);
    for _ in 0..3 {
        expect_absent(gateway, build_id, word);
    }
    assert_eq!(extractions(gateway), first, "extractions and bytes of archives after more of the same questions");
}

#[test]
fn a_program_without_dwarf_is_extracted_once() {
    for form in [FileClassFormat::Mime, FileClassFormat::None] {
        let (directory, program) = (tempdir().unwrap(), Program::compile("foo", "/s/foo"));
        let (index, id) = (index(&[&linked(directory.path(), &program, &program.stripped(), form)]), &program.build_id);
        let gateway = RunningGateway::start_with(&index.url(), "", &NO_CACHE);
        expect_one_extraction(&gateway, id, "debuginfo");
        // The file itself is not kept: the next request extracts it again, or one a moment later.
        let wanted = || expect_file(&gateway, id, "executable", &program.stripped(), "/usr/bin/foo");
        wait_until("another extraction", || {
            wanted();
            extractions(&gateway).0 > 1.0
        });
        let before = extractions(&gateway).0;
        expect_absent(&gateway, id, "debuginfo");
        assert_eq!(extractions(&gateway).0, before, "{form:?}");
    }
}

#[test]
fn a_debug_file_under_a_name_that_tells_nothing_is_extracted_once() {
    let (directory, program) = (tempdir().unwrap(), Program::compile_library("foo", "/s/foo"));
    let debug = std::fs::read(program.debug()).unwrap();
    let rpms = build(directory.path(), &[("foo", &[("/opt/v/symbols/foo", &*debug)])]);
    let index = index(&[&rpms[0]]);
    let gateway = RunningGateway::start_with(&index.url(), "", &NO_CACHE);
    expect_one_extraction(&gateway, &program.build_id, "executable");
}
