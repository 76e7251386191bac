//! Questions put together: while the index answers some, those that arrive wait, and are then asked in one query.
//!
//! A query costs a few changes of threads and, on MySQL, a round trip; a build-id more in it costs microseconds. An idle index is
//! asked at once: nobody waits for others to come.

use std::collections::HashMap;
use std::sync::Arc;

use artifact::BuildId;
use sql::Record;
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, mpsc, oneshot};

use super::Records;

/// Queries under way at once: one that hangs must not hold up the others.
const QUERIES: usize = 4;
/// Build-ids of one query.
const MOST: usize = 128;

/// Where questions wait.
#[derive(Clone)]
pub(super) struct Batches(mpsc::UnboundedSender<Waiting>);

struct Waiting {
    build_id: BuildId,
    answer: oneshot::Sender<Result<Arc<Records>, String>>,
}

impl Batches {
    /// Asks by `ask`, on `runtime`: a client that goes away cancels nobody else's query.
    pub(super) fn new<F>(runtime: &Handle, ask: impl Fn(Vec<BuildId>) -> F + Clone + Send + 'static) -> Self
    where
        F: Future<Output = Result<Vec<Record>, String>> + Send + 'static,
    {
        let (sender, mut waiting) = mpsc::unbounded_channel();
        let turns = Arc::new(Semaphore::new(QUERIES));
        let spawner = runtime.clone();
        runtime.spawn(async move {
            // The semaphore is never closed.
            while let Ok(turn) = turns.clone().acquire_owned().await {
                let mut batch = Vec::new();
                if waiting.recv_many(&mut batch, MOST).await == 0 {
                    return;
                }
                let ask = ask.clone();
                spawner.spawn(async move {
                    answer(batch, ask).await;
                    drop(turn);
                });
            }
        });
        Self(sender)
    }

    /// Every record of one build-id.
    ///
    /// # Errors
    /// The index could not be asked.
    pub(super) async fn records(&self, build_id: &BuildId) -> Result<Arc<Records>, String> {
        let (answer, asked) = oneshot::channel();
        // Without a receiver the answer is dropped, which is an error below.
        let _ = self.0.send(Waiting { build_id: build_id.clone(), answer });
        asked.await.unwrap_or_else(|_| Err("index: the query ended early".into()))
    }
}

async fn answer<F>(mut batch: Vec<Waiting>, ask: impl Fn(Vec<BuildId>) -> F)
where
    F: Future<Output = Result<Vec<Record>, String>>,
{
    batch.retain(|waiting| !waiting.answer.is_closed());
    if batch.is_empty() {
        return;
    }
    let found = ask(batch.iter().map(|waiting| waiting.build_id.clone()).collect()).await;
    let found = found.map(|records| {
        let mut found: HashMap<BuildId, Vec<Record>> = HashMap::new();
        for record in records {
            found.entry(record.artifact.build_id.clone()).or_default().push(record);
        }
        found
            .into_iter()
            .map(|(build_id, records)| (build_id, Arc::new(Records::new(records))))
            .collect::<HashMap<_, _>>()
    });
    for Waiting { build_id, answer } in batch {
        let found = found.as_ref().map(|found| found.get(&build_id).cloned().unwrap_or_default());
        // Who went away needs no answer.
        let _ = answer.send(found.map_err(String::clone));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::time::Duration;

    use super::*;

    fn build_id(number: u8) -> BuildId {
        BuildId::from_bytes(&[number; 20]).unwrap()
    }

    #[tokio::test]
    async fn questions_that_arrive_during_a_query_are_asked_together() {
        let sizes = Arc::new(Mutex::new(Vec::new()));
        let (noted, gate) = (sizes.clone(), Arc::new(Semaphore::new(0)));
        let opened = gate.clone();
        let batches = Batches::new(&Handle::current(), move |ids: Vec<BuildId>| {
            noted.lock().unwrap().push(ids.len());
            let gate = gate.clone();
            async move {
                gate.acquire().await.unwrap().forget();
                Ok(Vec::new())
            }
        });
        let ask = |number: u8| {
            let batches = batches.clone();
            tokio::spawn(async move { batches.records(&build_id(number)).await })
        };
        let mut asked = Vec::new();
        // One after the other, until every query is taken.
        for number in 0..QUERIES {
            asked.push(ask(number as u8));
            while sizes.lock().unwrap().len() <= number {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
        asked.extend((0..100).map(ask));
        // They wait before the first query ends.
        tokio::time::sleep(Duration::from_millis(100)).await;
        opened.add_permits(1000);
        for asked in asked {
            assert!(asked.await.unwrap().unwrap().is_empty());
        }
        assert_eq!(sizes.lock().unwrap().as_slice(), [1, 1, 1, 1, 100]);
    }

    #[tokio::test]
    async fn an_error_is_everybodys() {
        let batches = Batches::new(&Handle::current(), |_| async { Err("refused".to_owned()) });
        let (one, other) = (build_id(1), build_id(2));
        let (one, other) = futures::join!(batches.records(&one), batches.records(&other));
        assert_eq!((one.err().as_deref(), other.err().as_deref()), (Some("refused"), Some("refused")));
    }
}
