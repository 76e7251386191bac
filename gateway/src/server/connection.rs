//! One connection: the state that its stream and its requests share, its deadline, and its reset.

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use actix_web::HttpRequest;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::close_reason::{CloseReason, Closing};
use super::http2::MAX_STREAMS;
use super::socket::Socket;
use super::tracker::ConnectionTracker;
use crate::config::ConnectionSettings;

/// Maximum time for a client on a Unix socket to read a response; on TCP the kernel has this timer.
const WRITE_TIMEOUT: Duration = Duration::from_secs(90);
/// Maximum length of a request line, bytes. The HTTP service reads no longer URLs.
const MAX_LINE_BYTES: usize = 64 << 10;
/// Maximum time without progress of all responses on an HTTP/2 connection. Its flow control is not visible to the
/// kernel.
const HTTP2_WRITE_TIMEOUT: Duration = Duration::from_secs(180);
/// Maximum time for the end of a response to reach the client.
const DELIVERY_TIME: Duration = Duration::from_secs(1);
/// Idle time before a close while the server stops: written bytes may still be in transit.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(1);

/// Requests in flight on all connections of the process.
static IN_FLIGHT: AtomicUsize = AtomicUsize::new(0);

/// The number of requests in flight on all connections: begun, and their responses not written completely.
pub(super) fn requests_in_flight() -> usize {
    IN_FLIGHT.load(Ordering::Relaxed)
}

/// A connection. Cheap to clone: clones share its state.
#[derive(Clone)]
pub(crate) struct Connection(Rc<ConnectionState>);

struct ConnectionState {
    socket: Socket,
    /// The address of the peer, for the log.
    peer: Box<str>,
    is_tls: bool,
    limits: ConnectionSettings,
    tracker: Rc<ConnectionTracker>,
    closing: Rc<Closing>,
    is_http2: Cell<bool>,
    /// Number of requests in flight: begun, and their responses not written completely.
    requests: Cell<usize>,
    /// When a request last ended while others were in flight.
    overlapped: Cell<Option<Instant>>,
    /// When the connection was accepted, or last made progress.
    progress: Cell<Instant>,
    /// Since when the head of the next request is incomplete.
    head_since: Cell<Option<Instant>>,
    /// Number of bytes so far of the next request line; `None` once it is complete.
    line_bytes: Cell<Option<usize>>,
    /// True if bytes came while a request was in flight.
    has_read_ahead: Cell<bool>,
    /// True while its stream reads nothing ([`Connection::pause_reading`]).
    is_paused: Cell<bool>,
    /// Cancelled when its stream is dropped.
    disconnected: CancellationToken,
}

impl Connection {
    /// A connection that was just accepted.
    pub(super) fn new(
        socket: Socket,
        is_tls: bool,
        limits: ConnectionSettings,
        tracker: Rc<ConnectionTracker>,
    ) -> Self {
        socket.set_options();
        let now = Instant::now();
        let connection = Self(Rc::new(ConnectionState {
            peer: socket.peer().into(),
            socket,
            is_tls,
            limits,
            tracker,
            closing: Rc::default(),
            is_http2: Cell::new(false),
            requests: Cell::new(0),
            overlapped: Cell::new(None),
            progress: Cell::new(now),
            head_since: Cell::new(Some(now)),
            line_bytes: Cell::new(Some(0)),
            has_read_ahead: Cell::new(false),
            is_paused: Cell::new(false),
            disconnected: CancellationToken::new(),
        }));
        connection.0.tracker.add();
        connection.set_idle();
        connection
    }

    /// The connection that a request came on.
    pub(crate) fn of(request: &HttpRequest) -> Option<Self> {
        request.conn_data::<Self>().cloned()
    }

    /// The local address; `None` of a Unix socket.
    pub(crate) fn local_address(&self) -> Option<SocketAddr> {
        match &self.0.socket {
            Socket::Tcp(tcp) => tcp.local_addr().ok(),
            Socket::Unix(_) => None,
        }
    }

    /// True if the connection came through a Unix socket.
    pub(crate) fn is_unix(&self) -> bool {
        matches!(self.0.socket, Socket::Unix(_))
    }

    /// True if the connection uses TLS.
    pub(crate) fn is_tls(&self) -> bool {
        self.0.is_tls
    }

    /// True if a reset affects one request at most: no other is in flight, nor is the end of its response in transit.
    pub(crate) fn is_alone(&self) -> bool {
        let state = &self.0;
        state.requests.get() <= 1 && state.overlapped.get().is_none_or(|since| since.elapsed() > DELIVERY_TIME)
    }

    /// Resets the connection, with every request in flight. With TLS, the TCP connection is reset without an alert. A
    /// Unix socket is shut down. Later writes fail.
    pub(crate) fn reset(&self) {
        if let Err(error) = self.0.socket.reset() {
            tracing::debug!(%error, "the connection was not reset");
        }
    }

    /// Begins a request; it is in flight until the guard is dropped.
    pub(crate) fn begin_request(&self) -> RequestGuard {
        let state = &self.0;
        state.requests.set(state.requests.get() + 1);
        IN_FLIGHT.fetch_add(1, Ordering::Relaxed);
        if state.requests.get() > MAX_STREAMS && state.closing.reason().is_none() {
            state.closing.close(CloseReason::StreamLimit);
        }
        state.head_since.set(None);
        state.progress.set(Instant::now());
        state.set_busy();
        RequestGuard(self.clone())
    }

