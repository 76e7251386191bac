//! Walks the builds of a hub by the time when they completed, and imports those that the index lacks.
//!
//! The position is kept in the index after each part: `TIME BUILD` of the last build. Builds of one time are in the
//! order of their numbers, so that none is lost where many completed at once.

use std::collections::HashMap;
use std::fmt;
use std::pin::pin;
use std::str::FromStr;
use std::time::{Duration, Instant};

use futures::{StreamExt, stream};
use sql::{BuildState, StoredBuild};
use tokio::time::sleep;

use super::importer::{BuildImporter, BuildOutcome, MAX_BUILDS, record};
use crate::koji::build::{BuildOrder, BuildQuery, HubBuild};
use crate::koji::fault::{HubError, HubErrorKind};
use crate::report::failure::{CommandFailure, Result};
use crate::report::koji::KojiProgress;
use crate::report::time::{now, utc};

/// Number of builds that are listed at once.
pub(super) const PAGE: usize = 1_000;
/// Number of parts that are imported at once.
const PARTS: usize = 2;
/// Maximum number of builds with one completion time. More are a hub that does not list as it is asked.
const MAX_OFFSET: usize = 1_000_000;
/// Listings begin this much before a position, in seconds: a hub leaves out builds of exactly that time.
const TICK: f64 = 0.001;
/// Maximum number of times that a part is tried again after failures that may pass.
const MAX_RETRIES: u32 = 3;
/// Number of builds of which it is unlikely that each has a fault of its own.
const MIN_ALL: usize = 5;
/// Pause before the first of them. It doubles with each further one.
const RETRY_PAUSE: Duration = Duration::from_secs(2);
/// Pause before a hub that cannot be asked is asked again.
const HUB_PAUSE: Duration = Duration::from_secs(5);

/// Which builds are imported, and in which order. Times are seconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BackfillPlan {
    pub(crate) after: Option<i64>,
    pub(crate) before: Option<i64>,
    pub(crate) newest_first: bool,
}

impl BackfillPlan {
    /// The completion times of the first and the last build, as far as the plan states them.
    pub(crate) fn span(&self) -> Option<(f64, f64)> {
        let (first, last) = (self.after? as f64, self.before.unwrap_or_else(now) as f64);
        Some(if self.newest_first { (last, first) } else { (first, last) })
    }
}

/// How a backfill ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum BackfillEnd {
    /// All builds were looked at.
    Complete,
    /// A signal stopped it.
    Stopped,
    /// Hub or topurl do not answer. The same command continues.
    GivenUp(String),
}

/// A build in the order of completion.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub(super) struct Position {
    /// Seconds since 1970.
    pub(super) time: f64,
    pub(super) build: i64,
}

impl Position {
    pub(super) fn of(build: &HubBuild) -> Self {
        Self { time: build.completion_time.unwrap_or_default(), build: build.id }
    }

    /// Returns the same position, but none after this second since 1970. Who imports a build into a Koji can
    /// state any time of its completion. A listing that went on from one in the future would pass over what completes
    /// until then.
    pub(super) fn until(self, time: i64) -> Self {
        let time = time as f64;
        if self.time >= time + 1.0 { Self { time, build: 0 } } else { self }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.6} {}", self.time, self.build)
    }
}

impl FromStr for Position {
    type Err = CommandFailure;

    fn from_str(text: &str) -> Result<Self> {
        let read = || {
            let (time, build) = text.split_once(' ')?;
            let time: f64 = time.parse().ok().filter(|time: &f64| time.is_finite())?;
            Some(Self { time, build: build.parse().ok()? })
        };
        read().ok_or_else(|| wrong_cursor("SECONDS BUILD", text))
    }
}

fn wrong_cursor(expected: &str, found: &str) -> CommandFailure {
    CommandFailure::Local(anyhow::anyhow!("cursor: expected {expected}, found {found:?}"))
}

/// Lists builds page by page.
pub(super) struct Walk {
    pub(super) order: BuildOrder,
    /// Bounds, both exclusive.
    pub(super) after: Option<f64>,
    pub(super) before: Option<f64>,
    /// The last build that was listed.
    pub(super) position: Option<Position>,
    /// True once the last page was listed.
    pub(super) is_complete: bool,
}

