//! The query for stores.

use crate::connect::db::on_connection;
use crate::model::rows::StoreRow;
use crate::{Index, Result, Store};

/// Selects the columns of [`StoreRow`].
pub(crate) const STORES: &str = "select id as store_id, name as store_name, tier, base_url, root, priority, \
     pattern, distros, absent_statuses, redirect_hosts, allow_private from stores";

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
