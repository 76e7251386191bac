//! The import of directories (`dir`) and of single files (`rpm`).

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use sql::{Index, KnownLocation, PathHash, Store};
use tokio::runtime::Handle;

use super::local_stores as stores;
use crate::cli::{Common, DirArgs, ImportArgs, Payload};
use crate::feeders::directory::{DirectoryWalk, WalkCounts};
use crate::feeders::feed::{BATCH, Feed};
use crate::feeders::filter::PathFilter;
use crate::feeders::formats::Formats;
use crate::feeders::other_formats;
use crate::fetch::local::{LocalCandidate, LocalReader};
use crate::fetch::package::PackageReader;
use crate::fetch::reader::Reader;
use crate::pipeline::Pipeline;
use crate::pipeline::stop::Stop;
use crate::pipeline::writer::Writer;
use crate::report::failure::{CommandFailure, Result};
use crate::report::progress::ImportProgress;
use crate::report::summary::{self, ImportSummary};

/// An import of one command.
pub(crate) struct Importer {
    index: Index,
    distro: Option<String>,
    payload: Payload,
    temp_limit: u64,
    jobs: usize,
    stop: Stop,
    started: Instant,
    /// Progress and summary.
    pub(crate) progress: ImportProgress,
}

impl Importer {
    /// Returns an import, which a signal stops.
    pub(crate) fn new(index: &Index, args: &ImportArgs, common: &Common) -> Self {
        Self {
            index: index.clone(),
            distro: args.distro.clone().filter(|distro| !distro.is_empty()),
            payload: args.payload,
            temp_limit: args.temp_limit.as_u64(),
            jobs: args.jobs(),
            stop: Stop::on_signal(),
            started: Instant::now(),
            progress: ImportProgress::new(common.quiet),
        }
    }

    /// Ends the import, prints its summary and returns its exit status.
    pub(crate) async fn finish(self, common: &Common) -> Result<ExitCode> {
        self.index.checkpoint().await;
        let seconds = self.started.elapsed().as_secs_f64();
        let summary = ImportSummary { seconds, ..self.progress.summary.clone() };
        // Clears the progress bar before the summary is printed.
        drop(self.progress);
        summary::finish(&summary, common, self.stop.is_set())
    }

    /// Imports directories, one after the other. One of several that cannot be imported is reported and does not stop
    /// the others.
    pub(crate) async fn import_directories(&mut self, args: &DirArgs, filter: &PathFilter) -> Result<()> {
        if args.paths.len() > 1 && (args.store.is_some() || args.url.is_some()) {
            return Err(CommandFailure::Usage(
                "--store and --url are for one directory: give one PATH, or omit them".into(),
            ));
        }
        let is_one = args.paths.len() == 1;
        let mut directories = Vec::new();
        for path in &args.paths {
            match canonical_directory(path) {
                Ok(directory) => directories.push(directory),
                Err(failure) if is_one => return Err(failure),
                Err(failure) => self.progress.report_refused(&failure),
            }
        }
        let formats = Formats::new(&args.formats, &args.suffix);
        directories.sort();
        directories.dedup_by(|inner, outer| inner.starts_with(outer));
        for directory in directories {
            if self.stop.is_set() {
                break;
            }
            match Box::pin(self.import_directory(directory, args, &formats, filter)).await {
                Err(failure @ CommandFailure::Usage(_)) if !is_one => self.progress.report_refused(&failure),
                imported => imported?,
            }
        }
        Ok(())
    }

    /// Imports a directory, and marks missing archives as gone.
    ///
    /// # Errors
    /// If the operator's globs exclude everything: then nothing is marked.
    async fn import_directory(
        &mut self,
        directory: PathBuf,
        args: &DirArgs,
        formats: &Formats,
        filter: &PathFilter,
    ) -> Result<()> {
        let store = &stores::of_directory(&self.index, &directory, args, filter).await?;
        let walk = Arc::new(DirectoryWalk {
            root: stores::canonical_root(store),
            directory,
            formats: formats.clone(),
            filter: filter.clone(),
            follow_links: args.follow_links,
            found: self.progress.found_counter(),
            counts: WalkCounts::default(),
        });
        let (root, directory) = (walk.root.clone(), walk.directory.clone());
        let below = stores::below(store, &root, &directory)?;
        if let Some(excluded) = walk.filter.excluded_directory(Path::new(&below)) {
            return Err(CommandFailure::Usage(format!(
                "{}: expected a directory that is not excluded, found that --exclude or a default excludes {}: give \
                 --include '/{}/'",
                directory.display(),
                root.join(excluded).display(),
                excluded.display(),
            )));
        }
        self.progress.set_phase("reading the index");
        // Read before the walk: locations that other importers add meanwhile are not marked as gone.
        let known = match below.as_str() {
            "" => self.index.known_locations(store.id).await?,
            below => self.index.known_locations_below(store.id, below).await?,
        };
        let mut writer = Writer::new(self.index.clone(), store.id, &known, formats);
        let (walked, found_before) = (Arc::clone(&walk), self.progress.summary.found);
        self.run(self.reader(store, root, known), BATCH, move |feed| walk.run(feed), &mut writer).await?;
        let count = |of: fn(&WalkCounts) -> &AtomicU64| of(&walked.counts).load(Ordering::Relaxed);
        self.progress.summary.excluded += count(|counts| &counts.excluded);
        if !self.stop.is_set() {
            let by_pattern = count(|counts| &counts.excluded_by_pattern);
            if by_pattern > 0 && count(|counts| &counts.candidates) == 0 {
                return Err(CommandFailure::Usage(format!(
                    "{}: expected globs that leave something to import, found that --exclude (or `exclude` \
                     in the configuration) excludes {by_pattern} files and directories and nothing remains: nothing is \
                     marked as gone",
                    directory.display(),
                )));
            }
            if self.progress.summary.found == found_before {
                self.report_other_formats(walked).await?;
            }
            self.progress.set_phase("marking locations as gone");
            writer.mark_gone(&mut self.progress).await?;
        }
        Ok(())
    }

