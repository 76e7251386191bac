//! The connections of one worker: their number, and the order in which idle ones are evicted.

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use actix_server::GracefulShutdownSignal;
use actix_web::rt;

use super::close_reason::Closing;
use crate::metrics::METRICS;

/// Tracks all connections of a worker. At the limit a new connection evicts the one that was idle for longest: its
/// client connects anew, while an error would be cached.
pub(super) struct ConnectionTracker {
    max_count: usize,
    count: Cell<usize>,
    /// The idle connections, in the order in which they became idle.
    idle: RefCell<BTreeMap<u64, Rc<Closing>>>,
    next_idle_number: Cell<u64>,
    is_draining: Cell<bool>,
}

thread_local! {
    /// A worker is a thread; its listeners share one tracker.
    static OF_WORKER: OnceCell<Rc<ConnectionTracker>> = const { OnceCell::new() };
}

impl ConnectionTracker {
    /// The tracker of this worker, for up to `max_count` connections. It drains when the server stops.
    pub(super) fn of_worker(max_count: usize, stops: &GracefulShutdownSignal) -> Rc<Self> {
        let make = || {
            let tracker = Rc::new(Self {
                max_count,
                count: Cell::new(0),
                idle: RefCell::default(),
                next_idle_number: Cell::new(0),
                is_draining: Cell::new(false),
            });
            let (draining, stops) = (tracker.clone(), stops.clone());
            rt::spawn(async move {
                stops.notified().await;
                draining.drain();
            });
            tracker
        };
        OF_WORKER.with(|tracker| tracker.get_or_init(make).clone())
    }

    /// Makes room for one more connection. Returns false if the limit is reached and no connection is idle.
    pub(super) fn make_room(&self) -> bool {
        self.count.get() < self.max_count || self.evict_idle()
    }

    /// Closes the connection that was idle for longest. Returns false if none is idle.
    fn evict_idle(&self) -> bool {
        let mut idle = self.idle.borrow_mut();
        let evicted = idle.iter().find_map(|(number, closing)| closing.evict().then_some(*number));
        evicted.and_then(|number| idle.remove(&number)).is_some()
    }

    /// Counts a new connection.
    pub(super) fn add(&self) {
        self.count.set(self.count.get() + 1);
        METRICS.connections.inc();
    }

    /// Counts the end of a connection.
    pub(super) fn remove(&self) {
        self.count.set(self.count.get() - 1);
        METRICS.connections.dec();
    }

    /// Adds a connection to the idle ones, and returns its number among them.
    pub(super) fn add_idle(&self, closing: Rc<Closing>) -> u64 {
        let number = self.next_idle_number.replace(self.next_idle_number.get() + 1);
        self.idle.borrow_mut().insert(number, closing);
        number
    }

    /// Removes a connection from the idle ones.
    pub(super) fn remove_idle(&self, number: u64) {
        self.idle.borrow_mut().remove(&number);
    }

    /// Shortens the lifetime of idle connections from now on ([`Self::is_draining`]).
    fn drain(&self) {
        self.is_draining.set(true);
        self.idle.borrow().values().for_each(|closing| closing.wake());
    }

    pub(super) fn is_draining(&self) -> bool {
        self.is_draining.get()
    }
}
