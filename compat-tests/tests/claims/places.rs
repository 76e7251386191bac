//! Places that follow from the pattern of a store, and their order.

use compat_tests::fixtures;
use compat_tests::static_server::{Fault, StaticServer};
use compat_tests::wait_until;
use sql::{CheckResult, PlaceCheck};

use super::*;

/// Where Koji has the debuginfo of the server.
const PLACE: &str = "packages/server/1.1/6.fc99/x86_64/server-debuginfo-1.1-6.fc99.x86_64.rpm";

/// A mirror without packages, and a Koji with the debuginfo of the server.
struct Places {
    mirror: StaticServer,
    koji: StaticServer,
    index: ClaimedIndex,
    koji_store: Store,
    _directories: [tempfile::TempDir; 2],
}

fn places(copy: &str) -> Places {
    let directories = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let at = directories[1].path().join(PLACE);
    std::fs::create_dir_all(at.parent().unwrap()).unwrap();
    std::fs::copy(fixtures::package("server", copy), &at).unwrap();
    let [mirror, koji] = [&directories[0], &directories[1]].map(|directory| StaticServer::start(directory.path()));
    let index = ClaimedIndex::new();
    let store = index.store(&new_store("mirror", &mirror.url()));
    index.claim(&claimed(&fixtures::package("server", DEBUGINFO), &store));
    let koji_store = index.store(&NewStore {
        tier: Tier::Koji,
        pattern: Some("{volume}packages/{name}/{version}/{release}/{arch}/{nvra}.rpm".parse().unwrap()),
        distros: "fc*".parse().unwrap(),
        ..new_store("koji", &koji.url())
    });
    Places { mirror, koji, index, koji_store, _directories: directories }
}

fn url_of(gateway: &RunningGateway) -> String {
    let rows: serde_json::Value =
        serde_json::from_str(&gateway.get(&format!("/buildids/{}", server_id())).text()).unwrap();
    rows[0]["url"].as_str().unwrap().to_owned()
}

#[test]
fn a_derived_place_serves_what_the_mirror_dropped() {
    let Places { mirror, koji, index, .. } = &places(DEBUGINFO);
    let gateway = index.gateway("");
    let (path, (_, debuginfo)) = (format!("/buildid/{}/debuginfo", server_id()), server_bytes());
    assert!(gateway.get(&path).body == debuginfo, "other bytes");
    assert!(!mirror.sent().is_empty() && koji.sent().iter().all(|sent| sent.path == PLACE), "{:?}", koji.sent());
    // What the package is was learned there, so that it is found there again.
    let rpm = fixtures::package("server", DEBUGINFO);
    let store = index.store(&new_store("mirror", &mirror.url()));
    index.insert(import_of(&rpm, &store));
    let gateway = index.gateway("");
    assert!(gateway.get(&path).body == debuginfo, "other bytes");
}

#[test]
fn another_package_at_a_derived_place_is_absent_and_remembered() {
    let Places { koji, index, .. } = &places("server-debuginfo-1.1-7.fc99.x86_64");
    let gateway = index.gateway("");
    let path = format!("/buildid/{}/debuginfo", server_id());
    assert_eq!(gateway.get(&path).status, 404);
    let rpm = fixtures::package("server", DEBUGINFO);
    let store = index.store(&new_store("archive", "http://127.0.0.1:9"));
    index.insert(Import { location: location(&rpm, &store), ..import_of(&rpm, &store) });
    wait_until("the record", || gateway.get(&format!("/buildids/{}", server_id())).text().contains("/usr/lib/debug/"));
    let requests = koji.sent().len();
    assert_eq!(requests, 1, "{:?}", koji.sent());
    gateway.expect_reset(&path);
    assert_eq!(koji.sent().len(), requests, "it was not there a moment ago: {:?}", koji.sent());
}

#[test]
fn a_derived_place_that_cannot_be_asked_makes_a_claim_unknown() {
    let Places { koji, index, .. } = &places(DEBUGINFO);
    koji.set(PLACE, Fault::Status(500));
    index.gateway("").expect_reset(&format!("/buildid/{}/debuginfo", server_id()));
}

#[test]
fn the_url_is_the_best_place_that_is_not_known_to_be_gone() {
    let Places { mirror, koji, index, koji_store, .. } = &places(DEBUGINFO);
    let settings = "[index]\nfound_ttl = \"0s\"\nabsent_ttl = \"0s\"\n";
    let gateway = index.gateway(settings);
    assert_eq!(url_of(&gateway), format!("{}/{DEBUGINFO}.rpm", mirror.url()));
    let mirror_store = index.store(&new_store("mirror", &mirror.url()));
    let package_id = {
        let found = index.runtime.block_on(index.index.packages_by_nvra(DEBUGINFO)).unwrap();
        found.unread[0].id
    };
    let check = |store: &Store, path: &str, result: CheckResult, derived: bool| {
        let path = path.to_owned();
        let check = PlaceCheck { package_id, store_id: store.id, path, at: 1_800_000_000, result, derived };
        index.runtime.block_on(index.index.record_check(&[check])).unwrap();
    };
    let rpm = format!("{DEBUGINFO}.rpm");
    check(&mirror_store, &rpm, CheckResult::Gone, false);
    assert_eq!(url_of(&gateway), format!("{}/{PLACE}", koji.url()), "never checked, and there may be a copy");
    check(koji_store, PLACE, CheckResult::Failed("timed out".to_owned()), true);
    assert_eq!(url_of(&gateway), format!("{}/{PLACE}", koji.url()));
    check(koji_store, PLACE, CheckResult::Gone, true);
    assert_eq!(url_of(&gateway), "");
    assert_eq!(gateway.get(&format!("/buildid/{}/debuginfo", server_id())).status, 404);
    assert!(koji.sent().is_empty() && mirror.sent().is_empty(), "{:?}", koji.sent());
    check(koji_store, PLACE, CheckResult::Present { size: None }, true);
    assert_eq!(url_of(&gateway), format!("{}/{PLACE}", koji.url()));
}

#[test]
fn a_size_of_0_is_no_expectation() {
    let Places { mirror, koji, index, koji_store, .. } = &places(DEBUGINFO);
    let path = format!("/buildid/{}/debuginfo", server_id());
    let package_id = index.runtime.block_on(index.index.packages_by_nvra(DEBUGINFO)).unwrap().unread[0].id;
    let check = PlaceCheck {
        package_id,
        store_id: koji_store.id,
        path: PLACE.to_owned(),
        at: 1_800_000_000,
        result: CheckResult::Present { size: Some(0) },
        derived: true,
    };
    index.runtime.block_on(index.index.record_check(&[check])).unwrap();
    assert!(index.gateway("").get(&path).body == server_bytes().1, "other bytes");
    assert!(!koji.sent().is_empty());
    // The same of an indexed header, and of a place that a repository named.
    let store = index.store(&new_store("mirror", &mirror.url()));
    let rpm = fixtures::package("server", DEBUGINFO);
    index.insert(Import {
        location: NewLocation { size: Some(0), ..location(&rpm, &store) },
        ..import_of(&rpm, &store)
    });
    assert!(index.gateway("").get(&path).body == server_bytes().1, "other bytes");
    let server = StaticServer::start(&fixtures::family("server"));
    let index = ClaimedIndex::new();
    let store = index.store(&new_store("mirror", &server.url()));
    let named = NewLocation { size: Some(0), ..location(&rpm, &store) };
    index.claim(&ClaimedPackage { location: Some(named), ..claimed(&rpm, &store) });
    assert!(index.gateway("").get(&path).body == server_bytes().1, "other bytes");
}
