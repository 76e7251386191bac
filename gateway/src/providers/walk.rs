//! The walk over the providers that may have something: those of one rank at once, the next rank when the first has
//! nothing or takes longer than usual. The first that has it ends the walk.
//!
//! Stores and upstreams are walked alike. An attempt has its own deadline, and states its outcome as a [`Miss`] that
//! names the provider.

use std::time::{Duration, Instant};

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio::time::timeout_at;

use crate::resolve::outcome::{Miss, Outcome};

/// A provider that may have what is wanted.
pub(crate) struct Candidate<C> {
    pub(crate) provider: C,
    /// Candidates of a lower rank are tried first, those of one rank at once.
    pub(crate) rank: i32,
    /// The next rank is tried, too, if this candidate has no outcome after so long.
    pub(crate) hedge_after: Duration,
}

/// What a walk found.
pub(crate) struct Walked<C, T> {
    /// The first provider that had it, and what it gave.
    pub(crate) found: Option<(C, T)>,
    /// Those that did not, in the order of their outcomes.
    pub(crate) misses: Vec<(C, Miss)>,
}

/// Why a candidate is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trigger {
    /// All candidates before it had nothing, or there were none.
    Regular,
    /// A candidate before it takes longer than usual.
    Hedge,
}

/// Tries `candidates` until one has what is wanted. The attempts that are under way then are dropped. A failure of this
/// machine ends the walk: no other provider would help.
pub(crate) async fn walk<C, T, F>(
    mut candidates: Vec<Candidate<C>>,
    mut attempt: impl FnMut(&C, Trigger) -> F,
) -> Walked<C, T>
where
    F: Future<Output = Outcome<T>>,
{
    candidates.sort_by_key(|candidate| candidate.rank);
    let mut waiting = candidates.into_iter().peekable();
    let mut running = FuturesUnordered::new();
    let mut misses = Vec::new();
    // When the next rank is tried beside those that are running.
    let mut hedge_at: Option<Instant> = None;
    loop {
        let is_hedge = hedge_at.is_some_and(|at| at <= Instant::now());
        if (running.is_empty() || is_hedge)
            && let Some(rank) = waiting.peek().map(|candidate| candidate.rank)
        {
            let trigger = if running.is_empty() { Trigger::Regular } else { Trigger::Hedge };
            let mut hedge_after = Duration::ZERO;
            while let Some(candidate) = waiting.next_if(|candidate| candidate.rank == rank) {
                hedge_after = hedge_after.max(candidate.hedge_after);
                let tried = attempt(&candidate.provider, trigger);
                running.push(async move { (candidate.provider, tried.await) });
            }
            hedge_at = waiting.peek().and_then(|_| Instant::now().checked_add(hedge_after));
        }
        let next = match hedge_at {
            Some(at) => match timeout_at(at.into(), running.next()).await {
                Ok(next) => next,
                Err(_) => continue,
            },
            None => running.next().await,
        };
        match next {
            Some((provider, Ok(found))) => return Walked { found: Some((provider, found)), misses },
            Some((provider, Err(miss))) => {
                let is_local = miss.is_local();
                misses.push((provider, miss));
                if is_local {
                    return Walked { found: None, misses };
                }
            }
            None if waiting.peek().is_none() => return Walked { found: None, misses },
            None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    const LONG: Duration = Duration::from_secs(3600);

    fn candidate(provider: &'static str, rank: i32, hedge_after: Duration) -> Candidate<&'static str> {
        Candidate { provider, rank, hedge_after }
    }

    fn absent() -> Outcome<()> {
        Err(Miss::Absent("absent".into()))
    }

    #[tokio::test]
    async fn ranks_are_tried_one_after_the_other_and_each_at_once() {
        let tried = Mutex::new(Vec::new());
        let candidates = vec![candidate("c", 1, LONG), candidate("a", 0, LONG), candidate("b", 0, LONG)];
        let walked = walk(candidates, |provider, trigger| {
            tried.lock().unwrap().push((*provider, trigger));
            let provider = *provider;
            async move {
                tokio::time::sleep(Duration::from_millis(100)).await;
                if provider == "c" { Ok(()) } else { absent() }
            }
        });
        let began = Instant::now();
        let walked = walked.await;
        assert_eq!(walked.found, Some(("c", ())));
        assert_eq!(walked.misses.len(), 2);
        assert!(began.elapsed() >= Duration::from_millis(200), "one rank after the other: {:?}", began.elapsed());
        assert_eq!(*tried.lock().unwrap(), [("a", Trigger::Regular), ("b", Trigger::Regular), ("c", Trigger::Regular)]);
    }

    #[tokio::test]
    async fn a_silent_rank_is_hedged_by_the_next() {
        let candidates = vec![candidate("silent", 0, Duration::from_millis(20)), candidate("other", 1, LONG)];
        let walked = walk(candidates, |provider, trigger| {
            let provider = *provider;
            async move {
                if provider == "silent" {
                    tokio::time::sleep(LONG).await;
                }
                if trigger == Trigger::Hedge { Ok(()) } else { absent() }
            }
        });
        assert_eq!(walked.await.found, Some(("other", ())));
    }

    #[tokio::test]
    async fn a_failure_of_this_machine_ends_the_walk() {
        let candidates = vec![candidate("a", 0, LONG), candidate("b", 1, LONG)];
        let walked = walk(candidates, |_, _| async { Outcome::<()>::Err(Miss::local("the disk is full")) }).await;
        assert_eq!(walked.misses.len(), 1);
        assert_eq!(walked.found, None);
        let none = walk(Vec::<Candidate<&str>>::new(), |_, _| async { Ok(()) }).await;
        assert!(none.found.is_none() && none.misses.is_empty());
    }
}