impl Walk {
    /// Lists the next builds. An empty list is the end.
    ///
    /// # Errors
    /// The hub cannot be asked.
    pub(super) async fn next_page(&mut self, importer: &BuildImporter) -> Result<Vec<HubBuild>, HubError> {
        let mut offset = 0;
        while offset < MAX_OFFSET && !self.is_complete {
            let page = importer.hub.list_builds(&self.query(offset)).await?;
            let is_last = page.builds.len() + page.skipped < PAGE;
            let page: Vec<HubBuild> = page.builds.into_iter().filter(|build| self.is_ahead(build)).collect();
            if is_last {
                self.is_complete = true;
            }
            if let Some(last) = page.last() {
                self.position = Some(Position::of(last));
                return Ok(page);
            }
            offset += PAGE;
        }
        self.is_complete = true;
        Ok(Vec::new())
    }

    fn query(&self, offset: usize) -> BuildQuery {
        let at = self.position.map(|position| position.time);
        let (after, before) = match self.order {
            BuildOrder::OldestFirst => (at.map(|at| at - TICK).or(self.after), self.before),
            BuildOrder::NewestFirst | BuildOrder::HighestNumber => (self.after, at.map(|at| at + TICK).or(self.before)),
        };
        let (state, order) = (BuildState::Complete, self.order);
        BuildQuery { state, complete_after: after, complete_before: before, order, limit: PAGE, offset }
    }

    /// True if a build is behind the position, as the walk goes.
    fn is_ahead(&self, build: &HubBuild) -> bool {
        self.position.is_none_or(|position| match self.order {
            BuildOrder::OldestFirst => Position::of(build) > position,
            BuildOrder::NewestFirst | BuildOrder::HighestNumber => Position::of(build) < position,
        })
    }
}

/// The state of a walk from the newest build down, as its cursor has it.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Descent {
    /// All builds up to this time were looked at.
    Done { top: f64 },
    /// Under way: the time of the first build, the time where it ends, and the last build.
    UnderWay { top: f64, floor: Option<f64>, at: Position },
}

impl fmt::Display for Descent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Done { top } => write!(f, "done {top:.6}"),
            Self::UnderWay { top, floor: Some(floor), at } => write!(f, "from {top:.6} to {floor:.6} at {at}"),
            Self::UnderWay { top, floor: None, at } => write!(f, "from {top:.6} at {at}"),
        }
    }
}

impl FromStr for Descent {
    type Err = CommandFailure;

    fn from_str(text: &str) -> Result<Self> {
        let number = |text: &str| text.parse().ok().filter(|number: &f64| number.is_finite());
        let read = || {
            let words: Vec<&str> = text.split(' ').collect();
            Some(match words.as_slice() {
                ["done", top] => Self::Done { top: number(top)? },
                ["from", top, "to", floor, "at", time, build] => {
                    let at = Position { time: number(time)?, build: build.parse().ok()? };
                    Self::UnderWay { top: number(top)?, floor: Some(number(floor)?), at }
                }
                ["from", top, "at", time, build] => {
                    let at = Position { time: number(time)?, build: build.parse().ok()? };
                    Self::UnderWay { top: number(top)?, floor: None, at }
                }
                _ => return None,
            })
        };
        read().ok_or_else(|| wrong_cursor("`done TIME` or `from TIME [to TIME] at TIME BUILD`", text))
    }
}

/// A run of a backfill.
pub(crate) struct Backfill<'a> {
    importer: &'a BuildImporter,
    plan: BackfillPlan,
    progress: &'a mut KojiProgress,
    cursor: String,
}

impl<'a> Backfill<'a> {
    /// Returns a run that continues where a former one with the same plan ended.
    pub(crate) fn new(importer: &'a BuildImporter, plan: BackfillPlan, progress: &'a mut KojiProgress) -> Self {
        let mut cursor = format!("koji backfill {}", importer.instance.name);
        cursor.push_str(if plan.newest_first { " newest first" } else { " oldest first" });
        for (word, bound) in [(" after ", plan.after), (" before ", plan.before)] {
            if let Some(bound) = bound {
                cursor.push_str(word);
                cursor.push_str(&utc(bound));
            }
        }
        Self { importer, plan, progress, cursor }
    }

    /// Imports all builds of the plan.
    ///
    /// # Errors
    /// If the index or this machine fails.
    pub(crate) async fn run(mut self) -> Result<BackfillEnd> {
        if self.plan.newest_first { self.descend().await } else { self.ascend().await }
    }

