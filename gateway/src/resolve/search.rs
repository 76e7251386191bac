//! One search through records of the index: its state, and what its steps share.

use std::sync::Arc;
use std::time::Duration;

use sql::{Location, StoredPackage};

use super::Gateway;
use super::answer::FoundFile;
use super::deadline::Deadline;
use super::outcome::{Cause, CauseKind, Miss, Unavailable};
use crate::cache::Content;
use crate::permits::ClientAddress;
use crate::providers::archives::{Archive, Archives, WantedMember};

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
        let mut rest = archives.locations(package).into_iter();
        while let Some(location) = rest.next() {
            let any = WantedMember { ordinal: 0, file: None, tar_offset: None };
            match open_within(archives, package, location, &any, self.deadline.of_location(rest.len())).await {
                Ok(archive) => return Some(archive),
                Err(miss) => self.failed_at(location, miss).await,
            }
        }
        None
    }

    /// Records that a location gave nothing. If it failed, others are tried before it for a while.
    pub(super) async fn failed_at(&mut self, location: &Location, miss: Miss) {
        if miss.is_of_provider() {
            self.gateway.archives.mark_unhealthy(location).await;
        }
        self.failed(miss);
    }

    /// Records why something could not be had.
    pub(super) fn failed(&mut self, miss: Miss) {
        match miss {
            Miss::Absent(cause) => tracing::debug!(cause, "absent"),
            Miss::Failed(cause) => self.causes.push(cause),
        }
    }
}

/// Opens an archive.
///
/// # Errors
/// The location does not have it, or failed, or did not answer until `deadline`.
pub(super) async fn open_within(
    archives: &Archives,
    package: &Arc<StoredPackage>,
    location: &Location,
    wanted: &WantedMember,
    deadline: Deadline,
) -> Result<Archive, Miss> {
    let opened = tokio::time::timeout_at(deadline.end().into(), archives.open(package, location, wanted)).await;
    opened.unwrap_or_else(|_| {
        let name = &location.store.name;
        let text = format!("store {name}: expected an answer within the budget, found none");
        Err(Miss::store(name, CauseKind::Timeout, text))
    })
}

/// The content of a member as an answer.
pub(super) fn found(content: Content, member: &str, package: &StoredPackage) -> FoundFile {
    FoundFile { content, member: member.to_owned(), archive: package.archive_name(), is_poor: false }
}
