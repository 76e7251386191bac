//! The command `status`: stores, repositories, counts, what is open, and what failed and why.

use std::collections::BTreeMap;
use std::fmt::{self, Display, Formatter};
use std::process::ExitCode;
use std::time::Duration;

use serde::Serialize;
use sql::{BuildStatus, FailedJob, Index, JobStatus, Poison, RepositoryStatus, StoreStatus, Verified};

use crate::cli::Common;
use crate::report::failure::{CommandFailure, Result};
use crate::report::output::{print, printable};
use crate::report::summary::counted;
use crate::report::table::table;
use crate::report::time::{now, utc};
use crate::report::urls::{public_url, store_address, without_url_secrets};

/// The state of the index: the object that `--json` prints. Times are seconds since 1970.
#[derive(Serialize)]
struct IndexStatus {
    packages: PackageCounts,
    /// Files with a build-id.
    artifacts: u64,
    /// Build-ids that metadata claims for packages whose header was not read.
    claims: u64,
    stores: Vec<StoreLine>,
    repositories: Vec<RepositoryLine>,
    cursors: Vec<CursorLine>,
    builds: Vec<BuildLine>,
    jobs: Vec<JobLine>,
    /// Some of the jobs that failed.
    failed_jobs: Vec<FailedJobLine>,
    /// Messages and jobs that could not be processed.
    poison: u64,
    /// The last of these, latest first.
    last_poison: Vec<PoisonLine>,
    /// Seconds that the index is behind each source, as the metric `indexer_lag_seconds`.
    lag: BTreeMap<String, i64>,
}

#[derive(Serialize)]
struct BuildLine {
    instance: String,
    complete: u64,
    /// Of these, builds without some of their packages.
    not_imported: u64,
    deleted: u64,
    /// When the hub was asked about that build that it was not asked about for longest.
    oldest_check: Option<i64>,
}

#[derive(Serialize)]
struct FailedJobLine {
    key: String,
    attempts: u32,
    last_error: String,
}

#[derive(Serialize)]
struct PoisonLine {
    id: i64,
    source: String,
    reason: String,
    received_at: i64,
    /// The beginning of its body.
    body: String,
}

/// Number of packages in each state.
#[derive(Default, Serialize)]
struct PackageCounts {
    claimed: u64,
    legacy: u64,
    open: u64,
    complete: u64,
    /// Of all these, packages whose build was deleted.
    deleted: u64,
}

#[derive(Serialize)]
struct StoreLine {
    name: String,
    tier: &'static str,
    /// Without its secrets.
    url: Option<String>,
    path: Option<String>,
    /// Present and former places.
    present: u64,
    gone: u64,
    /// Places that follow from the pattern, and have never had their archive.
    absent: u64,
    /// Places that were never looked at.
    unchecked: u64,
    /// Time of the last check.
    checked_at: Option<i64>,
    /// Places whose last check failed, and the reason of one of them.
    failed: u64,
    failure: Option<String>,
    #[serde(skip)]
    address: String,
}

#[derive(Serialize)]
struct RepositoryLine {
    name: String,
    /// Name of its store. `None` if the store was removed meanwhile.
    store: Option<String>,
    path: String,
    /// As given by the operator, without its secrets.
    url: Option<String>,
    format: &'static str,
    distro: Option<String>,
    /// `metalink`, `signature` or `no`.
    verified: &'static str,
    /// Packages that its last complete listing had.
    packages: Option<u64>,
    /// Packages that the index knows as listed, and as listed before.
    listed: u64,
    ended: u64,
    revision: Option<String>,
    refreshed_at: Option<i64>,
    attempted_at: Option<i64>,
    /// Why the last attempt failed.
    error: Option<String>,
    /// Packages of its last complete listing that were not imported, and the first of them with reasons.
    refused: u64,
    first_refused: Option<String>,
    #[serde(skip)]
    is_verified: bool,
}