    async fn ascend(&mut self) -> Result<BackfillEnd> {
        let after = self.plan.after.map(|time| time as f64);
        // Builds can appear a little before the last one, which a former run has seen.
        let reached = self.read_cursor::<Position>().await?.map(|at| at.until(now()).time - self.overlap());
        let mut walk = Walk {
            order: BuildOrder::OldestFirst,
            after: reached.into_iter().chain(after).reduce(f64::max),
            before: self.plan.before.map(|time| time as f64),
            position: None,
            is_complete: false,
        };
        loop {
            let page = match self.next_page(&mut walk).await? {
                Ok(page) => page,
                Err(end) => return Ok(end),
            };
            if page.builds.is_empty() {
                return Ok(BackfillEnd::Complete);
            }
            if let Some(end) = self.import_page(page, |at| at.until(now()).to_string()).await? {
                return Ok(end);
            }
        }
    }

    async fn descend(&mut self) -> Result<BackfillEnd> {
        loop {
            let before = self.read_cursor::<Descent>().await?;
            let is_fresh = !matches!(before, Some(Descent::UnderWay { .. }));
            if let Some(end) = self.descend_once(before).await? {
                return Ok(end);
            }
            // What completed since an interrupted walk began is above its first build.
            if is_fresh {
                return Ok(BackfillEnd::Complete);
            }
        }
    }

    /// Walks down once. `None` at the end.
    async fn descend_once(&mut self, before: Option<Descent>) -> Result<Option<BackfillEnd>> {
        let after = self.plan.after.map(|time| time as f64);
        let (mut top, floor, position) = match before {
            None => (None, None, None),
            Some(Descent::Done { top }) => (None, Some(top.min(now() as f64) - self.overlap()), None),
            Some(Descent::UnderWay { top, floor, at }) => (Some(top.min(now() as f64)), floor, Some(at)),
        };
        let mut walk = Walk {
            order: BuildOrder::NewestFirst,
            after: floor.into_iter().chain(after).reduce(f64::max),
            before: self.plan.before.map(|time| time as f64),
            position,
            is_complete: false,
        };
        loop {
            let page = match self.next_page(&mut walk).await? {
                Ok(page) => page,
                Err(end) => return Ok(Some(end)),
            };
            let Some(first) = page.builds.first() else { break };
            let top = *top.get_or_insert(Position::of(first).until(now()).time);
            let end = self.import_page(page, |at| Descent::UnderWay { top, floor, at }.to_string()).await?;
            if end.is_some() {
                return Ok(end);
            }
        }
        if let Some(top) = top {
            self.write_cursor(&Descent::Done { top }.to_string()).await?;
        }
        Ok(None)
    }

    fn overlap(&self) -> f64 {
        self.importer.instance.overlap.as_secs_f64()
    }

    async fn read_cursor<T: FromStr<Err = CommandFailure>>(&self) -> Result<Option<T>> {
        let cursor = self.importer.index.cursor(&self.cursor).await?;
        cursor.map(|cursor| cursor.value.parse()).transpose()
    }

    async fn write_cursor(&self, value: &str) -> Result<()> {
        Ok(self.importer.index.set_cursor(&self.cursor, value).await?)
    }

    /// Imports what the index lacks of a page, and keeps the position after each part. `None` if the walk goes on.
    async fn import_page(&mut self, page: Page, cursor: impl Fn(Position) -> String) -> Result<Option<BackfillEnd>> {
        let Page { builds, listed_at } = page;
        let mut todo = self.unknown(&builds).await?;
        // The hub is asked for one part while the headers of another are read. Each is a task of its own: one that is
        // not polled while the position is written could hold the only connection that writes.
        let parts = stream::iter(parts(builds, &mut todo)).map(|part| {
            let importer = self.importer.clone();
            let imported = tokio::spawn(async move { Box::pin(import_part(&importer, part.builds, listed_at)).await });
            async move { (part.end, imported.await) }
        });
        let mut parts = pin!(parts.buffered(PARTS));
        while let Some((at, imported)) = parts.next().await {
            let PartImport { end, failed } = imported.map_err(CommandFailure::local)??;
            for (build, reason) in failed {
                self.progress.fail(&build, &reason);
            }
            if end.is_some() {
                // The parts that were begun end, too; what they read is in the index.
                while parts.next().await.is_some() {}
                return Ok(end);
            }
            self.importer.index.set_cursor(&self.cursor, &cursor(at)).await?;
            let done = self.plan.span().map(|(first, _)| (at.time - first).abs());
            self.progress.update(&self.importer.counts(), at.time, done);
        }
        Ok(None)
    }

