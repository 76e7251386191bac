//! HTTP/2 frames that no client sends: more requests than announced, and responses that are never read.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::time::Duration;
use std::{io, thread};

use compat_tests::darkserver::{RunningGateway, Sqlite};
use compat_tests::fixtures;

use super::{
    Connection, HEALTH, SERVER, assert_others_are_served, closed, connections, processor_ticks, resident_bytes,
    wait_until,
};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Types of frames (RFC 9113, section 6) and their flags.
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RESET: u8 = 3;
const SETTINGS: u8 = 4;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
/// Maximum memory of one connection, bytes.
const MAX_BYTES: f64 = 64e6;
/// Settings that give the server no room for the body of a single response.
const NO_WINDOW: [u8; 6] = [0, 4, 0, 0, 0, 0];

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A field that is not in HPACK's tables (RFC 7541, section 6.2.2).
fn field(name: &[u8], value: &[u8]) -> Vec<u8> {
    let length = |length: usize| -> Vec<u8> {
        let Some(mut rest) = length.checked_sub(127) else { return vec![length as u8] };
        let mut bytes = vec![127];
        while rest >= 128 {
            bytes.push(rest as u8 | 128);
            rest >>= 7;
        }
        bytes.push(rest as u8);
        bytes
    };
    [&[0], length(name.len()).as_slice(), name, &length(value.len()), value].concat()
}

/// The head of a request: `:method`, `:scheme`, `:path`, `:authority`.
fn head(method: &str, path: &str) -> Vec<u8> {
    let fields = [(":method", method), (":scheme", "http"), (":path", path), (":authority", "localhost")];
    fields.into_iter().flat_map(|(name, value)| field(name.as_bytes(), value.as_bytes())).collect()
}

/// Whole requests, each on the next stream of a client.
fn requests(first: usize, count: usize, method: &str, path: &str) -> Vec<u8> {
    let head = head(method, path);
    let request = |at: usize| frame(HEADERS, END_STREAM | END_HEADERS, (2 * at + 1) as u32, &head);
    (first..first + count).flat_map(request).collect()
}

fn open(gateway: &RunningGateway, settings: &[u8]) -> Connection {
    let mut line = Connection::open(gateway.port);
    line.send(&[PREFACE, &frame(SETTINGS, 0, 0, settings)].concat()).unwrap();
    line
}

/// A frame from the server: type, stream, payload.
fn next_frame(from: &mut impl Read) -> io::Result<(u8, u32, Vec<u8>)> {
    let mut head = [0; 9];
    from.read_exact(&mut head)?;
    let [a, b, c, kind, _, stream @ ..] = head;
    let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
    from.read_exact(&mut payload)?;
    Ok((kind, u32::from_be_bytes(stream), payload))
}