    /// Reports files of other formats in a directory where nothing was found.
    async fn report_other_formats(&mut self, walk: Arc<DirectoryWalk>) -> Result<()> {
        let directory = walk.directory.display().to_string();
        let counts =
            tokio::task::spawn_blocking(move || other_formats::count(&walk)).await.map_err(CommandFailure::local)?;
        if let Some(text) = other_formats::text(&counts) {
            self.progress.report_note(&directory, &text);
        }
        for (format, count) in counts {
            *self.progress.summary.other_formats.entry(format).or_default() += count;
        }
        Ok(())
    }

    /// Imports single files.
    pub(crate) async fn import_files(&mut self, files: &[PathBuf]) -> Result<()> {
        let mut known_stores = self.index.stores().await?;
        let mut by_store: BTreeMap<i64, (Store, Vec<PathBuf>)> = BTreeMap::new();
        for file in files {
            match file.canonicalize() {
                Ok(path) if path.is_file() => {
                    let store = stores::of_file(&self.index, &mut known_stores, &path).await?;
                    by_store.entry(store.id).or_insert_with(|| (store, Vec::new())).1.push(path);
                }
                Ok(_) => self
                    .progress
                    .report_unreadable(&file.display().to_string(), "expected a file, found something else"),
                Err(error) => self.progress.report_unreadable(&file.display().to_string(), &error.to_string()),
            }
        }
        for (store_id, (store, files)) in by_store {
            let (root, formats) = (stores::canonical_root(&store), Formats::archives());
            // Single files are always read: to query all locations of the store would cost more.
            let reader = self.reader(&store, root.clone(), HashMap::new());
            let mut writer = Writer::new(self.index.clone(), store_id, &HashMap::new(), &formats);
            let found = self.progress.found_counter();
            let feeder = move |feed: &Feed| {
                for file in files {
                    found.fetch_add(1, Ordering::Relaxed);
                    let name = file.file_name().unwrap_or_default();
                    let format = formats.of(name.as_encoded_bytes()).unwrap_or_default();
                    let continues = match LocalCandidate::at(&root, &file, false, format) {
                        Ok(candidate) => feed.send_candidate(candidate),
                        Err(outcome) => feed.send_outcome(outcome),
                    };
                    if !continues {
                        return;
                    }
                }
            };
            Box::pin(self.run(reader, 1, feeder, &mut writer)).await?;
        }
        Ok(())
    }

    /// Runs a feeder that hands over at most `batch` candidates at once.
    async fn run(
        &mut self,
        reader: Reader,
        batch: usize,
        feeder: impl FnOnce(&Feed) + Send + 'static,
        writer: &mut Writer,
    ) -> Result<()> {
        // Reading whole archives is slow: a reader holds only the one that it reads.
        let batch = if self.payload == Payload::Always { 1 } else { batch };
        let pipeline = Pipeline { reader, jobs: self.jobs, batch, stop: self.stop.clone() };
        pipeline.run(feeder, writer, &mut self.progress).await
    }

    fn reader(&self, store: &Store, root: PathBuf, known: HashMap<PathHash, KnownLocation>) -> Reader {
        let package = PackageReader {
            repository_id: None,
            distro: self.distro.clone(),
            payload: self.payload,
            temp_limit: self.temp_limit,
            index: self.index.clone(),
            runtime: Handle::current(),
            stop: self.stop.clone(),
            complete: Mutex::default(),
        };
        let stored_root = store.root.clone().unwrap_or_else(|| root.clone());
        Reader::Local(LocalReader { package, store_id: store.id, root, stored_root, known })
    }
}

/// Returns the canonical path of an existing directory.
fn canonical_directory(path: &Path) -> Result<PathBuf> {
    let refuse =
        |found: String| CommandFailure::Usage(format!("{}: expected a directory, found {found}", path.display()));
    let directory = path.canonicalize().map_err(|error| refuse(error.to_string()))?;
    if directory.is_dir() { Ok(directory) } else { Err(refuse("something else".into())) }
}
