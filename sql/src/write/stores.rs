//! Adds, changes and removes stores.

use sqlx::{FromRow, QueryBuilder};

use crate::connect::db::{Transaction, both};
use crate::connect::dialect::Dialect;
use crate::model::import::check_length;
use crate::model::rows::StoreRow;
use crate::read::stores::STORES;
use crate::{Error, Index, NewStore, PlacePattern, Result, Store};

/// Plain files are stored with their paths on this machine: if the directory of a store changes, so do their paths.
macro_rules! move_plain_files {
    ($connection:expr, $backend:ident, $store_id:expr, $before:expr, $root:expr) => {
        sqlx::query::<$backend>(
            "update artifacts set dir = concat(?, substr(dir, ?)) where (dir = ? or substr(dir, 1, ?) = ?) and \
             package_id in \
             (select l.package_id from locations l join packages p on p.id = l.package_id where l.store_id = ? and \
             p.format = 'file')",
        )
        .bind($root)
        .bind($before.chars().count() as i64 + 1)
        .bind($before)
        .bind($before.chars().count() as i64 + 1)
        .bind(format!("{}/", $before))
        .bind($store_id)
        .execute(&mut **$connection)
        .await?
    };
}

/// Locations that a check found gone, and that another host does not bring back: a listing of the store lacks the
/// package, or another package is, or was later, at their path.
const GONE_ANYWHERE: &str = "select l.path_hash, l.package_id from locations l where l.store_id = ? and l.gone_at is \
     not null and l.check_result = 'gone' and (exists (select 1 from locations o where o.store_id = l.store_id and \
     o.path_hash = l.path_hash and o.package_id <> l.package_id and (o.gone_at is null or (o.check_result = 'gone' and \
     (coalesce(o.last_seen, 0) > coalesce(l.last_seen, 0) or (coalesce(o.last_seen, 0) = coalesce(l.last_seen, 0) and \
     o.package_id > l.package_id))))) or (exists (select 1 from memberships m join repositories r on r.id = \
     m.repository_id where m.package_id = l.package_id and r.store_id = l.store_id) and not exists (select 1 from \
     memberships m join repositories r on r.id = m.repository_id where m.package_id = l.package_id and r.store_id = \
     l.store_id and m.ended_at is null)))";

impl Index {
    /// Adds a store, or changes the one with that name. If its archives are at another URL or directory now, what
    /// checks found at the former one is forgotten: what they found gone is present until the next check.
    pub async fn add_store(&self, store: &NewStore) -> Result<Store> {
        let root = match &store.root {
            Some(root) => Some(root.to_str().ok_or_else(|| Error::Value {
                what: "root of a store",
                expected: "a path in UTF-8",
                found: root.display().to_string(),
            })?),
            None => None,
        };
        if store.name.ends_with(' ') {
            // MySQL ignores trailing blanks in comparisons.
            return Err(Error::Value {
                what: "name of a store",
                expected: "no blank at its end",
                found: store.name.clone(),
            });
        }
        let base_url = store.base_url.as_deref().map(|url| url.trim_end_matches('/'));
        for (what, limit, value) in
            [("name", 255, Some(store.name.as_str())), ("base_url", 2048, base_url), ("root", 4096, root)]
        {
            check_length(&format!("store {}", store.name), what, limit, value.unwrap_or_default().len())?;
        }
        let pattern = store.pattern.as_ref().map(PlacePattern::to_string);
        let distros = (!store.distros.as_slice().is_empty()).then(|| store.distros.to_string());
        let hosts = &store.redirect_hosts;
        let redirect_hosts = (!hosts.as_slice().is_empty()).then(|| hosts.to_string());
        let written = self.retry_transaction("adding a store", || async {
            let mut transaction = self.begin().await?;
            let moved: Option<i64>;
            let row = both!(Transaction, &mut transaction, |connection, Backend| {
                let before: Option<Before> =
                    sqlx::query_as::<Backend, _>("select id, base_url, root, pattern from stores where name = ?")
                        .bind(store.name.as_str())
                        .fetch_optional(&mut **connection)
                        .await?;
                if let Some(Before { id, pattern: before, .. }) = &before
                    && *before != pattern
                {
                    // They follow from the former pattern.
                    sqlx::query::<Backend>("delete from locations where store_id = ? and derived = 1")
                        .bind(*id)
                        .execute(&mut **connection)
                        .await?;
                }
                if let (Some(Before { id, root: Some(before), .. }), Some(root)) = (&before, root)
                    && before != root
                {
                    move_plain_files!(
                        connection,
                        Backend,
                        id,
                        before.trim_end_matches('/'),
                        root.trim_end_matches('/')
                    );
                }
                moved = before.filter(|before| before.is_elsewhere(base_url, root)).map(|before| before.id);
                let mut query = QueryBuilder::<Backend>::new(
                    "insert into stores (name, tier, base_url, root, priority, pattern, distros, absent_statuses, \
                     redirect_hosts, allow_private) ",
                );
                query.push_values([store], |mut row, store| {
                    row.push_bind(store.name.as_str())
                        .push_bind(store.tier.as_str())
                        .push_bind(base_url)
                        .push_bind(root)
                        .push_bind(store.priority)
                        .push_bind(pattern.as_deref())
                        .push_bind(distros.as_deref())
                        .push_bind(store.absent_statuses.to_string())
                        .push_bind(redirect_hosts.as_deref())
                        .push_bind(store.allow_private);
                });
                query.push(Backend::UPDATE_STORE).build().execute(&mut **connection).await?;
                let mut query = QueryBuilder::<Backend>::new(STORES);
                query.push(" where name = ").push_bind(store.name.as_str());
                query.build_query_as::<StoreRow>().fetch_one(&mut **connection).await?
            });
            if let Some(id) = moved {
                forget_checks(&mut transaction, id).await?;
            }
            transaction.commit().await?;
            row.into_store()?.ok_or(sqlx::Error::RowNotFound)
        });
        written.await
    }

