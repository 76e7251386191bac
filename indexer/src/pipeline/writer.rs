//! The writer: batches into the index, and the marks of what is gone.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use sql::{Import, Index, Inserted, KnownLocation, PathHash};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval};

use crate::feeders::formats::Formats;
use crate::fetch::reader::{ReadOutcome, StillPresent};
use crate::report::failure::{CommandFailure, Result};
use crate::report::progress::ImportProgress;

/// A batch is written when it has this many packages,
const BATCH_PACKAGES: usize = 10_000;
/// or this many artifacts (build-ids lie everywhere in an index, so that a transaction touches about as many pages as it has rows,
/// and few large ones write a page less often),
const BATCH_ARTIFACTS: usize = 60_000;
/// The first batch is written at this part of that, each one after it at twice as much: something is being written while a small directory
/// is still being read.
const FIRST_FRACTION: usize = 32;
/// A batch is also written when it is this old.
const BATCH_AGE: Duration = Duration::from_secs(5);
/// Paths that are noted as seen, or as gone, at once.
const BATCH_PATHS: usize = 5_000;
/// Names of importers: each has a row in the index, and some MiB of what it brought last.
const WRITERS: u32 = 64;
/// How often the progress is shown and the age of the batch is looked at.
const TICK: Duration = Duration::from_millis(200);

/// The writer of one store.
pub(crate) struct Writer {
    index: Index,
    name: String,
    store_id: i64,
    /// Locations that the index has as present and that nobody has met yet.
    missing: HashSet<PathHash>,
    /// Folders below which nothing is known to be gone; `None` if that is everywhere.
    unreadable_directories: Option<Vec<String>>,
    batch: Vec<Import>,
    batch_artifacts: usize,
    batch_begun: Instant,
    /// A batch is full at one over this.
    fraction: usize,
    /// The batch before, while it is written: archives are read meanwhile.
    writing: Option<JoinHandle<sql::Result<Inserted>>>,
    seen: Vec<PathHash>,
}

impl Writer {
    /// A writer into a store of which the index knows these locations. What is in a format that nobody looks for is never gone.
    pub(crate) fn new(
        index: Index,
        store_id: i64,
        known: &HashMap<PathHash, KnownLocation>,
        formats: &Formats,
    ) -> Self {
        let is_looked_for = |known: &KnownLocation| !known.gone && formats.has(known.format);
        Self {
            index,
            name: importer_name(),
            store_id,
            missing: known.iter().filter(|(_, known)| is_looked_for(known)).map(|(path_hash, _)| *path_hash).collect(),
            unreadable_directories: Some(Vec::new()),
            batch: Vec::new(),
            batch_artifacts: 0,
            batch_begun: Instant::now(),
            fraction: FIRST_FRACTION,
            writing: None,
            seen: Vec::new(),
        }
    }

    /// Takes outcomes until their senders are gone, and writes what they say.
    pub(crate) async fn drain(
        &mut self,
        arriving: &mut mpsc::Receiver<Vec<ReadOutcome>>,
        progress: &mut ImportProgress,
    ) -> Result<()> {
        let drained = self.receive_outcomes(arriving, progress).await;
        // Also after an error: what is being written is sound.
        let written = self.finish_write(progress).await;
        drained.and(written)
    }

