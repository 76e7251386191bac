//! Makes a new base of the filter: reads all build-ids of the index in pages, on a connection of its own.
//!
//! Changes that come meanwhile are collected beside it, from a state of the index before the read. So a new base misses
//! nothing. The old base, if there is one, stays in use until the new one is ready.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use sql::{Heads, Index};
use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::timeout;

use super::base::Base;

/// Maximum time for one page of hashes: a broken connection may not be reported.
const PAGE_TIMEOUT: Duration = Duration::from_secs(60);

/// A base that is being made.
pub(super) struct Rebuild {
    pub(super) began: Instant,
    /// The state that the index must have at least.
    heads: Heads,
    /// Hashes that came since.
    pub(super) delta: HashSet<u64>,
    base: oneshot::Receiver<Result<(Heads, Base)>>,
    task: JoinHandle<()>,
}

impl Drop for Rebuild {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Rebuild {
    /// Starts to read `index`, whose changes were read up to `heads`.
    pub(super) fn start(index: Index, heads: Heads) -> Self {
        let (sender, base) = oneshot::channel();
        let task = tokio::spawn(async move {
            // Without a receiver the base is not needed any more.
            let _ = sender.send(make_base(&index).await);
        });
        Self { began: Instant::now(), heads, delta: HashSet::new(), base, task }
    }

    /// Returns the new base and its delta; `None`, with a line in the log, if the base could not be made or misses
    /// changes.
    pub(super) fn finish(mut self, base: Result<(Heads, Base)>) -> Option<(Base, HashSet<u64>)> {
        let (heads, base) = base.inspect_err(|error| tracing::warn!("no filter could be made: {error:#}")).ok()?;
        let is_behind = |(writer, head): (&String, &sql::Head)| {
            heads.get(writer).is_none_or(|found| found.sequence < head.sequence)
        };
        if self.heads.iter().any(is_behind) {
            tracing::warn!("the new filter is not used: its index is behind the one that was followed");
            return None;
        }
        let (bytes, seconds) = (base.size_bytes(), self.began.elapsed().as_secs_f32());
        tracing::info!(build_ids = base.len(), bytes, seconds, "a filter was made");
        Some((base, std::mem::take(&mut self.delta)))
    }
}

/// Waits for the new base; forever if none is being made.
pub(super) async fn finished(rebuild: &mut Option<Rebuild>) -> Result<(Heads, Base)> {
    match rebuild {
        Some(rebuild) => (&mut rebuild.base).await.unwrap_or_else(|_| Err(anyhow!("the rebuild ended early"))),
        None => std::future::pending().await,
    }
}

/// Makes a base of all build-ids of the index, and returns it with a state that the index had at least.
async fn make_base(index: &Index) -> Result<(Heads, Base)> {
    let (sender, mut pages) = mpsc::channel::<Vec<u64>>(2);
    let collect = async {
        let mut hashes: Vec<u64> = Vec::new();
        loop {
            let page = timeout(PAGE_TIMEOUT, pages.recv()).await;
            let Some(page) = page.map_err(|_| anyhow!("index: expected a page within {PAGE_TIMEOUT:?}, found none"))?
            else {
                return Ok(hashes);
            };
            // A program and its debuginfo share a build-id: duplicates are removed before more memory is allocated.
            if hashes.len() + page.len() > hashes.capacity() {
                hashes.sort_unstable();
                hashes.dedup();
            }
            hashes.extend(page);
        }
    };
    let send = async { index.send_hashes(sender).await.map_err(anyhow::Error::from) };
    let (heads, hashes) = tokio::try_join!(send, collect)?;
    Ok((heads, spawn_blocking(move || Base::from_hashes(hashes)).await??))
}
