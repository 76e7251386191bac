//! Servers that ignore ranges, break off, answer slowly or lie about lengths, and other copies of a package: what is
//! imported is right, and what cannot be right is refused.

use std::path::Path;
use std::time::{Duration, Instant};

use compat_tests::darkserver::Sqlite;
use compat_tests::fixtures;
use compat_tests::ima::Signer;
use compat_tests::repository::{Repository, SigningKey};
use compat_tests::rpmbuild;
use compat_tests::scale;
use compat_tests::static_server::{Fault, StaticServer};

use crate::support::{assert_nothing_wrong, assert_same, index_of_directory, number, repo, rows};

const PACKAGE: &str = "server-1.1-6.fc99.x86_64.rpm";

struct Site {
    repository: Repository,
    server: StaticServer,
    right: Sqlite,
}

fn site() -> Site {
    let repository = Repository::of_rpms(&fixtures::rpms("server"));
    let right = index_of_directory(repository.path());
    let server = StaticServer::start(repository.path());
    Site { repository, server, right }
}

#[test]
fn a_server_that_ignores_ranges_is_cut_off_after_the_header() {
    let directory = tempfile::tempdir().unwrap();
    rpmbuild::large(directory.path(), "large", 32 << 20);
    let repository = Repository::at(directory.path());
    let server = StaticServer::start(repository.path());
    server.set(".rpm", Fault::IgnoresRange);
    let index = Sqlite::empty();
    repo(&index, &server.url(), &[]).expect(0);
    assert_same(&index, &index_of_directory(repository.path()), "no ranges");
    // What buffers of sockets hold may be sent.
    let bytes = server.bytes();
    assert!(bytes < 16 << 20, "expected that the package is not sent as a whole, found {bytes} bytes");
}

#[test]
fn faults_that_pass_are_survived() {
    let site = site();
    for fault in [
        Fault::EndsAfter(0),
        Fault::EndsAfter(200),
        Fault::ResetsAfter(4600),
        Fault::Status(503),
        Fault::Status(429),
        Fault::Slow(40_000),
        Fault::Late(Duration::from_millis(300)),
        Fault::IgnoresRange,
    ] {
        for path in [PACKAGE, "primary.xml", "repomd.xml"] {
            site.server.repair();
            site.server.set_times(path, fault.clone(), 1);
            let index = Sqlite::empty();
            repo(&index, &site.server.url(), &[]).expect(0);
            assert_same(&index, &site.right, &format!("{fault:?} of {path}"));
        }
    }
}

#[test]
fn a_package_that_never_comes_whole_is_refused_and_the_rest_is_imported() {
    let site = site();
    let page = b"<!DOCTYPE html><html>".repeat(1000);
    let other = fixtures::package("server", "server-1.1-7.fc99.x86_64");
    let cut = std::fs::read(site.repository.path().join(PACKAGE)).unwrap()[..3000].to_vec();
    let faults = [
        Fault::EndsAfter(3000),
        Fault::Status(404),
        Fault::Status(403),
        Fault::ShiftsRange(8),
        Fault::StatesSize(1_000_000),
        Fault::Page,
        Fault::Bytes(page),
        Fault::Bytes(cut),
        Fault::Bytes(Vec::new()),
        Fault::OtherFile(other),
    ];
    for fault in faults {
        site.server.repair();
        site.server.set(PACKAGE, fault.clone());
        let index = Sqlite::empty();
        let run = repo(&index, &site.server.url(), &[]).expect(1).mentions(&[PACKAGE]);
        assert!(run.stdout.contains("\"refused\":1") || run.stdout.contains("\"refused\": 1"), "{fault:?}: {run:?}");
        assert_nothing_wrong(&index, &site.right, &format!("{fault:?}"));
        let others = fixtures::rpms("server").len() as u64 - 1;
        assert_eq!(number(&index, "select count(*) from packages where identity is not null"), others, "{fault:?}");

        // Once it is whole again, one run completes the index.
        site.server.repair();
        repo(&index, &site.server.url(), &[]).expect(0);
        assert_same(&index, &site.right, &format!("after {fault:?}"));
    }
}

#[test]
fn answers_that_stall_end_in_time() {
    let site = site();
    // Once; in long runs also for ever.
    for times in [1, scale(0, usize::MAX)].into_iter().filter(|times| *times > 0) {
        site.server.set_times(PACKAGE, Fault::StallsAfter(1000), times);
        let (index, begun) = (Sqlite::empty(), Instant::now());
        let code = repo(&index, &site.server.url(), &[]).code;
        assert_eq!(code, Some(i32::from(times > 1)));
        assert!(begun.elapsed() < Duration::from_secs(if times > 1 { 400 } else { 60 }), "{:?}", begun.elapsed());
        assert_nothing_wrong(&index, &site.right, "stalled");
    }
}

#[test]
fn an_answer_longer_than_it_states_is_read_to_the_end_of_the_header_only() {
    let site = site();
    site.server.set(PACKAGE, Fault::AnnouncesMore(100));
    let index = Sqlite::empty();
    let run = repo(&index, &site.server.url(), &[]);
    assert!(matches!(run.code, Some(0 | 1)), "{run:?}");
    assert_nothing_wrong(&index, &site.right, "announced more");
}

/// The listing describes the signed copy, whose header begins elsewhere.
#[test]
fn an_unsigned_copy_in_place_of_the_signed_one_is_never_taken_for_it() {
    let (directory, unsigned) = (tempfile::tempdir().unwrap(), fixtures::package("server", "server-1.1-6.fc99.x86_64"));
    fixtures::copy(&fixtures::rpms("server"), directory.path());
    let signed = Signer::make("rsa:2048").sign(&unsigned, directory.path());
    SigningKey::make().sign_rpm(&signed);
    assert_ne!(read(&signed).len(), read(&unsigned).len());
    let repository = Repository::at(directory.path());
    let right = index_of_directory(repository.path());
    let server = StaticServer::start(repository.path());

    let index = Sqlite::empty();
    repo(&index, &server.url(), &[]).expect(0);
    assert_same(&index, &right, "the signed copy");
    let key = rows(&index, &format!("select signing_key from locations where path = '{PACKAGE}'"));
    assert_eq!(key[0].len(), 16, "{key:?}");

    server.set(PACKAGE, Fault::OtherFile(unsigned));
    let index = Sqlite::empty();
    repo(&index, &server.url(), &[]).expect(1).mentions(&[PACKAGE]);
    assert_nothing_wrong(&index, &right, "the unsigned copy");
}

fn read(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap()
}
