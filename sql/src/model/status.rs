//! The state of the whole index, for an operator.

use std::sync::Arc;
use std::time::Duration;

use crate::{PackageState, Poison, Repository, Store};

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
    /// The builds of Koji, by instance.
    pub builds: Vec<BuildStatus>,
    /// The positions of feeders, by name.
    pub cursors: Vec<Cursor>,
    /// The jobs, by kind.
    pub jobs: Vec<JobStatus>,
    /// Some of the jobs that failed, those with the most attempts first.
    pub failed_jobs: Vec<FailedJob>,
    /// Number of messages and jobs that could not be processed.
    pub poison: u64,
    /// The last of these, latest first.
    pub last_poison: Vec<Poison>,
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

/// The builds of one Koji.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuildStatus {
    /// Name of the Koji.
    pub instance: String,
    /// Number of complete builds.
    pub complete: u64,
    /// Number of these without some of their packages.
    pub not_imported: u64,
    /// Number of deleted builds.
    pub deleted: u64,
    /// When the hub was asked about that complete build that it was not asked about for longest.
    pub oldest_check: Option<i64>,
}

/// The jobs of one kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobStatus {
    /// The kind.
    pub kind: String,
    /// Their number.
    pub count: u64,
    /// Number of those that are due, and that no one works on.
    pub due: u64,
    /// Number of those that no one works on because they are not due yet.
    pub waiting: u64,
    /// Number of those that someone works on.
    pub running: u64,
    /// Seconds since the oldest job was requested that is due or under way, or that waits after a failure. `None` if
    /// there is none.
    pub due_age: Option<u64>,
    /// Number of those that failed since they were requested last.
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
    /// Time since the oldest job was requested that is due, or that waits after a failure; `None` if there is none.
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

/// A job whose last try failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailedJob {
    /// Its kind.
    pub kind: String,
    /// Its key.
    pub key: String,
    /// Tries that failed since the last request.
    pub attempts: u32,
    /// The error of the last one.
    pub error: String,
    /// When it is tried again, seconds since 1970.
    pub next_try_at: i64,
}
