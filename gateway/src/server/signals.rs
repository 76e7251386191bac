//! The signals that stop the gateway, and notifications of the system manager.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use sd_notify::NotifyState;
use tokio::signal::unix::{self, Signal, SignalKind};

/// The name of the signal that stops the gateway at once.
pub(super) const SIGQUIT: &str = "SIGQUIT";
/// A signal within this time after the first one counts as the same: timeout(1) signals its child, then the group of
/// the child.
const SAME_SIGNAL: Duration = Duration::from_secs(1);

/// The signals that stop the gateway.
pub(super) struct Signals {
    interrupt: Signal,
    terminate: Signal,
    quit: Signal,
}

impl Signals {
    /// Receives the signals from now on.
    ///
    /// # Errors
    /// If no signal handler can be installed.
    pub(super) fn new() -> Result<Self> {
        let receive = |kind| unix::signal(kind).context("receive signals");
        Ok(Self {
            interrupt: receive(SignalKind::interrupt())?,
            terminate: receive(SignalKind::terminate())?,
            quit: receive(SignalKind::quit())?,
        })
    }

    /// Waits for a signal, and returns its name.
    pub(super) async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.quit.recv() => SIGQUIT,
        }
    }

    /// Waits for a signal that does not count as the first one, which came at `first`, and returns its name.
    pub(super) async fn next_after(&mut self, first: Instant) -> &'static str {
        loop {
            let signal = self.next().await;
            if signal == SIGQUIT || first.elapsed() >= SAME_SIGNAL {
                return signal;
            }
        }
    }
}

/// Notifies the system manager, if there is one (sd_notify(3)).
pub(super) fn notify_manager(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(false, &[state]) {
        tracing::warn!(%error, "the system manager was not notified");
    }
}
