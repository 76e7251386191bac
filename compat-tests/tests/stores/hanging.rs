//! Stores that hang: other locations are asked beside them and then before them, until they answer again.

use std::path::Path;
use std::time::{Duration, Instant};

use compat_tests::darkserver::{RunningGateway, Sqlite, import_ok};
use compat_tests::fake_server::{self, FakeServer, Gate};
use compat_tests::files::FileServer;
use compat_tests::http;
use compat_tests::rpmbuild;
use compat_tests::unshare::unshare;
use compat_tests::{fixtures, wait_until};

use crate::{copy_of, index_of, path_of};

/// The three releases of the family `server`: what each is asked for, and its bytes.
fn releases() -> [(String, Vec<u8>); 3] {
    [5, 6, 7].map(|release| {
        let rpm = format!("server/server-1.1-{release}.fc99.x86_64.rpm");
        let path = format!("/buildid/{}/executable", fixtures::build_id(&rpm, "/usr/bin/server"));
        (path, fixtures::member(&fixtures::rpm(&rpm), "/usr/bin/server"))
    })
}

#[test]
fn a_store_that_hangs_delays_one_request_until_it_answers_again() {
    let (directory, files, gate) = (copy_of("server"), copy_of("server"), Gate::default());
    let hangs = {
        let (gate, root) = (gate.clone(), directory.path().to_owned());
        FakeServer::start(move |head, stream| {
            if !gate.is_open() {
                return fake_server::hang(head, stream);
            }
            let bytes = fake_server::file(&root, head);
            fake_server::begin(stream, bytes.len());
            let _ = std::io::Write::write_all(stream, &bytes);
        })
    };
    let good = FileServer::start(files.path());
    let index = index_of(directory.path(), "mirror", &hangs.url());
    index.add_store("good", "archive", files.path(), &good.url());
    let gateway = RunningGateway::start_with(&index.url(), "[request]\nbudget = \"8s\"\n", &[]);
    let [first, second, third] = releases();

    let started = Instant::now();
    assert!(gateway.get(&first.0).body == first.1, "other bytes");
    let took = started.elapsed();
    assert!(took < Duration::from_secs(6), "the second location is asked beside the first: {took:?}");
    wait_until("an open breaker", || gateway.log().contains("a store hangs"));
    let started = Instant::now();
    assert!(gateway.get(&second.0).body == second.1, "other bytes");
    let took = started.elapsed();
    assert!(took < Duration::from_secs(1), "the store that hangs is asked last: {took:?}");

    gate.open();
    wait_until("a probe that is answered", || gateway.log().contains("a store answers again"));
    assert!(gateway.get(&third.0).body == third.1, "other bytes");
    let metric = "gateway_store_requests_total{outcome=\"found\",tier=\"mirror\"}";
    assert_eq!(gateway.metric(metric), 1.0, "it is asked first again");
}

/// Starts a gateway in a mount namespace of its own, where `directory` is a file system that never answers: FUSE
/// without a server.
fn with_hanging(directory: &Path, database: &str, configuration: &str) -> RunningGateway {
    const SCRIPT: &str = "exec 9<>/dev/fuse && \
        mount -i -t fuse -o fd=9,rootmode=40000,user_id=0,group_id=0,allow_other hangs \"$1\" && shift && exec \"$@\"";
    let mut through = unshare("--mount");
    through.extend(["sh", "-c", SCRIPT, "sh", directory.to_str().unwrap()]);
    RunningGateway::start_through(&through, &[("DARKSERVER_DATABASE", database)], configuration, &[])
}

fn thread_count(gateway: &mut RunningGateway) -> usize {
    let id = gateway.process().id();
    std::fs::read_dir(format!("/proc/{id}/task")).unwrap().count()
}

#[test]
fn a_directory_that_hangs_blocks_few_threads_and_no_other_store() {
    /// More than a store may block.
    const REQUESTS: usize = 150;
    const MAX_BLOCKED: usize = 64;
    let (hanging, other) = (copy_of("server"), tempfile::tempdir().unwrap());
    let made = rpmbuild::large(other.path(), "other", 1 << 20);
    let index = Sqlite::with_packages(&[hanging.path(), other.path()]);
    let mut gateway = with_hanging(hanging.path(), &index.url(), "[request]\nbudget = \"2s\"\n");
    let package = gateway.get("/package/server-1.1-6.fc99.x86_64").text();
    let archive = package.split("/archive/").nth(1).and_then(|tail| tail.split('"').next()).unwrap();
    let (archive, port) = (format!("/archive/{archive}"), gateway.port);
    let before = thread_count(&mut gateway);
    let requests: Vec<_> = (0..REQUESTS)
        .map(|_| {
            let archive = archive.clone();
            std::thread::spawn(move || http::get(port, &archive).unwrap().status)
        })
        .collect();
    wait_until("an open breaker", || gateway.log().contains("a store hangs"));
    assert!(gateway.get(&path_of(&made)).body == made.bytes, "other bytes");
    for request in requests {
        assert_eq!(request.join().unwrap(), 503);
    }
    let blocked = thread_count(&mut gateway) - before;
    assert!((MAX_BLOCKED / 2..MAX_BLOCKED + 32).contains(&blocked), "{blocked} more threads");
    gateway.expect_reset(&releases()[0].0);
    let log = gateway.log();
    assert!(log.contains("expected an answer within the budget, found none"), "{log}");
}

#[test]
fn a_published_directory_that_hangs_is_given_up_for_its_url() {
    let (hanging, files) = (copy_of("server"), copy_of("server"));
    let published = FileServer::start(files.path());
    let index = Sqlite::empty();
    import_ok(&index.url(), &["dir", hanging.path().to_str().unwrap(), "--url", &published.url()]);
    let gateway = with_hanging(hanging.path(), &index.url(), "");
    for (path, expected) in releases() {
        let started = Instant::now();
        assert!(gateway.get(&path).body == expected, "other bytes");
        let took = started.elapsed();
        assert!(took < Duration::from_secs(3), "{path}: {took:?}");
    }
}
