//! Results of queries while they are fresh: until their lifetime ends or a change of the index names their build-id.

use std::sync::Arc;
use std::time::{Duration, Instant};

use artifact::BuildId;
use foldhash::fast::RandomState;
use moka::Expiry;
use moka::future::Cache;

use super::{Invalidation, Records};
use crate::config;

/// Records of found and absent build-ids, each kind with its own lifetime.
#[derive(Clone)]
pub(super) struct Fresh {
    cache: Cache<BuildId, Timed, RandomState>,
    invalidation: Invalidation,
    absent_ttl: Duration,
}

#[derive(Clone)]
struct Timed {
    records: Arc<Records>,
    /// When their query began ([`Invalidation::now`]).
    queried: u64,
}

impl Fresh {
    pub(super) fn new(config: &config::IndexSettings, invalidation: Invalidation) -> Self {
        let lifetime = Lifetime { found: config.found_ttl, absent: config.absent_ttl };
        let cache = Cache::builder()
            .max_capacity(config.max_entries)
            .expire_after(lifetime)
            .build_with_hasher(RandomState::default());
        Self { cache, invalidation, absent_ttl: config.absent_ttl }
    }

    /// The time to pass to [`Self::insert`], taken before the query.
    pub(super) fn now(&self) -> u64 {
        self.invalidation.now()
    }

    /// Returns the records of a build-id, if they are still fresh.
    pub(super) async fn get(&self, build_id: &BuildId) -> Option<Arc<Records>> {
        let Timed { records, queried } = self.cache.get(build_id).await?;
        self.invalidation.is_valid(build_id, queried, self.absent_ttl).then_some(records)
    }

    /// Inserts the result of a query that began at `queried`.
    pub(super) async fn insert(&self, build_id: &BuildId, records: Arc<Records>, queried: u64) {
        self.cache.insert(build_id.clone(), Timed { records, queried }).await;
    }
}

/// The lifetimes of found and absent build-ids.
struct Lifetime {
    found: Duration,
    absent: Duration,
}

impl Lifetime {
    fn of(&self, timed: &Timed) -> Option<Duration> {
        Some(if timed.records.is_absent() { self.absent } else { self.found })
    }
}

impl Expiry<BuildId, Timed> for Lifetime {
    fn expire_after_create(&self, _: &BuildId, timed: &Timed, _: Instant) -> Option<Duration> {
        self.of(timed)
    }

    fn expire_after_update(&self, _: &BuildId, timed: &Timed, _: Instant, _: Option<Duration>) -> Option<Duration> {
        self.of(timed)
    }
}
