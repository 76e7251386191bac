//! Debuginfod servers with some files and one fault, which a test can change at any time.

mod random;

use std::collections::{HashMap, HashSet};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::fake_server::{FakeServer, Request};
use crate::process::free_port;

pub use random::Random;

/// What is wrong with an upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing: 200 with the file, 206 for a range of it, or 404.
    None,
    /// This status to every request.
    Status(u16),
    /// Ends every connection in good order, without a word.
    Closes,
    /// Resets every connection once it has read the head of a request.
    Resets,
    /// Nothing listens on its port.
    Refuses,
    /// Its queue of connections is full: the kernel drops every attempt to connect.
    BlackHole,
    /// Accepts connections for TLS, and sends not one byte of the handshake.
    HangsInTls,
    /// Reads the request, and sends nothing.
    Hangs,
    /// Sends a status line and then one header after another, slowly and for ever.
    EndlessHead,
    /// 200 with a megabyte of headers.
    HugeHead,
    /// Redirects to itself for ever.
    RedirectLoop,
    /// 200 with a page of HTML to every request.
    Page,
    /// Sends a file only after this time when it is asked for first, and at once later, as a server that has to unpack
    /// it first and keeps it; 404 at once for all else.
    SlowAtFirst(Duration),
    /// Sends another ELF file, with another build-id, in place of each of its files.
    Other,
    /// 200 without a byte in place of each of its files.
    Empty,
    /// 206 with its files although no range was asked for.
    Partial,
    /// Sends its files, and then zeros for ever, without Content-Length.
    Endless,
    /// Sends this number of bytes of a file, and then nothing more on an open connection.
    Stalls(usize),
    /// Sends this number of bytes of a file and then 20 to 50 KB/s: below the speed at which clients give up.
    Drips(usize),
    /// Ends the connection in good order after this number of bytes of a file, although Content-Length states more.
    EndsAt(usize),
    /// As `EndsAt`, of a chunked body without its last chunk.
    EndsChunksAt(usize),
    /// Resets the connection after this number of bytes of a file.
    ResetsAt(usize),
}

/// A file of an upstream, with the headers that it sends.
#[derive(Clone, Debug)]
pub struct UpstreamFile {
    /// Its bytes.
    pub bytes: Arc<Vec<u8>>,
    /// Header lines, each with its end.
    pub headers: String,
}

impl UpstreamFile {
    /// A file with debuginfod's headers.
    pub fn new(bytes: Vec<u8>) -> Self {
        let headers = format!(
            "X-DEBUGINFOD-SIZE: {}\r\nX-DEBUGINFOD-FILE: /usr/lib/debug/odd.debug\r\nX-DEBUGINFOD-ARCHIVE: odd.rpm\r\n",
            bytes.len()
        );
        Self { bytes: Arc::new(bytes), headers }
    }

    /// A file without a header of debuginfod's.
    pub fn bare(bytes: Vec<u8>) -> Self {
        Self { bytes: Arc::new(bytes), headers: String::new() }
    }
}

/// An ELF file with this build-id: a copy of `program`, whose build-id is `old_id`, and `tail` bytes behind it, which
/// differ from build-id to build-id.
///
/// # Panics
/// If `program` does not contain its build-id.
pub fn elf_with(program: &Path, old_id: &str, new_id: &str, tail: usize) -> Vec<u8> {
    let (old, new) = (bytes_of(old_id), bytes_of(new_id));
    let mut bytes = std::fs::read(program).expect("read a program");
    let at = bytes.windows(old.len()).position(|window| window == old).expect("a build-id in the program");
    bytes[at..at + new.len()].copy_from_slice(&new);
    let mut random = Random::new(new.iter().fold(0, |sum: u64, byte| sum.wrapping_mul(31) + u64::from(*byte)));
    bytes.extend((0..tail).map(|_| random.number() as u8));
    bytes
}

fn bytes_of(hex: &str) -> Vec<u8> {
    let digits = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).expect("hexadecimal digits");
    (0..hex.len()).step_by(2).map(digits).collect()
}

/// A running upstream.
pub struct Upstream {
    url: String,
    shared: Arc<Shared>,
    server: Option<FakeServer>,
    _hole: Option<BlackHole>,
}

struct Shared {
    fault: Mutex<Fault>,
    /// By path: `/buildid/ID/debuginfo`.
    files: Mutex<HashMap<String, UpstreamFile>>,
    /// An ELF file that no test asks for.
    other: Mutex<Arc<Vec<u8>>>,
    /// Paths of files that are sent without a delay.
    unpacked: Mutex<HashSet<String>>,
}

