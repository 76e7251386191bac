//! Builds of one hub become packages of the index.
//!
//! The hub is asked for the truth in one request for all builds, one for their RPMs and a few for their signatures.
//! Then the headers that the index lacks are read. Packages are inserted first and the build is recorded last: a crash
//! in between costs a repetition, and a build counts as imported only when all its packages are in the index.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sql::{
    AbsentStatuses, Build, BuildPackage, BuildState, BuildUpdate, Distros, Index, NewStore, RedirectHosts, SignedCopy,
    Store, StoredBuild, Tier,
};

use super::KojiInstance;
use super::packages::{PackageRead, PackageWork, Wanted};
use crate::fetch::network::Network;
use crate::koji::build::{BuildRef, HubBuild, HubRpm};
use crate::koji::fault::{Fault, HubError};
use crate::koji::hub::Hub;
use crate::koji::paths;
use crate::pipeline::stop::Stop;
use crate::pipeline::writer::importer_name;
use crate::report::failure::{CommandFailure, Result};
use crate::report::koji::KojiCounts;
use crate::report::urls::public_url;

/// Maximum number of builds in one import.
pub(crate) const MAX_BUILDS: usize = 50;
/// Default number of headers that are read in parallel.
pub(crate) const JOBS: usize = 16;
/// The place of a build's package in the store of an instance.
const PATTERN: &str = "{volume}packages/{name}/{version}/{release}/{arch}/{nvra}.rpm";
/// Maximum length of name, version and release of a build, and of its volume, in bytes.
const MAX_NAME_BYTES: usize = 255;
const MAX_VOLUME_BYTES: usize = 64;

/// A build to import, or to record the end of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BuildRequest {
    pub(crate) reference: BuildRef,
    /// When it was deleted, in seconds since 1970, as a message states it. Counts only if the hub agrees.
    pub(crate) deleted_at: Option<i64>,
}

/// What became of a build.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum BuildOutcome {
    /// All its packages are in the index.
    Imported {
        /// Packages that were read for it.
        packages: u64,
    },
    /// The index knew everything.
    Unchanged,
    /// The hub states that it was deleted, and the index knows.
    Deleted,
    /// There is nothing to import, and why.
    Skipped(&'static str),
    /// It is being built.
    Building,
    /// The hub does not know it.
    Unknown,
    /// Something of it is not in the index.
    Failed {
        reason: String,
        /// True if an archive is missing or broken: the same is likely next time.
        is_permanent: bool,
    },
}

impl BuildOutcome {
    fn of_hub(error: &HubError) -> Self {
        Self::Failed { reason: error.to_string(), is_permanent: false }
    }

    fn of_fault(fault: &Fault) -> Self {
        Self::Failed { reason: fault.to_string(), is_permanent: !fault.may_pass() }
    }

    fn permanent(reason: impl Into<String>) -> Self {
        Self::Failed { reason: reason.into(), is_permanent: true }
    }
}

/// Imports builds of one instance. Clones share everything.
#[derive(Clone)]
pub(crate) struct BuildImporter {
    pub(crate) instance: Arc<KojiInstance>,
    pub(crate) hub: Hub,
    pub(super) index: Index,
    pub(super) network: Arc<Network>,
    pub(super) store: Arc<Store>,
    pub(super) stop: Stop,
    /// The name of this importer in the index.
    pub(super) writer: String,
    /// Number of headers that are read in parallel.
    pub(super) jobs: usize,
    /// Maximum size in bytes of an ELF file that is copied to the temporary directory.
    pub(super) temp_limit: u64,
    counts: Arc<Mutex<KojiCounts>>,
}

/// A build that is complete, while it is imported.
struct CompleteBuild {
    hub: HubBuild,
    directory: String,
    /// True if the hub listed none: it is an image, for instance.
    has_no_rpms: bool,
    /// `None` if the hub did not list its RPMs.
    wanted: Option<Vec<Wanted>>,
    /// What the index had of it.
    stored: Option<StoredBuild>,
    /// Packages that were read and are in the index now.
    read: u64,
    signed: Vec<SignedCopy>,
    /// The first failure, and whether it is permanent.
    failure: Option<(String, bool)>,
}

