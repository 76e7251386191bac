//! What is remembered of single upstreams: which build-ids they have, and what they do not have.

use std::sync::Arc;
use std::time::{Duration, Instant};

use artifact::BuildId;
use moka::Entry;
use moka::future::Cache;

use crate::config::MAX_UPSTREAM_ABSENT_TTL;
use crate::resolve::question::Question;

/// Maximum number of build-ids of which it is known who has them.
const MAX_OWNED: u64 = 200_000;
/// How long that is known after the last answer.
const OWNED_TTL: Duration = Duration::from_secs(24 * 60 * 60);
/// Memory for absences of all upstreams together, bytes: some hundred thousand of build-ids.
const MAX_ABSENCE_BYTES: u64 = 64 << 20;
/// Memory of one absence besides the text of its question, bytes.
const ABSENCE_BYTES: usize = 160;

/// What is remembered of the answers of upstreams, by their numbers. Nothing of it outlives the process.
pub(super) struct Knowledge {
    /// The upstreams that gave a file of the build-id.
    owners: Cache<BuildId, Arc<[usize]>>,
    absences: Cache<(usize, Question), RememberedAbsence>,
    /// When an upstream first had nothing of a build-id.
    first_absences: Cache<(usize, BuildId), Instant>,
}

/// An upstream's word that it does not have something.
#[derive(Clone)]
struct RememberedAbsence {
    /// The epoch of the upstream in which it was given.
    epoch: u64,
    until: Instant,
}

impl Knowledge {
    /// Nothing is known.
    pub(super) fn new() -> Self {
        Self {
            owners: Cache::builder().max_capacity(MAX_OWNED).time_to_live(OWNED_TTL).build(),
            absences: Cache::builder()
                .weigher(|(_, question): &(usize, Question), _: &RememberedAbsence| {
                    u32::try_from(ABSENCE_BYTES + question.text_bytes()).unwrap_or(u32::MAX)
                })
                .max_capacity(MAX_ABSENCE_BYTES)
                .time_to_live(MAX_UPSTREAM_ABSENT_TTL)
                .build(),
            first_absences: Cache::builder().max_capacity(MAX_OWNED).time_to_live(OWNED_TTL).build(),
        }
    }

    /// The numbers of the upstreams that gave a file of the build-id.
    pub(super) async fn owners(&self, build_id: &BuildId) -> Arc<[usize]> {
        self.owners.get(build_id).await.unwrap_or_default()
    }

    /// The upstream `number` has what was asked for.
    pub(super) async fn found(&self, number: usize, question: &Question) {
        let add = |entry: Option<Entry<BuildId, Arc<[usize]>>>| {
            let owners = entry.map(Entry::into_value).unwrap_or_default();
            let others = owners.iter().copied().filter(|owner| *owner != number);
            std::future::ready(others.chain([number]).collect())
        };
        self.owners.entry_by_ref(&question.build_id).and_upsert_with(add).await;
        self.absences.invalidate(&(number, question.clone())).await;
        self.first_absences.invalidate(&(number, question.build_id.clone())).await;
    }

    /// The upstream `number` does not have what was asked for, which is remembered for `ttl` of its present `epoch`.
    pub(super) async fn absent(&self, number: usize, question: &Question, epoch: u64, ttl: Duration) {
        if ttl > Duration::ZERO {
            let until = Instant::now() + ttl.min(MAX_UPSTREAM_ABSENT_TTL);
            self.absences.insert((number, question.clone()), RememberedAbsence { epoch, until }).await;
        }
    }

    /// True if the upstream `number` stated in this `epoch`, a moment ago, that it does not have what is asked for.
    pub(super) async fn is_absent(&self, number: usize, question: &Question, epoch: u64) -> bool {
        let absence = self.absences.get(&(number, question.clone())).await;
        absence.is_some_and(|absence| absence.epoch == epoch && absence.until > Instant::now())
    }

    /// Returns when the upstream `number` first had nothing of the build-id: now, if that is not known.
    pub(super) async fn record_first_absence(&self, number: usize, build_id: &BuildId) -> Instant {
        self.first_absences.get_with((number, build_id.clone()), async { Instant::now() }).await
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
        assert_eq!(*knowledge.owners(&question.build_id).await, [0, 2]);
    }

    #[tokio::test]
    async fn the_first_absence_is_remembered_until_the_file_is_found() {
        let (knowledge, question) = (Knowledge::new(), question());
        let first = knowledge.record_first_absence(0, &question.build_id).await;
        assert_eq!(knowledge.record_first_absence(0, &question.build_id).await, first);
        knowledge.found(0, &question).await;
        assert!(knowledge.record_first_absence(0, &question.build_id).await > first);
    }
}
