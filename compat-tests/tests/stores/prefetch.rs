//! What an extraction passes is kept for whoever asks next, as far as it is likely, right, and there is room.

use std::path::Path;

use compat_tests::darkserver::{RunningGateway, Sqlite};
use compat_tests::rpmbuild;
use compat_tests::wait_until;

use crate::{cached, extractions};

const SOURCES: usize = 40;
const SOURCE_BYTES: usize = 30_000;

/// A program, and the package of its sources: paths to ask for, and their bytes.
fn package(into: &Path) -> Vec<(String, Vec<u8>)> {
    let id = rpmbuild::build_id();
    let program = rpmbuild::program(1_000, &id);
    let link = rpmbuild::link(&id, "");
    let noise = rpmbuild::noise(SOURCES * SOURCE_BYTES);
    let names: Vec<String> =
        (0..SOURCES).map(|number| format!("/usr/src/debug/many-1.0-1.x86_64/{number:02}.c")).collect();
    let sources: Vec<(&str, &[u8])> = names.iter().map(String::as_str).zip(noise.chunks(SOURCE_BYTES)).collect();
    let program: [(&str, &[u8]); 2] = [("/usr/bin/many", &program), (&link, b"../../../../usr/bin/many")];
    rpmbuild::build(into, "many", "1.0", "1", &[("many", &program), ("many-debugsource", &sources)]);
    sources.iter().map(|(path, bytes)| (format!("/buildid/{id}/source{path}"), bytes.to_vec())).collect()
}

fn kept(gateway: &RunningGateway) -> f64 {
    gateway.metric("gateway_prefetched_members_total")
}

#[test]
fn one_extraction_prefetches_the_sources_of_a_package() {
    let directory = tempfile::tempdir().unwrap();
    let sources = package(directory.path());
    let index = Sqlite::with_packages(&[directory.path()]);
    let gateway = RunningGateway::start(&index.url());
    let (path, bytes) = &sources[SOURCES / 2];
    assert!(gateway.get(path).body == *bytes, "other bytes");
    wait_until("the neighbours", || kept(&gateway) == SOURCES as f64 - 1.0);
    for (path, bytes) in &sources {
        assert!(gateway.get(path).body == *bytes, "{path}: other bytes");
    }
    assert_eq!(extractions(&gateway, "complete"), 1.0);
    assert_eq!(gateway.metric("gateway_prefetched_members_used_total"), SOURCES as f64 - 1.0);
    let off = RunningGateway::start_with(&index.url(), "[prefetch]\nmax_bytes = \"0B\"\n", &[]);
    for (path, bytes) in &sources {
        assert!(off.get(path).body == *bytes, "{path}: other bytes");
    }
    assert_eq!((extractions(&off, "complete"), kept(&off)), (SOURCES as f64, 0.0));
}

#[test]
fn the_nearest_members_are_prefetched_up_to_the_limit() {
    let directory = tempfile::tempdir().unwrap();
    let sources = package(directory.path());
    let index = Sqlite::with_packages(&[directory.path()]);
    let limits = format!("[prefetch]\nmax_bytes = \"{}B\"\n", SOURCE_BYTES * 8);
    let gateway = RunningGateway::start_with(&index.url(), &limits, &[]);
    let middle = SOURCES / 2;
    assert!(gateway.get(&sources[middle].0).body == sources[middle].1, "other bytes");
    wait_until("the neighbours", || kept(&gateway) == 8.0);
    for (path, bytes) in &sources[middle - 4..=middle + 4] {
        assert!(gateway.get(path).body == *bytes, "{path}: other bytes");
    }
    assert_eq!(extractions(&gateway, "complete"), 1.0);
    assert!(gateway.get(&sources[0].0).body == sources[0].1, "other bytes");
    assert_eq!(extractions(&gateway, "complete"), 2.0);
}

#[test]
fn prefetched_members_never_evict_requested_ones() {
    let directory = tempfile::tempdir().unwrap();
    let sources = package(directory.path());
    let index = Sqlite::with_packages(&[directory.path()]);
    // Room for ten files; two are asked for.
    let size = format!("{}B", SOURCE_BYTES.next_multiple_of(4096) * 10);
    let gateway = RunningGateway::start_with(&index.url(), "", &["--cache-size", &size]);
    for (path, bytes) in [&sources[0], &sources[SOURCES - 1]] {
        assert!(gateway.get(path).body == *bytes, "{path}: other bytes");
    }
    let most = SOURCES as f64 - 2.0;
    wait_until("the neighbours", || kept(&gateway) >= most - 10.0);
    wait_until("room", || gateway.metric("gateway_cache_files") <= 10.0);
    let before = extractions(&gateway, "complete");
    for (path, bytes) in [&sources[0], &sources[SOURCES - 1]] {
        assert!(gateway.get(path).body == *bytes, "{path}: other bytes");
    }
    assert_eq!(extractions(&gateway, "complete"), before);
    // A file may be evicted after it was listed.
    let sizes: Vec<u64> = cached(&gateway).iter().filter_map(|file| Some(file.metadata().ok()?.len())).collect();
    assert!(!sizes.is_empty() && sizes.iter().all(|size| *size == SOURCE_BYTES as u64), "{sizes:?}");
}
