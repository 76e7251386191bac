//! Cached reads of the index.
//!
//! - The filter answers for most absent build-ids without a query ([`crate::index::filter`]), while the index is
//!   healthy.
//! - Results of queries are fresh for a short time ([`fresh`]), until a change names their build-id ([`invalidation`]).
//!   An error is never cached.
//! - What was found is stored for longer ([`stale`]), and is the answer while the index is unavailable
//!   ([`Known::unavailable`]). What is absent from it is unknown then.
//! - Concurrent look-ups share queries ([`batches`]). Queries run on the main runtime with a time limit ([`queries`]).

mod batches;
mod fresh;
mod invalidation;
mod queries;
mod records;
mod stale;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use artifact::{BuildId, arch};
use sql::{Index, PathMatches, PathQuery, Record, StoredPackage};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;

use crate::config;
use crate::index::filter::{Filter, Follower, Verdict};
use crate::index::watch::Watch;
use crate::metrics::METRICS;
use crate::resolve::deadline::Deadline;
use crate::resolve::outcome::{Cause, CauseKind};
use batches::Batches;
use fresh::Fresh;
pub(crate) use invalidation::Invalidation;
use queries::Queries;
pub(super) use queries::within;
pub(crate) use records::Records;
use stale::Stale;

/// The packages built from one source package for one family of archs.
pub(crate) type Siblings = Arc<Vec<Arc<StoredPackage>>>;

/// Maximum number of concurrent queries by path: they may read many rows.
const MAX_PATH_QUERIES: usize = 2;

/// The index with its caches. Cheap to clone: clones share their state.
#[derive(Clone)]
pub(crate) struct Lookup {
    index: Index,
    filter: Filter,
    /// The records of every absent build-id.
    no_records: Arc<Records>,
    fresh: Fresh,
    stale: Stale,
    batches: Batches,
    queries: Queries,
    path_permits: Arc<Semaphore>,
    pub(crate) watch: Watch,
}

/// A result of the index: a current one, or a stale one while the index is unavailable.
pub(crate) struct Known<T> {
    pub(crate) value: T,
    /// The reason why the index is unavailable. Then `value` is stale, and whatever it lacks is unknown.
    pub(crate) unavailable: Option<Cause>,
}

impl<T> Known<T> {
    fn current(value: T) -> Self {
        Self { value, unavailable: None }
    }

    /// A stale value, or the error where there is none.
    fn stale(value: Option<T>, cause: Cause) -> Result<Self, Cause> {
        match value {
            Some(value) => Ok(Self { value, unavailable: Some(cause) }),
            None => Err(cause),
        }
    }
}

impl Lookup {
    /// Puts filter and caches in front of `index`, and begins to watch it. A query may take `query_timeout`. The filter
    /// is stored in `directory`.
    pub(crate) fn new(index: Index, config: &config::IndexSettings, query_timeout: Duration, directory: &Path) -> Self {
        let (watch, runtime) = (Watch::default(), Handle::current());
        let probed = index.clone();
        watch.start(&runtime, move || {
            let index = probed.clone();
            async move { within(query_timeout, Box::pin(probe(index))).await }
        });
        let queries = Queries { runtime: runtime.clone(), timeout: query_timeout, watch: watch.clone() };
        let (batched, batch_queries) = (index.clone(), queries.clone());
        let batches = Batches::new(&runtime, move |build_ids| {
            let (index, queries) = (batched.clone(), batch_queries.clone());
            async move { queries.run(Box::pin(async move { index.records_by_build_id(&build_ids).await })).await }
        });
        let (filter, invalidation) = (Filter::off(), Invalidation::new());
        let fresh = Fresh::new(config, invalidation.clone());
        let follower = Follower::new(filter.clone(), invalidation, index.clone(), watch.clone(), query_timeout);
        runtime.spawn(if config.filter { follower.with_filter(directory).run() } else { follower.run() });
        Self {
            index,
            filter,
            no_records: Arc::default(),
            fresh,
            stale: Stale::new(config),
            batches,
            queries,
            path_permits: Arc::new(Semaphore::new(MAX_PATH_QUERIES)),
            watch,
        }
    }

