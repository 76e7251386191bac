//! The channel from a feeder to the readers and the writer.

use std::cell::RefCell;
use std::sync::mpsc::SyncSender;

use tokio::sync::mpsc;

use crate::fetch::reader::{Candidate, ReadOutcome};
use crate::pipeline::stop::Stop;

/// Maximum number of candidates in a batch between threads: to send one archive costs as much as to read its header.
pub(crate) const BATCH: usize = 16;

/// The sending side for a feeder. Methods return `false` once the import is stopped.
pub(crate) struct Feed {
    candidates: SyncSender<Vec<Candidate>>,
    outcomes: mpsc::Sender<Vec<ReadOutcome>>,
    stop: Stop,
    batch: RefCell<Vec<Candidate>>,
    /// Maximum number of candidates in a batch.
    max_batch: usize,
}

impl Feed {
    /// Returns a feed with batches of at most `max_batch` candidates: [`BATCH`], or one where each takes long to read.
    pub(crate) fn new(
        candidates: SyncSender<Vec<Candidate>>,
        outcomes: mpsc::Sender<Vec<ReadOutcome>>,
        stop: Stop,
        max_batch: usize,
    ) -> Self {
        Self { candidates, outcomes, stop, batch: RefCell::default(), max_batch }
    }

    /// Sends an archive to the readers.
    pub(crate) fn send_candidate(&self, candidate: Candidate) -> bool {
        let mut batch = self.batch.borrow_mut();
        // An archive that is read as a whole takes long: it ends the batch, so that nothing waits behind it.
        let is_full = candidate.is_read_whole() || batch.len() + 1 >= self.max_batch;
        batch.push(candidate);
        if !is_full { !self.is_stopped() } else { self.send_batch(batch.drain(..).collect()) }
    }

    /// Sends an outcome to the writer without a reader.
    pub(crate) fn send_outcome(&self, outcome: ReadOutcome) -> bool {
        !self.is_stopped() && self.outcomes.blocking_send(vec![outcome]).is_ok()
    }

    /// Sends the rest.
    pub(crate) fn flush(self) {
        self.send_batch(self.batch.take());
    }

    fn send_batch(&self, batch: Vec<Candidate>) -> bool {
        !self.is_stopped() && self.candidates.send(batch).is_ok()
    }

    /// True once the import is stopped.
    pub(crate) fn is_stopped(&self) -> bool {
        self.stop.is_set()
    }
}
