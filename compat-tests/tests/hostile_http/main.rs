//! Hostile HTTP: malformed requests, silent and slow connections, thousands of clients. Each gets the answer of the
//! standard, and other clients are served meanwhile.

#![expect(clippy::unwrap_used, reason = "a failure here is a failed test, and says where")]

mod http2;
mod logs;
mod many_connections;
mod requests;
mod timeouts;

use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::time::{Duration, Instant};

use artifact::header::Header;
use compat_tests::darkserver::{RunningGateway, Sqlite, import_ok};
use compat_tests::fixtures;
use compat_tests::http::Response;
use compat_tests::process::Process;
use compat_tests::wait_within;
use tempfile::TempDir;

const SERVER: &str = "server/server-1.1-5.fc99.x86_64.rpm";
/// Maximum time for any condition.
const TIMEOUT: Duration = Duration::from_secs(60);
const HEALTH: &[u8] = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n";

/// The client's end of a connection.
struct Connection(BufReader<TcpStream>);

impl Connection {
    fn open(port: u16) -> Self {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
        stream.set_read_timeout(Some(TIMEOUT)).unwrap();
        Self(BufReader::new(stream))
    }

    fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.get_mut().write_all(bytes)
    }

    /// Reads the next final response.
    fn answer(&mut self, has_body: bool) -> io::Result<Response> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            if self.0.read_until(b'\n', &mut head)? == 0 {
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, String::from_utf8_lossy(&head).into_owned()));
            }
        }
        let head = String::from_utf8_lossy(&head).into_owned();
        let status: u16 =
            head.split(' ').nth(1).and_then(|word| word.parse().ok()).unwrap_or_else(|| panic!("no status: {head}"));
        if status < 200 {
            return self.answer(has_body);
        }
        let header =
            |line: &str| line.split_once(':').map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()));
        let headers: Vec<(String, String)> = head.lines().filter_map(header).collect();
        let mut answer = Response { status, headers, body: Vec::new() };
        let length = answer.header("content-length").map_or(0, |length| length.parse().unwrap());
        answer.body.resize(if has_body { length } else { 0 }, 0);
        self.0.read_exact(&mut answer.body)?;
        Ok(answer)
    }

    /// Reads until the end or a reset, and returns the bytes and the time.
    fn rest(&mut self) -> (Vec<u8>, Duration) {
        let started = Instant::now();
        let mut rest = Vec::new();
        match self.0.read_to_end(&mut rest) {
            Err(error) if error.kind() != io::ErrorKind::ConnectionReset => panic!("expected the end, found {error}"),
            _ => (rest, started.elapsed()),
        }
    }

    fn is_open(&mut self) -> bool {
        self.send(HEALTH).is_ok() && self.answer(true).is_ok_and(|answer| answer.status == 200)
    }
}

/// Asserts that another client is served, and returns its latency.
fn assert_others_are_served(gateway: &RunningGateway) -> Duration {
    let started = Instant::now();
    assert_eq!(gateway.get("/healthz").status, 200);
    started.elapsed()
}

#[track_caller]
fn wait_until(what: &str, holds: impl FnMut() -> bool) {
    wait_within(TIMEOUT, what, holds);
}

/// An index of one archive that is larger than all buffers of a connection.
struct Large {
    sqlite: Sqlite,
    path: String,
    length: usize,
    _directory: TempDir,
}

impl Large {
    fn make() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut bytes = fs::read(fixtures::rpm(SERVER)).unwrap();
        bytes.resize(48 << 20, 0x5a);
        fs::write(directory.path().join("server-1.1-5.fc99.x86_64.rpm"), &bytes).unwrap();
        let identity = Header::read(&mut bytes.as_slice()).unwrap().package.identity;
        let sqlite = Sqlite::empty();
        import_ok(&sqlite.url(), &["dir", directory.path().to_str().unwrap()]);
        let path = format!("/archive/{identity}/server-1.1-5.fc99.x86_64.rpm");
        Self { sqlite, path, length: bytes.len(), _directory: directory }
    }

    fn request(&self) -> Vec<u8> {
        format!("GET {} HTTP/1.1\r\nHost: x\r\n\r\n", self.path).into_bytes()
    }
}

/// The gauge of open connections, without the one that reads it.
fn connections(gateway: &RunningGateway) -> f64 {
    gateway.metric("gateway_connections") - 1.0
}

fn closed(gateway: &RunningGateway, reason: &str) -> f64 {
    gateway.metric(&format!("gateway_connections_closed_total{{reason=\"{reason}\"}}"))
}

/// Resident memory, bytes (proc(5), VmRSS).
fn resident_bytes(gateway: &mut RunningGateway) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", gateway.process().id())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() * 1024.0
}

/// User and system time in hundredths of a second (proc(5), /proc/PID/stat).
fn processor_ticks(process: &Process) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", process.id())).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    fields[11..13].iter().map(|ticks| ticks.parse::<u64>().unwrap()).sum()
}
