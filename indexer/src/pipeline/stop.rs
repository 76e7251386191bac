//! Stops an import on SIGINT and SIGTERM.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};

use crate::report::failure;
use crate::report::output::print_error;

/// Signals within this time of the first one count as one: timeout(1) signals its child, then the child's process
/// group.
const REPEAT_INTERVAL: Duration = Duration::from_secs(1);

/// A flag that asks an import to stop.
#[derive(Clone, Default)]
pub(crate) struct Stop(Arc<AtomicBool>);

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
        // Without handlers the default action ends the process.
        return std::future::pending().await;
    };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}
