//! Batches of look-ups: those that arrive while queries run wait for one of them to end, and then share a query.
//!
//! A query costs a few changes of threads and, on MySQL, a round trip; another build-id in it costs microseconds. While
//! fewer than [`MAX_QUERIES`] run, a look-up starts a query at once.

use std::collections::HashMap;
use std::sync::Arc;

use artifact::BuildId;
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, mpsc, oneshot};

use super::Records;
use super::queries::ended_early;
use crate::resolve::outcome::Cause;

/// Maximum number of concurrent queries: one that hangs must not delay the others.
const MAX_QUERIES: usize = 4;
/// Maximum number of build-ids in a query.
const MAX_BATCH: usize = 128;

/// The queue of look-ups.
#[derive(Clone)]
pub(super) struct Batches(mpsc::UnboundedSender<Waiting>);

struct Waiting {
    build_id: BuildId,
    answer: oneshot::Sender<Result<Arc<Records>, Cause>>,
}

impl Batches {
    /// Runs `query` for each batch, on `runtime`: a client that disconnects does not cancel a query that others share.
    pub(super) fn new<F>(runtime: &Handle, query: impl Fn(Vec<BuildId>) -> F + Clone + Send + 'static) -> Self
    where
        F: Future<Output = Result<sql::Records, Cause>> + Send + 'static,
    {
        let (sender, mut waiting) = mpsc::unbounded_channel();
        let permits = Arc::new(Semaphore::new(MAX_QUERIES));
        let spawner = runtime.clone();
        runtime.spawn(async move {
            // The semaphore is never closed.
            while let Ok(permit) = permits.clone().acquire_owned().await {
                let mut batch = Vec::new();
                if waiting.recv_many(&mut batch, MAX_BATCH).await == 0 {
                    return;
                }
                let query = query.clone();
                spawner.spawn(async move {
                    answer(batch, query).await;
                    drop(permit);
                });
            }
        });
        Self(sender)
    }

    /// Returns every record and claim of one build-id.
    ///
    /// # Errors
    /// If the query failed.
    pub(super) async fn records(&self, build_id: &BuildId) -> Result<Arc<Records>, Cause> {
        let (answer, answered) = oneshot::channel();
        // Without a receiver the sender of the answer is dropped, which is an error below.
        let _ = self.0.send(Waiting { build_id: build_id.clone(), answer });
        answered.await.unwrap_or_else(|_| Err(ended_early("it sent no answer")))
    }
}

async fn answer<F>(mut batch: Vec<Waiting>, query: impl Fn(Vec<BuildId>) -> F)
where
    F: Future<Output = Result<sql::Records, Cause>>,
{
    batch.retain(|waiting| !waiting.answer.is_closed());
    if batch.is_empty() {
        return;
    }
    let found = query(batch.iter().map(|waiting| waiting.build_id.clone()).collect()).await;
    let found = found.map(|sql::Records { records, claims }| {
        let mut found: HashMap<BuildId, sql::Records> = HashMap::new();
        for record in records {
            found.entry(record.artifact.build_id.clone()).or_default().records.push(record);
        }
        for claim in claims {
            found.entry(claim.claim.build_id.clone()).or_default().claims.push(claim);
        }
        found
            .into_iter()
            .map(|(build_id, records)| (build_id, Arc::new(Records::new(records))))
            .collect::<HashMap<_, _>>()
    });
    for Waiting { build_id, answer } in batch {
        let found = found.as_ref().map(|found| found.get(&build_id).cloned().unwrap_or_default());
        // The client may have disconnected.
        let _ = answer.send(found.map_err(Cause::clone));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::time::Duration;

    use super::*;
    use crate::resolve::outcome::CauseKind;

    fn build_id(number: u8) -> BuildId {
        BuildId::from_bytes(&[number; 20]).unwrap()
    }

    #[tokio::test]
    async fn look_ups_that_arrive_during_queries_share_one() {
        let sizes = Arc::new(Mutex::new(Vec::new()));
        let (recorded, gate) = (sizes.clone(), Arc::new(Semaphore::new(0)));
        let opened = gate.clone();
        let batches = Batches::new(&Handle::current(), move |ids: Vec<BuildId>| {
            recorded.lock().unwrap().push(ids.len());
            let gate = gate.clone();
            async move {
                gate.acquire().await.unwrap().forget();
                Ok(sql::Records::default())
            }
        });
        let look_up = |number: u8| {
            let batches = batches.clone();
            tokio::spawn(async move { batches.records(&build_id(number)).await })
        };
        let mut look_ups = Vec::new();
        // One after the other, until every query is taken.
        for number in 0..MAX_QUERIES {
            look_ups.push(look_up(number as u8));
            while sizes.lock().unwrap().len() <= number {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
        look_ups.extend((0..100).map(look_up));
        // They wait before the first query ends.
        tokio::time::sleep(Duration::from_millis(100)).await;
        opened.add_permits(1000);
        for look_up in look_ups {
            assert!(look_up.await.unwrap().unwrap().is_empty());
        }
        assert_eq!(sizes.lock().unwrap().as_slice(), [1, 1, 1, 1, 100]);
    }

    #[tokio::test]
    async fn all_look_ups_of_a_batch_get_its_error() {
        let batches = Batches::new(&Handle::current(), |_| async { Err(Cause::index(CauseKind::Refused, "refused")) });
        let (one, other) = (build_id(1), build_id(2));
        let (one, other) = futures::join!(batches.records(&one), batches.records(&other));
        let refused = Some(Cause::index(CauseKind::Refused, "refused"));
        assert_eq!((one.err(), other.err()), (refused.clone(), refused));
    }
}
