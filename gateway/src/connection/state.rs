//! One connection, as its stream and its requests share it: how long it may go on, and how it ends.

use std::cell::Cell;
use std::io;
use std::net::SocketAddr;
use std::rc::{Rc, Weak};
use std::task::Waker;
use std::time::Duration;

use actix_web::HttpRequest;
use actix_web::rt::net::TcpStream;
use rustix::net::{connect_unspec, sockopt};
use tokio::time::Instant;

use super::crowd::Crowd;
use crate::config::Connections;
use crate::metrics::METRICS;

/// How long a client may leave a response unread.
const UNREAD_MILLISECONDS: u32 = 90_000;
/// A request line may have so many bytes; the HTTP service reads no longer URLs.
const LONGEST_LINE: usize = 64 << 10;
/// How long responses on HTTP/2 may stand still together. Its flow control is the client's: the kernel never sees it.
const STALLED: Duration = Duration::from_secs(180);
/// How long an idle connection may go on when the server stops: what is written may still be on its way.
const DRAINED: Duration = Duration::from_secs(1);

/// A handle on a TCP connection.
#[derive(Clone)]
pub(crate) struct Connection(Rc<State>);

struct State {
    tcp: TcpStream,
    limits: Connections,
    crowd: Rc<Crowd>,
    /// Its place among the idle ones, while it is idle.
    place: Cell<Option<u64>>,
    is_http2: Cell<bool>,
    /// Requests under way: begun, and their responses not yet taken whole.
    requests: Cell<usize>,
    /// When it was accepted, or something was last done for it.
    since: Cell<Instant>,
    /// From when on the head of the next request is being waited for.
    head_since: Cell<Option<Instant>>,
    /// Bytes of the next request's first line, until it ends.
    line: Cell<Option<usize>>,
    /// Bytes came while a request was under way.
    reads_ahead: Cell<bool>,
    /// Its stream gives nothing more until the requests under way are answered.
    withheld: Cell<bool>,
    /// Bytes to be written wait for the client.
    blocked: Cell<bool>,
    ended: Cell<Option<Ended>>,
    task: Cell<Option<Waker>>,
}

/// Why the gateway ended a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// The head of a request did not come in time.
    Head,
    /// The first line of a request does not end.
    Line,
    /// No request came.
    Idle,
    /// Its responses were not taken.
    Stalled,
    /// Others needed the place.
    Shed,
}

impl Ended {
    /// The word in metrics.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Head => "head",
            Self::Line => "line",
            Self::Idle => "idle",
            Self::Stalled => "stalled",
            Self::Shed => "shed",
        }
    }
}

impl Connection {
    /// A connection as it is accepted. Head and body of a response are written one after the other: without TCP_NODELAY a small body
    /// would wait 40 ms for the client's acknowledgement of the head (Nagle's algorithm, tcp(7)).
    pub(super) fn new(tcp: TcpStream, limits: Connections, crowd: Rc<Crowd>) -> Self {
        if let Err(error) = tcp.set_nodelay(true) {
            tracing::debug!(%error, "TCP_NODELAY was not set");
        }
        // A client that takes nothing any more must not hold its response for ever (tcp(7), TCP_USER_TIMEOUT).
        if let Err(error) = sockopt::set_tcp_user_timeout(&tcp, UNREAD_MILLISECONDS) {
            tracing::debug!(%error, "TCP_USER_TIMEOUT was not set");
        }
        let now = Instant::now();
        let connection = Self(Rc::new(State {
            tcp,
            limits,
            crowd,
            place: Cell::new(None),
            is_http2: Cell::new(false),
            requests: Cell::new(0),
            since: Cell::new(now),
            head_since: Cell::new(Some(now)),
            line: Cell::new(Some(0)),
            reads_ahead: Cell::new(false),
            withheld: Cell::new(false),
            blocked: Cell::new(false),
            ended: Cell::new(None),
            task: Cell::new(None),
        }));
        connection.0.crowd.join();
        connection.wait();
        connection
    }

    /// The connection that a request came on.
    pub(crate) fn of(request: &HttpRequest) -> Option<Self> {
        request.conn_data::<Self>().cloned()
    }

    /// This end of it.
    pub(crate) fn local_address(&self) -> Option<SocketAddr> {
        self.0.tcp.local_addr().ok()
    }

    /// Resets it: disconnecting a connected TCP socket (connect to AF_UNSPEC, connect(2)) makes Linux send RST at once. What is
    /// written to it afterwards fails and is dropped with the connection.
    pub(crate) fn reset(&self) {
        if let Err(error) = connect_unspec(&self.0.tcp) {
            tracing::debug!(%error, "connection was not reset");
        }
    }

    /// A request begins; it is under way until what comes back is dropped.
    pub(crate) fn begin(&self) -> Busy {
        let state = &self.0;
        state.requests.set(state.requests.get() + 1);
        state.head_since.set(None);
        state.since.set(Instant::now());
        if let Some(place) = state.place.take() {
            state.crowd.leave(place);
        }
        Busy(self.clone())
    }

