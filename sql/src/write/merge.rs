//! Merges claimed packages into packages whose header was read, if they are the same.

use std::collections::BTreeMap;

use artifact::{BuildId, Nevra};
use sqlx::{FromRow, QueryBuilder};

use super::candidates::{self, Candidate, Evidence, Selection};
use crate::NewLocation;
use crate::PackageState;
use crate::connect::db::{Transaction, both};

/// A package whose header was read, with its evidence.
pub(super) struct ReadPackage<'a> {
    nevra: &'a Nevra,
    evidence: Evidence,
}

impl<'a> ReadPackage<'a> {
    pub(super) fn new(nevra: &'a Nevra, is_complete: bool) -> Self {
        Self { nevra, evidence: Evidence::new(is_complete) }
    }

    pub(super) fn add<'b>(&mut self, location: &NewLocation, build_ids: impl Iterator<Item = &'b BuildId>) {
        self.evidence.add(Some(location), build_ids);
    }
}

/// The times of a location.
#[derive(FromRow)]
struct LocationTimes {
    store_id: i64,
    path_hash: String,
    first_seen: Option<i64>,
    last_seen: Option<i64>,
    gone_at: Option<i64>,
}

const LOCATION_TIMES: &str =
    "select store_id, path_hash, first_seen, last_seen, gone_at from locations where package_id = ";

