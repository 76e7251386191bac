//! Ctrl-C and SIGTERM.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};

use crate::report::failure;
use crate::report::output::print_error;

/// A signal that comes sooner after the first one is the same: timeout(1) signals its child, then the group that the child is
/// in.
const REPEAT_INTERVAL: Duration = Duration::from_secs(1);

/// A flag that says: come to an end.
#[derive(Clone, Default)]
pub(crate) struct Stop(Arc<AtomicBool>);

impl Stop {
    /// A flag that the first signal sets. A second one, 1 s later or more, ends the process, which is safe too: rows are written in
    /// transactions.
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

    pub(crate) fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

async fn wait_for_signal() {
    let (Ok(mut interrupt), Ok(mut terminate)) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        // Without handlers a signal ends the process at once.
        return std::future::pending().await;
    };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}
