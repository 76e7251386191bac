//! A search through what the index knows: which record's file, from which location.

mod include;
mod member;
mod module;
mod other_formats;
mod section;
mod source;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use artifact::{ArtifactType, BuildId};
use sql::{Location, Record, StoredPackage};

use crate::cache::{Content, Files, Key};
use crate::index::filter::Verdict;
use crate::index::lookup::Lookup;
use crate::permits::{ClientAddress, Permits};
use crate::providers::archives::{Archive, Archives, Wanted};
use crate::resolve::answer::Found;
use crate::resolve::deadline::{Deadline, FIRST_BYTES_TIMEOUT};
use crate::resolve::line_tables::LineTables;
use crate::resolve::outcome::{Cause, CauseKind, Miss, Unavailable};
use crate::resolve::question::{Question, What};
use member::Need;

/// What a search came to.
pub(crate) enum Sought {
    /// Here it is.
    Found(Found),
    /// The index knows nothing of it, or nothing that can be had.
    Absent,
    /// It does not exist: the file was read and has no such section. No upstream is asked.
    Settled,
}

/// What a search came to, and what it left open.
pub(crate) struct Searched {
    /// Unavailable if nothing was found, and the index or a store could not be asked.
    pub(crate) outcome: Result<Sought, Unavailable>,
    /// Files that may be the debuginfo that was asked for, if it was not found: only their contents can say.
    pub(crate) unknown: Vec<Record>,
    /// Time in which files were extracted that turned out to be something else.
    pub(crate) examined: Duration,
}

impl Searched {
    fn of(outcome: Result<Sought, Unavailable>) -> Self {
        Self { outcome, unknown: Vec::new(), examined: Duration::ZERO }
    }
}

/// Retries when another gateway on the cache directory evicted the file that was found.
const MAX_RETRIES: u32 = 3;

/// What is searched: the index, the files that were extracted, the archives.
#[derive(Clone)]
pub(crate) struct Search {
    pub(crate) lookup: Lookup,
    pub(crate) files: Files,
    pub(crate) archives: Archives,
    pub(crate) line_tables: LineTables,
    /// For extractions.
    pub(crate) permits: Permits,
    /// `request.budget`
    pub(crate) budget: Duration,
}

impl Search {
    /// Searches for what `question` of `client` asks for, among the files that are certainly it. Of an executable also among those
    /// that may be it, behind the others.
    pub(crate) async fn run(&self, question: &Question, client: ClientAddress, deadline: Deadline) -> Searched {
        let verdict = self.lookup.check_filter(&question.build_id);
        // Absent build-ids are the common case: nothing is allocated for them.
        if verdict == Verdict::Absent {
            return Searched::of(Ok(Sought::Absent));
        }
        Box::pin(async move {
            let mut searched = self.certain(verdict, question, client, deadline).await;
            for _ in 0..MAX_RETRIES {
                if self.is_held(&mut searched.outcome) {
                    break;
                }
                searched = self.certain(verdict, question, client, deadline).await;
            }
            searched
        })
        .await
    }

    /// Searches for debuginfo among files that may hold it: what [`Self::run`] left open.
    ///
    /// # Errors
    /// Not found, and a store could not be asked.
    pub(crate) async fn run_unknown(
        &self,
        unknown: &[Record],
        question: &Question,
        client: ClientAddress,
        deadline: Deadline,
    ) -> Result<Sought, Unavailable> {
        let search = async || {
            let mut run = Run::new(self, client, deadline);
            let found = run.artifact(unknown, ArtifactType::Debuginfo, Certainty::Unknown, &question.build_id).await;
            run.outcome(found)
        };
        let mut outcome = search().await;
        for _ in 0..MAX_RETRIES {
            if self.is_held(&mut outcome) {
                break;
            }
            outcome = search().await;
        }
        outcome
    }

    /// True unless the file that was found was evicted by another gateway: then it has to be extracted again.
    fn is_held(&self, outcome: &mut Result<Sought, Unavailable>) -> bool {
        match outcome {
            Ok(Sought::Found(found)) => self.files.hold(&mut found.content),
            _ => true,
        }
    }

