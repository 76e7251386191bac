//! Readiness of the gateway, from the results of background probes.
//!
//! Each component has a probe of its own: the index ([`crate::index::watch`]), its schema, the cache directory, and
//! each upstream ([`crate::providers::federation`]). No probe waits for another, and `/readyz` reports their last
//! results without waiting. The gateway is ready if it has a source of answers: the index, stale records of an
//! unavailable index, or an upstream.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};
use tokio::task::spawn_blocking;
use tokio::time::{sleep, timeout};

use crate::cache::MemberCache;
use crate::index::lookup::Lookup;
use crate::locked::locked;
use crate::metrics::METRICS;
use crate::providers::federation::Federation;

/// Time between two probes of the schema, and of the cache directory.
const PROBE_INTERVAL: Duration = Duration::from_secs(5);
/// Time between two probes of the schema while the index is unavailable.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);
/// Maximum time for a probe of the cache directory.
const CACHE_TIMEOUT: Duration = Duration::from_secs(2);
/// A component whose first probe takes longer counts as unavailable.
const FIRST_PROBE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the start waits for the first probes.
const START_TIMEOUT: Duration = Duration::from_millis(500);
/// Time between two updates of the metrics.
const UPDATE_INTERVAL: Duration = Duration::from_millis(500);

/// The state of every component. Cheap to clone: clones share it.
#[derive(Clone)]
pub(crate) struct Readiness(Arc<ReadinessState>);

struct ReadinessState {
    began: Instant,
    lookup: Lookup,
    federation: Federation,
    schema: Mutex<Schema>,
    /// The last result of the probe; `None` before the first one has ended.
    cache: Mutex<Option<Result<(), String>>>,
    /// True if there are stale records for the time while the index is unavailable.
    has_stale: AtomicBool,
    is_stopping: AtomicBool,
}

/// The results of the probe of the schema.
#[derive(Default)]
struct Schema {
    /// The last result that the index gave: the reason if this program cannot read the schema.
    readable: Option<Result<(), String>>,
    /// The reason why the last probe failed, if it did.
    failure: Option<String>,
}

/// The report of `/readyz`.
pub(crate) struct Report {
    /// True if there is a source of answers.
    pub(crate) is_ready: bool,
    /// True if the gateway is ready and every component is available.
    pub(crate) is_whole: bool,
    pub(crate) json: Value,
}

impl Readiness {
    /// Begins to probe, on the current runtime, as long as the process lives.
    pub(crate) fn start(lookup: Lookup, cache: MemberCache, federation: Federation) -> Self {
        let this = Self(Arc::new(ReadinessState {
            began: Instant::now(),
            lookup,
            federation,
            schema: Mutex::default(),
            cache: Mutex::default(),
            has_stale: AtomicBool::new(false),
            is_stopping: AtomicBool::new(false),
        }));
        tokio::spawn(this.clone().probe_schema());
        tokio::spawn(this.clone().probe_cache(cache));
        tokio::spawn(this.clone().update());
        this
    }

    /// Waits until index, schema and cache directory were probed once, for [`START_TIMEOUT`] at most.
    pub(crate) async fn wait_for_first_probes(&self) {
        let probed = async {
            while self.is_starting() || locked(&self.0.cache).is_none() {
                sleep(Duration::from_millis(10)).await;
            }
        };
        // A component without a result is reported as not probed yet.
        let _ = timeout(START_TIMEOUT, probed).await;
    }

    /// Makes the gateway not ready, for good.
    pub(crate) fn stop(&self) {
        self.0.is_stopping.store(true, Ordering::Release);
        METRICS.ready.set(0);
    }

