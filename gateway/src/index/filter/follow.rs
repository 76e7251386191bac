//! Follows the index: reads every second what changed ([`sql::Changes`]).
//!
//! Cached records of changed build-ids are invalidated ([`Invalidation`]), and the filter, if it is enabled, is kept up
//! to date. A new base is made ([`super::rebuild`]) where the changes are not known (they were pruned, or the index is
//! another one), and once the delta is large.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use sql::{Changes, Heads, Index};
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{MissedTickBehavior, interval};

use super::base::Base;
use super::file::{self, SavedFilter};
use super::rebuild::{self, Rebuild};
use super::{Filter, MAX_AGE};
use crate::index::lookup::{Invalidation, within};
use crate::index::watch::Watch;
use crate::metrics::METRICS;

/// Time between two reads of changes.
const FOLLOW_INTERVAL: Duration = Duration::from_secs(1);
/// Minimum time between two writes of the file.
const MIN_SAVE_INTERVAL: Duration = Duration::from_secs(60);
/// Minimum time between the starts of two rebuilds; ten times the duration of the last one, if that is longer.
const MIN_REBUILD_INTERVAL: Duration = Duration::from_secs(5);
/// The number of consecutive failures at which a warning is logged.
const WARNED_FAILURE: u32 = 3;
/// Maximum length of the delta, besides an eighth of the base: beyond it a new base is made.
const MAX_DELTA: usize = 1 << 16;

/// Follows the index for the caches and the filter.
pub(crate) struct Follower {
    filter: Filter,
    /// Invalidation of cached records.
    invalidation: Invalidation,
    index: Index,
    watch: Watch,
    /// The directory of the filter's file; `None` if the filter is disabled.
    directory: Option<PathBuf>,
    /// Maximum duration of a query.
    query_timeout: Duration,
    max_delta: usize,
    /// The state of the index up to which changes were read; `None` before it is known.
    heads: Option<Heads>,
    /// Since when the node that answers is behind that state.
    behind_since: Option<Instant>,
    rebuild: Option<Rebuild>,
    /// A base that was made and is not in use yet, with the hashes that came since.
    ready: Option<(Base, HashSet<u64>)>,
    next_rebuild: Instant,
    /// The state of the filter in the file, and when it was written.
    saved: Option<(Heads, Instant)>,
    saving: Option<JoinHandle<()>>,
    /// Number of consecutive failures.
    failures: u32,
}

impl Follower {
    /// A follower of `index` that invalidates cached records.
    pub(crate) fn new(
        filter: Filter,
        invalidation: Invalidation,
        index: Index,
        watch: Watch,
        query_timeout: Duration,
    ) -> Self {
        Self {
            filter,
            invalidation,
            index,
            watch,
            directory: None,
            query_timeout,
            max_delta: MAX_DELTA,
            heads: None,
            behind_since: None,
            rebuild: None,
            ready: None,
            next_rebuild: Instant::now(),
            saved: None,
            saving: None,
            failures: 0,
        }
    }

    /// Enables the filter, with its file in `directory`.
    pub(crate) fn with_filter(self, directory: &Path) -> Self {
        Self { directory: Some(directory.to_owned()), ..self }
    }