impl CompleteBuild {
    /// True if all its packages are in the index.
    fn is_imported(&self) -> bool {
        self.wanted.as_ref().is_some_and(|wanted| wanted.iter().all(|wanted| wanted.is_known))
    }

    fn wanted(&self) -> &[Wanted] {
        self.wanted.as_deref().unwrap_or_default()
    }

    fn wanted_mut(&mut self) -> &mut [Wanted] {
        self.wanted.as_deref_mut().unwrap_or_default()
    }

    /// Records a failure. One that may pass has precedence, because the next try tells more.
    fn fail(&mut self, reason: String, is_permanent: bool) {
        if self.failure.as_ref().is_none_or(|(_, before)| *before && !is_permanent) {
            self.failure = Some((reason, is_permanent));
        }
    }

    fn outcome(&self, build: &Build) -> BuildOutcome {
        if let Some((reason, is_permanent)) = &self.failure {
            return BuildOutcome::Failed { reason: reason.clone(), is_permanent: *is_permanent };
        }
        let is_same = self.stored.as_ref().is_some_and(|stored| stored.imported_at.is_some() && stored.build == *build);
        if self.has_no_rpms {
            return BuildOutcome::Skipped("it has no RPMs");
        }
        if self.wanted().is_empty() {
            return BuildOutcome::Skipped("it has no packages of wanted architectures");
        }
        if is_same && self.read == 0 && self.signed.is_empty() {
            return BuildOutcome::Unchanged;
        }
        BuildOutcome::Imported { packages: self.read }
    }
}

impl BuildImporter {
    /// Returns the importer of an instance. Adds the instance's store; one that has that name already is used as it is.
    ///
    /// # Errors
    /// [`CommandFailure::Usage`] if the hub cannot be asked, or the store has another URL. The index failed.
    pub(crate) async fn new(
        index: Index,
        network: Arc<Network>,
        instance: Arc<KojiInstance>,
        stop: Stop,
    ) -> Result<Self> {
        let refuse = |text: String| CommandFailure::Usage(format!("Koji instance {}: {text}", instance.name));
        let hub = Hub::new(&network, &instance.hub).map_err(|error| refuse(format!("{error:#}")))?;
        let known = index.stores().await?.into_iter().find(|store| store.name == instance.store);
        let store = match known {
            Some(store) => store,
            None => index.add_store(&new_store(&instance)?).await?,
        };
        let (topurl, found) = (instance.topurl.as_str().trim_end_matches('/'), store.base_url.as_deref());
        if found.map(|url| url.trim_end_matches('/')) != Some(topurl) {
            return Err(refuse(format!(
                "expected its topurl {topurl} as the URL of its store {}, found {}: name another store with `store`, \
                 or change that one with `store add`",
                store.name,
                found.and_then(public_url).unwrap_or_else(|| "another".to_owned())
            )));
        }
        Ok(Self {
            instance,
            hub,
            index,
            network,
            store: Arc::new(store),
            stop,
            writer: importer_name(),
            jobs: JOBS,
            temp_limit: artifact::limits::MAX_ELF_BYTES,
            counts: Arc::default(),
        })
    }

    /// The same with this number of parallel reads.
    pub(crate) fn with_jobs(self, jobs: usize) -> Self {
        Self { jobs: jobs.max(1), ..self }
    }

    /// Returns the counts of all imports so far.
    pub(crate) fn counts(&self) -> KojiCounts {
        self.lock_counts().clone()
    }

