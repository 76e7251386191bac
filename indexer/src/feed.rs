//! What a feeder finds goes here.

use std::cell::RefCell;
use std::sync::mpsc::SyncSender;

use tokio::sync::mpsc;

use crate::read::{Candidate, Outcome};
use crate::stop::Stop;

/// What goes from one thread to another at once: handing over a single archive would cost as much as reading its header.
pub(crate) const HANDFUL: usize = 16;

/// Where a feeder puts what it finds. Its methods are `false` when nobody wants more.
pub(crate) struct Feed {
    candidates: SyncSender<Vec<Candidate>>,
    outcomes: mpsc::Sender<Vec<Outcome>>,
    stop: Stop,
    handful: RefCell<Vec<Candidate>>,
    /// How many go at once.
    most: usize,
}

impl Feed {
    /// A feed that hands over `most` candidates at once: [`HANDFUL`], or one where reading each takes long.
    pub(crate) fn new(
        candidates: SyncSender<Vec<Candidate>>,
        outcomes: mpsc::Sender<Vec<Outcome>>,
        stop: Stop,
        most: usize,
    ) -> Self {
        Self { candidates, outcomes, stop, handful: RefCell::default(), most }
    }

    /// An archive.
    pub(crate) fn candidate(&self, candidate: Candidate) -> bool {
        let mut handful = self.handful.borrow_mut();
        // A whole archive takes long: nothing shall wait behind it in one reader's hand.
        let is_full = candidate.takes_long() || handful.len() + 1 >= self.most;
        handful.push(candidate);
        if !is_full { !self.is_stopped() } else { self.hand_over(handful.drain(..).collect()) }
    }

    /// Something that is not worth a reader.
    pub(crate) fn outcome(&self, outcome: Outcome) -> bool {
        !self.is_stopped() && self.outcomes.blocking_send(vec![outcome]).is_ok()
    }

    /// There is nothing more.
    pub(crate) fn end(self) {
        self.hand_over(self.handful.take());
    }

    fn hand_over(&self, handful: Vec<Candidate>) -> bool {
        !self.is_stopped() && self.candidates.send(handful).is_ok()
    }

    /// Shall the feeder end?
    pub(crate) fn is_stopped(&self) -> bool {
        self.stop.is_set()
    }
}
