//! The index behind a filter and a short-lived cache.
//!
//! What the filter says is not in it is answered at once ([`crate::index::filter`]), unless the index may be away. Found and absent build-ids
//! are fresh for a short time, each with its own lifetime, and until a change of the index names them ([`invalidation`]); an error is
//! never remembered. What was found is kept for longer, and answers
//! when the index cannot be asked ([`Known::away`]); what is absent is unknown then. Concurrent questions share queries ([`batches`]).
//! Queries run on the main runtime, so that a client that goes away cancels nobody else's query, and none longer than a decision may
//! take: a database that hangs must not hold requests for ever.

mod batches;
mod invalidation;
mod records;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use artifact::{BuildId, arch};
use foldhash::fast::RandomState;
use moka::Expiry;
use moka::future::Cache;
use moka::policy::EvictionPolicy;
use sql::{Index, PathMatches, PathQuery, Record, StoredPackage};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;

use crate::config;
use crate::index::filter::{Filter, Follower, Said};
use crate::index::watch::Watch;
use crate::metrics::METRICS;
use batches::Batches;
pub(crate) use invalidation::Invalidation;
pub(crate) use records::Records;

/// The packages built from one source package for one family of archs.
pub(crate) type Siblings = Arc<Vec<Arc<StoredPackage>>>;

/// How a reason of the index begins.
pub(crate) const CAUSE: &str = "index: ";

/// Questions by path at once: they may read much, and must leave the index to others.
const TURNS: usize = 2;

/// The index, cached.
#[derive(Clone)]
pub(crate) struct Lookup {
    index: Index,
    filter: Filter,
    /// What is known of every absent build-id.
    nothing: Arc<Records>,
    fresh: Cache<BuildId, Fresh, RandomState>,
    /// Of `fresh`: changes of the index name build-ids.
    invalidation: Invalidation,
    miss_ttl: Duration,
    kept: Kept,
    batches: Batches,
    queries: Queries,
    /// For questions by path.
    turns: Arc<Semaphore>,
    pub(crate) watch: Watch,
}

/// Records from memory, until their lifetime ends or a change of the index names their build-id.
#[derive(Clone)]
struct Fresh {
    records: Arc<Records>,
    /// When their query began, as [`Invalidation::now`] had it.
    asked: u64,
}

/// What the index says, or what it said before it went away.
pub(crate) struct Known<T> {
    pub(crate) value: T,
    /// Why the index could not be asked. Then `value` was found earlier, and whatever is not in it is unknown.
    pub(crate) away: Option<String>,
}

/// What was found, for times when the index is away. No questions are counted here, so it is in the order of the last query.
#[derive(Clone)]
struct Kept {
    records: Cache<BuildId, Arc<Records>>,
    /// By source package and base arch.
    siblings: Cache<(String, String), Siblings>,
}

/// Where queries run, and how long they may.
#[derive(Clone)]
struct Queries {
    runtime: Handle,
    limit: Duration,
    watch: Watch,
}