    pub(super) fn lock_counts(&self) -> MutexGuard<'_, KojiCounts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Imports at most [`MAX_BUILDS`] builds. Outcomes are in the order of the requests. A hub that cannot be asked is
    /// a failure of each.
    ///
    /// # Errors
    /// If the index or this machine fails.
    pub(crate) async fn import(&self, requests: &[BuildRequest]) -> Result<Vec<BuildOutcome>> {
        let outcomes = self.ask_and_import(requests).await?;
        self.count(&outcomes);
        Ok(outcomes)
    }

    /// The same, and counts none of the outcomes.
    async fn ask_and_import(&self, requests: &[BuildRequest]) -> Result<Vec<BuildOutcome>> {
        let checked_at = self.index.now().await?;
        let refs: Vec<BuildRef> = requests.iter().map(|request| request.reference.clone()).collect();
        let found = match self.hub.builds(&refs).await {
            Ok(found) => found,
            Err(error) => return Ok(vec![BuildOutcome::of_hub(&error); requests.len()]),
        };
        let mut builds: HashMap<i64, (HubBuild, Option<i64>)> = HashMap::new();
        for (request, found) in requests.iter().zip(&found) {
            if let Ok(Some(build)) = found {
                let (_, deleted_at) = builds.entry(build.id).or_insert_with(|| (build.clone(), None));
                *deleted_at = deleted_at.or(request.deleted_at);
            }
        }
        let imported = self.import_found(builds.into_values().collect(), checked_at).await?;
        let outcomes = found.iter().map(|found| match found {
            Ok(Some(build)) => imported.get(&build.id).cloned().unwrap_or(BuildOutcome::Unknown),
            Ok(None) => BuildOutcome::Unknown,
            Err(fault) => BuildOutcome::of_fault(fault),
        });
        Ok(outcomes.collect())
    }

    /// Imports builds that the hub listed at this time, at most [`MAX_BUILDS`], and counts none of the outcomes. Of
    /// those that were looked at since then, the list tells nothing: the hub is asked again.
    ///
    /// # Errors
    /// If the index or this machine fails.
    pub(super) async fn import_listed(&self, builds: Vec<HubBuild>, listed_at: i64) -> Result<Vec<BuildOutcome>> {
        let ids: Vec<i64> = builds.iter().map(|build| build.id).collect();
        let stored = self.index.builds(&self.instance.name, &ids).await?;
        let later = stored.iter().filter(|stored| stored.checked_at > listed_at);
        let later: Vec<i64> = later.map(|stored| stored.build.build).collect();
        let listed = builds.into_iter().filter(|build| !later.contains(&build.id)).map(|build| (build, None));
        let mut imported = self.import_found(listed.collect(), listed_at).await?;
        let requests: Vec<BuildRequest> =
            later.iter().map(|id| BuildRequest { reference: BuildRef::Id(*id), deleted_at: None }).collect();
        if !requests.is_empty() {
            imported.extend(later.into_iter().zip(self.ask_and_import(&requests).await?));
        }
        Ok(ids.iter().map(|id| imported.remove(id).unwrap_or(BuildOutcome::Unknown)).collect())
    }

    /// Counts outcomes.
    pub(super) fn count(&self, outcomes: &[BuildOutcome]) {
        let mut counts = self.lock_counts();
        for outcome in outcomes {
            *match outcome {
                BuildOutcome::Imported { .. } => &mut counts.imported,
                BuildOutcome::Unchanged => &mut counts.unchanged,
                BuildOutcome::Deleted => &mut counts.deleted,
                BuildOutcome::Skipped(_) => &mut counts.skipped,
                BuildOutcome::Building => &mut counts.building,
                BuildOutcome::Unknown => &mut counts.unknown,
                BuildOutcome::Failed { .. } => &mut counts.failed,
            } += 1;
        }
    }

