//! Flags that ask work to stop, and the signals that set them.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Notify;

use crate::report::failure;
use crate::report::output::print_error;

/// Signals within this time of the first one count as one: timeout(1) signals its child, then the child's process
/// group.
pub(crate) const REPEAT_INTERVAL: Duration = Duration::from_secs(1);

/// A flag that asks work to stop. Clones share it.
#[derive(Clone, Default)]
pub(crate) struct Stop(Arc<Flag>);

#[derive(Default)]
struct Flag {
    is_set: AtomicBool,
    waiting: Notify,
    /// The flag of what this work is a part of.
    parent: Option<Stop>,
}

impl Stop {
    /// Returns a flag that the first signal sets. A second signal, 1 s later or more, ends the process. That is safe:
    /// rows are written in transactions.
    pub(crate) fn on_signal() -> Self {
        let stop = Self::default();
        let flag = stop.clone();
        tokio::spawn(async move {
            wait_for_signal().await;
            flag.set();
            print_error(&"stopping: the running batch is being written; a second signal stops at once");
            tokio::time::sleep(REPEAT_INTERVAL).await;
            wait_for_signal().await;
            std::process::exit(failure::INTERRUPTED.into());
        });
        stop
    }

    /// Returns a flag for a part of the work: it is set with this one, or alone.
    pub(crate) fn child(&self) -> Self {
        Self(Arc::new(Flag { parent: Some(self.clone()), ..Flag::default() }))
    }

    pub(crate) fn set(&self) {
        self.0.is_set.store(true, Ordering::Release);
        self.0.waiting.notify_waiters();
    }

    pub(crate) fn is_set(&self) -> bool {
        self.0.is_set.load(Ordering::Acquire) || self.0.parent.as_ref().is_some_and(Self::is_set)
    }

    /// Waits until the flag is set.
    pub(crate) async fn wait(&self) {
        let parent = async {
            match &self.0.parent {
                Some(parent) => Box::pin(parent.wait()).await,
                None => std::future::pending().await,
            }
        };
        let own = async {
            let mut set = pin!(self.0.waiting.notified());
            // From here on a set flag is not missed.
            set.as_mut().enable();
            if !self.0.is_set.load(Ordering::Acquire) {
                set.await;
            }
        };
        tokio::select! {
            () = parent => {}
            () = own => {}
        }
    }

    /// Waits for this time. True if the flag was set before it was over.
    pub(crate) async fn wait_for(&self, time: Duration) -> bool {
        tokio::time::timeout(time, self.wait()).await.is_ok()
    }
}

/// Waits for SIGINT or SIGTERM, and returns its name.
pub(crate) async fn wait_for_signal() -> &'static str {
    let (Ok(mut interrupt), Ok(mut terminate)) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        // Without handlers the default action ends the process.
        return std::future::pending().await;
    };
    tokio::select! {
        _ = interrupt.recv() => "SIGINT",
        _ = terminate.recv() => "SIGTERM",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_part_stops_with_the_whole_and_not_the_whole_with_a_part() {
        let whole = Stop::default();
        let (one, other) = (whole.child(), whole.child());
        one.set();
        one.wait().await;
        assert!(one.is_set() && !other.is_set() && !whole.is_set());
        assert!(!other.wait_for(Duration::from_millis(10)).await);
        let waiting = tokio::spawn({
            let other = other.clone();
            async move { other.wait().await }
        });
        tokio::task::yield_now().await;
        whole.set();
        waiting.await.unwrap();
        assert!(other.is_set());
    }
}