#[test]
fn malformed_frames_close_only_their_connection() {
    let sqlite = Sqlite::with_packages(&[]);
    let gateway = RunningGateway::start(&sqlite.url());
    let settings = frame(SETTINGS, 0, 0, &[]);
    for (what, bytes) in [
        ("a wrong preface", b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n".to_vec()),
        ("a frame of 16 MiB", [PREFACE, &[0xff; 200]].concat()),
        ("HTTP/1 behind the preface", [PREFACE, HEALTH].concat()),
        ("data on a stream that is not open", [PREFACE, &settings, &frame(DATA, 0, 1, &[0])].concat()),
        ("headers that are no HPACK", [PREFACE, &settings, &frame(HEADERS, 5, 1, &[0xff; 3])].concat()),
    ] {
        let mut line = Connection::open(gateway.port);
        line.send(&bytes).unwrap();
        let (_, took) = line.rest();
        assert!(took.as_secs() < 8, "{what}: ended after {took:?}");
        assert_others_are_served(&gateway);
    }
}

#[test]
fn limits_are_announced_and_a_client_far_above_them_is_disconnected() {
    let sqlite = Sqlite::with_packages(&[]);
    let mut gateway = RunningGateway::start(&sqlite.url());
    let before = resident_bytes(&mut gateway);
    let mut line = open(&gateway, &NO_WINDOW);
    let (kind, _, settings) = next_frame(&mut line.0).unwrap();
    assert_eq!(kind, SETTINGS);
    let told =
        |name: u8| settings.chunks(6).find(|setting| setting[..2] == [0, name]).map(|setting| setting[2..].to_vec());
    assert_eq!((told(3), told(6)), (Some(vec![0, 0, 1, 0]), Some(vec![0, 2, 0, 0])), "streams, bytes of a head");
    // As many as announced; each is answered with a head, and its body waits.
    line.send(&requests(0, 256, "GET", "/healthz")).unwrap();
    let mut answered = 0;
    while answered < 256 {
        answered += usize::from(next_frame(&mut line.0).unwrap().0 == HEADERS);
    }
    // A hundred thousand more are not accepted.
    for at in 0..200 {
        if line.send(&requests(256 + at * 500, 500, "GET", "/healthz")).is_err() {
            break;
        }
    }
    line.rest();
    assert_eq!(closed(&gateway, "stream_limit"), 1.0);
    let grown = resident_bytes(&mut gateway) - before;
    assert!(grown < MAX_BYTES, "expected less than {MAX_BYTES} bytes for one connection, found {grown:.0} bytes");
    assert_others_are_served(&gateway);
}

#[test]
fn requests_of_a_client_that_reads_nothing_wait_and_are_answered_later() {
    // Hundreds of megabytes, which flow control would allow.
    const COUNT: usize = 40_000;
    let sqlite = Sqlite::with_packages(&[&fixtures::family("server")]);
    let mut gateway = RunningGateway::start(&sqlite.url());
    let path = format!("/buildid/{}/executable", fixtures::build_id(SERVER, "/usr/bin/server"));
    let length = gateway.get(&path).body.len();
    let before = resident_bytes(&mut gateway);
    let mut line = open(&gateway, &[0, 4, 0x7f, 0xff, 0xff, 0xff]);
    line.send(&frame(WINDOW_UPDATE, 0, 0, &(i32::MAX - 65_535).to_be_bytes())).unwrap();
    let mut writes = line.0.get_ref().try_clone().unwrap();
    let asking = thread::spawn(move || writes.write_all(&requests(0, COUNT, "GET", &path)).unwrap());
    // The gateway uses no processor time once it reads no more requests.
    let mut ticks = 0;
    wait_until("the gateway stops making answers", || {
        thread::sleep(Duration::from_millis(500));
        let now = processor_ticks(gateway.process());
        std::mem::replace(&mut ticks, now) == now
    });
    assert_others_are_served(&gateway);
    let grown = resident_bytes(&mut gateway) - before;
    assert!(grown < MAX_BYTES, "expected less than {MAX_BYTES} bytes for one connection, found {grown:.0} bytes");
    let (mut heads, mut bytes) = (0, 0);
    while heads < COUNT || bytes < COUNT * length {
        match next_frame(&mut line.0).unwrap() {
            (HEADERS, ..) => heads += 1,
            (DATA, _, payload) => bytes += payload.len(),
            _ => {}
        }
    }
    assert_eq!((heads, bytes), (COUNT, COUNT * length));
    asking.join().unwrap();
    assert_eq!(closed(&gateway, "stream_limit"), 0.0);
}

#[test]
fn a_large_head_is_refused_and_the_connection_stays_open() {
    let sqlite = Sqlite::with_packages(&[]);
    let gateway = RunningGateway::start(&sqlite.url());
    let mut line = open(&gateway, &NO_WINDOW);
    line.send(&frame(HEADERS, END_STREAM, 1, &head("GET", "/healthz"))).unwrap();
    for number in 0..9 {
        let flags = if number == 8 { END_HEADERS } else { 0 };
        line.send(&frame(CONTINUATION, flags, 1, &field(b"x-large", &[b'x'; 16_000]))).unwrap();
    }
    line.send(&requests(1, 1, "HEAD", "/healthz")).unwrap();
    let mut statuses = Vec::new();
    while statuses.len() < 2 {
        let (kind, stream, payload) = next_frame(&mut line.0).unwrap();
        assert_ne!(kind, RESET, "stream {stream}");
        if kind == HEADERS {
            // 200 is the field 8 of HPACK's static table.
            statuses.push((stream, payload[0] == 0x88));
        }
    }
    statuses.sort();
    assert_eq!(statuses, [(1, false), (3, true)], "stream, and whether its status is 200");
    assert_eq!(gateway.metric("gateway_requests_total{endpoint=\"operations\",status=\"431\"}"), 1.0);
    assert_others_are_served(&gateway);
}

#[test]
fn a_disconnect_releases_the_permits_of_all_streams() {
    // It accepts connections and never answers.
    let upstream = TcpListener::bind("127.0.0.1:0").unwrap();
    let configuration = format!(
        "[[upstream]]\nname = \"a\"\nurl = \"http://{}\"\n[request]\nbudget = \"50s\"\nmax_concurrent = 2\n",
        upstream.local_addr().unwrap()
    );
    let sqlite = Sqlite::with_packages(&[]);
    let gateway = RunningGateway::start_with(&sqlite.url(), &configuration, &[]);
    let waiting = || gateway.metric("gateway_permits_waiting{permit=\"request\"}");
    let mut line = open(&gateway, &[]);
    for at in 0..50 {
        line.send(&requests(at, 1, "GET", &format!("/buildid/{at:040x}/debuginfo"))).unwrap();
    }
    wait_until("requests wait for their permits", || waiting() > 0.0);
    drop(line);
    let gone = std::time::Instant::now();
    wait_until("no request waits", || waiting() == 0.0 && connections(&gateway) == 0.0);
    assert!(
        gone.elapsed() < Duration::from_secs(10),
        "they waited for {:?} after their client had left",
        gone.elapsed()
    );
}
