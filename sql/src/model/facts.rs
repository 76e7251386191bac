//! From rows to packages, records and claims.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use artifact::{Artifact, BuildId, Format, Identity, Nevra, Package};

use super::rows::{PackageRow, decode_error};
use crate::read::builds::BuildFacts;
use crate::{
    Claim, ClaimRecord, History, HistoryFile, Life, Location, PackageState, Packages, Record, Records, Store,
    StoredPackage, UnreadPackage,
};

/// A package with all that the index knows of it, whether its header was read or not.
pub(crate) struct PackageFacts {
    pub(crate) id: i64,
    pub(crate) format: Format,
    pub(crate) identity: Option<Identity>,
    pub(crate) nevra: Nevra,
    pub(crate) source_rpm: Option<String>,
    pub(crate) distro: String,
    pub(crate) koji_volume: Option<String>,
    pub(crate) built_at: Option<i64>,
    pub(crate) state: PackageState,
    pub(crate) deleted_at: Option<i64>,
    /// Best first, as in [`StoredPackage::locations`].
    pub(crate) locations: Vec<Location>,
}

impl PackageFacts {
    /// Returns the package, if its header was read.
    fn into_stored(self) -> Option<StoredPackage> {
        let Self { id, format, identity, nevra, source_rpm, distro, built_at, state, locations, .. } = self;
        let package = Package { format, nevra, source_rpm, identity: identity?, built_at };
        Some(StoredPackage { id, package, distro, open: state.is_open(), locations })
    }

    fn to_unread(&self) -> UnreadPackage {
        UnreadPackage {
            id: self.id,
            format: self.format,
            identity: self.identity,
            nevra: self.nevra.clone(),
            source_rpm: self.source_rpm.clone(),
            distro: self.distro.clone(),
            state: self.state,
            locations: self.locations.clone(),
        }
    }

    /// Adds the places that follow from the patterns of these stores. A row of a store, also of a place that is gone,
    /// replaces them.
    fn add_derived(&mut self, stores: &[Arc<Store>]) {
        for store in stores {
            let has_row = self.locations.iter().any(|location| location.store.id == store.id);
            let Some(pattern) = store.pattern.as_ref().filter(|_| !has_row && self.format == Format::Rpm) else {
                continue;
            };
            if !store.distros.matches(&self.distro) {
                continue;
            }
            let key = self.locations.iter().find_map(|location| location.signing_key.as_deref());
            let path = pattern.path(&self.nevra, self.source_rpm.as_deref(), self.koji_volume.as_deref(), key);
            self.locations.extend(path.map(|path| derived(store.clone(), path)));
        }
    }

    fn sort_locations(&mut self) {
        self.locations.sort_by(|a, b| best_first(a).cmp(&best_first(b)));
        self.locations.dedup_by(|a, b| a.store.id == b.store.id && a.path == b.path);
    }
}

/// Returns a place that was never looked at.
fn derived(store: Arc<Store>, path: String) -> Location {
    Location {
        store,
        path,
        size: None,
        mtime_ns: None,
        header: None,
        checksum: None,
        signing_key: None,
        first_seen: None,
        last_seen: None,
        gone_at: None,
        checked_at: None,
        check_result: None,
        derived: true,
    }
}

/// Returns the key of the order in which locations are tried.
fn best_first(location: &Location) -> impl Ord + '_ {
    let store = &location.store;
    let is_unproven = location.derived && location.last_seen.is_none();
    (location.gone_at.is_some(), store.tier, is_unproven, store.priority, &store.name, &location.path)
}

/// Returns packages by id, each with its locations without duplicates, and with the places that follow from the
/// patterns of these stores.
pub(crate) fn to_facts(rows: Vec<PackageRow>, with_pattern: &[Arc<Store>]) -> sqlx::Result<Vec<PackageFacts>> {
    let mut packages: BTreeMap<i64, PackageFacts> = BTreeMap::new();
    let mut stores: HashMap<i64, Arc<Store>> = HashMap::new();
    for row in rows {
        let mut facts = row.into_facts()?;
        for location in &mut facts.locations {
            location.store = stores.entry(location.store.id).or_insert_with(|| location.store.clone()).clone();
        }
        match packages.get_mut(&facts.id) {
            Some(package) => package.locations.append(&mut facts.locations),
            None => drop(packages.insert(facts.id, facts)),
        }
    }
    let mut packages: Vec<PackageFacts> = packages.into_values().collect();
    for package in &mut packages {
        package.sort_locations();
        package.add_derived(with_pattern);
        package.sort_locations();
    }
    Ok(packages)
}

/// Returns those whose header was read.
pub(crate) fn to_stored(packages: Vec<PackageFacts>) -> Vec<StoredPackage> {
    packages.into_iter().filter_map(PackageFacts::into_stored).collect()
}

