//! One connection, as its stream and its requests share it: how long it may go on, and how it ends.

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use actix_web::HttpRequest;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::crowd::Crowd;
use super::ending::{Ended, Ending};
use super::http2::MOST_STREAMS;
use super::socket::Socket;
use crate::config::ConnectionSettings;

/// How long a client may leave a response unread on a unix socket; on TCP the kernel looks after that.
const UNREAD: Duration = Duration::from_secs(90);
/// A request line may have so many bytes; the HTTP service reads no longer URLs.
const LONGEST_LINE: usize = 64 << 10;
/// How long responses on HTTP/2 may stand still together. Its flow control is the client's: the kernel never sees it.
const STALLED: Duration = Duration::from_secs(180);
/// How long the end of a response may be on its way to the client.
const ARRIVES: Duration = Duration::from_secs(1);
/// How long an idle connection may go on when the server stops: what is written may still be on its way.
const DRAINED: Duration = Duration::from_secs(1);

/// Requests in flight on all connections of the process.
static IN_FLIGHT: AtomicUsize = AtomicUsize::new(0);

/// How many requests are in flight on all connections: begun, and their responses not yet taken whole.
pub(super) fn requests_in_flight() -> usize {
    IN_FLIGHT.load(Ordering::Relaxed)
}

/// A handle on a connection.
#[derive(Clone)]
pub(crate) struct Connection(Rc<State>);

struct State {
    socket: Socket,
    /// Where it comes from, for the log.
    peer: Box<str>,
    is_tls: bool,
    limits: ConnectionSettings,
    crowd: Rc<Crowd>,
    ending: Rc<Ending>,
    is_http2: Cell<bool>,
    /// Requests under way: begun, and their responses not yet taken whole.
    requests: Cell<usize>,
    /// When a request was last answered while others were under way.
    overlapped: Cell<Option<Instant>>,
    /// When it was accepted, or something was last done for it.
    since: Cell<Instant>,
    /// From when on the head of the next request is being waited for.
    head_since: Cell<Option<Instant>>,
    /// Bytes of the next request's first line, until it ends.
    line: Cell<Option<usize>>,
    /// Bytes came while a request was under way.
    reads_ahead: Cell<bool>,
    /// Its stream gives nothing more until the requests under way are answered, or what is written is taken.
    withheld: Cell<bool>,
    /// Cancelled when its stream is no more.
    gone: CancellationToken,
}

