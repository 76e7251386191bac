//! Known locations of a store, which are marked as seen or gone.

use std::collections::HashMap;

use artifact::{Format, Identity};
use futures::TryStreamExt;
use sqlx::{FromRow, QueryBuilder};

use crate::PackageState;
use crate::connect::db::{both, on_connection};
use crate::model::rows::{MAX_LIST, decode_error, push_list, to_format, to_unsigned};
use crate::{Index, PathHash, Result};

/// The entry of a path of a store in the index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KnownLocation {
    /// The present or last package at the path.
    pub package_id: i64,
    /// The format of its archive.
    pub format: Format,
    /// Its identity. `None` if its header was not read yet.
    pub identity: Option<Identity>,
    /// Size of the archive in bytes. `None` if unknown.
    pub size: Option<u64>,
    /// The archive's modification time, nanoseconds since 1970.
    pub mtime_ns: Option<i64>,
    /// True if it is gone. A path that reappeared must be imported again: [`Index::mark_seen`] does not restore it.
    pub gone: bool,
    /// True if its package is open.
    pub open: bool,
}

impl Index {
    /// Returns all paths of a store in the index, including gone ones. A path that had several packages has the present
    /// one, else the one seen last.
    ///
    /// # Errors
    /// If the query of the database fails.
    pub async fn known_locations(&self, store_id: i64) -> Result<HashMap<PathHash, KnownLocation>> {
        self.known(store_id, None).await
    }

    /// Returns the same for the paths below one directory of the store (`updates/40`, without slashes at the ends).
    ///
    /// # Errors
    /// If the query of the database fails.
    pub async fn known_locations_below(
        &self,
        store_id: i64,
        directory: &str,
    ) -> Result<HashMap<PathHash, KnownLocation>> {
        self.known(store_id, Some(&format!("{directory}/"))).await
    }

    async fn known(&self, store_id: i64, beginning: Option<&str>) -> Result<HashMap<PathHash, KnownLocation>> {
        self.retry_query("reading known locations", || async {
            let mut known: HashMap<PathHash, (Option<i64>, KnownLocation)> = HashMap::new();
            on_connection!(&self.db, |connection, Backend| {
                let mut query = QueryBuilder::<Backend>::new(
                    "select l.path_hash, l.package_id, p.format, p.identity, l.size, l.mtime_ns, l.last_seen, \
                     l.gone_at, p.state \
                     from locations l join packages p on p.id = l.package_id where l.store_id = ",
                );
                query.push_bind(store_id);
                if let Some(beginning) = beginning {
                    let characters = beginning.chars().count() as i64;
                    query.push(" and substr(l.path, 1, ").push_bind(characters).push(") = ").push_bind(beginning);
                }
                let mut rows = query.build_query_as::<KnownRow>().fetch(connection);
                while let Some(row) = rows.try_next().await? {
                    let (path, last_seen, location) = row.into_location()?;
                    let rank = |gone: bool, last_seen: Option<i64>| (!gone, last_seen);
                    match known.get(&path) {
                        Some((other, held)) if rank(held.gone, *other) >= rank(location.gone, last_seen) => {}
                        _ => drop(known.insert(path, (last_seen, location))),
                    }
                }
            });
            Ok(known.into_iter().map(|(path, (_, location))| (path, location)).collect())
        })
        .await
    }

    /// Sets `last_seen` of these paths of a store, in seconds since 1970. Unknown and gone paths are not changed.
    /// Returns the number of locations changed.
    ///
    /// # Errors
    /// If the database refuses.
    pub async fn mark_seen(&self, store_id: i64, paths: &[PathHash], at: i64) -> Result<u64> {
        self.mark("update locations set last_seen = ", store_id, paths, at).await
    }

    /// Sets `gone_at` of these paths of a store, in seconds since 1970. Unknown and gone paths are not changed. Returns
    /// the number of locations changed.
    ///
    /// # Errors
    /// If the database refuses.
    pub async fn mark_gone(&self, store_id: i64, paths: &[PathHash], at: i64) -> Result<u64> {
        self.mark("update locations set gone_at = ", store_id, paths, at).await
    }

    async fn mark(&self, update: &'static str, store_id: i64, paths: &[PathHash], at: i64) -> Result<u64> {
        let mut paths: Vec<String> = paths.iter().map(PathHash::to_string).collect();
        paths.sort_unstable();
        paths.dedup();
        let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
        self.retry_transaction("marking locations", || async {
            let mut transaction = self.begin().await?;
            let mut marked = 0;
            for paths in paths.chunks(MAX_LIST) {
                both!(Transaction, &mut transaction, |connection, Backend| {
                    let mut query = QueryBuilder::<Backend>::new(update);
                    query
                        .push_bind(at)
                        .push(" where gone_at is null and store_id = ")
                        .push_bind(store_id)
                        .push(" and ");
                    push_list(&mut query, "path_hash", paths);
                    marked += query.build().execute(&mut **connection).await?.rows_affected();
                });
            }
            transaction.commit().await?;
            Ok(marked)
        })
        .await
    }
}

#[derive(FromRow)]
struct KnownRow {
    path_hash: String,
    package_id: i64,
    format: String,
    identity: Option<String>,
    size: Option<i64>,
    mtime_ns: Option<i64>,
    last_seen: Option<i64>,
    gone_at: Option<i64>,
    state: String,
}

impl KnownRow {
    fn into_location(self) -> sqlx::Result<(PathHash, Option<i64>, KnownLocation)> {
        let path = self.path_hash.parse()?;
        let location = KnownLocation {
            package_id: self.package_id,
            format: to_format(&self.format)?,
            identity: self.identity.map(|digits| digits.parse().map_err(decode_error)).transpose()?,
            size: self.size.map(to_unsigned).transpose()?,
            mtime_ns: self.mtime_ns,
            gone: self.gone_at.is_some(),
            open: PackageState::parse(&self.state)?.is_open(),
        };
        Ok((path, self.last_seen, location))
    }
}
