//! The worker: claims jobs that are due, runs them and records their ends.
//!
//! A claim expires unless it is renewed, so that the jobs of a process that was killed are taken over. A claim that is
//! lost aborts the run. Runs are safe to repeat: they ask the hub or the store for the truth.

use std::collections::{BTreeMap, HashMap};
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sql::Job;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::Service;
use super::lease::{RENEW_INTERVAL, TTL};
use super::metrics::JobResult;
use super::policy::{Failures, TryEnd, Verdict};
use crate::feeders::hook::{ArchiveImporter, ArchiveOutcome};
use crate::feeders::koji::importer::{BuildOutcome, BuildRequest, MAX_BUILDS};
use crate::jobs::{ArchiveWork, BuildName, BuildWork, Need, Work};
use crate::koji::build::BuildRef;

/// Time between two looks for due jobs: other indexers write some, and others become due.
const POLL_INTERVAL: Duration = Duration::from_secs(2);
/// Time until jobs are claimed again after the database failed.
const RETRY_INTERVAL: Duration = Duration::from_secs(5);
/// Maximum number of jobs that are claimed at once.
const MAX_CLAIM: usize = MAX_BUILDS;
/// Number of jobs that need the same instance or store and are claimed by this process: then no more are claimed. Those
/// that wait for a hub or store that does not answer do not hinder others.
const MAX_CLAIMED: usize = 2 * MAX_CLAIM;
/// Maximum number of imports at once from one instance.
const MAX_IMPORTS: usize = 2;
/// Maximum number of archives that are imported at once, of all stores and of one. Some stores that do not answer leave
/// room for others.
const MAX_ARCHIVES: usize = 16;
const MAX_ARCHIVES_OF_STORE: usize = 4;

struct Worker {
    service: Arc<Service>,
    archives: ArchiveImporter,
    failures: Mutex<Failures>,
    /// Number of jobs that this process has claimed, by what they need.
    claimed: Arc<Claims>,
    /// Permits to import from each configured instance.
    imports: HashMap<String, Semaphore>,
    archive_permits: Semaphore,
    /// Permits to import from each store.
    store_permits: Mutex<HashMap<String, Arc<Semaphore>>>,
}

/// Claims and runs jobs until the service stops, then waits for those that run.
pub(super) async fn run(service: Arc<Service>) {
    // Of a worker before this one that panicked.
    if let Err(error) = service.index.release_jobs(&service.holder).await {
        tracing::warn!(%error, "claims of jobs were not given back; they expire");
    }
    let permits = |name: &String| (name.clone(), Semaphore::new(MAX_IMPORTS));
    let worker = Arc::new(Worker {
        archives: ArchiveImporter::new(&service.index, &service.network),
        failures: Mutex::default(),
        claimed: Arc::default(),
        imports: service.settings.koji.iter().map(|instance| permits(&instance.name)).collect(),
        archive_permits: Semaphore::new(MAX_ARCHIVES),
        store_permits: Mutex::default(),
        service,
    });
    let mut batches = JoinSet::new();
    while !worker.service.stop.is_set() {
        while let Some(ended) = batches.try_join_next() {
            worker.report_panic(ended);
        }
        let full = worker.claimed.full();
        let index = &worker.service.index;
        let claimed = tokio::select! {
            // What may have been claimed is given back at the end.
            () = worker.service.stop.wait() => break,
            claimed = index.claim_jobs(&worker.service.holder, MAX_CLAIM, TTL, &full) => claimed,
        };
        let pause = match claimed {
            Ok(jobs) if jobs.is_empty() => POLL_INTERVAL,
            Ok(jobs) => {
                worker.start(jobs, &mut batches).await;
                continue;
            }
            Err(error) => {
                tracing::error!(%error, "jobs were not claimed; trying again");
                RETRY_INTERVAL
            }
        };
        tokio::select! {
            () = worker.service.stop.wait() => break,
            () = worker.service.new_jobs.notified() => {}
            () = sleep(pause) => {}
            // There may be room again.
            ended = batches.join_next(), if !full.is_empty() => {
                ended.into_iter().for_each(|ended| worker.report_panic(ended));
            }
        }
    }
    while let Some(ended) = batches.join_next().await {
        worker.report_panic(ended);
    }
}

