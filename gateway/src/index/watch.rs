//! Can the index be asked?
//!
//! A question that fails raises a suspicion. The verdict is a probe's: it asks on the main runtime, at once when somebody suspects,
//! else once a second, so that a database that went away or came back is noticed although nobody asks it. While it is away nobody
//! waits for it ([`crate::index::lookup`]), and every answer says so ([`Watch::header`]).

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use actix_web::http::header::{HeaderName, HeaderValue};
use tokio::runtime::Handle;
use tokio::sync::Notify;

use crate::metrics::METRICS;

/// Between two probes.
const PULSE: Duration = Duration::from_secs(1);

/// Says that the index cannot be asked, and since when.
pub(crate) const INDEX: HeaderName = HeaderName::from_static("x-darkserver-index");

/// What is known of the index's presence.
#[derive(Clone, Default)]
pub(crate) struct Watch(Arc<State>);

#[derive(Default)]
struct State {
    /// Seconds since 1970 at the first question that failed, 0 while they are answered. All that an answer out of memory looks at.
    since: AtomicU64,
    /// The verdict: why it cannot be asked.
    away: Mutex<Option<String>>,
    /// Questions answered.
    answered: AtomicU64,
    suspected: Notify,
    /// Why this program cannot read the schema of the index, which answers otherwise.
    unreadable: Mutex<Option<String>>,
    is_unreadable: AtomicBool,
    /// True once the first probe has ended.
    is_probed: AtomicBool,
}

impl Watch {
    /// Probes as long as the process lives; `probe` asks the index something that it always can answer.
    pub(crate) fn start<F>(&self, runtime: &Handle, probe: impl Fn() -> F + Send + 'static)
    where
        F: Future<Output = Result<(), String>> + Send,
    {
        let this = self.clone();
        runtime.spawn(async move {
            loop {
                let answered = this.0.answered.load(Ordering::Relaxed);
                match probe().await {
                    // Busy, but there: others were answered meanwhile.
                    Err(_) if this.0.answered.load(Ordering::Relaxed) != answered => this.is_back(),
                    Err(cause) => {
                        this.is_away(cause);
                        tokio::time::sleep(PULSE).await;
                        continue;
                    }
                    Ok(()) => this.is_back(),
                }
                // Suspected or not: it is asked again.
                let _ = tokio::time::timeout(PULSE, this.0.suspected.notified()).await;
            }
        });
    }

    /// A question was answered.
    pub(crate) fn answered(&self) {
        self.0.answered.fetch_add(1, Ordering::Relaxed);
    }

    /// A question was not answered.
    pub(crate) fn suspect(&self) {
        self.begin();
        self.0.suspected.notify_one();
    }

    /// Was the last question answered, as far as is known?
    pub(crate) fn is_sure(&self) -> bool {
        self.0.since.load(Ordering::Relaxed) == 0 && !self.0.is_unreadable.load(Ordering::Acquire)
    }

    /// Why the index cannot be asked, if that is so: it is away, or its schema is one that this program cannot read. Then what it
    /// answers means something else than the program takes it for.
    pub(crate) fn away(&self) -> Option<String> {
        self.verdict().clone().or_else(|| self.unreadable().clone())
    }

    /// States whether this program can read the schema of the index: `Err` with the reason if not.
    pub(crate) fn set_readable(&self, readable: Result<(), String>) {
        self.0.is_unreadable.store(readable.is_err(), Ordering::Release);
        *self.unreadable() = readable.err();
    }

    /// `Ok` if the index answers, the reason if it is away; `None` before the first probe has ended.
    pub(crate) fn state(&self) -> Option<Result<(), String>> {
        self.0.is_probed.load(Ordering::Acquire).then(|| self.verdict().clone().map_or(Ok(()), Err))
    }

    /// `away; since=SECONDS`, seconds since 1970, from the first question that failed to the first that was answered again.
    pub(crate) fn header(&self) -> Option<HeaderValue> {
        let since = self.0.since.load(Ordering::Relaxed);
        if since == 0 { None } else { HeaderValue::try_from(format!("away; since={since}")).ok() }
    }

    fn begin(&self) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |now| now.as_secs());
        // Who was first said it.
        let _ = self.0.since.compare_exchange(0, now, Ordering::Relaxed, Ordering::Relaxed);
    }

    fn is_away(&self, cause: String) {
        self.begin();
        METRICS.index_up.set(0);
        let before = self.verdict().replace(cause.clone());
        self.0.is_probed.store(true, Ordering::Release);
        if before.as_ref() != Some(&cause) {
            tracing::warn!(cause, "the index is away: what was found in it before is answered from memory");
        }
    }

    fn is_back(&self) {
        self.0.since.store(0, Ordering::Relaxed);
        METRICS.index_up.set(1);
        self.0.is_probed.store(true, Ordering::Release);
        if self.verdict().take().is_some() {
            tracing::info!("the index is back");
        }
    }

    fn unreadable(&self) -> std::sync::MutexGuard<'_, Option<String>> {
        self.0.unreadable.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn verdict(&self) -> std::sync::MutexGuard<'_, Option<String>> {
        self.0.away.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn until(what: &str, is_so: impl Fn() -> bool) {
        let waited = tokio::time::timeout(Duration::from_secs(20), async {
            while !is_so() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        });
        waited.await.unwrap_or_else(|_| panic!("{what}: not within 20 s"));
    }

    #[tokio::test]
    async fn the_probe_gives_the_verdict_and_takes_it_back() {
        let (watch, up) = (Watch::default(), Arc::new(AtomicBool::new(false)));
        assert!(watch.away().is_none() && watch.header().is_none(), "nothing is known yet");
        let probed = up.clone();
        watch.start(&Handle::current(), move || {
            let up = probed.load(Ordering::SeqCst);
            async move { if up { Ok(()) } else { Err("refused".to_owned()) } }
        });
        until("away", || watch.away().as_deref() == Some("refused")).await;
        assert!(watch.header().unwrap().to_str().unwrap().starts_with("away; since=1"));
        up.store(true, Ordering::SeqCst);
        until("back", || watch.away().is_none() && watch.header().is_none()).await;
    }

    #[tokio::test]
    async fn a_suspicion_shows_at_once_and_is_cleared_by_a_probe() {
        let watch = Watch::default();
        watch.suspect();
        assert!(watch.header().is_some() && watch.away().is_none());
        watch.start(&Handle::current(), || async { Ok(()) });
        until("cleared", || watch.header().is_none()).await;
    }

    #[tokio::test]
    async fn who_answers_others_is_not_away() {
        let watch = Watch::default();
        let busy = watch.clone();
        watch.suspect();
        watch.start(&Handle::current(), move || {
            busy.answered();
            async { Err("no free connection".to_owned()) }
        });
        until("cleared", || watch.header().is_none()).await;
        assert!(watch.away().is_none());
    }
}
