//! Random packages, to compare them with their archives.

use std::hash::{BuildHasher, RandomState};

use sqlx::QueryBuilder;

use crate::connect::db::on_connection;
use crate::{Index, Result, StoredPackage};

/// Starts the queries of a sample of a store: a path's hash is random.
const OF_STORE: &str = "select l.package_id from locations l join packages p on p.id = l.package_id \
     where p.identity is not null and l.gone_at is null and l.path_hash ";
/// Starts the queries of a sample of the index: an identity is a digest, which is random, too.
const OF_ALL: &str = "select p.id from packages p where exists (select 1 from locations l where l.package_id = p.id \
     and l.gone_at is null) and p.identity ";

impl Index {
    /// Returns at most `max` random packages whose header was read and that have a present location, in this store if
    /// one is given.
    ///
    /// The keys of rows are digests. The sample is the rows behind a random key, and then those from the first key on.
    ///
    /// # Errors
    /// If the query of the database fails.
    pub async fn sample(&self, store: Option<i64>, max: u32) -> Result<Vec<StoredPackage>> {
        let start = format!("{:016x}", RandomState::new().hash_one(max));
        self.retry_query("reading a sample of packages", || async {
            let mut ids: Vec<i64> = Vec::new();
            on_connection!(&self.db, |connection, Backend| {
                for comparison in [">= ", "< "] {
                    let left = i64::from(max) - ids.len() as i64;
                    let mut query = QueryBuilder::<Backend>::new(if store.is_some() { OF_STORE } else { OF_ALL });
                    query.push(comparison).push_bind(start.as_str());
                    match store {
                        Some(store) => {
                            query.push(" and l.store_id = ").push_bind(store).push(" order by l.path_hash limit ");
                        }
                        None => drop(query.push(" order by p.identity limit ")),
                    }
                    query.push_bind(left);
                    let found: Vec<i64> = query.build_query_scalar().fetch_all(&mut *connection).await?;
                    ids.extend(found);
                }
            });
            // A package can have several locations in a store.
            ids.sort_unstable();
            ids.dedup();
            self.packages_by_id(&ids).await
        })
        .await
    }
}
