//! Rows: what the queries select, and how it becomes records, packages, locations and stores.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::sync::Arc;

use artifact::{Artifact, Format, Identity, Nevra, Package};
use sqlx::{Database, Encode, FromRow, QueryBuilder, Type};

use crate::{Location, Record, Store, StoredPackage, short};

/// Lists are asked in pieces of these lengths, the last one filled up by repeating a value: so few statements are prepared.
const LIST_LENGTHS: [usize; 4] = [1, 8, 64, 500];
/// The most values asked for by one statement.
pub(crate) const LIST: usize = 500;

/// Writes `column in (?, ...)`. `values` holds 1 to [`LIST`].
pub(crate) fn push_list<'t, DB, T>(query: &mut QueryBuilder<DB>, column: &'static str, values: &[T])
where
    DB: Database,
    T: Copy + Encode<'t, DB> + Type<DB>,
{
    let length = LIST_LENGTHS.into_iter().find(|length| *length >= values.len()).unwrap_or(values.len());
    query.push(column).push(" in (");
    let mut list = query.separated(", ");
    for value in values.iter().chain(std::iter::repeat_n(values.last(), length - values.len()).flatten()) {
        list.push_bind(*value);
    }
    query.push(")");
}

/// The state of a package that may hold build-ids which are not in `artifacts`.
pub(crate) const OPEN: i64 = 1;
/// The state of a package that has told everything.
pub(crate) const COMPLETE: i64 = 0;

#[derive(FromRow, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ListRow {
    pub(crate) package_id: i64,
    pub(crate) list: Vec<u8>,
}

/// A package with one of its locations, or none.
#[derive(FromRow)]
pub(crate) struct PackageRow {
    id: i64,
    format: String,
    identity: Vec<u8>,
    name: String,
    epoch: Option<i64>,
    version: String,
    release: String,
    arch: String,
    source: Option<String>,
    distro: String,
    built_at: Option<i64>,
    state: i64,
    #[sqlx(flatten)]
    location: LocationRow,
    #[sqlx(flatten)]
    store: StoreRow,
}

/// A package with one of its locations, or none, and a list of its artifacts.
#[derive(FromRow)]
pub(crate) struct RecordRow {
    list: Vec<u8>,
    #[sqlx(flatten)]
    package: PackageRow,
}

#[derive(FromRow)]
struct LocationRow {
    path: Option<String>,
    size: Option<i64>,
    mtime_ns: Option<i64>,
    header_start: Option<i64>,
    header_end: Option<i64>,
    signing_key: Option<String>,
    first_seen: Option<i64>,
    last_seen: Option<i64>,
    gone_at: Option<i64>,
}

#[derive(FromRow)]
pub(crate) struct StoreRow {
    store_id: Option<i64>,
    store_name: Option<String>,
    tier: Option<String>,
    base_url: Option<String>,
    root: Option<String>,
    priority: Option<i64>,
}

/// Records in the order of the lists: by package id, ordinal, build-id, kind.
pub(crate) fn to_records(artifacts: Vec<(i64, Artifact)>, packages: Vec<StoredPackage>) -> sqlx::Result<Vec<Record>> {
    let packages: HashMap<i64, Arc<StoredPackage>> =
        packages.into_iter().map(|package| (package.id, Arc::new(package))).collect();
    let mut records = Vec::with_capacity(artifacts.len());
    for (package_id, artifact) in artifacts {
        let package = packages
            .get(&package_id)
            .ok_or_else(|| broken(format!("an artifact of package {package_id}, which does not exist")))?;
        records.push(Record { package: package.clone(), artifact });
    }
    records.sort_by(|a, b| a.package.id.cmp(&b.package.id).then_with(|| a.artifact.cmp(&b.artifact)));
    Ok(records)
}

