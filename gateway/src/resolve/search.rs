//! One search through records of the index: its state, and what its steps share.

use std::sync::Arc;
use std::time::Duration;

use sql::{Location, StoredPackage};

use super::Gateway;
use super::answer::FoundFile;
use super::deadline::Deadline;
use super::outcome::{Cause, Miss, Unavailable};
use crate::cache::Content;
use crate::permits::ClientAddress;
use crate::providers::archives::{Archive, WantedMember};
use crate::providers::walk::Walked;

/// What a search found.
pub(super) enum SearchOutcome {
    /// A file.
    Found(FoundFile),
    /// The index has no record of it, or none whose file can be had.
    Absent,
    /// It does not exist: the file was read and has no such section. No upstream is asked.
    Settled,
}

/// One search through records. It collects the causes of what could not be had.
pub(super) struct Search<'g> {
    pub(super) gateway: &'g Gateway,
    pub(super) client: ClientAddress,
    pub(super) deadline: Deadline,
    pub(super) causes: Vec<Cause>,
    /// True once a debuginfo file was read that does not have the section.
    pub(super) is_settled: bool,
    /// Time in which files were extracted that turned out to be something else.
    pub(super) examined: Duration,
}

impl<'g> Search<'g> {
    pub(super) fn new(gateway: &'g Gateway, client: ClientAddress, deadline: Deadline) -> Self {
        Self { gateway, client, deadline, causes: Vec::new(), is_settled: false, examined: Duration::ZERO }
    }

    /// The outcome of a search that found `found`.
    ///
    /// # Errors
    /// Nothing was found, and a store could not be asked.
    pub(super) fn outcome(self, found: Option<FoundFile>) -> Result<SearchOutcome, Unavailable> {
        match found {
            Some(found) => Ok(SearchOutcome::Found(found)),
            None if !self.causes.is_empty() => Err(Unavailable(self.causes)),
            None if self.is_settled => Ok(SearchOutcome::Settled),
            None => Ok(SearchOutcome::Absent),
        }
    }

    /// Opens a package at the first of its locations that has it.
    pub(super) async fn open(&mut self, package: &Arc<StoredPackage>) -> Option<Archive> {
        let archives = &self.gateway.archives;
        let any = WantedMember { ordinal: 0, file: None, tar_offset: None };
        let walked = archives.open_first(package, archives.locations(package), &any, self.deadline).await;
        self.found_by(walked)
    }

    /// What a walk found. The misses are recorded.
    pub(super) fn found_by<T>(&mut self, walked: Walked<Location, T>) -> Option<T> {
        for (_, miss) in walked.misses {
            self.failed(miss);
        }
        walked.found.map(|(_, found)| found)
    }

    /// Records why something could not be had.
    pub(super) fn failed(&mut self, miss: Miss) {
        match miss {
            Miss::Absent(cause) => tracing::debug!(cause, "absent"),
            Miss::Failed(cause) => self.causes.push(cause),
        }
    }
}

/// The content of a member as an answer.
pub(super) fn found(content: Content, member: &str, package: &StoredPackage) -> FoundFile {
    FoundFile { content, member: member.to_owned(), archive: package.archive_name(), is_poor: false }
}
