//! From feeders to the funnel: a feeder finds candidates, readers work on them in parallel, the funnel writes.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use sql::{Index, KnownLocation, PathHash, Store};
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::cli::{Common, DirArgs, ImportArgs, Payload};
use crate::directory::{Counts, Walk};
use crate::failure::{Failure, Result};
use crate::feed::{Feed, HANDFUL};
use crate::filter::Filter;
use crate::formats::Formats;
use crate::funnel::Funnel;
use crate::hints;
use crate::progress::Progress;
use crate::read::{Candidate, Outcome, Reader};
use crate::stop::Stop;
use crate::stores;
use crate::summary::Summary;

/// Handfuls of candidates, and of outcomes, that may wait for whoever takes them.
const WAITING: usize = 32;
/// How long an outcome may wait for others to go with it.
const HAND_OVER_WITHIN: Duration = Duration::from_millis(200);

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
        self.index.settle().await;
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
        let mut funnel = Funnel::new(self.index.clone(), store.id, &known, formats);
        let (walked, found_before) = (Arc::clone(&walk), self.progress.summary.found);
        self.run(self.reader(store, root, known), HANDFUL, move |feed| walk.run(feed), &mut funnel).await?;
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
            funnel.mark_gone(&mut self.progress).await?;
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
            let mut funnel = Funnel::new(self.index.clone(), store_id, &HashMap::new(), &formats);
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
            self.run(reader, 1, feeder, &mut funnel).await?;
        }
        Ok(())
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

    /// Runs a feeder, which hands over at most so many candidates at once, the readers and the funnel until all candidates are done, or
    /// the import is stopped.
    async fn run(
        &mut self,
        reader: Reader,
        most: usize,
        feeder: impl FnOnce(&Feed) + Send + 'static,
        funnel: &mut Funnel,
    ) -> Result<()> {
        let (candidates, waiting) = sync_channel(WAITING);
        let (outcomes, mut arriving) = mpsc::channel(WAITING);
        // Whole archives take long: no reader shall hold what another could read.
        let most = if self.payload == Payload::Always { 1 } else { most };
        let feed = Feed::new(candidates, outcomes.clone(), self.stop.clone(), most);
        let mut tasks = JoinSet::new();
        tasks.spawn_blocking(move || {
            feeder(&feed);
            feed.end();
        });
        let (reader, waiting) = (Arc::new(reader), Arc::new(Mutex::new(waiting)));
        for _ in 0..self.jobs {
            let (reader, waiting, outcomes) = (Arc::clone(&reader), Arc::clone(&waiting), outcomes.clone());
            tasks.spawn_blocking(move || work(&reader, &waiting, &outcomes));
        }
        // The funnel ends when the last sender is gone, and so do the others when the funnel or the readers are.
        drop((outcomes, waiting, reader));
        self.progress.phase("importing");
        let written = funnel.drain(&mut arriving, &mut self.progress).await;
        drop(arriving);
        if written.is_err() {
            self.stop.set();
        }
        let mut joined = Ok(());
        while let Some(task) = tasks.join_next().await {
            joined = joined.and(task.map_err(Failure::local));
        }
        written.and(joined)
    }
}

/// A folder that is there.
fn folder(path: &Path) -> Result<PathBuf> {
    let refuse = |found: String| Failure::Usage(format!("{}: expected a folder, found {found}", path.display()));
    let folder = path.canonicalize().map_err(|error| refuse(error.to_string()))?;
    if folder.is_dir() { Ok(folder) } else { Err(refuse("something else".into())) }
}

/// A reader's work: one candidate after the other.
fn work(reader: &Reader, waiting: &Mutex<Receiver<Vec<Candidate>>>, outcomes: &mpsc::Sender<Vec<Outcome>>) {
    let mut buffer = Vec::new();
    loop {
        let handful = waiting.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(handful) = handful else { return };
        let (mut done, mut begun) = (Vec::with_capacity(handful.len()), Instant::now());
        for candidate in handful {
            if reader.stop.is_set() {
                break;
            }
            let outcome = reader.read(&candidate, &mut buffer);
            // Reading that was broken off says nothing about an archive.
            if reader.stop.is_set() && !outcome.is_sound() {
                break;
            }
            done.push(outcome);
            if begun.elapsed() >= HAND_OVER_WITHIN {
                begun = Instant::now();
                if outcomes.blocking_send(std::mem::take(&mut done)).is_err() {
                    return;
                }
            }
        }
        if outcomes.blocking_send(done).is_err() || reader.stop.is_set() {
            return;
        }
    }
}
