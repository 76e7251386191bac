//! Compares known builds with the hub, and their signed copies with the topurl: no message tells of deletions, volume
//! moves, promotions and dropped copies.
//!
//! A pass goes from the newest build to the oldest, batch by batch, within the interval of the sweep. The cursor
//! `BUILD STARTED_AT` has the last build of the pass and the time when the pass began.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use futures::stream::{self, StreamExt};
use sql::{BuildPackage, BuildState, BuildUpdate, SignedCopy, StoredBuild};

use super::KojiError;
use super::importer::{BuildImporter, record};
use super::packages::is_read;
use super::reconcile::job;
use crate::fetch::presence::Finding;
use crate::koji::build::{BuildRef, HubBuild};
use crate::report::failure::CommandFailure;
use crate::report::time::now;

/// Number of builds in a batch: at least, and at most. A request to the hub has 100 calls at most.
const MIN_BATCH: u64 = 50;
const MAX_BATCH: u64 = 500;
/// Number of builds whose RPMs are listed at once: the lists of a batch would take much memory.
const LISTED: usize = 100;
/// Aimed at between two batches, in seconds.
const BATCH_INTERVAL: u64 = 60;
/// The part of the interval in which a pass ends, so that failures do not make it late.
const PART: f64 = 0.9;
/// Number of builds whose signed copies are looked at at once.
const LOOKS: usize = 4;
/// A build without signed copies gets another look for them if it completed this many seconds ago or later.
const SIGNED_LATELY: i64 = 30 * 24 * 60 * 60;

/// What one batch found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Swept {
    /// Builds that were compared.
    pub(crate) builds: u64,
    /// Of these, those that differ: each has a job now.
    pub(crate) enqueued: u64,
    /// Signed copies that are no longer there.
    pub(crate) lost_copies: u64,
    /// Time from the beginning of this batch to that of the next, so that the pass ends within the interval.
    pub(crate) next_in: Duration,
}

/// The place of the sweep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    /// The last build of the pass; `None` at its end.
    build: Option<i64>,
    /// When the pass began, seconds since 1970.
    started_at: i64,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.build {
            Some(build) => write!(f, "{build} {}", self.started_at),
            None => write!(f, "end {}", self.started_at),
        }
    }
}

impl FromStr for Place {
    type Err = CommandFailure;

    fn from_str(text: &str) -> Result<Self, CommandFailure> {
        let read = || {
            let (build, started_at) = text.split_once(' ')?;
            let build = if build == "end" { None } else { Some(build.parse().ok()?) };
            Some(Self { build, started_at: started_at.parse().ok()? })
        };
        read().ok_or_else(|| {
            CommandFailure::Local(anyhow::anyhow!("cursor of a sweep: expected BUILD STARTED_AT, found {text:?}"))
        })
    }
}

/// The size of batches, and the pause between two of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Pace {
    batch: u64,
    pause: Duration,
}

impl Pace {
    /// Returns the pace at which `builds` builds are compared once in `interval`.
    fn new(builds: u64, interval: Duration) -> Self {
        let seconds = interval.as_secs_f64() * PART;
        let per_second = builds as f64 / seconds.max(1.0);
        let batch = ((per_second * BATCH_INTERVAL as f64).ceil() as u64).clamp(MIN_BATCH, MAX_BATCH);
        let share = if builds == 0 { 1.0 } else { (batch as f64 / builds as f64).min(1.0) };
        Self { batch, pause: Duration::from_secs_f64(seconds * share) }
    }
}

