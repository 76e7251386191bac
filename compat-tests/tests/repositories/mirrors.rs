//! Metalinks, lists of mirrors and signatures: where metadata comes from, and who vouches for it.

use std::path::Path;

use compat_tests::certificates::Certificates;
use compat_tests::darkserver::{RunningGateway, Sqlite};
use compat_tests::fixtures;
use compat_tests::process::free_port;
use compat_tests::repository::{Metalink, Repository, SigningKey, mirrorlist};
use compat_tests::static_server::{Fault, StaticServer};
use tempfile::TempDir;

use crate::changing::{Changing, replace};
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
fn a_metalink_that_a_redirect_leads_to_without_tls_vouches_for_nothing() {
    let lists = Lists::start();
    let (repository, good) = mirror(6);
    lists.publish("elsewhere", &Metalink::of(&repository.repomd()).with_mirror(&good.url()).text());
    let (plain, by_tls) = (StaticServer::start(lists.directory.path()), &lists.certificates);
    let by_tls = StaticServer::start_tls(lists.directory.path(), by_tls);
    for (target, expected) in [(&plain, "no"), (&by_tls, "metalink")] {
        lists.server.repair();
        lists.server.set("metalink", Fault::Redirects(format!("{}/elsewhere", target.url())));
        let index = Sqlite::empty();
        let store = ["store", "add", "fedora", "--tier", "mirror", "--url", FOR_CLIENTS, "--allow-private"];
        run_import(&index, &[&store[..], &["--redirect-hosts", "127.0.0.1"]].concat()).expect(0);
        lists.import_without_store(&index, "metalink", &[]).expect(0);
        assert_eq!(verified(&index), expected, "{}", target.url());
    }
}

/// Makes a `repomd.xml` state this revision.
fn set_revision(repository: &Repository, revision: u64) {
    let text = String::from_utf8(read(&repository.repomd())).unwrap();
    let (start, rest) = text.split_once("<revision>").unwrap();
    let (_, end) = rest.split_once("</revision>").unwrap();
    std::fs::write(repository.repomd(), format!("{start}<revision>{revision}</revision>{end}")).unwrap();
}

#[test]
fn a_mirror_of_a_list_that_is_behind_does_not_roll_back() {
    let (lists, index) = (Lists::start(), Sqlite::empty());
    let ((newer, good), (older, behind)) = (mirror(6), mirror(5));
    set_revision(&newer, 2000);
    set_revision(&older, 1000);
    let right = index_of_directory(newer.path());
    lists.publish("mirrorlist", &mirrorlist(&[&good.url()]));
    lists.import(&index, "mirrorlist", &[]).expect(0);
    // Another one is asked.
    lists.publish("mirrorlist", &mirrorlist(&[&behind.url(), &good.url()]));
    lists.import(&index, "mirrorlist", &[]).expect(0);
    assert_same(&index, &right, "with one that is behind");
    // A signature is as old as what it signs.
    let key = SigningKey::make();
    let file = key.public();
    key.sign(&older.repomd());
    lists.publish("mirrorlist", &mirrorlist(&[&behind.url()]));
    for arguments in [&[][..], &["--key", file.to_str().unwrap()]] {
        lists.import(&index, "mirrorlist", arguments).expect(1).mentions(&["revision 2000", "revision 1000"]);
        assert_same(&index, &right, "with nothing but one that is behind");
    }
    assert_eq!(number(&index, "select count(*) from memberships where ended_at is not null"), 0);
    // What one server has is meant.
    let base = ["repo", &behind.url(), "--name", "tested", "--store", "fedora", "--path", "os"];
    run_import(&index, &base).expect(0);
    assert_eq!(rows(&index, "select revision from repositories"), ["1000"]);
}

#[test]
fn a_compose_that_was_taken_back_is_what_its_metalink_calls_the_newest() {
    let (lists, index) = (Lists::start(), Sqlite::empty());
    let ((newer, second), (older, first)) = (mirror(6), mirror(5));
    set_revision(&newer, 2000);
    set_revision(&older, 1000);
    lists.publish("metalink", &Metalink::of(&newer.repomd()).with_mirror(&second.url()).text());
    lists.import(&index, "metalink", &[]).expect(0);
    lists.publish("metalink", &Metalink::of(&older.repomd()).with_mirror(&first.url()).text());
    lists.import(&index, "metalink", &[]).expect(0);
    assert_eq!(rows(&index, "select revision from repositories"), ["1000"]);
    let listed = "select count(*) from memberships where ended_at is null";
    assert_eq!(number(&index, listed), 3);
}

#[test]
fn a_repository_of_a_metalink_that_is_refreshed_while_it_is_read_is_read_again() {
    // 1: repomd.xml, 2: primary, 3 and on: headers.
    for request in 2..=4 {
        let (lists, index, changing) = (Lists::start(), Sqlite::empty(), Changing::make());
        replace(changing.old.path(), changing.served.path());
        let server = StaticServer::start(changing.served.path());
        let metalink = |repository: &Repository| {
            let alternate = read(&changing.old.repomd());
            Metalink::of(&repository.repomd()).with_alternate(&alternate).with_mirror(&server.url()).text()
        };
        lists.publish("metalink", &metalink(&changing.old));
        let (newer, file) = (metalink(&changing.new), lists.directory.path().join("metalink"));
        let (from, to) = (changing.new.path().to_owned(), changing.served.path().to_owned());
        server.at_request(request, move || {
            replace(&from, &to);
            std::fs::write(file, newer).unwrap();
        });
        let run = lists.import(&index, "metalink", &["--jobs", "1"]).expect(0);
        run.mentions(&["reading it again"]);
        let listed = rows(
            &index,
            "select p.nvra from packages p join memberships m on m.package_id = p.id where m.ended_at is null \
             order by p.nvra",
        );
        let expected = rows(&index_of_directory(changing.new.path()), "select nvra from packages order by nvra");
        assert_eq!(listed, expected, "changed at request {request}");
    }
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
fn a_list_that_is_refused_at_first_is_in_the_status() {
    let (lists, index) = (Lists::start(), Sqlite::empty());
    let (repository, good) = mirror(6);
    let store = ["store", "add", "fedora", "--tier", "mirror", "--url", &good.url(), "--allow-private"];
    run_import(&index, &store).expect(0);
    let url = format!("{}/metalink", lists.server.url());
    let authority = lists.certificates.authority();
    let import = || {
        let arguments = ["repo", &url, "--name", "tested", "--store", "fedora"];
        run_import_in(&[("SSL_CERT_FILE", authority.as_path())], &index, &arguments)
    };
    import().expect(1).mentions(&["404"]);
    let status = run_import(&index, &["status"]).expect(0).json();
    assert!(status["repositories"][0]["error"].as_str().unwrap().contains("404"), "{status}");
    // No mirror is below the store, and no path was given.
    lists.publish("metalink", &Metalink::of(&repository.repomd()).with_mirror("http://127.0.0.2:1").text());
    import().expect(2).mentions(&["--path"]);
    assert!(rows(&index, "select error from repositories")[0].contains("--path"));
    lists.publish("metalink", &Metalink::of(&repository.repomd()).with_mirror(&good.url()).text());
    import().expect(0);
    assert_eq!(rows(&index, "select path, error is null from repositories"), ["|1"]);
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