/// Numbers of claimed jobs, by what they need.
#[derive(Default)]
struct Claims(Mutex<BTreeMap<Need, usize>>);

impl Claims {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<Need, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns how the keys of jobs begin of which no more are claimed.
    fn full(&self) -> Vec<String> {
        let claims = self.lock();
        let full = claims.iter().filter(|(_, count)| **count >= MAX_CLAIMED);
        full.flat_map(|(need, _)| need.key_prefixes()).collect()
    }
}

/// Claimed jobs that need the same. They are subtracted when it is dropped, also by a panic.
struct Claimed {
    claims: Arc<Claims>,
    need: Need,
    count: usize,
}

impl Claimed {
    fn new(claims: &Arc<Claims>, need: Need, count: usize) -> Self {
        *claims.lock().entry(need.clone()).or_default() += count;
        Self { claims: Arc::clone(claims), need, count }
    }
}

impl Drop for Claimed {
    fn drop(&mut self) {
        let mut claims = self.claims.lock();
        let left = claims.get(&self.need).copied().unwrap_or_default().saturating_sub(self.count);
        if left == 0 {
            claims.remove(&self.need);
        } else {
            claims.insert(self.need.clone(), left);
        }
    }
}

impl Worker {
    fn report_panic(&self, ended: Result<(), tokio::task::JoinError>) {
        if let Err(error) = ended {
            tracing::error!(%error, "a job panicked; its claim expires, and it runs again");
            self.service.metrics.count_panic("job");
        }
    }

    /// Starts claimed jobs: the builds of an instance together, each archive by itself.
    async fn start(self: &Arc<Self>, jobs: Vec<Job>, batches: &mut JoinSet<()>) {
        let mut builds: BTreeMap<String, Vec<(Job, BuildWork)>> = BTreeMap::new();
        for job in jobs {
            match Work::parse(&job.kind, &job.payload) {
                Ok(Work::Build(work)) => builds.entry(work.instance.clone()).or_default().push((job, work)),
                Ok(Work::Archive(work)) => {
                    let (worker, claimed) =
                        (Arc::clone(self), Claimed::new(&self.claimed, Need::Store(work.store.clone()), 1));
                    batches.spawn(async move { worker.run_archive(job, work, claimed).await });
                }
                Err(reason) => self.record_poison(&job, &reason).await,
            }
        }
        for (instance, jobs) in builds {
            let claimed = Claimed::new(&self.claimed, Need::Koji(instance.clone()), jobs.len());
            let worker = Arc::clone(self);
            batches.spawn(async move { worker.run_builds(&instance, jobs, claimed).await });
        }
    }

    async fn run_builds(&self, instance: &str, jobs: Vec<(Job, BuildWork)>, _claimed: Claimed) {
        let (jobs, works): (Vec<Job>, Vec<BuildWork>) = jobs.into_iter().unzip();
        let ended = self.while_claimed(&jobs, Box::pin(self.import_builds(instance, &works))).await;
        if let Some(ends) = ended {
            self.record(&jobs, ends).await;
        }
    }

    /// Imports builds of one instance; the ends are in the order of the works. `None` if the service stopped before.
    async fn import_builds(&self, instance: &str, works: &[BuildWork]) -> Option<Vec<TryEnd>> {
        let all = |end: TryEnd| Some(vec![end; works.len()]);
        let Some(permits) = self.imports.get(instance) else {
            return all(TryEnd::Permanent(format!(
                "expected a Koji instance of the configuration, found {instance:?}"
            )));
        };
        let _permit = permits.acquire().await.ok()?;
        if self.service.stop.is_set() {
            return None;
        }
        let service = &self.service;
        let importer = match service.importers.get(instance, &service.index, &service.network).await {
            Ok(Some(importer)) => importer,
            Ok(None) => return all(TryEnd::Permanent(format!("expected a Koji instance, found {instance:?}"))),
            Err(failure) => return all(TryEnd::Passing(failure.to_string())),
        };
        let requests: Vec<BuildRequest> = works.iter().map(request).collect();
        let outcomes = match importer.import(&requests).await {
            Ok(outcomes) => outcomes,
            Err(failure) => return all(TryEnd::Passing(failure.to_string())),
        };
        let mut ends = Vec::new();
        for (work, outcome) in works.iter().zip(outcomes) {
            tracing::info!(instance, build = %work.build, source = work.source, ?outcome, "build");
            if let BuildOutcome::Imported { packages } = outcome {
                service.metrics.count_packages(&format!("koji/{instance}"), packages);
            }
            ends.push(end_of_build(outcome, work.deleted_at.is_some()));
        }
        Some(ends)
    }

