//! Stores that do not have an archive, cannot be asked, or stall.

use std::io::Write;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use compat_tests::darkserver::{RunningGateway, Sqlite};
use compat_tests::fake_server::{self, FakeServer};
use compat_tests::files::FileServer;
use compat_tests::fixtures;
use compat_tests::http;
use compat_tests::wait_until;

use crate::{cached, copy_of, index_of, server};

#[test]
fn what_a_store_does_not_have_is_absent() {
    let directory = copy_of("server");
    let path = server().0;
    for status in [404, 410, 403] {
        let store = FakeServer::start(move |_, stream| {
            let _ = write!(stream, "HTTP/1.1 {status} No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        });
        let index = index_of(directory.path(), "mirror", &store.url());
        let gateway = RunningGateway::start(&index.url());
        assert_eq!(gateway.get(&path).status, 404, "{status}");
        assert_eq!(gateway.get(&path.replace("executable", "section/.text")).status, 404, "{status}");
    }
}

#[test]
fn the_answer_is_unavailable_within_the_budget_if_a_store_does_not_answer() {
    let directory = copy_of("server");
    let path = server().0;
    let nobody = format!("http://127.0.0.1:{}", compat_tests::process::free_port());
    let hangs = FakeServer::start(fake_server::hang);
    let fails = FakeServer::start(fake_server::fail);
    let lies = FakeServer::start(fake_server::serve_html);
    let closes = FakeServer::start(|_, _| {});
    for (url, within) in [
        (hangs.url(), Duration::from_secs(4)),
        (fails.url(), Duration::ZERO),
        (lies.url(), Duration::ZERO),
        (closes.url(), Duration::ZERO),
        (nobody, Duration::ZERO),
    ] {
        let index = index_of(directory.path(), "mirror", &url);
        let gateway = RunningGateway::start_with(&index.url(), "[request]\nbudget = \"4s\"\n", &[]);
        let started = Instant::now();
        gateway.expect_reset(&path);
        let took = started.elapsed();
        assert!(took < within + Duration::from_millis(2500), "{url}: {took:?}");
        // The client's next tries are answered at once.
        let started = Instant::now();
        gateway.expect_reset(&path);
        assert!(started.elapsed() < Duration::from_secs(2), "{url}: {:?}", started.elapsed());
        wait_until("two resets", || gateway.metric("gateway_unavailable_total{result=\"reset\"}") == 2.0);
    }
}

#[test]
fn another_store_answers_for_one_that_cannot() {
    let directory = copy_of("server");
    let files = copy_of("server");
    let good = FileServer::start(files.path());
    let (path, expected) = server();
    for bad in [
        FakeServer::start(fake_server::hang),
        FakeServer::start(fake_server::fail),
        FakeServer::start(fake_server::serve_html),
        FakeServer::start(fake_server::answer_absent),
    ] {
        let index = index_of(directory.path(), "mirror", &bad.url());
        index.add_store("good", "archive", files.path(), &good.url());
        let gateway = RunningGateway::start_with(&index.url(), "[request]\nbudget = \"4s\"\n", &[]);
        assert!(gateway.get(&path).body == expected, "other bytes");
        assert_eq!(bad.connections(), 1);
    }
}

#[test]
fn a_directory_that_is_not_mounted_is_not_taken_for_an_empty_one() {
    let (path, expected) = server();
    let place = tempfile::tempdir().unwrap();
    let (mounted, away) = (place.path().join("mounted"), place.path().join("away"));
    std::fs::create_dir(&mounted).unwrap();
    fixtures::copy(&fixtures::rpms("server"), &mounted);
    let index = Sqlite::with_packages(&[&mounted]);
    let gateway = RunningGateway::start(&index.url());
    std::fs::rename(&mounted, &away).unwrap();
    gateway.expect_reset(&path);
    let archive = gateway.get("/package/server-1.1-6.fc99.x86_64").text();
    let archive = archive.split("/archive/").nth(1).and_then(|tail| tail.split('"').next()).unwrap().to_owned();
    assert_eq!(gateway.get(&format!("/archive/{archive}")).status, 503);
    std::fs::rename(&away, &mounted).unwrap();
    wait_until("the end of UNAVAILABLE_TTL", || http::get(gateway.port, &path).is_ok());
    assert!(gateway.get(&path).body == expected, "other bytes");
    assert_eq!(gateway.get(&format!("/archive/{archive}")).status, 200);
}

/// A store that sends an archive up to somewhere behind its header, and then nothing for a minute.
fn stalls(directory: PathBuf) -> FakeServer {
    FakeServer::start(move |head, stream| {
        let archive = fake_server::file(&directory, head);
        let payload = artifact::header::Header::parse(&archive).unwrap().range.end;
        fake_server::begin(stream, archive.len());
        let _ = stream.write_all(&archive[..usize::try_from(payload).unwrap() + 200]);
        fake_server::hang(head, stream);
    })
}

#[test]
fn a_store_that_stalls_behind_the_header_is_given_up_for_the_next_one() {
    let directory = copy_of("server");
    let bad = stalls(directory.path().to_owned());
    let (path, expected) = server();
    let section = path.replace("executable", "section/.text");

    // No other provider has it: unavailable, within a budget.
    let index = index_of(directory.path(), "mirror", &bad.url());
    let gateway = RunningGateway::start_with(&index.url(), "[request]\nbudget = \"4s\"\n", &[]);
    for path in [&path, &section] {
        let started = Instant::now();
        gateway.expect_reset(path);
        assert!(started.elapsed() < Duration::from_secs(7), "{path}: {:?}", started.elapsed());
    }

    // Somebody else has it.
    let good = FileServer::start(directory.path());
    index.add_store("good", "archive", directory.path(), &good.url());
    let gateway = RunningGateway::start_with(&index.url(), "[request]\nbudget = \"4s\"\n", &[]);
    let started = Instant::now();
    assert!(gateway.get(&path).body == expected, "other bytes");
    assert!(started.elapsed() < Duration::from_secs(7), "{:?}", started.elapsed());
    let files = cached(&gateway);
    assert_eq!(files.len(), 1, "{files:?}");
}
