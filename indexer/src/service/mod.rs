//! The service `listen`: consumes messages, serves hooks, runs jobs, reconciles, refreshes repositories.
//!
//! Whatever tells of a new build or archive writes a job ([`crate::jobs`]) and answers once the job's transaction is
//! committed. The parts run beside each other and share a [`Service`]:
//! - [`http`]: the listener for [`hooks`], metrics, health and readiness;
//! - [`worker`]: claims jobs and runs them; [`policy`]: what follows from their ends;
//! - [`crate::feeders::messages`]: a consumer for each queue of messages;
//! - [`refresh`], [`schedule`]: repositories, checks of places, reconcilers and sweeps, each under its [`lease`];
//! - [`database`]: whether the database can be used; [`workload`]: what it knows of jobs and lags, as [`metrics`];
//! - [`notify`]: the system manager;
//! - [`part`]: starts a part again that panicked.
//!
//! At the first signal nothing new begins, and what runs has some time to end. Claims and leases are given back then.

use std::collections::hash_map::RandomState;
use std::future::Future;
use std::hash::BuildHasher;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use sd_notify::NotifyState;
use sql::{Access, DatabaseUrl, Index};
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::feeders::messages::consumer;
use crate::fetch::network::Network;
use crate::pipeline::stop::{REPEAT_INTERVAL, Stop, wait_for_signal};
use crate::report::failure::{self, Result};
use crate::settings::service::ServiceSettings;
use database::DatabaseState;
use importers::Importers;
use metrics::ServiceMetrics;
use part::Part;
use workload::WorkloadState;

mod database;
pub(crate) mod hooks;
mod http;
mod importers;
pub(crate) mod lease;
pub(crate) mod metrics;
mod notify;
mod part;
mod policy;
mod refresh;
mod schedule;
mod worker;
mod workload;

/// Maximum time for running jobs and requests once the service stops.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(20);
/// Maximum time for what is left after that: requests to other servers are aborted, claims are given back.
const ABORT_TIMEOUT: Duration = Duration::from_secs(5);

/// What the parts of the service share.
pub(crate) struct Service {
    pub(crate) index: Index,
    pub(crate) settings: Arc<ServiceSettings>,
    /// The network of jobs. It goes on for a while after `stop` is set, so that running jobs end.
    pub(crate) network: Arc<Network>,
    pub(crate) metrics: Arc<ServiceMetrics>,
    /// Wakes the worker. To be notified after a job was committed.
    pub(crate) new_jobs: Notify,
    /// Set when the service stops: nothing new begins.
    pub(crate) stop: Stop,
    /// Name of this process in claims and leases: HOST:PID:RANDOM.
    pub(crate) holder: String,
    /// Reads without retries, for probes and metrics.
    reader: Index,
    importers: Importers,
    is_sqlite: bool,
    database: DatabaseState,
    workload: WorkloadState,
    runtime: Handle,
}

impl Service {
    /// Runs work that uses the index or the network on the process's runtime. Handlers of HTTP requests must do so:
    /// connections of a pool belong to the runtime that opened them, and theirs ends first.
    ///
    /// # Errors
    /// If the work panicked.
    pub(crate) async fn run_shared<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> anyhow::Result<T> {
        Ok(self.runtime.spawn(work).await?)
    }

    /// Returns the reason if the service is not ready: it stops, or the database cannot be used.
    pub(crate) fn unready(&self) -> Option<String> {
        if self.stop.is_set() {
            return Some("stopping".to_owned());
        }
        match self.database.get() {
            Some(Ok(())) => None,
            Some(Err(reason)) => Some(reason),
            None => Some("starting: the database was not probed yet".to_owned()),
        }
    }

    /// Returns a line about the state for people.
    fn status_line(&self) -> String {
        match self.unready() {
            Some(reason) => format!("not ready: {reason}"),
            None => self.metrics.status_line(),
        }
    }
}