impl Lookup {
    /// Puts filter and cache in front of `index`, and begins to watch it; a query may take `limit`. The filter is kept in `folder`.
    pub(crate) fn new(index: Index, config: &config::IndexSettings, limit: Duration, folder: &Path) -> Self {
        let lifetime = Lifetime { hit: config.found_ttl, miss: config.absent_ttl };
        let fresh = Cache::builder()
            .max_capacity(config.max_entries)
            .expire_after(lifetime)
            .build_with_hasher(RandomState::default());
        let (watch, runtime) = (Watch::default(), Handle::current());
        let (probed, nobodys) = (index.clone(), BuildId::from_bytes(&[0; 20]));
        watch.start(&runtime, move || {
            // The query that every question needs.
            let (index, wanted) = (probed.clone(), nobodys.iter().cloned().collect::<Vec<_>>());
            let ask = async move {
                match index.records_by_build_id(&wanted).await {
                    Ok(_) => Ok(()),
                    // Tables that are missing are a schema's: what to do about that is the better reason.
                    Err(error) => match index.check_readable().await {
                        Err(schema @ sql::Error::Schema { .. }) => Err(schema),
                        _ => Err(error),
                    },
                }
            };
            async move { timed(limit, Box::pin(ask)).await }
        });
        let queries = Queries { runtime: runtime.clone(), limit, watch: watch.clone() };
        let (asked, asking) = (index.clone(), queries.clone());
        let batches = Batches::new(&runtime, move |build_ids| {
            let (index, queries) = (asked.clone(), asking.clone());
            async move { queries.here(Box::pin(async move { index.records_by_build_id(&build_ids).await })).await }
        });
        let (filter, invalidation) = (Filter::off(), Invalidation::new());
        let follower = Follower::new(filter.clone(), invalidation.clone(), index.clone(), watch.clone(), limit);
        runtime.spawn(if config.filter { follower.filtering(folder).run() } else { follower.run() });
        Self {
            index,
            filter,
            nothing: Arc::default(),
            fresh,
            invalidation,
            miss_ttl: config.absent_ttl,
            kept: Kept::new(config),
            batches,
            queries,
            turns: Arc::new(Semaphore::new(TURNS)),
            watch,
        }
    }

    /// Every record of one build-id, asked for until `until`.
    ///
    /// # Errors
    /// The index could not be asked, and nothing is kept.
    pub(crate) async fn records(&self, build_id: &BuildId, until: Instant) -> Result<Known<Arc<Records>>, String> {
        match self.filtered(build_id) {
            Said::No => Ok(Known::fresh(self.nothing.clone())),
            said => Box::pin(self.records_beyond(said, build_id, until)).await,
        }
    }

    /// The same, when the filter did not say no.
    ///
    /// # Errors
    /// As [`Self::records`].
    pub(crate) async fn records_beyond(
        &self,
        said: Said,
        build_id: &BuildId,
        until: Instant,
    ) -> Result<Known<Arc<Records>>, String> {
        if let Some(Fresh { records, asked }) = self.fresh.get(build_id).await
            && self.invalidation.is_valid(build_id, asked, self.miss_ttl)
        {
            count("cache");
            return Ok(Known::fresh(records));
        }
        Box::pin(self.asked(said, build_id, until)).await
    }

    /// The same, of the index itself.
    async fn asked(&self, said: Said, build_id: &BuildId, until: Instant) -> Result<Known<Arc<Records>>, String> {
        let asked = self.invalidation.now();
        match self.ask(until, self.batches.records(build_id)).await {
            Ok(records) => {
                count("database");
                if said == Said::Maybe && records.is_empty() {
                    METRICS.filter_false_positives.inc();
                }
                self.kept.keep(build_id, &records).await;
                self.fresh.insert(build_id.clone(), Fresh { records: records.clone(), asked }).await;
                Ok(Known::fresh(records))
            }
            Err(cause) => {
                let kept = self.kept.records.get(build_id).await;
                count(if kept.is_some() { "stale" } else { "error" });
                kept.map(|value| Known { value, away: Some(cause.clone()) }).ok_or(cause)
            }
        }
    }

    /// What the filter says. Where the index may be away its word does not count: what cannot be asked is unknown.
    pub(crate) fn filtered(&self, build_id: &BuildId) -> Said {
        if self.watch.is_sure() { self.filter.ask(build_id) } else { Said::Nothing }
    }

    /// Every record of several build-ids, ordered by package (its number in the index), place in the package and build-id.
    ///
    /// # Errors
    /// The index could not be asked, and of one of them nothing is kept.
    pub(crate) async fn records_of_all(&self, build_ids: &[BuildId], until: Instant) -> Result<Vec<Record>, String> {
        let build_ids: BTreeSet<&BuildId> = build_ids.iter().collect();
        let asked =
            futures::future::join_all(build_ids.into_iter().map(|build_id| self.records(build_id, until))).await;
        let mut found: Vec<Record> = Vec::new();
        for known in asked {
            found.extend(known?.value.iter().cloned());
        }
        found.sort_by(|a, b| place(a).cmp(&place(b)));
        Ok(found)
    }

