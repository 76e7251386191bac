//! What the JSON API and `/metadata` tell of packages whose header was not read.

use compat_tests::fixtures;
use compat_tests::static_server::{Fault, StaticServer};
use compat_tests::wait_until;
use serde_json::{Value, json};
use sql::{CompleteListing, NewRepository, Verified};

use super::*;

fn rows(gateway: &RunningGateway, path: &str) -> Value {
    serde_json::from_str(&gateway.get(path).text()).unwrap()
}

#[test]
fn build_ids_list_claims_until_the_header_is_indexed_and_then_no_row_twice() {
    let server = StaticServer::start(&fixtures::family("server"));
    let index = ClaimedIndex::new();
    let store = index.store(&new_store("mirror", &server.url()));
    let (program, debuginfo) = (fixtures::package("server", SERVER), fixtures::package("server", DEBUGINFO));
    for rpm in [&program, &debuginfo] {
        index.claim(&claimed(rpm, &store));
    }
    let gateway = index.gateway("[index]\nabsent_ttl = \"0s\"\nfound_ttl = \"0s\"\n");
    let id = server_id();
    let link = format!("/usr/lib/.build-id/{}/{}", &id[..2], &id[2..]);
    let row = |elf: &str, nvra: &str| {
        let url = format!("{}/{nvra}.rpm", server.url());
        json!({ "buildid": id, "elf": elf, "rpm": nvra, "distro": "fc99", "url": url })
    };
    let before = rows(&gateway, &format!("/buildids/{id}"));
    assert_eq!(before, json!([row(&link, SERVER), row("", DEBUGINFO)]));
    // That a request has read a header changes nothing.
    assert_eq!(gateway.get(&format!("/buildid/{id}/executable")).status, 200);
    assert_eq!(rows(&gateway, &format!("/buildids/{id}")), before);
    assert_eq!(rows(&gateway, &format!("/buildids/{id},{}", random_id(0))), before);
    let of_package = rows(&gateway, &format!("/rpm2buildids/{SERVER}.rpm"));
    assert!(of_package.as_array().unwrap().contains(&row(&link, SERVER)), "{of_package}");
    let url = json!({ "url": format!("{}/{SERVER}.rpm", server.url()) });
    assert_eq!(rows(&gateway, &format!("/package/{SERVER}")), url);
    index.insert(import_of(&program, &store));
    let after = rows(&gateway, &format!("/buildids/{id}"));
    assert_eq!(after, json!([row("/usr/bin/server", SERVER), row("", DEBUGINFO)]));
    index.insert(import_of(&debuginfo, &store));
    let after = rows(&gateway, &format!("/buildids/{id}"));
    let elf = after[1]["elf"].as_str().unwrap();
    assert!(elf.starts_with("/usr/lib/debug/"), "{after}");
    assert_eq!(after, json!([row("/usr/bin/server", SERVER), row(elf, DEBUGINFO)]));
    assert_eq!(rows(&gateway, &format!("/package/{SERVER}.rpm")), url);
}

#[test]
fn metadata_lists_claims_as_what_they_are() {
    let server = StaticServer::start(&fixtures::family("server"));
    let index = ClaimedIndex::new();
    let store = index.store(&new_store("mirror", &server.url()));
    for nvra in [SERVER, DEBUGINFO] {
        index.claim(&claimed(&fixtures::package("server", nvra), &store));
    }
    let gateway = index.gateway("");
    let found = rows(&gateway, &format!("/metadata?key=buildid&value={}", server_id()));
    assert_eq!(found["complete"], true, "{found}");
    let facts: Vec<_> = found["results"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| (entry["type"].as_str().unwrap(), entry["archive"].as_str().unwrap(), &entry["claimed"]))
        .collect();
    let archives = [SERVER, DEBUGINFO].map(|nvra| format!("{nvra}.rpm"));
    assert_eq!(facts, [("executable", &*archives[0], &json!(true)), ("debuginfo", &archives[1], &json!(true))]);
    assert_eq!(found["results"][0]["locations"][0]["url"], format!("{}/{SERVER}.rpm", server.url()));
    assert!(server.sent().is_empty(), "{:?}", server.sent());
}

