//! Messages and jobs that cannot be processed.

use sha2::{Digest, Sha256};
use sqlx::QueryBuilder;

use crate::connect::db::{Transaction, both};
use crate::connect::dialect::Dialect;
use crate::model::rows::decode_error;
use crate::{Index, Result};

/// Maximum length of a stored payload and of a stored reason, in bytes. The rest is cut off.
const MAX_PAYLOAD: usize = 64 << 10;
const MAX_REASON: usize = 4 << 10;
/// Maximum length of a source, in characters, as the column has it.
const MAX_SOURCE: usize = 64;

impl Index {
    /// Stores what cannot be processed, with the queue or hook from which it came and the reason. A payload is cut off
    /// after 64 KiB, a reason after 4 KiB, a source after 64 characters. The same payload of the same source is stored
    /// once, with the latest reason: a broker delivers again what it was not told to forget.
    ///
    /// # Errors
    /// If the database refuses.
    pub async fn insert_poison(&self, source: &str, payload: &str, reason: &str) -> Result<()> {
        self.retry_transaction("storing what cannot be processed", || async {
            let mut transaction = self.begin().await?;
            insert(&mut transaction, source, payload, reason).await?;
            transaction.commit().await
        })
        .await
    }
}

/// Inserts a row, or updates that of the same source and payload, in a transaction.
pub(super) async fn insert(
    transaction: &mut Transaction,
    source: &str,
    payload: &str,
    reason: &str,
) -> sqlx::Result<()> {
    let source: String = source.chars().take(MAX_SOURCE).collect();
    let digest = digest(&source, payload)?;
    both!(Transaction, transaction, |connection, Backend| {
        let mut query =
            QueryBuilder::<Backend>::new("insert into poison (source, payload, reason, received_at, digest) values (");
        query.push_bind(source.as_str()).push(", ").push_bind(cut(payload, MAX_PAYLOAD)).push(", ");
        query.push_bind(cut(reason, MAX_REASON)).push(", ").push(Backend::NOW).push(", ");
        query.push_bind(digest.as_str()).push(")").push(Backend::UPDATE_POISON);
        query.build().execute(&mut **connection).await?;
    });
    Ok(())
}

/// Returns the key of a row: the first 16 bytes of a SHA-256 in hex.
fn digest(source: &str, payload: &str) -> sqlx::Result<String> {
    let hash: [u8; 32] = Sha256::new().chain_update(source).chain_update([0]).chain_update(payload).finalize().into();
    let mut digits = [0; 32];
    faster_hex::hex_encode(&hash[..16], &mut digits).map(|digits| digits.to_owned()).map_err(decode_error)
}

/// Returns the beginning of a text, at most `max` bytes, without a part of a character at the end.
pub(super) fn cut(text: &str, max: usize) -> &str {
    let end = (0..=max.min(text.len())).rev().find(|end| text.is_char_boundary(*end));
    end.and_then(|end| text.get(..end)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cut_between_characters() {
        assert_eq!(cut("abc", 3), "abc");
        assert_eq!(cut("abc", 2), "ab");
        assert_eq!(cut("aé", 2), "a");
        assert_eq!(cut("é", 1), "");
        assert_eq!(cut("", 0), "");
    }
}
