//! Connections that wait: each has a deadline, and other clients are not delayed.

use std::io::{Read, Write};
use std::thread;
use std::time::{Duration, Instant};

use compat_tests::darkserver::{RunningGateway, Sqlite};
use rustix::net::connect_unspec;

use super::{
    Connection, HEALTH, Large, TIMEOUT, assert_others_are_served, closed, connections, processor_ticks, wait_until,
};

const HEAD: Duration = Duration::from_secs(2);
const IDLE: Duration = Duration::from_secs(4);
const SHORT: &str = "[connections]\nhead_timeout = \"2s\"\nidle_timeout = \"4s\"\n";
const HTTP2: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

/// Sends `first` at once and `then` byte by byte every 200 ms. Returns how long the connection lived, and the bytes
/// received.
fn lifetime(port: u16, first: &[u8], then: &[u8]) -> (Duration, Vec<u8>) {
    let started = Instant::now();
    let mut line = Connection::open(port);
    line.send(first).unwrap();
    let mut came = Vec::new();
    if !then.is_empty() {
        line.0.get_mut().set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        for byte in then.iter().cycle() {
            let mut buffer = [0; 4096];
            match line.0.read(&mut buffer) {
                Ok(0) => return (started.elapsed(), came),
                Ok(count) => came.extend(&buffer[..count]),
                Err(error) if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => {
                }
                Err(_) => return (started.elapsed(), came),
            }
            assert!(started.elapsed() < TIMEOUT, "alive after {TIMEOUT:?}");
            // The end may be on its way.
            let _ = line.send(&[*byte]);
        }
    }
    came.extend(line.rest().0);
    (started.elapsed(), came)
}

/// A name, bytes sent at once and slowly, the number of answers, and the lifetime of the connection.
type Case<'a> = (&'a str, &'a [u8], &'a [u8], usize, Duration);

#[test]
fn silent_partial_and_slow_requests_time_out() {
    let sqlite = Sqlite::with_packages(&[]);
    let gateway = RunningGateway::start_with(&sqlite.url(), SHORT, &[]);
    let port = gateway.port;
    let half = [HEALTH, b"GET /heal"].concat();
    let half_header = [HEALTH, b"GET /healthz HTTP/1.1\r\nHos"].concat();
    let chunked = b"GET /healthz HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n";
    let cases: [Case<'_>; 12] = [
        ("silent", b"", b"", 0, HEAD),
        ("half a request line", b"GET /heal", b"", 0, HEAD),
        ("half a header", b"GET /healthz HTTP/1.1\r\nHos", b"", 0, HEAD),
        ("a slow header", b"GET /healthz HTTP/1.1\r\nX: ", b"a", 0, HEAD),
        ("slow empty lines", b"", b"\r\n", 0, HEAD),
        ("half a preface of HTTP/2", b"PRI * HT", b"", 0, HEAD),
        // The HTTP service has read it with the first request, and no more bytes come.
        ("half a second request line with the first", &half, b"", 1, IDLE),
        ("half a second header with the first", &half_header, b"", 1, IDLE),
        ("a slow second request line", HEALTH, b"G", 1, HEAD),
        ("a slow second header", &half_header, b"a", 1, HEAD),
        ("a slow body", chunked, b"1\r\na\r\n", 1, HEAD),
        ("no second request", HEALTH, b"", 1, IDLE),
    ];
    thread::scope(|scope| {
        let waiting: Vec<_> = cases
            .map(|(what, first, then, answers, limit)| {
                (what, answers, limit, scope.spawn(move || lifetime(port, first, then)))
            })
            .into_iter()
            .collect();
        let http2 = scope.spawn(|| lifetime(port, HTTP2, b""));
        // Other clients are served at once meanwhile.
        let started = Instant::now();
        while started.elapsed() < HEAD {
            let took = assert_others_are_served(&gateway);
            assert!(took < HEAD, "another client waited {took:?}");
        }
        for (what, answers, limit, waiting) in waiting {
            let (lived, came) = waiting.join().unwrap();
            eprintln!("{what}: closed after {lived:.2?}");
            let text = String::from_utf8_lossy(&came).into_owned();
            assert_eq!(text.matches("HTTP/1.1 200 OK").count(), answers, "{what}: {text}");
            // A client would cache an error.
            assert_eq!(text.matches("HTTP/1.1").count(), answers, "{what}: {text}");
            assert!(
                lived > limit - Duration::from_millis(200) && lived < limit + Duration::from_secs(15),
                "{what}: {lived:?}"
            );
        }
        let (lived, _) = http2.join().unwrap();
        assert!(lived > HEAD / 2 && lived < HEAD + Duration::from_secs(15), "HTTP/2 without a request: {lived:?}");
    });
    assert_eq!((closed(&gateway, "head_timeout"), closed(&gateway, "idle_timeout")), (10.0, 3.0));
    wait_until("all are gone", || connections(&gateway) == 0.0);
}

#[test]
fn a_slow_reader_gets_the_whole_response_and_pipelined_requests_wait_without_cpu_time() {
    let large = Large::make();
    let mut gateway = RunningGateway::start_with(&large.sqlite.url(), SHORT, &[]);
    let mut line = Connection::open(gateway.port);
    line.send(&large.request()).unwrap();
    // More requests than any buffer of the service holds.
    let requests = HEALTH.repeat(6000);
    let mut writer = line.0.get_ref().try_clone().unwrap();
    let writing = thread::spawn(move || writer.write_all(&requests));
    let before = processor_ticks(gateway.process());
    thread::sleep(IDLE + HEAD);
    let spent = processor_ticks(gateway.process()) - before;
    assert!(spent < 60, "expected to wait for the client, found {spent} ticks of work in {:?}", IDLE + HEAD);
    assert_others_are_served(&gateway);
    let answer = line.answer(true).unwrap();
    assert_eq!((answer.status, answer.body.len()), (200, large.length));
    for number in 0..6000 {
        assert_eq!(line.answer(true).unwrap().status, 200, "pipelined request {number}");
    }
    writing.join().unwrap().unwrap();
}

#[test]
fn clients_that_disconnect_early_leave_no_descriptors() {
    let large = Large::make();
    let mut gateway = RunningGateway::start(&large.sqlite.url());
    let descriptors = |gateway: &mut RunningGateway| {
        let directory = format!("/proc/{}/fd", gateway.process().id());
        std::fs::read_dir(directory).unwrap().count()
    };
    let vanish = |gateway: &RunningGateway| {
        for round in 0..50 {
            let mut line = Connection::open(gateway.port);
            line.send(&large.request()).unwrap();
            if round % 2 == 0 {
                let mut some = vec![0; 100_000];
                line.0.read_exact(&mut some).unwrap();
            }
            connect_unspec(line.0.get_ref()).unwrap();
        }
        wait_until("all are gone", || connections(gateway) == 0.0);
    };
    // The first ones also fill the pool of the database.
    vanish(&gateway);
    let before = descriptors(&mut gateway);
    vanish(&gateway);
    wait_until("nothing is left open", || descriptors(&mut gateway) < before + 10);
    assert_eq!(gateway.get(&large.path).body.len(), large.length);
}
