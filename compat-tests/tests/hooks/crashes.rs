//! Kills of the indexer (SIGKILL) in the middle of uploads.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use compat_tests::{fixtures, http, scale, wait_until};

use super::support::{Bench, FAMILY, NAME, authorization, large_package, names, start, text};

/// The packages of the family by their names.
fn packages() -> BTreeMap<String, PathBuf> {
    let of_family = fixtures::rpms(FAMILY).into_iter();
    of_family.map(|path| (path.file_name().unwrap().to_str().unwrap().to_owned(), path)).collect()
}

/// Expects every visible file to be whole, and no temporary file.
#[track_caller]
fn expect_whole(bench: &Bench) {
    let packages = packages();
    for name in bench.names() {
        let expected = packages.get(&name).unwrap_or_else(|| panic!("{name}: expected no other file"));
        assert_eq!(fs::read(bench.root().join(&name)).unwrap(), fs::read(expected).unwrap(), "{name}");
    }
}

#[test]
fn what_a_killed_indexer_left_is_removed_at_the_next_start() {
    let mut bench = start("");
    let bytes = large_package(8 << 20);
    let (authorization, length) = (authorization(), bytes.len().to_string());
    let headers = [("Authorization", authorization.as_str()), ("Content-Length", length.as_str())];
    let path = format!("/hooks/upload/uploads/{NAME}");
    let mut stream = http::send(bench.indexer.port, "PUT", &path, &headers).unwrap();
    stream.write_all(&bytes[..5 << 20]).unwrap();
    wait_until("a temporary file", || !bench.names().is_empty());
    bench.indexer.kill();
    assert!(
        matches!(bench.names().as_slice(), [name] if name.starts_with(".darkserver-upload.")),
        "{:?}",
        bench.names()
    );
    fs::write(bench.root().join(".other.aaaaaa"), "another program's").unwrap();
    bench.indexer.restart();
    wait_until("no temporary file", || bench.names() == [".other.aaaaaa"]);
    assert!(bench.packages().is_empty());
}

#[test]
fn a_package_that_got_its_name_gets_into_the_index_after_a_kill() {
    let mut bench = start("");
    bench.indexer.kill();
    fixtures::copy(&[fixtures::rpm(&format!("{FAMILY}/{NAME}"))], &bench.root());
    bench.indexer.restart();
    wait_until("the package", || bench.packages() == [NAME.trim_end_matches(".rpm")]);
}

#[test]
fn kills_at_any_point_lose_and_double_nothing() {
    let mut bench = start("");
    let packages = packages();
    let files: Vec<&str> = packages.values().map(|path| text(path)).collect();
    let rounds = scale(8, 200);
    for round in 0..rounds {
        let url = bench.indexer.url();
        let indexer = &mut bench.indexer;
        std::thread::scope(|scope| {
            let pushing = scope.spawn(|| super::support::push_to(&url, &[&files[..], &["--wait", "1"]].concat()));
            // Uploads of the whole family take some 100 ms.
            std::thread::sleep(Duration::from_millis(13 * round % 160));
            indexer.kill();
            pushing.join().unwrap();
        });
        bench.indexer.restart();
        wait_until("no temporary file", || !bench.names().iter().any(|name| name.starts_with('.')));
        expect_whole(&bench);
        if round % 3 == 2 {
            // From the start again.
            for name in names(&bench.root()) {
                fs::remove_file(bench.root().join(name)).unwrap();
            }
        }
    }
    let output = bench.push(&files);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    expect_whole(&bench);
    let expected: Vec<String> = packages.keys().map(|name| name.trim_end_matches(".rpm").to_owned()).collect();
    assert_eq!(bench.names(), packages.keys().cloned().collect::<Vec<_>>());
    assert_eq!(bench.packages(), expected);
}
