//! The state of the whole index, for an operator.

use std::sync::Arc;

use crate::{PackageState, Repository, Store};

/// Counts of the index, and what is under way or failed. Times are seconds since 1970.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// Number of packages in each state; all four states.
    pub packages: Vec<(PackageState, u64)>,
    /// Number of packages whose build was deleted.
    pub deleted_packages: u64,
    /// Number of files with a build-id.
    pub artifacts: u64,
    /// Number of claimed build-ids.
    pub claims: u64,
    /// The stores, by name.
    pub stores: Vec<StoreStatus>,
    /// The repositories, by name.
    pub repositories: Vec<RepositoryStatus>,
    /// The positions of feeders, by name.
    pub cursors: Vec<Cursor>,
    /// The jobs, by kind.
    pub jobs: Vec<JobStatus>,
    /// Number of messages that could not be processed.
    pub poison: u64,
}

/// A store and the counts of its locations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreStatus {
    /// The store.
    pub store: Arc<Store>,
    /// Number of present locations.
    pub present: u64,
    /// Number of former ones.
    pub gone: u64,
    /// Number of places that follow from the store's pattern, and that a check did not find; they were never seen.
    pub absent: u64,
    /// Number of locations that were never checked.
    pub unchecked: u64,
    /// Time of the last check.
    pub checked_at: Option<i64>,
    /// Number of locations whose last check failed.
    pub failed: u64,
    /// The reason of one such failure.
    pub failure: Option<String>,
}

/// A repository and the counts of its memberships.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RepositoryStatus {
    /// The repository.
    pub repository: Repository,
    /// Number of packages that it lists.
    pub listed: u64,
    /// Number of packages that it listed before.
    pub ended: u64,
}

/// The position of a feeder in its source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// Its name.
    pub name: String,
    /// The position.
    pub value: String,
    /// Time of its last change.
    pub updated_at: i64,
}

/// The jobs of one kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobStatus {
    /// The kind.
    pub kind: String,
    /// Their number.
    pub count: u64,
    /// Number of those that failed at least once.
    pub failed: u64,
    /// The error of one of these.
    pub last_error: Option<String>,
}