    async fn import_found(
        &self,
        builds: Vec<(HubBuild, Option<i64>)>,
        checked_at: i64,
    ) -> Result<HashMap<i64, BuildOutcome>> {
        let ids: Vec<i64> = builds.iter().map(|(build, _)| build.id).collect();
        let stored = self.index.builds(&self.instance.name, &ids).await?;
        let mut stored: HashMap<i64, StoredBuild> =
            stored.into_iter().map(|build| (build.build.build, build)).collect();
        let (mut outcomes, mut updates, mut complete) = (HashMap::new(), Vec::new(), Vec::new());
        for (build, deleted_at) in builds {
            let id = build.id;
            let stored = stored.remove(&id);
            let outcome = match (build.state, check(&build)) {
                (_, Err(reason)) => BuildOutcome::permanent(reason),
                (BuildState::Building, _) => {
                    // It is built again.
                    if stored.is_some() {
                        updates.push(self.update(&build, false, None));
                    }
                    BuildOutcome::Building
                }
                (BuildState::Complete, Ok(_))
                    if stored
                        .as_ref()
                        .is_some_and(|stored| stored.stays_deleted(&record(&self.instance.name, &build))) =>
                {
                    BuildOutcome::Deleted
                }
                (BuildState::Complete, Ok(directory)) => {
                    complete.push(CompleteBuild {
                        hub: build,
                        directory,
                        has_no_rpms: false,
                        wanted: None,
                        stored,
                        read: 0,
                        signed: Vec::new(),
                        failure: None,
                    });
                    continue;
                }
                (BuildState::Deleted, _) => {
                    updates.push(self.update(&build, false, deleted_at));
                    BuildOutcome::Deleted
                }
                (state @ (BuildState::Failed | BuildState::Canceled), _) => {
                    // Of one that the index does not have, there is nothing to record.
                    if stored.is_some() {
                        updates.push(self.update(&build, false, None));
                    }
                    let is_failed = state == BuildState::Failed;
                    BuildOutcome::Skipped(if is_failed { "it failed" } else { "it was canceled" })
                }
            };
            outcomes.insert(id, outcome);
        }
        self.import_complete(&mut complete, &mut outcomes).await?;
        for build in &complete {
            let update = self.update(&build.hub, build.is_imported(), None);
            outcomes.insert(build.hub.id, build.outcome(&update.build));
            let was_imported = build.stored.as_ref().is_some_and(|stored| stored.imported_at.is_some());
            if was_imported && !build.is_imported() {
                // It was moved or promoted, and is not read completely there. The index still has what was before, so
                // that the difference is seen again; the former places stay.
                continue;
            }
            let directory = build.is_imported().then(|| build.directory.clone());
            updates.push(BuildUpdate { directory, signed: build.signed.clone(), ..update });
        }
        if !updates.is_empty() {
            for (_, build) in self.index.record_builds(&self.writer, &updates, checked_at).await? {
                let reason = "expected the latest answer of the hub, found a later one in the index".to_owned();
                outcomes.insert(build, BuildOutcome::Failed { reason, is_permanent: false });
            }
        }
        Ok(outcomes)
    }