/// Returns those whose header was read, and those whose header was not.
pub(crate) fn to_both(packages: Vec<PackageFacts>) -> Packages {
    let (read, unread): (Vec<_>, Vec<_>) = packages.into_iter().partition(|package| package.identity.is_some());
    Packages { read: to_stored(read), unread: unread.iter().map(PackageFacts::to_unread).collect() }
}

/// Returns records without duplicates, by package id, ordinal and build-id.
pub(crate) fn to_records(artifacts: Vec<(i64, Artifact)>, packages: Vec<StoredPackage>) -> sqlx::Result<Vec<Record>> {
    let packages: HashMap<i64, Arc<StoredPackage>> =
        packages.into_iter().map(|package| (package.id, Arc::new(package))).collect();
    let mut records = Vec::with_capacity(artifacts.len());
    for (package_id, artifact) in artifacts {
        let package = packages
            .get(&package_id)
            .ok_or_else(|| decode_error(format!("an artifact of package {package_id}, which does not exist")))?;
        records.push(Record { package: package.clone(), artifact });
    }
    records.sort_by(|a, b| key(a).cmp(&key(b)));
    // A package with several locations has several rows.
    records.dedup_by(|a, b| key(a) == key(b));
    Ok(records)
}

/// Returns the primary key in `artifacts`.
fn key(record: &Record) -> (i64, u32, &BuildId) {
    (record.package.id, record.artifact.ordinal, &record.artifact.build_id)
}

/// What a query found, with duplicates.
#[derive(Default)]
pub(crate) struct Found {
    /// Artifacts with the ids of their packages.
    pub(crate) artifacts: Vec<(i64, Artifact)>,
    /// Claims with the ids of their packages.
    pub(crate) claims: Vec<(i64, Claim)>,
    /// By id.
    pub(crate) packages: Vec<PackageFacts>,
}

impl Found {
    /// Removes duplicates, and claims that artifacts answer.
    fn tidy(&mut self) {
        let key = |(id, artifact): &(i64, Artifact)| (*id, artifact.ordinal, artifact.build_id.clone());
        self.artifacts.sort_by_cached_key(key);
        self.artifacts.dedup_by(|a, b| key(a) == key(b));
        self.claims.sort_by(|(id, claim), (other_id, other)| (id, &claim.build_id).cmp(&(other_id, &other.build_id)));
        self.claims.dedup_by(|(id, claim), (other_id, other)| (id, &claim.build_id) == (other_id, &other.build_id));
        if !self.claims.is_empty() {
            let answered: HashSet<(i64, &BuildId)> =
                self.artifacts.iter().map(|(id, artifact)| (*id, &artifact.build_id)).collect();
            self.claims.retain(|(id, claim)| !answered.contains(&(*id, &claim.build_id)));
        }
    }

    pub(crate) fn into_records(mut self) -> sqlx::Result<Records> {
        self.tidy();
        let claiming: HashSet<i64> = self.claims.iter().map(|(id, _)| *id).collect();
        let unread: HashMap<i64, Arc<UnreadPackage>> = self
            .packages
            .iter()
            .filter(|package| claiming.contains(&package.id))
            .map(|package| (package.id, Arc::new(package.to_unread())))
            .collect();
        let claim = |(id, claim): (i64, Claim)| Some(ClaimRecord { package: unread.get(&id)?.clone(), claim });
        let claims = self.claims.into_iter().filter_map(claim).collect();
        Ok(Records { records: to_records(self.artifacts, to_stored(self.packages))?, claims })
    }

    pub(crate) fn into_histories(
        mut self,
        mut lives: HashMap<i64, Life>,
        mut builds: HashMap<i64, BuildFacts>,
    ) -> Vec<History> {
        self.tidy();
        let mut files: HashMap<i64, Vec<HistoryFile>> = HashMap::new();
        for (id, Artifact { build_id, path, kind, .. }) in self.artifacts {
            files.entry(id).or_default().push(HistoryFile { build_id, path: Some(path), kind, claimed: false });
        }
        for (id, Claim { build_id, kind, link_path }) in self.claims {
            files.entry(id).or_default().push(HistoryFile { build_id, path: link_path, kind, claimed: true });
        }
        let history = |package: PackageFacts| {
            let BuildFacts { origin, build } = builds.remove(&package.id).unwrap_or_default();
            History {
                id: package.id,
                format: package.format,
                identity: package.identity,
                nevra: package.nevra,
                source_rpm: package.source_rpm,
                distro: package.distro,
                state: package.state,
                deleted_at: package.deleted_at,
                files: files.remove(&package.id).unwrap_or_default(),
                locations: package.locations,
                life: lives.remove(&package.id).unwrap_or_default(),
                koji: origin,
                build,
            }
        };
        self.packages.into_iter().map(history).collect()
    }
}