/// Runs the service until SIGINT or SIGTERM. A second signal ends the process at once.
///
/// # Errors
/// If the listener cannot be bound.
pub(crate) async fn run(index: Index, database: &DatabaseUrl, settings: ServiceSettings) -> Result<ExitCode> {
    let abort = Stop::default();
    let repositories = &settings.repositories;
    let network = Network::new(repositories.contact.as_deref(), repositories.limits, abort.clone());
    let service = Arc::new(Service {
        importers: Importers::new(&settings.koji),
        index,
        network,
        settings: Arc::new(settings),
        metrics: Arc::new(ServiceMetrics::new()),
        new_jobs: Notify::new(),
        stop: Stop::default(),
        holder: lease::new_holder(),
        reader: Index::open(database, Access::ReadOnly)?,
        is_sqlite: database.is_sqlite(),
        database: DatabaseState::default(),
        workload: WorkloadState::default(),
        runtime: Handle::current(),
    });
    let server = http::start(&service)?;
    let handle = server.handle();
    let mut parts = JoinSet::new();
    parts.spawn(async move {
        if let Err(error) = server.await {
            tracing::error!(%error, "the HTTP listener failed");
        }
    });
    tokio::spawn(notify::run(Arc::clone(&service)));
    tokio::spawn({
        let service = Arc::clone(&service);
        async move { database::watch(&service).await }
    });
    parts.spawn(run_parts(Arc::clone(&service)));
    notify::notify(NotifyState::Ready);

    let signal = wait_for_signal().await;
    tracing::info!(signal, "stopping: running jobs and requests have {} s", SHUTDOWN_TIMEOUT.as_secs());
    notify::notify(NotifyState::Stopping);
    tokio::spawn(end_at_second_signal());
    service.stop.set();
    tokio::spawn(handle.stop(true));
    let mut is_whole = ends_within(&mut parts, SHUTDOWN_TIMEOUT).await;
    abort.set();
    if !is_whole {
        tracing::warn!("aborting jobs and requests that still run; others take them over");
        is_whole = ends_within(&mut parts, ABORT_TIMEOUT).await;
    }
    parts.abort_all();
    match timeout(ABORT_TIMEOUT, service.index.release_jobs(&service.holder)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(%error, "claims of jobs were not given back; they expire"),
        Err(_) => tracing::warn!("claims of jobs were not given back in time; they expire"),
    }
    service.index.checkpoint().await;
    tracing::info!(is_whole, "stopped");
    Ok(ExitCode::SUCCESS)
}

/// Runs everything that needs the database, once it can be used.
async fn run_parts(service: Arc<Service>) {
    if !database::prepare(&service).await {
        return;
    }
    give_back_claims_of_dead(&service).await;
    let mut parts = JoinSet::new();
    let mut start = |name: String, part: Box<dyn Fn(Arc<Service>) -> Part + Send>| {
        parts.spawn(part::keep_running(Arc::clone(&service), name, part));
    };
    start("worker".to_owned(), Box::new(|service| Box::pin(worker::run(service))));
    start("uploads".to_owned(), Box::new(|service| Box::pin(hooks::recover_uploads(service))));
    for instance in &service.settings.koji {
        let (reconciled, swept) = (Arc::clone(instance), Arc::clone(instance));
        let name = format!("reconcile/{}", instance.name);
        start(name, Box::new(move |service| Box::pin(schedule::run_reconciler(service, Arc::clone(&reconciled)))));
        let name = format!("sweep/{}", instance.name);
        start(name, Box::new(move |service| Box::pin(schedule::run_sweep(service, Arc::clone(&swept)))));
    }
    for queue in &service.settings.queues {
        let (name, queue) = (format!("messages/{}", queue.name), queue.clone());
        start(name, Box::new(move |service| Box::pin(consumer::run(service, queue.clone()))));
    }
    let is_first_refresh_done = Stop::default();
    let is_done = is_first_refresh_done.clone();
    start("repositories".to_owned(), Box::new(move |service| Box::pin(refresh::run(service, is_done.clone()))));
    let is_done = is_first_refresh_done;
    start("checks".to_owned(), Box::new(move |service| Box::pin(refresh::run_checks(service, is_done.clone()))));
    while let Some(ended) = parts.join_next().await {
        if let Err(error) = ended {
            tracing::error!(%error, "a part of the service failed");
        }
    }
}

/// Gives back the claims of processes of this machine that ended without doing so: a restarted service goes on at once.
async fn give_back_claims_of_dead(service: &Service) {
    let given_back = async {
        for holder in service.index.job_holders().await? {
            if lease::is_dead(&holder) {
                tracing::info!(holder, "giving back the jobs of a process that ended");
                service.index.release_jobs(&holder).await?;
            }
        }
        Ok::<(), sql::Error>(())
    };
    if let Err(error) = given_back.await {
        tracing::warn!(%error, "claims of processes that ended were not given back; they expire");
    }
}

/// Waits until all tasks have ended. `false` if that takes longer.
async fn ends_within(tasks: &mut JoinSet<()>, time: Duration) -> bool {
    let ended = async {
        while let Some(ended) = tasks.join_next().await {
            if let Err(error) = ended {
                tracing::error!(%error, "a part of the service failed");
            }
        }
    };
    timeout(time, ended).await.is_ok()
}

async fn end_at_second_signal() {
    sleep(REPEAT_INTERVAL).await;
    let signal = wait_for_signal().await;
    tracing::warn!(signal, "stopping at once: another signal came");
    std::process::exit(failure::INTERRUPTED.into());
}

/// Returns a time that is up to a tenth longer, so that several indexers do not ask at once.
fn jittered(time: Duration) -> Duration {
    let random = RandomState::new().hash_one(time) % 1000;
    time.saturating_add(time / 10_000 * u32::try_from(random).unwrap_or_default())
}
