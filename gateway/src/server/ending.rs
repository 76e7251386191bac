//! How a connection comes to its end: said by its stream, by its requests, or by the others of its worker that need the place.

use std::cell::Cell;
use std::io;
use std::task::Waker;

use crate::metrics::METRICS;

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
    /// More was asked for at once than the client was told that it may.
    Streams,
}

impl Ended {
    /// The word in metrics.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Head => "head_timeout",
            Self::Line => "line",
            Self::Idle => "idle_timeout",
            Self::Stalled => "write_timeout",
            Self::Shed => "evicted",
            Self::Streams => "stream_limit",
        }
    }
}

/// The end of one connection, come or to come.
#[derive(Default)]
pub(super) struct Ending {
    why: Cell<Option<Ended>>,
    task: Cell<Option<Waker>>,
    /// Its place among the idle ones, while it is idle.
    place: Cell<Option<u64>>,
    /// Bytes to be written wait for the client.
    blocked: Cell<bool>,
}

impl Ending {
    /// From now on its stream is at an end.
    pub(super) fn give_up(&self, why: Ended) {
        self.why.set(Some(why));
        if why != Ended::Line {
            METRICS.connections_closed.with_label_values(&[why.name()]).inc();
        }
        self.wake();
    }

    /// Why its stream is at an end, if it is.
    pub(super) fn why(&self) -> Option<Ended> {
        self.why.get()
    }

    /// Expects its stream not to be at an end.
    pub(super) fn check(&self) -> io::Result<()> {
        match self.why() {
            Some(why) => Err(io::Error::new(io::ErrorKind::TimedOut, why.name())),
            None => Ok(()),
        }
    }

    /// `task` is woken when somebody else has something to say about the connection.
    pub(super) fn wakes(&self, task: &Waker) {
        let kept = self.task.take().filter(|kept| kept.will_wake(task));
        self.task.set(Some(kept.unwrap_or_else(|| task.clone())));
    }

    pub(super) fn wake(&self) {
        if let Some(task) = self.task.take() {
            task.wake();
        }
    }

    /// It is idle, at this place among the others.
    pub(super) fn waits_at(&self, place: u64) {
        self.place.set(Some(place));
    }

    /// It is idle no more: the place that it had.
    pub(super) fn takes_leave(&self) -> Option<u64> {
        self.place.take()
    }

    /// Do bytes to be written wait for the client?
    pub(super) fn is_blocked(&self) -> bool {
        self.blocked.get()
    }

    /// Says so; was it otherwise before?
    pub(super) fn set_blocked(&self, blocked: bool) -> bool {
        self.blocked.replace(blocked) != blocked
    }

    /// Ends it in favour of another, unless what it was sent is still on its way.
    pub(super) fn shed(&self) -> bool {
        if self.is_blocked() {
            return false;
        }
        self.place.set(None);
        self.give_up(Ended::Shed);
        true
    }
}