    /// Lists the next builds. A hub that does not answer is asked again for a while.
    async fn next_page(&mut self, walk: &mut Walk) -> Result<Result<Page, BackfillEnd>> {
        let since = Instant::now();
        loop {
            if self.importer.stop.is_set() {
                return Ok(Err(BackfillEnd::Stopped));
            }
            let listed_at = self.importer.index.now().await?;
            let error = match walk.next_page(self.importer).await {
                Ok(builds) => return Ok(Ok(Page { builds, listed_at })),
                Err(error) => error,
            };
            if error.kind != HubErrorKind::Unreachable || since.elapsed() >= self.importer.network.limits.down_timeout {
                let is_stopped = self.importer.stop.is_set();
                return Ok(Err(if is_stopped { BackfillEnd::Stopped } else { BackfillEnd::GivenUp(error.text) }));
            }
            self.progress.note(&format!("{error}; it is asked again"));
            wait(self.importer, HUB_PAUSE).await;
        }
    }

    /// Returns the builds that the index does not have as the hub lists them, by number, and counts the others.
    async fn unknown(&self, page: &[HubBuild]) -> Result<HashMap<i64, HubBuild>> {
        let instance = &self.importer.instance.name;
        let ids: Vec<i64> = page.iter().map(|build| build.id).collect();
        let stored = self.importer.index.builds(instance, &ids).await?;
        let stored: HashMap<i64, StoredBuild> = stored.into_iter().map(|stored| (stored.build.build, stored)).collect();
        let is_known =
            |build: &&HubBuild| stored.get(&build.id).is_some_and(|stored| stored.is_known(&record(instance, build)));
        let unknown: HashMap<i64, HubBuild> =
            page.iter().filter(|build| !is_known(build)).map(|build| (build.id, build.clone())).collect();
        self.importer.count(&vec![BuildOutcome::Unchanged; page.len() - unknown.len()]);
        Ok(unknown)
    }
}

/// What became of a part.
struct PartImport {
    /// Why the walk ends; `None` if it goes on.
    end: Option<BackfillEnd>,
    /// Builds that are not imported, and why.
    failed: Vec<(String, String)>,
}

/// Imports builds that were listed at this time, again after failures that may pass.
async fn import_part(importer: &BuildImporter, builds: Vec<HubBuild>, listed_at: i64) -> Result<PartImport> {
    let (count, mut pause, mut todo) = (builds.len(), RETRY_PAUSE, builds);
    let mut failed = Vec::new();
    for retry in 0..=MAX_RETRIES {
        if todo.is_empty() {
            break;
        }
        let outcomes = importer.import_listed(todo.clone(), listed_at).await?;
        if importer.stop.is_set() {
            return Ok(PartImport { end: Some(BackfillEnd::Stopped), failed });
        }
        let mut again = Vec::new();
        for (build, outcome) in todo.into_iter().zip(outcomes) {
            match &outcome {
                BuildOutcome::Failed { reason, is_permanent: false } if retry < MAX_RETRIES => {
                    again.push((build, reason.clone()));
                    continue;
                }
                BuildOutcome::Failed { reason, .. } => failed.push((build.nvr(), reason.clone())),
                _ => {}
            }
            importer.count(&[outcome]);
        }
        // If nothing at all was possible, it is not about single builds, and the position stays.
        if retry + 1 == MAX_RETRIES
            && again.len() == count
            && let Some((_, reason)) = again.first()
            && (count >= MIN_ALL || !are_recorded(importer, &again).await?)
        {
            return Ok(PartImport { end: Some(BackfillEnd::GivenUp(reason.clone())), failed });
        }
        if !again.is_empty() {
            wait(importer, pause).await;
            pause *= 2;
        }
        todo = again.into_iter().map(|(build, _)| build).collect();
    }
    Ok(PartImport { end: None, failed })
}

/// True if the index has all these builds, so that the sweep finds them again although the walk passes over them.
async fn are_recorded(importer: &BuildImporter, builds: &[(HubBuild, String)]) -> Result<bool> {
    let ids: Vec<i64> = builds.iter().map(|(build, _)| build.id).collect();
    Ok(importer.index.builds(&importer.instance.name, &ids).await?.len() == ids.len())
}