impl Upstream {
    /// Starts one that has no file yet.
    pub fn start(fault: Fault) -> Self {
        let shared = Arc::new(Shared {
            fault: Mutex::new(fault),
            files: Mutex::default(),
            other: Mutex::default(),
            unpacked: Mutex::default(),
        });
        let answering = shared.clone();
        let mut upstream = Self { url: String::new(), shared, server: None, _hole: None };
        upstream.url = match fault {
            Fault::Refuses => format!("http://127.0.0.1:{}", free_port()),
            Fault::BlackHole => {
                let hole = BlackHole::start();
                let url = format!("http://127.0.0.1:{}", hole.port);
                upstream._hole = Some(hole);
                url
            }
            _ => {
                let server = FakeServer::start(move |head, stream| answering.answer(head, stream));
                let url = server.url();
                upstream.server = Some(server);
                if fault == Fault::HangsInTls { url.replace("http:", "https:") } else { url }
            }
        };
        upstream
    }

    /// Starts one with these files, by path.
    pub fn with_files<'a>(fault: Fault, files: impl IntoIterator<Item = (&'a str, &'a UpstreamFile)>) -> Self {
        let upstream = Self::start(fault);
        for (path, file) in files {
            upstream.add(path, file);
        }
        upstream
    }

    /// `http://127.0.0.1:PORT`
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Changes its fault for new requests, and for those that wait or are being answered slowly.
    ///
    /// # Panics
    /// If one of both faults is a port on which nothing answers.
    pub fn set(&self, fault: Fault) {
        let fixed = [Fault::Refuses, Fault::BlackHole, Fault::HangsInTls];
        let mut present = self.shared.fault.lock().unwrap();
        assert!(!fixed.contains(&fault) && !fixed.contains(&present), "{fault:?} cannot follow {present:?}");
        *present = fault;
    }

    /// Gives it a file, by path.
    pub fn add(&self, path: &str, file: &UpstreamFile) {
        self.shared.files.lock().unwrap().insert(path.to_owned(), file.clone());
    }

    /// What it sends instead of each file while its fault is [`Fault::Other`].
    pub fn set_other(&self, bytes: &Arc<Vec<u8>>) {
        *self.shared.other.lock().unwrap() = bytes.clone();
    }

    /// Its requests without probes, in the order of their arrival.
    pub fn requests(&self) -> Vec<Request> {
        self.server.as_ref().map(FakeServer::requests).unwrap_or_default()
    }

    /// Its requests with probes.
    pub fn all_requests(&self) -> Vec<Request> {
        self.server.as_ref().map(FakeServer::all_requests).unwrap_or_default()
    }

    /// Number of requests for what has this build-id.
    pub fn requests_for(&self, build_id: &str) -> usize {
        self.server.as_ref().map_or(0, |server| server.requests_for(build_id))
    }
}

impl Shared {
    fn fault(&self) -> Fault {
        *self.fault.lock().unwrap()
    }

    fn answer(&self, head: &str, stream: &mut TcpStream) {
        let path = head.split(' ').nth(1).unwrap_or_default();
        let fault = self.fault();
        match fault {
            Fault::Status(status) => return send_status(stream, status),
            Fault::Closes | Fault::Refuses | Fault::BlackHole => return,
            Fault::Resets => return reset(stream),
            Fault::Hangs | Fault::HangsInTls => return self.wait(fault, stream, Duration::from_secs(60)),
            Fault::EndlessHead => return self.send_endless_head(fault, stream),
            Fault::HugeHead => return send_huge_head(stream),
            Fault::RedirectLoop => {
                let head = format!("HTTP/1.1 302 Found\r\nLocation: {path}\r\n");
                return send(stream, &head, b"");
            }
            Fault::Page => {
                return send(
                    stream,
                    "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n",
                    b"<html>This domain is parked</html>\n",
                );
            }
            _ => {}
        }
        let file = self.files.lock().unwrap().get(path).cloned();
        match file {
            Some(file) => self.send_file(fault, head, stream, &file),
            None => send_status(stream, 404),
        }
    }

