//! Whether the gateway can answer, as background probes found it.
//!
//! Every part has a probe of its own: the index ([`crate::index::watch`]), its schema, the cache folder, each upstream
//! ([`crate::providers::federation`]). None waits for another, and `/readyz` waits for none: it reports what is known. The gateway is ready if
//! it can answer something useful: out of the index, out of records of an index that is away, or by an upstream.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};
use tokio::task::spawn_blocking;
use tokio::time::{sleep, timeout};

use crate::cache::Files;
use crate::index::lookup::Lookup;
use crate::metrics::METRICS;
use crate::providers::federation::Federation;

/// Between two probes of the schema, and of the cache folder.
const PROBE_INTERVAL: Duration = Duration::from_secs(5);
/// The same, of a schema while the index is away.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);
/// How long the cache folder may take.
const CACHE_TIMEOUT: Duration = Duration::from_secs(2);
/// A part whose first probe takes longer counts as unavailable.
const FIRST_PROBE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the start waits for the first probes.
const START_TIMEOUT: Duration = Duration::from_millis(500);
/// Between two looks at what is known.
const PULSE: Duration = Duration::from_millis(500);

/// What is known of every part. Cheap to clone: clones share their state.
#[derive(Clone)]
pub(crate) struct Readiness(Arc<State>);

struct State {
    began: Instant,
    lookup: Lookup,
    federation: Federation,
    schema: Mutex<Schema>,
    /// `None` before the first probe has ended.
    cache: Mutex<Option<Result<(), String>>>,
    /// True if there are records that are answered while the index is away.
    has_kept: AtomicBool,
    is_stopping: AtomicBool,
}

/// What is known of the schema.
#[derive(Default)]
struct Schema {
    /// The last answer of the index: the reason if this program cannot read it.
    verdict: Option<Result<(), String>>,
    /// Why the index could not be asked last, if so.
    trouble: Option<String>,
}

/// What `/readyz` reports.
pub(crate) struct Report {
    /// Something useful can be answered.
    pub(crate) is_ready: bool,
    /// Every part can be used.
    pub(crate) is_whole: bool,
    pub(crate) json: Value,
}

impl Readiness {
    /// Begins to probe, on the current runtime, as long as the process lives.
    pub(crate) fn start(lookup: Lookup, files: Files, federation: Federation) -> Self {
        let this = Self(Arc::new(State {
            began: Instant::now(),
            lookup,
            federation,
            schema: Mutex::default(),
            cache: Mutex::default(),
            has_kept: AtomicBool::new(false),
            is_stopping: AtomicBool::new(false),
        }));
        tokio::spawn(this.clone().keep_probing_schema());
        tokio::spawn(this.clone().keep_probing_cache(files));
        tokio::spawn(this.clone().keep_current());
        this
    }

    /// Waits until the parts of this gateway were probed once, for [`START_TIMEOUT`] at most.
    pub(crate) async fn probed_once(&self) {
        let probed = async {
            while self.is_starting() || locked(&self.0.cache).is_none() {
                sleep(Duration::from_millis(10)).await;
            }
        };
        // What is not known by then is reported as such.
        let _ = timeout(START_TIMEOUT, probed).await;
    }

    /// From now on the gateway is not ready any more.
    pub(crate) fn stop(&self) {
        self.0.is_stopping.store(true, Ordering::Release);
        METRICS.ready.set(0);
    }