    async fn run_archive(&self, job: Job, work: ArchiveWork, _claimed: Claimed) {
        let jobs = [job];
        let ended = self.while_claimed(&jobs, Box::pin(self.import_archive(&work))).await;
        if let Some(end) = ended {
            self.record(&jobs, vec![end]).await;
        }
    }

    /// Imports an archive; `None` if the service stopped before.
    async fn import_archive(&self, work: &ArchiveWork) -> Option<TryEnd> {
        let of_store = {
            let mut stores = self.store_permits.lock().unwrap_or_else(PoisonError::into_inner);
            let permits = stores.entry(work.store.clone());
            Arc::clone(permits.or_insert_with(|| Arc::new(Semaphore::new(MAX_ARCHIVES_OF_STORE))))
        };
        // First that of the store: a store that does not answer takes no other ones.
        let _of_store = of_store.acquire().await.ok()?;
        let _permit = self.archive_permits.acquire().await.ok()?;
        if self.service.stop.is_set() {
            return None;
        }
        let ArchiveWork { store, path, source } = work;
        let outcome = match self.archives.import(store, path).await {
            Ok(outcome) => outcome,
            Err(error) => return Some(TryEnd::Passing(error.to_string())),
        };
        tracing::info!(store, path, source, ?outcome, "archive");
        Some(match outcome {
            ArchiveOutcome::Imported(imported) => {
                self.service.metrics.count_packages(&format!("archive/{store}"), u64::from(imported.is_new));
                TryEnd::Done
            }
            ArchiveOutcome::Gone { .. } => TryEnd::Done,
            ArchiveOutcome::Failed { reason, is_permanent: true } => TryEnd::Permanent(reason),
            ArchiveOutcome::Failed { reason, is_permanent: false } => TryEnd::Passing(reason),
        })
    }

    /// Runs the work of claimed jobs, and renews their claims meanwhile. `None` if a claim was lost, which aborts the
    /// work, or if the work never began.
    async fn while_claimed<T>(&self, jobs: &[Job], work: impl Future<Output = Option<T>>) -> Option<T> {
        let ids: Vec<i64> = jobs.iter().map(|job| job.id).collect();
        let lost = async {
            loop {
                sleep(RENEW_INTERVAL).await;
                match self.service.index.renew_jobs(&self.service.holder, &ids, TTL).await {
                    Ok(renewed) if renewed < ids.len() as u64 => return,
                    Ok(_) => {}
                    Err(error) => tracing::warn!(%error, "claims of jobs were not renewed"),
                }
            }
        };
        tokio::select! {
            ended = work => ended,
            () = lost => {
                tracing::warn!(jobs = ids.len(), "another indexer claimed a job meanwhile: aborting its work here");
                None
            }
        }
    }

