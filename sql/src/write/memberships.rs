//! Memberships of packages in repositories.

use std::collections::{BTreeSet, HashMap};

use sqlx::QueryBuilder;

use super::chunks;
use crate::connect::db::{Transaction, both};
use crate::connect::dialect::Dialect;
use crate::model::rows::{MAX_LIST, push_list};

/// A package and a repository.
pub(super) type PackageAndRepository = (i64, i64);

/// Begins memberships, or sees existing ones again. They are seen at `at`, and begin when the refresh of their
/// repository began: packages that appear together in a listing have the same first time, in whichever transaction.
pub(super) async fn begin(
    transaction: &mut Transaction,
    mut memberships: Vec<PackageAndRepository>,
    at: i64,
) -> sqlx::Result<()> {
    memberships.sort_unstable();
    memberships.dedup();
    let mut began: HashMap<i64, i64> = HashMap::new();
    for repository_id in memberships.iter().map(|(_, repository_id)| *repository_id).collect::<BTreeSet<i64>>() {
        let attempted_at: Option<Option<i64>> = both!(Transaction, transaction, |connection, Backend| {
            sqlx::query_scalar::<Backend, Option<i64>>("select attempted_at from repositories where id = ?")
                .bind(repository_id)
                .fetch_optional(&mut **connection)
                .await?
        });
        began.extend(attempted_at.flatten().map(|attempted_at| (repository_id, attempted_at)));
    }
    both!(Transaction, transaction, |connection, Backend| {
        let statement = |memberships: &[PackageAndRepository]| {
            let mut query = QueryBuilder::<Backend>::new(Backend::INSERT);
            query.push("memberships (package_id, repository_id, first_seen, last_seen) ");
            query.push_values(memberships, |mut row, (package_id, repository_id)| {
                let first_seen = began.get(repository_id).copied().unwrap_or(at);
                row.push_bind(*package_id).push_bind(*repository_id).push_bind(first_seen).push_bind(at);
            });
            query.push(Backend::UPDATE_MEMBERSHIP);
            query
        };
        chunks::write(&mut **connection, &memberships, statement).await?;
    });
    Ok(())
}

/// Returns the stores and paths of repositories.
pub(super) async fn read_paths(
    transaction: &mut Transaction,
    repositories: impl Iterator<Item = i64>,
) -> sqlx::Result<HashMap<i64, (i64, String)>> {
    let mut paths = HashMap::new();
    for repository_id in repositories.collect::<BTreeSet<i64>>() {
        let path: Option<(i64, String)> = both!(Transaction, transaction, |connection, Backend| {
            sqlx::query_as::<Backend, _>("select store_id, path from repositories where id = ?")
                .bind(repository_id)
                .fetch_optional(&mut **connection)
                .await?
        });
        paths.extend(path.map(|path| (repository_id, path)));
    }
    Ok(paths)
}

/// Returns by which repositories of a store packages are listed: package, repository, its path.
pub(super) async fn read_listed(
    transaction: &mut Transaction,
    store_id: i64,
    packages: &BTreeSet<i64>,
) -> sqlx::Result<Vec<(i64, i64, String)>> {
    let packages: Vec<i64> = packages.iter().copied().collect();
    let mut listed = Vec::new();
    for packages in packages.chunks(MAX_LIST) {
        let rows: Vec<(i64, i64, String)> = both!(Transaction, transaction, |connection, Backend| {
            let mut query = QueryBuilder::<Backend>::new(
                "select m.package_id, r.id, r.path from memberships m join repositories r on r.id = m.repository_id \
                 where m.ended_at is null and r.store_id = ",
            );
            query.push_bind(store_id).push(" and ");
            push_list(&mut query, "m.package_id", packages);
            query.build_query_as().fetch_all(&mut **connection).await?
        });
        listed.extend(rows);
    }
    Ok(listed)
}

/// True if a path of a store is below another one.
pub(super) fn is_below(path: &str, above: &str) -> bool {
    above.is_empty() || path.strip_prefix(above).is_some_and(|rest| rest.starts_with('/'))
}

/// Returns the time of a transaction that writes for these repositories: not before their refreshes began
/// ([`crate::Index::begin_listing`]).
pub(super) async fn time(
    transaction: &mut Transaction,
    repositories: impl Iterator<Item = i64>,
    now: i64,
) -> sqlx::Result<i64> {
    let mut repositories: Vec<i64> = repositories.collect();
    repositories.sort_unstable();
    repositories.dedup();
    let mut time = now;
    for repositories in repositories.chunks(MAX_LIST) {
        let began: Option<i64> = both!(Transaction, transaction, |connection, Backend| {
            let mut query = QueryBuilder::<Backend>::new("select max(attempted_at) from repositories where ");
            push_list(&mut query, "id", repositories);
            query.build_query_scalar().fetch_one(&mut **connection).await?
        });
        time = time.max(began.unwrap_or(now));
    }
    Ok(time)
}
