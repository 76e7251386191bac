//! Follows the index: asks every second what came ([`sql::Changes`]). Cached records of what came are invalidated
//! ([`Invalidation`]), and the filter, if there is one, is kept up to date.
//!
//! Where that cannot be told (it was pruned, it is another index), and once much has come since the base was made, all build-ids are
//! read in pages on a connection of their own and become a new base. What comes meanwhile is collected beside it, from the state of
//! the index before; so a new base misses nothing, and while it is made the old one goes on, if there is one.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use sql::{Changes, Heads, Index};
use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::base::Base;
use super::file::{self, Saved};
use super::{Filter, MOST_AGE};
use crate::index::lookup::Invalidation;
use crate::index::watch::Watch;
use crate::metrics::METRICS;

/// Between two questions.
const PULSE: Duration = Duration::from_secs(1);
/// The filter is not written more often.
const SAVE_PAUSE: Duration = Duration::from_secs(60);
/// No base is begun earlier after the last one was begun; ten times as long as it took, if that is longer.
const SCAN_PAUSE: Duration = Duration::from_secs(5);
/// How long a page of hashes may take: a connection may have vanished without a word.
const PAGE_WITHIN: Duration = Duration::from_secs(60);
/// Which failure in a row is logged as a warning.
const LOGGED_FAILURE: u32 = 3;
/// So much may have come since the base was made, besides an eighth of the base.
const MOST_DELTA: usize = 1 << 16;

/// Follows the index for the caches and the filter.
pub(crate) struct Follower {
    filter: Filter,
    /// Of cached records.
    invalidation: Invalidation,
    index: Index,
    watch: Watch,
    /// Where the filter is kept; `None` if there is no filter.
    folder: Option<PathBuf>,
    limit: Duration,
    most_delta: usize,
    /// The state of the index that was followed up to. `None`: that has to be asked first.
    heads: Option<Heads>,
    /// Since when who answers is behind that state.
    behind_since: Option<Instant>,
    scan: Option<Scan>,
    /// A base that was made and is not in use yet, with what came since.
    ready: Option<(Base, HashSet<u64>)>,
    next_scan: Instant,
    /// What the file holds, and since when.
    saved: Option<(Heads, Instant)>,
    saving: Option<JoinHandle<()>>,
    /// Questions that failed since the last one that did not.
    failures: u32,
}

/// A base that is being made.
struct Scan {
    began: Instant,
    /// The state that the index must have had when it was read.
    from: Heads,
    /// What came since.
    since: HashSet<u64>,
    outcome: oneshot::Receiver<Result<(Heads, Base)>>,
    task: JoinHandle<()>,
}

impl Drop for Scan {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Follower {
    /// A follower of `index` that invalidates cached records. A question may take `limit`.
    pub(crate) fn new(filter: Filter, invalidation: Invalidation, index: Index, watch: Watch, limit: Duration) -> Self {
        Self {
            filter,
            invalidation,
            index,
            watch,
            folder: None,
            limit,
            most_delta: MOST_DELTA,
            heads: None,
            behind_since: None,
            scan: None,
            ready: None,
            next_scan: Instant::now(),
            saved: None,
            saving: None,
            failures: 0,
        }
    }

    /// The same, which also keeps the filter up to date, and in `folder` for the next process.
    pub(crate) fn filtering(self, folder: &Path) -> Self {
        Self { folder: Some(folder.to_owned()), ..self }
    }

