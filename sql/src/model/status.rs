//! The state of the whole index, for an operator.

use std::sync::Arc;
use std::time::Duration;

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

/// The work that waits, and how far feeders are behind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Workload {
    /// Number of jobs that could run now.
    pub due: u64,
    /// Number of jobs that run later.
    pub waiting: u64,
    /// Number of jobs that are claimed.
    pub running: u64,
    /// Time since the oldest due job was requested; `None` if none is due.
    pub oldest_due: Option<Duration>,
    /// Number of messages and jobs that could not be processed.
    pub poison: u64,
    /// Time since each position of a feeder was stored, by name.
    pub cursors: Vec<Age>,
    /// Time since each repository was refreshed, by name. Those that never were are left out.
    pub repositories: Vec<Age>,
}

/// How long ago something happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Age {
    /// What it happened to.
    pub name: String,
    /// The time since.
    pub age: Duration,
}

/// A lease that is taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldLease {
    /// The process that has it.
    pub holder: String,
    /// The time until it expires, unless it is renewed.
    pub expires_in: Duration,
}
