//! What the database knows of jobs and of the lag of each source, as metrics.
//!
//! A scrape waits for the database for some milliseconds at most: if it takes longer, the values of the last answer are
//! rendered, and those of this one by the next scrape.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use sql::Workload;
use tokio::sync::Notify;
use tokio::time::timeout;

use super::Service;
use super::metrics::JobCounts;

/// Age at which values are read again.
const MAX_AGE: Duration = Duration::from_secs(5);
/// The same of values whose query reads many rows.
const MAX_SLOW_AGE: Duration = Duration::from_secs(60);
/// Maximum time that a scrape waits for the database.
const SCRAPE_TIMEOUT: Duration = Duration::from_millis(25);
/// Maximum time of a query.
const QUERY_TIMEOUT: Duration = Duration::from_secs(10);

/// When values were read.
pub(super) struct WorkloadState {
    /// When this process began.
    started: Instant,
    is_updating: AtomicBool,
    updated: Notify,
    times: Mutex<Times>,
}

#[derive(Clone, Copy, Default)]
struct Times {
    read: Option<Instant>,
    slow_read: Option<Instant>,
}

impl Default for WorkloadState {
    fn default() -> Self {
        let (is_updating, updated, times) = (AtomicBool::default(), Notify::default(), Mutex::default());
        Self { started: Instant::now(), is_updating, updated, times }
    }
}

impl WorkloadState {
    fn times(&self) -> Times {
        *self.times.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Updates the metrics, unless they were updated a moment ago. Waits for [`SCRAPE_TIMEOUT`] at most.
pub(super) async fn update(service: &Arc<Service>) {
    let state = &service.workload;
    for importer in service.importers.made() {
        let (name, hub) = (&importer.instance.name, &importer.hub);
        service.metrics.set_hub_requests(name, hub.calls(), hub.failures());
    }
    if is_recent(state.times().read, MAX_AGE) {
        return;
    }
    let updated = state.updated.notified();
    tokio::pin!(updated);
    updated.as_mut().enable();
    if !state.is_updating.swap(true, Ordering::AcqRel) {
        let service = Arc::clone(service);
        service.runtime.clone().spawn(async move {
            read(&service).await;
            service.workload.is_updating.store(false, Ordering::Release);
            service.workload.updated.notify_waiters();
        });
    }
    // Otherwise the last values are rendered.
    let _ = timeout(SCRAPE_TIMEOUT, updated).await;
}

fn is_recent(read: Option<Instant>, max_age: Duration) -> bool {
    read.is_some_and(|read| read.elapsed() < max_age)
}

/// Reads the values. While the database is down they stay as they were: `indexer_database_up` states that.
async fn read(service: &Service) {
    let state = &service.workload;
    if let Ok(Ok(workload)) = timeout(QUERY_TIMEOUT, service.reader.workload()).await {
        record(service, &workload);
        state.times.lock().unwrap_or_else(PoisonError::into_inner).read = Some(Instant::now());
        state.updated.notify_waiters();
    }
    if service.settings.koji.is_empty() || is_recent(state.times().slow_read, MAX_SLOW_AGE) {
        return;
    }
    if let Ok(Ok(ages)) = timeout(QUERY_TIMEOUT, service.reader.oldest_checks()).await {
        for age in ages.iter().filter(|age| service.settings.koji.iter().any(|koji| koji.name == age.name)) {
            service.metrics.set_lag(&format!("sweep/{}", age.name), age.age.as_secs_f64());
        }
        state.times.lock().unwrap_or_else(PoisonError::into_inner).slow_read = Some(Instant::now());
    }
}

/// Sets the metrics. Sources that the configuration does not name are left out.
fn record(service: &Service, workload: &Workload) {
    let (metrics, settings) = (&service.metrics, &service.settings);
    metrics.set_jobs(JobCounts { due: workload.due, waiting: workload.waiting, running: workload.running });
    metrics.set_poison(workload.poison);
    metrics.set_lag("jobs", workload.oldest_due.unwrap_or_default().as_secs_f64());
    for koji in &settings.koji {
        let cursor = reconcile_cursor(&koji.name);
        // A hub that never answered has no cursor.
        let reconciled = workload.cursors.iter().find(|age| age.name == cursor).map(|age| age.age);
        let lag = reconciled.unwrap_or_else(|| service.workload.started.elapsed());
        metrics.set_lag(&format!("koji/{}", koji.name), lag.as_secs_f64());
    }
    for repository in &settings.repositories.repositories {
        if let Some(age) = workload.repositories.iter().find(|age| age.name == repository.name) {
            metrics.set_lag(&format!("repository/{}", repository.name), age.age.as_secs_f64());
        }
    }
}

/// Returns the name of the cursor that a reconciliation stores.
pub(crate) fn reconcile_cursor(instance: &str) -> String {
    format!("koji completed {instance}")
}
