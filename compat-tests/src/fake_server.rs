//! Servers that send wrong answers, hang or break off, which no real server does on demand.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// One of the behaviours below, for tables of them.
pub type Behaviour = fn(head: &str, stream: &mut TcpStream);

/// A request that a server got.
#[derive(Clone, Debug)]
pub struct Request {
    /// Its path with its query.
    pub path: String,
    /// Its request line and headers.
    pub head: String,
    /// When its head was complete.
    pub at: Instant,
}

impl Request {
    /// True if a gateway sent it in the background, to learn whether the server answers.
    pub fn is_probe(&self) -> bool {
        self.path == "/" || self.head.contains("(probe")
    }

    /// The value of the first header of this name.
    pub fn header(&self, name: &str) -> Option<&str> {
        let headers = self.head.lines().skip(1).filter_map(|line| line.split_once(':'));
        let mut values = headers.filter(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim());
        values.next()
    }
}

/// A running server with one behaviour.
pub struct FakeServer {
    /// Its port.
    pub port: u16,
    accepted: Arc<AtomicUsize>,
    requests: Arc<Mutex<Vec<Request>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl FakeServer {
    /// Starts a server that runs `behaviour` for each connection in a thread of its own, with the head of the request.
    pub fn start(behaviour: impl Fn(&str, &mut TcpStream) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("bind to any port");
        Self::start_at(listener, behaviour)
    }

    /// As [`FakeServer::start`], for the connections of `listener`.
    pub fn start_at(listener: TcpListener, behaviour: impl Fn(&str, &mut TcpStream) + Send + Sync + 'static) -> Self {
        let behaviour = Arc::new(behaviour);
        let port = listener.local_addr().expect("the address of a listener").port();
        let (accepted, stop) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let requests = Arc::<Mutex<Vec<Request>>>::default();
        let (count, stopped, log) = (accepted.clone(), stop.clone(), requests.clone());
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if stopped.load(Ordering::SeqCst) {
                    return;
                }
                let Ok(mut stream) = stream else { continue };
                let (behaviour, count, log) = (behaviour.clone(), count.clone(), log.clone());
                std::thread::spawn(move || {
                    let head = head(&mut stream);
                    let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
                    let request = Request { path, head, at: Instant::now() };
                    if !request.is_probe() {
                        count.fetch_add(1, Ordering::SeqCst);
                    }
                    log.lock().unwrap().push(request.clone());
                    behaviour(&request.head, &mut stream);
                });
            }
        });
        Self { port, accepted, requests, stop, thread: Some(thread) }
    }

    /// `http://127.0.0.1:PORT`
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Number of connections, without those of gateways that probe it.
    pub fn connections(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }

    /// The requests, without those of gateways that probe it, in the order of their arrival.
    pub fn requests(&self) -> Vec<Request> {
        self.all_requests().into_iter().filter(|request| !request.is_probe()).collect()
    }

    /// The requests and the probes.
    pub fn all_requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }

    /// Number of requests for what has this build-id.
    pub fn requests_for(&self, build_id: &str) -> usize {
        self.requests().iter().filter(|request| request.path.contains(&format!("/buildid/{build_id}/"))).count()
    }
}

impl Drop for FakeServer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        // Wakes the listener.
        let _ = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port));
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Sends nothing for a minute.
pub fn hang(_: &str, _: &mut TcpStream) {
    std::thread::sleep(Duration::from_secs(60));
}

/// Answers 200 with a page of HTML.
pub fn serve_html(_: &str, stream: &mut TcpStream) {
    let _ = stream.write_all(
        b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 14\r\nConnection: close\r\n\r\n<html></html>\n",
    );
}

/// Answers 500.
pub fn fail(_: &str, stream: &mut TcpStream) {
    let _ = stream.write_all(b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
}

/// Answers 404.
pub fn answer_absent(_: &str, stream: &mut TcpStream) {
    let _ = stream.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
}

/// Answers 200 with the first bytes of an ELF file and debuginfod's headers.
pub fn serve_elf(_: &str, stream: &mut TcpStream) {
    let _ = stream.write_all(
        b"HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nContent-Length: 16\r\nX-DEBUGINFOD-SIZE: 16\r\n\
          X-DEBUGINFOD-FILE: /usr/bin/odd\r\nConnection: close\r\n\r\n\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0",
    );
}

/// Redirects to an address that no configuration allows.
pub fn redirect_elsewhere(_: &str, stream: &mut TcpStream) {
    let _ = stream.write_all(
        b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/secret\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
    );
}

/// Sends the head of an answer 200 with a body of `length` bytes. The caller sends the body or a part of it.
pub fn begin(stream: &mut TcpStream, length: usize) {
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n");
    let _ = stream.write_all(head.as_bytes());
}

/// The bytes of the file below `directory` that a request asks for.
///
/// # Panics
/// If it does not exist: the client then gets a connection that breaks off.
pub fn file(directory: &Path, head: &str) -> Vec<u8> {
    let path = head.split(' ').nth(1).unwrap_or_default().trim_start_matches('/');
    std::fs::read(directory.join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// A barrier that is closed at first. Threads that pass it wait until the test opens it.
#[derive(Clone, Default)]
pub struct Gate(Arc<(Mutex<bool>, Condvar)>);

impl Gate {
    /// Opens it for all threads, for good.
    pub fn open(&self) {
        *self.0.0.lock().unwrap() = true;
        self.0.1.notify_all();
    }

    /// True once it is open.
    pub fn is_open(&self) -> bool {
        *self.0.0.lock().unwrap()
    }

    /// Waits until it is open, for at most a minute.
    pub fn pass(&self) {
        let closed = self.0.0.lock().unwrap();
        drop(self.0.1.wait_timeout_while(closed, Duration::from_secs(60), |open| !*open).unwrap());
    }
}

fn head(stream: &mut TcpStream) -> String {
    let _ = stream.set_read_timeout(Some(Duration::from_secs(10)));
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|read| read == 1) {
        head.push(byte[0]);
    }
    String::from_utf8_lossy(&head).into_owned()
}