    /// One look at what is certain, and at what is not.
    async fn certain(
        &self,
        verdict: Verdict,
        question: &Question,
        client: ClientAddress,
        deadline: Deadline,
    ) -> Searched {
        let known = match self.lookup.records_past_filter(verdict, &question.build_id, deadline.half().end()).await {
            Ok(known) => known,
            Err(cause) => return Searched::of(Err(of_index(cause).into())),
        };
        let records = known.value;
        let mut run = Run::new(self, client, deadline);
        let mut unknown = Vec::new();
        let found = match &question.what {
            What::Artifact(wanted) => {
                if *wanted == ArtifactType::Debuginfo {
                    unknown = candidates(&records, *wanted, Certainty::Unknown).into_iter().cloned().collect();
                }
                if !unknown.is_empty() {
                    // A store that hangs leaves time for these.
                    run.deadline = deadline.half();
                }
                run.artifact(&records, *wanted, Certainty::Certain, &question.build_id).await
            }
            What::Section(name) => run.section(&records, &question.build_id, name).await,
            What::Source(path) => run.source(&records, path).await,
        };
        // Kept records prove presence, not absence.
        if !run.settled {
            run.causes.extend(known.unavailable.map(of_index));
        }
        Searched { examined: run.examined, outcome: run.outcome(found), unknown }
    }
}

/// One search through candidates; remembers who could not be asked.
struct Run<'a> {
    search: &'a Search,
    client: ClientAddress,
    deadline: Deadline,
    causes: Vec<Cause>,
    /// A debuginfo file was looked through and does not have the section.
    settled: bool,
    /// See [`Searched::examined`].
    examined: Duration,
}

impl<'a> Run<'a> {
    fn new(search: &'a Search, client: ClientAddress, deadline: Deadline) -> Self {
        Self { search, client, deadline, causes: Vec::new(), settled: false, examined: Duration::ZERO }
    }

    fn outcome(self, found: Option<Found>) -> Result<Sought, Unavailable> {
        match found {
            Some(found) => Ok(Sought::Found(found)),
            None if !self.causes.is_empty() => Err(Unavailable(self.causes)),
            None if self.settled => Ok(Sought::Settled),
            None => Ok(Sought::Absent),
        }
    }
}

impl Run<'_> {
    /// The first candidate that can be had and is what is wanted.
    async fn artifact(
        &mut self,
        records: &[Record],
        wanted: ArtifactType,
        certainty: Certainty,
        build_id: &BuildId,
    ) -> Option<Found> {
        let mut all = candidates(records, wanted, certainty);
        if (wanted, certainty) == (ArtifactType::Executable, Certainty::Certain) {
            all.extend(candidates(records, wanted, Certainty::Unknown));
        }
        let mut poor = None;
        for record in all {
            match self.candidate(record, wanted, build_id).await {
                // Another one may hold DWARF.
                Some(found) if found.is_poor && certainty == Certainty::Unknown => poor = poor.or(Some(found)),
                Some(found) => return Some(found),
                None => {}
            }
        }
        poor
    }

    /// The file of a record, unless its contents show that it is not what is wanted.
    async fn candidate(&mut self, record: &Record, wanted: ArtifactType, build_id: &BuildId) -> Option<Found> {
        let (artifact, key, files) = (&record.artifact, key(record), self.search.files.clone());
        let is_certain = artifact.serves(wanted).is_some();
        let known = if is_certain { None } else { files.known_contents(key).await };
        if known.is_some_and(|known| !known.serves(wanted)) {
            return None;
        }
        let need = if is_certain || known.is_some() { Need::First } else { Need::Whole };
        let (began, causes) = (Instant::now(), self.causes.len());
        let entry = self.file(record, build_id, need).await?;
        let mut dwarf = artifact.dwarf;
        if !is_certain {
            match files.contents(key, &entry).await {
                Ok(contents) if contents.serves(wanted) => dwarf = Some(contents.dwarf),
                Ok(_) => {
                    // It was had, wherever it was not.
                    self.causes.truncate(causes);
                    let took = began.elapsed().min(FIRST_BYTES_TIMEOUT.saturating_sub(self.examined));
                    self.deadline = self.deadline.extended_by(took);
                    self.examined += took;
                    return None;
                }
                Err(failure) => {
                    self.failed(failure);
                    return None;
                }
            }
        }
        let is_poor = wanted == ArtifactType::Debuginfo && dwarf != Some(true);
        Some(Found { is_poor, ..found(entry.content(), &artifact.path, &record.package) })
    }

    /// Opens a package at the first of its locations that has it.
    async fn open(&mut self, package: &Arc<StoredPackage>) -> Option<Archive> {
        let archives = self.search.archives.clone();
        let mut rest = archives.locations(package).into_iter();
        while let Some(location) = rest.next() {
            let any = Wanted { ordinal: 0, file: None, tar_offset: None };
            match open_within(&archives, package, location, &any, self.deadline.of_location(rest.len())).await {
                Ok(archive) => return Some(archive),
                Err(failure) => self.failed_at(location, failure).await,
            }
        }
        None
    }

    async fn failed_at(&mut self, location: &Location, miss: Miss) {
        if miss.is_of_provider() {
            self.search.archives.blame(location).await;
        }
        self.failed(miss);
    }

    fn failed(&mut self, miss: Miss) {
        match miss {
            Miss::Absent(cause) => tracing::debug!(cause, "absent"),
            Miss::Failed(cause) => self.causes.push(cause),
        }
    }
}

