//! The queries of the gateway.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::sync::Arc;

use artifact::{Artifact, BuildId, Identity, Kind, Nevra, Package};
use sqlx::{Database, Encode, FromRow, QueryBuilder, Type};

use crate::db::both;
use crate::{Index, Location, Record, Result, Store, StoredPackage};

/// Lists are asked in pieces of these lengths, the last one filled up by repeating a value: so few statements are prepared.
const LIST_LENGTHS: [usize; 4] = [1, 8, 64, 500];
/// The most values asked for by one statement.
pub(crate) const LIST: usize = 500;

const ARTIFACTS: &str = "select build_id, kind, package_id, ordinal, dwarf, path from artifacts where ";

const PACKAGES: &str = "select p.id, p.identity, p.name, p.epoch, p.version, p.`release`, p.arch, p.source_rpm, p.distro, p.built_at, \
    p.state, l.path, l.size, l.mtime_ns, l.header_start, l.header_end, l.signing_key, l.first_seen, l.last_seen, l.gone_at, \
    s.id as store_id, s.name as store_name, s.tier, s.base_url, s.root, s.priority \
    from packages p left join locations l on l.package_id = p.id left join stores s on s.id = l.store_id where ";

impl Index {
    /// Every artifact with one of these build-ids, ordered by package id, ordinal, build-id, kind. Each once, however often its
    /// build-id is asked for.
    ///
    /// # Errors
    /// If the database cannot be asked: then nothing is known, neither presence nor absence.
    pub async fn records(&self, build_ids: &[BuildId]) -> Result<Vec<Record>> {
        let mut keys: Vec<&[u8]> = build_ids.iter().map(BuildId::as_bytes).collect();
        keys.sort_unstable();
        keys.dedup();
        self.reading("reading records", || async {
            let mut rows = Vec::new();
            for keys in keys.chunks(LIST) {
                rows.extend(both!(Db, &self.db, |pool, Backend| {
                    let mut query = QueryBuilder::<Backend>::new(ARTIFACTS);
                    push_list(&mut query, "build_id", keys);
                    query.build_query_as::<ArtifactRow>().fetch_all(pool).await?
                }));
            }
            let mut ids: Vec<i64> = rows.iter().map(|row| row.package_id).collect();
            ids.sort_unstable();
            ids.dedup();
            let packages = self.packages_by_id(&ids).await?;
            to_records(rows, packages)
        })
        .await
    }

    /// Every artifact of the packages with this name-version-release.arch, in the same order.
    ///
    /// # Errors
    /// If the database cannot be asked.
    pub async fn records_of_package(&self, nvra: &str) -> Result<Vec<Record>> {
        self.reading("reading records of a package", || async {
            let packages = self.packages_of(nvra).await?;
            let ids: Vec<i64> = packages.iter().map(|package| package.id).collect();
            let mut rows = Vec::new();
            for ids in ids.chunks(LIST) {
                rows.extend(both!(Db, &self.db, |pool, Backend| {
                    let mut query = QueryBuilder::<Backend>::new(ARTIFACTS);
                    push_list(&mut query, "package_id", ids);
                    query.build_query_as::<ArtifactRow>().fetch_all(pool).await?
                }));
            }
            to_records(rows, packages)
        })
        .await
    }

    /// The packages with this name-version-release.arch, by id. Several if it was built more than once.
    ///
    /// # Errors
    /// If the database cannot be asked.
    pub async fn packages(&self, nvra: &str) -> Result<Vec<StoredPackage>> {
        self.reading("reading packages", || self.packages_of(nvra)).await
    }

    /// The package with this identity.
    ///
    /// # Errors
    /// If the database cannot be asked.
    pub async fn package(&self, identity: &Identity) -> Result<Option<StoredPackage>> {
        self.reading("reading a package", || async {
            let rows = both!(Db, &self.db, |pool, Backend| {
                let mut query = QueryBuilder::<Backend>::new(PACKAGES);
                query.push("p.identity_kind = 'header' and p.identity = ").push_bind(identity.as_bytes().as_slice());
                query.build_query_as::<PackageRow>().fetch_all(pool).await?
            });
            Ok(to_packages(rows)?.into_iter().next())
        })
        .await
    }

    /// The packages of one arch that were built from one source package (`bash-4.2.10-5.fc16.src.rpm`), by id.
    ///
    /// # Errors
    /// If the database cannot be asked.
    pub async fn siblings(&self, source_rpm: &str, arch: &str) -> Result<Vec<StoredPackage>> {
        self.reading("reading sibling packages", || async {
            let rows = both!(Db, &self.db, |pool, Backend| {
                let mut query = QueryBuilder::<Backend>::new(PACKAGES);
                query.push("p.source_rpm = ").push_bind(source_rpm).push(" and p.arch = ").push_bind(arch);
                query.build_query_as::<PackageRow>().fetch_all(pool).await?
            });
            let mut packages = to_packages(rows)?;
            // MySQL compares without blanks at the end.
            packages
                .retain(|stored| stored.package.source_rpm.as_deref() == Some(source_rpm) && stored.package.nevra.arch == arch);
            Ok(packages)
        })
        .await
    }

    /// How many inserting transactions each writer has committed: a change means that something new may be in the index.
    ///
    /// # Errors
    /// If the database cannot be asked.
    pub async fn writers(&self) -> Result<BTreeMap<String, i64>> {
        self.reading("reading writers", || async {
            let rows: Vec<(String, i64)> = both!(Db, &self.db, |pool, Backend| {
                sqlx::query_as::<Backend, _>("select writer, sequence from writers").fetch_all(pool).await?
            });
            Ok(rows.into_iter().collect())
        })
        .await
    }

