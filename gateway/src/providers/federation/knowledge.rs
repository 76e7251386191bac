//! What is remembered of single upstreams: which build-ids they have, and what they do not have.

use std::sync::Arc;
use std::time::{Duration, Instant};

use artifact::BuildId;
use moka::future::Cache;

use crate::resolve::question::Question;

/// Maximum number of build-ids of which it is known who has them.
const MAX_OWNED: u64 = 200_000;
/// How long that is known after the last answer.
const OWNED_TTL: Duration = Duration::from_secs(24 * 60 * 60);
/// Maximum number of absences that are remembered, of all upstreams together.
const MAX_ABSENCES: u64 = 500_000;
/// The longest time that one is remembered.
const MAX_ABSENT_TTL: Duration = Duration::from_secs(60 * 60);

/// What is remembered of the answers of upstreams, by their numbers. Nothing of it outlives the process.
pub(super) struct Knowledge {
    /// The upstreams that gave a file of the build-id.
    owners: Cache<BuildId, Arc<[usize]>>,
    absences: Cache<(usize, Question), Absence>,
    /// When an upstream first had nothing of a build-id.
    first_absences: Cache<(usize, BuildId), Instant>,
}

/// An upstream's word that it does not have something.
#[derive(Clone)]
struct Absence {
    /// The epoch of the upstream in which it was given.
    epoch: u64,
    until: Instant,
}

impl Knowledge {
    /// Nothing is known.
    pub(super) fn new() -> Self {
        Self {
            owners: Cache::builder().max_capacity(MAX_OWNED).time_to_live(OWNED_TTL).build(),
            absences: Cache::builder().max_capacity(MAX_ABSENCES).time_to_live(MAX_ABSENT_TTL).build(),
            first_absences: Cache::builder().max_capacity(MAX_OWNED).time_to_live(OWNED_TTL).build(),
        }
    }

    /// The numbers of the upstreams that gave a file of the build-id.
    pub(super) async fn owners(&self, build_id: &BuildId) -> Arc<[usize]> {
        self.owners.get(build_id).await.unwrap_or_default()
    }

    /// The upstream `number` has what was asked for.
    pub(super) async fn found(&self, number: usize, question: &Question) {
        let owners = self.owners(&question.build_id).await;
        if !owners.contains(&number) {
            let owners = owners.iter().copied().chain([number]).collect();
            self.owners.insert(question.build_id.clone(), owners).await;
        }
        self.absences.invalidate(&(number, question.clone())).await;
        self.first_absences.invalidate(&(number, question.build_id.clone())).await;
    }

    /// The upstream `number` does not have what was asked for, which is remembered for `ttl` of its present `epoch`.
    pub(super) async fn absent(&self, number: usize, question: &Question, epoch: u64, ttl: Duration) {
        if ttl > Duration::ZERO {
            let until = Instant::now() + ttl.min(MAX_ABSENT_TTL);
            self.absences.insert((number, question.clone()), Absence { epoch, until }).await;
        }
    }

    /// True if the upstream `number` stated in this `epoch`, a moment ago, that it does not have what is asked for.
    pub(super) async fn is_absent(&self, number: usize, question: &Question, epoch: u64) -> bool {
        let absence = self.absences.get(&(number, question.clone())).await;
        absence.is_some_and(|absence| absence.epoch == epoch && absence.until > Instant::now())
    }

    /// True if the upstream `number` first had nothing of the build-id less than `window` ago, or has nothing of it now
    /// for the first time.
    pub(super) async fn is_late(&self, number: usize, build_id: &BuildId, window: Duration) -> bool {
        let first = self.first_absences.get_with((number, build_id.clone()), async { Instant::now() }).await;
        first.elapsed() < window
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question() -> Question {
        Question::parse("ab12/debuginfo").unwrap()
    }

    #[tokio::test]
    async fn an_absence_is_that_of_one_upstream_in_one_epoch() {
        let (knowledge, question) = (Knowledge::new(), question());
        knowledge.absent(1, &question, 7, Duration::from_secs(60)).await;
        assert!(knowledge.is_absent(1, &question, 7).await);
        assert!(!knowledge.is_absent(1, &question, 8).await && !knowledge.is_absent(0, &question, 7).await);
        knowledge.found(1, &question).await;
        assert!(!knowledge.is_absent(1, &question, 7).await);
        knowledge.absent(1, &question, 7, Duration::ZERO).await;
        assert!(!knowledge.is_absent(1, &question, 7).await, "nothing is remembered");
    }

    #[tokio::test]
    async fn owners_are_those_that_gave_a_file() {
        let (knowledge, question) = (Knowledge::new(), question());
        assert!(knowledge.owners(&question.build_id).await.is_empty());
        for number in [2, 0, 2] {
            knowledge.found(number, &question).await;
        }
        assert_eq!(*knowledge.owners(&question.build_id).await, [2, 0]);
    }

    #[tokio::test]
    async fn an_absence_is_late_for_a_while_after_the_first() {
        let (knowledge, question) = (Knowledge::new(), question());
        assert!(knowledge.is_late(0, &question.build_id, Duration::from_secs(60)).await);
        assert!(knowledge.is_late(0, &question.build_id, Duration::from_secs(60)).await);
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert!(!knowledge.is_late(0, &question.build_id, Duration::from_millis(10)).await);
    }
}
