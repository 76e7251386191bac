//! One upstream that hangs among others that say 404: it costs one request, not every request.

use std::time::{Duration, Instant};

use compat_tests::darkserver::Sqlite;
use compat_tests::upstreams::{Fault, Random, Upstream};

use crate::client::{Ended, ask};
use crate::{BUDGET, DECIDED_WITHIN, Mode, debug_file_with_headers, debuginfo, federated};

/// How long an upstream is away before the others decide without it.
const UNREACHABLE_AFTER: Duration = Duration::from_secs(3);
/// How long an upstream that is back may stay unnoticed.
const RECOVERY: Duration = Duration::from_secs(20);

struct Four {
    hanging: Upstream,
    others: [Upstream; 3],
}

impl Four {
    fn start() -> Self {
        Self { hanging: Upstream::start(Fault::None), others: [(); 3].map(|()| Upstream::start(Fault::None)) }
    }

    fn all(&self) -> [&Upstream; 4] {
        let [first, second, third] = &self.others;
        [first, second, &self.hanging, third]
    }
}

#[test]
fn a_hang_costs_one_request_and_is_outvoted_after_a_while() {
    let index = Sqlite::with_packages(&[]);
    let mut random = Random::new(20);
    for mode in Mode::BOTH {
        let upstreams = Four::start();
        let known = random.build_id();
        upstreams.hanging.add(&debuginfo(&known), &debug_file_with_headers(&known, 0));
        let away = random.build_id();
        upstreams.hanging.add(&debuginfo(&away), &debug_file_with_headers(&away, 0));
        let gateway = federated(&index, mode, "unreachable_after = \"3s\"", &upstreams.all());
        let found = ask(&gateway, &debuginfo(&known));
        assert!(matches!(found.ended, Ended::Redirect(_) | Ended::File(_)), "{mode:?}: {found:?}");

        upstreams.hanging.set(Fault::Hangs);
        let before = upstreams.hanging.requests().len();
        let began = Instant::now();
        let reply = ask(&gateway, &debuginfo(&random.build_id()));
        assert_eq!(reply.ended, Ended::Unavailable, "{mode:?}");
        assert!(reply.decided < DECIDED_WITHIN, "{mode:?}: {:?}", reply.decided);
        let mut decided = Vec::new();
        for _ in 0..20 {
            let path = debuginfo(&random.build_id());
            let reply = ask(&gateway, &path);
            decided.push(reply.decided);
            if began.elapsed() < UNREACHABLE_AFTER {
                assert_eq!(reply.ended, Ended::Unavailable, "{mode:?}");
            }
        }
        // The median: single ones may be delayed by a busy machine.
        decided.sort();
        assert!(decided[10] < BUDGET / 4, "{mode:?}: expected that no miss waits, found {decided:?}");
        assert!(decided.iter().sum::<Duration>() < BUDGET * 10, "{mode:?}: {decided:?}");
        let asked = upstreams.hanging.requests().len() - before;
        assert_eq!(asked, 1, "{mode:?}: {:#?}", upstreams.hanging.requests());

        // Before its time has come, nothing is absent without it.
        let lifetime = loop {
            let reply = ask(&gateway, &debuginfo(&random.build_id()));
            match reply.ended {
                Ended::Absent(lifetime) => break lifetime,
                other => assert_eq!(other, Ended::Unavailable, "{mode:?}"),
            }
            assert!(began.elapsed() < UNREACHABLE_AFTER + RECOVERY, "{mode:?}: still unavailable");
            std::thread::sleep(Duration::from_millis(50));
        };
        assert!(began.elapsed() >= UNREACHABLE_AFTER, "{mode:?}: absent after {:?}", began.elapsed());
        assert!(lifetime.contains("no-store"), "{mode:?}: {lifetime}");
        let reply = ask(&gateway, &debuginfo(&away));
        assert!(
            matches!(&reply.ended, Ended::Absent(lifetime) if lifetime.contains("no-store")),
            "{mode:?}: {reply:?}"
        );
        // What it is known to have is not absent. A relayed file is in the cache.
        let reply = ask(&gateway, &debuginfo(&known));
        assert!(!matches!(reply.ended, Ended::Absent(_)), "{mode:?}: {reply:?}");

        upstreams.hanging.set(Fault::None);
        let back = Instant::now();
        loop {
            let reply = ask(&gateway, &debuginfo(&random.build_id()));
            match reply.ended {
                Ended::Absent(lifetime) if lifetime.contains("max-age") => break,
                Ended::Absent(_) | Ended::Unavailable => {}
                other => panic!("{mode:?}: {other:?}"),
            }
            assert!(back.elapsed() < RECOVERY, "{mode:?}: not back within {RECOVERY:?}");
            std::thread::sleep(Duration::from_millis(50));
        }
        eprintln!("{mode:?}: back after {:?}", back.elapsed());
        for build_id in [&known, &away] {
            let reply = ask(&gateway, &debuginfo(build_id));
            assert!(matches!(reply.ended, Ended::Redirect(_) | Ended::File(_)), "{mode:?}: {build_id}: {reply:?}");
        }
    }
}

#[test]
fn with_absent_all_nothing_is_absent_without_the_word_of_each() {
    let index = Sqlite::with_packages(&[]);
    let mut random = Random::new(21);
    let upstreams = Four::start();
    let settings = "absent = \"all\"\nunreachable_after = \"1s\"";
    let gateway = federated(&index, Mode::Redirect, settings, &upstreams.all());
    upstreams.hanging.set(Fault::Hangs);
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(4) {
        assert_eq!(ask(&gateway, &debuginfo(&random.build_id())).ended, Ended::Unavailable);
        std::thread::sleep(Duration::from_millis(50));
    }
    upstreams.hanging.set(Fault::None);
    let back = Instant::now();
    while !matches!(ask(&gateway, &debuginfo(&random.build_id())).ended, Ended::Absent(_)) {
        assert!(back.elapsed() < RECOVERY, "not back within {RECOVERY:?}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn an_upstream_that_refused_some_requests_is_back_seconds_after_it_works_again() {
    let index = Sqlite::with_packages(&[]);
    let mut random = Random::new(22);
    for fault in [Fault::Resets, Fault::Closes, Fault::Status(500), Fault::Page] {
        let upstream = Upstream::start(Fault::None);
        let gateway = federated(&index, Mode::Redirect, "", &[&upstream]);
        let mut ask = || ask(&gateway, &debuginfo(&random.build_id())).ended;
        assert!(matches!(ask(), Ended::Absent(_)), "{fault:?}");
        upstream.set(fault);
        let began = Instant::now();
        while began.elapsed() < Duration::from_millis(1500) {
            assert_eq!(ask(), Ended::Unavailable, "{fault:?}");
        }
        upstream.set(Fault::None);
        let back = Instant::now();
        while !matches!(ask(), Ended::Absent(_)) {
            assert!(back.elapsed() < Duration::from_secs(10), "{fault:?}: not back: {}", gateway.log());
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}
