//! Each fault alone, beside a healthy upstream, and as nine of ten.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use compat_tests::darkserver::{RunningGateway, Sqlite};
use compat_tests::scale;
use compat_tests::upstreams::{Fault, Random, Upstream, UpstreamFile};
use compat_tests::wait_within;

use crate::client::{Ended, PATIENCE, Reply, ask, ask_for};
use crate::{BUDGET, DECIDED_WITHIN, Mode, debug_file, debug_file_with_headers, debuginfo, federated};

/// Bytes behind a debug file, so that it is sent before it was received completely.
const TAIL: usize = 200_000;
/// Position of faults in a body: behind what proves a file, and before what a relay holds back.
const AT: usize = 100_000;

/// What an upstream with a fault tells of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tells {
    /// That it does not have it.
    Absent,
    /// Nothing that can be believed.
    Unknown,
    /// That it has it: the first bytes are right.
    Found,
}

/// Faults of everything that an upstream answers.
const STATUSES: [(u16, Tells); 12] = [
    (404, Tells::Absent),
    (410, Tells::Absent),
    (501, Tells::Absent),
    (400, Tells::Unknown),
    (401, Tells::Unknown),
    (403, Tells::Unknown),
    (429, Tells::Unknown),
    (500, Tells::Unknown),
    (502, Tells::Unknown),
    (503, Tells::Unknown),
    (504, Tells::Unknown),
    (206, Tells::Unknown),
];
const UNKNOWN: [Fault; 10] = [
    Fault::Closes,
    Fault::Resets,
    Fault::Refuses,
    Fault::BlackHole,
    Fault::HangsInTls,
    Fault::Hangs,
    Fault::EndlessHead,
    Fault::HugeHead,
    Fault::RedirectLoop,
    Fault::Page,
];
/// Faults of the files of an upstream, which says 404 to everything else.
const OF_FILES: [(Fault, Tells); 14] = [
    (Fault::Other, Tells::Unknown),
    (Fault::Empty, Tells::Unknown),
    (Fault::Partial, Tells::Unknown),
    (Fault::Stalls(2), Tells::Unknown),
    (Fault::EndsAt(2), Tells::Unknown),
    (Fault::EndsChunksAt(2), Tells::Unknown),
    (Fault::ResetsAt(2), Tells::Unknown),
    (Fault::SlowAtFirst(Duration::from_secs(3)), Tells::Unknown),
    (Fault::Stalls(AT), Tells::Found),
    (Fault::Drips(AT), Tells::Found),
    (Fault::EndsAt(AT), Tells::Found),
    (Fault::EndsChunksAt(AT), Tells::Found),
    (Fault::ResetsAt(AT), Tells::Found),
    (Fault::Endless, Tells::Found),
];

fn all() -> Vec<(Fault, Tells)> {
    let statuses = STATUSES.map(|(status, tells)| (Fault::Status(status), tells));
    let unknown = UNKNOWN.map(|fault| (fault, Tells::Unknown));
    statuses.into_iter().chain(unknown).chain(OF_FILES).collect()
}

/// Two build-ids, and a debug file of each.
struct Files {
    /// Of each healthy upstream.
    shared: (String, UpstreamFile),
    /// Of faulty upstreams alone.
    lonely: (String, UpstreamFile),
    other: Arc<Vec<u8>>,
}

impl Files {
    fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let mut file = || {
            let build_id = random.build_id();
            let file = debug_file_with_headers(&build_id, TAIL);
            (debuginfo(&build_id), file)
        };
        let (shared, lonely) = (file(), file());
        Self { shared, lonely, other: Arc::new(debug_file(&random.build_id(), TAIL)) }
    }

    fn faulty(&self, fault: Fault) -> Upstream {
        let upstream = Upstream::start(fault);
        upstream.add(&self.shared.0, &self.shared.1);
        upstream.add(&self.lonely.0, &self.lonely.1);
        upstream.set_other(&self.other);
        upstream
    }

    fn healthy(&self) -> Upstream {
        let upstream = Upstream::start(Fault::None);
        upstream.add(&self.shared.0, &self.shared.1);
        upstream
    }
}

#[track_caller]
fn assert_decided(what: &str, reply: &Reply) {
    assert!(reply.decided < DECIDED_WITHIN, "{what}: decided after {:?}", reply.decided);
}