    /// The packages that were built from one source package for `arch` or another arch of its family, ordered by id,
    /// asked for until `until`.
    ///
    /// # Errors
    /// The index could not be asked, and nothing is kept.
    pub(crate) async fn siblings(
        &self,
        source_rpm: &str,
        arch: &str,
        until: Instant,
    ) -> Result<Known<Siblings>, String> {
        let key = (source_rpm.to_owned(), arch::base(arch).to_owned());
        let (index, (source_rpm, base)) = (self.index.clone(), key.clone());
        let query = self
            .queries
            .run(Box::pin(async move { index.packages_by_source(&source_rpm, &arch::family(&base)).await }));
        match self.ask(until, query).await {
            Ok(siblings) => {
                let siblings: Siblings = Arc::new(siblings.into_iter().map(Arc::new).collect());
                self.kept.siblings.insert(key, siblings.clone()).await;
                Ok(Known::fresh(siblings))
            }
            Err(cause) => {
                let kept = self.kept.siblings.get(&key).await;
                kept.map(|value| Known { value, away: Some(cause.clone()) }).ok_or(cause)
            }
        }
    }

    /// The artifacts at some paths, at most `most`, asked for until `until`. Not cached: rarely is the same asked for again.
    ///
    /// # Errors
    /// The index could not be asked, or others asked so much of it that there was no time left.
    pub(crate) async fn records_at(
        &self,
        paths: PathQuery,
        most: usize,
        until: Instant,
    ) -> Result<PathMatches, String> {
        if let Some(cause) = self.watch.away() {
            return Err(cause);
        }
        let Ok(Ok(turn)) = tokio::time::timeout_at(until.into(), self.turns.clone().acquire_owned()).await else {
            return Err("index: others asked for paths all the time".into());
        };
        let limit = until.saturating_duration_since(Instant::now());
        // What the index has found by then is an answer; only one that hangs needs the rest.
        let enough = Instant::now() + limit * 3 / 4;
        let (index, queries) = (self.index.clone(), Queries { limit, ..self.queries.clone() });
        let query = async move {
            let found = index.records_by_path(&paths, most, enough).await;
            drop(turn);
            found
        };
        queries.run(query).await
    }

    /// Runs another query of the index; while it is away that is an error at once.
    ///
    /// # Errors
    /// The index could not be asked.
    pub(crate) async fn query<T, F>(&self, query: impl FnOnce(Index) -> F) -> Result<T, String>
    where
        T: Send + 'static,
        F: Future<Output = sql::Result<T>> + Send + 'static,
    {
        match self.watch.away() {
            Some(cause) => Err(cause),
            None => self.queries.run(query(self.index.clone())).await,
        }
    }

    /// `Ok(Ok)` if this program can read the schema, `Ok(Err)` with the reason if it cannot. Asked even while the index is away.
    ///
    /// # Errors
    /// The index could not be asked.
    pub(crate) async fn check_schema(&self) -> Result<Result<(), String>, String> {
        let index = self.index.clone();
        let check = async move {
            match index.check_readable().await {
                Err(error @ sql::Error::Schema { .. }) => Ok(Err(format!("index: {error}"))),
                other => other.map(Ok),
            }
        };
        // No sign of life for the watch: an index whose tables are missing answers this alone.
        let limit = self.queries.limit;
        let checked = self.queries.runtime.spawn(async move { Box::pin(timed(limit, check)).await }).await;
        let checked = checked.unwrap_or_else(|error| Err(format!("index: the query ended early: {error}")));
        if let Ok(readable) = &checked {
            self.watch.set_readable(readable.clone());
        }
        checked
    }

    /// Logs why a question was not answered: at debug while the log says that the index is away.
    pub(crate) fn log_unanswered(&self, cause: &str) {
        match self.watch.away() {
            Some(_) => tracing::debug!(cause, "undecided"),
            None => tracing::warn!(cause, "undecided"),
        }
    }

