//! A search through what the index knows: which record's file, from which location.

mod foreign;
mod section;
mod source;

use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use artifact::{BuildId, Kind};
use sql::{Location, Record, StoredPackage};

use crate::answer::{Found, Undecided};
use crate::archives::{Archive, Archives, Failure, Wanted};
use crate::files::{Content, Entry, Files, Key};
use crate::lookup::Lookup;
use crate::plain::Plain;
use crate::question::{Question, What};
use crate::turns::{Client, Turn, Turns};

/// What a search came to.
pub(crate) enum Outcome {
    /// Here it is.
    Found(Found),
    /// The index knows nothing of it, or nothing that can be had.
    Absent,
    /// It does not exist: the file is here, and has no such section. Nobody else has to be asked.
    Settled,
}

/// A client gives up after 90 s without a byte.
const FIRST_BYTES_WITHIN: Duration = Duration::from_secs(75);

/// How long a client waits for its turn to have something extracted.
const TURN_WITHIN: Duration = Duration::from_secs(45);

/// How often somebody who waits looks whether another one had the same extracted.
const LOOKS_EVERY: Duration = Duration::from_millis(100);

/// What an archive always has to give a byte.
const LEAST_PATIENCE: Duration = Duration::from_millis(100);

/// What is searched: the index, the files that were extracted, the archives.
#[derive(Clone)]
pub(crate) struct Search {
    pub(crate) lookup: Lookup,
    pub(crate) files: Files,
    pub(crate) archives: Archives,
    pub(crate) plain: Plain,
    /// For extractions.
    pub(crate) turns: Turns,
    /// How long an archive may give no byte before it is given up.
    pub(crate) patience: Duration,
}

impl Search {
    /// Searches for what `question` of `client` asks for.
    ///
    /// # Errors
    /// Not found, and the index or a store could not be asked.
    pub(crate) async fn run(&self, question: &Question, client: Client, deadline: Instant) -> Result<Outcome, Undecided> {
        let known = self.lookup.records(&question.build_id, half_way_to(deadline)).await?;
        let records = known.value;
        let mut run = Run { search: self, client, deadline, causes: Vec::new(), settled: false };
        let found = match &question.what {
            What::Artifact(kind) => run.artifact(&candidates(&records, *kind), &question.build_id).await,
            What::Section(name) => run.section(&records, &question.build_id, name).await,
            What::Source(path) => run.source(&records, path).await,
        };
        // What is not in an answer of earlier may be in the index.
        if !run.settled {
            run.causes.extend(known.away);
        }
        match found {
            Some(found) => Ok(Outcome::Found(found)),
            None if !run.causes.is_empty() => Err(Undecided(run.causes)),
            None if run.settled => Ok(Outcome::Settled),
            None => Ok(Outcome::Absent),
        }
    }
}

/// One search through candidates; remembers who could not be asked.
struct Run<'a> {
    search: &'a Search,
    client: Client,
    deadline: Instant,
    causes: Vec<String>,
    /// A debuginfo file was looked through and does not have the section.
    settled: bool,
}