/// Expects what an upstream alone can be believed, or one beside others that say 404.
#[track_caller]
fn expect_believed(
    what: &str,
    tells: Tells,
    fault: Fault,
    mode: Mode,
    gateway: &RunningGateway,
    path: &str,
    (upstream, file): (&Upstream, &UpstreamFile),
) {
    let patience = if fault == Fault::Endless { Duration::from_secs(3) } else { PATIENCE };
    let reply = ask_for(gateway, path, patience);
    assert_decided(what, &reply);
    match (tells, &reply.ended) {
        (Tells::Absent, Ended::Absent(_)) | (Tells::Unknown, Ended::Unavailable) => {}
        (Tells::Found, Ended::Redirect(to)) if mode == Mode::Redirect => {
            assert_eq!(*to, format!("{}{path}", upstream.url()), "{what}");
        }
        // A slow one is relayed to its end; of others not more than the right bytes come.
        (Tells::Found, Ended::File(_) | Ended::BrokenOff(_) | Ended::Slow(_)) if mode == Mode::Relay => {
            let is_whole = reply.has_right_bytes(what, &file.bytes);
            assert!(!is_whole || matches!(fault, Fault::Drips(_)), "{what}: expected that it breaks off");
            let is_slow = matches!(reply.ended, Ended::Slow(_));
            assert!(!is_slow || fault == Fault::Endless, "{what}: a gap of {:?}", reply.longest_gap);
        }
        (Tells::Found, Ended::Unavailable) if mode == Mode::Relay => {}
        (_, other) => panic!("{what}: expected {tells:?}, found {other:?}: {}", gateway.log()),
    }
}

/// Calls `check` with each item, in some threads: most of their time they wait.
fn for_each<T: Send>(items: Vec<T>, check: impl Fn(T) + Sync) {
    let items = Mutex::new(items);
    let next = || items.lock().unwrap().pop();
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while let Some(item) = next() {
                    check(item);
                }
            });
        }
    });
}

fn alone(mode: Mode, faults: Vec<(Fault, Tells)>) {
    let index = Sqlite::with_packages(&[]);
    let files = Files::new(1);
    for_each(faults, |(fault, tells)| {
        let upstream = files.faulty(fault);
        let gateway = federated(&index, mode, "", &[&upstream]);
        let what = format!("{fault:?} alone, {mode:?}");
        let (path, file) = &files.lonely;
        expect_believed(&what, tells, fault, mode, &gateway, path, (&upstream, file));
    });
}

#[test]
fn a_faulty_upstream_alone_is_redirected_to_only_if_it_proves_that_it_has_the_file() {
    alone(Mode::Redirect, all());
}

#[test]
fn a_faulty_upstream_alone_is_relayed_only_as_far_as_its_bytes_are_right() {
    alone(Mode::Relay, OF_FILES.into());
}

/// Beside an upstream that has the one file, and says 404 to the other.
fn in_pairs(mode: Mode) {
    let index = Sqlite::with_packages(&[]);
    let files = Files::new(2);
    for_each(all(), |(fault, tells)| {
        let (faulty, healthy) = (files.faulty(fault), files.healthy());
        let gateway = federated(&index, mode, "", &[&faulty, &healthy]);
        let what = format!("{fault:?} beside one that has it, {mode:?}");
        let (path, file) = &files.shared;
        let reply = ask(&gateway, path);
        assert_decided(&what, &reply);
        match (&reply.ended, mode) {
            (Ended::Redirect(to), Mode::Redirect) => {
                let is_healthy = *to == format!("{}{path}", healthy.url());
                let is_faulty = *to == format!("{}{path}", faulty.url());
                assert!(is_healthy || (is_faulty && tells == Tells::Found), "{what}: redirected to {to}");
            }
            (Ended::File(_), Mode::Relay) => assert!(reply.has_right_bytes(&what, &file.bytes)),
            // Nobody else can go on with a file whose size was not told.
            (Ended::BrokenOff(_), Mode::Relay) if matches!(fault, Fault::EndsChunksAt(_) | Fault::Endless) => {
                reply.has_right_bytes(&what, &file.bytes);
                let again = ask(&gateway, path);
                assert!(!matches!(again.ended, Ended::Absent(_) | Ended::Redirect(_)), "{what}: {again:?}");
            }
            // The reset overtook the first bytes.
            (Ended::Unavailable, Mode::Relay) if matches!(fault, Fault::EndsChunksAt(_) | Fault::Endless) => {}
            (other, _) => panic!("{what}: expected the file, found {}: {}", shorten(other), gateway.log()),
        }
        let what = format!("{fault:?} beside one that says 404, {mode:?}");
        let (path, file) = &files.lonely;
        expect_believed(&what, tells, fault, mode, &gateway, path, (&faulty, file));
    });
}

