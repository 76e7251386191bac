//! Availability of the database, from probes in the background: `/readyz` and metrics never wait for it.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use sql::Index;
use tokio::time::timeout;

use super::Service;

/// Time between two probes.
const PROBE_INTERVAL: Duration = Duration::from_secs(1);
/// Maximum time of a probe. A server that hangs never answers.
const PROBE_TIMEOUT: Duration = Duration::from_secs(3);
/// Time between two tries to prepare the database at the start.
const PREPARE_INTERVAL: Duration = Duration::from_secs(2);

/// The last result of the probe.
#[derive(Default)]
pub(super) struct DatabaseState(Mutex<Option<Result<(), String>>>);

impl DatabaseState {
    /// Returns the last result: the reason if the database cannot be used. `None` before the first probe has ended.
    pub(super) fn get(&self) -> Option<Result<(), String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Sets the last result, and logs a change.
    fn set(&self, result: Result<(), String>) {
        let before = self.0.lock().unwrap_or_else(PoisonError::into_inner).replace(result.clone());
        match (&before, &result) {
            (Some(before), _) if *before == result => {}
            (Some(_), Ok(())) => tracing::info!("the database is available again"),
            (None, Ok(())) => {}
            (_, Err(reason)) => tracing::warn!(reason, "the database is unavailable"),
        }
    }
}

/// Probes as long as the process lives: the database has to answer with this program's schema.
pub(super) async fn watch(service: &Service) {
    loop {
        let probed = match timeout(PROBE_TIMEOUT, service.reader.check_schema()).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err(format!("expected an answer of the database within {PROBE_TIMEOUT:?}, found none")),
        };
        service.metrics.set_database_up(probed.is_ok());
        service.database.set(probed);
        tokio::time::sleep(PROBE_INTERVAL).await;
    }
}

/// Waits until the index can be written: an SQLite file is migrated, the schema of a server is checked. Failures are
/// logged once each. `false` if the service stopped before.
pub(super) async fn prepare(service: &Service) -> bool {
    let mut logged = String::new();
    loop {
        let prepared = tokio::select! {
            () = service.stop.wait() => return false,
            prepared = prepare_once(&service.index, service.is_sqlite) => prepared,
        };
        match prepared {
            Ok(()) => return true,
            Err(error) => {
                let text = error.to_string();
                if text != logged {
                    tracing::error!("{text}; trying again");
                    logged = text;
                }
            }
        }
        if service.stop.wait_for(PREPARE_INTERVAL).await {
            return false;
        }
    }
}

async fn prepare_once(index: &Index, is_sqlite: bool) -> sql::Result<()> {
    if is_sqlite { index.migrate().await.map(drop) } else { index.check_schema().await }
}