    /// Returns every record of one build-id; waits for the index until `until`.
    ///
    /// # Errors
    /// If the index could not be queried, and there is no stale result.
    pub(crate) async fn records(&self, build_id: &BuildId, until: Instant) -> Result<Known<Arc<Records>>, Cause> {
        match self.check_filter(build_id) {
            Verdict::Absent => Ok(Known::current(self.no_records.clone())),
            verdict => Box::pin(self.records_past_filter(verdict, build_id, until)).await,
        }
    }

    /// Returns every record of a build-id for which the filter had another `verdict` than absent.
    ///
    /// # Errors
    /// As [`Self::records`].
    pub(crate) async fn records_past_filter(
        &self,
        verdict: Verdict,
        build_id: &BuildId,
        until: Instant,
    ) -> Result<Known<Arc<Records>>, Cause> {
        match self.fresh.get(build_id).await {
            Some(records) => {
                count("cache");
                Ok(Known::current(records))
            }
            None => Box::pin(self.query_records(verdict, build_id, until)).await,
        }
    }

    async fn query_records(
        &self,
        verdict: Verdict,
        build_id: &BuildId,
        until: Instant,
    ) -> Result<Known<Arc<Records>>, Cause> {
        let queried = self.fresh.now();
        match self.wait_for(until, self.batches.records(build_id)).await {
            Ok(records) => {
                count("database");
                if verdict == Verdict::Maybe && records.is_absent() {
                    METRICS.filter_false_positives.inc();
                }
                self.stale.insert_records(build_id, &records).await;
                self.fresh.insert(build_id, records.clone(), queried).await;
                Ok(Known::current(records))
            }
            Err(cause) => {
                let stale = self.stale.records.get(build_id).await;
                count(if stale.is_some() { "stale" } else { "error" });
                Known::stale(stale, cause)
            }
        }
    }

    /// Returns the verdict of the filter: unavailable unless the index is healthy, since the filter proves absence only
    /// then.
    pub(crate) fn check_filter(&self, build_id: &BuildId) -> Verdict {
        if self.watch.is_healthy() { self.filter.check(build_id) } else { Verdict::Unavailable }
    }

    /// Returns every record and claim of several build-ids, records ordered by [`row_order`].
    ///
    /// # Errors
    /// If the index could not be queried, and there is no stale result of one of them.
    pub(crate) async fn records_of_all(&self, build_ids: &[BuildId], until: Instant) -> Result<sql::Records, Cause> {
        let build_ids: BTreeSet<&BuildId> = build_ids.iter().collect();
        let lookups = build_ids.into_iter().map(|build_id| self.records(build_id, until));
        let mut found = sql::Records::default();
        for known in futures::future::join_all(lookups).await {
            let known = known?.value;
            found.records.extend(known.iter().cloned());
            found.claims.extend(known.claims.iter().cloned());
        }
        found.records.sort_by(|a, b| row_order(a).cmp(&row_order(b)));
        Ok(found)
    }

    /// Returns the packages that were built from one source package for `arch` or another arch of its family, ordered
    /// by id.
    ///
    /// # Errors
    /// If the index could not be queried until `until`, and there is no stale result.
    pub(crate) async fn siblings(
        &self,
        source_rpm: &str,
        arch: &str,
        until: Instant,
    ) -> Result<Known<Siblings>, Cause> {
        let key = (source_rpm.to_owned(), arch::base(arch).to_owned());
        let (index, (source_rpm, base)) = (self.index.clone(), key.clone());
        let query = self
            .queries
            .spawn(Box::pin(async move { index.packages_by_source(&source_rpm, &arch::family(&base)).await }));
        match self.wait_for(until, query).await {
            Ok(siblings) => {
                let siblings: Siblings = Arc::new(siblings.into_iter().map(Arc::new).collect());
                self.stale.siblings.insert(key, siblings.clone()).await;
                Ok(Known::current(siblings))
            }
            Err(cause) => Known::stale(self.stale.siblings.get(&key).await, cause),
        }
    }

