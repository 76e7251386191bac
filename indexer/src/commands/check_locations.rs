//! The command `store check --locations`: looks at the places that were not looked at for longest.

use std::process::ExitCode;
use std::time::Duration;

use sql::{Index, Store};

use crate::cli::Common;
use crate::fetch::network::Network;
use crate::fetch::presence::polite_network;
use crate::pipeline::checks::PlaceChecks;
use crate::pipeline::stop::Stop;
use crate::report::checks::{CheckProgress, CheckSummary};
use crate::report::failure::{self, CommandFailure, Result};
use crate::report::output::{print, print_error};

/// Checks places of these stores for at most `budget`, each as long as no signal comes.
///
/// # Errors
/// If the index fails.
pub(crate) async fn check_places(
    index: &Index,
    stores: &[Store],
    budget: Duration,
    network: &Network,
    quiet: bool,
) -> Result<CheckSummary> {
    let progress = CheckProgress::new(quiet, budget);
    PlaceChecks::new(index, network, budget, &progress).run(stores).await
}

/// Runs `store check --locations`: exit status 1 if a store was given up, 130 after a signal.
pub(crate) async fn run(
    index: &Index,
    stores: &[Store],
    budget: Duration,
    contact: Option<&str>,
    common: &Common,
) -> Result<ExitCode> {
    let stop = Stop::on_signal();
    let network = polite_network(contact, &stop);
    let summary = check_places(index, stores, budget, &network, common.quiet).await?;
    if common.json {
        print(&serde_json::to_string(&summary).map_err(CommandFailure::local)?)?;
    } else if !common.quiet {
        print_error(&summary);
    }
    Ok(if stop.is_set() {
        ExitCode::from(failure::INTERRUPTED)
    } else if summary.given_up.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(failure::FAILED)
    })
}
