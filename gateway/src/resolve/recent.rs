//! Questions whose answer was unavailable a moment ago.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use moka::future::Cache;

use super::deadline::UNAVAILABLE_TTL;
use super::outcome::Unavailable;
use super::question::Question;

/// Maximum number of questions that are remembered.
const MAX_QUESTIONS: u64 = 10_000;

/// Remembers the causes of unavailable answers for [`UNAVAILABLE_TTL`], at most until the next change of what is known
/// of upstreams. An empty one is as cheap as reading a number.
#[derive(Clone)]
pub(super) struct Recent {
    questions: Cache<Question, Remembered>,
    began: Instant,
    /// The last instant at which a question may be remembered, in milliseconds since `began`.
    until: Arc<AtomicU64>,
}

/// An answer that was unavailable.
#[derive(Clone)]
struct Remembered {
    causes: Unavailable,
    /// The number of changes of what is known of upstreams before it was remembered.
    changes: u64,
}

impl Recent {
    /// Remembers nothing.
    pub(super) fn new() -> Self {
        let questions = Cache::builder().max_capacity(MAX_QUESTIONS).time_to_live(UNAVAILABLE_TTL).build();
        Self { questions, began: Instant::now(), until: Arc::default() }
    }

    /// The causes, if the answer to `question` was unavailable a moment before `now`, and no upstream's outcome has
    /// changed since: there are as many `changes` as then.
    pub(super) async fn find(&self, question: &Question, now: Instant, changes: u64) -> Option<Unavailable> {
        if self.millis(now) > self.until.load(Ordering::Acquire) {
            return None;
        }
        let remembered = Box::pin(self.questions.get(question)).await?;
        (remembered.changes == changes).then_some(remembered.causes)
    }

    /// Remembers why the answer to `question` is unavailable after so many `changes`.
    pub(super) async fn insert(&self, question: &Question, causes: &Unavailable, changes: u64) {
        let remembered = Remembered { causes: causes.clone(), changes };
        self.questions.insert(question.clone(), remembered).await;
        self.until.fetch_max(self.millis(Instant::now() + UNAVAILABLE_TTL), Ordering::Release);
    }

    fn millis(&self, at: Instant) -> u64 {
        u64::try_from(at.saturating_duration_since(self.began).as_millis()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resolve::outcome::{Cause, CauseKind};

    #[tokio::test]
    async fn what_was_unavailable_is_asked_again_after_a_change_or_three_seconds() {
        let (recent, question) = (Recent::new(), Question::parse("ab12/debuginfo").unwrap());
        let now = Instant::now();
        assert!(recent.find(&question, now, 0).await.is_none());
        recent.insert(&question, &Cause::index(CauseKind::Timeout, "index: slow").into(), 7).await;
        assert_eq!(recent.find(&question, now, 7).await.unwrap().to_string(), "index: slow");
        assert!(recent.find(&question, now, 8).await.is_none(), "an upstream is back");
        assert!(recent.find(&Question::parse("ab12/executable").unwrap(), now, 7).await.is_none());
        assert!(recent.find(&question, now + UNAVAILABLE_TTL * 2, 7).await.is_none());
    }
}