    fn send_file(&self, fault: Fault, head: &str, stream: &mut TcpStream, file: &UpstreamFile) {
        let (bytes, length) = (&file.bytes[..], file.bytes.len());
        let ok = format!("HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\n{}", file.headers);
        let with_length = format!("{ok}Content-Length: {length}\r\nConnection: close\r\n\r\n");
        let part = |count: usize| &bytes[..count.min(length)];
        match fault {
            Fault::Other => send(stream, &ok, &self.other.lock().unwrap().clone()),
            Fault::Empty => send(stream, &ok, b""),
            Fault::Partial => {
                let range = format!("Content-Range: bytes 0-{}/{length}\r\n", length.saturating_sub(1));
                send(stream, &format!("{}{range}", ok.replace("200 OK", "206 Partial Content")), bytes);
            }
            Fault::Endless => {
                let _ = write!(stream, "{ok}Connection: close\r\n\r\n").and_then(|()| stream.write_all(bytes));
                while self.fault() == fault && stream.write_all(&[0; 32 << 10]).is_ok() {
                    std::thread::sleep(Duration::from_millis(5));
                }
                reset(stream);
            }
            Fault::Stalls(count) => {
                let _ = stream.write_all(with_length.as_bytes()).and_then(|()| stream.write_all(part(count)));
                self.wait(fault, stream, Duration::from_secs(60));
            }
            Fault::Drips(count) => {
                let _ = stream.write_all(with_length.as_bytes()).and_then(|()| stream.write_all(part(count)));
                for piece in bytes[count.min(length)..].chunks(1 << 10) {
                    std::thread::sleep(if self.fault() == fault { Duration::from_millis(20) } else { Duration::ZERO });
                    if stream.write_all(piece).is_err() {
                        return;
                    }
                }
            }
            Fault::EndsAt(count) => {
                let _ = stream.write_all(with_length.as_bytes()).and_then(|()| stream.write_all(part(count)));
            }
            Fault::EndsChunksAt(count) => {
                let count = count.min(length);
                let _ = write!(stream, "{ok}Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n{count:x}\r\n");
                let _ = stream.write_all(part(count)).and_then(|()| stream.write_all(b"\r\n"));
            }
            Fault::ResetsAt(count) => {
                let _ = stream.write_all(with_length.as_bytes()).and_then(|()| stream.write_all(part(count)));
                // A reset drops what the peer has not read yet.
                std::thread::sleep(Duration::from_millis(50));
                reset(stream);
            }
            Fault::SlowAtFirst(delay) => {
                let path = head.split(' ').nth(1).unwrap_or_default();
                if !self.unpacked.lock().unwrap().contains(path) {
                    self.wait(fault, stream, delay);
                    self.unpacked.lock().unwrap().insert(path.to_owned());
                }
                send_range(stream, head, &ok, bytes);
            }
            _ => send_range(stream, head, &ok, bytes),
        }
    }

    /// Waits until the peer ends the connection, the fault is another one, or `limit` has passed.
    fn wait(&self, fault: Fault, stream: &mut TcpStream, limit: Duration) {
        let started = Instant::now();
        let _ = stream.set_read_timeout(Some(Duration::from_millis(20)));
        while self.fault() == fault && started.elapsed() < limit {
            if matches!(stream.read(&mut [0; 64]), Ok(0)) {
                return;
            }
        }
    }

    fn send_endless_head(&self, fault: Fault, stream: &mut TcpStream) {
        let mut sent = stream.write_all(b"HTTP/1.1 200 OK\r\n");
        let mut number = 0;
        while sent.is_ok() && self.fault() == fault && number < 3000 {
            std::thread::sleep(Duration::from_millis(20));
            number += 1;
            sent = write!(stream, "X-Filler-{number}: yes\r\n");
        }
    }
}

fn send(stream: &mut TcpStream, head: &str, body: &[u8]) {
    let _ = write!(stream, "{head}Content-Length: {}\r\nConnection: close\r\n\r\n", body.len());
    let _ = stream.write_all(body);
}

fn send_status(stream: &mut TcpStream, status: u16) {
    send(stream, &format!("HTTP/1.1 {status} Whatever\r\n"), b"");
}

fn send_huge_head(stream: &mut TcpStream) {
    let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n");
    for number in 0..1000 {
        if write!(stream, "X-Filler-{number}: {}\r\n", "x".repeat(1000)).is_err() {
            return;
        }
    }
    let _ = stream.write_all(b"Content-Length: 0\r\n\r\n");
}

/// The whole file, or the range that the request asks for.
fn send_range(stream: &mut TcpStream, head: &str, ok: &str, bytes: &[u8]) {
    let range =
        head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("range: bytes=").map(str::to_owned));
    let bounds = range.as_deref().and_then(|range| {
        let (first, last) = range.split_once('-')?;
        let last = last.trim().parse().map_or(bytes.len(), |last: usize| (last + 1).min(bytes.len()));
        Some((first.parse().ok()?, last)).filter(|(first, last): &(usize, usize)| first < last)
    });
    match bounds {
        Some((first, last)) => {
            let head = ok.replace("200 OK", "206 Partial Content");
            let range = format!("Content-Range: bytes {first}-{}/{}\r\n", last - 1, bytes.len());
            send(stream, &format!("{head}{range}"), &bytes[first..last]);
        }
        None => send(stream, ok, bytes),
    }
}

fn reset(stream: &TcpStream) {
    let _ = rustix::net::sockopt::set_socket_linger(stream, Some(Duration::ZERO));
}

/// A port whose queue of connections is full.
struct BlackHole {
    port: u16,
    _listener: TcpListener,
    _queue: Vec<TcpStream>,
}

impl BlackHole {
    fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("bind to any port");
        // On a socket that listens already, this changes the length of its queue.
        rustix::net::listen(&listener, 0).expect("shorten a queue");
        let address = listener.local_addr().expect("the address of a listener");
        let mut queue = Vec::new();
        while let Ok(stream) = TcpStream::connect_timeout(&address, Duration::from_millis(200)) {
            queue.push(stream);
            assert!(queue.len() < 100, "expected that the queue of a listener gets full");
        }
        Self { port: address.port(), _listener: listener, _queue: queue }
    }
}
