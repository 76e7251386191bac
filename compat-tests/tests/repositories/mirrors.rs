//! Metalinks, lists of mirrors and signatures: where metadata comes from, and who vouches for it.

use std::path::Path;

use compat_tests::certificates::Certificates;
use compat_tests::darkserver::{RunningGateway, Sqlite};
use compat_tests::fixtures;
use compat_tests::process::free_port;
use compat_tests::repository::{Metalink, Repository, SigningKey, mirrorlist};
use compat_tests::static_server::{Fault, StaticServer};
use tempfile::TempDir;

use crate::support::{
    Run, assert_nothing_wrong, assert_same, index_of_directory, number, rows, run_import, run_import_in, server,
};

/// Where clients are sent: no mirror has this name.
const FOR_CLIENTS: &str = "http://downloads.example/pub";

/// A server of metalinks and lists of mirrors, by TLS.
struct Lists {
    directory: TempDir,
    server: StaticServer,
    certificates: Certificates,
}

impl Lists {
    fn start() -> Self {
        let (directory, certificates) = (tempfile::tempdir().unwrap(), Certificates::make());
        let server = StaticServer::start_tls(directory.path(), &certificates);
        Self { directory, server, certificates }
    }

    /// Publishes a text as `/metalink` or `/mirrorlist`.
    fn publish(&self, name: &str, text: &str) {
        std::fs::write(self.directory.path().join(name), text).unwrap();
    }

    /// Imports what `/NAME` lists as the repository `tested` at `os` of a store whose URL is for clients alone.
    fn import(&self, index: &Sqlite, name: &str, arguments: &[&str]) -> Run {
        let store = ["store", "add", "fedora", "--tier", "mirror", "--url", FOR_CLIENTS, "--allow-private"];
        run_import(index, &store).expect(0);
        self.import_without_store(index, name, arguments)
    }

    fn import_without_store(&self, index: &Sqlite, name: &str, arguments: &[&str]) -> Run {
        let url = format!("{}/{name}?repo=tested&arch=x86_64", self.server.url());
        let ours = ["repo", &url, "--name", "tested", "--store", "fedora", "--path", "os"];
        let authority = self.certificates.authority();
        run_import_in(&[("SSL_CERT_FILE", authority.as_path())], index, &[&ours[..], arguments].concat())
    }
}

fn verified(index: &Sqlite) -> String {
    rows(index, "select verified from repositories")[0].clone()
}

/// A repository with a release of `server`, and a server of it.
fn mirror(release: u32) -> (Repository, StaticServer) {
    let repository = Repository::of_rpms(&server(release));
    let server = StaticServer::start(repository.path());
    (repository, server)
}

fn read(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap()
}

#[test]
fn a_metalink_vouches_for_mirrors_of_which_one_is_dead_and_one_is_behind() {
    let (lists, index) = (Lists::start(), Sqlite::empty());
    let ((repository, good), (_old, behind)) = (mirror(6), mirror(5));
    let dead = format!("http://127.0.0.1:{}", free_port());
    let metalink = Metalink::of(&repository.repomd());
    let metalink = metalink.with_mirror(&dead).with_mirror(&behind.url()).with_mirror(&good.url());
    lists.publish("metalink", &metalink.text());
    lists.import(&index, "metalink", &[]).expect(0);
    assert_eq!(verified(&index), "metalink");
    assert_same(&index, &index_of_directory(repository.path()), "by a metalink");
    assert_eq!(behind.sent_for(".rpm").len(), 0, "{:?}", behind.sent());

    // Links lead to the store, never to the mirror of the day.
    let gateway = RunningGateway::start(&index.url());
    let id = fixtures::build_id("server/server-1.1-6.fc99.x86_64.rpm", "/usr/bin/server");
    let text = gateway.get(&format!("/buildids/{id}")).text();
    assert!(text.contains("http://downloads.example/pub/os/server-1.1-6.fc99.x86_64.rpm"), "{text}");
    assert!(!text.contains("127.0.0.1"), "{text}");
}

#[test]
fn an_alternate_of_a_metalink_is_as_good_and_another_repomd_is_refused() {
    let (lists, index) = (Lists::start(), Sqlite::empty());
    let ((repository, server), (newer, _)) = (mirror(6), mirror(7));
    // The mirror has the older of two that are valid.
    let metalink = Metalink::of(&newer.repomd()).with_alternate(&read(&repository.repomd()));
    lists.publish("metalink", &metalink.with_mirror(&server.url()).text());
    lists.import(&index, "metalink", &[]).expect(0);
    assert_same(&index, &index_of_directory(repository.path()), "an alternate");

    lists.publish("metalink", &Metalink::of(&newer.repomd()).with_mirror(&server.url()).text());
    lists.import(&index, "metalink", &[]).expect(1).mentions(&["repomd.xml", "sha"]);
    assert_same(&index, &index_of_directory(repository.path()), "after a refusal");
    assert_eq!(number(&index, "select count(*) from repositories where error is not null"), 1);
}