    /// A request is no more under way.
    fn end(&self) {
        let state = &self.0;
        state.requests.set(state.requests.get() - 1);
        if state.requests.get() > 0 {
            return;
        }
        let now = Instant::now();
        state.since.set(now);
        // The service may have a part of the next request already.
        let is_ahead = state.reads_ahead.take();
        state.head_since.set(is_ahead.then_some(now));
        state.line.set((!is_ahead).then_some(0));
        self.wait();
        if state.withheld.take() || state.crowd.is_draining() {
            self.wake();
        }
    }

    /// Takes a place among the idle ones.
    fn wait(&self) {
        self.0.place.set(Some(self.0.crowd.wait(Waiting(Rc::downgrade(&self.0)))));
    }

    fn wake(&self) {
        if let Some(task) = self.0.task.take() {
            task.wake();
        }
    }

    pub(super) fn tcp(&self) -> &TcpStream {
        &self.0.tcp
    }

    pub(super) fn speaks_http2(&self) {
        self.0.is_http2.set(true);
    }

    /// These bytes came from the client.
    pub(super) fn received(&self, bytes: &[u8]) {
        let state = &self.0;
        if bytes.is_empty() || state.is_http2.get() {
            return;
        }
        if state.requests.get() > 0 {
            state.reads_ahead.set(true);
            return;
        }
        if state.head_since.get().is_none() {
            state.head_since.set(Some(Instant::now()));
        }
        if let Some(before) = state.line.get() {
            let end = bytes.iter().position(|byte| *byte == b'\n');
            let length = before + end.unwrap_or(bytes.len());
            state.line.set(end.is_none().then_some(length));
            if length > LONGEST_LINE {
                self.give_up(Ended::Line);
            }
        }
    }

    /// Bytes to be written were taken, or have to wait.
    pub(super) fn wrote(&self, blocked: bool) {
        if self.0.blocked.replace(blocked) && !blocked {
            self.0.since.set(Instant::now());
        }
    }

    /// On HTTP/1.1 nobody is answered before the one before: what more comes meanwhile stays in the kernel. Else the service would
    /// hold it in memory, and spin once its buffer is full.
    pub(super) fn withholds(&self) -> bool {
        let state = &self.0;
        let withholds = state.requests.get() > 0 && state.reads_ahead.get() && !state.is_http2.get();
        state.withheld.set(withholds);
        withholds
    }

    /// `task` is woken when somebody else has something to say about the connection.
    pub(super) fn wakes(&self, task: &Waker) {
        let kept = self.0.task.take().filter(|kept| kept.will_wake(task));
        self.0.task.set(Some(kept.unwrap_or_else(|| task.clone())));
    }

    /// Until when it may go on as it does, and what it is to be ended for then.
    pub(super) fn deadline(&self) -> Option<(Instant, Ended)> {
        let state = &self.0;
        let since = state.since.get();
        // TCP_USER_TIMEOUT watches over these.
        if state.blocked.get() {
            return None;
        }
        if state.requests.get() > 0 {
            return state.is_http2.get().then(|| (since + STALLED, Ended::Stalled));
        }
        let usual = match state.head_since.get() {
            Some(head) => (head + state.limits.head_timeout, Ended::Head),
            None => (since + state.limits.idle_timeout, Ended::Idle),
        };
        let drained = (since + DRAINED, Ended::Idle);
        Some(if state.crowd.is_draining() && drained.0 < usual.0 { drained } else { usual })
    }

    /// From now on its stream is at an end.
    pub(super) fn give_up(&self, why: Ended) {
        self.0.ended.set(Some(why));
        if why != Ended::Line {
            METRICS.connections_closed.with_label_values(&[why.name()]).inc();
        }
        self.wake();
    }

    /// Why its stream is at an end, if it is.
    pub(super) fn ended_for(&self) -> Option<Ended> {
        self.0.ended.get()
    }

    /// Is its stream at an end?
    pub(super) fn ended(&self) -> io::Result<()> {
        match self.ended_for() {
            Some(why) => Err(io::Error::new(io::ErrorKind::TimedOut, why.name())),
            None => Ok(()),
        }
    }
}

impl Drop for State {
    fn drop(&mut self) {
        if let Some(place) = self.place.take() {
            self.crowd.leave(place);
        }
        self.crowd.part();
    }
}

/// An idle connection, as the others know it.
pub(super) struct Waiting(Weak<State>);

impl Waiting {
    /// Ends it in favour of another, unless what it was sent is still on its way.
    pub(super) fn shed(&self) -> bool {
        let Some(state) = self.0.upgrade().filter(|state| !state.blocked.get()) else { return false };
        state.place.set(None);
        Connection(state).give_up(Ended::Shed);
        true
    }

    pub(super) fn wake(&self) {
        if let Some(state) = self.0.upgrade() {
            Connection(state).wake();
        }
    }
}

/// A request under way.
pub(crate) struct Busy(Connection);

impl Busy {
    /// Something was done for it.
    pub(crate) fn progressed(&self) {
        self.0.0.since.set(Instant::now());
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.end();
    }
}
