//! The connections of one worker: how many there are, and who goes when they are too many.

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use actix_server::GracefulShutdownSignal;
use actix_web::rt;

use super::ending::Ending;
use crate::metrics::METRICS;

/// All connections of a worker. A new one is always welcome: when there are too many, the one that was idle for longest goes. A
/// client that comes back to it finds it closed and connects anew, while an error would be remembered.
pub(super) struct Crowd {
    most: usize,
    members: Cell<usize>,
    /// The idle ones, by when they became idle.
    idle: RefCell<BTreeMap<u64, Rc<Ending>>>,
    next_place: Cell<u64>,
    draining: Cell<bool>,
}

thread_local! {
    /// A worker is a thread; its listeners share one crowd.
    static OF_WORKER: OnceCell<Rc<Crowd>> = const { OnceCell::new() };
}

impl Crowd {
    /// The crowd of this worker, `most` at most. It drains when the server stops.
    pub(super) fn of_worker(most: usize, stops: &GracefulShutdownSignal) -> Rc<Self> {
        let make = || {
            let crowd = Rc::new(Self {
                most,
                members: Cell::new(0),
                idle: RefCell::default(),
                next_place: Cell::new(0),
                draining: Cell::new(false),
            });
            let (draining, stops) = (crowd.clone(), stops.clone());
            rt::spawn(async move {
                stops.notified().await;
                draining.drain();
            });
            crowd
        };
        OF_WORKER.with(|crowd| crowd.get_or_init(make).clone())
    }

    /// Makes room for one more; no if everybody has a request under way.
    pub(super) fn makes_room(&self) -> bool {
        self.members.get() < self.most || self.shed()
    }

    /// Ends the connection that was idle for longest.
    fn shed(&self) -> bool {
        let mut idle = self.idle.borrow_mut();
        let place = idle.iter().find_map(|(place, ending)| ending.shed().then_some(*place));
        place.and_then(|place| idle.remove(&place)).is_some()
    }

    /// One more.
    pub(super) fn join(&self) {
        self.members.set(self.members.get() + 1);
        METRICS.connections.inc();
    }

    /// One less.
    pub(super) fn part(&self) {
        self.members.set(self.members.get() - 1);
        METRICS.connections.dec();
    }

    /// Somebody becomes idle, and gets a place.
    pub(super) fn wait(&self, ending: Rc<Ending>) -> u64 {
        let place = self.next_place.replace(self.next_place.get() + 1);
        self.idle.borrow_mut().insert(place, ending);
        place
    }

    /// Somebody is idle no more.
    pub(super) fn leave(&self, place: u64) {
        self.idle.borrow_mut().remove(&place);
    }

    /// From now on idle connections end soon.
    pub(super) fn drain(&self) {
        self.draining.set(true);
        self.idle.borrow().values().for_each(|ending| ending.wake());
    }

    pub(super) fn is_draining(&self) -> bool {
        self.draining.get()
    }
}
