//! The positions of feeders in their sources.

use sqlx::{Database, Encode, QueryBuilder, Type};

use super::clock::now;
use crate::connect::db::{Transaction, both, on_connection};
use crate::connect::dialect::Dialect;
use crate::model::import::{check_length, truncate};
use crate::{Cursor, Index, Result};

impl Index {
    /// Returns a position. `None` if none is stored. Its time is by the clock of this machine, however much that of the
    /// database differs. A stored time in the future, of a clock that was wrong, is 0: long ago.
    ///
    /// # Errors
    /// If the query of the database fails.
    pub async fn cursor(&self, name: &str) -> Result<Option<Cursor>> {
        let row: Option<(String, String, i64)> = self
            .retry_query("reading a position", || async {
                on_connection!(&self.db, |connection, Backend| {
                    let mut query = QueryBuilder::<Backend>::new("select name, value, ");
                    query.push(Backend::NOW).push(" - updated_at from cursors where name = ").push_bind(name);
                    query.build_query_as().fetch_optional(connection).await
                })
            })
            .await?;
        Ok(row.map(|(name, value, age)| {
            let updated_at = if age < 0 { 0 } else { now().saturating_sub(age) };
            Cursor { name, value, updated_at }
        }))
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
    DB: Database + Dialect,
    &'a str: Encode<'a, DB> + Type<DB>,
{
    let mut query = QueryBuilder::new("insert into cursors (name, value, updated_at) values (");
    query.push_bind(name).push(", ").push_bind(value).push(", ").push(DB::NOW).push(")");
    query
}

fn check(name: &str, value: &str) -> Result<()> {
    check_length(&truncate(name), "name of a position", 255, name.len())?;
    check_length(&truncate(name), "position", 65_535, value.len())
}
