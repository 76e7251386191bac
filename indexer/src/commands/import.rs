//! The import of directories (`dir`) and of single files (`rpm`).

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use sql::{Index, KnownLocation, PathHash, Store};
use tokio::runtime::Handle;

use super::store_of as stores;
use crate::cli::{Common, DirArgs, ImportArgs, Payload};
use crate::feeders::directory::{Counts, Walk};
use crate::feeders::feed::{BATCH, Feed};
use crate::feeders::filter::Filter;
use crate::feeders::formats::Formats;
use crate::feeders::hints;
use crate::fetch::reader::{Candidate, Reader};
use crate::pipeline::Pipeline;
use crate::pipeline::stop::Stop;
use crate::pipeline::writer::Writer;
use crate::report::failure::{Failure, Result};
use crate::report::progress::Progress;
use crate::report::summary::Summary;

/// What an import works with; made once for a command.
pub(crate) struct Importer {
    index: Index,
    distro: Option<String>,
    payload: Payload,
    temp_limit: u64,
    jobs: usize,
    stop: Stop,
    started: Instant,
    /// What the operator sees.
    pub(crate) progress: Progress,
}

impl Importer {
    /// An import that begins now; the flag says whether a signal stopped it.
    pub(crate) fn new(index: &Index, args: &ImportArgs, common: &Common) -> (Self, Stop) {
        let stop = Stop::at_signal();
        let importer = Self {
            index: index.clone(),
            distro: args.distro.clone().filter(|distro| !distro.is_empty()),
            payload: args.payload,
            temp_limit: args.temp_limit.as_u64(),
            jobs: args.jobs(),
            stop: stop.clone(),
            started: Instant::now(),
            progress: Progress::new(common.quiet),
        };
        (importer, stop)
    }

    /// Ends the import: what was done.
    pub(crate) async fn finish(self) -> Summary {
        self.index.checkpoint().await;
        Summary { seconds: self.started.elapsed().as_secs_f64(), ..self.progress.summary.clone() }
    }

    /// Imports folders, one after the other. Of several, those that cannot be imported are reported and keep no other from it.
    pub(crate) async fn import_folders(&mut self, args: &DirArgs, filter: &Filter) -> Result<()> {
        if args.paths.len() > 1 && (args.store.is_some() || args.url.is_some()) {
            return Err(Failure::Usage(
                "--store and --url are for one folder: give one PATH, or leave them out".into(),
            ));
        }
        let is_one = args.paths.len() == 1;
        let mut folders = Vec::new();
        for path in &args.paths {
            match folder(path) {
                Ok(folder) => folders.push(folder),
                Err(failure) if is_one => return Err(failure),
                Err(failure) => self.progress.refused(&failure),
            }
        }
        let formats = Formats::new(&args.formats, &args.suffix);
        folders.sort();
        folders.dedup_by(|inner, outer| inner.starts_with(outer));
        for folder in folders {
            if self.stop.is_set() {
                break;
            }
            match Box::pin(self.import_folder(folder, args, &formats, filter)).await {
                Err(failure @ Failure::Usage(_)) if !is_one => self.progress.refused(&failure),
                imported => imported?,
            }
        }
        Ok(())
    }

