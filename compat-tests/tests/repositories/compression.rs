//! What an import of a repository costs, and that its result is that of `dir`.

use std::collections::{BTreeMap, BTreeSet};

use compat_tests::darkserver::Sqlite;
use compat_tests::fixtures;
use compat_tests::repository::{Compression, Repository};
use compat_tests::static_server::{Sent, StaticServer};

use crate::support::{assert_same, families, index_of_directory, number, repo, rows};

/// Requests for RPMs by path.
fn requests_for_rpms(server: &StaticServer) -> BTreeMap<String, Vec<Sent>> {
    let mut by_path: BTreeMap<String, Vec<Sent>> = BTreeMap::new();
    for sent in server.sent().into_iter().filter(|sent| sent.path.ends_with(".rpm")) {
        by_path.entry(sent.path.clone()).or_default().push(sent);
    }
    by_path
}

#[test]
fn every_compression_gives_the_index_that_dir_gives() {
    let repository = Repository::of_families(&families(), Compression::Gzip);
    let expected = index_of_directory(repository.path());
    let server = StaticServer::start(repository.path());
    for compression in Compression::ALL {
        repository.update_with(compression, &[]);
        let index = Sqlite::empty();
        repo(&index, &server.url(), &[]).expect(0);
        assert_same(&index, &expected, &format!("{compression:?}"));
    }
}

#[test]
fn a_copy_in_zchunk_is_left_for_its_plain_sibling() {
    let repository = Repository::of_rpms(&fixtures::rpms("server"));
    repository.update_with(Compression::Gzip, &["--zck"]);
    assert!(std::fs::read_to_string(repository.repomd()).unwrap().contains("primary_zck"));
    let server = StaticServer::start(repository.path());
    let index = Sqlite::empty();
    repo(&index, &server.url(), &[]).expect(0);
    assert_same(&index, &index_of_directory(repository.path()), "zchunk");
    assert_eq!(server.sent_for(".zck").len(), 0);
}

#[test]
fn each_package_costs_one_range_and_only_open_ones_their_payload() {
    let repository = Repository::of_families(&families(), Compression::Gzip);
    let server = StaticServer::start(repository.path());

    let headers = Sqlite::empty();
    repo(&headers, &server.url(), &["--payload", "never"]).expect(0);
    let by_path = requests_for_rpms(&server);
    let rpms: usize = families().iter().map(|family| fixtures::rpms(family).len()).sum();
    assert_eq!(by_path.len(), rpms);
    let ends: BTreeMap<String, u64> = rows(&headers, "select path, header_end from locations")
        .iter()
        .map(|row| row.split_once('|').unwrap())
        .map(|(path, end)| (path.to_owned(), end.parse().unwrap()))
        .collect();
    for (path, requests) in &by_path {
        assert_eq!(requests.len(), 1, "{path}: {requests:?}");
        assert_eq!(requests[0].range, Some(format!("0-{}", ends[path] - 1)), "{path}");
        assert_eq!(requests[0].status, 206, "{path}");
    }
    let expected = repository.metadata_bytes() + ends.values().sum::<u64>();
    let found = server.bytes();
    assert!(found.abs_diff(expected) <= expected / 100, "expected {expected} bytes within 1 %, found {found}");

    // Connections are kept: far fewer than requests.
    let connections: BTreeSet<usize> = server.sent().iter().map(|sent| sent.connection).collect();
    assert!(connections.len() <= 20, "{} connections for {} requests", connections.len(), server.sent().len());

    let open: BTreeSet<String> =
        rows(&headers, "select l.path from packages p join locations l on l.package_id = p.id where p.state = 'open'")
            .into_iter()
            .collect();
    assert!(!open.is_empty(), "the fixtures have open packages");
    server.forget();
    let index = Sqlite::empty();
    repo(&index, &server.url(), &[]).expect(0);
    for (path, requests) in requests_for_rpms(&server) {
        let bytes: u64 = requests.iter().map(|sent| sent.bytes).sum();
        let size = repository.path().join(&path).metadata().unwrap().len();
        if open.contains(&path) {
            assert!(bytes >= size - ends[&path], "{path}: expected its payload, found {requests:?}");
        } else {
            assert_eq!((requests.len(), bytes), (1, ends[&path]), "{path}: expected its header alone");
        }
    }
    assert_same(&index, &index_of_directory(repository.path()), "with payloads");
}