    /// Cancels answers whose stream was dropped ([`RequestGuard::unless_disconnected`]).
    pub(super) fn disconnect(&self) {
        self.0.disconnected.cancel();
    }

    fn end_request(&self) {
        let state = &self.0;
        state.requests.set(state.requests.get() - 1);
        IN_FLIGHT.fetch_sub(1, Ordering::Relaxed);
        let now = Instant::now();
        state.overlapped.set((state.requests.get() > 0).then_some(now));
        if state.requests.get() > 0 {
            return;
        }
        state.progress.set(now);
        // The HTTP service may have read a part of the next request.
        let has_read_ahead = state.has_read_ahead.take();
        state.head_since.set(has_read_ahead.then_some(now));
        state.line_bytes.set((!has_read_ahead).then_some(0));
        self.set_idle();
        if state.is_paused.take() || state.tracker.is_draining() {
            state.closing.wake();
        }
    }

    /// Adds the connection to the idle ones.
    fn set_idle(&self) {
        self.0.closing.set_idle(self.0.tracker.add_idle(self.0.closing.clone()));
    }

    /// The state of its close.
    pub(super) fn closing(&self) -> &Closing {
        &self.0.closing
    }

    pub(super) fn socket(&self) -> &Socket {
        &self.0.socket
    }

    pub(super) fn set_http2(&self) {
        self.0.is_http2.set(true);
    }

    /// Updates the deadlines after `bytes` were read, and checks the length of the request line.
    pub(super) fn record_read(&self, bytes: &[u8]) {
        let state = &self.0;
        if bytes.is_empty() || state.is_http2.get() {
            return;
        }
        if state.requests.get() > 0 {
            state.has_read_ahead.set(true);
            return;
        }
        if state.head_since.get().is_none() {
            state.head_since.set(Some(Instant::now()));
        }
        if let Some(before) = state.line_bytes.get() {
            let end = bytes.iter().position(|byte| *byte == b'\n');
            let length = before + end.unwrap_or(bytes.len());
            state.line_bytes.set(end.is_none().then_some(length));
            if length > MAX_LINE_BYTES {
                state.closing.close(CloseReason::LongRequestLine);
            }
        }
    }

    /// Updates the deadlines after a write: `is_blocked` if the socket took no bytes.
    pub(super) fn record_write(&self, is_blocked: bool) {
        let state = &self.0;
        if state.closing.set_blocked(is_blocked) {
            state.progress.set(Instant::now());
            if !is_blocked && state.is_http2.get() && state.is_paused.take() {
                state.closing.wake();
            }
        }
    }

    /// Returns true if the stream must not read now; then it is woken later. On HTTP/1.1 requests behind the one in
    /// flight stay in the kernel: the HTTP service would buffer them, and spin once its buffer is full. On HTTP/2
    /// nothing is read while writes are blocked: heads of responses have no flow control, and the service would buffer
    /// them without a limit.
    pub(super) fn pause_reading(&self) -> bool {
        let state = &self.0;
        let is_paused = if state.is_http2.get() {
            state.closing.is_blocked()
        } else {
            state.requests.get() > 0 && state.has_read_ahead.get()
        };
        state.is_paused.set(is_paused);
        is_paused
    }

    /// The time at which the connection is closed unless it makes progress, and the reason; `None` if there is no
    /// deadline.
    pub(super) fn deadline(&self) -> Option<(Instant, CloseReason)> {
        let state = &self.0;
        let progress = state.progress.get();
        if state.closing.is_blocked() {
            // On TCP, TCP_USER_TIMEOUT ends the connection.
            return self.is_unix().then(|| (progress + WRITE_TIMEOUT, CloseReason::WriteTimeout));
        }
        if state.requests.get() > 0 {
            return state.is_http2.get().then(|| (progress + HTTP2_WRITE_TIMEOUT, CloseReason::WriteTimeout));
        }
        let deadline = match state.head_since.get() {
            Some(head) => (head + state.limits.head_timeout, CloseReason::HeadTimeout),
            None => (progress + state.limits.idle_timeout, CloseReason::IdleTimeout),
        };
        let drained = (progress + DRAIN_TIMEOUT, CloseReason::IdleTimeout);
        Some(if state.tracker.is_draining() && drained.0 < deadline.0 { drained } else { deadline })
    }
}

impl ConnectionState {
    /// Removes the connection from the idle ones.
    fn set_busy(&self) {
        if let Some(number) = self.closing.take_idle() {
            self.tracker.remove_idle(number);
        }
    }
}

impl Drop for ConnectionState {
    fn drop(&mut self) {
        self.set_busy();
        self.tracker.remove();
    }
}

/// A request in flight.
pub(crate) struct RequestGuard(Connection);

impl RequestGuard {
    /// The peer of its connection: an IP address, or `unix`.
    pub(crate) fn peer(&self) -> &str {
        &self.0.0.peer
    }

    /// Returns the output of `answer`; `None` if its client disconnects before. On HTTP/1.1 the HTTP service drops an
    /// answer with its connection; on HTTP/2 it does not, and the answer would hold its permits.
    pub(crate) async fn unless_disconnected<T>(&self, answer: impl Future<Output = T>) -> Option<T> {
        let state = &self.0.0;
        if state.is_http2.get() { state.disconnected.run_until_cancelled(answer).await } else { Some(answer.await) }
    }

    /// Records that bytes of its response were sent.
    pub(crate) fn record_progress(&self) {
        self.0.0.progress.set(Instant::now());
    }
}

impl Drop for RequestGuard {
    fn drop(&mut self) {
        self.0.end_request();
    }
}
