//! The index behind a short-lived cache.
//!
//! Hits and misses are kept, each with its own lifetime; an error is never kept. Concurrent questions for one build-id make one
//! query. Queries run on the main runtime, so that a client that goes away cancels nobody else's query, and none longer than a
//! decision may take: a database that hangs must not hold requests for ever.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use artifact::BuildId;
use moka::Expiry;
use moka::future::Cache;
use sql::{Index, Record};
use tokio::runtime::Handle;

use crate::config;
use crate::metrics::METRICS;

/// All records of one build-id; empty for an absent one.
pub(crate) type Records = Arc<Vec<Record>>;

/// The index, cached.
#[derive(Clone)]
pub(crate) struct Lookup {
    index: Index,
    cache: Cache<BuildId, Records>,
    queries: Queries,
}

/// Where queries run, and how long they may.
#[derive(Clone)]
struct Queries {
    runtime: Handle,
    limit: Duration,
}

impl Lookup {
    /// Puts the cache in front of `index`; a query may take `limit`.
    pub(crate) fn new(index: Index, config: &config::Index, limit: Duration) -> Self {
        let lifetime = Lifetime { hit: config.hit_ttl, miss: config.miss_ttl };
        let cache = Cache::builder().max_capacity(config.entries).expire_after(lifetime).build();
        Self { index, cache, queries: Queries { runtime: Handle::current(), limit } }
    }

    /// Every record of one build-id.
    pub(crate) async fn records(&self, build_id: &BuildId) -> Result<Records, String> {
        if let Some(records) = self.cache.get(build_id).await {
            METRICS.index_lookups.with_label_values(&["memory"]).inc();
            return Ok(records);
        }
        let (index, wanted, queries) = (self.index.clone(), build_id.clone(), self.queries.clone());
        let query = async move {
            let records = count(1, queries.run(async move { index.records(&[wanted]).await }).await)?;
            Ok(Arc::new(records))
        };
        self.cache.try_get_with_by_ref(build_id, query).await.map_err(|error: Arc<String>| error.to_string())
    }

    /// Every record of several build-ids, rows once, ordered by package (its number in the index), place in the package and build-id.
    pub(crate) async fn records_of_all(&self, build_ids: &[BuildId]) -> Result<Vec<Record>, String> {
        let mut found: Vec<Record> = Vec::new();
        let mut missing: HashMap<BuildId, Vec<Record>> = HashMap::new();
        let build_ids: BTreeSet<&BuildId> = build_ids.iter().collect();
        for build_id in build_ids {
            match self.cache.get(build_id).await {
                Some(records) => {
                    METRICS.index_lookups.with_label_values(&["memory"]).inc();
                    found.extend(records.iter().cloned());
                }
                None => drop(missing.insert(build_id.clone(), Vec::new())),
            }
        }
        if !missing.is_empty() {
            let (index, wanted) = (self.index.clone(), missing.keys().cloned().collect::<Vec<_>>());
            let queried = self.queries.run(async move { index.records(&wanted).await }).await;
            for record in count(missing.len(), queried)? {
                if let Some(records) = missing.get_mut(&record.artifact.build_id) {
                    records.push(record);
                }
            }
            for (build_id, records) in missing {
                found.extend(records.iter().cloned());
                self.cache.insert(build_id, Arc::new(records)).await;
            }
        }
        found.sort_by(|a, b| place(a).cmp(&place(b)));
        found.dedup_by(|a, b| place(a) == place(b));
        Ok(found)
    }

    /// Runs another query of the index.
    pub(crate) async fn query<T, F>(&self, query: impl FnOnce(Index) -> F) -> Result<T, String>
    where
        T: Send + 'static,
        F: Future<Output = sql::Result<T>> + Send + 'static,
    {
        self.queries.run(query(self.index.clone())).await
    }
}

/// Where a row of the JSON API stands: a file that has both kinds is one row.
pub(crate) fn place(record: &Record) -> (i64, u32, &BuildId) {
    (record.package.id, record.artifact.ordinal, &record.artifact.build_id)
}

impl Queries {
    /// Runs a query, timed.
    async fn run<T, F>(&self, query: F) -> Result<T, String>
    where
        T: Send + 'static,
        F: Future<Output = sql::Result<T>> + Send + 'static,
    {
        let started = Instant::now();
        let result = self.runtime.spawn(tokio::time::timeout(self.limit, query)).await;
        METRICS.index_seconds.observe(started.elapsed().as_secs_f64());
        match result {
            Ok(Ok(Ok(value))) => Ok(value),
            Ok(Ok(Err(error))) => Err(format!("index: {error}")),
            Ok(Err(_)) => Err(format!("index: expected an answer within {:?}, found none", self.limit)),
            Err(error) => Err(format!("index: the query ended early: {error}")),
        }
    }
}

/// Counts the build-ids that the database was asked for, and whether it answered.
fn count<T>(build_ids: usize, queried: Result<T, String>) -> Result<T, String> {
    let answer = if queried.is_ok() { "database" } else { "error" };
    METRICS.index_lookups.with_label_values(&[answer]).inc_by(build_ids as u64);
    queried
}

/// Hits and misses live differently long.
struct Lifetime {
    hit: Duration,
    miss: Duration,
}

impl Expiry<BuildId, Records> for Lifetime {
    fn expire_after_create(&self, _: &BuildId, records: &Records, _: Instant) -> Option<Duration> {
        Some(if records.is_empty() { self.miss } else { self.hit })
    }

    fn expire_after_update(&self, _: &BuildId, records: &Records, _: Instant, _: Option<Duration>) -> Option<Duration> {
        Some(if records.is_empty() { self.miss } else { self.hit })
    }
}
