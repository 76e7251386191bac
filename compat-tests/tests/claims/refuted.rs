//! Claims that nothing confirms: as if there were none, but for places that could not be asked.

use std::time::Duration;

use compat_tests::fake_server::{FakeServer, serve_elf};
use compat_tests::fixtures;
use compat_tests::http;
use compat_tests::static_server::{Fault, StaticServer};
use compat_tests::wait_until;

use super::*;

/// An index that claims the debuginfo of the server, in a store at `url`.
fn index_of_debuginfo(url: &str) -> ClaimedIndex {
    let index = ClaimedIndex::new();
    let store = index.store(&new_store("mirror", url));
    index.claim(&claimed(&fixtures::package("server", DEBUGINFO), &store));
    index
}

fn debuginfo_path() -> String {
    format!("/buildid/{}/debuginfo", server_id())
}

#[test]
fn a_build_id_that_the_package_does_not_have_is_as_if_nobody_claimed_it() {
    let server = StaticServer::start(&fixtures::family("server"));
    let index = ClaimedIndex::new();
    let store = index.store(&new_store("mirror", &server.url()));
    let (id, mut package) = (random_id(0), claimed(&fixtures::package("server", DEBUGINFO), &store));
    for claim in &mut package.claims {
        claim.build_id = id.parse().unwrap();
    }
    package.claims.truncate(1);
    index.claim(&package);
    let gateway = index.gateway("");
    assert_eq!(gateway.get(&format!("/buildid/{id}/debuginfo")).status, 404);
    let requests = server.sent().len();
    assert!(requests > 0);
    for word in ["debuginfo", "section/.debug_info", "source/usr/src/debug/x.c"] {
        assert_eq!(gateway.get(&format!("/buildid/{id}/{word}")).status, 404, "{word}");
    }
    assert_eq!(server.sent().len(), requests, "the package is known by now");
    // An upstream may have it.
    let upstream = FakeServer::start(serve_elf);
    let configuration = format!("[[upstream]]\nname = \"u\"\nurl = \"{}\"\n", upstream.url());
    let gateway = index.gateway(&configuration);
    assert_eq!(gateway.get(&format!("/buildid/{id}/debuginfo")).status, 302);
    assert_eq!(upstream.requests_for(&id), 1);
}

#[test]
fn another_package_at_the_place_of_a_claimed_one_is_absent_and_remembered() {
    let other = fixtures::package("server", "server-debuginfo-1.1-7.fc99.x86_64");
    for fault in [Fault::OtherFile(other), Fault::Status(404), Fault::Status(410), Fault::StatesSize(12345)] {
        let server = StaticServer::start(&fixtures::family("server"));
        server.set(DEBUGINFO, fault.clone());
        let index = index_of_debuginfo(&server.url());
        let gateway = index.gateway("");
        assert_eq!(gateway.get(&debuginfo_path()).status, 404, "{fault:?}");
        // The server notes a request when its answer has ended.
        wait_until("the request for a header", || server.sent().len() == 1);
        assert_eq!(confirmations(&gateway, "refuted"), 1.0, "{fault:?}");
        assert_eq!(gateway.get(&debuginfo_path()).status, 404, "{fault:?}");
        assert_eq!(server.sent().len(), 1, "{fault:?}");
    }
}

/// An index in which `number` packages that are nowhere claim the debuginfo of the server before its package does.
fn index_with_false_claims(number: usize, url: &str) -> ClaimedIndex {
    let index = ClaimedIndex::new();
    let store = index.store(&new_store("mirror", url));
    let truth = claimed(&fixtures::package("server", DEBUGINFO), &store);
    for number in 0..number {
        let mut package = claimed(&fixtures::package("server", DEBUGINFO), &store);
        package.nevra.name = format!("false-{number}");
        let location = package.location.take().unwrap();
        package.location = Some(NewLocation { path: format!("false-{number}.rpm"), ..location });
        index.claim(&package);
    }
    index.claim(&truth);
    index
}

