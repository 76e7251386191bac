//! The time of writes.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use sqlx::QueryBuilder;

use crate::connect::db::{Transaction, both, on_connection};
use crate::connect::dialect::Dialect;
use crate::{Index, Result};

impl Index {
    /// Returns the time of the database in seconds since 1970. Clocks of several importers differ.
    ///
    /// # Errors
    /// If the query of the database fails.
    pub async fn now(&self) -> Result<i64> {
        self.retry_query("reading the time", || async {
            on_connection!(&self.db, |connection, Backend| {
                let mut query = QueryBuilder::<Backend>::new("select ");
                query.push(Backend::NOW).build_query_scalar::<i64>().fetch_one(connection).await
            })
        })
        .await
    }
}

/// Returns the time of the database in seconds since 1970.
pub(super) async fn database_now(transaction: &mut Transaction) -> sqlx::Result<i64> {
    both!(Transaction, transaction, |connection, Backend| {
        let mut query = QueryBuilder::<Backend>::new("select ");
        query.push(Backend::NOW).build_query_scalar::<i64>().fetch_one(&mut **connection).await
    })
}

/// Returns the seconds since 1970 by the clock of this machine.
pub(super) fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs().cast_signed())
}

/// Returns a duration in whole seconds, rounded up: no time that is waited for ends early.
pub(super) fn whole_seconds(duration: Duration) -> i64 {
    let seconds = duration.as_secs().saturating_add(u64::from(duration.subsec_nanos() > 0));
    // Half of the range, so that a time can be added to it.
    seconds.min(i64::MAX.cast_unsigned() / 2).cast_signed()
}
