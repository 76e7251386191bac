//! Claims of packages without a header: they are read whole, within a limit.

use std::fs;
use std::net::TcpStream;
use std::time::Duration;

use artifact::Nevra;
use compat_tests::compiled::{Program, Tree};
use compat_tests::fake_server::{FakeServer, answer_absent, serve_elf};
use compat_tests::http;
use compat_tests::static_server::{Fault, StaticServer};
use tempfile::TempDir;

use super::*;

/// A -dbgsym package in a directory, and what `Packages` says of it.
fn dbgsym(program: &Program) -> (TempDir, String) {
    let directory = tempfile::tempdir().unwrap();
    let tree = Tree::with_files(&[(&program.debug_path(), &program.debug())]);
    let name = format!("{}-dbgsym", program.name);
    let lines = format!("Source: {} (2:1.0-1)\nBuild-Ids: {}\n", program.name, program.build_id);
    let deb = tree.deb(directory.path(), (&name, "2:1.0-1", "deb"), &lines, "xz");
    let path = deb.file_name().unwrap().to_str().unwrap().to_owned();
    (directory, path)
}

fn claim(index: &ClaimedIndex, program: &Program, path: &str, directory: &TempDir, url: &str) {
    claim_of_size(index, program, path, directory.path().join(path).metadata().unwrap().len(), url);
}

/// A claim whose location states a size.
fn claim_of_size(index: &ClaimedIndex, program: &Program, path: &str, size: u64, url: &str) {
    let store = index.store(&new_store("debian", url));
    let (name, arch) = (format!("{}-dbgsym", program.name), "amd64".to_owned());
    let nevra = Nevra { name, epoch: Some(2), version: "1.0".to_owned(), release: "1".to_owned(), arch };
    let location = NewLocation {
        store_id: store.id,
        path: path.to_owned(),
        size: Some(size),
        mtime_ns: None,
        header: None,
        checksum: None,
        signing_key: None,
    };
    index.claim(&ClaimedPackage {
        origin: Origin::Repository,
        format: Format::Deb,
        nevra,
        source_rpm: None,
        distro: String::new(),
        claims: vec![Claim { build_id: program.build_id.parse().unwrap(), kind: Kind::Debuginfo, link_path: None }],
        location: Some(location),
        repository_id: None,
        koji: None,
    });
}

#[test]
fn a_debian_package_is_read_whole_when_a_build_id_of_it_is_asked_for() {
    let program = Program::compile("claimed-deb", "/usr/src/x");
    let (directory, path) = dbgsym(&program);
    let server = StaticServer::start(directory.path());
    let index = ClaimedIndex::new();
    claim(&index, &program, &path, &directory, &server.url());
    let gateway = index.gateway("");
    let asked = format!("/buildid/{}/debuginfo", program.build_id);
    assert_eq!(gateway.get(&format!("/buildid/{}/executable", program.build_id)).status, 404);
    assert!(server.sent().is_empty(), "{:?}", server.sent());
    // Longer than the budget: bytes come.
    server.set_times(".deb", Fault::Late(Duration::from_millis(700)), 1);
    let expected = fs::read(program.debug()).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| assert!(http::get(gateway.port, &asked).unwrap().body == expected, "other bytes"));
        }
    });
    assert_eq!(confirmations(&gateway, "confirmed"), 1.0);
    // Once to learn what is in it, once for the file.
    assert_eq!(server.sent().len(), 2, "{:?}", server.sent());
}

#[test]
fn a_debian_package_above_the_limit_is_not_read_and_its_claims_are_unknown() {
    let program = Program::compile("large-deb", "/usr/src/x");
    let (directory, path) = dbgsym(&program);
    let server = StaticServer::start(directory.path());
    let index = ClaimedIndex::new();
    claim(&index, &program, &path, &directory, &server.url());
    let limit = "[claims]\nmax_bytes = \"100B\"\n";
    let gateway = index.gateway(limit);
    let asked = format!("/buildid/{}/debuginfo", program.build_id);
    gateway.expect_reset(&asked);
    assert!(server.sent().is_empty(), "{:?}", server.sent());
    assert_eq!(confirmations(&gateway, "too_large"), 1.0);
    let bytes = directory.path().join(&path).metadata().unwrap().len();
    let cause = format!("too large: {bytes} bytes, claims.max_bytes is 100");
    assert!(gateway.log().contains(&cause), "{}", gateway.log());
    // An upstream may have it. If it does not, that is no answer.
    for is_there in [true, false] {
        let upstream = FakeServer::start(if is_there { serve_elf as fn(&str, &mut TcpStream) } else { answer_absent });
        let gateway = index.gateway(&format!("{limit}[[upstream]]\nname = \"u\"\nurl = \"{}\"\n", upstream.url()));
        if is_there {
            assert_eq!(gateway.get(&asked).status, 302);
        } else {
            gateway.expect_reset(&asked);
        }
    }
}

#[test]
fn a_debian_package_whose_size_is_not_known_is_read_within_the_limit() {
    let program = Program::compile("unsized-deb", "/usr/src/x");
    let (directory, path) = dbgsym(&program);
    let server = StaticServer::start(directory.path());
    let index = ClaimedIndex::new();
    claim_of_size(&index, &program, &path, 0, &server.url());
    let asked = format!("/buildid/{}/debuginfo", program.build_id);
    let gateway = index.gateway("");
    assert!(gateway.get(&asked).body == fs::read(program.debug()).unwrap(), "other bytes");
    let gateway = index.gateway("[claims]\nmax_bytes = \"100B\"\n");
    gateway.expect_reset(&asked);
    assert_eq!(confirmations(&gateway, "too_large"), 1.0);
}

#[test]
fn a_debian_package_that_breaks_off_makes_its_claims_unknown() {
    let program = Program::compile("broken-deb", "/usr/src/x");
    let (directory, path) = dbgsym(&program);
    let server = StaticServer::start(directory.path());
    let index = ClaimedIndex::new();
    claim(&index, &program, &path, &directory, &server.url());
    for fault in [Fault::EndsAfter(500), Fault::StallsAfter(500), Fault::Status(503)] {
        server.set(".deb", fault);
        let gateway = index.gateway("[request]\nbudget = \"1s\"\n");
        gateway.expect_reset(&format!("/buildid/{}/debuginfo", program.build_id));
        assert_eq!(confirmations(&gateway, "unavailable"), 1.0);
    }
}
