//! Repositories of Debian and Arch: their listings claim build-ids, and what has no header is read only when a client
//! asks for one of its ids.

use std::path::Path;

use compat_tests::compiled::{Program, Tree};
use compat_tests::darkserver::{RunningGateway, Sqlite};
use compat_tests::debuginfod::DebuginfodClient;
use compat_tests::repository::{arch_database, deb_packages};
use compat_tests::static_server::StaticServer;
use serde_json::Value;

use crate::support::{number, repo};

/// Expects that a gateway names this package for the debuginfo of a program, and that debuginfod-find gets its bytes.
#[track_caller]
fn expect_claimed(index: &Sqlite, server: &StaticServer, program: &Program, rpm: &str, file: &str) {
    let gateway = RunningGateway::start(&index.url());
    server.forget();
    let text = gateway.get(&format!("/buildids/{}", program.build_id)).text();
    let rows: Value = serde_json::from_str(&text).unwrap();
    let row = rows.as_array().unwrap().iter().find(|row| row["rpm"] == rpm);
    let row = row.unwrap_or_else(|| panic!("expected {rpm} in {text}"));
    let url = row["url"].as_str().unwrap().replace("%3A", ":");
    assert!(url.starts_with(&server.url()) && url.ends_with(file), "{row}");
    assert_eq!(server.sent().len(), 0, "names cost no request: {:?}", server.sent());
    let found = DebuginfodClient::new(&gateway.url()).found(&["debuginfo", &program.build_id]);
    assert!(found == std::fs::read(program.debug()).unwrap(), "other bytes");
    let missing = "cd".repeat(20);
    assert_eq!(gateway.get(&format!("/buildid/{missing}/debuginfo")).status, 404);
}

fn debs(program: &Program, directory: &Path) {
    let name = program.name.as_str();
    Tree::with_files(&[(&format!("/usr/bin/{name}"), &program.stripped())]).deb(
        directory,
        (name, "2:1.0-1", "deb"),
        "",
        "xz",
    );
    let lines = format!("Source: {name} (2:1.0-1)\nBuild-Ids: {}\n", program.build_id);
    Tree::with_files(&[(&program.debug_path(), &program.debug())]).deb(
        directory,
        (&format!("{name}-dbgsym"), "2:1.0-1", "deb"),
        &lines,
        "xz",
    );
}

#[test]
fn packages_files_of_debian_claim_build_ids() {
    for listing in ["Packages.xz", "Packages.gz"] {
        let directory = tempfile::tempdir().unwrap();
        let program = Program::compile("debianed", "/usr/src/x");
        debs(&program, directory.path());
        deb_packages(directory.path(), listing);
        let server = StaticServer::start(directory.path());
        let index = Sqlite::empty();
        repo(&index, &server.url(), &["--format", "deb", "--distro", "bookworm"]).expect(0);
        assert_eq!(server.sent_for(".deb").len(), 0, "{:?}", server.sent());
        expect_claimed(&index, &server, &program, "debianed-dbgsym-1.0-1.amd64", "/debianed-dbgsym_1.0-1_amd64.deb");
        assert_eq!(number(&index, "select count(*) from artifacts"), 0);

        std::fs::remove_file(directory.path().join("debianed-dbgsym_1.0-1_amd64.deb")).unwrap();
        deb_packages(directory.path(), listing);
        repo(&index, &server.url(), &["--format", "deb", "--distro", "bookworm"]).expect(0);
        assert_eq!(number(&index, "select count(*) from locations where gone_at is not null"), 1);
    }
}

#[test]
fn a_deb_larger_than_the_limit_is_not_read() {
    let directory = tempfile::tempdir().unwrap();
    let program = Program::compile("limited", "/usr/src/x");
    debs(&program, directory.path());
    deb_packages(directory.path(), "Packages.xz");
    let server = StaticServer::start(directory.path());
    let index = Sqlite::empty();
    repo(&index, &server.url(), &["--format", "deb"]).expect(0);
    let gateway = RunningGateway::start_with(&index.url(), "[claims]\nmax_bytes = \"100B\"\n", &[]);
    server.forget();
    let answer = compat_tests::http::get(gateway.port, &format!("/buildid/{}/debuginfo", program.build_id));
    assert!(!answer.is_ok_and(|answer| answer.status == 200), "expected no file");
    assert!(server.bytes() < 1000, "{:?}", server.sent());
}

#[test]
fn files_databases_of_arch_claim_build_ids() {
    let directory = tempfile::tempdir().unwrap();
    let program = Program::compile("arched", "/usr/src/debug/arched");
    let tree = Tree::with_files(&[(&program.debug_path(), &program.debug())]);
    // An epoch: a colon in a file's name.
    let debug = tree.arch(directory.path(), ("arched-debug", "arched", "1:2.12-1"), "tar.zst");
    let tree = Tree::with_files(&[("/usr/bin/arched", &program.stripped())]);
    let main = tree.arch(directory.path(), ("arched", "arched", "1:2.12-1"), "tar.zst");
    let packages =
        [("arched", "arched", "1:2.12-1", main.clone()), ("arched-debug", "arched", "1:2.12-1", debug.clone())];
    arch_database(directory.path(), "core-debug", &packages);
    let server = StaticServer::start(directory.path());
    let index = Sqlite::empty();
    let url = format!("{}/core-debug.files", server.url());
    repo(&index, &url, &["--format", "arch", "--distro", "arch"]).expect(0);
    assert_eq!(server.sent_for(".pkg.tar").len(), 0, "{:?}", server.sent());
    expect_claimed(
        &index,
        &server,
        &program,
        "arched-debug-2.12-1.x86_64",
        "/arched-debug-1:2.12-1-x86_64.pkg.tar.zst",
    );
}