#[derive(Serialize)]
struct CursorLine {
    name: String,
    value: String,
    updated_at: i64,
}

#[derive(Serialize)]
struct JobLine {
    kind: String,
    count: u64,
    due: u64,
    waiting: u64,
    running: u64,
    /// Of these, jobs that failed at least once, and the error of one of them.
    failed: u64,
    last_error: Option<String>,
}

/// Prints the state of the index.
pub(crate) async fn run(index: &Index, common: &Common) -> Result<ExitCode> {
    let status = IndexStatus::from(index.status().await?);
    if common.json {
        print(&serde_json::to_string(&status).map_err(CommandFailure::local)?)?;
    } else {
        print(&status.to_string().trim_end())?;
    }
    Ok(ExitCode::SUCCESS)
}

impl From<sql::Status> for IndexStatus {
    fn from(status: sql::Status) -> Self {
        let lag = lag(&status, now());
        let mut packages = PackageCounts { deleted: status.deleted_packages, ..PackageCounts::default() };
        for (state, count) in status.packages {
            match state {
                sql::PackageState::Claimed => packages.claimed = count,
                sql::PackageState::Legacy => packages.legacy = count,
                sql::PackageState::Open => packages.open = count,
                sql::PackageState::Complete => packages.complete = count,
            }
        }
        let store_name = |id: i64| {
            let store = status.stores.iter().find(|store| store.store.id == id);
            store.map(|store| store.store.name.clone())
        };
        let repositories = status.repositories.into_iter().map(|line| {
            let store = store_name(line.repository.store_id);
            RepositoryLine::new(line, store)
        });
        Self {
            packages,
            artifacts: status.artifacts,
            claims: status.claims,
            repositories: repositories.collect(),
            stores: status.stores.into_iter().map(StoreLine::from).collect(),
            cursors: status
                .cursors
                .into_iter()
                .map(|sql::Cursor { name, value, updated_at }| CursorLine { name, value, updated_at })
                .collect(),
            builds: status.builds.into_iter().map(BuildLine::from).collect(),
            jobs: status.jobs.into_iter().map(JobLine::from).collect(),
            failed_jobs: status.failed_jobs.into_iter().map(FailedJobLine::from).collect(),
            poison: status.poison,
            last_poison: status.last_poison.into_iter().map(PoisonLine::from).collect(),
            lag,
        }
    }
}

impl From<StoreStatus> for StoreLine {
    fn from(status: StoreStatus) -> Self {
        let StoreStatus { store, present, gone, absent, unchecked, checked_at, failed, failure } = status;
        Self {
            name: store.name.clone(),
            tier: store.tier.as_str(),
            url: store.base_url.as_deref().and_then(public_url),
            path: store.root.as_ref().map(|root| root.display().to_string()),
            present,
            gone,
            absent,
            unchecked,
            checked_at,
            failed,
            failure: failure.map(|text| without_url_secrets(text.trim_start_matches("failed: "))),
            address: store_address(&store),
        }
    }
}

impl RepositoryLine {
    fn new(status: RepositoryStatus, store: Option<String>) -> Self {
        let RepositoryStatus { repository, listed, ended } = status;
        Self {
            name: repository.name,
            store,
            path: repository.path,
            url: repository.url.as_deref().and_then(public_url),
            format: repository.format.as_str(),
            distro: repository.distro,
            verified: repository.verified.as_str(),
            packages: repository.package_count,
            listed,
            ended,
            revision: repository.revision,
            refreshed_at: repository.refreshed_at,
            attempted_at: repository.attempted_at,
            error: repository.error.map(|text| without_url_secrets(&text)),
            refused: repository.refused_count,
            first_refused: repository.refused.map(|text| without_url_secrets(&text)),
            is_verified: repository.verified != Verified::No,
        }
    }
}

impl From<BuildStatus> for BuildLine {
    fn from(status: BuildStatus) -> Self {
        let BuildStatus { instance, complete, not_imported, deleted, oldest_check } = status;
        Self { instance, complete, not_imported, deleted, oldest_check }
    }
}