impl Run<'_> {
    /// The first candidate that can be had.
    async fn artifact(&mut self, candidates: &[&Record], build_id: &BuildId) -> Option<Found> {
        for record in candidates {
            if let Some(entry) =
                self.member(&record.package, Wanted::of(&record.artifact), Some(build_id), Need::First, None).await
            {
                let is_poor = record.artifact.kind == Kind::Debuginfo && record.artifact.dwarf != Some(true);
                return Some(Found { is_poor, ..found(entry.content(), &record.artifact.path, &record.package) });
            }
        }
        None
    }

    /// Opens a package at the first of its locations that has it.
    async fn open(&mut self, package: &StoredPackage) -> Option<Archive> {
        let archives = self.search.archives.clone();
        let mut rest = archives.locations(package).into_iter();
        while let Some(location) = rest.next() {
            let any = Wanted { ordinal: 0, file: None };
            match open_within(&archives, package, location, &any, self.location_deadline(rest.len())).await {
                Ok(archive) => return Some(archive),
                Err(failure) => self.failed_at(location, failure).await,
            }
        }
        None
    }

    /// The member, from the cache, from `opened`, or from the first location that gives it.
    async fn member(
        &mut self,
        package: &Arc<StoredPackage>,
        wanted: Wanted,
        build_id: Option<&BuildId>,
        need: Need<'_>,
        opened: Option<Archive>,
    ) -> Option<Arc<Entry>> {
        let ordinal = wanted.ordinal;
        let key = Key { identity: package.package.identity, ordinal };
        let archives = self.search.archives.clone();
        let mut entry = match self.search.files.find(key).await {
            Some(entry) => self.met(need.clone(), key, build_id, entry).await.map_err(|failure| self.failed(failure)).ok(),
            None => None,
        };
        if entry.is_none()
            && let Some(archive) = opened
        {
            let filled = self.filled(need.clone(), key, build_id, |_| async { Ok(archive) }).await;
            entry = filled.map_err(|failure| self.failed(failure)).ok();
        }
        let mut rest = archives.locations(package).into_iter();
        while entry.is_none()
            && let Some(location) = rest.next()
        {
            if Instant::now() >= self.deadline {
                self.causes.push(format!("store {}: not asked, the budget was used up before", location.store.name));
                break;
            }
            let others = rest.len();
            let (archives, package, at, wanted) = (archives.clone(), package.clone(), location.clone(), wanted.clone());
            let open = move |run: &Self| {
                let deadline = run.location_deadline(others);
                async move { open_within(&archives, &package, &at, &wanted, deadline).await }
            };
            match self.filled(need.clone(), key, build_id, open).await {
                Ok(filled) => entry = Some(filled),
                Err(failure @ Failure::Here(_)) => {
                    self.failed(failure);
                    break;
                }
                Err(failure) => self.failed_at(location, failure).await,
            }
        }
        let entry = entry?;
        match build_id {
            None => Some(entry),
            Some(build_id) => match entry.carries(build_id).await {
                Ok(true) => Some(entry),
                Ok(false) => {
                    let nvra = &package.package.nevra;
                    tracing::warn!(%nvra, ordinal, %build_id, "a file carries another build-id than its package's header says");
                    None
                }
                Err(error) => {
                    self.causes.push(error.to_string());
                    None
                }
            },
        }
    }

    /// The member out of the archive that `open` opens when it is the client's turn, as soon as enough of it is there.
    async fn filled<F>(
        &mut self,
        need: Need<'_>,
        key: Key,
        build_id: Option<&BuildId>,
        open: impl FnOnce(&Self) -> F,
    ) -> Result<Arc<Entry>, Failure>
    where
        F: Future<Output = Result<Archive, Failure>> + Send + 'static,
    {
        let files = &self.search.files;
        let entry = match self.turn(|| files.find(key)).await? {
            Begin::Now(turn) => files.fill(key, build_id, turn, open(self)).await?,
            Begin::Here(entry) => entry,
        };
        self.met(need, key, build_id, entry).await
    }

    /// Waits for the client's turn to have something extracted, unless it is `found` meanwhile. This is not the time in which somebody
    /// has to answer.
    async fn turn<T, F>(&mut self, found: impl Fn() -> F) -> Result<Begin<T>, Failure>
    where
        F: Future<Output = Option<T>>,
    {
        let began = Instant::now();
        let mut turn = std::pin::pin!(self.search.turns.take(self.client));
        let begin = loop {
            if let Ok(turn) = tokio::time::timeout(LOOKS_EVERY, &mut turn).await {
                break Ok(Begin::Now(turn));
            }
            if let Some(found) = found().await {
                break Ok(Begin::Here(found));
            }
            if began.elapsed() >= TURN_WITHIN {
                break Err(Failure::Here(format!("expected a turn to extract within {TURN_WITHIN:?}, found none")));
            }
        };
        self.deadline += began.elapsed();
        begin
    }

    /// Waits until enough of the member is there. An archive may be long; one that gives nothing for half a budget is given up.
    async fn met(&self, need: Need<'_>, key: Key, build_id: Option<&BuildId>, entry: Arc<Entry>) -> Result<Arc<Entry>, Failure> {
        // Several that stall one after the other take one budget together.
        let left = self.deadline.saturating_duration_since(Instant::now());
        let patience = self.search.patience.min(left).max(LEAST_PATIENCE);
        let flowing = async {
            match need {
                Need::First => entry.while_it_flows(patience, entry.content().ready()).await,
                Need::Part(range) => entry.while_it_flows(patience, Content::section(entry.clone(), range).ready()).await,
                Need::Section(name) => {
                    let place = async {
                        match build_id {
                            Some(build_id) => self.search.files.section(key, &entry, build_id, name).await.map(drop),
                            None => entry.whole_file().await.map(drop),
                        }
                    };
                    entry.while_it_flows(patience, place).await
                }
            }
        };
        match tokio::time::timeout(FIRST_BYTES_WITHIN, flowing).await {
            Ok(Ok(())) => Ok(entry),
            Ok(Err(failure)) => {
                self.search.files.forget(key, &entry).await;
                Err(failure)
            }
            // It goes on, for whoever asks again.
            Err(_) => Err(Failure::Unknown(format!("expected enough of a member within {FIRST_BYTES_WITHIN:?}, found less"))),
        }
    }

    /// A location may take half of what is left if `others` follow it: a store that hangs must leave time to ask the next one.
    fn location_deadline(&self, others: usize) -> Instant {
        if others > 0 { half_way_to(self.deadline) } else { self.deadline }
    }

    async fn failed_at(&mut self, location: &Location, failure: Failure) {
        if matches!(failure, Failure::Unknown(_)) {
            self.search.archives.blame(location).await;
        }
        self.failed(failure);
    }

    fn failed(&mut self, failure: Failure) {
        match failure {
            Failure::Absent(cause) => tracing::debug!(cause, "absent"),
            Failure::Unknown(cause) | Failure::Here(cause) => self.causes.push(cause),
        }
    }
}

