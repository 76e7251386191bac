//! Rows of packages that were claimed, and that a header shows to be one package: they become one row.

use std::collections::BTreeMap;

use artifact::{BuildId, Nevra};
use sqlx::QueryBuilder;

use super::candidates::{self, Candidate, Marks, Which};
use crate::NewLocation;
use crate::connect::db::{Transaction, both};
use crate::model::rows::State;

/// A package whose header was read.
pub(super) struct Seen<'a> {
    nevra: &'a Nevra,
    marks: Marks,
}

impl<'a> Seen<'a> {
    pub(super) fn new(nevra: &'a Nevra) -> Self {
        Self { nevra, marks: Marks::default() }
    }

    pub(super) fn add<'b>(&mut self, location: &NewLocation, build_ids: impl Iterator<Item = &'b BuildId>) {
        self.marks.add(Some(location), build_ids);
    }
}

/// Merges every claimed row that is one of these packages into it, with its locations, memberships and claims.
pub(super) async fn merge(transaction: &mut Transaction, seen: &BTreeMap<i64, Seen<'_>>) -> sqlx::Result<()> {
    let nvras = candidates::nvras(seen.values().map(|seen| seen.nevra));
    let claimed = candidates::read(transaction, &nvras, Which::Claimed).await?;
    if claimed.is_empty() {
        return Ok(());
    }
    let mut by_nvra: BTreeMap<String, Vec<(i64, &Seen<'_>)>> = BTreeMap::new();
    for (id, seen) in seen {
        by_nvra.entry(seen.nevra.nvra()).or_default().push((*id, seen));
    }
    for Candidate { id, nvra, marks, .. } in claimed {
        let read = by_nvra.get(&nvra).into_iter().flatten();
        if let Some((into, _)) = read.into_iter().find(|(_, seen)| marks.are_of_one_package(&seen.marks)) {
            move_locations(transaction, id, *into).await?;
            move_memberships(transaction, id, *into).await?;
            move_claims(transaction, id, *into).await?;
            remove(transaction, id, *into).await?;
        }
    }
    Ok(())
}

async fn move_locations(transaction: &mut Transaction, from: i64, into: i64) -> sqlx::Result<()> {
    both!(Transaction, transaction, |connection, Backend| {
        let rows: Vec<(i64, String, i64)> =
            sqlx::query_as::<Backend, _>("select store_id, path_hash, first_seen from locations where package_id = ?")
                .bind(from)
                .fetch_all(&mut **connection)
                .await?;
        for (store_id, path_hash, first_seen) in rows {
            let there = sqlx::query::<Backend>(
                "update locations set first_seen = case when first_seen < ? then first_seen else ? end \
                 where store_id = ? and path_hash = ? and package_id = ?",
            )
            .bind(first_seen)
            .bind(first_seen)
            .bind(store_id)
            .bind(path_hash.as_str())
            .bind(into);
            // MySQL counts rows that were found and not changed, too: sqlx asks for that.
            let is_there = there.execute(&mut **connection).await?.rows_affected() > 0;
            let mut query = if is_there {
                QueryBuilder::<Backend>::new("delete from locations where store_id = ")
            } else {
                let mut query = QueryBuilder::new("update locations set package_id = ");
                query.push_bind(into).push(" where store_id = ");
                query
            };
            query.push_bind(store_id).push(" and path_hash = ").push_bind(path_hash).push(" and package_id = ").push_bind(from);
            query.build().execute(&mut **connection).await?;
        }
    });
    Ok(())
}

async fn move_memberships(transaction: &mut Transaction, from: i64, into: i64) -> sqlx::Result<()> {
    both!(Transaction, transaction, |connection, Backend| {
        let rows: Vec<(i64, i64, i64)> =
            sqlx::query_as::<Backend, _>("select repository_id, first_seen, last_seen from memberships where package_id = ?")
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

/// A complete package answers every claim. Of an open one those stay that its artifacts do not answer.
async fn move_claims(transaction: &mut Transaction, from: i64, into: i64) -> sqlx::Result<()> {
    both!(Transaction, transaction, |connection, Backend| {
        let state: String = sqlx::query_scalar::<Backend, _>("select state from packages where id = ?")
            .bind(into)
            .fetch_one(&mut **connection)
            .await?;
        if State::of(&state)?.is_open() {
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

/// Removes the claimed row; what it alone stated of the build goes to the other.
async fn remove(transaction: &mut Transaction, from: i64, into: i64) -> sqlx::Result<()> {
    type Build = (Option<String>, Option<i64>, Option<String>, Option<i64>);
    both!(Transaction, transaction, |connection, Backend| {
        let (instance, build, volume, deleted_at): Build =
            sqlx::query_as::<Backend, _>("select koji_instance, koji_build, koji_volume, deleted_at from packages where id = ?")
                .bind(from)
                .fetch_one(&mut **connection)
                .await?;
        sqlx::query::<Backend>(
            "update packages set koji_instance = coalesce(koji_instance, ?), koji_build = coalesce(koji_build, ?), \
             koji_volume = coalesce(koji_volume, ?), deleted_at = coalesce(deleted_at, ?) where id = ?",
        )
        .bind(instance)
        .bind(build)
        .bind(volume)
        .bind(deleted_at)
        .bind(into)
        .execute(&mut **connection)
        .await?;
        sqlx::query::<Backend>("delete from packages where id = ?").bind(from).execute(&mut **connection).await?;
    });
    Ok(())
}