    /// Follows for ever.
    pub(crate) async fn run(mut self) {
        self.load().await;
        let mut pulse = interval(PULSE);
        pulse.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = pulse.tick() => {}
                made = made(&mut self.scan) => self.ready = self.made(made),
            }
            loop {
                match self.follow().await {
                    Ok(true) => {}
                    Ok(false) => break,
                    Err(cause) => {
                        self.failures += 1;
                        // That the index is away is logged by the watch, which needs a moment to know it.
                        match self.failures == LOGGED_FAILURE && self.watch.is_sure() {
                            true => tracing::warn!(cause, "the changes of the index cannot be read"),
                            false => tracing::debug!(cause, "the changes of the index cannot be read"),
                        }
                        break;
                    }
                }
            }
        }
    }

    /// Takes over what an earlier process left.
    async fn load(&mut self) {
        let Some(folder) = self.folder.clone() else { return };
        let path = file::path(&folder);
        // Cancelled: the process ends.
        let Ok(read) = spawn_blocking(move || file::read(&folder)).await else { return };
        match read {
            Ok(Some(Saved { heads, base, delta })) => {
                tracing::info!(build_ids = base.len(), since = delta.len(), "a filter of an earlier run was read");
                self.filter.set(Some(base), delta.into_iter().collect());
                self.saved = Some((heads.clone(), Instant::now()));
                self.heads = Some(heads);
            }
            Ok(None) => {}
            Err(error) => tracing::warn!(
                path = %path.display(),
                "the filter on disk is ignored: {error:#}"
            ),
        }
    }

    /// Asks the index what came, and puts a base that is just made into use. Is there more to ask for?
    async fn follow(&mut self) -> Result<bool, String> {
        // Before the question: what came later may not be in the answer.
        let now = Instant::now();
        let Some(known) = &self.heads else {
            self.heads = Some(self.asked(Box::pin(self.index.heads())).await?);
            // What came before this state is not named any more.
            self.invalidation.invalidate_all();
            self.begin_scan("start");
            return Ok(false);
        };
        match self.asked(Box::pin(self.index.changes(known))).await? {
            Changes::Since { heads, hashes, is_complete } => {
                self.failures = 0;
                self.invalidation.invalidate(&hashes);
                self.behind_since = None;
                self.heads = Some(heads);
                if self.folder.is_none() {
                    return Ok(!is_complete);
                }
                if let Some(scan) = &mut self.scan {
                    scan.since.extend(&hashes);
                }
                if let Some((base, mut since)) = self.ready.take() {
                    since.extend(&hashes);
                    self.filter.set(Some(Arc::new(base)), since);
                    self.saved = None;
                }
                self.filter.add(&hashes);
                if !is_complete {
                    return Ok(true);
                }
                self.filter.is_current(now);
                self.save();
                match self.filter.lengths() {
                    (None, _) => self.begin_scan("start"),
                    (Some(base), since) if since > base / 8 + self.most_delta => self.begin_scan("growth"),
                    _ => {}
                }
            }
            Changes::Behind(cause) => {
                // A node that lags catches up; an index that was put back to an earlier state does not.
                let since = *self.behind_since.get_or_insert(now);
                if now.saturating_duration_since(since) < MOST_AGE {
                    tracing::debug!(cause, "the index that answers is behind the filter");
                } else {
                    self.lose(&cause);
                }
            }
            Changes::Lost(cause) => self.lose(&cause),
        }
        Ok(false)
    }

    async fn asked<T>(&self, question: impl Future<Output = sql::Result<T>>) -> Result<T, String> {
        match timeout(self.limit, question).await {
            Ok(answer) => answer.map_err(|error| format!("index: {error}")),
            Err(_) => Err(format!("index: expected an answer within {:?}, found none", self.limit)),
        }
    }

    /// Forgets everything.
    fn lose(&mut self, cause: &str) {
        self.invalidation.invalidate_all();
        match self.folder {
            Some(_) => tracing::warn!(cause, "the filter does not follow from what it was made of: a new one is made"),
            None => tracing::debug!(cause, "the changes of the index cannot be told: cached records are dropped"),
        }
        self.filter.set(None, HashSet::new());
        (self.heads, self.behind_since, self.scan, self.ready, self.saved) = (None, None, None, None, None);
    }

    /// Begins to read all build-ids, unless that is under way or was a moment ago.
    fn begin_scan(&mut self, why: &str) {
        let began = Instant::now();
        let is_due = self.folder.is_some() && self.scan.is_none() && self.ready.is_none() && began >= self.next_scan;
        let Some(from) = self.heads.clone().filter(|_| is_due) else { return };
        METRICS.filter_rebuilds.with_label_values(&[why]).inc();
        tracing::debug!(why, "a filter is made of the whole index");
        self.next_scan = began + SCAN_PAUSE;
        let (index, (sender, outcome)) = (self.index.clone(), oneshot::channel());
        let task = tokio::spawn(async move {
            // Without a receiver nobody wants it any more.
            let _ = sender.send(scan(&index).await);
        });
        self.scan = Some(Scan { began, from, since: HashSet::new(), outcome, task });
    }

    /// A base that was made, if it can be used, and what came since.
    fn made(&mut self, made: Result<(Heads, Base)>) -> Option<(Base, HashSet<u64>)> {
        let mut scan = self.scan.take()?;
        let took = scan.began.elapsed();
        self.next_scan = scan.began + SCAN_PAUSE.max(10 * took);
        match made {
            Ok((heads, base)) => {
                let is_behind = scan
                    .from
                    .iter()
                    .any(|(writer, head)| heads.get(writer).is_none_or(|found| found.sequence < head.sequence));
                if is_behind {
                    tracing::warn!("a filter was made of an index that is behind the one that was followed: not used");
                    return None;
                }
                tracing::info!(
                    build_ids = base.len(),
                    bytes = base.size_bytes(),
                    seconds = took.as_secs_f32(),
                    "a filter was made"
                );
                Some((base, std::mem::take(&mut scan.since)))
            }
            Err(error) => {
                tracing::warn!("no filter could be made: {error:#}");
                None
            }
        }
    }

    /// Begins to write the filter to disk if it is another one than there, and that is worth it. A disk that hangs keeps nobody from
    /// following.
    fn save(&mut self) {
        let Some(heads) = self.heads.as_ref().filter(|_| self.saving.as_ref().is_none_or(JoinHandle::is_finished))
        else {
            return;
        };
        let is_due = self.saved.as_ref().is_none_or(|(saved, when)| saved != heads && when.elapsed() >= SAVE_PAUSE);
        let (Some(base), delta) = (if is_due { self.filter.parts() } else { (None, Vec::new()) }) else { return };
        let Some(folder) = self.folder.clone() else { return };
        let saved = Saved { heads: heads.clone(), base, delta };
        // Also if it cannot be written: it is not tried every second.
        self.saved = Some((heads.clone(), Instant::now()));
        self.saving = Some(spawn_blocking(move || {
            if let Err(error) = file::write(&folder, &saved) {
                tracing::warn!("the filter is not on disk: {error:#}");
            }
        }));
    }
}

