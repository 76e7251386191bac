//! The hub over HTTP.

use std::collections::{BTreeMap, HashMap};
use std::io::{self, BufReader, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use dxr::{MethodCall, Value};

use super::state::State;
use super::wire::{HubFault, response};
use super::{Trouble, methods};
use crate::process::free_port;
use crate::static_server::connection::read_head;

/// What `getKojiVersion` returns.
pub(super) const KOJI_VERSION: &str = "1.36.1";
/// Koji's `MaxRequestLength`.
const MAX_REQUEST_BYTES: usize = 4 << 20;

/// What the threads of a hub share.
pub(super) struct Shared {
    pub(super) state: Mutex<State>,
    pub(super) calls: Mutex<BTreeMap<String, u64>>,
    pub(super) requests: AtomicU64,
    /// What is wrong, and with how many more answers.
    trouble: Mutex<Option<(Trouble, usize)>>,
}

impl Shared {
    pub(super) fn new(state: State) -> Self {
        let (calls, requests, trouble) = (Mutex::default(), AtomicU64::new(0), Mutex::default());
        Self { state: Mutex::new(state), calls, requests, trouble }
    }

    pub(super) fn set_trouble(&self, trouble: Option<Trouble>, times: usize) {
        *self.trouble.lock().unwrap() = trouble.map(|trouble| (trouble, times));
    }

    fn trouble(&self) -> Option<Trouble> {
        let mut trouble = self.trouble.lock().unwrap();
        let (found, times) = trouble.as_mut()?;
        let found = found.clone();
        *times = if *times == usize::MAX { usize::MAX } else { *times - 1 };
        if *times == 0 {
            *trouble = None;
        }
        Some(found)
    }
}

/// What the listener is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wanted {
    Up,
    Down,
    End,
}

struct Control {
    /// What it is to do, and whether it listens.
    state: Mutex<(Wanted, bool)>,
    changed: Condvar,
    /// Open connections by their number.
    streams: Mutex<HashMap<u64, TcpStream>>,
}

/// The listener of a hub, with a thread for each connection.
pub(super) struct HubServer {
    port: u16,
    control: Arc<Control>,
    thread: Option<JoinHandle<()>>,
}

impl HubServer {
    pub(super) fn start(shared: &Arc<Shared>) -> Self {
        let port = free_port();
        let control = Arc::new(Control {
            state: Mutex::new((Wanted::Up, false)),
            changed: Condvar::new(),
            streams: Mutex::default(),
        });
        let (shared, of_thread) = (Arc::clone(shared), Arc::clone(&control));
        let thread = std::thread::spawn(move || listen(port, &shared, &of_thread));
        let server = Self { port, control, thread: Some(thread) };
        server.set(Wanted::Up);
        server
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    pub(super) fn set_down(&self, is_down: bool) {
        self.set(if is_down { Wanted::Down } else { Wanted::Up });
    }

    /// Changes it, and waits until it has changed.
    fn set(&self, wanted: Wanted) {
        let mut state = self.control.state.lock().unwrap();
        let was_listening = state.1;
        state.0 = wanted;
        self.control.changed.notify_all();
        if was_listening && wanted != Wanted::Up {
            // Wakes the listener.
            let _ = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port));
        }
        let is_up = wanted == Wanted::Up;
        drop(self.control.changed.wait_while(state, |(_, is_listening)| *is_listening != is_up).unwrap());
        if !is_up {
            for (_, stream) in self.control.streams.lock().unwrap().drain() {
                let _ = stream.shutdown(Shutdown::Both);
            }
        }
    }
}

