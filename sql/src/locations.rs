//! Where the packages of a batch are.

use std::collections::HashMap;

use sqlx::QueryBuilder;

use crate::db::{Transaction, both};
use crate::dialect::Dialect;
use crate::rows::{LIST, push_list};
use crate::{Packed, pieces, short};

/// Where a package is.
pub(crate) struct Place<'a> {
    pub(crate) package_id: i64,
    pub(crate) import: &'a Packed,
}

/// Marks as gone what was at paths where another package is now.
pub(crate) async fn mark_replaced(transaction: &mut Transaction, locations: &[Place<'_>], now: i64) -> sqlx::Result<()> {
    let of_one_store = |a: &Place<'_>, b: &Place<'_>| a.import.location.store_id == b.import.location.store_id;
    for locations in locations.chunk_by(of_one_store).flat_map(|locations| locations.chunks(LIST)) {
        let store_id = locations[0].import.location.store_id;
        let packages: HashMap<&[u8], i64> =
            locations.iter().map(|place| (place.import.path.as_bytes().as_slice(), place.package_id)).collect();
        let paths: Vec<&[u8]> = locations.iter().map(|place| place.import.path.as_bytes().as_slice()).collect();
        both!(Transaction, transaction, |connection, Backend| {
            let mut query =
                QueryBuilder::<Backend>::new("select path_hash, package_id from locations where gone_at is null and store_id = ");
            query.push_bind(store_id).push(" and ");
            push_list(&mut query, "path_hash", &paths);
            let there: Vec<(Vec<u8>, i64)> = query.build_query_as().fetch_all(&mut **connection).await?;
            for (path, package_id) in there {
                if packages.get(path.as_slice()) != Some(&package_id) {
                    sqlx::query::<Backend>(
                        "update locations set gone_at = ? where store_id = ? and path_hash = ? and package_id = ?",
                    )
                    .bind(now)
                    .bind(store_id)
                    .bind(path)
                    .bind(package_id)
                    .execute(&mut **connection)
                    .await?;
                }
            }
        });
    }
    Ok(())
}

/// Writes locations, new ones or such as are there again.
pub(crate) async fn insert(transaction: &mut Transaction, locations: &[Place<'_>], now: i64) -> sqlx::Result<()> {
    both!(Transaction, transaction, |connection, Backend| {
        let statement = |locations: &[Place<'_>]| {
            let mut query = QueryBuilder::<Backend>::new(Backend::INSERT);
            query.push(
                "locations (store_id, path_hash, package_id, path, size, mtime_ns, header_start, header_end, checksum, \
                 checksum_kind, signing_key, first_seen, last_seen) ",
            );
            query.push_values(locations, |mut row, Place { package_id, import }| {
                let Packed { package, location, path, .. } = import;
                let checksum = location.checksum.as_ref();
                row.push_bind(location.store_id)
                    .push_bind(path.as_bytes().as_slice())
                    .push_bind(*package_id)
                    .push_bind(short::path(&location.path, &package.nevra.nvra()))
                    .push_bind(location.size.cast_signed())
                    .push_bind(location.mtime_ns)
                    .push_bind(location.header.as_ref().map(|header| header.start.cast_signed()))
                    .push_bind(location.header.as_ref().map(|header| header.end.cast_signed()))
                    .push_bind(checksum.map(|(_, bytes)| bytes.as_slice()))
                    .push_bind(checksum.map(|(kind, _)| kind.as_str()))
                    .push_bind(location.signing_key.as_deref())
                    .push_bind(now)
                    .push_bind(now);
            });
            query.push(Backend::SEEN_AGAIN);
            query
        };
        pieces::write(&mut **connection, locations, statement).await?;
    });
    Ok(())
}
