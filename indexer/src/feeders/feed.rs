//! What a feeder finds goes here.

use std::cell::RefCell;
use std::sync::mpsc::SyncSender;

use tokio::sync::mpsc;

use crate::fetch::reader::{Candidate, ReadOutcome};
use crate::pipeline::stop::Stop;

/// What goes from one thread to another at once: handing over a single archive would cost as much as reading its header.
pub(crate) const BATCH: usize = 16;

/// Where a feeder puts what it finds. Its methods are `false` when nobody wants more.
pub(crate) struct Feed {
    candidates: SyncSender<Vec<Candidate>>,
    outcomes: mpsc::Sender<Vec<ReadOutcome>>,
    stop: Stop,
    batch: RefCell<Vec<Candidate>>,
    /// How many go at once.
    max_batch: usize,
}

impl Feed {
    /// A feed that hands over `most` candidates at once: [`BATCH`], or one where reading each takes long.
    pub(crate) fn new(
        candidates: SyncSender<Vec<Candidate>>,
        outcomes: mpsc::Sender<Vec<ReadOutcome>>,
        stop: Stop,
        max_batch: usize,
    ) -> Self {
        Self { candidates, outcomes, stop, batch: RefCell::default(), max_batch }
    }

    /// An archive.
    pub(crate) fn send_candidate(&self, candidate: Candidate) -> bool {
        let mut batch = self.batch.borrow_mut();
        // A whole archive takes long: nothing shall wait behind it in one reader's hand.
        let is_full = candidate.is_read_whole() || batch.len() + 1 >= self.max_batch;
        batch.push(candidate);
        if !is_full { !self.is_stopped() } else { self.send_batch(batch.drain(..).collect()) }
    }

    /// Something that is not worth a reader.
    pub(crate) fn send_outcome(&self, outcome: ReadOutcome) -> bool {
        !self.is_stopped() && self.outcomes.blocking_send(vec![outcome]).is_ok()
    }

    /// There is nothing more.
    pub(crate) fn flush(self) {
        self.send_batch(self.batch.take());
    }

    fn send_batch(&self, batch: Vec<Candidate>) -> bool {
        !self.is_stopped() && self.candidates.send(batch).is_ok()
    }

    /// Shall the feeder end?
    pub(crate) fn is_stopped(&self) -> bool {
        self.stop.is_set()
    }
}
