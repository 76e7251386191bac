//! Locations of the packages of a batch.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use sqlx::{FromRow, QueryBuilder};

use super::candidates::{self, Selection};
use super::clock::now;
use super::{changes, chunks, memberships};
use crate::connect::db::{Transaction, both};
use crate::connect::dialect::Dialect;
use crate::model::rows::{MAX_LIST, push_list};
use crate::{Checksum, Index, NewLocation, PackageLocation, PathHash, Result};

/// True of a location that a check found gone after everything else that was known of it.
pub(crate) const FOUND_GONE: &str =
    "case when check_result = 'gone' and gone_at is not null and checked_at >= gone_at then 1 else 0 end";

impl Index {
    /// Inserts locations of packages that the index has, in one transaction, with memberships of the repositories that
    /// list them there. Unknown packages are left out, and so are places that stay as they are because nothing was read
    /// there: those of another package that the repository may not replace, and those that a check found gone. Returns
    /// the number of locations.
    ///
    /// # Errors
    /// If a value does not fit, or the database refuses. Then nothing is inserted.
    pub async fn insert_locations(&self, writer: &str, locations: &[PackageLocation]) -> Result<u64> {
        locations.iter().try_for_each(PackageLocation::check)?;
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
                    let place = PackagePlace { package_id, path_hash, location };
                    places.insert((location.store_id, path_hash), UnreadPlace { place, repository_id: *repository_id });
                    members.extend(repository_id.map(|repository_id| (package_id, repository_id)));
                }
            }
            memberships::begin(&mut transaction, members, now).await?;
            let UnreadPlaces { places, .. } = sort_unread(&mut transaction, places.into_values().collect()).await?;
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

/// A place that a listing states, where nothing was read.
pub(super) struct UnreadPlace<'a> {
    pub(super) place: PackagePlace<'a>,
    /// The repository that lists it.
    pub(super) repository_id: Option<i64>,
}

/// Places where nothing was read, each list sorted by store.
#[derive(Default)]
pub(super) struct UnreadPlaces<'a> {
    /// Places that can be inserted.
    pub(super) places: Vec<PackagePlace<'a>>,
    /// Places where another package stays, without a row of this one.
    pub(super) taken: Vec<PackagePlace<'a>>,
}

/// A row at a path.
#[derive(FromRow)]
struct RowThere {
    path_hash: String,
    package_id: i64,
    is_present: bool,
    /// True if a check found the archive gone, and nothing found it since.
    is_found_gone: bool,
}

/// Tells places that can be inserted from those that stay as they are. Only who has read a header saw which package is
/// there. A listing can be wrong: it replaces other packages only below its own repository, and none that another
/// repository lists there; and what a check found gone stays gone. `places` are sorted by store.
pub(super) async fn sort_unread<'a>(
    transaction: &mut Transaction,
    places: Vec<UnreadPlace<'a>>,
) -> sqlx::Result<UnreadPlaces<'a>> {
    let above = memberships::read_paths(transaction, places.iter().filter_map(|place| place.repository_id)).await?;
    let mut sorted = UnreadPlaces::default();
    let mut places = places.into_iter().peekable();
    while let Some(first) = places.next() {
        let store_id = first.place.location.store_id;
        let mut chunk = vec![first];
        while chunk.len() < MAX_LIST
            && let Some(next) = places.next_if(|next| next.place.location.store_id == store_id)
        {
            chunk.push(next);
        }
        let mut rows: HashMap<String, Vec<RowThere>> = HashMap::new();
        for row in read_rows(transaction, store_id, &chunk).await? {
            rows.entry(row.path_hash.clone()).or_default().push(row);
        }
        let others: BTreeSet<i64> =
            rows.values().flatten().filter(|row| row.is_present).map(|row| row.package_id).collect();
        let listed = memberships::read_listed(transaction, store_id, &others).await?;
        for UnreadPlace { place, repository_id } in chunk {
            let rows = rows.get(&place.path_hash.to_string()).map(Vec::as_slice).unwrap_or_default();
            let own = rows.iter().find(|row| row.package_id == place.package_id);
            let is_below = |above: &str| memberships::is_below(&place.location.path, above);
            let is_replaceable = |other: &RowThere| {
                let own = repository_id.and_then(|id| above.get(&id));
                own.is_some_and(|(store, above)| *store == store_id && is_below(above))
                    && !listed.iter().any(|(package_id, id, above)| {
                        *package_id == other.package_id && Some(*id) != repository_id && is_below(above)
                    })
            };
            let mut others = rows.iter().filter(|row| row.is_present && row.package_id != place.package_id);
            if !others.all(is_replaceable) {
                if own.is_none() {
                    sorted.taken.push(place);
                }
            } else if !own.is_some_and(|row| row.is_found_gone) {
                sorted.places.push(place);
            }
        }
    }
    Ok(sorted)
}