/// Packages by id, each with all its locations, each once, best first.
pub(crate) fn to_packages(rows: Vec<PackageRow>) -> sqlx::Result<Vec<StoredPackage>> {
    let mut packages: BTreeMap<i64, StoredPackage> = BTreeMap::new();
    let mut stores: HashMap<i64, Arc<Store>> = HashMap::new();
    for row in rows {
        let epoch = row.epoch.map(u32::try_from).transpose().map_err(broken)?;
        let nevra = Nevra { name: row.name, epoch, version: row.version, release: row.release, arch: row.arch };
        let location = match row.store.into_store()? {
            Some(store) => {
                let store = stores.entry(store.id).or_insert_with(|| Arc::new(store)).clone();
                row.location.into_location(store, &nevra)?
            }
            None => None,
        };
        if let Some(package) = packages.get_mut(&row.id) {
            package.locations.extend(location);
            continue;
        }
        let source_rpm = row.source.map(|source| short::whole_source(source, &nevra));
        let identity = to_identity(&row.identity)?;
        let package = Package { format: to_format(&row.format)?, nevra, source_rpm, identity, built_at: row.built_at };
        let open = row.state == OPEN;
        packages.insert(
            row.id,
            StoredPackage { id: row.id, package, distro: row.distro, open, locations: location.into_iter().collect() },
        );
    }
    let mut packages: Vec<StoredPackage> = packages.into_values().collect();
    for package in &mut packages {
        package.locations.sort_by(|a, b| best_first(a).cmp(&best_first(b)));
        package.locations.dedup_by(|a, b| a.store.id == b.store.id && a.path == b.path);
    }
    Ok(packages)
}

/// The order in which locations are tried.
fn best_first(location: &Location) -> impl Ord + '_ {
    let store = &location.store;
    (location.gone_at.is_some(), store.tier, store.priority, &store.name, &location.path)
}

impl RecordRow {
    pub(crate) fn split(self) -> (ListRow, PackageRow) {
        (ListRow { package_id: self.package.id, list: self.list }, self.package)
    }
}

impl LocationRow {
    fn into_location(self, store: Arc<Store>, nevra: &Nevra) -> sqlx::Result<Option<Location>> {
        let (Some(path), Some(size), Some(first_seen), Some(last_seen)) = (self.path, self.size, self.first_seen, self.last_seen)
        else {
            return Ok(None);
        };
        let header = match (self.header_start, self.header_end) {
            (Some(start), Some(end)) => Some(Range { start: to_unsigned(start)?, end: to_unsigned(end)? }),
            _ => None,
        };
        let Self { mtime_ns, signing_key, gone_at, .. } = self;
        let (size, path) = (to_unsigned(size)?, short::whole_path(path, nevra));
        Ok(Some(Location { store, path, size, mtime_ns, header, signing_key, first_seen, last_seen, gone_at }))
    }
}

impl StoreRow {
    pub(crate) fn into_store(self) -> sqlx::Result<Option<Store>> {
        let (Some(id), Some(name), Some(tier), Some(priority)) = (self.store_id, self.store_name, self.tier, self.priority)
        else {
            return Ok(None);
        };
        Ok(Some(Store {
            id,
            name,
            tier: tier.parse().map_err(broken)?,
            base_url: self.base_url,
            root: self.root.map(Into::into),
            priority: i32::try_from(priority).map_err(broken)?,
        }))
    }
}

pub(crate) fn to_identity(bytes: &[u8]) -> sqlx::Result<Identity> {
    bytes.try_into().map(Identity::from_bytes).map_err(broken)
}

pub(crate) fn to_format(word: &str) -> sqlx::Result<Format> {
    Format::of(word).ok_or_else(|| broken(format!("packages.format: expected one of {:?}, found {word:?}", Format::ALL)))
}

pub(crate) fn to_unsigned(value: i64) -> sqlx::Result<u64> {
    value.try_into().map_err(broken)
}

/// A row that this program cannot have written.
pub(crate) fn broken(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> sqlx::Error {
    sqlx::Error::Decode(error.into())
}
