//! The writer: inserts batches into the index, and marks locations as gone.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::time::{Duration, Instant};

use sql::{ClaimedPackage, Import, Index, Inserted, KnownLocation, PackageLocation, PathHash};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval};

use crate::feeders::formats::Formats;
use crate::fetch::reader::{ReadOutcome, StillPresent};
use crate::report::failure::{CommandFailure, Result};
use crate::report::progress::ImportProgress;
use crate::report::time::now;

/// Packages at which a batch is written.
const BATCH_PACKAGES: usize = 10_000;
/// Artifacts at which a batch is written. Build-ids are spread over the whole index: a transaction touches about as
/// many pages as it has rows, and a few large transactions write each page less often.
const BATCH_ARTIFACTS: usize = 60_000;
/// The first batch is written at this fraction of the limits, each following one at twice as much. The writer starts
/// early, also for a small directory.
const FIRST_FRACTION: usize = 32;
/// Age at which a batch is written in any case.
const BATCH_AGE: Duration = Duration::from_secs(5);
/// Maximum number of paths in one update of `last_seen` or `gone_at`.
const BATCH_PATHS: usize = 5_000;
/// Number of different names of importers. Each has a row in the index, and its last changes of up to a few MiB.
const WRITERS: u32 = 64;
/// Interval at which progress is displayed and the age of the batch is checked.
const TICK: Duration = Duration::from_millis(200);

/// What is written together.
#[derive(Default)]
pub(crate) struct Batch {
    pub(crate) imports: Vec<Import>,
    pub(crate) claimed: Vec<ClaimedPackage>,
    located: Vec<PackageLocation>,
    /// Artifacts, modules and claims.
    pub(crate) rows: usize,
}

impl Batch {
    /// Number of packages.
    pub(crate) fn packages(&self) -> usize {
        self.imports.len() + self.claimed.len() + self.located.len()
    }

    /// True if it has as much as one transaction should write.
    pub(crate) fn is_full(&self) -> bool {
        self.packages() >= BATCH_PACKAGES || self.rows >= BATCH_ARTIFACTS
    }

    /// Writes the batch.
    pub(crate) async fn write(mut self, index: &Index, name: &str) -> sql::Result<Written> {
        // In the same order in all importers, so that they wait for each other instead of deadlocking.
        self.imports.sort_by(|a, b| {
            let key = |import: &Import| import.package.identity;
            key(a).cmp(&key(b)).then_with(|| a.location.path.cmp(&b.location.path))
        });
        self.claimed.sort_by_cached_key(|claimed| claimed.nevra.nvra());
        self.located.sort_by_key(|located| located.package_id);
        let mut written = Written::default();
        if !self.imports.is_empty() {
            written.inserted = index.insert(name, &self.imports).await?;
        }
        if !self.claimed.is_empty() {
            written.claimed = index.insert_claimed(name, &self.claimed).await?;
        }
        if !self.located.is_empty() {
            index.insert_locations(name, &self.located).await?;
            written.located = self.located.len() as u64;
        }
        Ok(written)
    }
}

/// The counts of a batch that was written.
#[derive(Default)]
pub(crate) struct Written {
    pub(crate) inserted: Inserted,
    pub(crate) claimed: u64,
    located: u64,
}

/// The writer of one store.
pub(crate) struct Writer {
    index: Index,
    name: String,
    store_id: i64,
    /// Locations that are present in the index and that the feeder has not found yet.
    missing: HashSet<PathHash>,
    /// Directories that could not be read: nothing below them is marked as gone. `None` if that is everywhere.
    unreadable_directories: Option<Vec<String>>,
    batch: Batch,
    batch_begun: Instant,
    /// A batch is full at the limits divided by this.
    fraction: usize,
    /// The previous batch, written while archives are read.
    writing: Option<JoinHandle<sql::Result<Written>>>,
    seen: Vec<PathHash>,
}

impl Writer {
    /// Returns a writer into a store with these known locations. Only locations of the wanted formats can be marked as
    /// gone.
    pub(crate) fn new(
        index: Index,
        store_id: i64,
        known: &HashMap<PathHash, KnownLocation>,
        formats: &Formats,
    ) -> Self {
        let is_wanted = |known: &KnownLocation| !known.gone && formats.has(known.format);
        Self {
            index,
            name: importer_name(),
            store_id,
            missing: known.iter().filter(|(_, known)| is_wanted(known)).map(|(path_hash, _)| *path_hash).collect(),
            unreadable_directories: Some(Vec::new()),
            batch: Batch::default(),
            batch_begun: Instant::now(),
            fraction: FIRST_FRACTION,
            writing: None,
            seen: Vec::new(),
        }
    }

