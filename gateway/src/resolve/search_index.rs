//! Searches the index: the records of a build-id, and of them the file that is asked for.

use std::time::Duration;

use artifact::ArtifactType;
use sql::Record;

use super::Gateway;
use super::artifact::{Certainty, candidates};
use super::deadline::Deadline;
use super::outcome::Unavailable;
use super::question::{Question, Resource};
use super::search::{Search, SearchOutcome};
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
    /// True if a record states that there is a file of the kind that is asked for, wherever it may be had.
    pub(super) exists: bool,
    /// Time in which files were extracted that turned out to be something else.
    pub(super) examined: Duration,
}

impl Gateway {
    /// Searches for what `question` of `client` asks for, among the files that are certainly it. Of an executable
    /// also among those that may be it, after the others. `verdict` is that of the filter.
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
                    exists: false,
                    examined: Duration::ZERO,
                };
            }
        };
        let records = known.value;
        let mut search = Search::new(self, client, deadline);
        let mut unknown = Vec::new();
        let found = match &question.resource {
            Resource::Artifact(wanted) => {
                if *wanted == ArtifactType::Debuginfo {
                    unknown = candidates(&records, *wanted, Certainty::Unknown).into_iter().cloned().collect();
                }
                if !unknown.is_empty() {
                    // A store that hangs leaves time for these.
                    search.deadline = deadline.half();
                }
                search.artifact(&records, *wanted, Certainty::Certain, &question.build_id).await
            }
            Resource::Section(name) => search.section(&records, &question.build_id, name).await,
            Resource::Source(path) => search.source(&records, path).await,
        };
        // Stale records prove presence, not absence.
        if !search.is_settled {
            search.causes.extend(known.unavailable);
        }
        let exists = match &question.resource {
            Resource::Artifact(wanted) => records.iter().any(|record| record.artifact.serves(*wanted) == Some(true)),
            // A file proves neither a section of it nor a source.
            Resource::Section(_) | Resource::Source(_) => false,
        };
        let (examined, outcome) = (search.examined, search.outcome(found));
        SearchResult { outcome, unknown, records: records.len(), exists, examined }
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
