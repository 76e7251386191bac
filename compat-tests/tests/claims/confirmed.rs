//! Claims that the package confirms.

use std::fs;
use std::time::Duration;

use compat_tests::debuginfod::DebuginfodClient;
use compat_tests::fixtures;
use compat_tests::http;
use compat_tests::rpmbuild;
use compat_tests::static_server::{Fault, Sent, StaticServer};

use super::*;

/// The requests for a header: those with a range that begins at the first byte, and what they continued with.
fn header_requests(server: &StaticServer, nvra: &str) -> Vec<Sent> {
    let path = format!("/{nvra}.rpm");
    server.sent().into_iter().filter(|sent| sent.target == path && sent.range.is_some()).collect()
}

#[test]
fn a_claimed_file_is_served_after_one_range_request_for_the_header_of_its_package() {
    let server = StaticServer::start(&fixtures::family("server"));
    let index = ClaimedIndex::of_family("server", &server.url());
    let gateway = index.gateway("");
    let (id, (program, debuginfo)) = (server_id(), server_bytes());
    assert!(gateway.get(&format!("/buildid/{id}/debuginfo")).body == debuginfo, "other bytes");
    let end = header(&fixtures::package("server", DEBUGINFO)).range.end;
    let requests = header_requests(&server, DEBUGINFO);
    let ranges: Vec<_> = requests.iter().map(|sent| (sent.range.clone().unwrap(), sent.bytes)).collect();
    assert_eq!(ranges[0], (format!("0-{}", end - 1), end), "{ranges:?}");
    assert!(server.sent_for(SERVER).is_empty(), "nobody asked for the program: {:?}", server.sent());
    let client = DebuginfodClient::new(&gateway.url());
    assert!(client.found(&["executable", &id]) == program && client.found(&["debuginfo", &id]) == debuginfo);
    assert_eq!(confirmations(&gateway, "confirmed"), 2.0);
    // What was read is remembered: files of a second request come from the cache, other files from the package.
    let before = server.sent().len();
    assert!(gateway.get(&format!("/buildid/{id}/debuginfo")).body == debuginfo);
    assert_eq!(server.sent().len(), before);
}

#[test]
fn every_claimed_file_of_every_family_is_served() {
    for family in ["fedora-compat", "old-classes"] {
        let server = StaticServer::start(&fixtures::family(family));
        let claimed = ClaimedIndex::of_family(family, &server.url());
        let known = Sqlite::with_packages(&[&fixtures::family(family)]);
        let (of_claims, of_headers) = (claimed.gateway(""), RunningGateway::start(&known.url()));
        let mut claims = 0;
        for row in fixtures::truth(family) {
            let word = if row.rpm.contains("-debuginfo-") { "debuginfo" } else { "executable" };
            let path = format!("/buildid/{}/{word}", row.build_id);
            let (found, expected) = (of_claims.get(&path), of_headers.get(&path));
            // Some headers name no build-ids.
            if of_claims.get(&format!("/buildids/{}", row.build_id)).text().contains(&row.build_id) {
                claims += 1;
                assert_eq!(found.status, expected.status, "{family}: {path}");
                assert!(found.body == expected.body, "{family}: {path}: other bytes");
            }
        }
        assert!(claims > 3, "{family}: {claims}");
    }
}

#[test]
fn a_wrong_offset_or_none_costs_another_request_at_most() {
    let rpm = fixtures::package("server", DEBUGINFO);
    let (end, size) = (header(&rpm).range.end, rpm.metadata().unwrap().len());
    let (id, (_, debuginfo)) = (server_id(), server_bytes());
    for hint in [None, Some(1..2), Some(100..end - 1), Some(end..end + 1000), Some(100..1 << 30)] {
        let server = StaticServer::start(&fixtures::family("server"));
        let index = ClaimedIndex::new();
        let store = index.store(&new_store("mirror", &server.url()));
        let mut package = claimed(&rpm, &store);
        package.location.as_mut().unwrap().header = hint.clone();
        index.claim(&package);
        let gateway = index.gateway("[prefetch]\nmax_bytes = \"0B\"\n");
        assert!(gateway.get(&format!("/buildid/{id}/debuginfo")).body == debuginfo, "{hint:?}: other bytes");
        let requests = header_requests(&server, DEBUGINFO);
        let begun = requests.iter().take_while(|sent| !sent.range.as_ref().unwrap().starts_with(&size.to_string()));
        assert!(begun.clone().count() <= 3, "{hint:?}: {:?}", begun.collect::<Vec<_>>());
    }
}