/// Compares one batch of builds. Differences become jobs; copies that are lost are recorded.
///
/// # Errors
/// [`KojiError`]. The next batch begins at the same build then.
pub(crate) async fn run_batch(importer: &BuildImporter) -> Result<Swept, KojiError> {
    let instance = &importer.instance;
    let cursor = format!("koji sweep {}", instance.name);
    let began = now();
    let place = match importer.index.cursor(&cursor).await? {
        Some(stored) => stored.value.parse::<Place>()?,
        None => Place { build: None, started_at: began },
    };
    let place = if place.build.is_none() { Place { started_at: began, ..place } } else { place };
    let count = importer.index.build_count(&instance.name).await?;
    let Pace { batch, pause } = Pace::new(count, instance.sweep_interval);
    let batch = usize::try_from(batch).unwrap_or(usize::MAX);
    let builds = importer.index.builds_below(&instance.name, place.build, batch).await?;
    let mut swept = Swept { builds: builds.len() as u64, enqueued: 0, lost_copies: 0, next_in: pause };
    if !builds.is_empty() {
        compare(importer, &builds, &mut swept).await?;
    }
    let is_end = builds.len() < batch;
    let next = if is_end { None } else { builds.last().map(|last| last.build.build) };
    if is_end && !builds.is_empty() && count > builds.len() as u64 {
        // The rest of a pass has a smaller share of the interval than a whole batch.
        swept.next_in = pause.mul_f64(builds.len() as f64 / batch as f64);
    }
    importer.index.set_cursor(&cursor, &Place { build: next, ..place }.to_string()).await?;
    Ok(swept)
}

async fn compare(importer: &BuildImporter, builds: &[StoredBuild], swept: &mut Swept) -> Result<(), KojiError> {
    let instance = &importer.instance.name;
    let checked_at = importer.index.now().await?;
    let refs: Vec<BuildRef> = builds.iter().map(|stored| BuildRef::Id(stored.build.build)).collect();
    let found = importer.hub.builds(&refs).await?;
    let ids: Vec<i64> = builds.iter().map(|stored| stored.build.build).collect();
    let packages = importer.index.build_packages(instance, &ids, importer.store.id).await?;
    let mut by_build: HashMap<i64, Vec<BuildPackage>> = HashMap::new();
    for package in packages {
        by_build.entry(package.build).or_default().push(package);
    }
    let lacking = lacking(importer, &ids, &by_build).await?;
    let (mut jobs, mut unchanged) = (Vec::new(), Vec::new());
    for (stored, found) in builds.iter().zip(found) {
        // Of a build that the hub does not know, or cannot state, nothing is concluded.
        let Ok(Some(found)) = found else { continue };
        let packages = by_build.remove(&stored.build.build).unwrap_or_default();
        if differs(instance, stored, &found)
            || lacking.contains(&found.id)
            || may_be_signed(stored, &packages, checked_at)
        {
            jobs.push(job(instance, found.id, "sweep"));
        }
        if record(instance, &found) == stored.build {
            unchanged.push((importer.update(&found, stored.imported_at.is_some(), None), packages));
        }
    }
    let looks = unchanged.into_iter().map(async |(update, packages)| {
        let signed = importer.lost_copies(&packages).await;
        BuildUpdate { signed, ..update }
    });
    let updates: Vec<BuildUpdate> = stream::iter(looks).buffered(LOOKS).collect().await;
    swept.lost_copies += updates.iter().map(|update| update.signed.len() as u64).sum::<u64>();
    // A build that differs keeps the time of its last check: it was as the index has it until then.
    importer.index.record_builds(&importer.writer, &updates, checked_at).await?;
    importer.index.enqueue_missing(&jobs).await?;
    swept.enqueued = jobs.len() as u64;
    Ok(())
}

/// Returns the builds of which the index lacks a wanted RPM: RPMs can be imported into a build after it completed,
/// which changes nothing of the build itself.
async fn lacking(
    importer: &BuildImporter,
    builds: &[i64],
    packages: &HashMap<i64, Vec<BuildPackage>>,
) -> Result<HashSet<i64>, KojiError> {
    let headers = importer.instance.headers;
    let mut lacking = HashSet::new();
    for builds in builds.chunks(LISTED) {
        let rpms = importer.hub.build_rpms(builds).await?;
        for (build, rpms) in builds.iter().zip(rpms) {
            // A build whose RPMs the hub cannot list is as the index has it.
            let Ok(rpms) = rpms else { continue };
            let of_build = packages.get(build).into_iter().flatten();
            let read = of_build.filter(|package| is_read(package.state, headers));
            let read: HashSet<&str> = read.map(|package| package.nvra.as_str()).collect();
            let mut wanted = rpms.iter().filter(|rpm| importer.is_wanted(rpm));
            if wanted.any(|rpm| !read.contains(rpm.nevra.nvra().as_str())) {
                lacking.insert(*build);
            }
        }
    }
    Ok(lacking)
}

