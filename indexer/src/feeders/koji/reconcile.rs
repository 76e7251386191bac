//! Lists what completed lately, and writes jobs for what the index lacks: messages get lost.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use sql::{BuildState, StoredBuild};

use super::KojiError;
use super::backfill::{Position, Walk};
use super::importer::{BuildImporter, record};
use crate::jobs::{BuildName, BuildWork, Work};
use crate::koji::build::{BuildOrder, BuildQuery, HubBuild};
use crate::report::failure::CommandFailure;
use crate::report::time::now;

/// Where the first listing begins, in seconds before now.
const FIRST: i64 = 24 * 60 * 60;

/// Number of builds with the highest numbers that are looked for in each round.
const HIGHEST: usize = 200;

/// What one reconciliation found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Reconciled {
    /// Builds that the hub listed.
    pub(crate) listed: u64,
    /// Of these, those that the index lacked, or had otherwise: each has a job now.
    pub(crate) enqueued: u64,
    /// Builds with high numbers and old completion times that the index had not heard of: each has a job now.
    pub(crate) unlisted: u64,
}

/// Lists the builds that completed since the last time, with the configured overlap before it, and writes a job for
/// each that the index does not have. The position is kept after each page; it moves only forward, and not beyond now.
///
/// # Errors
/// [`KojiError`]. Jobs of pages that were listed are written.
pub(crate) async fn run(importer: &BuildImporter) -> Result<Reconciled, KojiError> {
    let instance = &importer.instance;
    let cursor = format!("koji completed {}", instance.name);
    let reached = match importer.index.cursor(&cursor).await? {
        Some(stored) => Some(stored.value.parse::<Position>()?.until(now())),
        None => None,
    };
    let first = Position { time: instance.since.unwrap_or_else(|| now() - FIRST) as f64, build: 0 };
    let overlap = instance.overlap.as_secs_f64();
    let mut walk = Walk {
        order: BuildOrder::OldestFirst,
        after: Some(reached.map_or(first.time, |reached| reached.time - overlap)),
        before: None,
        position: None,
        is_complete: false,
    };
    let mut reached = reached.unwrap_or(first);
    let mut found = Reconciled::default();
    let mut seen = HashSet::new();
    loop {
        let page = walk.next_page(importer).await?;
        let missing = missing(importer, &page).await?;
        let jobs: Vec<sql::NewJob> = missing.iter().map(|id| job(&instance.name, *id, "reconciler")).collect();
        importer.index.enqueue_missing(&jobs).await?;
        found.listed += page.len() as u64;
        seen.extend(page.iter().map(|build| build.id));
        found.enqueued += jobs.len() as u64;
        let last = page.last().map(|last| Position::of(last).until(now()));
        if let Some(position) = last.filter(|position| *position > reached) {
            reached = position;
        }
        // Also if nothing is new: its time tells when the hub was listed last.
        importer.index.set_cursor(&cursor, &reached.to_string()).await?;
        if page.is_empty() || walk.is_complete {
            break;
        }
    }
    found.unlisted = enqueue_unlisted(importer, &seen).await?;
    Ok(found)
}

/// Lists the builds with the highest numbers, and writes a job for each that the index has not heard of. Their
/// completion times can lie before every overlap: content generators state them, and transactions take long. Builds
/// with numbers of before the first reconciliation are left out: what of the past is wanted, the settings tell.
async fn enqueue_unlisted(importer: &BuildImporter, seen: &HashSet<i64>) -> Result<u64, KojiError> {
    let instance = &importer.instance.name;
    let query = BuildQuery {
        state: BuildState::Complete,
        complete_after: None,
        complete_before: None,
        order: BuildOrder::HighestNumber,
        limit: HIGHEST,
        offset: 0,
    };
    let listed: Vec<i64> = importer.hub.list_builds(&query).await?.builds.iter().map(|build| build.id).collect();
    let highest = listed.iter().copied().max().unwrap_or_default();
    let cursor = format!("koji first number {instance}");
    let stored = importer.index.cursor_or_insert(&cursor, &highest.to_string()).await?;
    let first: i64 = stored.parse().map_err(|_| {
        CommandFailure::Local(anyhow::anyhow!("cursor {cursor}: expected the number of a build, found {stored:?}"))
    })?;
    let new: Vec<i64> = listed.into_iter().filter(|build| *build > first && !seen.contains(build)).collect();
    let stored = importer.index.builds(instance, &new).await?;
    let known: HashSet<i64> = stored.iter().map(|stored| stored.build.build).collect();
    let unknown = new.iter().filter(|build| !known.contains(build));
    let jobs: Vec<sql::NewJob> = unknown.map(|build| job(instance, *build, "reconciler")).collect();
    importer.index.enqueue_missing(&jobs).await?;
    Ok(jobs.len() as u64)
}

/// Returns the numbers of builds that the index does not have as the hub lists them.
async fn missing(importer: &BuildImporter, page: &[HubBuild]) -> Result<Vec<i64>, KojiError> {
    let instance = &importer.instance.name;
    let ids: Vec<i64> = page.iter().map(|build| build.id).collect();
    let stored = importer.index.builds(instance, &ids).await?;
    let stored: HashMap<i64, StoredBuild> = stored.into_iter().map(|stored| (stored.build.build, stored)).collect();
    let is_known =
        |build: &HubBuild| stored.get(&build.id).is_some_and(|stored| stored.is_known(&record(instance, build)));
    Ok(page.iter().filter(|build| !is_known(build)).map(|build| build.id).collect())
}

/// Returns the job that looks at a build.
pub(super) fn job(instance: &str, build: i64, source: &str) -> sql::NewJob {
    let work = Work::Build(BuildWork {
        instance: instance.to_owned(),
        build: BuildName::Id(build),
        deleted_at: None,
        source: source.to_owned(),
        sent_at: None,
    });
    work.job(Duration::ZERO)
}