    /// Removes a store and its locations; the packages stay. Returns `false` if no store has that name.
    pub async fn remove_store(&self, name: &str) -> Result<bool> {
        self.retry_transaction("removing a store", || async {
            let mut transaction = self.begin().await?;
            let removed = both!(Transaction, &mut transaction, |connection, Backend| {
                let id: Option<i64> = sqlx::query_scalar::<Backend, i64>("select id from stores where name = ?")
                    .bind(name)
                    .fetch_optional(&mut **connection)
                    .await?;
                if let Some(id) = id {
                    for statement in [
                        "delete from memberships where repository_id in (select id from repositories where store_id = \
                         ?)",
                        "delete from repositories where store_id = ?",
                        "delete from locations where store_id = ?",
                        "delete from stores where id = ?",
                    ] {
                        sqlx::query::<Backend>(statement).bind(id).execute(&mut **connection).await?;
                    }
                }
                id.is_some()
            });
            transaction.commit().await?;
            Ok(removed)
        })
        .await
    }
}

/// What the index has of a store that is changed.
#[derive(FromRow)]
struct Before {
    id: i64,
    base_url: Option<String>,
    root: Option<String>,
    pattern: Option<String>,
}

impl Before {
    /// True if archives are looked for at another place than before. A new query of a signed URL is the same place.
    fn is_elsewhere(&self, base_url: Option<&str>, root: Option<&str>) -> bool {
        let without_query = |url: Option<&str>| {
            url.and_then(|url| url.split(['?', '#']).next()).map(|url| url.trim_end_matches('/').to_owned())
        };
        let directory = |root: Option<&str>| root.map(|root| root.trim_end_matches('/').to_owned());
        without_query(self.base_url.as_deref()) != without_query(base_url)
            || directory(self.root.as_deref()) != directory(root)
    }
}

/// Forgets what checks of a store found.
async fn forget_checks(transaction: &mut Transaction, store_id: i64) -> sqlx::Result<()> {
    both!(Transaction, transaction, |connection, Backend| {
        let gone: Vec<(String, i64)> =
            sqlx::query_as::<Backend, _>(GONE_ANYWHERE).bind(store_id).fetch_all(&mut **connection).await?;
        for (path_hash, package_id) in gone {
            sqlx::query::<Backend>(
                "update locations set check_result = null where store_id = ? and path_hash = ? and package_id = ?",
            )
            .bind(store_id)
            .bind(path_hash)
            .bind(package_id)
            .execute(&mut **connection)
            .await?;
        }
        for statement in [
            // They follow from the pattern without a row.
            "delete from locations where store_id = ? and derived = 1 and first_seen is null",
            "update locations set gone_at = null where store_id = ? and gone_at is not null and check_result = 'gone'",
            "update locations set checked_at = null, check_result = null where store_id = ? and checked_at is not null",
        ] {
            sqlx::query::<Backend>(statement).bind(store_id).execute(&mut **connection).await?;
        }
    });
    Ok(())
}