    async fn packages_of(&self, nvra: &str) -> sqlx::Result<Vec<StoredPackage>> {
        let rows = both!(Db, &self.db, |pool, Backend| {
            let mut query = QueryBuilder::<Backend>::new(PACKAGES);
            query.push("p.nvra = ").push_bind(nvra);
            query.build_query_as::<PackageRow>().fetch_all(pool).await?
        });
        let mut packages = to_packages(rows)?;
        // MySQL compares without blanks at the end.
        packages.retain(|stored| stored.package.nevra.nvra() == nvra);
        Ok(packages)
    }

    async fn packages_by_id(&self, ids: &[i64]) -> sqlx::Result<Vec<StoredPackage>> {
        let mut rows = Vec::new();
        for ids in ids.chunks(LIST) {
            rows.extend(both!(Db, &self.db, |pool, Backend| {
                let mut query = QueryBuilder::<Backend>::new(PACKAGES);
                push_list(&mut query, "p.id", ids);
                query.build_query_as::<PackageRow>().fetch_all(pool).await?
            }));
        }
        to_packages(rows)
    }
}

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

#[derive(FromRow)]
struct ArtifactRow {
    build_id: Vec<u8>,
    kind: i64,
    package_id: i64,
    ordinal: i64,
    dwarf: Option<i64>,
    path: String,
}

/// A package with one of its locations, or none.
#[derive(FromRow)]
struct PackageRow {
    id: i64,
    identity: Vec<u8>,
    name: String,
    epoch: Option<i64>,
    version: String,
    release: String,
    arch: String,
    source_rpm: Option<String>,
    distro: String,
    built_at: Option<i64>,
    state: String,
    #[sqlx(flatten)]
    location: LocationRow,
    #[sqlx(flatten)]
    store: StoreRow,
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

fn to_records(rows: Vec<ArtifactRow>, packages: Vec<StoredPackage>) -> sqlx::Result<Vec<Record>> {
    let packages: HashMap<i64, Arc<StoredPackage>> =
        packages.into_iter().map(|package| (package.id, Arc::new(package))).collect();
    let mut records = Vec::with_capacity(rows.len());
    for row in rows {
        let package = packages
            .get(&row.package_id)
            .ok_or_else(|| broken(format!("an artifact of package {}, which does not exist", row.package_id)))?;
        let kind = match row.kind {
            0 => Kind::Executable,
            1 => Kind::Debuginfo,
            other => return Err(broken(format!("artifact kind {other}"))),
        };
        let artifact = Artifact {
            ordinal: u32::try_from(row.ordinal).map_err(broken)?,
            build_id: BuildId::from_bytes(&row.build_id).map_err(broken)?,
            kind,
            dwarf: row.dwarf.map(|dwarf| dwarf != 0),
            path: row.path,
        };
        records.push(Record { package: package.clone(), artifact });
    }
    records.sort_by(|a, b| {
        let key = |record: &Record| (record.package.id, record.artifact.ordinal);
        key(a)
            .cmp(&key(b))
            .then_with(|| a.artifact.build_id.cmp(&b.artifact.build_id))
            .then_with(|| a.artifact.kind.cmp(&b.artifact.kind))
    });
    Ok(records)
}

fn to_packages(rows: Vec<PackageRow>) -> sqlx::Result<Vec<StoredPackage>> {
    let mut packages: BTreeMap<i64, StoredPackage> = BTreeMap::new();
    let mut stores: HashMap<i64, Arc<Store>> = HashMap::new();
    for row in rows {
        let location = match row.store.into_store()? {
            Some(store) => {
                let store = stores.entry(store.id).or_insert_with(|| Arc::new(store)).clone();
                row.location.into_location(store)?
            }
            None => None,
        };
        if let Some(package) = packages.get_mut(&row.id) {
            package.locations.extend(location);
            continue;
        }
        let epoch = row.epoch.map(u32::try_from).transpose().map_err(broken)?;
        let package = Package {
            nevra: Nevra { name: row.name, epoch, version: row.version, release: row.release, arch: row.arch },
            source_rpm: row.source_rpm,
            identity: to_identity(&row.identity)?,
            built_at: row.built_at,
        };
        let open = row.state == "open";
        packages.insert(
            row.id,
            StoredPackage { id: row.id, package, distro: row.distro, open, locations: location.into_iter().collect() },
        );
    }
    let mut packages: Vec<StoredPackage> = packages.into_values().collect();
    for package in &mut packages {
        package.locations.sort_by(|a, b| best_first(a).cmp(&best_first(b)));
    }
    Ok(packages)
}

/// The order in which locations are tried.
fn best_first(location: &Location) -> impl Ord + '_ {
    let store = &location.store;
    (location.gone_at.is_some(), store.tier, store.priority, &store.name, &location.path)
}

impl LocationRow {
    fn into_location(self, store: Arc<Store>) -> sqlx::Result<Option<Location>> {
        let (Some(path), Some(size), Some(first_seen), Some(last_seen)) = (self.path, self.size, self.first_seen, self.last_seen)
        else {
            return Ok(None);
        };
        let header = match (self.header_start, self.header_end) {
            (Some(start), Some(end)) => Some(Range { start: to_unsigned(start)?, end: to_unsigned(end)? }),
            _ => None,
        };
        let Self { mtime_ns, signing_key, gone_at, .. } = self;
        let size = to_unsigned(size)?;
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

pub(crate) fn to_unsigned(value: i64) -> sqlx::Result<u64> {
    value.try_into().map_err(broken)
}

/// A row that this program cannot have written.
pub(crate) fn broken(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> sqlx::Error {
    sqlx::Error::Decode(error.into())
}
