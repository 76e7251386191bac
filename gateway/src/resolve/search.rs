//! A search through what the index knows: which record's file, from which location.

use std::sync::Arc;
use std::time::Duration;

use artifact::ArtifactType;
use sql::{Location, Record, StoredPackage};

use super::answer::FoundFile;
use super::artifact::{Certainty, candidates};
use super::deadline::Deadline;
use super::line_tables::LineTables;
use super::outcome::{Cause, CauseKind, Miss, Unavailable};
use super::question::{Question, What};
use crate::cache::{Content, MemberCache};
use crate::index::filter::Verdict;
use crate::index::lookup::Lookup;
use crate::permits::{ClientAddress, Permits};
use crate::providers::archives::{Archive, Archives, Wanted};

/// What a search came to.
pub(crate) enum SearchOutcome {
    /// Here it is.
    Found(FoundFile),
    /// The index knows nothing of it, or nothing that can be had.
    Absent,
    /// It does not exist: the file was read and has no such section. No upstream is asked.
    Settled,
}

/// What a search came to, and what it left open.
pub(crate) struct Searched {
    /// Unavailable if nothing was found, and the index or a store could not be asked.
    pub(crate) outcome: Result<SearchOutcome, Unavailable>,
    /// Files that may be the debuginfo that was asked for, if it was not found: only their contents can say.
    pub(crate) unknown: Vec<Record>,
    /// Time in which files were extracted that turned out to be something else.
    pub(crate) examined: Duration,
}

impl Searched {
    fn of(outcome: Result<SearchOutcome, Unavailable>) -> Self {
        Self { outcome, unknown: Vec::new(), examined: Duration::ZERO }
    }
}

/// What is searched: the index, the files that were extracted, the archives.
#[derive(Clone)]
pub(crate) struct Search {
    pub(crate) lookup: Lookup,
    pub(crate) cache: MemberCache,
    pub(crate) archives: Archives,
    pub(crate) line_tables: LineTables,
    /// For extractions.
    pub(crate) permits: Permits,
    /// `request.budget`
    pub(crate) budget: Duration,
}

impl Search {
    /// Searches for what `question` of `client` asks for, among the files that are certainly it. Of an executable
    /// also among those that may be it, behind the others.
    pub(crate) async fn run(&self, question: &Question, client: ClientAddress, deadline: Deadline) -> Searched {
        let verdict = self.lookup.check_filter(&question.build_id);
        // Absent build-ids are the common case: nothing is allocated for them.
        if verdict == Verdict::Absent {
            return Searched::of(Ok(SearchOutcome::Absent));
        }
        Box::pin(self.certain(verdict, question, client, deadline)).await
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
    ) -> Result<SearchOutcome, Unavailable> {
        let search = async || {
            let mut run = Run::new(self, client, deadline);
            let found = run.artifact(unknown, ArtifactType::Debuginfo, Certainty::Unknown, &question.build_id).await;
            run.outcome(found)
        };
        search().await
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
pub(super) struct Run<'a> {
    pub(super) search: &'a Search,
    pub(super) client: ClientAddress,
    pub(super) deadline: Deadline,
    pub(super) causes: Vec<Cause>,
    /// A debuginfo file was looked through and does not have the section.
    pub(super) settled: bool,
    /// See [`Searched::examined`].
    pub(super) examined: Duration,
}

impl<'a> Run<'a> {
    fn new(search: &'a Search, client: ClientAddress, deadline: Deadline) -> Self {
        Self { search, client, deadline, causes: Vec::new(), settled: false, examined: Duration::ZERO }
    }

    fn outcome(self, found: Option<FoundFile>) -> Result<SearchOutcome, Unavailable> {
        match found {
            Some(found) => Ok(SearchOutcome::Found(found)),
            None if !self.causes.is_empty() => Err(Unavailable(self.causes)),
            None if self.settled => Ok(SearchOutcome::Settled),
            None => Ok(SearchOutcome::Absent),
        }
    }
}

impl Run<'_> {
    /// Opens a package at the first of its locations that has it.
    pub(super) async fn open(&mut self, package: &Arc<StoredPackage>) -> Option<Archive> {
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

    pub(super) async fn failed_at(&mut self, location: &Location, miss: Miss) {
        if miss.is_of_provider() {
            self.search.archives.blame(location).await;
        }
        self.failed(miss);
    }

    pub(super) fn failed(&mut self, miss: Miss) {
        match miss {
            Miss::Absent(cause) => tracing::debug!(cause, "absent"),
            Miss::Failed(cause) => self.causes.push(cause),
        }
    }
}

/// Opens an archive unless that takes too long.
pub(super) async fn open_within(
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

pub(super) fn found(content: Content, member: &str, package: &StoredPackage) -> FoundFile {
    FoundFile { content, member: member.to_owned(), archive: package.archive_name(), is_poor: false }
}

/// The cause that the index could not be asked.
pub(super) fn of_index(text: String) -> Cause {
    Cause::index(CauseKind::Refused, text)
}