#[test]
fn a_server_that_ignores_ranges_is_cut_off_at_the_end_of_the_header() {
    const PAYLOAD: usize = 32 << 20;
    let directory = tempfile::tempdir().unwrap();
    let made = rpmbuild::large(directory.path(), "large", PAYLOAD);
    let rpm = fs::read_dir(directory.path()).unwrap().next().unwrap().unwrap().path();
    let server = StaticServer::start(directory.path());
    server.set(".rpm", Fault::IgnoresRange);
    let index = ClaimedIndex::new();
    let store = index.store(&new_store("mirror", &server.url()));
    index.claim(&claimed(&rpm, &store));
    let gateway = index.gateway("");
    let answer = gateway.get(&format!("/buildid/{}/executable", made.build_id));
    assert!(answer.body == made.bytes, "other bytes");
    let sent = server.sent();
    let cut = sent.iter().find(|sent| sent.range.is_some()).unwrap();
    assert_eq!(cut.status, 200);
    // The buffers of a connection take some.
    assert!(cut.bytes < PAYLOAD as u64 / 2, "{} bytes", cut.bytes);
}

#[test]
fn concurrent_requests_share_one_read() {
    let server = StaticServer::start(&fixtures::family("server"));
    let index = ClaimedIndex::of_family("server", &server.url());
    let gateway = index.gateway("");
    server.set_times(DEBUGINFO, Fault::Late(Duration::from_millis(500)), 1);
    let (path, (_, debuginfo)) = (format!("/buildid/{}/debuginfo", server_id()), server_bytes());
    let end = header(&fixtures::package("server", DEBUGINFO)).range.end;
    std::thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| assert!(http::get(gateway.port, &path).unwrap().body == debuginfo, "other bytes"));
        }
    });
    let range = format!("0-{}", end - 1);
    let reads = header_requests(&server, DEBUGINFO).into_iter().filter(|sent| sent.range.as_ref() == Some(&range));
    assert_eq!(reads.count(), 1);
    assert_eq!(confirmations(&gateway, "confirmed"), 1.0);
}

#[test]
fn sections_and_sources_come_from_claimed_packages() {
    let server = StaticServer::start(&fixtures::family("server"));
    let index = ClaimedIndex::of_family("server", &server.url());
    let known = Sqlite::with_packages(&[&fixtures::family("server")]);
    let (of_claims, of_headers) = (index.gateway(""), RunningGateway::start(&known.url()));
    let id = server_id();
    for section in [".text", ".debug_info", ".note.gnu.build-id"] {
        let path = format!("/buildid/{id}/section/{section}");
        let (found, expected) = (of_claims.get(&path), of_headers.get(&path));
        assert!(expected.status == 200 && found.body == expected.body, "{section}: {}", found.status);
    }
    assert_eq!(of_claims.get(&format!("/buildid/{id}/section/.nothing")).status, 404);
    let source = format!("/usr/src/debug/{SERVER}/worker/crash.c");
    let answer = of_claims.get(&format!("/buildid/{id}/source{source}"));
    assert!(answer.body == fixtures::member(&fixtures::package("server", DEBUGSOURCE), &source), "{}", answer.status);
    assert_eq!(of_claims.get(&format!("/buildid/{id}/source/usr/src/debug/{SERVER}/nothing.c")).status, 404);
}

#[test]
fn a_claimed_package_on_a_disk_of_the_gateway_is_read_there() {
    let index = ClaimedIndex::new();
    let local =
        NewStore { tier: Tier::Local, base_url: None, root: Some(fixtures::family("server")), ..new_store("a", "") };
    let store = index.store(&local);
    for rpm in fixtures::rpms("server") {
        index.claim(&claimed(&rpm, &store));
    }
    let gateway = index.gateway("");
    let (id, (program, debuginfo)) = (server_id(), server_bytes());
    assert!(gateway.get(&format!("/buildid/{id}/executable")).body == program, "other bytes");
    assert!(gateway.get(&format!("/buildid/{id}/debuginfo")).body == debuginfo, "other bytes");
    assert_eq!(gateway.metric("gateway_store_requests_total{outcome=\"failed\",tier=\"local\"}"), 0.0);
}
