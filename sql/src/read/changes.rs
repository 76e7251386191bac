//! Changes: the build-ids that each transaction inserted, for readers with a filter of the whole index.
//!
//! A transaction that inserts increments the sequence of its writer in `writers`, and inserts a row into `changes` with
//! the hashes of its build-ids. It holds the lock of the writer's row until its end, so that the writer's next
//! transaction gets its number afterwards. A reader that sees a number therefore sees everything up to it, on every
//! node. Neither clocks nor auto-increment values matter.

use std::collections::BTreeMap;

use artifact::BuildId;

use crate::connect::db::on_connection;
use crate::model::rows::decode_error;
use crate::{Index, Result};

/// Maximum number of transactions of one writer in an answer. One has up to 2 MiB, and an answer that outlasts the
/// reader's timeout would be requested again without end.
const MAX_ROWS: i64 = 8;

/// The last transaction of a writer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Its number, from 1.
    pub sequence: i64,
    /// Random, so that indexes with the same numbers differ. `None` if the writer recorded no changes.
    pub mark: Option<i64>,
}

/// The last transaction of every writer: a state of the index.
pub type Heads = BTreeMap<String, Head>;

/// The changes since a known state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Changes {
    /// All changes, or the first of them.
    Since {
        /// The state up to these changes.
        heads: Heads,
        /// The hashes ([`hash_build_id`]) of the inserted build-ids.
        hashes: Vec<u64>,
        /// True if this is the current state. If not, the rest can be requested.
        is_complete: bool,
    },
    /// The database is older than the known state: a lagging node, or an older copy of the index. With the reason.
    Lagging(String),
    /// The changes are unavailable: they were pruned, or this is another index. With the reason.
    Unavailable(String),
}

