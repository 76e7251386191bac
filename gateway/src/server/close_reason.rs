//! Why and when the gateway closes a connection. Its stream, its requests and the tracker share this state.

use std::cell::Cell;
use std::io;
use std::task::Waker;

use crate::metrics::METRICS;

/// Why the gateway closes a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CloseReason {
    /// The head of a request was not complete in time.
    HeadTimeout,
    /// The request line is longer than the limit. It is answered, and counted as malformed.
    LongRequestLine,
    /// No request came in time.
    IdleTimeout,
    /// The client did not read its responses in time.
    WriteTimeout,
    /// The connection was idle, and a new one needed its place.
    Evicted,
    /// More HTTP/2 streams were open than the limit.
    StreamLimit,
}

impl CloseReason {
    /// The value of the label `reason`.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::HeadTimeout => "head_timeout",
            Self::LongRequestLine => "malformed",
            Self::IdleTimeout => "idle_timeout",
            Self::WriteTimeout => "write_timeout",
            Self::Evicted => "evicted",
            Self::StreamLimit => "stream_limit",
        }
    }
}

/// The close of one connection: requested, or still to come.
#[derive(Default)]
pub(super) struct Closing {
    reason: Cell<Option<CloseReason>>,
    /// The task of the connection's stream.
    task: Cell<Option<Waker>>,
    /// Its number among the idle connections, while it is idle.
    idle_number: Cell<Option<u64>>,
    /// True while bytes to be written wait for the client.
    is_blocked: Cell<bool>,
}

impl Closing {
    /// Ends the stream of the connection.
    pub(super) fn close(&self, reason: CloseReason) {
        self.reason.set(Some(reason));
        // A malformed request is counted once, after its answer.
        if reason != CloseReason::LongRequestLine {
            METRICS.connections_closed.with_label_values(&[reason.name()]).inc();
        }
        self.wake();
    }

    /// The reason of the close, once it was requested.
    pub(super) fn reason(&self) -> Option<CloseReason> {
        self.reason.get()
    }

    /// Returns an error once the close was requested.
    pub(super) fn check(&self) -> io::Result<()> {
        match self.reason() {
            Some(reason) => Err(io::Error::new(io::ErrorKind::TimedOut, reason.name())),
            None => Ok(()),
        }
    }

    /// Registers the task that [`Self::wake`] wakes.
    pub(super) fn register(&self, task: &Waker) {
        let registered = self.task.take().filter(|registered| registered.will_wake(task));
        self.task.set(Some(registered.unwrap_or_else(|| task.clone())));
    }

    /// Wakes the stream of the connection, so that it reads this state again.
    pub(super) fn wake(&self) {
        if let Some(task) = self.task.take() {
            task.wake();
        }
    }

    /// Sets the number among the idle connections.
    pub(super) fn set_idle(&self, number: u64) {
        self.idle_number.set(Some(number));
    }

    /// Removes and returns the number among the idle connections.
    pub(super) fn take_idle(&self) -> Option<u64> {
        self.idle_number.take()
    }

    /// True while bytes to be written wait for the client.
    pub(super) fn is_blocked(&self) -> bool {
        self.is_blocked.get()
    }

    /// Sets [`Self::is_blocked`]. Returns true if that is a change.
    pub(super) fn set_blocked(&self, is_blocked: bool) -> bool {
        self.is_blocked.replace(is_blocked) != is_blocked
    }

    /// Closes an idle connection in favour of a new one. Returns false if a response is still being sent on it.
    pub(super) fn evict(&self) -> bool {
        if self.is_blocked() {
            return false;
        }
        self.idle_number.set(None);
        self.close(CloseReason::Evicted);
        true
    }
}
