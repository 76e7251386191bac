//! The query for stores.

use crate::connect::db::on_connection;
use crate::model::rows::StoreRow;
use crate::{Index, Result, Store};

/// Selects the columns of [`StoreRow`].
macro_rules! stores {
    () => {
        "select id as store_id, name as store_name, tier, base_url, root, priority, \
         pattern, distros, absent_statuses, redirect_hosts, allow_private from stores"
    };
}
pub(crate) const STORES: &str = stores!();
/// Selects the stores whose places follow from a pattern.
pub(crate) const STORES_WITH_PATTERN: &str = concat!(stores!(), " where pattern is not null");

/// Returns the packages of these rows with the places that follow from patterns. Without rows there is no query.
macro_rules! with_derived {
    ($connection:expr, $backend:ident, $rows:expr) => {{
        let rows: Vec<$crate::model::rows::PackageRow> = $rows;
        let mut stores = Vec::new();
        if !rows.is_empty() {
            let select =
                sqlx::query_as::<$backend, $crate::model::rows::StoreRow>($crate::read::stores::STORES_WITH_PATTERN);
            for store in select.fetch_all(&mut *$connection).await? {
                stores.extend(store.into_store()?.map(std::sync::Arc::new));
            }
        }
        $crate::model::facts::to_facts(rows, &stores)?
    }};
}
pub(crate) use with_derived;

impl Index {
    /// Returns all stores, by name.
    ///
    /// # Errors
    /// If the query of the database fails.
    pub async fn stores(&self) -> Result<Vec<Store>> {
        let mut stores = self
            .retry_query("reading stores", || async {
                let rows = on_connection!(&self.db, |connection, Backend| sqlx::query_as::<Backend, StoreRow>(STORES)
                    .fetch_all(connection)
                    .await?);
                rows.into_iter().filter_map(|row| row.into_store().transpose()).collect::<sqlx::Result<Vec<Store>>>()
            })
            .await?;
        stores.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(stores)
    }
}