/// Returns the hash of a build-id in `changes` and filters: FNV-1a with 64 bits. The same in every version, because it
/// is stored.
pub fn hash_build_id(build_id: &BuildId) -> u64 {
    build_id
        .as_bytes()
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

/// Reads [`Heads`].
macro_rules! heads {
    ($connection:expr, $backend:ident) => {{
        let rows: Vec<(String, i64, Option<i64>)> = sqlx::query_as::<$backend, _>(
            "select w.writer, w.sequence, c.mark from writers w \
             left join changes c on c.writer = w.writer and c.sequence = w.sequence",
        )
        .fetch_all(&mut *$connection)
        .await?;
        rows.into_iter()
            .map(|(writer, sequence, mark)| (writer, $crate::Head { sequence, mark }))
            .collect::<$crate::Heads>()
    }};
}
pub(crate) use heads;

impl Index {
    /// Returns the current state of the index.
    pub async fn heads(&self) -> Result<Heads> {
        self.retry_query("reading writers", || async {
            on_connection!(&self.db, |connection, Backend| Ok(heads!(connection, Backend)))
        })
        .await
    }

    /// Returns the changes since the state `known`; if there are many, the first of them.
    pub async fn changes(&self, known: &Heads) -> Result<Changes> {
        self.retry_query("reading changes", || async {
            on_connection!(&self.db, |connection, Backend| {
                let heads = heads!(connection, Backend);
                let (mut followed, mut hashes) = (heads.clone(), Vec::new());
                let mut found = compare_heads(known, &heads);
                for (writer, head) in &mut followed {
                    let since = known.get(writer).copied().unwrap_or(Head { sequence: 0, mark: None });
                    if found.is_some() || head.sequence == since.sequence {
                        continue;
                    }
                    // The known row is selected to be recognized, without its hashes.
                    let rows: Vec<(i64, i64, Option<Vec<u8>>)> = sqlx::query_as::<Backend, _>(
                        "select sequence, mark, case when sequence > ? then build_ids end from changes \
                         where writer = ? and sequence between ? and ? order by sequence limit ?",
                    )
                    .bind(since.sequence)
                    .bind(writer.as_str())
                    .bind(since.sequence)
                    .bind(head.sequence)
                    .bind(1 + MAX_ROWS)
                    .fetch_all(&mut *connection)
                    .await?;
                    if let Some((sequence, mark, _)) = rows.last().filter(|_| rows.len() as i64 > MAX_ROWS) {
                        *head = Head { sequence: *sequence, mark: Some(*mark) };
                    }
                    found = collect_hashes(writer, since, *head, rows, &mut hashes)?;
                }
                let is_complete = followed == heads;
                Ok(found.unwrap_or(Changes::Since { heads: followed, hashes, is_complete }))
            })
        })
        .await
    }
}

/// Returns the reason if `heads` is older than `known`, or of another index.
fn compare_heads(known: &Heads, heads: &Heads) -> Option<Changes> {
    for (writer, known) in known {
        let found = heads.get(writer).map_or(0, |head| head.sequence);
        if found < known.sequence {
            return Some(Changes::Lagging(format!(
                "{writer}: expected transaction {} or later, found {found}",
                known.sequence
            )));
        }
        if heads.get(writer).is_some_and(|head| head.sequence == known.sequence && head.mark != known.mark) {
            return Some(Changes::Unavailable(format!(
                "{writer}: transaction {} differs from the known one",
                known.sequence
            )));
        }
    }
    None
}

/// Adds the hashes of one writer's transactions after `since` up to `head`, or returns the reason why it cannot.
fn collect_hashes(
    writer: &str,
    since: Head,
    head: Head,
    mut rows: Vec<(i64, i64, Option<Vec<u8>>)>,
    hashes: &mut Vec<u64>,
) -> sqlx::Result<Option<Changes>> {
    let unavailable = |reason: &str| Ok(Some(Changes::Unavailable(format!("{writer}: {reason}"))));
    if since.sequence > 0 {
        match rows.first() {
            Some((sequence, mark, _)) if *sequence == since.sequence && Some(*mark) == since.mark => {
                drop(rows.remove(0))
            }
            Some((sequence, ..)) if *sequence == since.sequence => {
                return unavailable(&format!("transaction {sequence} differs from the known one"));
            }
            _ => return unavailable(&format!("changes since transaction {} were pruned", since.sequence)),
        }
    }
    let mut next = since.sequence + 1;
    for (sequence, _, build_ids) in rows {
        if sequence != next {
            return unavailable(&format!("the changes of transaction {next} were pruned"));
        }
        let Some(build_ids) = build_ids else {
            return unavailable(&format!("transaction {sequence} was too large to be recorded"));
        };
        let (hashes_le, rest) = build_ids.as_chunks::<8>();
        if !rest.is_empty() {
            return Err(decode_error(format!("changes: expected a multiple of 8 bytes, found {}", build_ids.len())));
        }
        hashes.extend(hashes_le.iter().map(|hash_le| u64::from_le_bytes(*hash_le)));
        next += 1;
    }
    if next <= head.sequence {
        return Ok(Some(Changes::Lagging(format!("{writer}: transaction {next} is missing"))));
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_the_one_that_is_stored() {
        // The test vectors of FNV-1a.
        for (text, expected) in [("a", 0xaf63_dc4c_8601_ec8c), ("foobar", 0x8594_4171_f739_67e8)] {
            assert_eq!(hash_build_id(&BuildId::from_bytes(text.as_bytes()).unwrap()), expected, "{text}");
        }
    }

    fn row(sequence: i64, build_ids: Option<&[u64]>) -> (i64, i64, Option<Vec<u8>>) {
        (sequence, 7, build_ids.map(|hashes| hashes.iter().flat_map(|hash| hash.to_le_bytes()).collect()))
    }

    #[test]
    fn a_writers_changes_are_returned_without_a_gap_or_not_at_all() {
        let (since, head) = (Head { sequence: 4, mark: Some(7) }, Head { sequence: 6, mark: Some(7) });
        let mut hashes = Vec::new();
        let rows = vec![row(4, None), row(5, Some(&[1, 2])), row(6, Some(&[]))];
        assert_eq!(collect_hashes("w", since, head, rows, &mut hashes).unwrap(), None);
        assert_eq!(hashes, [1, 2]);
        let reason = |since, rows| match collect_hashes("w", since, head, rows, &mut Vec::new()).unwrap() {
            Some(Changes::Unavailable(reason)) => format!("unavailable: {reason}"),
            Some(Changes::Lagging(reason)) => format!("lagging: {reason}"),
            other => panic!("{other:?}"),
        };
        let (a, b) = (row(5, Some(&[1])), row(6, Some(&[2])));
        assert!(reason(since, vec![a.clone(), b.clone()]).starts_with("unavailable: w: changes since transaction 4"));
        assert!(
            reason(since, vec![row(4, None), b.clone()]).starts_with("unavailable: w: the changes of transaction 5")
        );
        assert!(reason(since, vec![row(4, None), row(5, None), b.clone()]).contains("too large"));
        assert!(reason(since, vec![row(4, None), a.clone()]).starts_with("lagging: w: transaction 6"));
        assert!(reason(Head { mark: Some(8), ..since }, vec![row(4, None), a, b]).contains("differs"));
    }
}
