//! The record of a transaction for readers with a filter of the whole index ([`crate::Changes`]).

use std::hash::{BuildHasher, RandomState};

use sqlx::QueryBuilder;

use crate::connect::db::{Transaction, both};
use crate::connect::dialect::Dialect;

/// Maximum bytes of hashes of one writer that are retained for readers that were offline.
const MAX_BYTES: i64 = 4 << 20;
/// Maximum number of transactions of one writer that are retained.
const MAX_ROWS: i64 = 1000;
/// Maximum number of hashes of one transaction. A larger one records none, and readers scan the index again.
const MAX_HASHES: usize = 1 << 18;

/// Increments the writer's sequence, and records the hashes of the inserted build-ids, which may be repeated.
pub(crate) async fn record(transaction: &mut Transaction, writer: &str, mut hashes: Vec<u64>) -> sqlx::Result<()> {
    hashes.sort_unstable();
    hashes.dedup();
    let recorded =
        (hashes.len() <= MAX_HASHES).then(|| hashes.iter().flat_map(|hash| hash.to_le_bytes()).collect::<Vec<u8>>());
    let bytes = recorded.as_ref().map_or(0, |recorded| recorded.len() as i64);
    both!(Transaction, transaction, |connection, Backend| {
        let mut query = QueryBuilder::<Backend>::new("insert into writers (writer, sequence) values (");
        query.push_bind(writer).push(", 1)").push(Backend::COUNT_TRANSACTION);
        query.build().execute(&mut **connection).await?;
        let sequence: i64 = sqlx::query_scalar::<Backend, _>("select sequence from writers where writer = ?")
            .bind(writer)
            .fetch_one(&mut **connection)
            .await?;
        let before: Option<i64> =
            sqlx::query_scalar::<Backend, _>("select total from changes where writer = ? and sequence = ?")
                .bind(writer)
                .bind(sequence - 1)
                .fetch_optional(&mut **connection)
                .await?;
        let total = before.unwrap_or(0) + bytes;
        sqlx::query::<Backend>("insert into changes (writer, sequence, mark, total, build_ids) values (?, ?, ?, ?, ?)")
            .bind(writer)
            .bind(sequence)
            .bind(RandomState::new().hash_one(sequence).cast_signed())
            .bind(total)
            .bind(recorded.as_deref())
            .execute(&mut **connection)
            .await?;
        sqlx::query::<Backend>(
            "delete from changes where writer = ? and sequence < ? and (sequence <= ? or total <= ?)",
        )
        .bind(writer)
        .bind(sequence)
        .bind(sequence - MAX_ROWS)
        .bind(total - MAX_BYTES)
        .execute(&mut **connection)
        .await?;
    });
    Ok(())
}