    /// Follows as long as the process lives.
    pub(crate) async fn run(mut self) {
        self.load().await;
        let mut ticks = interval(FOLLOW_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                base = rebuild::finished(&mut self.rebuild) => self.ready = self.finish_rebuild(base),
            }
            loop {
                match self.follow().await {
                    Ok(true) => {}
                    Ok(false) => break,
                    Err(cause) => {
                        self.failures += 1;
                        // An unavailable index is logged by the watch, which learns of it a moment later.
                        match self.failures == WARNED_FAILURE && self.watch.is_healthy() {
                            true => tracing::warn!(cause, "the changes of the index cannot be read"),
                            false => tracing::debug!(cause, "the changes of the index cannot be read"),
                        }
                        break;
                    }
                }
            }
        }
    }

    /// Reads the file of an earlier process.
    async fn load(&mut self) {
        let Some(directory) = self.directory.clone() else { return };
        let path = file::path(&directory);
        // Cancelled: the process ends.
        let Ok(read) = spawn_blocking(move || file::read(&directory)).await else { return };
        match read {
            Ok(Some(SavedFilter { heads, base, delta })) => {
                tracing::info!(base = base.len(), delta = delta.len(), "a filter of an earlier run was read");
                self.filter.replace(Some(base), delta.into_iter().collect());
                self.saved = Some((heads.clone(), Instant::now()));
                self.heads = Some(heads);
            }
            Ok(None) => {}
            Err(error) => tracing::warn!(path = %path.display(), "the filter on disk is ignored: {error:#}"),
        }
    }

    /// Reads changes of the index, and puts a base that is ready into use. Returns true if there are more changes to
    /// read.
    async fn follow(&mut self) -> Result<bool, String> {
        // Before the query: later changes may not be in its result.
        let now = Instant::now();
        let Some(known) = &self.heads else {
            self.heads = Some(self.query(Box::pin(self.index.heads())).await?);
            // Earlier changes are not read any more.
            self.invalidation.invalidate_all();
            self.begin_rebuild("start");
            return Ok(false);
        };
        match self.query(Box::pin(self.index.changes(known))).await? {
            Changes::Since { heads, hashes, is_complete } => {
                self.failures = 0;
                self.invalidation.invalidate(&hashes);
                self.behind_since = None;
                self.heads = Some(heads);
                if self.directory.is_none() {
                    return Ok(!is_complete);
                }
                self.add_to_filter(&hashes);
                if !is_complete {
                    return Ok(true);
                }
                self.filter.set_synced(now);
                self.save();
                match self.filter.lengths() {
                    (None, _) => self.begin_rebuild("start"),
                    (Some(base), delta) if delta > base / 8 + self.max_delta => self.begin_rebuild("growth"),
                    _ => {}
                }
            }
            Changes::Lagging(cause) => {
                // A node that lags catches up; an index that was restored to an earlier state does not.
                let since = *self.behind_since.get_or_insert(now);
                if now.saturating_duration_since(since) < MAX_AGE {
                    tracing::debug!(cause, "the index that answers is behind the filter");
                } else {
                    self.start_over(&cause);
                }
            }
            Changes::Unavailable(cause) => self.start_over(&cause),
        }
        Ok(false)
    }

    /// Adds hashes to the delta of the current base, of one that is being made and of one that is ready. The latter
    /// replaces the first.
    fn add_to_filter(&mut self, hashes: &[u64]) {
        if let Some(rebuild) = &mut self.rebuild {
            rebuild.delta.extend(hashes);
        }
        if let Some((base, mut delta)) = self.ready.take() {
            delta.extend(hashes);
            self.filter.replace(Some(Arc::new(base)), delta);
            self.saved = None;
        }
        self.filter.add(hashes);
    }

    async fn query<T>(&self, query: impl Future<Output = sql::Result<T>>) -> Result<T, String> {
        within(self.query_timeout, query).await.map_err(|cause| cause.text)
    }

    /// Discards the filter and all cached records, since the changes of the index are not known.
    fn start_over(&mut self, cause: &str) {
        self.invalidation.invalidate_all();
        match self.directory {
            Some(_) => tracing::warn!(cause, "the changes since the filter are unknown: a new filter is made"),
            None => tracing::debug!(cause, "the changes of the index are unknown: cached records are dropped"),
        }
        self.filter.replace(None, HashSet::new());
        (self.heads, self.behind_since, self.rebuild, self.ready, self.saved) = (None, None, None, None, None);
    }

    /// Begins to make a new base, unless that is under way or [`MIN_REBUILD_INTERVAL`] has not passed.
    fn begin_rebuild(&mut self, reason: &str) {
        let now = Instant::now();
        let is_due =
            self.directory.is_some() && self.rebuild.is_none() && self.ready.is_none() && now >= self.next_rebuild;
        let Some(heads) = self.heads.clone().filter(|_| is_due) else { return };
        METRICS.filter_rebuilds.with_label_values(&[reason]).inc();
        tracing::debug!(reason, "a new base of the filter is made");
        self.next_rebuild = now + MIN_REBUILD_INTERVAL;
        self.rebuild = Some(Rebuild::start(self.index.clone(), heads));
    }

    /// Returns the new base and its delta, if the base can be used.
    fn finish_rebuild(&mut self, base: Result<(Heads, Base)>) -> Option<(Base, HashSet<u64>)> {
        let rebuild = self.rebuild.take()?;
        self.next_rebuild = rebuild.began + MIN_REBUILD_INTERVAL.max(10 * rebuild.began.elapsed());
        rebuild.finish(base)
    }

    /// Begins to write the filter to disk if it differs from the file and [`MIN_SAVE_INTERVAL`] has passed. A disk that
    /// hangs does not delay the follower.
    fn save(&mut self) {
        let Some(heads) = self.heads.as_ref().filter(|_| self.saving.as_ref().is_none_or(JoinHandle::is_finished))
        else {
            return;
        };
        let is_due =
            self.saved.as_ref().is_none_or(|(saved, when)| saved != heads && when.elapsed() >= MIN_SAVE_INTERVAL);
        let (Some(base), delta) = (if is_due { self.filter.contents() } else { (None, Vec::new()) }) else { return };
        let Some(directory) = self.directory.clone() else { return };
        let saved = SavedFilter { heads: heads.clone(), base, delta };
        // Set even if the write fails: it is not retried every second.
        self.saved = Some((heads.clone(), Instant::now()));
        self.saving = Some(spawn_blocking(move || {
            if let Err(error) = file::write(&directory, &saved) {
                tracing::warn!("the filter was not written to disk: {error:#}");
            }
        }));
    }
}

