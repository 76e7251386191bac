//! Leases: work that only one process may do at a time, by the clock of the database.

use std::time::Duration;

use sqlx::QueryBuilder;

use super::clock::whole_seconds;
use crate::connect::db::both;
use crate::connect::dialect::Dialect;
use crate::model::import::{check_length, truncate};
use crate::{Index, Result};

impl Index {
    /// Takes a lease for `ttl`, or renews one's own. Returns `false` while another holder has it. `holder` is not
    /// empty.
    ///
    /// # Errors
    /// If a name is too long, or the database refuses.
    pub async fn acquire_lease(&self, name: &str, holder: &str, ttl: Duration) -> Result<bool> {
        check_length(&truncate(name), "name of a lease", 255, name.len())?;
        check_length(&truncate(name), "holder of a lease", 255, holder.len())?;
        self.retry_transaction("taking a lease", || async {
            let mut transaction = self.begin().await?;
            let is_ours = both!(Transaction, &mut transaction, |connection, Backend| {
                let mut query = QueryBuilder::<Backend>::new("select holder, case when until <= ");
                query.push(Backend::NOW).push(" then 1 else 0 end from leases where name = ").push_bind(name);
                query.push(Backend::FOR_UPDATE);
                let held: Option<(String, bool)> = query.build_query_as().fetch_optional(&mut **connection).await?;
                let is_ours = held.as_ref().is_none_or(|(other, is_expired)| other == holder || *is_expired);
                let query = match held {
                    // Another process that inserts it now makes the key refuse this row: the transaction is retried.
                    None => {
                        let mut query =
                            QueryBuilder::<Backend>::new("insert into leases (name, holder, until) values (");
                        query.push_bind(name).push(", ").push_bind(holder).push(", ").push(Backend::NOW);
                        query.push(" + ").push_bind(whole_seconds(ttl)).push(")");
                        Some(query)
                    }
                    Some(_) if is_ours => {
                        let mut query = QueryBuilder::<Backend>::new("update leases set holder = ");
                        query.push_bind(holder).push(", until = ").push(Backend::NOW).push(" + ");
                        query.push_bind(whole_seconds(ttl)).push(" where name = ").push_bind(name);
                        Some(query)
                    }
                    Some(_) => None,
                };
                if let Some(mut query) = query {
                    query.build().execute(&mut **connection).await?;
                }
                is_ours
            });
            transaction.commit().await?;
            Ok(is_ours)
        })
        .await
    }

    /// Ends one's own lease. The row stays.
    ///
    /// # Errors
    /// If the database refuses.
    pub async fn release_lease(&self, name: &str, holder: &str) -> Result<()> {
        self.retry_transaction("ending a lease", || async {
            let mut transaction = self.begin().await?;
            both!(Transaction, &mut transaction, |connection, Backend| {
                sqlx::query::<Backend>("update leases set holder = '', until = 0 where name = ? and holder = ?")
                    .bind(name)
                    .bind(holder)
                    .execute(&mut **connection)
                    .await?;
            });
            transaction.commit().await
        })
        .await
    }
}