    /// Imports the packages of complete builds. If the hub cannot be asked, all are removed, with their outcome. Builds
    /// without RPMs are recorded as well: the reconciler asks for each build that the index does not have.
    async fn import_complete(
        &self,
        complete: &mut Vec<CompleteBuild>,
        outcomes: &mut HashMap<i64, BuildOutcome>,
    ) -> Result<()> {
        if complete.is_empty() {
            return Ok(());
        }
        let ids: Vec<i64> = complete.iter().map(|build| build.hub.id).collect();
        let fail_all = |complete: &mut Vec<CompleteBuild>, outcomes: &mut HashMap<_, _>, error: &HubError| {
            outcomes.extend(complete.drain(..).map(|build| (build.hub.id, BuildOutcome::of_hub(error))));
        };
        let rpms = match self.hub.build_rpms(&ids).await {
            Ok(rpms) => rpms,
            Err(error) => {
                fail_all(complete, outcomes, &error);
                return Ok(());
            }
        };
        let mut rpms = rpms.into_iter();
        for build in &mut *complete {
            match rpms.next() {
                Some(Ok(rpms)) => {
                    build.has_no_rpms = rpms.is_empty();
                    match self.wanted(&build.hub, rpms) {
                        Ok(wanted) => build.wanted = Some(wanted),
                        Err(reason) => build.fail(reason, true),
                    }
                }
                Some(Err(fault)) => build.fail(format!("RPMs: {fault}"), !fault.may_pass()),
                None => build.fail("expected RPMs of the hub, found no answer".to_owned(), false),
            }
        }
        let packages = self.index.build_packages(&self.instance.name, &ids, self.store.id).await?;
        let mut known: HashMap<i64, HashMap<String, BuildPackage>> = HashMap::new();
        for package in packages {
            let of_build: &mut HashMap<String, BuildPackage> = known.entry(package.build).or_default();
            let is_there = |package: &BuildPackage| package.places.iter().any(|place| place.gone_at.is_none());
            // Of a build that was built again there are two of each name, and the former ones are gone.
            if is_there(&package) || !of_build.contains_key(&package.nvra) {
                of_build.insert(package.nvra.clone(), package);
            }
        }
        for build in &mut *complete {
            let known = known.remove(&build.hub.id).unwrap_or_default();
            let now = record(&self.instance.name, &build.hub);
            if build
                .stored
                .as_ref()
                .is_some_and(|stored| stored.build.state == BuildState::Complete && !stored.build.is_same_run(&now))
            {
                // The files have the same names, and are others.
                continue;
            }
            for wanted in build.wanted_mut() {
                wanted.set_known(known.get(&wanted.rpm.nevra.nvra()), self.instance.headers);
            }
        }
        if let Err(error) = self.add_keys(complete).await {
            fail_all(complete, outcomes, &error);
            return Ok(());
        }
        self.import_packages(complete).await?;
        self.find_signed_copies(complete).await;
        Ok(())
    }

    /// True if an RPM is imported.
    pub(super) fn is_wanted(&self, rpm: &HubRpm) -> bool {
        !rpm.is_external && !rpm.is_metadata_only && !self.instance.skip_archs.contains(&rpm.nevra.arch)
    }

    /// Returns the RPMs of a build that are imported, and counts the others.
    ///
    /// # Errors
    /// A name is no part of a path.
    fn wanted(&self, build: &HubBuild, rpms: Vec<HubRpm>) -> std::result::Result<Vec<Wanted>, String> {
        let mut counts = self.lock_counts();
        let mut wanted = Vec::new();
        for rpm in rpms {
            if rpm.is_external {
                counts.external += 1;
            } else if rpm.is_metadata_only {
                counts.metadata_only += 1;
            } else if self.instance.skip_archs.contains(&rpm.nevra.arch) {
                counts.skipped_arch += 1;
            } else {
                let path = paths::plain(build, &rpm)
                    .ok_or_else(|| format!("expected names of files, found an RPM {}", rpm.nevra))?;
                wanted.push(Wanted { rpm, path, keys: Vec::new(), copies: Vec::new(), is_known: false });
            }
        }
        Ok(wanted)
    }

    /// Asks for the keys that the packages are signed with.
    async fn add_keys(&self, complete: &mut [CompleteBuild]) -> std::result::Result<(), HubError> {
        let wanted = || complete.iter().flat_map(|build| build.wanted());
        let ids: Vec<i64> = wanted().map(|wanted| wanted.rpm.id).collect();
        let mut keys = self.hub.signatures(&ids).await?.into_iter();
        for build in complete {
            let mut failed = None;
            for (wanted, keys) in build.wanted_mut().iter_mut().zip(&mut keys) {
                match keys {
                    Ok(keys) => wanted.keys = keys,
                    Err(fault) => failed = failed.or(Some(fault)),
                }
            }
            if let Some(fault) = failed {
                build.fail(format!("signatures: {fault}"), !fault.may_pass());
            }
        }
        Ok(())
    }