    /// Returns up to `max_results` artifacts at some paths. They are not cached: the same paths are rarely asked for
    /// again.
    ///
    /// # Errors
    /// If the index could not be queried, or no permit was free until `deadline`.
    pub(crate) async fn records_at(
        &self,
        paths: PathQuery,
        max_results: usize,
        deadline: Deadline,
    ) -> Result<PathMatches, Cause> {
        if let Some(cause) = self.watch.unavailable() {
            return Err(cause);
        }
        let permit = tokio::time::timeout_at(deadline.end().into(), self.path_permits.clone().acquire_owned()).await;
        let Ok(Ok(permit)) = permit else {
            let text = "index: expected one of the permits for queries by path within the budget, found none";
            return Err(Cause::index(CauseKind::Timeout, text));
        };
        // Rows found by then are an answer.
        let enough = deadline.of_rows().end();
        let queries = Queries { timeout: deadline.remaining(), ..self.queries.clone() };
        let index = self.index.clone();
        let query = async move {
            let found = index.records_by_path(&paths, max_results, enough).await;
            drop(permit);
            found
        };
        queries.spawn(query).await
    }

    /// Runs another query of the index.
    ///
    /// # Errors
    /// If the index could not be queried; at once while it is unavailable.
    pub(crate) async fn query<T, F>(&self, query: impl FnOnce(Index) -> F) -> Result<T, Cause>
    where
        T: Send + 'static,
        F: Future<Output = sql::Result<T>> + Send + 'static,
    {
        match self.watch.unavailable() {
            Some(cause) => Err(cause),
            None => self.queries.spawn(query(self.index.clone())).await,
        }
    }

    /// Returns `Ok(Ok)` if this program can read the schema, `Ok(Err)` with the reason if it cannot. Runs even while
    /// the index is unavailable.
    ///
    /// # Errors
    /// If the index could not be queried.
    pub(crate) async fn check_schema(&self) -> Result<Result<(), String>, Cause> {
        let index = self.index.clone();
        let check = async move {
            match index.check_readable().await {
                Err(error @ sql::Error::Schema { .. }) => Ok(Err(format!("index: {error}"))),
                other => other.map(Ok),
            }
        };
        // Not recorded in the watch: an index without tables answers this query alone.
        let timeout = self.queries.timeout;
        let checked = self.queries.runtime.spawn(async move { Box::pin(queries::within(timeout, check)).await }).await;
        let checked = checked.unwrap_or_else(|error| Err(queries::ended_early(&error.to_string())));
        if let Ok(readable) = &checked {
            self.watch.set_readable(readable.clone());
        }
        checked
    }

    /// Logs why a request got no answer: at debug while the log already states that the index is unavailable.
    pub(crate) fn log_unavailable(&self, cause: &Cause) {
        match self.watch.unavailable() {
            Some(_) => tracing::debug!(cause = cause.text, "an answer is unavailable"),
            None => tracing::warn!(cause = cause.text, "an answer is unavailable"),
        }
    }

    /// True if there are stale records for the time while the index is unavailable.
    pub(crate) async fn has_stale(&self) -> bool {
        // Counts new entries, and removes expired ones.
        self.stale.records.run_pending_tasks().await;
        self.stale.records.entry_count() > 0
    }

    /// Returns the result of `query`, or an error if the index is unavailable or does not answer until `until`.
    async fn wait_for<T>(&self, until: Instant, query: impl Future<Output = Result<T, Cause>>) -> Result<T, Cause> {
        if let Some(cause) = self.watch.unavailable() {
            return Err(cause);
        }
        let began = self.watch.begin_query();
        tokio::time::timeout_at(until.into(), query).await.unwrap_or_else(|_| {
            self.watch.record_failure(began);
            let text =
                format!("index: {}: expected an answer within the budget, found none", self.index.redacted_url());
            Err(Cause::index(CauseKind::Timeout, text))
        })
    }
}

/// The query of every look-up, for a build-id that no file has.
async fn probe(index: Index) -> sql::Result<()> {
    let build_ids: Vec<BuildId> = BuildId::from_bytes(&[0; 20]).into_iter().collect();
    match index.records_by_build_id(&build_ids).await {
        Ok(_) => Ok(()),
        // Where tables are missing, the error of the schema states what to do.
        Err(error) => match index.check_readable().await {
            Err(schema @ sql::Error::Schema { .. }) => Err(schema),
            _ => Err(error),
        },
    }
}

/// The order of rows in the JSON API: by package, ordinal and build-id. A file that has both kinds is one row.
pub(crate) fn row_order(record: &Record) -> (i64, u32, &BuildId) {
    (record.package.id, record.artifact.ordinal, &record.artifact.build_id)
}

/// Counts a look-up of a build-id by its result.
fn count(result: &str) {
    METRICS.index_lookups.with_label_values(&[result]).inc();
}
