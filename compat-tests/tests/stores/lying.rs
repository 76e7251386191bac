//! Stores and archives that lead elsewhere, or hold something else.

use std::io::Write;
use std::path::Path;

use compat_tests::darkserver::{RunningGateway, Sqlite, import, import_ok};
use compat_tests::fake_server::FakeServer;
use compat_tests::files::FileServer;
use compat_tests::fixtures;
use compat_tests::http;
use compat_tests::rpmbuild::{self};
use compat_tests::wait_until;
use serde_json::json;

use crate::{copy_of, extractions, index_of, server};

#[test]
fn redirects_of_a_store_lead_only_where_its_redirect_hosts_allow() {
    let directory = copy_of("server");
    let files = FileServer::start(directory.path());
    let elsewhere = files.url().replace("127.0.0.1", "localhost");
    let store = FakeServer::start(move |head, stream| {
        let path = head.split(' ').nth(1).unwrap_or_default();
        let _ = write!(
            stream,
            "HTTP/1.1 302 Found\r\nLocation: {elsewhere}{path}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        );
    });
    let index = index_of(directory.path(), "mirror", &store.url());
    let (path, expected) = server();
    let url = store.url();
    let add = |options: &[&str]| {
        let store = ["store", "add", "store", "--tier", "mirror", "--url", &url];
        import_ok(&index.url(), &[&store[..], options].concat());
    };
    for (options, expected) in [
        (&[][..], "store store: server-1.1-6.fc99.x86_64.rpm: redirects to a host"),
        (&["--redirect-hosts", "other.example"], "redirect_hosts does not allow: localhost"),
        // Its addresses are private, and only * allows it.
        (&["--redirect-hosts", "*,other.example"], "localhost"),
        (&["--redirect-hosts", "", "--allow-private"], "redirect_hosts does not allow: localhost"),
    ] {
        add(options);
        let gateway = RunningGateway::start(&index.url());
        gateway.expect_reset(&path);
        assert!(!files.log().contains("GET"), "{}", files.log());
        assert!(gateway.log().contains(expected), "{options:?}: {}", gateway.log());
    }
    let listed = import_ok(&index.url(), &["store", "list", "--json"]).stdout;
    let listed: serde_json::Value = serde_json::from_slice(&listed).unwrap();
    assert_eq!((&listed[0]["redirect_hosts"], &listed[0]["allow_private"]), (&json!([]), &json!(true)), "{listed}");
    for options in
        [&["--redirect-hosts", "localhost", "--allow-private=false"][..], &["--redirect-hosts", "*", "--allow-private"]]
    {
        add(options);
        let gateway = RunningGateway::start(&index.url());
        let before = files.log().matches("GET").count();
        assert!(gateway.get(&path).body == expected, "other bytes");
        assert!(files.log().matches("GET").count() > before, "{}", files.log());
    }
    let table = String::from_utf8(import_ok(&index.url(), &["store", "list"]).stdout).unwrap();
    assert!(table.contains("REDIRECTS") && table.contains("* (private)"), "{table}");
    let refused =
        import(&index.url(), &["store", "add", "x", "--tier", "mirror", "--url", &url, "--redirect-hosts", "a:1"]);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(refused.status.code() == Some(2) && said.contains("expected hosts without port"), "{said}");
}

#[test]
fn a_file_is_never_served_for_a_build_id_that_it_does_not_carry() {
    const CLAIMED: &str = "c1a1med0c1a1med0c1a1med0c1a1med0c1a1med0";
    let claimed = CLAIMED.replace('l', "1").replace('m', "3");
    for filler_bytes in [0, 1 << 20] {
        let directory = tempfile::tempdir().unwrap();
        let made = rpmbuild::make(directory.path(), "lying", filler_bytes, &claimed);
        let index = Sqlite::empty();
        import_ok(&index.url(), &["dir", directory.path().to_str().unwrap(), "--payload", "never"]);
        let gateway = RunningGateway::start(&index.url());
        let known = gateway.get(&format!("/buildids/{claimed}")).text();
        assert!(known.contains("lying-1.0-1.x86_64"), "expected an index that believes the link, found {known}");
        for word in ["executable", "debuginfo", "section/.text"] {
            assert_eq!(gateway.get(&format!("/buildid/{claimed}/{word}")).status, 404, "{word}");
        }
        // An import that looks inside knows better.
        let index = Sqlite::with_packages(&[directory.path()]);
        let gateway = RunningGateway::start(&index.url());
        assert_eq!(gateway.get(&format!("/buildid/{claimed}/executable")).status, 404);
        let answer = gateway.get(&format!("/buildid/{}/executable", rpmbuild::build_id()));
        assert!(answer.body == made.bytes, "other bytes");
    }
}

#[test]
fn another_package_at_the_same_path_is_not_taken_for_the_one_that_was_indexed() {
    let (path, expected) = server();
    let directory = copy_of("server");
    let files = FileServer::start(directory.path());
    for index in [Sqlite::with_packages(&[directory.path()]), index_of(directory.path(), "mirror", &files.url())] {
        let rpm = directory.path().join("server-1.1-6.fc99.x86_64.rpm");
        let gateway = RunningGateway::start(&index.url());
        std::fs::copy(fixtures::package("server", "server-1.1-7.fc99.x86_64"), &rpm).unwrap();
        assert_eq!(gateway.get(&path).status, 404);
        std::fs::write(&rpm, "not an archive at all").unwrap();
        gateway.expect_reset(&path);
        std::fs::copy(fixtures::package("server", "server-1.1-6.fc99.x86_64"), &rpm).unwrap();
        wait_until("the end of UNAVAILABLE_TTL", || http::get(gateway.port, &path).is_ok());
        assert!(gateway.get(&path).body == expected, "other bytes");
    }
}

#[test]
fn links_that_lead_out_of_a_store_are_never_followed() {
    let (path, _) = server();
    let (outside, directory) = (copy_of("server"), tempfile::tempdir().unwrap());
    let inside = directory.path().join("packages");
    fixtures::copy(&fixtures::rpms("server"), &inside);
    let index = Sqlite::with_packages(&[directory.path()]);
    let gateway = RunningGateway::start(&index.url());
    let refused = || match http::get(gateway.port, &path) {
        Ok(answer) => assert_eq!(answer.status, 404),
        Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "{error}"),
    };
    // The very same package, by a link to the file, absolute and relative, and by a link to its directory.
    let rpm = inside.join("server-1.1-6.fc99.x86_64.rpm");
    let other = outside.path().join("server-1.1-6.fc99.x86_64.rpm");
    let relative = Path::new("../..").join(outside.path().file_name().unwrap()).join(other.file_name().unwrap());
    for target in [other.clone(), relative] {
        std::fs::remove_file(&rpm).unwrap();
        std::os::unix::fs::symlink(&target, &rpm).unwrap();
        assert!(rpm.is_file(), "expected a link that leads somewhere: {}", target.display());
        refused();
    }
    std::fs::rename(&inside, directory.path().join("gone")).unwrap();
    std::os::unix::fs::symlink(outside.path(), &inside).unwrap();
    assert!(rpm.is_file());
    refused();
    assert_eq!(extractions(&gateway, "complete"), 0.0);
    // A link that stays inside is no danger.
    std::fs::remove_file(&inside).unwrap();
    fixtures::copy(&fixtures::rpms("server"), &directory.path().join("real"));
    std::os::unix::fs::symlink("real", &inside).unwrap();
    wait_until("the end of UNAVAILABLE_TTL", || {
        http::get(gateway.port, &path).is_ok_and(|answer| answer.status == 200)
    });
}

#[test]
fn names_of_archives_are_escaped_on_their_way_to_a_store() {
    let directory = tempfile::tempdir().unwrap();
    let odd_name = directory.path().join("a b#c?d%2e%2e.rpm");
    std::fs::copy(fixtures::package("server", "server-1.1-6.fc99.x86_64"), &odd_name).unwrap();
    let files = FileServer::start(directory.path());
    let index = index_of(directory.path(), "mirror", &files.url());
    let gateway = RunningGateway::start(&index.url());
    let (path, expected) = server();
    assert!(gateway.get(&path).body == expected, "other bytes");
    assert!(files.log().contains("/a%20b%23c%3Fd%252e%252e.rpm"), "{}", files.log());
}