/// How something that has to be extracted begins.
enum Begin<T> {
    /// With this.
    Now(Turn),
    /// It need not: somebody else had it extracted.
    Here(T),
}

/// How much of a member has to be there before it is an answer.
#[derive(Clone)]
enum Need<'n> {
    /// The first bytes that may leave, so that a response that is begun is likely to end.
    First,
    /// The same of a part of it.
    Part(Range<u64>),
    /// So much of it that one can tell where this section lies.
    Section(&'n str),
}

/// Opens an archive unless that takes too long.
async fn open_within(
    archives: &Archives,
    package: &StoredPackage,
    location: &Location,
    wanted: &Wanted,
    deadline: Instant,
) -> Result<Archive, Failure> {
    let opened = tokio::time::timeout_at(deadline.into(), archives.open(package, location, wanted)).await;
    opened.unwrap_or_else(|_| {
        Err(Failure::Unknown(format!("store {}: expected an answer within the budget, found none", location.store.name)))
    })
}

fn found(content: Content, member: &str, package: &StoredPackage) -> Found {
    Found { content, member: member.to_owned(), archive: package.archive_name(), is_poor: false }
}

/// The records that can answer for `kind`, best first: files with DWARF before files that may have some and files that have none,
/// then the newest build.
fn candidates(records: &[Record], kind: Kind) -> Vec<&Record> {
    let mut candidates: Vec<&Record> = records.iter().filter(|record| record.artifact.kind == kind).collect();
    let dwarf_rank = |record: &Record| match record.artifact.dwarf {
        Some(true) => 0,
        None => 1,
        Some(false) => 2,
    };
    candidates.sort_by_key(|record| {
        let dwarf = if kind == Kind::Debuginfo { dwarf_rank(record) } else { 0 };
        (dwarf, std::cmp::Reverse(record.package.package.built_at), std::cmp::Reverse(record.package.id), record.artifact.ordinal)
    });
    candidates
}

/// Who is asked first may take half of what is left: one who hangs must leave time to ask the next.
fn half_way_to(deadline: Instant) -> Instant {
    let now = Instant::now();
    now + deadline.saturating_duration_since(now) / 2
}