/// Returns all rows at these paths of a store.
async fn read_rows(
    transaction: &mut Transaction,
    store_id: i64,
    places: &[UnreadPlace<'_>],
) -> sqlx::Result<Vec<RowThere>> {
    let mut paths: Vec<String> = places.iter().map(|place| place.place.path_hash.to_string()).collect();
    paths.sort_unstable();
    let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
    both!(Transaction, transaction, |connection, Backend| {
        let mut query = QueryBuilder::<Backend>::new("select path_hash, package_id, gone_at is null as is_present, ");
        query.push(FOUND_GONE).push(" as is_found_gone from locations where store_id = ").push_bind(store_id);
        query.push(" and ");
        push_list(&mut query, "path_hash", &paths);
        query.build_query_as().fetch_all(&mut **connection).await
    })
}

/// Inserts rows of places where another package stays: packages are recognized by them.
pub(super) async fn insert_taken(
    transaction: &mut Transaction,
    places: &[PackagePlace<'_>],
    now: i64,
) -> sqlx::Result<()> {
    both!(Transaction, transaction, |connection, Backend| {
        let statement = |places: &[PackagePlace<'_>]| {
            let mut query = QueryBuilder::<Backend>::new(Backend::INSERT);
            query.push("locations (store_id, path_hash, package_id, path, size, checksum, checksum_kind, gone_at) ");
            query.push_values(places, |mut row, PackagePlace { package_id, path_hash, location }| {
                let checksum = location.checksum.as_ref();
                row.push_bind(location.store_id)
                    .push_bind(path_hash.to_string())
                    .push_bind(*package_id)
                    .push_bind(location.path.as_str())
                    .push_bind(location.size.map(u64::cast_signed))
                    .push_bind(checksum.map(Checksum::digits))
                    .push_bind(checksum.map(|checksum| checksum.kind.as_str()))
                    .push_bind(now);
            });
            query
        };
        chunks::write(&mut **connection, places, statement).await?;
    });
    Ok(())
}

/// Inserts places that were never seen, at paths without any row. `places` are sorted by store.
pub(super) async fn insert_unseen(transaction: &mut Transaction, places: Vec<PackagePlace<'_>>) -> sqlx::Result<()> {
    let mut new = Vec::new();
    let places: Vec<UnreadPlace<'_>> =
        places.into_iter().map(|place| UnreadPlace { place, repository_id: None }).collect();
    let mut places = places.into_iter().peekable();
    while let Some(first) = places.next() {
        let store_id = first.place.location.store_id;
        let mut chunk = vec![first];
        while chunk.len() < MAX_LIST
            && let Some(next) = places.next_if(|next| next.place.location.store_id == store_id)
        {
            chunk.push(next);
        }
        let rows = read_rows(transaction, store_id, &chunk).await?;
        let known: HashSet<&str> = rows.iter().map(|row| row.path_hash.as_str()).collect();
        for UnreadPlace { place, .. } in chunk {
            if !known.contains(place.path_hash.to_string().as_str()) {
                new.push(place);
            }
        }
    }
    both!(Transaction, transaction, |connection, Backend| {
        let statement = |places: &[PackagePlace<'_>]| {
            let mut query = QueryBuilder::<Backend>::new(Backend::INSERT);
            query.push("locations (store_id, path_hash, package_id, path, size) ");
            query.push_values(places, |mut row, PackagePlace { package_id, path_hash, location }| {
                row.push_bind(location.store_id)
                    .push_bind(path_hash.to_string())
                    .push_bind(*package_id)
                    .push_bind(location.path.as_str())
                    .push_bind(location.size.map(u64::cast_signed));
            });
            query
        };
        chunks::write(&mut **connection, &new, statement).await?;
    });
    Ok(())
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