/// Waits, unless the run is stopped.
async fn wait(importer: &BuildImporter, pause: Duration) {
    tokio::select! {
        () = sleep(pause) => {}
        () = importer.network.stopped() => {}
    }
}

/// Builds that the hub listed.
struct Page {
    builds: Vec<HubBuild>,
    /// When it was asked, seconds since 1970 by the clock of the database.
    listed_at: i64,
}

/// Some builds of a page that are imported together.
struct Part {
    builds: Vec<HubBuild>,
    /// The last build before which nothing of the page is left.
    end: Position,
}

/// Splits a page into parts with at most [`MAX_BUILDS`] builds of `todo`, in the order of the page.
fn parts(page: Vec<HubBuild>, todo: &mut HashMap<i64, HubBuild>) -> Vec<Part> {
    let mut parts: Vec<Part> = Vec::new();
    for build in page {
        let end = Position::of(&build);
        let build = todo.remove(&build.id);
        match parts.last_mut() {
            Some(part) if build.is_none() || part.builds.len() < MAX_BUILDS => {
                part.builds.extend(build);
                part.end = end;
            }
            _ => parts.push(Part { builds: build.into_iter().collect(), end }),
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn build(id: i64, time: f64) -> HubBuild {
        HubBuild {
            id,
            name: "a".into(),
            version: "1".into(),
            release: id.to_string(),
            epoch: None,
            state: BuildState::Complete,
            is_draft: false,
            volume: "DEFAULT".into(),
            completion_time: Some(time),
        }
    }

    #[test]
    fn a_cursor_is_read_as_it_was_written() {
        let at = Position { time: 1_777_890_000.000_001, build: 2_900_001 };
        assert_eq!(at.to_string(), "1777890000.000001 2900001");
        assert_eq!(at.to_string().parse::<Position>().unwrap(), at);
        for descent in [
            Descent::Done { top: 1_777_890_000.5 },
            Descent::UnderWay { top: 1_777_890_001.0, floor: None, at },
            Descent::UnderWay { top: 1_777_890_001.0, floor: Some(7.0), at },
        ] {
            assert_eq!(descent.to_string().parse::<Descent>().unwrap(), descent);
        }
        for wrong in ["", "1", "nan 1", "1.5 x", "1 2 3"] {
            let message = wrong.parse::<Position>().unwrap_err().to_string();
            assert!(message.contains("expected SECONDS BUILD"), "{message}");
        }
        assert!("done inf".parse::<Descent>().is_err());
    }

    #[test]
    fn a_position_is_never_in_the_future() {
        let at = Position { time: 7.5, build: 3 };
        assert_eq!((at.until(8), at.until(7)), (at, at));
        assert_eq!(at.until(6), Position { time: 6.0, build: 0 });
    }

    #[test]
    fn builds_of_one_time_are_in_the_order_of_their_numbers() {
        let mut walk = Walk {
            order: BuildOrder::OldestFirst,
            after: None,
            before: None,
            position: Some(Position { time: 5.0, build: 2 }),
            is_complete: false,
        };
        let ahead = |walk: &Walk| {
            let builds = [build(1, 5.0), build(2, 5.0), build(3, 5.0), build(1, 6.0), build(9, 4.0)];
            builds.iter().map(|build| walk.is_ahead(build)).collect::<Vec<bool>>()
        };
        assert_eq!(ahead(&walk), [false, false, true, true, false]);
        assert!(walk.query(0).complete_after.is_some_and(|after| after < 5.0 && after > 4.9));
        walk.order = BuildOrder::NewestFirst;
        assert_eq!(ahead(&walk), [true, false, false, false, true]);
        assert!(walk.query(0).complete_before.is_some_and(|before| before > 5.0 && before < 5.1));
    }

    #[test]
    fn parts_follow_the_page_and_leave_out_what_is_known() {
        let page: Vec<HubBuild> = (0..130).map(|id| build(id, id as f64)).collect();
        let mut todo: HashMap<i64, HubBuild> =
            page.iter().filter(|build| build.id % 2 == 0).map(|build| (build.id, build.clone())).collect();
        let parts = parts(page, &mut todo);
        let shown: Vec<(usize, i64)> = parts.iter().map(|part| (part.builds.len(), part.end.build)).collect();
        assert_eq!(shown, [(50, 99), (15, 129)]);
        assert!(todo.is_empty());
    }
}
