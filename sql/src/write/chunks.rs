//! Inserts of many rows, in chunks.

use futures::join;
use sqlx::{Database, Executor, IntoArguments, QueryBuilder};

/// Numbers of rows of one INSERT. The rest of a list is split into the next shorter ones, so that few statements are
/// prepared, and each once: a statement that is discarded costs a MySQL connection 40 ms (two small packets in one
/// direction: Nagle's algorithm).
const ROWS: [usize; 6] = [1000, 200, 50, 10, 3, 1];

/// Inserts rows by statements that `statement` builds for a chunk each: the next one while the database executes the
/// previous one.
pub(crate) async fn write<DB, T>(
    connection: &mut DB::Connection,
    rows: &[T],
    mut statement: impl FnMut(&[T]) -> QueryBuilder<DB>,
) -> sqlx::Result<DB::QueryResult>
where
    DB: Database,
    DB::Arguments: IntoArguments<DB>,
    for<'c> &'c mut DB::Connection: Executor<'c, Database = DB>,
{
    let mut chunks = chunks(rows);
    let (mut all, mut next) = (DB::QueryResult::default(), chunks.next().map(&mut statement));
    while let Some(mut query) = next {
        let (written, following) =
            join!(query.build().execute(&mut *connection), async { chunks.next().map(&mut statement) });
        all.extend([written?]);
        next = following;
    }
    Ok(all)
}

/// Splits a list into chunks of the lengths in [`ROWS`].
fn chunks<T>(mut list: &[T]) -> impl Iterator<Item = &[T]> {
    std::iter::from_fn(move || {
        let length = ROWS.into_iter().find(|length| *length <= list.len())?;
        let (chunk, rest) = list.split_at(length);
        list = rest;
        Some(chunk)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_have_few_lengths_and_lose_nothing() {
        for length in [0, 1, 2, 9, 999, 1000, 2476] {
            let list: Vec<usize> = (0..length).collect();
            assert!(chunks(&list).all(|chunk| ROWS.contains(&chunk.len())));
            assert_eq!(chunks(&list).flatten().copied().collect::<Vec<_>>(), list);
        }
    }
}
