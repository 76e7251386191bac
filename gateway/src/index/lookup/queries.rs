//! Queries of the index: on the main runtime, with a time limit, observed by the watch and the metrics.

use std::time::{Duration, Instant};

use tokio::runtime::Handle;

use crate::index::watch::Watch;
use crate::metrics::METRICS;

/// The runtime of queries, and their time limit.
#[derive(Clone)]
pub(super) struct Queries {
    pub(super) runtime: Handle,
    pub(super) timeout: Duration,
    pub(super) watch: Watch,
}

impl Queries {
    /// Runs a query on the main runtime, so that it goes on when the client disconnects.
    pub(super) async fn spawn<T, F>(&self, query: F) -> Result<T, String>
    where
        T: Send + 'static,
        F: Future<Output = sql::Result<T>> + Send + 'static,
    {
        let this = self.clone();
        let result = self.runtime.spawn(async move { this.run(query).await }).await;
        result.unwrap_or_else(|error| Err(format!("index: the query ended early: {error}")))
    }

    /// Runs a query on the current runtime.
    pub(super) async fn run<T>(&self, query: impl Future<Output = sql::Result<T>>) -> Result<T, String> {
        let started = Instant::now();
        let result = within(self.timeout, query).await;
        METRICS.index_query_duration.observe(started.elapsed().as_secs_f64());
        match &result {
            Ok(_) => self.watch.record_success(),
            Err(_) => self.watch.record_failure(),
        }
        result
    }
}

/// Runs `query` for at most `timeout`.
pub(super) async fn within<T>(timeout: Duration, query: impl Future<Output = sql::Result<T>>) -> Result<T, String> {
    match tokio::time::timeout(timeout, query).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(format!("index: {error}")),
        Err(_) => Err(format!("index: expected an answer within {timeout:?}, found none")),
    }
}