impl Connection {
    /// A connection as it is accepted.
    pub(super) fn new(socket: Socket, is_tls: bool, limits: ConnectionSettings, crowd: Rc<Crowd>) -> Self {
        socket.prepare();
        let now = Instant::now();
        let connection = Self(Rc::new(State {
            peer: socket.peer().into(),
            socket,
            is_tls,
            limits,
            crowd,
            ending: Rc::default(),
            is_http2: Cell::new(false),
            requests: Cell::new(0),
            overlapped: Cell::new(None),
            since: Cell::new(now),
            head_since: Cell::new(Some(now)),
            line: Cell::new(Some(0)),
            reads_ahead: Cell::new(false),
            withheld: Cell::new(false),
            gone: CancellationToken::new(),
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
        match &self.0.socket {
            Socket::Tcp(tcp) => tcp.local_addr().ok(),
            Socket::Unix(_) => None,
        }
    }

    /// Is its client on this machine, at the other end of a unix socket?
    pub(crate) fn is_unix(&self) -> bool {
        matches!(self.0.socket, Socket::Unix(_))
    }

    /// Does it go through TLS?
    pub(crate) fn is_tls(&self) -> bool {
        self.0.is_tls
    }

    /// Would a reset hit nobody but the request that asks? No other is under way, nor is the end of another one's response.
    pub(crate) fn is_alone(&self) -> bool {
        let state = &self.0;
        state.requests.get() <= 1 && state.overlapped.get().is_none_or(|since| since.elapsed() > ARRIVES)
    }

    /// Resets it, with everything that is under way on it. Through TLS the TCP connection below is reset: no alert says that it ends in
    /// an orderly way. A unix socket just ends. What is written afterwards fails and is dropped with the connection.
    pub(crate) fn reset(&self) {
        if let Err(error) = self.0.socket.reset() {
            tracing::debug!(%error, "connection was not reset");
        }
    }

    /// A request begins; it is under way until what comes back is dropped.
    pub(crate) fn begin(&self) -> Busy {
        let state = &self.0;
        state.requests.set(state.requests.get() + 1);
        IN_FLIGHT.fetch_add(1, Ordering::Relaxed);
        if state.requests.get() > MOST_STREAMS && state.ending.why().is_none() {
            state.ending.give_up(Ended::Streams);
        }
        state.head_since.set(None);
        state.since.set(Instant::now());
        state.leave();
        Busy(self.clone())
    }

    /// Its stream is dropped: nobody can be answered on it any more.
    pub(super) fn part(&self) {
        self.0.gone.cancel();
    }

    /// A request is no more under way.
    fn end(&self) {
        let state = &self.0;
        state.requests.set(state.requests.get() - 1);
        IN_FLIGHT.fetch_sub(1, Ordering::Relaxed);
        let now = Instant::now();
        state.overlapped.set((state.requests.get() > 0).then_some(now));
        if state.requests.get() > 0 {
            return;
        }
        state.since.set(now);
        // The service may have a part of the next request already.
        let is_ahead = state.reads_ahead.take();
        state.head_since.set(is_ahead.then_some(now));
        state.line.set((!is_ahead).then_some(0));
        self.wait();
        if state.withheld.take() || state.crowd.is_draining() {
            state.ending.wake();
        }
    }

    /// Takes a place among the idle ones.
    fn wait(&self) {
        self.0.ending.waits_at(self.0.crowd.wait(self.0.ending.clone()));
    }

    /// How it comes to its end.
    pub(super) fn ending(&self) -> &Ending {
        &self.0.ending
    }

    pub(super) fn socket(&self) -> &Socket {
        &self.0.socket
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
                state.ending.give_up(Ended::Line);
            }
        }
    }

    /// Bytes to be written were taken, or have to wait.
    pub(super) fn wrote(&self, blocked: bool) {
        let state = &self.0;
        if state.ending.set_blocked(blocked) {
            state.since.set(Instant::now());
            if !blocked && state.is_http2.get() && state.withheld.take() {
                state.ending.wake();
            }
        }
    }

    /// On HTTP/1.1 nobody is answered before the one before: what more comes meanwhile stays in the kernel. Else the service would
    /// hold it in memory, and spin once its buffer is full. On HTTP/2 who does not take what is written is not listened to: heads of
    /// responses know no flow control, and the service would go on making them.
    pub(super) fn withholds(&self) -> bool {
        let state = &self.0;
        let withholds = if state.is_http2.get() {
            state.ending.is_blocked()
        } else {
            state.requests.get() > 0 && state.reads_ahead.get()
        };
        state.withheld.set(withholds);
        withholds
    }

    /// Until when it may go on as it does, and what it is to be ended for then.
    pub(super) fn deadline(&self) -> Option<(Instant, Ended)> {
        let state = &self.0;
        let since = state.since.get();
        if state.ending.is_blocked() {
            // TCP_USER_TIMEOUT watches over the others.
            return self.is_unix().then(|| (since + UNREAD, Ended::Stalled));
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
}

impl State {
    /// Gives its place among the idle ones back, if it has one.
    fn leave(&self) {
        if let Some(place) = self.ending.takes_leave() {
            self.crowd.leave(place);
        }
    }
}

impl Drop for State {
    fn drop(&mut self) {
        self.leave();
        self.crowd.part();
    }
}

/// A request under way.
pub(crate) struct Busy(Connection);

impl Busy {
    /// Where its connection comes from: an IP address, or `unix`.
    pub(crate) fn peer(&self) -> &str {
        &self.0.0.peer
    }

    /// What `answer` gives, unless its connection goes before. On HTTP/1 the service drops an answer with its connection, on HTTP/2 it
    /// does not: those whose clients have gone would wait for their turn, and work.
    pub(crate) async fn unless_gone<T>(&self, answer: impl Future<Output = T>) -> Option<T> {
        let state = &self.0.0;
        if state.is_http2.get() { state.gone.run_until_cancelled(answer).await } else { Some(answer.await) }
    }

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
