//! What a check of builds changes in their packages and in the places of these.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use sqlx::{FromRow, QueryBuilder};

use super::{builds, chunks};
use crate::connect::db::{Transaction, both};
use crate::connect::dialect::Dialect;
use crate::model::rows::{MAX_LIST, push_list};
use crate::{BuildState, BuildUpdate, PathHash, SignedCopy, StoredBuild};

/// A build that was checked, and its row after that.
pub(super) struct CheckedBuild<'a> {
    pub(super) update: &'a BuildUpdate,
    pub(super) now: StoredBuild,
}

/// When builds were checked, and the time of the database, in seconds since 1970.
#[derive(Clone, Copy)]
pub(super) struct CheckTimes {
    pub(super) checked_at: i64,
    pub(super) now: i64,
}

impl CheckTimes {
    /// True if another check was later. One in the future was made by a clock that was wrong, and is not.
    pub(super) fn are_before(self, other: i64) -> bool {
        other > self.checked_at && other <= self.now
    }
}

/// A package of a build.
#[derive(FromRow)]
struct PackageOfBuild {
    id: i64,
    koji_build: i64,
    nvra: String,
    koji_volume: Option<String>,
    deleted_at: Option<i64>,
    is_read: bool,
}

/// A row of `locations`.
#[derive(FromRow)]
struct Place {
    path_hash: String,
    package_id: i64,
    path: String,
    last_seen: Option<i64>,
    gone_at: Option<i64>,
    checked_at: Option<i64>,
    check_result: Option<String>,
}

const PLACES: &str = "select path_hash, package_id, path, last_seen, gone_at, checked_at, check_result from locations \
     where store_id = ";

/// The key of a location.
type PlaceKey = (i64, String, i64);

/// A signed copy that is looked for, with its package.
struct Wanted<'a> {
    copy: &'a SignedCopy,
    package_id: i64,
}

/// Changes of locations, in the order of their key.
#[derive(Default)]
struct PlaceChanges<'a> {
    /// Places that are gone since a time.
    gone: BTreeMap<PlaceKey, i64>,
    /// Signed copies without a row.
    new: BTreeMap<PlaceKey, &'a SignedCopy>,
    /// Signed copies with a row.
    known: BTreeMap<PlaceKey, &'a SignedCopy>,
}