#[test]
fn a_mirror_that_ends_in_the_middle_is_left_for_another() {
    let (lists, index) = (Lists::start(), Sqlite::empty());
    let (repository, first) = mirror(6);
    let second = StaticServer::start(repository.path());
    first.set(".rpm", Fault::ResetsAfter(100));
    let metalink = Metalink::of(&repository.repomd()).with_mirror(&first.url()).with_mirror(&second.url());
    lists.publish("metalink", &metalink.text());
    lists.import(&index, "metalink", &[]).expect(0);
    assert_same(&index, &index_of_directory(repository.path()), "by the second mirror");
}

#[test]
fn a_metalink_without_tls_vouches_for_nothing() {
    let (index, directory) = (Sqlite::empty(), tempfile::tempdir().unwrap());
    let (repository, good) = mirror(6);
    std::fs::write(
        directory.path().join("metalink"),
        Metalink::of(&repository.repomd()).with_mirror(&good.url()).text(),
    )
    .unwrap();
    let server = StaticServer::start(directory.path());
    let store = ["store", "add", "fedora", "--tier", "mirror", "--url", FOR_CLIENTS, "--allow-private"];
    run_import(&index, &store).expect(0);
    let url = format!("{}/metalink", server.url());
    run_import(&index, &["repo", &url, "--name", "tested", "--store", "fedora", "--path", "os"]).expect(0);
    assert_eq!(verified(&index), "no");
}

#[test]
fn mirrors_of_a_list_may_not_have_private_addresses() {
    let (lists, index) = (Lists::start(), Sqlite::empty());
    let (repository, good) = mirror(6);
    lists.publish("metalink", &Metalink::of(&repository.repomd()).with_mirror(&good.url()).text());
    run_import(&index, &["store", "add", "fedora", "--tier", "mirror", "--url", FOR_CLIENTS]).expect(0);
    lists.import_without_store(&index, "metalink", &[]).expect(1).mentions(&["127.0.0.1"]);
    assert_eq!(good.sent().len(), 0);
    assert_eq!(number(&index, "select count(*) from packages"), 0);
}

#[test]
fn a_list_of_mirrors_needs_a_signature_or_is_unverified() {
    let (lists, index) = (Lists::start(), Sqlite::empty());
    let (repository, good) = mirror(6);
    let dead = format!("http://127.0.0.1:{}", free_port());
    lists.publish("mirrorlist", &mirrorlist(&[&dead, &good.url()]));
    lists.import(&index, "mirrorlist", &[]).expect(0);
    assert_eq!(verified(&index), "no");
    let status = run_import(&index, &["status"]).expect(0).json();
    assert_eq!(status["repositories"][0]["verified"], "no", "{status}");
    let text = import_text(&index, &["status"]);
    assert!(text.contains("unverified"), "{text}");

    let (key, other) = (SigningKey::make(), SigningKey::make());
    let (file, file_of_other) = (key.public(), other.public());
    let (file, file_of_other) = (file.to_str().unwrap(), file_of_other.to_str().unwrap());
    // Keys are configured, and there is no signature.
    lists.import(&index, "mirrorlist", &["--key", file]).expect(1).mentions(&["repomd.xml.asc"]);
    key.sign(&repository.repomd());
    lists.import(&index, "mirrorlist", &["--key", file_of_other]).expect(1).mentions(&["repomd.xml"]);
    lists.import(&index, "mirrorlist", &["--key", file]).expect(0);
    assert_eq!(verified(&index), "signature");
    // One of several keys is enough.
    lists.import(&index, "mirrorlist", &["--key", file_of_other, "--key", file]).expect(0);
    assert_eq!(verified(&index), "signature");

    // A signature of other bytes.
    let right = index_of_directory(repository.path());
    let mut changed = read(&repository.repomd());
    changed.push(b'\n');
    std::fs::write(repository.repomd(), changed).unwrap();
    lists.import(&index, "mirrorlist", &["--key", file]).expect(1).mentions(&["repomd.xml"]);
    assert_same(&index, &right, "after a refusal");
    assert_nothing_wrong(&index, &right, "after a refusal");
}

#[test]
fn a_base_url_with_a_signature_is_verified() {
    let (index, key) = (Sqlite::empty(), SigningKey::make());
    let (repository, server) = mirror(6);
    key.sign(&repository.repomd());
    let public = key.public();
    let arguments = ["repo", &server.url(), "--name", "tested", "--key", public.to_str().unwrap()];
    run_import(&index, &arguments).expect(0);
    assert_eq!(verified(&index), "signature");
}

#[test]
fn a_broken_list_is_refused_and_names_the_cause() {
    let (lists, index) = (Lists::start(), Sqlite::empty());
    for (name, text) in [
        ("metalink", "<html><body>Please log in.</body></html>"),
        ("metalink", "<?xml version=\"1.0\"?>\n<metalink><files><file name=\"repomd.xml\">"),
        ("mirrorlist", "# no mirrors here\n"),
        ("mirrorlist", "ftp://mirror.example/os\n/etc/passwd\n"),
    ] {
        lists.publish(name, text);
        lists.import(&index, name, &[]).expect(1).mentions(&[name]);
        assert_eq!(number(&index, "select count(*) from packages"), 0);
    }
}

/// The output of a command without `--json`.
fn import_text(index: &Sqlite, arguments: &[&str]) -> String {
    let output = compat_tests::darkserver::import_ok(&index.url(), arguments);
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}
