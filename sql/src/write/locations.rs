//! Locations of the packages of a batch.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use sqlx::QueryBuilder;

use super::candidates::{self, Selection};
use super::insert::now;
use super::{changes, chunks, memberships};
use crate::connect::db::{Transaction, both};
use crate::connect::dialect::Dialect;
use crate::model::import::check_location;
use crate::model::rows::{MAX_LIST, push_list};
use crate::{Checksum, Index, NewLocation, PackageLocation, PathHash, Result};

impl Index {
    /// Inserts locations of packages that the index has, in one transaction, with memberships of the repositories that
    /// list them there. Unknown packages are left out. Returns the number of locations.
    ///
    /// # Errors
    /// If a value does not fit, or the database refuses. Then nothing is inserted.
    pub async fn insert_locations(&self, writer: &str, locations: &[PackageLocation]) -> Result<u64> {
        for PackageLocation { package_id, location, .. } in locations {
            check_location(&format!("package {package_id}"), location)?;
        }
        if locations.is_empty() {
            return Ok(0);
        }
        self.retry_transaction("inserting locations", || async {
            let mut transaction = self.begin().await?;
            candidates::lock_claims(&mut transaction, Selection::Claimed).await?;
            let repositories = locations.iter().filter_map(|location| location.repository_id);
            let now = memberships::time(&mut transaction, repositories, now()).await?;
            let ids: BTreeSet<i64> = locations.iter().map(|location| location.package_id).collect();
            let ids: Vec<i64> = ids.into_iter().collect();
            let mut known: HashSet<i64> = HashSet::new();
            for ids in ids.chunks(MAX_LIST) {
                let found: Vec<i64> = both!(Transaction, &mut transaction, |connection, Backend| {
                    let mut query = QueryBuilder::<Backend>::new("select id from packages where ");
                    push_list(&mut query, "id", ids);
                    query.push(Backend::FOR_UPDATE);
                    query.build_query_scalar().fetch_all(&mut **connection).await?
                });
                known.extend(found);
            }
            let (mut places, mut members) = (BTreeMap::new(), Vec::new());
            for PackageLocation { package_id, location, repository_id } in locations {
                if known.contains(package_id) {
                    let (package_id, path_hash) = (*package_id, PathHash::of_path(&location.path));
                    places.insert((location.store_id, path_hash), PackagePlace { package_id, path_hash, location });
                    members.extend(repository_id.map(|repository_id| (package_id, repository_id)));
                }
            }
            let places: Vec<PackagePlace<'_>> = places.into_values().collect();
            memberships::begin(&mut transaction, members, now).await?;
            mark_replaced(&mut transaction, &places, now).await?;
            insert(&mut transaction, &places, now).await?;
            changes::record(&mut transaction, writer, Vec::new()).await?;
            transaction.commit().await?;
            Ok(places.len() as u64)
        })
        .await
    }
}

/// A location of a package.
pub(super) struct PackagePlace<'a> {
    pub(super) package_id: i64,
    pub(super) path_hash: PathHash,
    pub(super) location: &'a NewLocation,
}

/// Marks other packages at these paths as gone. `locations` are sorted by store.
pub(super) async fn mark_replaced(
    transaction: &mut Transaction,
    locations: &[PackagePlace<'_>],
    now: i64,
) -> sqlx::Result<()> {
    let of_one_store = |a: &PackagePlace<'_>, b: &PackagePlace<'_>| a.location.store_id == b.location.store_id;
    for locations in locations.chunk_by(of_one_store).flat_map(|locations| locations.chunks(MAX_LIST)) {
        let store_id = locations[0].location.store_id;
        let packages: HashMap<String, i64> =
            locations.iter().map(|place| (place.path_hash.to_string(), place.package_id)).collect();
        let mut paths: Vec<&str> = packages.keys().map(String::as_str).collect();
        paths.sort_unstable();
        both!(Transaction, transaction, |connection, Backend| {
            let mut query = QueryBuilder::<Backend>::new(
                "select path_hash, package_id from locations where gone_at is null and store_id = ",
            );
            query.push_bind(store_id).push(" and ");
            push_list(&mut query, "path_hash", &paths);
            let there: Vec<(String, i64)> = query.build_query_as().fetch_all(&mut **connection).await?;
            for (path_hash, package_id) in there {
                if packages.get(&path_hash) != Some(&package_id) {
                    sqlx::query::<Backend>(
                        "update locations set gone_at = ? where store_id = ? and path_hash = ? and package_id = ?",
                    )
                    .bind(now)
                    .bind(store_id)
                    .bind(path_hash)
                    .bind(package_id)
                    .execute(&mut **connection)
                    .await?;
                }
            }
        });
    }
    Ok(())
}

/// Inserts locations, or updates those that exist.
pub(super) async fn insert(
    transaction: &mut Transaction,
    locations: &[PackagePlace<'_>],
    now: i64,
) -> sqlx::Result<()> {
    both!(Transaction, transaction, |connection, Backend| {
        let statement = |locations: &[PackagePlace<'_>]| {
            let mut query = QueryBuilder::<Backend>::new(Backend::INSERT);
            query.push(
                "locations (store_id, path_hash, package_id, path, size, mtime_ns, header_start, header_end, checksum, \
                 checksum_kind, signing_key, first_seen, last_seen) ",
            );
            query.push_values(locations, |mut row, PackagePlace { package_id, path_hash, location }| {
                let checksum = location.checksum.as_ref();
                row.push_bind(location.store_id)
                    .push_bind(path_hash.to_string())
                    .push_bind(*package_id)
                    .push_bind(location.path.as_str())
                    .push_bind(location.size.map(u64::cast_signed))
                    .push_bind(location.mtime_ns)
                    .push_bind(location.header.as_ref().map(|header| header.start.cast_signed()))
                    .push_bind(location.header.as_ref().map(|header| header.end.cast_signed()))
                    .push_bind(checksum.map(Checksum::digits))
                    .push_bind(checksum.map(|checksum| checksum.kind.as_str()))
                    .push_bind(location.signing_key.as_deref())
                    .push_bind(now)
                    .push_bind(now);
            });
            query.push(Backend::UPDATE_LOCATION);
            query
        };
        chunks::write(&mut **connection, locations, statement).await?;
    });
    Ok(())
}
