//! Parts of the service that panic: logged, counted, and started again with a pause that doubles.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;

use super::Service;

/// Time until a part that panicked is started again; it doubles with each further panic.
const MIN_PAUSE: Duration = Duration::from_secs(1);
/// Maximum time until then.
const MAX_PAUSE: Duration = Duration::from_secs(300);
/// A part that ran for this time has the first pause again.
const STEADY_TIME: Duration = Duration::from_secs(600);

/// A part of the service. It ends when the service stops, or when there is nothing for it to do.
pub(super) type Part = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Runs a part until it ends by itself. Dropping this aborts it.
pub(super) async fn keep_running(service: Arc<Service>, name: String, part: Box<dyn Fn(Arc<Service>) -> Part + Send>) {
    let mut pauses = Pauses(MIN_PAUSE);
    loop {
        let began = Instant::now();
        if !has_panicked(part(Arc::clone(&service))).await {
            return;
        }
        let pause = pauses.next(began.elapsed());
        tracing::error!(part = name, "a part of the service panicked; starting it again in {pause:?}");
        service.metrics.count_panic(&name);
        if service.stop.wait_for(pause).await {
            return;
        }
    }
}

/// Runs a part, and returns whether it panicked.
async fn has_panicked(part: Part) -> bool {
    // A set aborts what it has when it is dropped.
    let mut running = JoinSet::new();
    running.spawn(part);
    matches!(running.join_next().await, Some(Err(error)) if error.is_panic())
}

/// The next pause.
struct Pauses(Duration);

impl Pauses {
    /// Returns the pause after a panic of a part that ran for this time.
    fn next(&mut self, ran: Duration) -> Duration {
        let pause = if ran >= STEADY_TIME { MIN_PAUSE } else { self.0 };
        self.0 = (2 * pause).min(MAX_PAUSE);
        pause
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_is_told_from_an_end() {
        assert!(has_panicked(Box::pin(async { panic!("on purpose") })).await);
        assert!(!has_panicked(Box::pin(async {})).await);
    }

    #[test]
    fn pauses_double_until_a_part_ran_for_long() {
        let mut pauses = Pauses(MIN_PAUSE);
        let found: Vec<u64> = (0..11).map(|_| pauses.next(Duration::ZERO).as_secs()).collect();
        assert_eq!(found, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]);
        assert_eq!(pauses.next(STEADY_TIME), MIN_PAUSE);
    }
}