#[cfg(test)]
mod tests {
    use artifact::{Artifact, BuildId, Format, Identity, Kind, Package};
    use sql::{AbsentStatuses, Access, DatabaseUrl, Distros, Import, NewLocation, NewStore, RedirectHosts, Tier};

    use super::super::Verdict;
    use super::*;

    fn build_id(number: u16) -> BuildId {
        BuildId::from_bytes(&number.to_be_bytes()).unwrap()
    }

    /// A package with files that have build-ids of these numbers.
    async fn insert(index: &Index, numbers: std::ops::Range<u16>) {
        let store = NewStore {
            name: "m".into(),
            tier: Tier::Mirror,
            base_url: Some("https://m.example/".into()),
            root: None,
            priority: 0,
            pattern: None,
            distros: Distros::default(),
            absent_statuses: AbsentStatuses::default(),
            redirect_hosts: RedirectHosts::default(),
            allow_private: false,
        };
        let store_id = index.add_store(&store).await.unwrap().id;
        let mut identity = [0; 32];
        identity[..2].copy_from_slice(&numbers.start.to_be_bytes());
        let nevra = format!("p{}-1-1.x86_64", numbers.start).parse().unwrap();
        let package = Package {
            nevra,
            source_rpm: None,
            identity: Identity::from_bytes(identity),
            built_at: None,
            format: Format::Rpm,
        };
        let artifacts = numbers.clone().map(|number| {
            let path = format!("/usr/bin/{number}");
            Artifact {
                ordinal: number.into(),
                build_id: build_id(number),
                kind: Kind::Executable,
                dwarf: None,
                path,
                contents: None,
            }
        });
        let artifacts = artifacts.collect();
        let path = format!("{}.rpm", numbers.start);
        let location = NewLocation {
            store_id,
            path,
            size: Some(1),
            mtime_ns: None,
            header: None,
            checksum: None,
            signing_key: None,
        };
        index
            .insert(
                "w",
                &[Import {
                    package,
                    distro: None,
                    artifacts,
                    modules: Vec::new(),
                    includes: Vec::new(),
                    open: false,
                    location,
                    repository_id: None,
                    koji: None,
                }],
            )
            .await
            .unwrap();
    }

    async fn until(what: &str, is_so: impl Fn() -> bool) {
        let waited = tokio::time::timeout(Duration::from_secs(30), async {
            while !is_so() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
        waited.await.unwrap_or_else(|_| panic!("{what}: not within 30 s"));
    }

    #[tokio::test]
    async fn changes_are_in_the_delta_and_then_in_a_new_base() {
        let directory = tempfile::tempdir().unwrap();
        let url = DatabaseUrl::sqlite(directory.path().join("index.db"));
        let writer = Index::open(&url, Access::ReadWrite).unwrap();
        writer.migrate().await.unwrap();
        insert(&writer, 0..100).await;
        let filter = Filter::off();
        let reader = Index::open(&url, Access::ReadOnly).unwrap();
        let start = |filter: &Filter| {
            let (reader, query_timeout) = (reader.clone(), Duration::from_secs(4));
            let follower = Follower::new(filter.clone(), Invalidation::new(), reader, Watch::default(), query_timeout);
            let follower = follower.with_filter(&directory.path().join("cache"));
            tokio::spawn(Follower { max_delta: 50, ..follower }.run())
        };
        let following = start(&filter);
        until("a base", || filter.lengths() == (Some(100), 0)).await;
        let all = |filter: &Filter, numbers: std::ops::Range<u16>| {
            numbers.clone().filter(|number| filter.check(&build_id(*number)) == Verdict::Maybe).count() == numbers.len()
        };
        assert!(all(&filter, 0..100));
        insert(&writer, 1000..1060).await;
        until("a delta", || filter.lengths().1 == 60).await;
        assert!(all(&filter, 0..100) && all(&filter, 1000..1060));
        insert(&writer, 2000..2010).await;
        // More than 50 and an eighth of a hundred: a new base is made, and no member is absent meanwhile.
        until("a larger base", || {
            assert!(all(&filter, 1000..1060));
            filter.lengths() == (Some(170), 0)
        })
        .await;
        assert!(all(&filter, 0..100) && all(&filter, 1000..1060) && all(&filter, 2000..2010));
        let absent = (20_000..30_000).filter(|number| filter.check(&build_id(*number)) == Verdict::Absent).count();
        assert!(absent > 9_800, "{absent}");
        following.abort();

        let again = Filter::off();
        let following = start(&again);
        until("a filter of the earlier run", || again.check(&build_id(30_000)) == Verdict::Absent).await;
        // The file may have been written before or after the last base.
        let (base, delta) = again.lengths();
        assert!(base.unwrap_or(0) + delta >= 170, "{base:?} {delta}");
        following.abort();
    }
}