/// Waits until the base is made; for ever where none is.
async fn made(scan: &mut Option<Scan>) -> Result<(Heads, Base)> {
    match scan {
        Some(scan) => (&mut scan.outcome).await.unwrap_or_else(|_| Err(anyhow!("the scan ended early"))),
        None => std::future::pending().await,
    }
}

/// A base of all that the index has, and the state that it has at least.
async fn scan(index: &Index) -> Result<(Heads, Base)> {
    let (sender, mut pages) = mpsc::channel::<Vec<u64>>(2);
    let collect = async {
        let mut hashes: Vec<u64> = Vec::new();
        loop {
            let page = timeout(PAGE_WITHIN, pages.recv()).await;
            let Some(page) = page.map_err(|_| anyhow!("index: expected a page within {PAGE_WITHIN:?}, found none"))?
            else {
                return Ok(hashes);
            };
            // A program and its debuginfo have one: before more memory is taken, what is there twice goes.
            if hashes.len() + page.len() > hashes.capacity() {
                hashes.sort_unstable();
                hashes.dedup();
            }
            hashes.extend(page);
        }
    };
    let send = async { index.send_hashes(sender).await.map_err(anyhow::Error::from) };
    let (heads, hashes) = tokio::try_join!(send, collect)?;
    Ok((heads, spawn_blocking(move || Base::of(hashes)).await??))
}

#[cfg(test)]
mod tests {
    use artifact::{Artifact, BuildId, Format, Identity, Kind, Package};
    use sql::{AbsentStatuses, Access, DatabaseUrl, Import, NewLocation, NewStore, Tier};

    use super::super::Said;
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
            absent_statuses: AbsentStatuses::default(),
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
        let location =
            NewLocation { store_id, path, size: 1, mtime_ns: None, header: None, checksum: None, signing_key: None };
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
                }],
            )
            .await
            .unwrap();
    }

    async fn until(what: &str, is_so: impl Fn() -> bool) {
        let waited = timeout(Duration::from_secs(30), async {
            while !is_so() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
        waited.await.unwrap_or_else(|_| panic!("{what}: not within 30 s"));
    }

    #[tokio::test]
    async fn what_came_is_in_the_filter_and_becomes_part_of_its_base() {
        let folder = tempfile::tempdir().unwrap();
        let url = DatabaseUrl::sqlite(folder.path().join("index.db"));
        let writer = Index::open(&url, Access::ReadWrite).unwrap();
        writer.migrate().await.unwrap();
        insert(&writer, 0..100).await;
        let filter = Filter::off();
        let reader = Index::open(&url, Access::ReadOnly).unwrap();
        let start = |filter: &Filter| {
            let (reader, limit) = (reader.clone(), Duration::from_secs(4));
            let follower = Follower::new(filter.clone(), Invalidation::new(), reader, Watch::default(), limit);
            let follower = follower.filtering(&folder.path().join("cache"));
            tokio::spawn(Follower { most_delta: 50, ..follower }.run())
        };
        let following = start(&filter);
        until("a base", || filter.lengths() == (Some(100), 0)).await;
        let all = |filter: &Filter, numbers: std::ops::Range<u16>| {
            numbers.clone().filter(|number| filter.ask(&build_id(*number)) == Said::Maybe).count() == numbers.len()
        };
        assert!(all(&filter, 0..100));
        insert(&writer, 1000..1060).await;
        until("a delta", || filter.lengths().1 == 60).await;
        assert!(all(&filter, 0..100) && all(&filter, 1000..1060));
        insert(&writer, 2000..2010).await;
        // More than 50 and an eighth of a hundred: the base is made anew, and nothing is denied meanwhile.
        until("a larger base", || {
            assert!(all(&filter, 1000..1060));
            filter.lengths() == (Some(170), 0)
        })
        .await;
        assert!(all(&filter, 0..100) && all(&filter, 1000..1060) && all(&filter, 2000..2010));
        let denied = (20_000..30_000).filter(|number| filter.ask(&build_id(*number)) == Said::No).count();
        assert!(denied > 9_800, "{denied}");
        following.abort();

        let again = Filter::off();
        let following = start(&again);
        until("a filter of the earlier run", || again.ask(&build_id(30_000)) == Said::No).await;
        // It may have been written before or after the last base.
        let (base, since) = again.lengths();
        assert!(base.unwrap_or(0) + since >= 170, "{base:?} {since}");
        following.abort();
    }
}
