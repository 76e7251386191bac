//! The positions of feeders in their sources.

use sqlx::{Database, Encode, QueryBuilder, Type};

use super::clock::now;
use crate::connect::db::{Transaction, both, on_connection};
use crate::connect::dialect::Dialect;
use crate::model::import::{check_length, truncate};
use crate::{Cursor, Index, Result};

impl Index {
    /// Returns a position. `None` if none is stored.
    ///
    /// # Errors
    /// If the query of the database fails.
    pub async fn cursor(&self, name: &str) -> Result<Option<Cursor>> {
        let row = self.retry_query("reading a position", || async {
            on_connection!(&self.db, |connection, Backend| {
                sqlx::query_as::<Backend, (String, String, i64)>(
                    "select name, value, updated_at from cursors where name = ?",
                )
                .bind(name)
                .fetch_optional(connection)
                .await
            })
        });
        Ok(row.await?.map(|(name, value, updated_at)| Cursor { name, value, updated_at }))
    }

    /// Stores a position.
    ///
    /// # Errors
    /// If the name or the value is too long, or the database refuses.
    pub async fn set_cursor(&self, name: &str, value: &str) -> Result<()> {
        check(name, value)?;
        self.retry_transaction("storing a position", || async {
            let mut transaction = self.begin().await?;
            set(&mut transaction, name, value).await?;
            transaction.commit().await
        })
        .await
    }

    /// Returns the value of a position; where none is stored, stores this one. Of several processes that do so at once,
    /// all get the value of the first.
    ///
    /// # Errors
    /// If the name or the value is too long, or the database refuses.
    pub async fn cursor_or_insert(&self, name: &str, value: &str) -> Result<String> {
        check(name, value)?;
        self.retry_transaction("storing a position", || async {
            let mut transaction = self.begin().await?;
            let stored: Option<String> = both!(Transaction, &mut transaction, |connection, Backend| {
                let mut query = QueryBuilder::<Backend>::new("select value from cursors where name = ");
                query.push_bind(name).push(Backend::FOR_UPDATE);
                query.build_query_scalar().fetch_optional(&mut **connection).await?
            });
            if let Some(stored) = stored {
                return Ok(stored);
            }
            // If another process inserts it now, the key refuses this row, and the transaction is retried.
            both!(Transaction, &mut transaction, |connection, Backend| {
                insert::<Backend>(name, value).build().execute(&mut **connection).await?;
            });
            transaction.commit().await?;
            Ok(value.to_owned())
        })
        .await
    }
}

/// Stores a position, in a transaction.
pub(super) async fn set(transaction: &mut Transaction, name: &str, value: &str) -> sqlx::Result<()> {
    both!(Transaction, transaction, |connection, Backend| {
        let mut query = insert::<Backend>(name, value);
        query.push(Backend::UPDATE_CURSOR).build().execute(&mut **connection).await?;
    });
    Ok(())
}

/// Returns the INSERT of a position.
fn insert<'a, DB>(name: &'a str, value: &'a str) -> QueryBuilder<DB>
where
    DB: Database,
    &'a str: Encode<'a, DB> + Type<DB>,
    i64: Encode<'a, DB> + Type<DB>,
{
    let mut query = QueryBuilder::new("insert into cursors (name, value, updated_at) values (");
    query.push_bind(name).push(", ").push_bind(value).push(", ").push_bind(now()).push(")");
    query
}

fn check(name: &str, value: &str) -> Result<()> {
    check_length(&truncate(name), "name of a position", 255, name.len())?;
    check_length(&truncate(name), "position", 65_535, value.len())
}
