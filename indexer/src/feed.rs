//! What a feeder finds goes here.

use std::sync::mpsc::SyncSender;

use tokio::sync::mpsc;

use crate::read::{Candidate, Outcome};
use crate::stop::Stop;

/// Where a feeder puts what it finds. Its methods are `false` when nobody wants more.
pub(crate) struct Feed {
    pub(crate) candidates: SyncSender<Candidate>,
    pub(crate) outcomes: mpsc::Sender<Outcome>,
    pub(crate) stop: Stop,
}

impl Feed {
    /// An archive.
    pub(crate) fn candidate(&self, candidate: Candidate) -> bool {
        !self.is_stopped() && self.candidates.send(candidate).is_ok()
    }

    /// Something that is not worth a reader.
    pub(crate) fn outcome(&self, outcome: Outcome) -> bool {
        !self.is_stopped() && self.outcomes.blocking_send(outcome).is_ok()
    }

    /// Shall the feeder end?
    pub(crate) fn is_stopped(&self) -> bool {
        self.stop.is_set()
    }
}