fn shorten(ended: &Ended) -> String {
    format!("{ended:?}").chars().take(100).collect()
}

#[test]
fn a_healthy_upstream_beside_a_faulty_one_is_redirected_to() {
    in_pairs(Mode::Redirect);
}

#[test]
fn a_healthy_upstream_beside_a_faulty_one_is_relayed() {
    in_pairs(Mode::Relay);
}

#[test]
fn one_healthy_upstream_of_ten_wins_and_its_404_alone_is_no_absence() {
    let index = Sqlite::with_packages(&[]);
    let files = Files::new(3);
    let faults: Vec<Fault> =
        all().into_iter().filter(|(_, tells)| *tells == Tells::Unknown).map(|(fault, _)| fault).collect();
    let nines: Vec<Vec<Fault>> = scale(
        faults.chunks(9).map(|chunk| chunk.iter().chain(&faults).copied().take(9).collect()).collect(),
        faults.iter().map(|fault| vec![*fault; 9]).collect(),
    );
    for nine in nines {
        for mode in Mode::BOTH {
            let faulty: Vec<Upstream> = nine.iter().map(|fault| files.faulty(*fault)).collect();
            let healthy = files.healthy();
            let upstreams: Vec<&Upstream> = faulty.iter().chain([&healthy]).collect();
            let gateway = federated(&index, mode, "", &upstreams);
            let what = format!("{nine:?} and one healthy, {mode:?}");
            let (path, file) = &files.shared;
            let reply = ask(&gateway, path);
            assert_decided(&what, &reply);
            match &reply.ended {
                Ended::Redirect(to) if mode == Mode::Redirect => assert_eq!(*to, format!("{}{path}", healthy.url())),
                Ended::File(_) if mode == Mode::Relay => assert!(reply.has_right_bytes(&what, &file.bytes)),
                other => panic!("{what}: expected the file, found {}: {}", shorten(other), gateway.log()),
            }
            let reply = ask(&gateway, &files.lonely.0);
            assert_decided(&what, &reply);
            assert_eq!(reply.ended, Ended::Unavailable, "{what}");
        }
    }
}

/// elfutils unpacks a whole package before its first byte: what it has is found by the next try.
#[test]
fn a_file_that_comes_late_is_found_by_a_later_request() {
    let index = Sqlite::with_packages(&[]);
    let files = Files::new(4);
    for mode in Mode::BOTH {
        let slow = files.faulty(Fault::SlowAtFirst(BUDGET * 4));
        let others = [Upstream::start(Fault::None), Upstream::start(Fault::None)];
        let gateway = federated(&index, mode, "", &[&slow, &others[0], &others[1]]);
        let (path, file) = &files.lonely;
        // A probe that is due sooner would come too late for the first request.
        std::thread::sleep(Duration::from_millis(700));
        let absent = ask(&gateway, &debuginfo(&Random::new(5).build_id()));
        assert!(matches!(absent.ended, Ended::Absent(_)), "{mode:?}: {absent:?}");
        let reply = ask(&gateway, path);
        assert_decided("the first request", &reply);
        assert_eq!(reply.ended, Ended::Unavailable, "{mode:?}");
        let took = wait_within(Duration::from_secs(10), "the file of a slow upstream", || {
            let reply = ask(&gateway, path);
            match &reply.ended {
                Ended::Unavailable => false,
                Ended::Redirect(to) => *to == format!("{}{path}", slow.url()),
                _ => reply.has_right_bytes("a slow upstream", &file.bytes),
            }
        });
        let asked = slow.requests().iter().filter(|request| request.path == *path).count();
        // One that was too slow, and one of the request that found it.
        assert!(asked <= 3, "{mode:?}: expected that the first request goes on, found {asked} within {took:?}");
        // It is slow, not dead: its answer to a probe kept its breaker closed.
        assert!(!gateway.log().contains("an upstream is unavailable"), "{mode:?}: {}", gateway.log());
    }
}
