//! All upstreams cut off: links that go down and routes that lead nowhere. Not one 404 is sent meanwhile.

use std::time::{Duration, Instant};

use compat_tests::darkserver::{RunningGateway, Sqlite};
use compat_tests::namespaces::Namespaces;
use compat_tests::scale;
use compat_tests::upstreams::Random;

use crate::client::{Ended, ask};
use crate::{DECIDED_WITHIN, Mode, configuration, debug_file, debuginfo};

/// How long upstreams are away each time.
const AWAY: Duration = Duration::from_secs(3);
/// How long upstreams that are back may stay unnoticed.
const RECOVERY: Duration = Duration::from_secs(30);

/// Expects 404 for new build-ids within [`RECOVERY`], and what there is.
fn expect_back(what: &str, gateway: &RunningGateway, random: &mut Random, there: &str) {
    let began = Instant::now();
    loop {
        let reply = ask(gateway, &debuginfo(&random.build_id()));
        match reply.ended {
            Ended::Absent(lifetime) if lifetime.contains("max-age") => break,
            Ended::Absent(_) | Ended::Unavailable => {}
            other => panic!("{what}: {other:?}"),
        }
        assert!(began.elapsed() < RECOVERY, "{what}: not back within {RECOVERY:?}: {}", gateway.log());
        std::thread::sleep(Duration::from_millis(50));
    }
    eprintln!("{what}: back after {:?}", began.elapsed());
    let reply = ask(gateway, &debuginfo(there));
    assert!(matches!(reply.ended, Ended::Redirect(_)), "{what}: {reply:?}");
}

#[test]
fn while_all_upstreams_are_cut_off_nothing_is_absent() {
    let mut random = Random::new(30);
    let (files, empty) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let there: Vec<String> = (0..4).map(|_| random.build_id()).collect();
    for build_id in &there {
        let path = files.path().join(debuginfo(build_id).trim_start_matches('/'));
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, debug_file(build_id, 1000)).unwrap();
    }
    let mut namespaces = Namespaces::start();
    let urls = [namespaces.serve(files.path()), namespaces.serve(empty.path())];
    let index = Sqlite::with_packages(&[]);
    // Shorter than they are away: nobody is left who could outvote them.
    let settings = "unreachable_after = \"1s\"";
    let upstreams = urls.each_ref().map(|url| (Mode::Redirect, url.as_str()));
    let gateway = namespaces.gateway(&index.url(), &configuration(settings, &upstreams));
    expect_back("at the start", &gateway, &mut random, &there[0]);

    type Switch = fn(&Namespaces);
    let ways: [(&str, Switch, Switch); 3] = [
        ("a link that is down", |them| them.link("down"), |them| them.link("up")),
        ("a blackhole route", |them| them.add_route("blackhole"), |them| them.remove_route("blackhole")),
        ("an unreachable route", |them| them.add_route("unreachable"), |them| them.remove_route("unreachable")),
    ];
    for _ in 0..scale(1, 10) {
        for (number, (what, cut, join)) in ways.iter().enumerate() {
            cut(&namespaces);
            let began = Instant::now();
            let mut count = 0;
            while began.elapsed() < AWAY {
                // New ones, and one that was never asked for and exists.
                for build_id in [&random.build_id(), &there[number + 1]] {
                    let reply = ask(&gateway, &debuginfo(build_id));
                    let is_known = matches!(reply.ended, Ended::Redirect(_)) && there.contains(build_id);
                    assert!(reply.ended == Ended::Unavailable || is_known, "{what}: {reply:?}: {}", gateway.log());
                    assert!(reply.decided < DECIDED_WITHIN, "{what}: {:?}", reply.decided);
                    count += 1;
                }
                std::thread::sleep(Duration::from_millis(20));
            }
            assert!(count > 10, "{what}: expected quick answers, found {count} in {AWAY:?}");
            join(&namespaces);
            expect_back(what, &gateway, &mut random, &there[number + 1]);
        }
    }
}

/// In `make soak`, and only where the kernel can lose packets.
#[test]
fn lost_packets_make_nothing_absent() {
    if scale(true, false) {
        return;
    }
    let mut random = Random::new(31);
    let files = tempfile::tempdir().unwrap();
    let there: Vec<String> = (0..200).map(|_| random.build_id()).collect();
    for build_id in &there {
        let path = files.path().join(debuginfo(build_id).trim_start_matches('/'));
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, debug_file(build_id, 1000)).unwrap();
    }
    let mut namespaces = Namespaces::start();
    let urls = [namespaces.serve(files.path()), namespaces.serve(files.path())];
    let index = Sqlite::with_packages(&[]);
    let upstreams = urls.each_ref().map(|url| (Mode::Redirect, url.as_str()));
    let gateway = namespaces.gateway(&index.url(), &configuration("", &upstreams));
    if !namespaces.try_near(&["tc", "qdisc", "add", "dev", "near0", "root", "netem", "loss", "20%"]) {
        eprintln!("this kernel has no netem: packets are not lost");
        return;
    }
    for build_id in &there {
        let reply = ask(&gateway, &debuginfo(build_id));
        assert!(matches!(reply.ended, Ended::Redirect(_) | Ended::Unavailable), "{reply:?}");
        assert!(reply.decided < DECIDED_WITHIN, "{:?}", reply.decided);
    }
}