impl From<FailedJob> for FailedJobLine {
    fn from(job: FailedJob) -> Self {
        Self { key: job.key, attempts: job.attempts, last_error: without_url_secrets(&job.error) }
    }
}

impl From<Poison> for PoisonLine {
    fn from(poison: Poison) -> Self {
        let Poison { id, source, reason, received_at, payload } = poison;
        let (reason, body) = (without_url_secrets(&reason), without_url_secrets(&payload));
        Self { id, source, reason, received_at, body }
    }
}

/// Returns how many seconds the index is behind each source at `now`.
fn lag(status: &sql::Status, now: i64) -> BTreeMap<String, i64> {
    let since = |at: i64| now.saturating_sub(at).max(0);
    let oldest_job = status.jobs.iter().filter_map(|job| job.due_age).max();
    let jobs = ("jobs".to_owned(), oldest_job.map_or(0, |age| i64::try_from(age).unwrap_or(i64::MAX)));
    let reconciled = status.cursors.iter().filter_map(|cursor| {
        let instance = cursor.name.strip_prefix("koji completed ")?;
        Some((format!("koji/{instance}"), since(cursor.updated_at)))
    });
    let swept = status.builds.iter().filter_map(|builds| {
        let at = builds.oldest_check?;
        Some((format!("sweep/{}", builds.instance), since(at)))
    });
    let refreshed = status.repositories.iter().filter_map(|status| {
        let at = status.repository.refreshed_at?;
        Some((format!("repository/{}", status.repository.name), since(at)))
    });
    [jobs].into_iter().chain(reconciled).chain(swept).chain(refreshed).collect()
}

impl From<JobStatus> for JobLine {
    fn from(status: JobStatus) -> Self {
        let JobStatus { kind, count, due, waiting, running, failed, last_error, .. } = status;
        Self {
            kind,
            count,
            due,
            waiting,
            running,
            failed,
            last_error: last_error.map(|text| without_url_secrets(&text)),
        }
    }
}

impl Display for IndexStatus {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let PackageCounts { claimed, legacy, open, complete, deleted } = &self.packages;
        writeln!(f, "packages: {complete} complete, {open} open, {claimed} claimed, {legacy} legacy")?;
        writeln!(f, "build-ids: {} of files, {} claimed", self.artifacts, self.claims)?;
        if *deleted > 0 {
            writeln!(f, "deleted builds: {deleted} packages")?;
        }
        if *open > 0 {
            writeln!(f, "open: {open} packages can have more build-ids; an import with --payload missing reads them")?;
        }
        if self.poison > 0 {
            writeln!(f, "poison: {} messages or jobs could not be processed", self.poison)?;
        }
        self.write_tables(f)?;
        let failures: Vec<String> = self.failures().collect();
        if !failures.is_empty() {
            writeln!(f, "\nfailed:")?;
            for failure in failures {
                writeln!(f, "  {}", printable(&failure))?;
            }
        }
        Ok(())
    }
}

