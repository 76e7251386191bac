//! The pipeline of an import: feeder, parallel readers, writer.

use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::feeders::feed::Feed;
use crate::fetch::reader::{Candidate, ReadOutcome, Reader};
use crate::report::failure::{CommandFailure, Result};
use crate::report::progress::ImportProgress;
use stop::Stop;
use writer::Writer;

pub(crate) mod checks;
pub(crate) mod stop;
pub(crate) mod writer;

/// Maximum number of batches of candidates, and of outcomes, in a channel.
const CHANNEL_BATCHES: usize = 32;
/// Maximum time that an outcome waits for others to be sent with it.
const MAX_DELAY: Duration = Duration::from_millis(200);

/// The parallel readers of one store.
pub(crate) struct Pipeline {
    pub(crate) reader: Reader,
    /// Number of readers in parallel.
    pub(crate) jobs: usize,
    /// Maximum number of candidates in a batch.
    pub(crate) batch: usize,
    pub(crate) stop: Stop,
}

impl Pipeline {
    /// Runs the feeder, the readers and the writer until all candidates are done, or the import is stopped.
    pub(crate) async fn run(
        self,
        feeder: impl FnOnce(&Feed) + Send + 'static,
        writer: &mut Writer,
        progress: &mut ImportProgress,
    ) -> Result<()> {
        let (candidates, waiting) = sync_channel(CHANNEL_BATCHES);
        let (outcomes, mut arriving) = mpsc::channel(CHANNEL_BATCHES);
        let feed = Feed::new(candidates, outcomes.clone(), self.stop.clone(), self.batch);
        let mut tasks = JoinSet::new();
        tasks.spawn_blocking(move || {
            feeder(&feed);
            feed.flush();
        });
        let (reader, waiting) = (Arc::new(self.reader), Arc::new(Mutex::new(waiting)));
        for _ in 0..self.jobs {
            let (reader, waiting, outcomes) = (Arc::clone(&reader), Arc::clone(&waiting), outcomes.clone());
            tasks.spawn_blocking(move || read_candidates(&reader, &waiting, &outcomes));
        }
        // The writer ends when the last sender is dropped. Feeder and readers end when the writer or the readers do.
        drop((outcomes, waiting, reader));
        progress.set_phase("importing");
        let written = writer.drain(&mut arriving, progress).await;
        drop(arriving);
        if written.is_err() {
            self.stop.set();
        }
        let mut joined = Ok(());
        while let Some(task) = tasks.join_next().await {
            joined = joined.and(task.map_err(CommandFailure::local));
        }
        written.and(joined)
    }
}

/// Reads candidates, one after the other, until there are no more.
fn read_candidates(
    reader: &Reader,
    waiting: &Mutex<Receiver<Vec<Candidate>>>,
    outcomes: &mpsc::Sender<Vec<ReadOutcome>>,
) {
    let mut buffer = Vec::new();
    loop {
        let batch = waiting.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(batch) = batch else { return };
        let (mut done, mut begun) = (Vec::with_capacity(batch.len()), Instant::now());
        for candidate in batch {
            if reader.stop().is_set() {
                break;
            }
            let outcome = reader.read(&candidate, &mut buffer);
            // A read that was interrupted states nothing about the archive.
            if reader.stop().is_set() && !outcome.is_valid() {
                break;
            }
            done.push(outcome);
            if begun.elapsed() >= MAX_DELAY {
                begun = Instant::now();
                if outcomes.blocking_send(std::mem::take(&mut done)).is_err() {
                    return;
                }
            }
        }
        if outcomes.blocking_send(done).is_err() || reader.stop().is_set() {
            return;
        }
    }
}
