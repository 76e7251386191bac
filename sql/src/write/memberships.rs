//! Memberships of packages in repositories.

use sqlx::QueryBuilder;

use super::chunks;
use crate::connect::db::{Transaction, both};
use crate::connect::dialect::Dialect;
use crate::model::rows::{MAX_LIST, push_list};

/// A package and a repository.
pub(super) type PackageAndRepository = (i64, i64);

/// Begins memberships, or sees existing ones again.
pub(super) async fn begin(
    transaction: &mut Transaction,
    mut memberships: Vec<PackageAndRepository>,
    at: i64,
) -> sqlx::Result<()> {
    memberships.sort_unstable();
    memberships.dedup();
    both!(Transaction, transaction, |connection, Backend| {
        let statement = |memberships: &[PackageAndRepository]| {
            let mut query = QueryBuilder::<Backend>::new(Backend::INSERT);
            query.push("memberships (package_id, repository_id, first_seen, last_seen) ");
            query.push_values(memberships, |mut row, (package_id, repository_id)| {
                row.push_bind(*package_id).push_bind(*repository_id).push_bind(at).push_bind(at);
            });
            query.push(Backend::UPDATE_MEMBERSHIP);
            query
        };
        chunks::write(&mut **connection, &memberships, statement).await?;
    });
    Ok(())
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
