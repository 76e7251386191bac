//! Notifications of the system manager (sd_notify(3)), if there is one.

use std::sync::Arc;
use std::time::Duration;

use sd_notify::NotifyState;

use super::Service;

/// Time between two updates of the status line.
const STATUS_INTERVAL: Duration = Duration::from_secs(10);

/// Sends a state.
pub(super) fn notify(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(false, &[state]) {
        tracing::warn!(%error, "the system manager was not notified");
    }
}

/// Sends the status line, and signs of life if the unit has `WatchdogSec`, as long as the process lives.
pub(super) async fn run(service: Arc<Service>) {
    let mut microseconds = 0;
    let watchdog = sd_notify::watchdog_enabled(false, &mut microseconds).then(|| Duration::from_micros(microseconds));
    let interval = watchdog.map_or(STATUS_INTERVAL, |timeout| (timeout / 3).min(STATUS_INTERVAL));
    let mut sent = String::new();
    loop {
        if watchdog.is_some() {
            notify(NotifyState::Watchdog);
        }
        let status = service.status_line();
        if status != sent {
            notify(NotifyState::Status(&status));
            sent = status;
        }
        tokio::time::sleep(interval).await;
    }
}
