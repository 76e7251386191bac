//! Merges claimed packages into packages whose header was read, if they are the same.

use std::collections::BTreeMap;

use artifact::{BuildId, Identity, Nevra};
use sqlx::{FromRow, QueryBuilder};

use super::candidates::{self, Candidate, Evidence, Selection};
use crate::connect::db::{Transaction, both};
use crate::model::rows::{MAX_LIST, decode_error, push_list};
use crate::{NewLocation, PackageState, hash_build_id};

/// A package whose header was read, with its evidence.
pub(super) struct ReadPackage<'a> {
    nevra: &'a Nevra,
    evidence: Evidence,
}

impl<'a> ReadPackage<'a> {
    pub(super) fn new(nevra: &'a Nevra, is_complete: bool) -> Self {
        let state = if is_complete { PackageState::Complete } else { PackageState::Open };
        Self { nevra, evidence: Evidence::new(state) }
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

/// The times of a membership.
#[derive(FromRow, Clone, Copy)]
struct MembershipTimes {
    repository_id: i64,
    first_seen: i64,
    last_seen: i64,
    ended_at: Option<i64>,
}

/// The condition of claims that the artifacts of their package answer.
const ANSWERED: &str = " and exists (select 1 from artifacts a where a.package_id = claims.package_id and a.build_id = \
     claims.build_id)";

const LOCATION_TIMES: &str =
    "select store_id, path_hash, first_seen, last_seen, gone_at from locations where package_id = ";

/// Returns for each of these packages the claimed rows that describe it, locked until the end of the transaction.
pub(super) async fn find_claimed(
    transaction: &mut Transaction,
    read: &BTreeMap<Identity, ReadPackage<'_>>,
) -> sqlx::Result<BTreeMap<Identity, Vec<i64>>> {
    let mut by_nvra: BTreeMap<String, Vec<(Identity, &ReadPackage<'_>)>> = BTreeMap::new();
    for (identity, read) in read {
        by_nvra.entry(read.nevra.nvra()).or_default().push((*identity, read));
    }
    let nvras: Vec<String> = by_nvra.keys().cloned().collect();
    let mut found: BTreeMap<Identity, Vec<i64>> = BTreeMap::new();
    for Candidate { id, nvra, evidence, .. } in
        candidates::read_candidates(transaction, &nvras, Selection::Claimed).await?
    {
        let mut read = by_nvra.get(&nvra).into_iter().flatten();
        if let Some((identity, _)) = read.find(|(_, read)| evidence.is_same_package(&read.evidence)) {
            found.entry(*identity).or_default().push(id);
        }
    }
    Ok(found)
}

/// Merges a claimed row into a package whose header was read, with its locations, memberships and claims.
pub(super) async fn merge(transaction: &mut Transaction, from: i64, into: i64) -> sqlx::Result<()> {
    move_locations(transaction, from, into).await?;
    move_memberships(transaction, from, into).await?;
    move_claims(transaction, from, into).await?;
    remove_package(transaction, from, into).await
}

/// Removes the claims of packages whose header was read just now: of complete ones all, of open ones those that their
/// artifacts answer. Returns the hashes of all their claimed build-ids, for caches of what was claimed.
pub(super) async fn answer_claims(
    transaction: &mut Transaction,
    complete: &[i64],
    open: &[i64],
) -> sqlx::Result<Vec<u64>> {
    let mut hashes = Vec::new();
    both!(Transaction, transaction, |connection, Backend| {
        for (ids, condition) in [(complete, ""), (open, ANSWERED)] {
            for ids in ids.chunks(MAX_LIST) {
                let mut query = QueryBuilder::<Backend>::new("select build_id from claims where ");
                push_list(&mut query, "package_id", ids);
                let claimed: Vec<String> = query.build_query_scalar().fetch_all(&mut **connection).await?;
                for digits in &claimed {
                    hashes.push(hash_build_id(&digits.parse().map_err(decode_error)?));
                }
                if !claimed.is_empty() {
                    let mut query = QueryBuilder::<Backend>::new("delete from claims where ");
                    push_list(&mut query, "package_id", ids);
                    query.push(condition).build().execute(&mut **connection).await?;
                }
            }
        }
    });
    Ok(hashes)
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

/// Moves memberships. Of two of one repository, the earlier beginning and the later end are true.
async fn move_memberships(transaction: &mut Transaction, from: i64, into: i64) -> sqlx::Result<()> {
    both!(Transaction, transaction, |connection, Backend| {
        let rows: Vec<MembershipTimes> = sqlx::query_as::<Backend, _>(
            "select repository_id, first_seen, last_seen, ended_at from memberships where package_id in (?, ?)",
        )
        .bind(from)
        .bind(into)
        .fetch_all(&mut **connection)
        .await?;
        let mut merged: BTreeMap<i64, MembershipTimes> = BTreeMap::new();
        for row in rows {
            let times = merged.entry(row.repository_id).or_insert(row);
            times.first_seen = times.first_seen.min(row.first_seen);
            times.last_seen = times.last_seen.max(row.last_seen);
            times.ended_at = times.ended_at.zip(row.ended_at).map(|(one, other)| one.max(other));
        }
        sqlx::query::<Backend>("delete from memberships where package_id in (?, ?)")
            .bind(from)
            .bind(into)
            .execute(&mut **connection)
            .await?;
        for MembershipTimes { repository_id, first_seen, last_seen, ended_at } in merged.into_values() {
            sqlx::query::<Backend>(
                "insert into memberships (package_id, repository_id, first_seen, last_seen, ended_at) values (?, ?, \
                 ?, ?, ?)",
            )
            .bind(into)
            .bind(repository_id)
            .bind(first_seen)
            .bind(last_seen)
            .bind(ended_at)
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
            "update packages set deleted_at = coalesce(deleted_at, ?), distro = case when distro = '' then ? else \
             distro end where id = ?",
        )
        .bind(deleted_at)
        .bind(distro)
        .bind(into)
        .execute(&mut **connection)
        .await?;
        sqlx::query::<Backend>(
            "update packages set koji_instance = ?, koji_build = ?, koji_volume = ? where id = ? and koji_instance is \
             null",
        )
        .bind(instance)
        .bind(build)
        .bind(volume)
        .bind(into)
        .execute(&mut **connection)
        .await?;
        sqlx::query::<Backend>("delete from packages where id = ?").bind(from).execute(&mut **connection).await?;
    });
    Ok(())
}