    /// True if there are records that are answered while the index is away.
    pub(crate) async fn has_kept(&self) -> bool {
        // Counts what was inserted, and removes what has expired.
        self.kept.records.run_pending_tasks().await;
        self.kept.records.entry_count() > 0
    }

    /// What `query` gives, unless the index is away or takes longer.
    async fn ask<T>(&self, until: Instant, query: impl Future<Output = Result<T, String>>) -> Result<T, String> {
        if let Some(cause) = self.watch.away() {
            return Err(cause);
        }
        tokio::time::timeout_at(until.into(), query).await.unwrap_or_else(|_| {
            self.watch.suspect();
            Err(format!("index: {}: expected an answer within the budget, found none", self.index.name()))
        })
    }
}

impl<T> Known<T> {
    fn fresh(value: T) -> Self {
        Self { value, away: None }
    }
}

impl Kept {
    fn new(config: &config::IndexSettings) -> Self {
        // By age: frequency would be counted by questions, and those meet `Lookup::fresh`.
        fn cache<K, V>(config: &config::IndexSettings, length: fn(&V) -> usize) -> Cache<K, V>
        where
            K: std::hash::Hash + Eq + Send + Sync + 'static,
            V: Clone + Send + Sync + 'static,
        {
            let weight = move |_: &K, value: &V| u32::try_from(length(value)).unwrap_or(u32::MAX);
            let policy = EvictionPolicy::lru();
            Cache::builder()
                .max_capacity(config.max_entries)
                .weigher(weight)
                .eviction_policy(policy)
                .time_to_live(config.stale_ttl)
                .build()
        }
        Self { records: cache(config, |records| records.len()), siblings: cache(config, |siblings| siblings.len()) }
    }

    async fn keep(&self, build_id: &BuildId, records: &Arc<Records>) {
        if records.is_empty() {
            self.records.invalidate(build_id).await;
        } else {
            self.records.insert(build_id.clone(), records.clone()).await;
        }
    }
}

/// Where a row of the JSON API stands: a file that has both kinds is one row.
pub(crate) fn place(record: &Record) -> (i64, u32, &BuildId) {
    (record.package.id, record.artifact.ordinal, &record.artifact.build_id)
}

impl Queries {
    /// Runs a query on the main runtime.
    async fn run<T, F>(&self, query: F) -> Result<T, String>
    where
        T: Send + 'static,
        F: Future<Output = sql::Result<T>> + Send + 'static,
    {
        let this = self.clone();
        let result = self.runtime.spawn(async move { this.here(query).await }).await;
        result.unwrap_or_else(|error| Err(format!("index: the query ended early: {error}")))
    }

    /// Runs a query, timed.
    async fn here<T>(&self, query: impl Future<Output = sql::Result<T>>) -> Result<T, String> {
        let started = Instant::now();
        let result = timed(self.limit, query).await;
        METRICS.index_query_duration.observe(started.elapsed().as_secs_f64());
        match &result {
            Ok(_) => self.watch.answered(),
            Err(_) => self.watch.suspect(),
        }
        result
    }
}

/// What `query` gives within `limit`.
async fn timed<T>(limit: Duration, query: impl Future<Output = sql::Result<T>>) -> Result<T, String> {
    match tokio::time::timeout(limit, query).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(format!("index: {error}")),
        Err(_) => Err(format!("index: expected an answer within {limit:?}, found none")),
    }
}

/// Counts a build-id by who answered for it.
fn count(answer: &str) {
    METRICS.index_lookups.with_label_values(&[answer]).inc();
}

/// Found and absent build-ids live differently long.
struct Lifetime {
    hit: Duration,
    miss: Duration,
}

impl Expiry<BuildId, Fresh> for Lifetime {
    fn expire_after_create(&self, _: &BuildId, fresh: &Fresh, _: Instant) -> Option<Duration> {
        Some(if fresh.records.is_empty() { self.miss } else { self.hit })
    }

    fn expire_after_update(&self, _: &BuildId, fresh: &Fresh, _: Instant, _: Option<Duration>) -> Option<Duration> {
        Some(if fresh.records.is_empty() { self.miss } else { self.hit })
    }
}