    async fn receive_outcomes(
        &mut self,
        arriving: &mut mpsc::Receiver<Vec<ReadOutcome>>,
        progress: &mut ImportProgress,
    ) -> Result<()> {
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                outcomes = arriving.recv() => match outcomes {
                    Some(outcomes) => for outcome in outcomes {
                        self.apply(outcome, progress).await?;
                    },
                    None => break,
                },
                _ = tick.tick() => {
                    progress.update_display();
                    if !self.batch.is_empty() && self.batch_begun.elapsed() >= BATCH_AGE {
                        self.write_batch(progress).await?;
                    }
                }
            }
        }
        self.write_batch(progress).await?;
        self.write_seen(progress).await
    }

    async fn apply(&mut self, outcome: ReadOutcome, progress: &mut ImportProgress) -> Result<()> {
        let summary = &mut progress.summary;
        match outcome {
            ReadOutcome::Unchanged(path_hash, format) => {
                summary.count(format);
                summary.unchanged += 1;
                self.missing.remove(&path_hash);
                self.seen.push(path_hash);
                if self.seen.len() >= BATCH_PATHS {
                    self.write_seen(progress).await?;
                }
            }
            ReadOutcome::Read(reading) => {
                summary.count(reading.import.package.format);
                summary.header_bytes_read += reading.header_bytes;
                summary.payloads_read += u64::from(reading.payload_read);
                self.missing.remove(&reading.path_hash);
                if let Some((path, wrong)) = &reading.broken {
                    progress.report_broken(path, wrong);
                }
                if self.batch.is_empty() {
                    self.batch_begun = Instant::now();
                }
                self.batch_artifacts += reading.import.artifacts.len() + reading.import.modules.len();
                self.batch.push(reading.import);
                let is_full = |count: usize, max: usize| count * self.fraction >= max;
                if is_full(self.batch.len(), BATCH_PACKAGES) || is_full(self.batch_artifacts, BATCH_ARTIFACTS) {
                    self.fraction = (self.fraction / 2).max(1);
                    self.write_batch(progress).await?;
                }
            }
            ReadOutcome::Broken { path, wrong } => {
                // What was at this path before is not there any more: it stays missing.
                summary.found += 1;
                progress.report_broken(&path, &wrong);
            }
            ReadOutcome::Unreadable { path, wrong, still_present } => {
                match still_present {
                    StillPresent::Archive(path_hash) => {
                        summary.found += 1;
                        self.missing.remove(&path_hash);
                    }
                    StillPresent::Below(directory) => self
                        .unreadable_directories
                        .iter_mut()
                        .for_each(|directories| directories.push(directory.clone())),
                    StillPresent::Everything => self.unreadable_directories = None,
                    StillPresent::Nothing => {}
                }
                progress.report_unreadable(&path, &wrong);
            }
            ReadOutcome::OutsideLink { path, target } => progress.report_outside_link(&path, &target),
            ReadOutcome::Skipped => {}
            ReadOutcome::Failed(error) => return Err(error.into()),
        }
        Ok(())
    }

    /// Begins to write the batch, when the one before is written.
    async fn write_batch(&mut self, progress: &mut ImportProgress) -> Result<()> {
        if self.batch.is_empty() {
            return Ok(());
        }
        self.finish_write(progress).await?;
        let mut batch = std::mem::take(&mut self.batch);
        self.batch_artifacts = 0;
        // In one order for all importers, so that they wait for each other instead of colliding.
        batch.sort_by(|a, b| {
            let key = |import: &Import| import.package.identity;
            key(a).cmp(&key(b)).then_with(|| a.location.path.cmp(&b.location.path))
        });
        let (index, name) = (self.index.clone(), self.name.clone());
        self.writing = Some(tokio::spawn(async move { index.insert(&name, &batch).await }));
        Ok(())
    }

    /// Waits until what is being written is in the index.
    async fn finish_write(&mut self, progress: &mut ImportProgress) -> Result<()> {
        if let Some(writing) = self.writing.take() {
            let inserted = writing.await.map_err(CommandFailure::local)??;
            progress.summary.add(&inserted);
        }
        Ok(())
    }

    async fn write_seen(&mut self, progress: &mut ImportProgress) -> Result<()> {
        if !self.seen.is_empty() {
            // An SQLite file has one writer: waiting for ourselves would look like a database in trouble.
            self.finish_write(progress).await?;
            self.seen.sort_unstable();
            self.index.mark_seen(self.store_id, &self.seen, now()).await?;
            self.seen.clear();
        }
        Ok(())
    }

    /// Marks what the index has as present and the walk did not meet, except where the walk could not look.
    pub(crate) async fn mark_gone(mut self, progress: &mut ImportProgress) -> Result<()> {
        let Some(unreadable_directories) = &self.unreadable_directories else { return Ok(()) };
        for directory in unreadable_directories {
            if self.missing.is_empty() {
                break;
            }
            for path_hash in self.index.known_locations_below(self.store_id, directory).await?.keys() {
                self.missing.remove(path_hash);
            }
        }
        let mut gone: Vec<PathHash> = self.missing.into_iter().collect();
        gone.sort_unstable();
        for paths in gone.chunks(BATCH_PATHS) {
            progress.summary.gone += self.index.mark_gone(self.store_id, paths, now()).await?;
        }
        Ok(())
    }
}

/// This importer's name in the index: of a bounded number, because a pod has another host name in every run. Importers that share
/// one wait for each other's commits, no more.
fn importer_name() -> String {
    let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let hash = host.trim().bytes().fold(0_u32, |hash, byte| hash.wrapping_mul(31).wrapping_add(byte.into()));
    format!("import-{}", hash % WRITERS)
}

/// Seconds since 1970.
fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |age| i64::try_from(age.as_secs()).unwrap_or(i64::MAX))
}
