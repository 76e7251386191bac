//! The cache of extracted files, seen from outside.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use compat_tests::darkserver::{RunningGateway, Sqlite};
use compat_tests::fixtures::{self, Truth};
use compat_tests::rpmbuild;
use compat_tests::wait_until;

use crate::{build_id, etag, gateway, kinds, member, member_of};

#[test]
fn concurrent_cold_requests_extract_once() {
    let (_index, gateway) = gateway(&["payloads"]);
    let path = format!("/buildid/{}/executable", build_id("payloads", "/usr/bin/payload-xz"));
    let expected = member("payloads", "payload-xz-1.0-1.fc99.x86_64", "/usr/bin/payload-xz");
    std::thread::scope(|scope| {
        let ask = || assert!(gateway.get(&path).body == expected, "other bytes");
        let asked: Vec<_> = (0..32).map(|_| scope.spawn(ask)).collect();
        asked.into_iter().for_each(|asked| asked.join().unwrap());
    });
    assert_eq!(gateway.metric("gateway_extractions_total{result=\"complete\"}"), 1.0);
    assert_eq!(gateway.metric("gateway_extractions_total{result=\"failed\"}"), 0.0);
    assert_eq!(gateway.metric("gateway_cache_files"), 1.0);
    assert_eq!(gateway.metric("gateway_cache_bytes"), expected.len().next_multiple_of(4096) as f64);
}

#[test]
fn a_new_gateway_keeps_the_files_of_its_predecessor() {
    let (_index, mut gateway) = gateway(&["payloads"]);
    let rows = fixtures::truth("payloads");
    let ask = |gateway: &RunningGateway| {
        for row in &rows {
            assert!(
                gateway.get(&format!("/buildid/{}/executable", row.build_id)).body == member_of(row),
                "{}",
                row.path
            );
        }
        rows.iter().map(|row| etag(&gateway.get(&format!("/buildid/{}/executable", row.build_id)))).collect::<Vec<_>>()
    };
    let etags = ask(&gateway);
    assert_eq!(gateway.metric("gateway_extractions_total{result=\"complete\"}"), rows.len() as f64);
    gateway.wait_until_synced();
    gateway.restart();
    assert_eq!(gateway.metric("gateway_cache_files"), rows.len() as f64);
    assert_eq!(ask(&gateway), etags);
    assert_eq!(gateway.metric("gateway_extractions_total{result=\"complete\"}"), 0.0);
}

#[test]
fn a_removed_cached_file_is_extracted_again_unless_it_is_small() {
    let directory = tempfile::tempdir().unwrap();
    let made = rpmbuild::large(directory.path(), "removed", 200 << 10);
    let index = Sqlite::with_packages(&[directory.path(), &fixtures::family("payloads")]);
    let gateway = RunningGateway::start(&index.url());
    // Of all packages with this build-id the one that was built last.
    let large = format!("/buildid/{}/executable", rpmbuild::build_id());
    let row = fixtures::truth("payloads").into_iter().find(|row| row.build_id != rpmbuild::build_id()).unwrap();
    let small = format!("/buildid/{}/executable", row.build_id);
    // A small one is in memory once it was asked for.
    for extractions in [2.0, 3.0] {
        assert!(gateway.get(&large).body == made.bytes, "other bytes");
        assert!(gateway.get(&small).body == member_of(&row), "other bytes");
        assert_eq!(gateway.metric("gateway_extractions_total{result=\"complete\"}"), extractions);
        gateway.wait_until_synced();
        for file in std::fs::read_dir(gateway.cache()).unwrap() {
            std::fs::remove_file(file.unwrap().path()).unwrap();
        }
    }
}

/// Bytes of disk that the files of a directory take (stat(2): blocks are of 512 bytes).
fn bytes_in(directory: &Path) -> u64 {
    let files = std::fs::read_dir(directory).unwrap();
    // A file may be evicted between the two looks.
    files.filter_map(|file| Some(file.unwrap().metadata().ok()?.blocks() * 512)).sum()
}

#[test]
fn the_cache_stays_below_its_size_and_answers_stay_right() {
    const LIMIT: u64 = 48 << 10;
    let directories = ["payloads", "fedora-compat", "server"].map(fixtures::family);
    let index = Sqlite::with_packages(&directories.each_ref().map(|directory| directory.as_path()));
    let gateway = RunningGateway::start_with(&index.url(), "", &["--cache-size", "48KiB"]);
    let rows = ["payloads", "server"].iter().flat_map(|family| fixtures::truth_with_bytes(family));
    let path = |(row, bytes): (Truth, Vec<u8>)| {
        let word = if kinds(&bytes).0 { "executable" } else { "debuginfo" };
        (format!("/buildid/{}/{word}", row.build_id), bytes)
    };
    let rows: Vec<(String, Vec<u8>)> = rows.map(path).collect();
    assert!(
        rows.iter().map(|(_, bytes)| bytes.len() as u64).sum::<u64>() > 2 * LIMIT,
        "expected files beyond the limit"
    );
    std::thread::scope(|scope| {
        for turn in 0..4 {
            let (rows, gateway) = (&rows, &gateway);
            scope.spawn(move || {
                for at in 0..3 * rows.len() {
                    let (path, bytes) = &rows[(at * (turn + 1) + turn) % rows.len()];
                    assert!(gateway.get(path).body == *bytes, "{path}: other bytes");
                }
            });
        }
    });
    gateway.wait_until_synced();
    // A file is evicted right after the answer that it made too much.
    wait_until("a cache within its size", || bytes_in(&gateway.cache()) <= LIMIT);
    assert!(bytes_in(&gateway.cache()) > 0);
    assert!(gateway.metric("gateway_cache_bytes") <= LIMIT as f64);
}

#[test]
fn a_file_larger_than_the_whole_cache_is_served() {
    let index = Sqlite::with_packages(&[&fixtures::family("payloads")]);
    let gateway = RunningGateway::start_with(&index.url(), "", &["--cache-size", "2KiB"]);
    let row = &fixtures::truth("payloads")[0];
    let (path, expected) = (format!("/buildid/{}/executable", row.build_id), member_of(row));
    // It gets no name that somebody could come upon while it goes again.
    for _ in 0..200 {
        assert!(gateway.get(&path).body == expected, "other bytes");
        assert_eq!(bytes_in(&gateway.cache()), 0);
    }
}