    /// Imports a folder, and marks what is gone from it.
    ///
    /// # Errors
    /// Also if the operator's patterns leave nothing of it: then nothing is marked.
    async fn import_folder(
        &mut self,
        folder: PathBuf,
        args: &DirArgs,
        formats: &Formats,
        filter: &Filter,
    ) -> Result<()> {
        let store = &stores::of_folder(&self.index, &folder, args, filter).await?;
        let walk = Arc::new(Walk {
            root: stores::canonical_root(store),
            folder,
            formats: formats.clone(),
            filter: filter.clone(),
            follow_links: args.follow_links,
            found: self.progress.found(),
            counts: Counts::default(),
        });
        let (root, folder) = (walk.root.clone(), walk.folder.clone());
        let below = stores::below(store, &root, &folder)?;
        if let Some(left_out) = walk.filter.left_out_directory(Path::new(&below)) {
            return Err(Failure::Usage(format!(
                "{}: expected a directory that is not left out, found that --exclude or a default leaves out {}: give \
                 --include '/{}/'",
                folder.display(),
                root.join(left_out).display(),
                left_out.display(),
            )));
        }
        self.progress.phase("reading the index");
        // Before the walk: what is missing from a later look at the folder is gone, whatever other importers add meanwhile.
        let known = match below.as_str() {
            "" => self.index.known_locations(store.id).await?,
            below => self.index.known_locations_below(store.id, below).await?,
        };
        let mut writer = Writer::new(self.index.clone(), store.id, &known, formats);
        let (walked, found_before) = (Arc::clone(&walk), self.progress.summary.found);
        self.run(self.reader(store, root, known), BATCH, move |feed| walk.run(feed), &mut writer).await?;
        let count = |of: fn(&Counts) -> &AtomicU64| of(&walked.counts).load(Ordering::Relaxed);
        self.progress.summary.excluded += count(|counts| &counts.excluded);
        if !self.stop.is_set() {
            let by_pattern = count(|counts| &counts.excluded_by_pattern);
            if by_pattern > 0 && count(|counts| &counts.candidates) == 0 {
                return Err(Failure::Usage(format!(
                    "{}: expected patterns that leave something to import, found that --exclude (or \
                     `exclude` in the configuration) left out {by_pattern} files and directories and nothing remained: \
                     nothing is marked as gone",
                    folder.display(),
                )));
            }
            if self.progress.summary.found == found_before {
                self.hint(walked).await?;
            }
            self.progress.phase("marking what is gone");
            writer.mark_gone(&mut self.progress).await?;
        }
        Ok(())
    }

    /// Says what other formats would find in a directory in which nothing was found.
    async fn hint(&mut self, walk: Arc<Walk>) -> Result<()> {
        let folder = walk.folder.display().to_string();
        let counts = tokio::task::spawn_blocking(move || hints::count(&walk)).await.map_err(Failure::local)?;
        if let Some(text) = hints::text(&counts) {
            self.progress.note(&folder, &text);
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
                Ok(_) => self.progress.problem(&file.display().to_string(), "expected a file, found something else"),
                Err(error) => self.progress.problem(&file.display().to_string(), &error.to_string()),
            }
        }
        for (store_id, (store, files)) in by_store {
            let (root, formats) = (stores::canonical_root(&store), Formats::archives());
            // A single file is read always: asking for everything that the store holds would cost more.
            let reader = self.reader(&store, root.clone(), HashMap::new());
            let mut writer = Writer::new(self.index.clone(), store_id, &HashMap::new(), &formats);
            let found = self.progress.found();
            let feeder = move |feed: &Feed| {
                for file in files {
                    found.fetch_add(1, Ordering::Relaxed);
                    let name = file.file_name().unwrap_or_default();
                    let format = formats.of(name.as_encoded_bytes()).unwrap_or_default();
                    let goes_on = match Candidate::new(&root, &file, false, format) {
                        Ok(candidate) => feed.candidate(candidate),
                        Err(outcome) => feed.outcome(outcome),
                    };
                    if !goes_on {
                        return;
                    }
                }
            };
            self.run(reader, 1, feeder, &mut writer).await?;
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
        // Reading whole archives takes long: a reader holds only the one that it reads.
        let batch = if self.payload == Payload::Always { 1 } else { batch };
        let pipeline = Pipeline { reader, jobs: self.jobs, batch, stop: self.stop.clone() };
        pipeline.run(feeder, writer, &mut self.progress).await
    }

    fn reader(&self, store: &Store, root: PathBuf, known: HashMap<PathHash, KnownLocation>) -> Reader {
        Reader {
            store_id: store.id,
            stored_root: store.root.clone().unwrap_or_else(|| root.clone()),
            root,
            known,
            distro: self.distro.clone(),
            payload: self.payload,
            temp_limit: self.temp_limit,
            index: self.index.clone(),
            runtime: Handle::current(),
            stop: self.stop.clone(),
            complete: Mutex::default(),
        }
    }
}

/// A folder that is there.
fn folder(path: &Path) -> Result<PathBuf> {
    let refuse = |found: String| Failure::Usage(format!("{}: expected a folder, found {found}", path.display()));
    let folder = path.canonicalize().map_err(|error| refuse(error.to_string()))?;
    if folder.is_dir() { Ok(folder) } else { Err(refuse("something else".into())) }
}