#[test]
fn metadata_tells_the_life_of_a_package() {
    let server = StaticServer::start(&fixtures::family("server"));
    let index = ClaimedIndex::new();
    let store = index.store(&new_store("mirror", &server.url()));
    let newer = fixtures::package("server", "server-1.1-7.fc99.x86_64");
    index.claim(&claimed(&fixtures::package("server", SERVER), &store));
    index.claim(&claimed(&newer, &store));
    let repository = NewRepository {
        name: "f99-updates".to_owned(),
        store_id: store.id,
        path: String::new(),
        url: None,
        format: Format::Rpm,
        distro: None,
    };
    index.runtime.block_on(async {
        let id = async |nvra: &str| index.index.packages_by_nvra(nvra).await.unwrap().unread[0].id;
        let (old, new) = (id(SERVER).await, id("server-1.1-7.fc99.x86_64").await);
        let repository = index.index.add_repository(&repository).await.unwrap().id;
        index.index.mark_listed(repository, &[old], &[], 1_000).await.unwrap();
        index.index.mark_listed(repository, &[new], &[], 2_000).await.unwrap();
        let listing = CompleteListing {
            revision: None,
            metadata_checksum: Some("0".repeat(64)),
            verified: Verified::No,
            package_count: 1,
            ended: vec![old],
            gone: Vec::new(),
            started_at: 3_000,
            refused_count: 0,
            refused: None,
        };
        index.index.complete_listing(repository, &listing).await.unwrap();
    });
    let gateway = index.gateway("");
    let asked = format!("/metadata?key=buildid&value={}", server_id());
    let of_claim = rows(&gateway, &asked)["results"][0].clone();
    index.insert(import_of(&fixtures::package("server", SERVER), &store));
    wait_until("the header to be seen", || rows(&gateway, &asked)["results"][0]["file"] == "/usr/bin/server");
    for entry in [of_claim, rows(&gateway, &asked)["results"][0].clone()] {
        let membership = &entry["memberships"][0];
        assert_eq!((&membership["repository"], &membership["first_seen"]), (&json!("f99-updates"), &json!(1_000)));
        assert!(membership["ended_at"].as_i64().unwrap() > 3_000, "{entry}");
        assert_eq!(entry["obsoleted_by"], "server-1.1-7.fc99.x86_64", "{entry}");
    }
}

#[test]
fn the_query_of_a_signed_url_is_on_every_request_and_in_no_answer() {
    const QUERY: &str = "token=secret&expires=1";
    let server = StaticServer::start(&fixtures::family("server"));
    server.require_query(QUERY);
    let index = ClaimedIndex::new();
    let store = index.store(&new_store("mirror", &format!("{}?{QUERY}", server.url())));
    index.claim(&claimed(&fixtures::package("server", DEBUGINFO), &store));
    let gateway = index.gateway("[federation]\ntrace = true\n");
    let id = server_id();
    let (_, debuginfo) = server_bytes();
    assert!(gateway.get(&format!("/buildid/{id}/debuginfo")).body == debuginfo, "other bytes");
    for sent in server.sent() {
        assert_eq!(sent.target, format!("/{DEBUGINFO}.rpm?{QUERY}"));
    }
    // Without the query a link leads nowhere.
    assert_eq!(rows(&gateway, &format!("/buildids/{id}"))[0]["url"], "");
    assert!(rows(&gateway, &format!("/package/{DEBUGINFO}")).get("url").is_none());
    let asked = format!("/metadata?key=buildid&value={id}");
    let metadata = rows(&gateway, &asked);
    let place = &metadata["results"][0]["locations"][0];
    assert!(place["tier"] == "mirror" && place.get("url").is_none_or(Value::is_null), "{metadata}");
    assert!(!metadata.to_string().contains("secret"), "{metadata}");
    // Another store's link is offered, although that one is behind.
    let archive = index.store(&NewStore { tier: Tier::Archive, ..new_store("archive", "http://archive.example/pub") });
    let rpm = fixtures::package("server", DEBUGINFO);
    index.claim(&claimed(&rpm, &archive));
    let gateway_after = index.gateway("");
    let url = format!("http://archive.example/pub/{DEBUGINFO}.rpm");
    assert_eq!(rows(&gateway_after, &format!("/buildids/{id}"))[0]["url"], url);
    assert_eq!(rows(&gateway_after, &asked)["results"][0]["locations"][1]["url"], url);
    server.set(DEBUGINFO, Fault::Status(500));
    let gateway = index.gateway("");
    gateway.expect_reset(&format!("/buildid/{id}/debuginfo"));
    assert!(!gateway.log().contains("secret"), "{}", gateway.log());
}
