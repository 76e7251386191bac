//! All build-ids of the index, for a filter.

use std::str::FromStr;

use artifact::BuildId;
use tokio::sync::mpsc;

use super::changes::{Heads, hash_build_id, heads};
use crate::connect::db::on_connection;
use crate::model::rows::decode_error;
use crate::{Index, Result};

/// Number of build-ids in a page.
const PAGE: i64 = 10_000;

/// Selects a page of each table with build-ids, after the last one, in the order of an index.
const PAGES: [&str; 2] = [
    "select distinct build_id from artifacts where build_id > ? order by build_id limit ?",
    "select distinct build_id from claims where build_id > ? order by build_id limit ?",
];

impl Index {
    /// Sends the hashes ([`hash_build_id`]) of all build-ids of the index in pages, including those of claims, some
    /// more than once. Returns the state before the first page: the pages have everything of that state, and perhaps
    /// later build-ids. Uses one connection and no transaction. Ends early when the receiver is dropped.
    ///
    /// # Errors
    /// If a query of the database fails.
    pub async fn send_hashes(&self, pages: mpsc::Sender<Vec<u64>>) -> Result<Heads> {
        let sent = async {
            on_connection!(&self.db, |connection, Backend| {
                let heads = heads!(connection, Backend);
                for select in PAGES {
                    let mut last = String::new();
                    loop {
                        let page: Vec<String> = sqlx::query_scalar::<Backend, String>(select)
                            .bind(last.as_str())
                            .bind(PAGE)
                            .fetch_all(&mut *connection)
                            .await?;
                        let is_last = (page.len() as i64) < PAGE;
                        last = page.last().cloned().unwrap_or_default();
                        let hashes = page
                            .iter()
                            .map(|digits| BuildId::from_str(digits).map(|build_id| hash_build_id(&build_id)));
                        let mut hashes = hashes.collect::<artifact::Result<Vec<u64>>>().map_err(decode_error)?;
                        hashes.sort_unstable();
                        if !hashes.is_empty() && pages.send(hashes).await.is_err() || is_last {
                            break;
                        }
                    }
                }
                Ok(heads)
            })
        };
        sent.await.map_err(|source| self.error("reading all build-ids", source))
    }
}
