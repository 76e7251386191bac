//! Retries: dead connections, conflicts with other writers, an unavailable database.

use std::time::{Duration, Instant};

use backon::{BackoffBuilder, ExponentialBuilder};

use super::dialect;
use super::pools::MAX_READ_CONNECTIONS;
use crate::{Error, Index, Result};

/// Time after which waiting for other writers is logged as a warning.
const LOG_AFTER: Duration = Duration::from_secs(4);

impl Index {
    /// Sets the retry timeout of a writer: for a database that is unavailable, does not answer, or is locked by other
    /// writers. Each try is aborted after this time, and no try starts once the outage has lasted as long, so that a
    /// call takes at most twice the time. An outage and its end are logged as warnings.
    #[must_use]
    pub fn with_retry_timeout(mut self, wait: Duration) -> Self {
        self.retry_timeout = self.retry_timeout.map(|_| wait);
        self
    }

    /// Runs a query that only reads. Dead idle connections are replaced; each try uses up one. While the database is
    /// busy for a moment (a new SQLite file, a Galera node that changes its state) the query is retried until the
    /// acquire timeout.
    pub(crate) async fn retry_query<T, F>(&self, doing: &'static str, query: impl Fn() -> F) -> Result<T>
    where
        F: Future<Output = sqlx::Result<T>>,
    {
        let ask = async || {
            let started = Instant::now();
            for _ in 0..MAX_READ_CONNECTIONS {
                match query().await {
                    Err(error) if dialect::is_connection_lost(&error) => {}
                    Err(error) if dialect::is_conflict(&error) && started.elapsed() < self.acquire_timeout => {
                        tokio::time::sleep(Duration::from_millis(50)).await;
                    }
                    result => return result,
                }
            }
            query().await
        };
        self.retry(doing, ask).await
    }

    /// Runs a transaction, again if it lost against another writer or lost its connection.
    pub(crate) async fn retry_transaction<T, F>(&self, doing: &'static str, transaction: impl Fn() -> F) -> Result<T>
    where
        F: Future<Output = sqlx::Result<T>>,
    {
        self.retry(doing, transaction).await
    }

    async fn retry<T, F>(&self, doing: &'static str, attempt: impl Fn() -> F) -> Result<T>
    where
        F: Future<Output = sqlx::Result<T>>,
    {
        let Some(wait) = self.retry_timeout else { return attempt().await.map_err(|source| self.error(doing, source)) };
        let mut pauses = ExponentialBuilder::default()
            .with_jitter()
            .with_min_delay(Duration::from_millis(10))
            .with_max_delay(Duration::from_secs(2))
            .without_max_times()
            .build();
        let began = Instant::now();
        let mut outage: Option<Outage> = None;
        loop {
            let (error, is_unavailable) = match tokio::time::timeout(wait, attempt()).await {
                Ok(Ok(done)) => {
                    if let Some(Outage { logged: true, .. }) = outage {
                        tracing::warn!(
                            "{}: {doing} succeeded after {:.1} s",
                            self.redacted_url(),
                            began.elapsed().as_secs_f32()
                        );
                    }
                    return Ok(done);
                }
                Ok(Err(source)) if dialect::is_conflict(&source) => (self.error(doing, source), false),
                Ok(Err(source)) if dialect::is_unavailable(&source) => (self.error(doing, source), true),
                Ok(Err(source)) => return Err(self.error(doing, source)),
                Err(_) => (
                    Error::QueryTimeout { database: self.redacted_url().into(), doing, seconds: wait.as_secs_f32() },
                    true,
                ),
            };
            let Outage { since, logged } = outage.get_or_insert(Outage { since: Instant::now(), logged: false });
            let lasted = since.elapsed();
            if lasted >= wait {
                return Err(Error::RetryTimeout { error: Box::new(error), seconds: lasted.as_secs_f32() });
            }
            if !*logged && (is_unavailable || began.elapsed() >= LOG_AFTER) {
                *logged = true;
                tracing::warn!("{error}; trying again for up to {} s", wait.as_secs());
            } else {
                tracing::debug!("{error}; trying again");
            }
            tokio::time::sleep(pauses.next().unwrap_or_default().min(wait.saturating_sub(lasted))).await;
        }
    }
}

/// A period in which a query or transaction fails.
struct Outage {
    since: Instant,
    /// True once it was logged.
    logged: bool,
}
