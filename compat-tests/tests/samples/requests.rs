//! The requests with curl in docs/api.md, README.md and docs/operations.md are answered.

use compat_tests::crash::Crash;
use compat_tests::darkserver::{RunningGateway, Sqlite};
use compat_tests::fixtures;
use compat_tests::indexer::RunningIndexer;

use super::{SAMPLE_ID, SERVER, block, document, shell, shell_ok, text, with};

/// Commands with curl, one a line. The loop over many build-ids has a test of its own.
fn requests(document: &str) -> Vec<String> {
    let blocks = document.split("```sh\n").skip(1).filter_map(|block| block.split("```").next());
    let lines = blocks.flat_map(str::lines).map(str::trim);
    lines.filter(|line| line.starts_with("curl ") && !line.contains("$ids")).map(str::to_owned).collect()
}

#[test]
fn every_request_of_the_documents_is_answered() {
    let sqlite = Sqlite::with_packages(&[&fixtures::family("server")]);
    let gateway = RunningGateway::start(&sqlite.url());
    let indexer = RunningIndexer::start(&sqlite.url(), "");
    let directory = tempfile::tempdir().unwrap();
    let id = fixtures::build_id(SERVER, "/usr/bin/server");
    for (file, at_least) in [("docs/api.md", 12), ("README.md", 2), ("docs/operations.md", 1)] {
        let requests = requests(&document(file));
        assert!(requests.len() >= at_least, "{file}: expected at least {at_least} requests, found {requests:?}");
        for request in requests {
            let request = ["https://debuginfod.example.org", "http://127.0.0.1:8002"]
                .iter()
                .fold(request, |request, url| request.replace(url, &gateway.url()))
                .replace("http://127.0.0.1:8003", &indexer.url())
                .replace(SAMPLE_ID, &id)
                .replace("bash-5.2.26-3.fc40.x86_64", "server-1.1-5.fc99.x86_64")
                .replace("/usr/bin/bash", "/usr/bin/server");
            let output = shell(&request, directory.path(), &[]);
            let answer = String::from_utf8_lossy(&output.stdout).into_owned();
            assert!(output.status.success(), "{request}: {answer}{}", String::from_utf8_lossy(&output.stderr));
            assert!(request.contains("--output") || !matches!(answer.trim(), "" | "[]" | "{}"), "{request}: {answer}");
        }
    }
    let core = directory.path().join("server");
    assert!(std::fs::read(text(&core)).unwrap().starts_with(b"\x7fELF"), "expected the program that was downloaded");
}

#[test]
fn gdb_shows_a_backtrace_and_sources_as_the_readme_tells() {
    let sqlite = Sqlite::with_packages(&[&fixtures::family("server")]);
    let gateway = RunningGateway::start(&sqlite.url());
    let directory = tempfile::tempdir().unwrap();
    let id = fixtures::build_id(SERVER, "/usr/bin/server");
    let script = with(
        &block(&document("README.md"), "sh", "gdb -iex"),
        &[("http://127.0.0.1:8002", &gateway.url()), (SAMPLE_ID, &id), ("gdb -iex", "gdb -nx -batch -iex")],
    );
    // The program crashes, and GDB reports it.
    let output = shell(&script, directory.path(), &[("DEBUGINFOD_CACHE_PATH", text(&directory.path().join("cache")))]);
    let written = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(written.contains("crash_in_1_1_5") && written.contains("worker/crash.c:"), "{written}");
}

#[test]
fn the_build_ids_of_a_core_are_asked_as_the_readme_tells() {
    let sqlite = Sqlite::with_packages(&[&fixtures::family("server")]);
    let gateway = RunningGateway::start(&sqlite.url());
    let crash = Crash::run_server(5);
    let script = with(
        &block(&document("README.md"), "sh", "eu-unstrip"),
        &[
            ("http://127.0.0.1:8002", &gateway.url()),
            ("--core=core", &format!("--core={}", text(&crash.core()))),
            ("target/release/darkclient", "darkclient"),
        ],
    );
    let records = shell_ok(&script, crash.directory(), &[]);
    assert!(records.contains("server-1.1-5.fc99.x86_64 /usr/bin/server"), "{records}");
}