impl IndexStatus {
    fn write_tables(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if !self.stores.is_empty() {
            let rows = self.stores.iter().map(|store| {
                let [present, gone, absent, unchecked] =
                    [store.present, store.gone, store.absent, store.unchecked].map(|count| count.to_string());
                let (name, address) = (store.name.clone(), store.address.clone());
                [name, store.tier.to_owned(), present, gone, absent, unchecked, time(store.checked_at), address]
            });
            let head = ["STORE", "TIER", "PRESENT", "GONE", "NOT THERE", "UNCHECKED", "LAST CHECK", "ADDRESS"];
            writeln!(f, "\n{}", table(head, rows))?;
        }
        if !self.repositories.is_empty() {
            let rows = self.repositories.iter().map(|repository| {
                let verified = if repository.is_verified { repository.verified } else { "unverified" };
                [
                    repository.name.clone(),
                    repository.store.clone().unwrap_or_default(),
                    repository.format.to_owned(),
                    verified.to_owned(),
                    repository.packages.map(|count| count.to_string()).unwrap_or_default(),
                    repository.revision.clone().unwrap_or_default(),
                    time(repository.refreshed_at),
                    time(repository.attempted_at),
                ]
            });
            let head =
                ["REPOSITORY", "STORE", "FORMAT", "VERIFIED", "PACKAGES", "REVISION", "REFRESHED", "LAST ATTEMPT"];
            writeln!(f, "\n{}", table(head, rows))?;
        }
        if !self.builds.is_empty() {
            let rows = self.builds.iter().map(|builds| {
                let [complete, not_imported, deleted] =
                    [builds.complete, builds.not_imported, builds.deleted].map(|count| count.to_string());
                [builds.instance.clone(), complete, not_imported, deleted, time(builds.oldest_check)]
            });
            writeln!(f, "\n{}", table(["KOJI", "COMPLETE", "NOT IMPORTED", "DELETED", "OLDEST CHECK"], rows))?;
        }
        if self.lag.len() > 1 || self.lag.values().any(|lag| *lag > 0) {
            let age = |seconds: i64| {
                humantime::format_duration(Duration::from_secs(u64::try_from(seconds).unwrap_or_default())).to_string()
            };
            let rows = self.lag.iter().map(|(source, lag)| [source.clone(), age(*lag)]);
            writeln!(f, "\n{}", table(["SOURCE", "LAG"], rows))?;
        }
        if !self.cursors.is_empty() {
            let rows = self
                .cursors
                .iter()
                .map(|cursor| [cursor.name.clone(), cursor.value.clone(), time(Some(cursor.updated_at))]);
            writeln!(f, "\n{}", table(["CURSOR", "VALUE", "UPDATED"], rows))?;
        }
        if !self.jobs.is_empty() {
            let rows = self.jobs.iter().map(|job| {
                let [count, due, waiting, running, failed] =
                    [job.count, job.due, job.waiting, job.running, job.failed].map(|count| count.to_string());
                [job.kind.clone(), count, due, waiting, running, failed]
            });
            writeln!(f, "\n{}", table(["JOB", "COUNT", "DUE", "WAITING", "RUNNING", "FAILED"], rows))?;
        }
        if !self.last_poison.is_empty() {
            let row = |line: &PoisonLine| {
                let (source, received) = (line.source.clone(), time(Some(line.received_at)));
                [line.id.to_string(), received, source, line.reason.clone(), line.body.clone()]
            };
            let head = ["POISON", "RECEIVED", "FROM", "REASON", "BODY"];
            writeln!(f, "\n{}", table(head, self.last_poison.iter().map(row)))?;
        }
        Ok(())
    }

    /// What failed and why, one sentence each.
    fn failures(&self) -> impl Iterator<Item = String> {
        let repositories = self.repositories.iter().filter_map(|repository| {
            let error = repository.error.as_ref()?;
            Some(format!("repository {}: {error}", repository.name))
        });
        let refused = self.repositories.iter().filter(|repository| repository.refused > 0).map(|repository| {
            let reasons = repository.first_refused.as_deref().unwrap_or("unknown");
            format!("repository {}: {} refused: {reasons}", repository.name, counted(repository.refused, "package"))
        });
        let stores = self.stores.iter().filter(|store| store.failed > 0).map(|store| {
            let reason = store.failure.as_deref().unwrap_or("unknown");
            format!("store {}: {} places could not be checked, one of them: {reason}", store.name, store.failed)
        });
        let jobs = self
            .failed_jobs
            .iter()
            .map(|job| format!("job {}: {}: {}", job.key, counted(job.attempts.into(), "attempt"), job.last_error));
        repositories.chain(refused).chain(stores).chain(jobs)
    }
}

/// A time for people; never is empty.
fn time(seconds: Option<i64>) -> String {
    seconds.map(utc).unwrap_or_default()
}
