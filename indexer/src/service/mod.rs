//! The service `listen`: consumes messages, serves hooks, runs jobs, reconciles, refreshes repositories.
//!
//! Whatever tells of a new build or archive writes a job ([`crate::jobs`]) and answers once the job's transaction is
//! committed. The parts:
//! - [`http`]: the listener for hooks, metrics, health and readiness;
//! - [`hooks`]: requests that tell of builds and archives, and uploads;
//! - [`metrics`]: counters of this process; what the database knows is read when metrics are.

use std::fs;
use std::future::Future;
use std::process::{self, ExitCode};
use std::sync::Arc;

use sql::Index;
use tokio::runtime::Handle;
use tokio::sync::Notify;

use crate::fetch::network::Network;
use crate::pipeline::stop::{Stop, wait_for_signal};
use crate::report::failure::{CommandFailure, Result};
use crate::settings::service::ServiceSettings;
use metrics::ServiceMetrics;

pub(crate) mod hooks;
mod http;
pub(crate) mod lease;
pub(crate) mod metrics;
mod policy;

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

    /// Starts such work, which nothing waits for.
    pub(crate) fn spawn_shared(&self, work: impl Future<Output = ()> + Send + 'static) {
        drop(self.runtime.spawn(work));
    }
}

/// Runs the service until SIGINT or SIGTERM.
///
/// # Errors
/// If the listener cannot be bound.
pub(crate) async fn run(index: Index, settings: ServiceSettings) -> Result<ExitCode> {
    let abort = Stop::default();
    let repositories = &settings.repositories;
    let network = Network::new(repositories.contact.as_deref(), repositories.limits, abort.clone());
    let service = Arc::new(Service {
        index,
        network,
        settings: Arc::new(settings),
        metrics: Arc::new(ServiceMetrics::new()),
        new_jobs: Notify::new(),
        stop: Stop::default(),
        holder: holder(),
        runtime: Handle::current(),
    });
    let server = http::start(&service)?;
    let handle = server.handle();
    let serving = tokio::spawn(server);
    let signal = wait_for_signal().await;
    tracing::info!(signal, "stopping");
    service.stop.set();
    handle.stop(true).await;
    serving.await.map_err(CommandFailure::local)?.map_err(CommandFailure::local)?;
    abort.set();
    Ok(ExitCode::SUCCESS)
}

/// Returns a name of this process that no other has.
fn holder() -> String {
    let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let random = std::hash::BuildHasher::hash_one(&std::collections::hash_map::RandomState::new(), process::id());
    format!("{}:{}:{random:016x}", host.trim(), process::id())
}
