//! Many requests at once: they queue for permits, and those of one client do not delay those of another.

use std::io::Read;
use std::net::TcpStream;
use std::path::Path;
use std::thread::JoinHandle;
use std::time::Instant;

use compat_tests::darkserver::{RunningGateway, Sqlite};
use compat_tests::fake_server::{FakeServer, Gate};
use compat_tests::http;
use compat_tests::rpmbuild::{self, Made};
use compat_tests::wait_until;
use tempfile::TempDir;

use crate::{LARGE, index_of, path_of, sends_half_before};

const TRUSTS: &str = "trusted_proxies = [\"127.0.0.1/32\"]\n";
const ONE: &str = "198.51.100.1";
const OTHER: &str = "198.51.100.2";
const THIRD: &str = "2001:db8::3";
const TWO_EXTRACTIONS: &str = "[extraction]\nmax_concurrent = 2\n";

/// Packages with different build-ids.
fn packages(into: &Path, count: u16) -> Vec<Made> {
    let make = |number: u16| rpmbuild::numbered(into, &format!("large{number}"), LARGE / 4, number);
    (0..count).map(make).collect()
}

/// Asks through a proxy, and comes back when there is an answer.
fn ask(gateway: &RunningGateway, client: &'static str, made: &Made) -> JoinHandle<http::Response> {
    let (port, path) = (gateway.port, path_of(made));
    std::thread::spawn(move || http::request(port, "GET", &path, &[("X-Forwarded-For", client)]).unwrap())
}

/// Asks through a proxy, and comes back when the answer begins.
fn begin(gateway: &RunningGateway, client: &'static str, made: &Made) -> TcpStream {
    let (head, body) = http::begin_with(gateway.port, &path_of(made), &[("X-Forwarded-For", client)]).unwrap();
    assert_eq!(head.status, 200);
    body
}

/// A gateway with `limits`, whose packages are in a store that sends the first half of each until the gate is open.
struct Slow {
    gateway: RunningGateway,
    gate: Gate,
    made: Vec<Made>,
    store: FakeServer,
    _index: Sqlite,
    _directory: TempDir,
}

impl Slow {
    fn start(packages_count: u16, limits: &str) -> Self {
        let (directory, gate) = (tempfile::tempdir().unwrap(), Gate::default());
        let made = packages(directory.path(), packages_count);
        let store = sends_half_before(&gate, directory.path());
        let index = index_of(directory.path(), "mirror", &store.url());
        let gateway = RunningGateway::start_with(&index.url(), &format!("{TRUSTS}{limits}"), &[]);
        Self { gateway, gate, made, store, _index: index, _directory: directory }
    }

    /// Begins the extraction of the first two packages, each for a client of its own: with two permits all are taken.
    fn take_two_permits(&self) -> [TcpStream; 2] {
        [begin(&self.gateway, ONE, &self.made[0]), begin(&self.gateway, OTHER, &self.made[1])]
    }
}

fn expect_all(mut body: TcpStream, made: &Made) {
    let mut bytes = Vec::new();
    body.read_to_end(&mut bytes).unwrap();
    assert!(bytes == made.bytes, "other bytes");
}

fn waiting(gateway: &RunningGateway, permit: &str) -> f64 {
    gateway.metric(&format!("gateway_permits_waiting{{permit=\"{permit}\"}}"))
}

#[test]
fn extractions_queue_fairly_among_clients() {
    let slow = Slow::start(5, TWO_EXTRACTIONS);
    let Slow { gateway, gate, made, store, .. } = &slow;
    let first = begin(gateway, ONE, &made[0]);
    // One more permit is free, but not for a client that holds half of all.
    let of_one: Vec<_> = made[1..3].iter().map(|made| ask(gateway, ONE, made)).collect();
    wait_until("two queued requests", || waiting(gateway, "extraction") == 2.0);
    let asked = Instant::now();
    let second = begin(gateway, OTHER, &made[3]);
    eprintln!("another client's first byte after {:?}", asked.elapsed());
    let of_third = ask(gateway, THIRD, &made[4]);
    wait_until("three queued requests", || waiting(gateway, "extraction") == 3.0);
    assert_eq!(store.connections(), 2);
    // A request for a member that is being extracted needs no permit.
    let joined = begin(gateway, THIRD, &made[0]);
    // Longer than the budget, which does not run while a request is queued.
    std::thread::sleep(std::time::Duration::from_millis(4500));
    assert_eq!(waiting(gateway, "extraction"), 3.0);
    gate.open();
    for (body, made) in [(first, &made[0]), (joined, &made[0]), (second, &made[3])] {
        expect_all(body, made);
    }
    for (asked, made) in of_one.into_iter().zip(&made[1..3]) {
        assert!(asked.join().unwrap().body == made.bytes, "other bytes");
    }
    assert!(of_third.join().unwrap().body == made[4].bytes, "other bytes");
    assert_eq!((waiting(gateway, "extraction"), store.connections()), (0.0, 5));
    assert_eq!(gateway.metric("gateway_permit_wait_seconds_count{permit=\"extraction\"}"), 3.0);
}