/// Merges every claimed row that describes one of these packages into it, with its locations, memberships and claims.
pub(super) async fn merge_claimed(
    transaction: &mut Transaction,
    seen: &BTreeMap<i64, ReadPackage<'_>>,
) -> sqlx::Result<()> {
    let nvras = candidates::nvras(seen.values().map(|seen| seen.nevra));
    let claimed = candidates::read_candidates(transaction, &nvras, Selection::Claimed).await?;
    if claimed.is_empty() {
        return Ok(());
    }
    let mut by_nvra: BTreeMap<String, Vec<(i64, &ReadPackage<'_>)>> = BTreeMap::new();
    for (id, seen) in seen {
        by_nvra.entry(seen.nevra.nvra()).or_default().push((*id, seen));
    }
    for Candidate { id, nvra, evidence, .. } in claimed {
        let read = by_nvra.get(&nvra).into_iter().flatten();
        if let Some((into, _)) = read.into_iter().find(|(_, seen)| evidence.is_same_package(&seen.evidence)) {
            move_locations(transaction, id, *into).await?;
            move_memberships(transaction, id, *into).await?;
            move_claims(transaction, id, *into).await?;
            remove_package(transaction, id, *into).await?;
        }
    }
    Ok(())
}

/// Moves locations. Of two at one path of a store the present one stays, with the earlier first sight.
async fn move_locations(transaction: &mut Transaction, from: i64, into: i64) -> sqlx::Result<()> {
    both!(Transaction, transaction, |connection, Backend| {
        let mut query = QueryBuilder::<Backend>::new(LOCATION_TIMES);
        query.push_bind(from);
        let moved: Vec<LocationTimes> = query.build_query_as().fetch_all(&mut **connection).await?;
        for moved in moved {
            let of = |mut query: QueryBuilder<Backend>, package_id: i64| {
                query.push_bind(package_id).push(" and store_id = ").push_bind(moved.store_id);
                query.push(" and path_hash = ").push_bind(moved.path_hash.clone());
                query
            };
            let there: Option<LocationTimes> =
                of(QueryBuilder::new(LOCATION_TIMES), into).build_query_as().fetch_optional(&mut **connection).await?;
            let (mut updated, mut first_seen, mut last_seen) = (from, moved.first_seen, moved.last_seen);
            if let Some(there) = there {
                let is_there = there.gone_at.is_none() || moved.gone_at.is_some();
                updated = if is_there { into } else { from };
                first_seen = first_seen.into_iter().chain(there.first_seen).min();
                last_seen = last_seen.max(there.last_seen);
                let removed = if is_there { from } else { into };
                let mut delete = of(QueryBuilder::new("delete from locations where package_id = "), removed);
                delete.build().execute(&mut **connection).await?;
            }
            let mut update = QueryBuilder::new("update locations set package_id = ");
            update
                .push_bind(into)
                .push(", first_seen = ")
                .push_bind(first_seen)
                .push(", last_seen = ")
                .push_bind(last_seen);
            update.push(" where package_id = ");
            of(update, updated).build().execute(&mut **connection).await?;
        }
    });
    Ok(())
}

async fn move_memberships(transaction: &mut Transaction, from: i64, into: i64) -> sqlx::Result<()> {
    both!(Transaction, transaction, |connection, Backend| {
        let rows: Vec<(i64, i64, i64)> = sqlx::query_as::<Backend, _>(
            "select repository_id, first_seen, last_seen from memberships where package_id = ?",
        )
        .bind(from)
        .fetch_all(&mut **connection)
        .await?;
        for (repository_id, first_seen, last_seen) in rows {
            let there: Option<(i64, i64)> = sqlx::query_as::<Backend, _>(
                "select first_seen, last_seen from memberships where package_id = ? and repository_id = ?",
            )
            .bind(into)
            .bind(repository_id)
            .fetch_optional(&mut **connection)
            .await?;
            let (first_seen, last_seen) =
                there.map_or((first_seen, last_seen), |(first, last)| (first.min(first_seen), last.max(last_seen)));
            sqlx::query::<Backend>("delete from memberships where repository_id = ? and package_id in (?, ?)")
                .bind(repository_id)
                .bind(from)
                .bind(into)
                .execute(&mut **connection)
                .await?;
            sqlx::query::<Backend>(
                "insert into memberships (package_id, repository_id, first_seen, last_seen) values (?, ?, ?, ?)",
            )
            .bind(into)
            .bind(repository_id)
            .bind(first_seen)
            .bind(last_seen)
            .execute(&mut **connection)
            .await?;
        }
    });
    Ok(())
}

/// Moves claims. A complete package answers every claim; of an open one, those that its artifacts do not have are
/// moved.
async fn move_claims(transaction: &mut Transaction, from: i64, into: i64) -> sqlx::Result<()> {
    both!(Transaction, transaction, |connection, Backend| {
        let state: String = sqlx::query_scalar::<Backend, _>("select state from packages where id = ?")
            .bind(into)
            .fetch_one(&mut **connection)
            .await?;
        if PackageState::parse(&state)?.is_open() {
            let open: Vec<String> = sqlx::query_scalar::<Backend, _>(
                "select c.build_id from claims c where c.package_id = ? \
                 and not exists (select 1 from artifacts a where a.package_id = ? and a.build_id = c.build_id) \
                 and not exists (select 1 from claims d where d.package_id = ? and d.build_id = c.build_id)",
            )
            .bind(from)
            .bind(into)
            .bind(into)
            .fetch_all(&mut **connection)
            .await?;
            for build_id in open {
                sqlx::query::<Backend>("update claims set package_id = ? where build_id = ? and package_id = ?")
                    .bind(into)
                    .bind(build_id)
                    .bind(from)
                    .execute(&mut **connection)
                    .await?;
            }
        }
        sqlx::query::<Backend>("delete from claims where package_id = ?").bind(from).execute(&mut **connection).await?;
    });
    Ok(())
}

/// Removes the claimed row; its Koji build and distribution are copied where the other has none.
async fn remove_package(transaction: &mut Transaction, from: i64, into: i64) -> sqlx::Result<()> {
    type KojiColumns = (String, Option<String>, Option<i64>, Option<String>, Option<i64>);
    both!(Transaction, transaction, |connection, Backend| {
        let (distro, instance, build, volume, deleted_at): KojiColumns = sqlx::query_as::<Backend, _>(
            "select distro, koji_instance, koji_build, koji_volume, deleted_at from packages where id = ?",
        )
        .bind(from)
        .fetch_one(&mut **connection)
        .await?;
        sqlx::query::<Backend>(
            "update packages set koji_instance = coalesce(koji_instance, ?), koji_build = coalesce(koji_build, ?), \
             koji_volume = coalesce(koji_volume, ?), deleted_at = coalesce(deleted_at, ?), \
             distro = case when distro = '' then ? else distro end where id = ?",
        )
        .bind(instance)
        .bind(build)
        .bind(volume)
        .bind(deleted_at)
        .bind(distro)
        .bind(into)
        .execute(&mut **connection)
        .await?;
        sqlx::query::<Backend>("delete from packages where id = ?").bind(from).execute(&mut **connection).await?;
    });
    Ok(())
}