    /// Records the ends of jobs. While the database fails, the jobs stay claimed, and run again once that has expired.
    async fn record(&self, jobs: &[Job], ends: Vec<TryEnd>) {
        let mut done = Vec::new();
        for (job, end) in jobs.iter().zip(ends) {
            let verdict = self.failures.lock().unwrap_or_else(PoisonError::into_inner).judge(job, end);
            match verdict {
                Verdict::Done => done.push(job.clone()),
                Verdict::Poison { reason } => self.record_poison(job, &reason).await,
                // What was aborted did not fail. Its claim is given back.
                Verdict::Retry { .. } if self.service.network.stop.is_set() => {}
                Verdict::Retry { pause, error } => {
                    if !error.is_empty() {
                        tracing::warn!(
                            job = job.key,
                            attempts = job.attempts.saturating_add(1),
                            ?pause,
                            error,
                            "trying again"
                        );
                    }
                    let retried = self.service.index.retry_job(&self.service.holder, job, pause, &error).await;
                    self.recorded(job, JobResult::Retried, retried);
                }
            }
        }
        if let Err(error) = self.service.index.finish_jobs(&self.service.holder, &done).await {
            return tracing::error!(%error, jobs = done.len(), "the end of jobs was not recorded");
        }
        for job in &done {
            self.service.metrics.count_job(&job.kind, JobResult::Done);
        }
    }

    async fn record_poison(&self, job: &Job, reason: &str) {
        tracing::error!(job = job.key, reason, "given up: the job is kept as poison");
        let kept = self.service.index.poison_job(&self.service.holder, job, reason).await;
        self.recorded(job, JobResult::Poison, kept);
    }

    fn recorded(&self, job: &Job, result: JobResult, recorded: sql::Result<()>) {
        match recorded {
            Ok(()) => self.service.metrics.count_job(&job.kind, result),
            Err(error) => tracing::error!(%error, job = job.key, "the end of a job was not recorded"),
        }
    }
}

fn request(work: &BuildWork) -> BuildRequest {
    let reference = match &work.build {
        BuildName::Id(id) => BuildRef::Id(*id),
        BuildName::Nvr(nvr) => BuildRef::Nvr(nvr.clone()),
    };
    BuildRequest { reference, deleted_at: work.deleted_at }
}

/// `is_told_deleted`: the job says that the build was deleted.
fn end_of_build(outcome: BuildOutcome, is_told_deleted: bool) -> TryEnd {
    match outcome {
        BuildOutcome::Imported { .. } | BuildOutcome::Unchanged if is_told_deleted => TryEnd::NotYet,
        BuildOutcome::Imported { .. } | BuildOutcome::Unchanged | BuildOutcome::Deleted | BuildOutcome::Skipped(_) => {
            TryEnd::Done
        }
        BuildOutcome::Building => TryEnd::Building,
        BuildOutcome::Unknown => TryEnd::Unknown("expected a build that the hub knows, found none".to_owned()),
        BuildOutcome::Failed { reason, is_permanent: true } => TryEnd::Permanent(reason),
        BuildOutcome::Failed { reason, is_permanent: false } => TryEnd::Passing(reason),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_job_that_panics_gives_its_count_of_claims_back() {
        let claims: Arc<Claims> = Arc::default();
        let claimed = |name: &str, count| Claimed::new(&claims, Need::Koji(name.into()), count);
        let (kept, lost, other) = (claimed("a", 2), claimed("a", MAX_CLAIMED - 2), claimed("b", MAX_CLAIMED - 1));
        assert_eq!(claims.full(), ["build a ", "deleted build a "]);
        let ended = tokio::spawn(async move {
            let _claimed = lost;
            panic!("on purpose");
        });
        assert!(ended.await.unwrap_err().is_panic());
        assert!(claims.full().is_empty());
        assert_eq!(claims.lock().values().copied().collect::<Vec<_>>(), [2, MAX_CLAIMED - 1]);
        drop((kept, other));
        assert!(claims.lock().is_empty());
    }

    #[test]
    fn a_deletion_that_the_hub_does_not_show_yet_is_looked_at_again() {
        for (outcome, is_told_deleted, expected) in [
            (BuildOutcome::Unchanged, true, TryEnd::NotYet),
            (BuildOutcome::Imported { packages: 1 }, true, TryEnd::NotYet),
            (BuildOutcome::Deleted, true, TryEnd::Done),
            (BuildOutcome::Unchanged, false, TryEnd::Done),
        ] {
            assert_eq!(end_of_build(outcome, is_told_deleted), expected);
        }
    }
}