    /// What is known now. Asks nobody.
    pub(crate) fn report(&self) -> Report {
        let state = &self.0;
        let (database, cache) = (state.lookup.watch.state(), locked(&state.cache).clone());
        let (schema, is_readable) = {
            let schema = locked(&state.schema);
            let current = schema.trouble.clone().map(Err).or_else(|| schema.verdict.clone());
            (current, !matches!(schema.verdict, Some(Err(_))))
        };
        let upstreams: Vec<_> = state.federation.states().collect();
        let is_up = |part: &Option<Result<(), String>>| matches!(part, Some(Ok(())));
        let parts = [("database", &database), ("schema", &schema), ("cache", &cache)];
        for (name, part) in parts {
            METRICS.component_up.with_label_values(&[name]).set(i64::from(is_up(part)));
        }

        let has_index = is_readable && (is_up(&database) || state.has_kept.load(Ordering::Acquire));
        let has_upstream = upstreams.iter().any(|(_, upstream)| is_up(upstream));
        let obstacle = if state.is_stopping.load(Ordering::Acquire) {
            Some("stopping")
        } else if self.is_starting() {
            Some("starting: the index was not probed yet")
        } else if has_index || has_upstream {
            None
        } else if !is_readable {
            Some("this program cannot read the schema of the index, and no upstream answers")
        } else {
            Some("the index is away, no records of it are in memory, and no upstream answers")
        };
        let is_whole =
            parts.iter().all(|(_, part)| is_up(part)) && upstreams.iter().all(|(_, upstream)| is_up(upstream));
        let text = |part: &Option<Result<(), String>>| match part {
            Some(Ok(())) => "ok".to_owned(),
            Some(Err(cause)) => cause.clone(),
            None => "not probed yet".to_owned(),
        };
        let upstreams: Map<String, Value> =
            upstreams.iter().map(|(name, upstream)| ((*name).to_owned(), text(upstream).into())).collect();
        let mut json = json!({
            "ready": obstacle.is_none(),
            "database": text(&database),
            "schema": text(&schema),
            "cache": text(&cache),
            "upstreams": upstreams,
        });
        if let Some(obstacle) = obstacle {
            json["reason"] = obstacle.into();
        }
        METRICS.ready.set(i64::from(obstacle.is_none()));
        Report { is_ready: obstacle.is_none(), is_whole: is_whole && obstacle.is_none(), json }
    }

    /// True before the index and its schema were probed once. That takes [`FIRST_PROBE_TIMEOUT`] at most.
    fn is_starting(&self) -> bool {
        let schema = locked(&self.0.schema);
        let is_probed = self.0.lookup.watch.state().is_some() && (schema.verdict.is_some() || schema.trouble.is_some());
        !is_probed && self.0.began.elapsed() < FIRST_PROBE_TIMEOUT
    }

    async fn keep_probing_schema(self) {
        loop {
            let checked = Box::pin(self.0.lookup.check_schema()).await;
            {
                let mut schema = locked(&self.0.schema);
                match checked {
                    Ok(verdict) => {
                        log_change("schema", schema.verdict.as_ref(), &verdict);
                        *schema = Schema { verdict: Some(verdict), trouble: None };
                    }
                    // That the index is away is logged by the watch.
                    Err(cause) => schema.trouble = Some(cause),
                }
            }
            let is_known = locked(&self.0.schema).trouble.is_none();
            sleep(if is_known { PROBE_INTERVAL } else { RETRY_INTERVAL }).await;
        }
    }

    async fn keep_probing_cache(self, files: Files) {
        loop {
            let files = files.clone();
            let mut check = spawn_blocking(move || files.check());
            let checked = timeout(CACHE_TIMEOUT, &mut check).await;
            let is_running = checked.is_err();
            let checked = match checked {
                Ok(Ok(checked)) => checked.map_err(|error| format!("{error:#}")),
                // Cancelled: the process ends.
                Ok(Err(_)) => return,
                Err(_) => Err(format!("cache folder: expected an answer within {CACHE_TIMEOUT:?}, found none")),
            };
            let before = locked(&self.0.cache).replace(checked.clone());
            log_change("cache", before.as_ref(), &checked);
            if is_running {
                // No second thread waits for a disk that hangs.
                let _ = check.await;
            }
            sleep(PROBE_INTERVAL).await;
        }
    }

    /// Counts the records, and keeps the metrics current.
    async fn keep_current(self) {
        loop {
            let has_kept = self.0.lookup.has_kept().await;
            self.0.has_kept.store(has_kept, Ordering::Release);
            self.report();
            sleep(PULSE).await;
        }
    }
}

/// Logs that a part can be used again, or cannot any more, and why.
fn log_change(part: &str, before: Option<&Result<(), String>>, now: &Result<(), String>) {
    match (before, now) {
        (Some(Err(_)), Ok(())) => tracing::info!(part, "a part can be used again"),
        (None | Some(Ok(())), Err(cause)) => tracing::warn!(part, cause, "a part cannot be used"),
        _ => {}
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