#[test]
fn an_unchanged_repository_costs_one_request_and_a_new_package_its_header() {
    let directory = tempfile::tempdir().unwrap();
    fixtures::copy(&fixtures::rpms("server"), directory.path());
    let repository = Repository::at(directory.path());
    let server = StaticServer::start(repository.path());
    let index = Sqlite::empty();
    repo(&index, &server.url(), &[]).expect(0);
    let before = number(&index, "select refreshed_at from repositories");

    server.forget();
    repo(&index, &server.url(), &[]).expect(0);
    let sent = server.sent();
    assert_eq!(sent.len(), 1, "{sent:?}");
    assert_eq!(sent[0].path, "repodata/repomd.xml");
    assert!(number(&index, "select refreshed_at from repositories") >= before);

    fixtures::copy(&fixtures::rpms("payloads"), directory.path());
    repository.update();
    server.forget();
    repo(&index, &server.url(), &[]).expect(0);
    let rpms: Vec<String> = requests_for_rpms(&server).into_keys().collect();
    assert!(rpms.iter().all(|path| path.starts_with("payload-")), "{rpms:?}");
    assert_eq!(rpms.len(), fixtures::rpms("payloads").len());
    assert_same(&index, &index_of_directory(repository.path()), "after the change");
}

#[test]
fn requests_name_the_program() {
    let repository = Repository::of_rpms(&fixtures::rpms("server"));
    let server = StaticServer::start(repository.path());
    let (index, directory) = (Sqlite::empty(), tempfile::tempdir().unwrap());
    let file = directory.path().join("indexer.toml");
    std::fs::write(&file, "contact = \"admin@example.org\"\n").unwrap();
    repo(&index, &server.url(), &["--config", file.to_str().unwrap()]).expect(0);
    for sent in server.sent() {
        let agent = sent.header("user-agent").unwrap_or_default();
        assert!(
            agent.starts_with("darkserver-import/") && agent.contains("(+admin@example.org)"),
            "{}: {agent:?}",
            sent.path
        );
    }
}

#[test]
fn every_checksum_is_verified_and_kept() {
    let repository = Repository::of_rpms(&fixtures::rpms("server"));
    let right = index_of_directory(repository.path());
    let server = StaticServer::start(repository.path());
    for (checksum, kind, digits) in [
        ("md5", "md5", 32),
        ("sha", "sha1", 40),
        ("sha1", "sha1", 40),
        ("sha224", "sha224", 56),
        ("sha256", "sha256", 64),
        ("sha384", "sha384", 96),
        ("sha512", "sha512", 128),
    ] {
        repository.update_with(Compression::Gzip, &["--checksum", checksum]);
        let index = Sqlite::empty();
        repo(&index, &server.url(), &[]).expect(0);
        assert_same(&index, &right, checksum);
        let found = rows(&index, "select distinct checksum_kind, length(checksum) from locations");
        assert_eq!(found, [format!("{kind}|{digits}")], "{checksum}");
    }
}

#[test]
fn unknown_types_of_metadata_are_passed_over() {
    let repository = Repository::of_rpms(&fixtures::rpms("server"));
    let text = std::fs::read_to_string(repository.repomd()).unwrap();
    let unknown = "<data type=\"advice\"><checksum type=\"crc\">0</checksum><location href=\"repodata/missing\"/>\
                   <size>many</size><more><of>it</of></more></data>\n</repomd>";
    std::fs::write(repository.repomd(), text.replace("</repomd>", unknown)).unwrap();
    let server = StaticServer::start(repository.path());
    let index = Sqlite::empty();
    repo(&index, &server.url(), &[]).expect(0);
    assert_same(&index, &index_of_directory(repository.path()), "unknown metadata");
    assert_eq!(server.sent_for("missing").len(), 0);
}
