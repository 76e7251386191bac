//! A directory over HTTP/1.1, as a mirror has it: ranges, HEAD, kept connections, TLS. The server counts requests and
//! bytes by path, and a test can make it lie, break off or change at any time.

mod answer;
pub(crate) mod connection;

use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::certificates::Certificates;

/// What is wrong with an answer.
#[derive(Clone, Debug)]
pub enum Fault {
    /// 200 with the whole file, whatever range was asked for.
    IgnoresRange,
    /// 206 with other bytes than the range that was asked for: these start this number of bytes later.
    ShiftsRange(u64),
    /// 206 whose `Content-Range` states this size of the file.
    StatesSize(u64),
    /// Ends the connection in good order after this number of bytes of the body, although more were announced.
    EndsAfter(u64),
    /// Resets the connection after this number of bytes of the body.
    ResetsAfter(u64),
    /// Announces this number of bytes more than the body has, and then sends nothing on an open connection.
    AnnouncesMore(u64),
    /// Sends this number of bytes of the body, and then nothing on an open connection.
    StallsAfter(u64),
    /// Sends this number of bytes per second.
    Slow(u64),
    /// Answers after this time.
    Late(Duration),
    /// Sends the file at this path of the disk instead.
    OtherFile(PathBuf),
    /// Sends these bytes instead.
    Bytes(Vec<u8>),
    /// 302 to this URL. `{path}` in it stands for the path and query of the request.
    Redirects(String),
    /// This status, without a body.
    Status(u16),
    /// 200 with a page of HTML.
    Page,
}

/// A request that was answered.
#[derive(Clone, Debug)]
pub struct Sent {
    /// GET or HEAD.
    pub method: String,
    /// Path and query as they came.
    pub target: String,
    /// Path with its percent signs decoded, without a slash at its start.
    pub path: String,
    /// Request line and headers.
    pub head: String,
    /// `FIRST-LAST` of the range that was asked for.
    pub range: Option<String>,
    /// The status, 0 if the connection ended before it.
    pub status: u16,
    /// Bytes of the body that were sent.
    pub bytes: u64,
    /// Number of the connection, from 0.
    pub connection: usize,
}

impl Sent {
    /// The value of the first header of this name.
    pub fn header(&self, name: &str) -> Option<&str> {
        let headers = self.head.lines().skip(1).filter_map(|line| line.split_once(':'));
        let mut values = headers.filter(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim());
        values.next()
    }
}

type Action = Box<dyn FnOnce() + Send>;

struct Rule {
    /// Part of the path.
    path: String,
    fault: Fault,
    /// Number of answers that it still changes.
    times: usize,
}

#[derive(Default)]
struct Shared {
    directory: PathBuf,
    rules: Mutex<Vec<Rule>>,
    /// Number of requests after which each runs, counted down.
    actions: Mutex<Vec<(usize, Action)>>,
    sent: Mutex<Vec<Sent>>,
    /// Paths of all requests, in the order in which they came.
    begun: Mutex<Vec<String>>,
    /// A query that every request must have.
    query: Mutex<Option<String>>,
    streams: Mutex<Vec<TcpStream>>,
    stop: AtomicBool,
}

