//! Queries of the index: on the main runtime, with a time limit, observed by the watch and the metrics.

use std::error::Error;
use std::iter;
use std::time::{Duration, Instant};

use tokio::runtime::Handle;

use crate::index::watch::Watch;
use crate::metrics::METRICS;
use crate::resolve::outcome::{Cause, CauseKind};

/// The runtime of queries, and their time limit.
#[derive(Clone)]
pub(super) struct Queries {
    pub(super) runtime: Handle,
    pub(super) timeout: Duration,
    pub(super) watch: Watch,
}

impl Queries {
    /// Runs a query on the main runtime, so that it goes on when the client disconnects.
    pub(super) async fn spawn<T, F>(&self, query: F) -> Result<T, Cause>
    where
        T: Send + 'static,
        F: Future<Output = sql::Result<T>> + Send + 'static,
    {
        let this = self.clone();
        let result = self.runtime.spawn(async move { this.run(query).await }).await;
        result.unwrap_or_else(|error| Err(ended_early(&error.to_string())))
    }

    /// Runs a query on the current runtime.
    pub(super) async fn run<T>(&self, query: impl Future<Output = sql::Result<T>>) -> Result<T, Cause> {
        let (started, began) = (Instant::now(), self.watch.begin_query());
        let result = within(self.timeout, query).await;
        METRICS.index_query_duration.observe(started.elapsed().as_secs_f64());
        match &result {
            Ok(_) => self.watch.record_success(),
            Err(_) => self.watch.record_failure(began),
        }
        result
    }
}

/// Runs `query` for at most `timeout`.
pub(in crate::index) async fn within<T>(
    timeout: Duration,
    query: impl Future<Output = sql::Result<T>>,
) -> Result<T, Cause> {
    match tokio::time::timeout(timeout, query).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(cause(&error)),
        Err(_) => {
            let text = format!("index: expected an answer within {timeout:?}, found none");
            Err(Cause::index(CauseKind::Timeout, text))
        }
    }
}

/// The cause that a query failed with `error`.
pub(super) fn cause(error: &sql::Error) -> Cause {
    let kind = match error {
        sql::Error::Unreachable { .. } => CauseKind::Timeout,
        sql::Error::Schema { .. } => CauseKind::Wrong,
        error => {
            let mut sources = iter::successors(error.source(), |error: &&(dyn Error + 'static)| Error::source(*error));
            sources.find_map(|error| error.downcast_ref()).map_or(CauseKind::Refused, CauseKind::of_io)
        }
    };
    Cause::index(kind, format!("index: {error}"))
}

/// The cause that the task of a query ended without an answer.
pub(super) fn ended_early(reason: &str) -> Cause {
    Cause::index(CauseKind::Broken, format!("index: the query ended early: {reason}"))
}
