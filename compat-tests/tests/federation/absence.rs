//! What is absent, for how long, and which upstreams are asked at all.

use std::time::{Duration, Instant};

use compat_tests::darkserver::{RunningGateway, Sqlite};
use compat_tests::fake_server::{self, FakeServer};
use compat_tests::http;
use compat_tests::upstreams::{Fault, Random, Upstream};

use crate::client::{Ended, ask};
use crate::{Mode, configuration, debug_file_with_headers, debuginfo, patient};

/// A gateway that knows nothing itself, with one upstream and these keys of its table.
fn with_keys(index: &Sqlite, upstream: &Upstream, keys: &str) -> RunningGateway {
    let text = format!("{}{keys}\n", patient("", &[(Mode::Redirect, upstream.url())]));
    RunningGateway::start_with(&index.url(), &text, &[])
}

#[track_caller]
fn expect_absent(gateway: &RunningGateway, path: &str, lifetime: &str) {
    match ask(gateway, path).ended {
        Ended::Absent(found) => assert!(found.contains(lifetime), "{path}: expected {lifetime}, found {found}"),
        other => panic!("{path}: expected 404, found {other:?}: {}", gateway.log()),
    }
}

#[test]
fn an_absence_is_remembered_for_its_time_and_no_longer() {
    let (index, mut random) = (Sqlite::with_packages(&[]), Random::new(80));
    for (keys, seconds) in [("absent_ttl = \"0s\"", 0), ("absent_ttl = \"2s\"", 2)] {
        let upstream = Upstream::start(Fault::None);
        let gateway = with_keys(&index, &upstream, keys);
        let build_id = random.build_id();
        let (path, began) = (debuginfo(&build_id), Instant::now());
        expect_absent(&gateway, &path, "max-age");
        expect_absent(&gateway, &path, "max-age");
        let asked = upstream.requests_for(&build_id);
        assert!(asked == 1 || seconds == 0, "{keys}: asked {asked} times");
        upstream.add(&path, &debug_file_with_headers(&build_id, 0));
        // The rest is for a busy machine, and for what the gateway remembers of all sources for a moment.
        let limit = Duration::from_secs(seconds + 8);
        while !matches!(ask(&gateway, &path).ended, Ended::Redirect(_)) {
            assert!(began.elapsed() < limit, "{keys}: still absent after {:?}", began.elapsed());
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

#[test]
fn an_upstream_that_has_files_late_makes_nothing_absent_for_a_while() {
    let (index, mut random) = (Sqlite::with_packages(&[]), Random::new(81));
    let upstream = Upstream::start(Fault::None);
    let gateway = with_keys(&index, &upstream, "late_absent_ttl = \"3s\"");
    let (build_id, never) = (random.build_id(), random.build_id());
    let began = Instant::now();
    for path in [debuginfo(&build_id), debuginfo(&never)] {
        expect_absent(&gateway, &path, "no-store");
    }
    // Nothing of it is remembered: the file is found as soon as it is there.
    upstream.add(&debuginfo(&build_id), &debug_file_with_headers(&build_id, 0));
    let reply = ask(&gateway, &debuginfo(&build_id));
    assert!(matches!(reply.ended, Ended::Redirect(_)), "{reply:?}: {}", gateway.log());
    loop {
        match ask(&gateway, &debuginfo(&never)).ended {
            Ended::Absent(lifetime) if lifetime.contains("max-age") => break,
            Ended::Absent(lifetime) => assert!(lifetime.contains("no-store"), "{lifetime}"),
            other => panic!("{other:?}"),
        }
        assert!(began.elapsed() < Duration::from_secs(15), "still provisional");
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(began.elapsed() >= Duration::from_secs(3), "certain after {:?}", began.elapsed());
}

#[test]
fn upstreams_are_not_asked_for_what_they_cannot_have() {
    let (index, mut random) = (Sqlite::with_packages(&[]), Random::new(82));
    let upstream = Upstream::start(Fault::Hangs);
    let gateway = with_keys(&index, &upstream, "serves = [\"debuginfo\"]\nbuild_ids = [\"gnu\"]");
    let build_id = random.build_id();
    // It hangs: each answer shows that it is not part of the quorum of these.
    for path in [
        format!("/buildid/{build_id}/executable"),
        format!("/buildid/{build_id}/source/usr/src/a.c"),
        debuginfo(&build_id[..32]),
        debuginfo(&build_id[..16]),
    ] {
        expect_absent(&gateway, &path, "max-age");
    }
    // It may have the file: to clients 503 means "fetch the whole file instead", and 404 that there is no such section.
    let section = gateway.get(&format!("/buildid/{build_id}/section/.text"));
    assert_eq!((section.status, section.header("cache-control")), (503, Some("no-store")));
    assert_eq!(upstream.requests().len(), 0, "{:#?}", upstream.requests());
    assert_eq!(ask(&gateway, &debuginfo(&build_id)).ended, Ended::Unavailable);
    assert_eq!(upstream.requests().len(), 1);
}

#[test]
fn questions_for_the_same_thing_are_one_request() {
    let index = Sqlite::with_packages(&[]);
    let slow = FakeServer::start(|head, stream| {
        std::thread::sleep(Duration::from_millis(150));
        fake_server::answer_absent(head, stream);
    });
    let gateway = RunningGateway::start_with(&index.url(), &patient("", &[(Mode::Redirect, &slow.url())]), &[]);
    let build_id = Random::new(83).build_id();
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..10).map(|_| scope.spawn(|| ask(&gateway, &debuginfo(&build_id)))).collect();
        for client in clients {
            let reply = client.join().unwrap();
            assert!(matches!(reply.ended, Ended::Absent(_)), "{reply:?}");
        }
    });
    assert_eq!(slow.requests_for(&build_id), 1);
}

#[test]
fn tiers_are_asked_one_after_the_other_and_a_hang_in_the_first_does_not_hide_the_second() {
    let (index, mut random) = (Sqlite::with_packages(&[]), Random::new(84));
    let build_id = random.build_id();
    let (path, file) = (debuginfo(&build_id), debug_file_with_headers(&build_id, 0));
    for fault in [Fault::None, Fault::Hangs, Fault::Status(500)] {
        let first = Upstream::with_files(fault, [(&*path, &file)]);
        let second = Upstream::with_files(Fault::None, [(&*path, &file)]);
        let mut text = patient("", &[(Mode::Redirect, first.url())]);
        let table = format!("[[upstream]]\nname = \"second\"\nurl = \"{}\"\npriority = 10\n", second.url());
        text.push_str(&table);
        let gateway = RunningGateway::start_with(&index.url(), &text, &[]);
        let expected = if fault == Fault::None { &first } else { &second };
        let reply = ask(&gateway, &path);
        assert_eq!(reply.ended, Ended::Redirect(format!("{}{path}", expected.url())), "{fault:?}: {}", gateway.log());
        if fault == Fault::None {
            assert_eq!(second.requests_for(&build_id), 0, "expected that the first tier is enough");
        }
    }
}

#[test]
fn a_person_reads_in_a_header_why_an_answer_was_what_it_was() {
    let index = Sqlite::with_packages(&[]);
    let upstreams = [Upstream::start(Fault::None), Upstream::start(Fault::Status(500))];
    let urls = upstreams.each_ref().map(|upstream| (Mode::Redirect, upstream.url()));
    for (settings, shown) in [("trace = true", true), ("", false)] {
        // A status, which can have a header, instead of a reset.
        let settings = format!("unavailable = \"503\"\n{settings}");
        let gateway = RunningGateway::start_with(&index.url(), &configuration(&settings, &urls), &[]);
        let answer = http::get(gateway.port, &debuginfo(&Random::new(85).build_id())).unwrap();
        assert_eq!(answer.status, 503);
        let trace = answer.header("x-darkserver-trace");
        let names = |trace: &str| trace.contains("u0=absent") && trace.contains("u1=failed");
        assert_eq!(trace.is_some_and(names), shown, "{trace:?}");
    }
}
