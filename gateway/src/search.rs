//! A search through what the index knows: which record's file, from which location.

mod foreign;
mod include;
mod member;
mod section;
mod source;

use std::sync::Arc;
use std::time::{Duration, Instant};

use artifact::{BuildId, Kind};
use sql::{Location, Record, StoredPackage};

use crate::answer::{Found, Undecided};
use crate::archives::{Archive, Archives, Wanted};
use crate::failure::Failure;
use crate::files::{Content, Files};
use crate::filter::Said;
use crate::line_tables::LineTables;
use crate::lookup::Lookup;
use crate::question::{Question, What};
use crate::turns::{Client, Turns};
use member::Need;

/// What a search came to.
pub(crate) enum Outcome {
    /// Here it is.
    Found(Found),
    /// The index knows nothing of it, or nothing that can be had.
    Absent,
    /// It does not exist: the file is here, and has no such section. Nobody else has to be asked.
    Settled,
}

/// So often is looked again when another gateway on the cache folder removed the file that was found.
const MOST_LOOKS: u32 = 3;

/// What is searched: the index, the files that were extracted, the archives.
#[derive(Clone)]
pub(crate) struct Search {
    pub(crate) lookup: Lookup,
    pub(crate) files: Files,
    pub(crate) archives: Archives,
    pub(crate) line_tables: LineTables,
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
        let said = self.lookup.filtered(&question.build_id);
        // What nearly everybody asks for: it must not cost what an answer costs.
        if said == Said::No {
            return Ok(Outcome::Absent);
        }
        Box::pin(self.look_again(said, question, client, deadline)).await
    }

    /// Looks until what was found is there to be sent.
    async fn look_again(&self, said: Said, question: &Question, client: Client, deadline: Instant) -> Result<Outcome, Undecided> {
        let mut outcome = self.look(said, question, client, deadline).await;
        for _ in 0..MOST_LOOKS {
            let Ok(Outcome::Found(found)) = &mut outcome else { break };
            if self.files.hold(&mut found.content) {
                break;
            }
            outcome = self.look(said, question, client, deadline).await;
        }
        outcome
    }

    async fn look(&self, said: Said, question: &Question, client: Client, deadline: Instant) -> Result<Outcome, Undecided> {
        let known = self.lookup.records_beyond(said, &question.build_id, half_way_to(deadline)).await?;
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
    async fn open(&mut self, package: &Arc<StoredPackage>) -> Option<Archive> {
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

/// Opens an archive unless that takes too long.
async fn open_within(
    archives: &Archives,
    package: &Arc<StoredPackage>,
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
