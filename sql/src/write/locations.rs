//! Locations of the packages of a batch.

use std::collections::HashMap;

use sqlx::QueryBuilder;

use super::chunks;
use crate::connect::db::{Transaction, both};
use crate::connect::dialect::Dialect;
use crate::model::rows::{MAX_LIST, push_list};
use crate::{Checksum, NewLocation, PathHash};

/// A location of a package.
pub(super) struct Place<'a> {
    pub(super) package_id: i64,
    pub(super) path_hash: PathHash,
    pub(super) location: &'a NewLocation,
}

/// Marks other packages at these paths as gone. `locations` are sorted by store.
pub(super) async fn mark_replaced(
    transaction: &mut Transaction,
    locations: &[Place<'_>],
    now: i64,
) -> sqlx::Result<()> {
    let of_one_store = |a: &Place<'_>, b: &Place<'_>| a.location.store_id == b.location.store_id;
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
pub(super) async fn insert(transaction: &mut Transaction, locations: &[Place<'_>], now: i64) -> sqlx::Result<()> {
    both!(Transaction, transaction, |connection, Backend| {
        let statement = |locations: &[Place<'_>]| {
            let mut query = QueryBuilder::<Backend>::new(Backend::INSERT);
            query.push(
                "locations (store_id, path_hash, package_id, path, size, mtime_ns, header_start, header_end, checksum, \
                 checksum_kind, signing_key, first_seen, last_seen) ",
            );
            query.push_values(locations, |mut row, Place { package_id, path_hash, location }| {
                let checksum = location.checksum.as_ref();
                row.push_bind(location.store_id)
                    .push_bind(path_hash.to_string())
                    .push_bind(*package_id)
                    .push_bind(location.path.as_str())
                    .push_bind(location.size.cast_signed())
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
