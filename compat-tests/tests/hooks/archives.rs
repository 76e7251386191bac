//! The hook for archives of stores over HTTP.

use std::fs;

use compat_tests::darkserver::{RunningGateway, import_ok};
use compat_tests::fake_server::{self, FakeServer};
use compat_tests::static_server::StaticServer;
use compat_tests::{fixtures, wait_within};

use compat_tests::indexer::ANSWER_WITHIN;

use super::support::{Bench, FAMILY, NAME, build_id, json, start};

/// Adds a store for the directory `mirror`, and returns its server.
fn add_mirror(bench: &Bench) -> StaticServer {
    let mirror = bench.directory.path().join("mirror");
    fs::create_dir_all(mirror.join("pub/a")).unwrap();
    let server = StaticServer::start(&mirror);
    let url = format!("{}/pub", server.url());
    import_ok(&bench.sqlite.url(), &["store", "add", "mirror", "--tier", "mirror", "--url", &url]);
    server
}

#[test]
fn an_archive_of_a_store_answers_after_a_hook_named_it() {
    let bench = start("");
    let server = add_mirror(&bench);
    let gateway = RunningGateway::start(&bench.sqlite.url());
    let file = bench.directory.path().join("mirror/pub/a").join(NAME);
    fs::copy(fixtures::rpm(&format!("{FAMILY}/{NAME}")), file).unwrap();
    let url = format!("{}/pub/a/{NAME}", server.url());
    let response = bench.post("archive", &serde_json::json!({ "url": url }).to_string());
    assert_eq!((response.status, &json(&response)["job"]), (202, &format!("archive mirror/a/{NAME}").into()));
    let answers = || gateway.get(&format!("/buildids/{}", build_id())).text().contains(NAME.trim_end_matches(".rpm"));
    wait_within(ANSWER_WITHIN, "an answer", answers);
    assert!(server.sent().iter().all(|sent| sent.path.ends_with(NAME)), "{:?}", server.sent());
    // By store and path, and repeated: it stays one package.
    let place = serde_json::json!({ "store": "mirror", "path": format!("a/{NAME}") }).to_string();
    for _ in 0..3 {
        assert_eq!(bench.post("archive", &place).status, 202);
    }
    assert_eq!(bench.packages(), [NAME.trim_end_matches(".rpm")]);
}

#[test]
fn nothing_outside_of_the_stores_is_ever_fetched() {
    let bench = start("");
    let server = add_mirror(&bench);
    let decoy = FakeServer::start(fake_server::answer_absent);
    let (own, other) = (server.url(), decoy.url());
    let (own_host, other_host) = (own.trim_start_matches("http://"), other.trim_start_matches("http://"));
    for url in [
        format!("{other}/pub/a/{NAME}"),
        format!("{own}/{NAME}"),
        format!("{own}/public/{NAME}"),
        format!("{own}/pub/../{NAME}"),
        format!("{own}/pub/%2e%2e/secret/{NAME}"),
        format!("{own}/pub/..%2f..%2f{NAME}"),
        format!("{own}/pub//{NAME}"),
        format!("http://{own_host}@{other_host}/pub/{NAME}"),
        format!("http://user:secret@{own_host}/pub/{NAME}"),
        format!("{own}/pub/{NAME}?redirect={other}"),
        format!("{own}/pub/{NAME}#{other}"),
        format!("{own}\\@{other_host}/pub/{NAME}"),
        format!("https://{own_host}/pub/{NAME}"),
        format!("file:///pub/{NAME}"),
        format!("//{other_host}/pub/{NAME}"),
        String::new(),
    ] {
        let response = bench.post("archive", &serde_json::json!({ "url": url }).to_string());
        assert!(matches!(response.status, 400 | 422), "{url}: {} {}", response.status, response.text());
        assert!(!response.text().contains("\"job\""), "{url}");
    }
    for (store, path) in [
        ("mirror", format!("../{NAME}")),
        ("mirror", format!("/{NAME}")),
        ("mirror", format!("a/./{NAME}")),
        ("mirror", other.clone()),
        ("uploads", "../../../etc/passwd".to_owned()),
        ("uploads", "etc/passwd".to_owned()),
        ("other", NAME.to_owned()),
        (&other, NAME.to_owned()),
    ] {
        let body = serde_json::json!({ "store": store, "path": path }).to_string();
        let response = bench.post("archive", &body);
        assert!(matches!(response.status, 400 | 422), "{body}: {}", response.status);
    }
    let both = serde_json::json!({ "url": format!("{own}/pub/{NAME}"), "store": "mirror", "path": NAME });
    assert_eq!(bench.post("archive", &both.to_string()).status, 400);
    // Of a store's own server, a redirect elsewhere is not followed either.
    server.set(NAME, compat_tests::static_server::Fault::Redirects(format!("{other}{{path}}")));
    let url = format!("{own}/pub/a/{NAME}");
    assert_eq!(bench.post("archive", &serde_json::json!({ "url": url }).to_string()).status, 202);
    wait_within(ANSWER_WITHIN, "a request for the archive", || !server.sent_for(NAME).is_empty());
    assert_eq!(server.sent().iter().filter(|sent| !sent.target.starts_with("/pub/a/")).count(), 0);
    assert_eq!(decoy.connections(), 0, "{:?}", decoy.requests());
    assert!(bench.packages().is_empty());
}