/// True if a build has to be looked at by the importer.
fn differs(instance: &str, stored: &StoredBuild, found: &HubBuild) -> bool {
    let is_unfinished = stored.imported_at.is_none() && found.state == BuildState::Complete;
    is_unfinished || record(instance, found) != stored.build
}

/// True of a build that completed lately and has no signed copy: Koji writes them after the message of the signature.
fn may_be_signed(stored: &StoredBuild, packages: &[BuildPackage], now: i64) -> bool {
    let is_late = stored.build.completed_at.is_some_and(|at| now.saturating_sub(at) < SIGNED_LATELY);
    is_late
        && !packages.is_empty()
        && packages.iter().flat_map(|package| &package.places).all(|place| place.signing_key.is_none())
}

impl BuildImporter {
    /// Looks at one signed copy of a build for each key, and at all of a key if that one is gone. Returns those
    /// that are gone.
    async fn lost_copies(&self, packages: &[BuildPackage]) -> Vec<SignedCopy> {
        let mut by_key: BTreeMap<&str, Vec<SignedCopy>> = BTreeMap::new();
        for package in packages {
            for place in package.places.iter().filter(|place| place.gone_at.is_none()) {
                if let Some(key) = &place.signing_key {
                    by_key.entry(key).or_default().push(SignedCopy {
                        nvra: package.nvra.clone(),
                        path: place.path.clone(),
                        key: key.clone(),
                        size: place.size,
                        is_present: false,
                    });
                }
            }
        }
        let mut lost = Vec::new();
        for copies in by_key.into_values() {
            for (at, copy) in copies.into_iter().enumerate() {
                let (copy, finding) = self.look_at(copy).await;
                match finding {
                    Finding::Gone { .. } => lost.push(copy),
                    // One that is there stands for all of its key.
                    Finding::Present { .. } | Finding::Failed { .. } if at == 0 => break,
                    Finding::Present { .. } | Finding::Failed { .. } => {}
                }
            }
        }
        lost
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_read_as_it_was_written() {
        for place in [Place { build: Some(7), started_at: 9 }, Place { build: None, started_at: 9 }] {
            assert_eq!(place.to_string().parse::<Place>().unwrap(), place);
        }
        for wrong in ["", "7", "x 9", "7 x"] {
            assert!(wrong.parse::<Place>().unwrap_err().to_string().contains("BUILD STARTED_AT"), "{wrong}");
        }
    }

    #[test]
    fn a_pass_ends_within_the_interval() {
        const WEEK: Duration = Duration::from_secs(7 * 24 * 60 * 60);
        for (builds, interval) in [
            (0, WEEK),
            (1, WEEK),
            (50, WEEK),
            (10_000, WEEK),
            (100_000, WEEK),
            (3_000_000, WEEK),
            (10, Duration::from_secs(5)),
            (1_000_000, Duration::from_secs(3600)),
        ] {
            let pace = Pace::new(builds, interval);
            let batches = builds.div_ceil(pace.batch).max(1);
            // The last batch has a smaller share.
            let pass = pace.pause.mul_f64(builds.max(1) as f64 / pace.batch as f64).min(pace.pause * batches as u32);
            assert!(pass <= interval.mul_f64(0.91), "{builds} in {interval:?}: {pass:?}");
            assert!((MIN_BATCH..=MAX_BATCH).contains(&pace.batch), "{pace:?}");
        }
        // 3,000,000 builds in a week: five a second.
        assert_eq!(Pace::new(3_000_000, WEEK).batch, 331);
        let pause = Pace::new(3_000_000, WEEK).pause;
        assert!(pause > Duration::from_secs(59) && pause < Duration::from_secs(61), "{pause:?}");
    }
}