#[test]
fn queued_requests_for_one_member_share_one_extraction() {
    let slow = Slow::start(3, TWO_EXTRACTIONS);
    let Slow { gateway, gate, made, store, .. } = &slow;
    let under_way = slow.take_two_permits();
    let asked: Vec<_> = (0..20).map(|number| ask(gateway, [ONE, OTHER, THIRD][number % 3], &made[2])).collect();
    wait_until("all requests are queued", || waiting(gateway, "extraction") == 20.0);
    gate.open();
    for asked in asked {
        assert!(asked.join().unwrap().body == made[2].bytes, "other bytes");
    }
    drop(under_way);
    assert_eq!((store.connections(), waiting(gateway, "extraction")), (3, 0.0));
}

#[test]
fn requests_queue_fairly_among_clients() {
    // An extraction holds one of two permits. A request that waits for it is not answered yet, and holds its own.
    let slow = Slow::start(4, &format!("[request]\nmax_concurrent = 4\n{TWO_EXTRACTIONS}"));
    let Slow { gateway, gate, made, .. } = &slow;
    let under_way = slow.take_two_permits();
    let of_one: Vec<_> = (0..12).map(|number| ask(gateway, ONE, &made[2 + number % 2])).collect();
    wait_until("queued requests", || waiting(gateway, "request") == 10.0);
    assert_eq!(waiting(gateway, "extraction"), 2.0);
    let asked = Instant::now();
    let absent = http::request(gateway.port, "GET", "/buildids/00112233", &[("X-Forwarded-For", OTHER)]).unwrap();
    assert_eq!((absent.status, absent.text().trim()), (200, "[]"));
    eprintln!("another client is answered after {:?}", asked.elapsed());
    // Two of another client take what is left.
    let of_other: Vec<_> = (0..2).map(|number| ask(gateway, OTHER, &made[2 + number])).collect();
    wait_until("queued extractions", || waiting(gateway, "extraction") == 4.0);
    let third = std::thread::spawn({
        let port = gateway.port;
        move || http::request(port, "GET", "/buildids/00112233", &[("X-Forwarded-For", THIRD)]).unwrap()
    });
    wait_until("a queued request of a third client", || waiting(gateway, "request") == 11.0);
    // Endpoints of operators need no permit.
    for path in ["/healthz", "/readyz", "/metrics", "/upstreams", "/"] {
        assert_eq!(gateway.get(path).status, 200, "{path}");
    }
    gate.open();
    assert_eq!(third.join().unwrap().status, 200);
    for (number, asked) in of_one.into_iter().enumerate() {
        assert!(asked.join().unwrap().body == made[2 + number % 2].bytes, "other bytes");
    }
    for (number, asked) in of_other.into_iter().enumerate() {
        assert!(asked.join().unwrap().body == made[2 + number].bytes, "other bytes");
    }
    drop(under_way);
    assert_eq!((waiting(gateway, "request"), waiting(gateway, "extraction")), (0.0, 0.0));
}

#[test]
fn a_disconnected_client_leaves_the_queue() {
    let slow = Slow::start(3, TWO_EXTRACTIONS);
    let Slow { gateway, gate, made, store: _, .. } = &slow;
    let under_way = slow.take_two_permits();
    let streams: Vec<TcpStream> = (0..200)
        .map(|_| http::send(gateway.port, "GET", &path_of(&made[2]), &[("X-Forwarded-For", THIRD)]).unwrap())
        .collect();
    wait_until("all requests are queued", || waiting(gateway, "extraction") == 200.0);
    drop(streams);
    wait_until("an empty queue", || waiting(gateway, "extraction") == 0.0);
    gate.open();
    assert!(ask(gateway, THIRD, &made[2]).join().unwrap().body == made[2].bytes, "other bytes");
    drop(under_way);
}
