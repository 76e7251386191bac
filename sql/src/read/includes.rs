//! The query for packages by their include files ([`artifact::includes`]).

use sqlx::QueryBuilder;

use crate::connect::db::on_connection;
use crate::{Index, Result, StoredPackage};

/// Maximum number of packages returned, newest first.
const MAX_PACKAGES: i64 = 1000;

impl Index {
    /// Returns the packages that have an include file in this directory ([`artifact::includes::include_dir`]), newest
    /// first.
    ///
    /// # Errors
    /// If the query of the database fails.
    pub async fn packages_by_include_dir(&self, place: &str) -> Result<Vec<StoredPackage>> {
        self.retry_query("reading packages by include files", || async {
            let ids: Vec<i64> = on_connection!(&self.db, |connection, Backend| {
                let mut query = QueryBuilder::<Backend>::new("select package_id from includes where dir = ");
                query.push_bind(place).push(" order by package_id desc limit ").push_bind(MAX_PACKAGES);
                query.build_query_scalar().fetch_all(connection).await?
            });
            let mut packages = self.packages_by_id(&ids).await?;
            packages.sort_by_key(|package| std::cmp::Reverse(package.id));
            Ok(packages)
        })
        .await
    }
}