/// Opens an archive unless that takes too long.
async fn open_within(
    archives: &Archives,
    package: &Arc<StoredPackage>,
    location: &Location,
    wanted: &Wanted,
    deadline: Deadline,
) -> Result<Archive, Miss> {
    let opened = tokio::time::timeout_at(deadline.end().into(), archives.open(package, location, wanted)).await;
    opened.unwrap_or_else(|_| {
        let name = &location.store.name;
        let text = format!("store {name}: expected an answer within the budget, found none");
        Err(Miss::store(name, CauseKind::Timeout, text))
    })
}

fn found(content: Content, member: &str, package: &StoredPackage) -> Found {
    Found { content, member: member.to_owned(), archive: package.archive_name(), is_poor: false }
}

/// Which files are candidates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Certainty {
    /// Those that are what is wanted.
    Certain,
    /// Those of which only the contents can say.
    Unknown,
}

/// The records that can answer for `wanted`, best first: files with DWARF before files that may have some and files that have none,
/// then the newest build. Of files of one package with the same contents (hard links, copies) the first.
fn candidates(records: &[Record], wanted: ArtifactType, certainty: Certainty) -> Vec<&Record> {
    let serves = (certainty == Certainty::Certain).then_some(true);
    let mut seen = HashSet::new();
    let is_first = |record: &&Record| {
        record.artifact.contents.is_none_or(|contents| seen.insert((record.package.id, contents.sha256)))
    };
    let serving = records.iter().filter(|record| record.artifact.serves(wanted) == serves);
    let mut candidates: Vec<&Record> = serving.filter(is_first).collect();
    let dwarf_rank = |record: &Record| match record.artifact.dwarf {
        Some(true) => 0,
        None => 1,
        Some(false) => 2,
    };
    candidates.sort_by_key(|record| {
        let dwarf = if wanted == ArtifactType::Debuginfo { dwarf_rank(record) } else { 0 };
        (
            dwarf,
            std::cmp::Reverse(record.package.package.built_at),
            std::cmp::Reverse(record.package.id),
            record.artifact.ordinal,
        )
    });
    candidates
}

/// The member of a record.
fn key(record: &Record) -> Key {
    Key { identity: record.package.package.identity, ordinal: record.artifact.ordinal }
}

/// The cause that the index could not be asked.
pub(super) fn of_index(text: String) -> Cause {
    Cause::index(CauseKind::Refused, text)
}