    /// Returns the last results of all probes, and updates the metrics.
    pub(crate) fn report(&self) -> Report {
        let state = &self.0;
        let (database, cache) = (state.lookup.watch.state(), locked(&state.cache).clone());
        let (schema, is_readable) = {
            let schema = locked(&state.schema);
            let current = schema.failure.clone().map(Err).or_else(|| schema.readable.clone());
            (current, !matches!(schema.readable, Some(Err(_))))
        };
        let upstreams: Vec<_> = state.federation.states().collect();
        let is_up = |component: &Option<Result<(), String>>| matches!(component, Some(Ok(())));
        let components = [("database", &database), ("schema", &schema), ("cache", &cache)];
        for (name, component) in components {
            METRICS.component_up.with_label_values(&[name]).set(i64::from(is_up(component)));
        }

        let has_index = is_readable && (is_up(&database) || state.has_stale.load(Ordering::Acquire));
        let has_upstream = upstreams.iter().any(|(_, upstream)| is_up(upstream));
        let reason = if state.is_stopping.load(Ordering::Acquire) {
            Some("stopping")
        } else if self.is_starting() {
            Some("starting: the index was not probed yet")
        } else if has_index || has_upstream {
            None
        } else if !is_readable {
            Some("this program cannot read the schema of the index, and no upstream is available")
        } else {
            Some("the index is unavailable, no records of it are in memory, and no upstream is available")
        };
        let is_whole = components.iter().all(|(_, component)| is_up(component))
            && upstreams.iter().all(|(_, upstream)| is_up(upstream));
        let text = |component: &Option<Result<(), String>>| match component {
            Some(Ok(())) => "ok".to_owned(),
            Some(Err(cause)) => cause.clone(),
            None => "not probed yet".to_owned(),
        };
        let upstreams: Map<String, Value> =
            upstreams.iter().map(|(name, upstream)| ((*name).to_owned(), text(upstream).into())).collect();
        let mut json = json!({
            "ready": reason.is_none(),
            "database": text(&database),
            "schema": text(&schema),
            "cache": text(&cache),
            "upstreams": upstreams,
        });
        if let Some(reason) = reason {
            json["reason"] = reason.into();
        }
        METRICS.ready.set(i64::from(reason.is_none()));
        Report { is_ready: reason.is_none(), is_whole: is_whole && reason.is_none(), json }
    }

    /// True before the index and its schema were probed once, for [`FIRST_PROBE_TIMEOUT`] at most.
    fn is_starting(&self) -> bool {
        let schema = locked(&self.0.schema);
        let is_probed =
            self.0.lookup.watch.state().is_some() && (schema.readable.is_some() || schema.failure.is_some());
        !is_probed && self.0.began.elapsed() < FIRST_PROBE_TIMEOUT
    }

    async fn probe_schema(self) {
        loop {
            let checked = Box::pin(self.0.lookup.check_schema()).await;
            {
                let mut schema = locked(&self.0.schema);
                match checked {
                    Ok(readable) => {
                        log_change("schema", schema.readable.as_ref(), &readable);
                        *schema = Schema { readable: Some(readable), failure: None };
                    }
                    // The watch logs that the index is unavailable.
                    Err(cause) => schema.failure = Some(cause.text),
                }
            }
            let is_available = locked(&self.0.schema).failure.is_none();
            sleep(if is_available { PROBE_INTERVAL } else { RETRY_INTERVAL }).await;
        }
    }

    async fn probe_cache(self, cache: MemberCache) {
        loop {
            let cache = cache.clone();
            let mut check = spawn_blocking(move || cache.check());
            let checked = timeout(CACHE_TIMEOUT, &mut check).await;
            let is_running = checked.is_err();
            let checked = match checked {
                Ok(Ok(checked)) => checked.map_err(|error| format!("{error:#}")),
                // Cancelled: the process ends.
                Ok(Err(_)) => return,
                Err(_) => Err(format!("cache directory: expected an answer within {CACHE_TIMEOUT:?}, found none")),
            };
            let before = locked(&self.0.cache).replace(checked.clone());
            log_change("cache", before.as_ref(), &checked);
            if is_running {
                // A disk that hangs blocks one thread, not one for each probe.
                let _ = check.await;
            }
            sleep(PROBE_INTERVAL).await;
        }
    }

    /// Checks for stale records, and keeps the metrics current.
    async fn update(self) {
        loop {
            let has_stale = self.0.lookup.has_stale().await;
            self.0.has_stale.store(has_stale, Ordering::Release);
            self.report();
            sleep(UPDATE_INTERVAL).await;
        }
    }
}

/// Logs that a component became unavailable, with the reason, or available again.
fn log_change(component: &str, before: Option<&Result<(), String>>, now: &Result<(), String>) {
    match (before, now) {
        (Some(Err(_)), Ok(())) => tracing::info!(component, "a component is available again"),
        (None | Some(Ok(())), Err(cause)) => tracing::warn!(component, cause, "a component is unavailable"),
        _ => {}
    }
}
