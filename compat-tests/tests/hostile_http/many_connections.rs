//! Thousands of concurrent connections: memory is bounded, and other clients are served.

use std::net::{Ipv4Addr, TcpStream};
use std::time::Duration;

use compat_tests::darkserver::{RunningGateway, Sqlite};
use compat_tests::scale;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::{Connection, HEALTH, Large, assert_others_are_served, closed, connections, resident_bytes, wait_until};

/// Timeouts longer than the measurements.
const LONG_TIMEOUTS: &str = "[connections]\nhead_timeout = \"10m\"\nidle_timeout = \"10m\"\n";

/// The latency of other clients, each on a new connection: median and maximum.
fn latencies(gateway: &RunningGateway) -> (Duration, Duration) {
    let mut all: Vec<Duration> = (0..200).map(|_| assert_others_are_served(gateway)).collect();
    all.sort();
    (all[100], all[199])
}

#[test]
fn thousands_of_idle_connections_cost_little() {
    let count = scale(2_000, 10_000);
    let limit = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: limit, maximum: limit }).unwrap();
    let sqlite = Sqlite::with_packages(&[]);
    for (what, says, max_bytes) in [
        ("silent", &b""[..], 16_000.0),
        ("half a request line", b"GET /heal", 40_000.0),
        ("idle after a request", HEALTH, 40_000.0),
        ("idle HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0", 60_000.0),
    ] {
        let mut gateway = RunningGateway::start_with(&sqlite.url(), LONG_TIMEOUTS, &[]);
        let alone = latencies(&gateway);
        let before = resident_bytes(&mut gateway);
        let mut lines: Vec<Connection> = Vec::with_capacity(count);
        for _ in 0..count {
            let mut line = Connection(std::io::BufReader::with_capacity(
                512,
                TcpStream::connect((Ipv4Addr::LOCALHOST, gateway.port)).unwrap(),
            ));
            line.send(says).unwrap();
            lines.push(line);
        }
        if says == HEALTH {
            for line in &mut lines {
                assert_eq!(line.answer(true).unwrap().status, 200);
            }
        }
        wait_until("all are connected", || connections(&gateway) == count as f64);
        let (median, longest) = latencies(&gateway);
        let each = (resident_bytes(&mut gateway) - before) / count as f64;
        eprintln!(
            "{count} connections, {what}: {each:.0} bytes each; others wait {median:.2?}, at most {longest:.2?} \
             (alone {:.2?}, {:.2?})",
            alone.0, alone.1
        );
        assert!(each < max_bytes, "{what}: expected below {max_bytes} bytes for a connection, found {each:.0}");
        assert!(longest < Duration::from_secs(2), "{what}: another client waited {longest:?}");
        // Valid connections stay open.
        if says == HEALTH {
            assert!(lines.iter_mut().step_by(50).all(Connection::is_open));
        }
        drop(lines);
        wait_until("all are gone", || connections(&gateway) == 0.0);
    }
}

#[test]
fn at_the_limit_the_longest_idle_connections_are_evicted() {
    let large = Large::make();
    let gateway = RunningGateway::start_with(&large.sqlite.url(), &format!("{LONG_TIMEOUTS}max_count = 20\n"), &[]);
    let mut reader = Connection::open(gateway.port);
    reader.send(&large.request()).unwrap();
    // Its response has begun.
    std::io::BufRead::fill_buf(&mut reader.0).unwrap();
    let mut connected: Vec<Connection> = (0..200).map(|_| Connection::open(gateway.port)).collect();
    // No client is refused: not the last ones, nor a new one, nor a download in progress.
    wait_until("the first were closed", || closed(&gateway, "evicted") >= 180.0);
    assert!(connected.last_mut().unwrap().is_open());
    for _ in 0..100 {
        assert_others_are_served(&gateway);
    }
    assert_eq!(connected[0].rest().0, b"", "the connection that was idle for longest is closed without an answer");
    let answer = reader.answer(true).unwrap();
    assert_eq!((answer.status, answer.body.len()), (200, large.length));
    assert_eq!(closed(&gateway, "connection_limit"), 0.0);
    wait_until("the others are gone", || connections(&gateway) <= 20.0);
}

#[test]
fn a_new_connection_is_reset_when_all_others_are_busy() {
    let large = Large::make();
    // Two for each worker at least, on any machine.
    let gateway = RunningGateway::start_with(&large.sqlite.url(), &format!("{LONG_TIMEOUTS}max_count = 4\n"), &[]);
    let workers = std::thread::available_parallelism().unwrap().get();
    let most = 4_usize.div_ceil(workers) * workers;
    let mut readers: Vec<Connection> = (0..most).map(|_| Connection::open(gateway.port)).collect();
    for reader in &mut readers {
        reader.send(&large.request()).unwrap();
        // Its response has begun.
        std::io::BufRead::fill_buf(&mut reader.0).unwrap();
    }
    let mut late = Connection::open(gateway.port);
    let asked = late.send(HEALTH).and_then(|()| late.answer(true));
    let error = asked.expect_err("no answer");
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "{error}");
    for mut reader in readers {
        assert_eq!(reader.answer(true).unwrap().body.len(), large.length);
    }
    wait_until("there is room again", || Connection::open(gateway.port).is_open());
    assert!(closed(&gateway, "connection_limit") >= 1.0);
}