    async fn import_packages(&self, complete: &mut [CompleteBuild]) -> Result<()> {
        let mut work = Vec::new();
        let mut known = 0;
        for (build, complete) in complete.iter().enumerate() {
            for (package, wanted) in complete.wanted().iter().enumerate() {
                if wanted.is_known {
                    known += 1;
                } else {
                    work.push(PackageWork {
                        build,
                        package,
                        origin: self.origin(&complete.hub),
                        rpm: wanted.rpm.clone(),
                        path: wanted.path.clone(),
                    });
                }
            }
        }
        self.lock_counts().known += known;
        for (work, read) in self.read_packages(work).await? {
            let Some(build) = complete.get_mut(work.build) else { continue };
            match read {
                PackageRead::Inserted => {
                    build.read += 1;
                    if let Some(wanted) = build.wanted_mut().get_mut(work.package) {
                        wanted.is_known = true;
                    }
                }
                PackageRead::Failed { reason, is_permanent } => build.fail(reason, is_permanent),
            }
        }
        Ok(())
    }

    /// Looks for the signed copies that the index does not have.
    async fn find_signed_copies(&self, complete: &mut [CompleteBuild]) {
        for build in complete {
            let found = self.look_for_signed(&build.hub, build.wanted()).await;
            self.lock_counts().signed_copies += found.copies.len() as u64;
            build.signed = found.copies;
            if let Some(reason) = found.failure {
                build.fail(reason, false);
            }
        }
    }

    fn origin(&self, build: &HubBuild) -> sql::KojiOrigin {
        sql::KojiOrigin { instance: self.instance.name.clone(), build: build.id, volume: build.volume.clone() }
    }

    /// Returns what the index shall have of a build.
    pub(super) fn update(&self, build: &HubBuild, is_imported: bool, deleted_at: Option<i64>) -> BuildUpdate {
        BuildUpdate {
            build: record(&self.instance.name, build),
            is_imported,
            deleted_at,
            store_id: self.store.id,
            directory: None,
            signed: Vec::new(),
        }
    }
}

/// Returns a build as the index has it.
pub(super) fn record(instance: &str, build: &HubBuild) -> Build {
    let HubBuild { id, name, version, release, epoch, state, is_draft, volume, completion_time } = build;
    Build {
        instance: instance.to_owned(),
        build: *id,
        name: name.clone(),
        version: version.clone(),
        release: release.clone(),
        epoch: *epoch,
        state: *state,
        volume: volume.clone(),
        draft: *is_draft,
        completed_at: completion_time.map(|seconds| seconds.floor() as i64),
    }
}

/// Checks that the names of a build fit the index, and are parts of a path. Returns its directory.
fn check(build: &HubBuild) -> std::result::Result<String, String> {
    let names = [&build.name, &build.version, &build.release].map(String::len);
    if names.into_iter().any(|length| length > MAX_NAME_BYTES) || build.volume.len() > MAX_VOLUME_BYTES {
        return Err(format!(
            "build {}: expected names of up to {MAX_NAME_BYTES} bytes and a volume of up to {MAX_VOLUME_BYTES}, found \
             longer ones",
            build.id
        ));
    }
    let directory = build.directory();
    directory.ok_or_else(|| format!("build {}: expected names of directories, found {:?}", build.id, build.nvr()))
}

/// Returns the store of an instance that has none yet. Its pattern holds for the configured distributions.
fn new_store(instance: &KojiInstance) -> Result<NewStore> {
    let pattern = if instance.distros.as_slice().is_empty() { None } else { Some(PATTERN.parse()?) };
    Ok(NewStore {
        name: instance.store.clone(),
        tier: Tier::Koji,
        base_url: Some(instance.topurl.to_string()),
        root: None,
        priority: 0,
        pattern,
        distros: Distros::clone(&instance.distros),
        absent_statuses: AbsentStatuses::default(),
        redirect_hosts: RedirectHosts::default(),
        allow_private: false,
    })
}
