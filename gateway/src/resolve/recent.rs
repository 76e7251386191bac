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

/// Remembers the causes of unavailable answers for [`UNAVAILABLE_TTL`]. An empty one is as cheap as reading a number.
#[derive(Clone)]
pub(super) struct Recent {
    questions: Cache<Question, Unavailable>,
    began: Instant,
    /// The last instant at which a question may be remembered, in milliseconds since `began`.
    until: Arc<AtomicU64>,
}

impl Recent {
    /// Remembers nothing.
    pub(super) fn new() -> Self {
        let questions = Cache::builder().max_capacity(MAX_QUESTIONS).time_to_live(UNAVAILABLE_TTL).build();
        Self { questions, began: Instant::now(), until: Arc::default() }
    }

    /// The causes, if the answer to `question` was unavailable a moment before `now`.
    pub(super) async fn find(&self, question: &Question, now: Instant) -> Option<Unavailable> {
        if self.millis(now) > self.until.load(Ordering::Acquire) {
            None
        } else {
            Box::pin(self.questions.get(question)).await
        }
    }

    /// Remembers why the answer to `question` is unavailable.
    pub(super) async fn insert(&self, question: &Question, causes: &Unavailable) {
        self.questions.insert(question.clone(), causes.clone()).await;
        self.until.fetch_max(self.millis(Instant::now() + UNAVAILABLE_TTL), Ordering::Release);
    }

    fn millis(&self, at: Instant) -> u64 {
        u64::try_from(at.saturating_duration_since(self.began).as_millis()).unwrap_or(u64::MAX)
    }
}
