//! Results of earlier queries, for the time while the index is unavailable.

use std::hash::Hash;
use std::sync::Arc;

use artifact::BuildId;
use moka::future::Cache;
use moka::policy::EvictionPolicy;

use super::{Records, Siblings};
use crate::config;

/// What was found, for as long as `index.stale_ttl`. Look-ups are not counted here, so entries are in the order of
/// their last query.
#[derive(Clone)]
pub(super) struct Stale {
    pub(super) records: Cache<BuildId, Arc<Records>>,
    /// By source package and base arch.
    pub(super) siblings: Cache<(String, String), Siblings>,
}

impl Stale {
    pub(super) fn new(config: &config::IndexSettings) -> Self {
        Self { records: cache(config, |records| records.count()), siblings: cache(config, |siblings| siblings.len()) }
    }

    /// Replaces the records of a build-id; an absent one has no entry.
    pub(super) async fn insert_records(&self, build_id: &BuildId, records: &Arc<Records>) {
        if records.is_absent() {
            self.records.invalidate(build_id).await;
        } else {
            self.records.insert(build_id.clone(), records.clone()).await;
        }
    }
}

/// A cache that evicts by age: the frequency of use is that of [`super::fresh`], not of this cache.
fn cache<K, V>(config: &config::IndexSettings, length: fn(&V) -> usize) -> Cache<K, V>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    let weight = move |_: &K, value: &V| u32::try_from(length(value)).unwrap_or(u32::MAX);
    Cache::builder()
        .max_capacity(config.max_entries)
        .weigher(weight)
        .eviction_policy(EvictionPolicy::lru())
        .time_to_live(config.stale_ttl)
        .build()
}