impl Drop for HubServer {
    fn drop(&mut self) {
        self.set(Wanted::End);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn listen(port: u16, shared: &Arc<Shared>, control: &Arc<Control>) {
    let wanted = |wanted: Wanted| control.state.lock().unwrap().0 == wanted;
    let set_listening = |is_listening: bool| {
        control.state.lock().unwrap().1 = is_listening;
        control.changed.notify_all();
    };
    let mut number = 0;
    while !wanted(Wanted::End) {
        let state = control.state.lock().unwrap();
        drop(control.changed.wait_while(state, |(wanted, _)| *wanted == Wanted::Down).unwrap());
        if wanted(Wanted::End) {
            return;
        }
        let listener = bind(port);
        set_listening(true);
        while wanted(Wanted::Up) {
            let Ok((stream, _)) = listener.accept() else { continue };
            if !wanted(Wanted::Up) {
                break;
            }
            number += 1;
            if let Ok(clone) = stream.try_clone() {
                control.streams.lock().unwrap().insert(number, clone);
            }
            let (shared, control) = (Arc::clone(shared), Arc::clone(control));
            std::thread::spawn(move || {
                // A client that ends its connection is no failure.
                let _ = serve(&shared, &stream);
                control.streams.lock().unwrap().remove(&number);
            });
        }
        drop(listener);
        set_listening(false);
    }
}

/// Listens on the port. Another process may have it for a moment while the hub is down.
fn bind(port: u16) -> TcpListener {
    let started = Instant::now();
    loop {
        match TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
            Ok(listener) => return listener,
            Err(error) => assert!(started.elapsed() < Duration::from_secs(20), "port {port}: {error}"),
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Answers the requests of a connection until it ends.
fn serve(shared: &Shared, stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream);
    while let Some(head) = read_head(&mut reader) {
        let header = |name: &str| {
            let headers = head.lines().skip(1).filter_map(|line| line.split_once(':'));
            let mut values =
                headers.filter(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim());
            values.next()
        };
        let length: usize = header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
        if length > MAX_REQUEST_BYTES {
            send(stream, 413, "text/plain", b"Request too long", usize::MAX)?;
            return stream.shutdown(Shutdown::Both);
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        shared.requests.fetch_add(1, Ordering::SeqCst);
        if !head.starts_with("POST /kojihub ") {
            send(stream, if head.starts_with("POST ") { 404 } else { 405 }, "text/plain", b"", usize::MAX)?;
        } else {
            answer(shared, stream, &body)?;
        }
        if header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close")) {
            return stream.shutdown(Shutdown::Both);
        }
    }
    Ok(())
}

fn answer(shared: &Shared, stream: &TcpStream, body: &[u8]) -> io::Result<()> {
    let trouble = shared.trouble();
    match &trouble {
        Some(Trouble::Slow(time)) => std::thread::sleep(*time),
        Some(Trouble::Status(status)) => {
            return send(stream, *status, "text/html", b"<html><body>Sorry.</body></html>\n", usize::MAX);
        }
        Some(Trouble::Garbage(bytes)) => return send(stream, 200, "text/xml", bytes, usize::MAX),
        _ => {}
    }
    let result = match &trouble {
        Some(Trouble::Offline) => Err(HubFault::offline()),
        _ => match str::from_utf8(body).ok().and_then(|body| MethodCall::from_xml(body).ok()) {
            Some(call) => methods::call(shared, &call.name, call.params),
            None => Err(HubFault { code: 1, text: "<class 'xml.parsers.expat.ExpatError'>: not well-formed".into() }),
        },
    };
    let result = match (&trouble, result) {
        (Some(Trouble::Fewer), Ok(Value::Array(mut values))) => {
            values.pop();
            Ok(Value::Array(values))
        }
        (_, result) => result,
    };
    let max_bytes = if let Some(Trouble::BreaksOff(bytes)) = trouble { bytes } else { usize::MAX };
    send(stream, 200, "text/xml", response(&result).as_bytes(), max_bytes)
}

/// Sends an answer, and no more than `max_bytes` of its body.
///
/// # Errors
/// Errors of the connection; it broke off.
fn send(mut stream: &TcpStream, status: u16, kind: &str, body: &[u8], max_bytes: usize) -> io::Result<()> {
    let head = format!(
        "HTTP/1.1 {status} Whatever\r\nContent-Type: {kind}\r\nKoji-Version: {KOJI_VERSION}\r\n\
         Content-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes())?;
    stream.write_all(body.get(..max_bytes).unwrap_or(body))?;
    if max_bytes < body.len() {
        stream.shutdown(Shutdown::Both)?;
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(())
}