    /// Returns a writer of the packages that a repository lists. The end of its listing, which marks locations as gone,
    /// is not the writer's.
    pub(crate) fn of_repository(index: Index, store_id: i64) -> Self {
        Self::new(index, store_id, &HashMap::new(), &Formats::archives())
    }

    /// Receives outcomes until all senders are dropped, and writes them to the index.
    pub(crate) async fn drain(
        &mut self,
        arriving: &mut mpsc::Receiver<Vec<ReadOutcome>>,
        progress: &mut ImportProgress,
    ) -> Result<()> {
        let drained = self.receive_outcomes(arriving, progress).await;
        // Also after an error: the batch that is being written is valid.
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
                    if self.batch.packages() > 0 && self.batch_begun.elapsed() >= BATCH_AGE {
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
                if let Some((path, reason)) = &reading.broken {
                    progress.report_broken(path, reason);
                }
                let rows = reading.import.artifacts.len() + reading.import.modules.len();
                self.add(rows, |batch| batch.imports.push(reading.import), progress).await?;
            }
            ReadOutcome::Claimed(claimed) => {
                summary.count(claimed.format);
                self.add(claimed.claims.len(), |batch| batch.claimed.push(*claimed), progress).await?;
            }
            ReadOutcome::Located(located, format) => {
                summary.count(format);
                self.add(0, |batch| batch.located.push(*located), progress).await?;
            }
            ReadOutcome::Broken { path, reason } => {
                // The former archive at this path does not exist any more: its location stays missing.
                summary.found += 1;
                progress.report_broken(&path, &reason);
            }
            ReadOutcome::Unreadable { path, reason, still_present } => {
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
                progress.report_unreadable(&path, &reason);
            }
            ReadOutcome::OutsideLink { path, target } => progress.report_outside_link(&path, &target),
            ReadOutcome::Skipped => {}
            ReadOutcome::Failed(error) => return Err(error.into()),
        }
        Ok(())
    }

    /// Adds a package with this number of rows to the batch, and starts to write a full batch.
    async fn add(&mut self, rows: usize, push: impl FnOnce(&mut Batch), progress: &mut ImportProgress) -> Result<()> {
        if self.batch.packages() == 0 {
            self.batch_begun = Instant::now();
        }
        push(&mut self.batch);
        self.batch.rows += rows;
        let is_full = |count: usize, max: usize| count * self.fraction >= max;
        if is_full(self.batch.packages(), BATCH_PACKAGES) || is_full(self.batch.rows, BATCH_ARTIFACTS) {
            self.fraction = (self.fraction / 2).max(1);
            self.write_batch(progress).await?;
        }
        Ok(())
    }

    /// Starts to write the batch once the previous one is written.
    async fn write_batch(&mut self, progress: &mut ImportProgress) -> Result<()> {
        if self.batch.packages() == 0 {
            return Ok(());
        }
        self.finish_write(progress).await?;
        let batch = std::mem::take(&mut self.batch);
        let (index, name) = (self.index.clone(), self.name.clone());
        self.writing = Some(tokio::spawn(async move { batch.write(&index, &name).await }));
        Ok(())
    }

    /// Waits until the previous batch is in the index.
    async fn finish_write(&mut self, progress: &mut ImportProgress) -> Result<()> {
        if let Some(writing) = self.writing.take() {
            let Written { inserted, claimed, located } = writing.await.map_err(CommandFailure::local)??;
            progress.summary.add(&inserted);
            progress.summary.claimed += claimed;
            progress.summary.located += located;
        }
        Ok(())
    }

    async fn write_seen(&mut self, progress: &mut ImportProgress) -> Result<()> {
        if !self.seen.is_empty() {
            // SQLite allows one writer: the batch in progress must end first.
            self.finish_write(progress).await?;
            self.seen.sort_unstable();
            self.index.mark_seen(self.store_id, &self.seen, now()).await?;
            self.seen.clear();
        }
        Ok(())
    }

    /// Marks missing locations as gone, except below directories that could not be read.
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

/// Returns this importer's name in the index. The number of names is bounded, because a pod has a new host name in
/// every run. Importers that share a name only wait for each other's commits.
pub(crate) fn importer_name() -> String {
    let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let hash = host.trim().bytes().fold(0_u32, |hash, byte| hash.wrapping_mul(31).wrapping_add(byte.into()));
    format!("import-{}", hash % WRITERS)
}
