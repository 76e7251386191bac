//! Concurrent searches for the same thing are one.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use futures::FutureExt;
use futures::future::{BoxFuture, Shared};
use tokio::runtime::Handle;

use super::verdict::UpstreamVerdict;
use crate::locked::locked;
use crate::resolve::outcome::{Cause, CauseKind};
use crate::resolve::question::Question;

/// What makes two searches the same. One with a maximum size is kept apart, since it can end with "too large". One with
/// more hops is kept apart, since the other one may wait for it through another server.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct SearchKey {
    pub(super) question: Question,
    pub(super) max_size: Option<u64>,
    pub(super) hops: usize,
    /// True if the index has a record of it.
    pub(super) exists: bool,
}

type SharedVerdict = Shared<BoxFuture<'static, UpstreamVerdict>>;

/// The searches that are under way.
#[derive(Clone, Default)]
pub(super) struct Searches(Arc<Mutex<HashMap<SearchKey, SharedVerdict>>>);

impl Searches {
    /// The verdict of the search `key` that is under way, else that of `search`, which begins now on `runtime`. It goes
    /// on when its first client disconnects.
    pub(super) async fn join<F>(&self, runtime: &Handle, key: SearchKey, search: F) -> UpstreamVerdict
    where
        F: Future<Output = UpstreamVerdict> + Send + 'static,
    {
        let verdict = {
            let mut searches = locked(&self.0);
            match searches.get(&key) {
                Some(verdict) => verdict.clone(),
                None => {
                    let end = SearchEnd { searches: self.clone(), key: key.clone() };
                    let task = runtime.spawn(async move {
                        let _end = end;
                        search.await
                    });
                    let verdict = task.map(|ended| ended.unwrap_or_else(|error| ended_early(&error))).boxed().shared();
                    searches.insert(key, verdict.clone());
                    verdict
                }
            }
        };
        verdict.await
    }
}

fn ended_early(error: &tokio::task::JoinError) -> UpstreamVerdict {
    UpstreamVerdict::unavailable(Cause::gateway(
        CauseKind::Broken,
        format!("a search of the upstreams ended early: {error}"),
    ))
}

/// Removes a search from the list when its task ends, however it ends.
struct SearchEnd {
    searches: Searches,
    key: SearchKey,
}

impl Drop for SearchEnd {
    fn drop(&mut self) {
        locked(&self.searches.0).remove(&self.key);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::time::Duration;

    use super::*;
    use crate::providers::federation::verdict::{Absence, Whole};

    #[tokio::test]
    async fn the_same_search_is_made_once_and_another_beside_it() {
        let (searches, begun) = (Searches::default(), Arc::new(AtomicU32::new(0)));
        let question = Question::parse("ab12/debuginfo").unwrap();
        let key = |hops| SearchKey { question: question.clone(), max_size: None, hops, exists: false };
        let search = |hops| {
            let begun = begun.clone();
            let search = async move {
                begun.fetch_add(1, Ordering::SeqCst);
                tokio::time::sleep(Duration::from_millis(50)).await;
                UpstreamVerdict { whole: Whole::Absent(Absence::Certain), attempts: [].into() }
            };
            let (searches, key) = (searches.clone(), key(hops));
            async move { searches.join(&Handle::current(), key, search).await }
        };
        let verdicts = futures::future::join_all([search(0), search(0), search(1), search(0)]).await;
        assert!(verdicts.iter().all(|verdict| matches!(verdict.whole, Whole::Absent(Absence::Certain))));
        assert_eq!(begun.load(Ordering::SeqCst), 2);
        // It is not remembered.
        search(0).await;
        assert_eq!(begun.load(Ordering::SeqCst), 3);
    }
}