/// Records what checks of builds of one instance found. Returns `true` if packages or places changed.
pub(super) async fn record(
    transaction: &mut Transaction,
    instance: &str,
    checked: &[CheckedBuild<'_>],
    times: CheckTimes,
) -> sqlx::Result<bool> {
    let checked_at = times.checked_at;
    let packages = read_packages(transaction, instance, &builds::ids(checked)).await?;
    let has_new_volumes = set_volumes(transaction, checked, &packages).await?;
    let has_deleted = set_deleted(transaction, checked, &packages).await?;
    let has_restored = set_restored(transaction, checked, &packages).await?;
    let mut changes = PlaceChanges::default();
    for checked in checked {
        let Some(packages) = packages.get(&checked.now.build.build) else { continue };
        let store_id = checked.update.store_id;
        if checked.now.build.state != BuildState::Complete {
            let ended_at = checked.now.deleted_at.unwrap_or(checked_at);
            for place in read_places(transaction, store_id, packages).await? {
                let is_found_later = place.checked_at.is_some_and(|at| times.are_before(at))
                    && place.check_result.as_deref() == Some("present");
                if place.gone_at.is_none() && !is_found_later {
                    let gone_at = place.last_seen.map_or(ended_at, |last_seen| last_seen.max(ended_at));
                    changes.gone.insert((store_id, place.path_hash, place.package_id), gone_at);
                }
            }
            continue;
        }
        if let Some(directory) = &checked.update.directory {
            let is_inside =
                |path: &str| path.strip_prefix(directory.as_str()).is_some_and(|rest| rest.starts_with('/'));
            for place in read_places(transaction, store_id, packages).await? {
                if place.gone_at.is_none() && !is_inside(&place.path) {
                    changes.gone.insert((store_id, place.path_hash, place.package_id), checked_at);
                }
            }
        }
        sort_signed(transaction, store_id, &checked.update.signed, packages, times, &mut changes).await?;
    }
    Ok(changes.write(transaction, checked_at).await? || has_new_volumes || has_deleted || has_restored)
}

/// Returns the packages of builds by build, locked until the end of the transaction.
async fn read_packages(
    transaction: &mut Transaction,
    instance: &str,
    builds: &[i64],
) -> sqlx::Result<BTreeMap<i64, Vec<PackageOfBuild>>> {
    let mut packages: BTreeMap<i64, Vec<PackageOfBuild>> = BTreeMap::new();
    for builds in builds.chunks(MAX_LIST) {
        let rows: Vec<PackageOfBuild> = both!(Transaction, transaction, |connection, Backend| {
            let mut query = QueryBuilder::<Backend>::new(
                "select id, koji_build, nvra, koji_volume, deleted_at, identity is not null as is_read from packages \
                 where koji_instance = ",
            );
            query.push_bind(instance).push(" and ");
            push_list(&mut query, "koji_build", builds);
            query.push(Backend::FOR_UPDATE);
            query.build_query_as().fetch_all(&mut **connection).await?
        });
        for row in rows {
            packages.entry(row.koji_build).or_default().push(row);
        }
    }
    packages.values_mut().for_each(|packages| packages.sort_by_key(|package| package.id));
    Ok(packages)
}

/// Gives packages the volume of their build. Returns `true` if one changed.
async fn set_volumes(
    transaction: &mut Transaction,
    checked: &[CheckedBuild<'_>],
    packages: &BTreeMap<i64, Vec<PackageOfBuild>>,
) -> sqlx::Result<bool> {
    let mut by_volume: BTreeMap<&str, Vec<i64>> = BTreeMap::new();
    for CheckedBuild { now, .. } in checked {
        let volume = now.build.volume.as_str();
        let of_build = packages.get(&now.build.build).into_iter().flatten();
        let others = of_build.filter(|package| package.koji_volume.as_deref() != Some(volume));
        by_volume.entry(volume).or_default().extend(others.map(|package| package.id));
    }
    let mut has_changed = false;
    for (volume, mut ids) in by_volume {
        ids.sort_unstable();
        for ids in ids.chunks(MAX_LIST) {
            has_changed = true;
            both!(Transaction, transaction, |connection, Backend| {
                let mut query = QueryBuilder::<Backend>::new("update packages set koji_volume = ");
                query.push_bind(volume).push(" where ");
                push_list(&mut query, "id", ids);
                query.build().execute(&mut **connection).await?;
            });
        }
    }
    Ok(has_changed)
}

/// Gives packages of deleted builds the time of the deletion. Returns `true` if one changed.
async fn set_deleted(
    transaction: &mut Transaction,
    checked: &[CheckedBuild<'_>],
    packages: &BTreeMap<i64, Vec<PackageOfBuild>>,
) -> sqlx::Result<bool> {
    let mut by_time: BTreeMap<i64, Vec<i64>> = BTreeMap::new();
    for CheckedBuild { now, .. } in checked {
        let Some(deleted_at) = now.deleted_at else { continue };
        let of_build = packages.get(&now.build.build).into_iter().flatten();
        let others = of_build.filter(|package| package.deleted_at != Some(deleted_at));
        by_time.entry(deleted_at).or_default().extend(others.map(|package| package.id));
    }
    let mut has_changed = false;
    for (deleted_at, mut ids) in by_time {
        ids.sort_unstable();
        for ids in ids.chunks(MAX_LIST) {
            has_changed = true;
            both!(Transaction, transaction, |connection, Backend| {
                let mut query = QueryBuilder::<Backend>::new("update packages set deleted_at = ");
                query.push_bind(deleted_at).push(" where ");
                push_list(&mut query, "id", ids);
                query.build().execute(&mut **connection).await?;
            });
        }
    }
    Ok(has_changed)
}

/// Takes the time of the deletion from packages that are there again: their build is complete, and they have a place in
/// its store. Returns `true` if one changed.
async fn set_restored(
    transaction: &mut Transaction,
    checked: &[CheckedBuild<'_>],
    packages: &BTreeMap<i64, Vec<PackageOfBuild>>,
) -> sqlx::Result<bool> {
    let mut restored: BTreeSet<i64> = BTreeSet::new();
    for CheckedBuild { update, now } in checked {
        let of_build = packages.get(&now.build.build).map(Vec::as_slice).unwrap_or_default();
        if now.build.state == BuildState::Complete && of_build.iter().any(|package| package.deleted_at.is_some()) {
            let places = read_places(transaction, update.store_id, of_build).await?;
            let there: BTreeSet<i64> =
                places.iter().filter(|place| place.gone_at.is_none()).map(|place| place.package_id).collect();
            let of_build = of_build.iter().filter(|package| package.deleted_at.is_some()).map(|package| package.id);
            restored.extend(of_build.filter(|id| there.contains(id)));
        }
    }
    let restored: Vec<i64> = restored.into_iter().collect();
    for ids in restored.chunks(MAX_LIST) {
        both!(Transaction, transaction, |connection, Backend| {
            let mut query = QueryBuilder::<Backend>::new("update packages set deleted_at = null where ");
            push_list(&mut query, "id", ids);
            query.build().execute(&mut **connection).await?;
        });
    }
    Ok(!restored.is_empty())
}

/// Returns the places of packages in a store.
async fn read_places(
    transaction: &mut Transaction,
    store_id: i64,
    packages: &[PackageOfBuild],
) -> sqlx::Result<Vec<Place>> {
    let ids: Vec<i64> = packages.iter().map(|package| package.id).collect();
    let mut places = Vec::new();
    for ids in ids.chunks(MAX_LIST) {
        both!(Transaction, transaction, |connection, Backend| {
            let mut query = QueryBuilder::<Backend>::new(PLACES);
            query.push_bind(store_id).push(" and ");
            push_list(&mut query, "package_id", ids);
            query.push(Backend::FOR_UPDATE);
            places.extend(query.build_query_as::<Place>().fetch_all(&mut **connection).await?);
        });
    }
    Ok(places)
}

/// Finds the packages and rows of signed copies. What a later check found stays, and so does another package that is
/// present at the path.
async fn sort_signed<'a>(
    transaction: &mut Transaction,
    store_id: i64,
    signed: &'a [SignedCopy],
    packages: &[PackageOfBuild],
    times: CheckTimes,
    changes: &mut PlaceChanges<'a>,
) -> sqlx::Result<()> {
    // Of two rows of one name, the one whose header was read is the package.
    let mut by_nvra: HashMap<&str, &PackageOfBuild> = HashMap::new();
    for package in packages {
        let held = by_nvra.entry(&package.nvra).or_insert(package);
        if package.is_read && !held.is_read {
            *held = package;
        }
    }
    let mut wanted: BTreeMap<String, Wanted<'a>> = BTreeMap::new();
    for copy in signed {
        if let Some(package) = by_nvra.get(copy.nvra.as_str()) {
            wanted.insert(PathHash::of_path(&copy.path).to_string(), Wanted { copy, package_id: package.id });
        }
    }
    let paths: Vec<&str> = wanted.keys().map(String::as_str).collect();
    let mut there: HashMap<String, Vec<Place>> = HashMap::new();
    for paths in paths.chunks(MAX_LIST) {
        both!(Transaction, transaction, |connection, Backend| {
            let mut query = QueryBuilder::<Backend>::new(PLACES);
            query.push_bind(store_id).push(" and ");
            push_list(&mut query, "path_hash", paths);
            query.push(Backend::FOR_UPDATE);
            for place in query.build_query_as::<Place>().fetch_all(&mut **connection).await? {
                there.entry(place.path_hash.clone()).or_default().push(place);
            }
        });
    }
    for (path_hash, Wanted { copy, package_id }) in wanted {
        let there = there.get(&path_hash).map(Vec::as_slice).unwrap_or_default();
        let is_taken = there.iter().any(|place| place.package_id != package_id && place.gone_at.is_none());
        let key = (store_id, path_hash, package_id);
        match there.iter().find(|place| place.package_id == package_id) {
            Some(place) if place.checked_at.is_some_and(|at| times.are_before(at)) => {}
            Some(_) if is_taken && copy.is_present => {}
            Some(_) => drop(changes.known.insert(key, copy)),
            None if is_taken => {}
            None => drop(changes.new.insert(key, copy)),
        }
    }
    Ok(())
}

impl PlaceChanges<'_> {
    /// Writes the changes, each kind in the order of the key. Returns `true` if there were some.
    async fn write(self, transaction: &mut Transaction, checked_at: i64) -> sqlx::Result<bool> {
        let has_changed = !(self.gone.is_empty() && self.new.is_empty() && self.known.is_empty());
        both!(Transaction, transaction, |connection, Backend| {
            for ((store_id, path_hash, package_id), gone_at) in &self.gone {
                sqlx::query::<Backend>(
                    "update locations set gone_at = ? where store_id = ? and path_hash = ? and package_id = ?",
                )
                .bind(*gone_at)
                .bind(*store_id)
                .bind(path_hash.as_str())
                .bind(*package_id)
                .execute(&mut **connection)
                .await?;
            }
            for ((store_id, path_hash, package_id), copy) in &self.known {
                let mut query = QueryBuilder::<Backend>::new("update locations set signing_key = ");
                query.push_bind(copy.key.as_str());
                if copy.is_present {
                    query.push(", gone_at = null, first_seen = coalesce(first_seen, ").push_bind(checked_at);
                    query.push("), last_seen = ").push_bind(checked_at);
                    if let Some(size) = copy.size {
                        // Another archive: where its header is, is not known.
                        let size = size.cast_signed();
                        for column in ["header_start", "header_end", "mtime_ns", "checksum_kind", "checksum"] {
                            query.push(format_args!(", {column} = case when size is null or size = "));
                            query.push_bind(size).push(format_args!(" then {column} end"));
                        }
                        query.push(", size = ").push_bind(size);
                    }
                } else {
                    query.push(", gone_at = coalesce(gone_at, ").push_bind(checked_at);
                    query.push("), checked_at = ").push_bind(checked_at).push(", check_result = 'gone'");
                }
                query.push(" where store_id = ").push_bind(*store_id);
                query.push(" and path_hash = ").push_bind(path_hash.as_str());
                query.push(" and package_id = ").push_bind(*package_id);
                query.build().execute(&mut **connection).await?;
            }
            let new: Vec<(&PlaceKey, &&SignedCopy)> = self.new.iter().collect();
            let statement = |new: &[(&PlaceKey, &&SignedCopy)]| {
                let mut query = QueryBuilder::<Backend>::new(Backend::INSERT);
                query.push(
                    "locations (store_id, path_hash, package_id, path, size, signing_key, first_seen, last_seen, \
                     gone_at, checked_at, check_result) ",
                );
                query.push_values(new, |mut row, ((store_id, path_hash, package_id), copy)| {
                    let seen_at = copy.is_present.then_some(checked_at);
                    let gone_at = (!copy.is_present).then_some(checked_at);
                    row.push_bind(*store_id)
                        .push_bind(path_hash.as_str())
                        .push_bind(*package_id)
                        .push_bind(copy.path.as_str())
                        .push_bind(copy.size.map(u64::cast_signed))
                        .push_bind(copy.key.as_str())
                        .push_bind(seen_at)
                        .push_bind(seen_at)
                        .push_bind(gone_at)
                        .push_bind(gone_at)
                        .push_bind(gone_at.map(|_| "gone"));
                });
                query
            };
            chunks::write(&mut **connection, &new, statement).await?;
        });
        Ok(has_changed)
    }
}
