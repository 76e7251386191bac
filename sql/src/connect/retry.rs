//! What is tried again, and for how long: dead connections, other writers, a database that is away.

use std::time::{Duration, Instant};

use backon::{BackoffBuilder, ExponentialBuilder};

use super::dialect;
use super::pools::MAX_READ_CONNECTIONS;
use crate::{Error, Index, Result};

/// Waiting for other writers is no news before this.
const LOG_AFTER: Duration = Duration::from_secs(4);

impl Index {
    /// The same index for somebody who waits this long for a database in trouble, unless it was opened read-only: one that is away,
    /// that gives no answer, or that other writers keep locked. A question is given up when it had no answer for this long, and
    /// no question is asked again when the outage has lasted this long, so that nothing takes more than twice the time. Waiting
    /// for a database that is away is a warning in the log, and so is its end.
    #[must_use]
    pub fn with_retry_timeout(mut self, wait: Duration) -> Self {
        self.retry_timeout = self.retry_timeout.map(|_| wait);
        self
    }

    /// Runs a query that only reads. A connection that died while it lay idle is replaced; each try uses up one of them. A
    /// database that is busy for a moment (an SQLite file just made, a Galera node changing its state) is asked again,
    /// for as long as this index has patience: then it says why.
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

    /// Runs a whole transaction, again if it lost against another writer or its connection.
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
                        tracing::warn!("{}: {doing} goes on after {:.1} s", self.name(), began.elapsed().as_secs_f32());
                    }
                    return Ok(done);
                }
                Ok(Err(source)) if dialect::is_conflict(&source) => (self.error(doing, source), false),
                Ok(Err(source)) if dialect::is_unavailable(&source) => (self.error(doing, source), true),
                Ok(Err(source)) => return Err(self.error(doing, source)),
                Err(_) => {
                    (Error::QueryTimeout { database: self.name().into(), doing, seconds: wait.as_secs_f32() }, true)
                }
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

/// What keeps a transaction or query from being done.
struct Outage {
    since: Instant,
    /// Is it in the log?
    logged: bool,
}
