//! Searches the index: the records of a build-id, and of them the file that is asked for.

use std::time::Duration;

use artifact::ArtifactType;
use sql::Record;

use super::Gateway;
use super::answer::FoundFile;
use super::artifact::{Certainty, candidates};
use super::claims::claiming;
use super::deadline::Deadline;
use super::outcome::Unavailable;
use super::question::{Question, Resource};
use super::search::{Search, SearchOutcome};
use super::section::is_dwarf;
use crate::index::filter::Verdict;
use crate::permits::ClientAddress;

/// What a search found, and what it left open.
pub(super) struct SearchResult {
    /// Unavailable if nothing was found, and the index or a store could not be asked.
    pub(super) outcome: Result<SearchOutcome, Unavailable>,
    /// Files that may be the debuginfo that was asked for, if it was not found: only their contents can tell.
    pub(super) unknown: Vec<Record>,
    /// The number of records of the build-id.
    pub(super) records: usize,
    /// The number of records that packages with claims of the build-id have, if they were read.
    pub(super) confirmed: Option<usize>,
    /// True if a record states that there is a file of the kind that is asked for, wherever it may be had.
    pub(super) exists: bool,
    /// Time in which files were extracted that turned out to be something else, and packages were read whole.
    pub(super) examined: Duration,
}

impl Gateway {
    /// Searches for what `question` of `client` asks for, among the files that are certainly it. Of an executable
    /// also among those that may be it, after the others. Claims are confirmed if the records do not answer. `verdict`
    /// is that of the filter.
    pub(super) async fn search_index(
        &self,
        verdict: Verdict,
        question: &Question,
        client: ClientAddress,
        deadline: Deadline,
    ) -> SearchResult {
        let known = match self.lookup.records_past_filter(verdict, &question.build_id, deadline.half().end()).await {
            Ok(known) => known,
            Err(cause) => {
                return SearchResult {
                    outcome: Err(cause.into()),
                    unknown: Vec::new(),
                    records: 0,
                    confirmed: None,
                    exists: false,
                    examined: Duration::ZERO,
                };
            }
        };
        let records = known.value;
        let mut search = Search::new(self, client, deadline);
        let (mut unknown, mut exists, mut confirmed) = (Vec::new(), false, None);
        let mut found = search.among(&records, question, &mut unknown, &mut exists).await;
        let mut claiming = claiming(&records.claims, &question.resource);
        while found.is_none()
            && !search.is_settled_by_debuginfo(question)
            && let Some(of_claims) = search.confirm(&mut claiming, &question.build_id).await
        {
            confirmed = Some(confirmed.unwrap_or(0) + of_claims.len());
            if !of_claims.is_empty() {
                found = search.among(&of_claims, question, &mut unknown, &mut exists).await;
            }
        }
        // Stale records prove presence, not absence.
        if !search.is_settled {
            search.causes.extend(known.unavailable);
        }
        let (examined, outcome) = (search.examined, search.outcome(found));
        SearchResult { outcome, unknown, records: records.len(), confirmed, exists, examined }
    }

    /// Searches for debuginfo among files that may hold it: those that [`Self::search_index`] left open.
    ///
    /// # Errors
    /// Not found, and a store could not be asked.
    pub(super) async fn search_unknown(
        &self,
        unknown: &[Record],
        question: &Question,
        client: ClientAddress,
        deadline: Deadline,
    ) -> Result<SearchOutcome, Unavailable> {
        let mut search = Search::new(self, client, deadline);
        let found = search.artifact(unknown, ArtifactType::Debuginfo, Certainty::Unknown, &question.build_id).await;
        search.outcome(found)
    }
}

impl Search<'_> {
    /// True if a file was read that settles the question. DWARF that the debuginfo lacks is nowhere; another section
    /// may be in an executable.
    fn is_settled_by_debuginfo(&self, question: &Question) -> bool {
        self.is_settled && matches!(&question.resource, Resource::Section(name) if is_dwarf(name))
    }

    /// What `question` asks for, from files that are certainly it. Adds files that may be it to `unknown`, and sets
    /// `exists` if a record states that there is such a file.
    async fn among(
        &mut self,
        records: &[Record],
        question: &Question,
        unknown: &mut Vec<Record>,
        exists: &mut bool,
    ) -> Option<FoundFile> {
        let build_id = &question.build_id;
        match &question.resource {
            Resource::Artifact(wanted) => {
                *exists |= records.iter().any(|record| record.artifact.serves(*wanted) == Some(true));
                if *wanted == ArtifactType::Debuginfo {
                    unknown.extend(candidates(records, *wanted, Certainty::Unknown).into_iter().cloned());
                }
                if !unknown.is_empty() {
                    // A store that hangs leaves time for these.
                    self.deadline = self.deadline.half();
                }
                self.artifact(records, *wanted, Certainty::Certain, build_id).await
            }
            // A file proves neither a section of it nor a source.
            Resource::Section(name) => self.section(records, build_id, name).await,
            Resource::Source(path) => self.source(records, path).await,
        }
    }
}