#[test]
fn the_true_one_of_many_claims_is_found() {
    let server = StaticServer::start(&fixtures::family("server"));
    let index = index_with_false_claims(40, &server.url());
    let gateway = index.gateway("");
    assert!(gateway.get(&debuginfo_path()).body == server_bytes().1, "other bytes");
    assert_eq!(confirmations(&gateway, "refuted"), 40.0);
}

#[test]
fn claims_that_were_not_asked_in_time_are_unknown_until_they_were() {
    let server = StaticServer::start(&fixtures::family("server"));
    let index = index_with_false_claims(100, &server.url());
    let gateway = index.gateway("[request]\nbudget = \"600ms\"\n");
    server.set("false-", Fault::Late(Duration::from_millis(100)));
    gateway.expect_reset(&debuginfo_path());
    // Refuted claims are remembered, so that every request gets further.
    wait_until("the true claim's turn", || {
        http::get(gateway.port, &debuginfo_path()).is_ok_and(|answer| {
            assert_eq!(answer.status, 200);
            answer.body == server_bytes().1
        })
    });
}

#[test]
fn a_store_that_cannot_be_asked_makes_a_claim_unknown() {
    let mut server = StaticServer::start(&fixtures::family("server"));
    let index = index_of_debuginfo(&server.url());
    for fault in [
        Fault::Status(500),
        Fault::Page,
        Fault::EndsAfter(50),
        Fault::ResetsAfter(50),
        Fault::StallsAfter(50),
        Fault::ShiftsRange(1),
        Fault::Bytes(vec![b'x'; 1000]),
        Fault::Redirects("http://127.0.0.1:1/elsewhere".to_owned()),
    ] {
        let gateway = index.gateway("[request]\nbudget = \"500ms\"\n");
        server.set(DEBUGINFO, fault.clone());
        gateway.expect_reset(&debuginfo_path());
        assert_eq!(confirmations(&gateway, "refuted"), 0.0, "{fault:?}");
        server.repair();
    }
    let gateway = index.gateway("");
    server.stop();
    gateway.expect_reset(&debuginfo_path());
    assert_eq!(confirmations(&gateway, "unavailable"), 1.0);
}

#[test]
fn a_store_that_answers_again_confirms_what_was_unknown() {
    let server = StaticServer::start(&fixtures::family("server"));
    let index = index_of_debuginfo(&server.url());
    let gateway = index.gateway("");
    server.set(DEBUGINFO, Fault::Status(500));
    gateway.expect_reset(&debuginfo_path());
    server.repair();
    wait_until("the end of UNAVAILABLE_TTL", || {
        http::get(gateway.port, &debuginfo_path()).is_ok_and(|answer| answer.status == 200)
    });
}

#[test]
fn the_kind_that_nobody_claimed_is_decided_without_the_claim() {
    let server = StaticServer::start(&fixtures::family("server"));
    let index = index_of_debuginfo(&server.url());
    let gateway = index.gateway("");
    let id = server_id();
    assert_eq!(gateway.get(&format!("/buildid/{id}/executable")).status, 404);
    // Each id once: the second answer to one that the filter let pass wrongly is no false positive.
    for (number, word) in (0..50).zip(["executable", "debuginfo", "section/.text"].into_iter().cycle()) {
        let id = random_id(number);
        assert_eq!(gateway.get(&format!("/buildid/{id}/{word}")).status, 404);
    }
    assert!(server.sent().is_empty(), "{:?}", server.sent());
    let passed = gateway.metric("gateway_filter_lookups_total{result=\"maybe\"}");
    assert_eq!(passed - gateway.metric("gateway_filter_false_positives_total"), 1.0);
}

#[test]
fn a_claimed_package_without_a_place_is_absent() {
    let index = ClaimedIndex::new();
    let store = index.store(&new_store("mirror", "http://127.0.0.1:9"));
    let package = claimed(&fixtures::package("server", DEBUGINFO), &store);
    index.claim(&ClaimedPackage { location: None, origin: Origin::Legacy, ..package });
    let gateway = index.gateway("");
    assert_eq!(gateway.get(&debuginfo_path()).status, 404);
    let rows = gateway.get(&format!("/buildids/{}", server_id())).text();
    assert!(rows.contains(DEBUGINFO) && rows.contains("\"url\":\"\""), "{rows}");
}