/// A running server.
pub struct StaticServer {
    address: Ipv4Addr,
    /// Its port.
    pub port: u16,
    is_tls: bool,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl StaticServer {
    /// Serves `directory` on 127.0.0.1.
    pub fn start(directory: &Path) -> Self {
        Self::start_at(Ipv4Addr::LOCALHOST, directory)
    }

    /// Serves `directory` on another address of this machine (127.0.0.0/8): another host.
    pub fn start_at(address: Ipv4Addr, directory: &Path) -> Self {
        Self::launch(address, directory, None)
    }

    /// Serves `directory` on 127.0.0.1 by TLS.
    pub fn start_tls(directory: &Path, certificates: &Certificates) -> Self {
        Self::launch(Ipv4Addr::LOCALHOST, directory, Some(connection::tls(certificates)))
    }

    fn launch(address: Ipv4Addr, directory: &Path, tls: Option<Arc<rustls::ServerConfig>>) -> Self {
        let listener = TcpListener::bind((address, 0)).expect("bind to any port");
        let port = listener.local_addr().expect("the address of a listener").port();
        let shared = Arc::new(Shared { directory: directory.to_owned(), ..Shared::default() });
        let (serving, is_tls) = (shared.clone(), tls.is_some());
        let thread = std::thread::spawn(move || {
            for (number, stream) in listener.incoming().enumerate() {
                if serving.stop.load(Ordering::SeqCst) {
                    return;
                }
                let Ok(stream) = stream else { continue };
                let (serving, tls) = (serving.clone(), tls.clone());
                serving.streams.lock().unwrap().extend(stream.try_clone());
                std::thread::spawn(move || connection::serve(&serving, stream, number, tls));
            }
        });
        Self { address, port, is_tls, shared, thread: Some(thread) }
    }

    /// `http://127.0.0.1:PORT`
    pub fn url(&self) -> String {
        format!("{}://{}:{}", if self.is_tls { "https" } else { "http" }, self.address, self.port)
    }

    /// From now on answers to requests whose path contains `path` have this fault. The last one set has precedence.
    pub fn set(&self, path: &str, fault: Fault) {
        self.set_times(path, fault, usize::MAX);
    }

    /// As [`StaticServer::set`], for this number of answers.
    pub fn set_times(&self, path: &str, fault: Fault, times: usize) {
        self.shared.rules.lock().unwrap().push(Rule { path: path.to_owned(), fault, times });
    }

    /// Removes all faults.
    pub fn repair(&self) {
        self.shared.rules.lock().unwrap().clear();
    }

    /// Answers 403 to requests without this query from now on.
    pub fn require_query(&self, query: &str) {
        *self.shared.query.lock().unwrap() = Some(query.to_owned());
    }

    /// Runs `action` when the `number`th request from now has come (1 is the next), before it is answered.
    pub fn at_request(&self, number: usize, action: impl FnOnce() + Send + 'static) {
        self.shared.actions.lock().unwrap().push((number, Box::new(action)));
    }

    /// The requests since the start or [`StaticServer::forget`], in the order in which their answers ended.
    pub fn sent(&self) -> Vec<Sent> {
        self.shared.sent.lock().unwrap().clone()
    }

    /// Those whose path contains `path`.
    pub fn sent_for(&self, path: &str) -> Vec<Sent> {
        self.sent().into_iter().filter(|sent| sent.path.contains(path)).collect()
    }

    /// Number of requests whose path contains `path`, also of those whose answer has not ended, since the start.
    pub fn begun_for(&self, path: &str) -> usize {
        self.shared.begun.lock().unwrap().iter().filter(|begun| begun.contains(path)).count()
    }

    /// Bytes of all bodies that were sent.
    pub fn bytes(&self) -> u64 {
        self.sent().iter().map(|sent| sent.bytes).sum()
    }

    /// Forgets the requests so far.
    pub fn forget(&self) {
        self.shared.sent.lock().unwrap().clear();
    }

    /// Ends it: nothing listens on its port any more.
    pub fn stop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        // Wakes the listener.
        let _ = TcpStream::connect((self.address, self.port));
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        for stream in self.shared.streams.lock().unwrap().drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

impl Drop for StaticServer {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Shared {
    /// The fault of the answer to a request for this path.
    fn fault(&self, path: &str) -> Option<Fault> {
        let mut rules = self.rules.lock().unwrap();
        let rule = rules.iter_mut().rev().find(|rule| rule.times > 0 && path.contains(&rule.path))?;
        rule.times = rule.times.saturating_sub(usize::from(rule.times != usize::MAX));
        Some(rule.fault.clone())
    }

    /// Runs the actions that are due with this request.
    fn run_actions(&self) {
        let mut actions = self.actions.lock().unwrap();
        actions.iter_mut().for_each(|(left, _)| *left = left.saturating_sub(1));
        let (due, later) = std::mem::take(&mut *actions).into_iter().partition(|(left, _)| *left == 0);
        *actions = later;
        // The lock is kept: requests that come meanwhile are answered after the change.
        let due: Vec<(usize, Action)> = due;
        due.into_iter().for_each(|(_, action)| action());
    }
}
