//! The command `repo`: which repository, of which store, and its refresh.

use std::process::ExitCode;

use serde_json::json;
use sql::Index;

use super::check_locations::check_places;
use crate::cli::{Common, RepoArgs};
use crate::feeders::repository::{Plan, Refresher};
use crate::fetch::network::Network;
use crate::fetch::presence::polite_network;
use crate::pipeline::stop::Stop;
use crate::report::checks::CheckSummary;
use crate::report::failure::{self, CommandFailure, Result};
use crate::report::output::{print, print_error};
use crate::report::progress::ImportProgress;
use crate::report::repository::{RepositoryOutcome, RepositorySummary};
use crate::report::summary::counted;
use crate::service::lease::{Asked, Lease, new_holder};
use crate::settings::{self, RepositorySettings};
use plan::{Options, refused};

pub(crate) mod plan;

/// The lease of checks of places.
pub(crate) const CHECKS: &str = "checks";

/// Returns the name of the lease of a repository.
pub(crate) fn lease_name(repository: &str) -> String {
    format!("repository {repository}")
}

/// Refreshes the repository of the command line, or all of the configuration file.
pub(crate) async fn run(args: RepoArgs, index: &Index, common: &Common) -> Result<ExitCode> {
    if let Some(name) = &args.remove {
        return remove(index, name, common).await;
    }
    let settings = settings::repositories(common)?;
    let stop = Stop::on_signal();
    let (is_all, jobs, temp_limit) = (args.all, usize::from(args.jobs), args.temp_limit.as_u64());
    let plans = if is_all {
        if settings.repositories.is_empty() {
            let file = settings.path.display();
            return Err(CommandFailure::Usage(format!("{file}: expected [[repository]] tables for --all, found none")));
        }
        let filter = settings::filter(common, &[], &[])?;
        let plans = Box::pin(plan::configured(&settings, &filter, index)).await?;
        warn_of_others(&settings, index, common).await?;
        plans
    } else {
        vec![Ok(Box::pin(args.into_plan(index)).await?)]
    };
    let holder = new_holder();
    let network = Network::new(settings.contact.as_deref(), settings.limits, stop.clone());
    let mut summaries = Vec::new();
    for plan in &plans {
        if stop.is_set() {
            break;
        }
        let plan = match plan {
            Ok(plan) => plan,
            Err(refused) => {
                report(refused, common);
                summaries.push(refused.clone());
                continue;
            }
        };
        let lease = match Lease::acquire(index, &lease_name(&plan.name), &holder, &stop).await? {
            Asked::Acquired(lease) => lease,
            Asked::Held { by } => {
                let summary = skipped(&plan.name, &by);
                print_error(&summary);
                summaries.push(summary);
                continue;
            }
        };
        let refresher =
            Refresher { index: index.clone(), network: network.clone(), stop: lease.stop().clone(), jobs, temp_limit };
        let mut progress = ImportProgress::of_repository(common.quiet, &plan.name, &network);
        let refreshed = Box::pin(refresher.refresh(plan, &mut progress)).await;
        // Clears the progress bar before the summary is printed.
        drop(progress);
        lease.release().await;
        let summary = match refreshed {
            // One repository of several does not stop the others.
            Err(failure @ CommandFailure::Usage(_)) if is_all => refused(&plan.name, &failure),
            refreshed => refreshed?,
        };
        report(&summary, common);
        summaries.push(summary);
    }
    let checked =
        if is_all && !stop.is_set() { Box::pin(check(&settings, index, &holder, &stop, common)).await? } else { None };
    finish(&summaries, checked.as_ref(), is_all, stop.is_set(), common)
}

/// Checks places within the budget of the configuration file, unless another indexer does.
async fn check(
    settings: &RepositorySettings,
    index: &Index,
    holder: &str,
    stop: &Stop,
    common: &Common,
) -> Result<Option<CheckSummary>> {
    let budget = settings.check.budget;
    if budget.is_zero() {
        return Ok(None);
    }
    let lease = match Lease::acquire(index, CHECKS, holder, stop).await? {
        Asked::Acquired(lease) => lease,
        Asked::Held { by } => {
            if !common.quiet {
                print_error(&format_args!("darkserver-import: no places are checked: {by} does that"));
            }
            return Ok(None);
        }
    };
    let network = polite_network(settings.contact.as_deref(), lease.stop());
    let checked = async {
        let stores = index.stores().await?;
        check_places(index, &stores, budget, &network, common.quiet).await
    };
    let checked = checked.await;
    lease.release().await;
    checked.map(Some)
}

/// Returns the summary of a repository that another indexer refreshes.
fn skipped(name: &str, by: &str) -> RepositorySummary {
    let error = Some(format!("{by} refreshes it"));
    RepositorySummary { outcome: RepositoryOutcome::Skipped, error, ..RepositorySummary::new(name) }
}

/// Prints the summary of a repository. A refused one is reported also when quiet.
fn report(summary: &RepositorySummary, common: &Common) {
    match &summary.error {
        Some(error) if common.quiet || common.json => {
            print_error(&format_args!("darkserver-import: repository {}: {error}", summary.name));
        }
        _ if common.quiet || common.json => {}
        _ => print_error(summary),
    }
}

/// Prints the summaries as JSON if wanted, and returns the exit status. What checks of places found does not change it.
/// A repository that another indexer refreshes is no failure among all of them; it is one for who asked for it alone.
fn finish(
    summaries: &[RepositorySummary],
    checked: Option<&CheckSummary>,
    is_all: bool,
    is_stopped: bool,
    common: &Common,
) -> Result<ExitCode> {
    if common.json {
        match summaries {
            [summary] if !is_all => print(&serde_json::to_string(summary).map_err(CommandFailure::local)?)?,
            summaries => print(&json!({ "repositories": summaries, "places": checked }))?,
        }
    } else if let Some(checked) = checked
        && !common.quiet
    {
        print_error(checked);
    }
    if is_stopped {
        print_error(&"interrupted: packages read so far are in the index; the same command continues");
        return Ok(ExitCode::from(failure::INTERRUPTED));
    }
    let is_other = |summary: &RepositorySummary| is_all && summary.outcome == RepositoryOutcome::Skipped;
    let is_flawless = summaries.iter().all(|summary| summary.is_flawless() || is_other(summary));
    Ok(if is_flawless { ExitCode::SUCCESS } else { ExitCode::from(failure::FAILED) })
}

/// Names the repositories of the index that the file lacks, unless quiet.
async fn warn_of_others(settings: &RepositorySettings, index: &Index, common: &Common) -> Result<()> {
    let others: Vec<String> = index.repositories().await?.into_iter().map(|repository| repository.name).collect();
    let is_other = |name: &&String| settings.repositories.iter().all(|table| table.name != **name);
    let others: Vec<&str> = others.iter().filter(is_other).map(String::as_str).collect();
    if !others.is_empty() && !common.quiet {
        print_error(&format_args!(
            "darkserver-import: in the index, but not in {}: {}; they stay as they are until `repo --remove NAME`",
            settings.path.display(),
            others.join(", ")
        ));
    }
    Ok(())
}

/// Removes a repository; its packages and their places stay.
async fn remove(index: &Index, name: &str, common: &Common) -> Result<ExitCode> {
    let repositories = index.status().await?.repositories;
    let Some(status) = repositories.iter().find(|status| status.repository.name == name) else {
        let names: Vec<&str> = repositories.iter().map(|status| status.repository.name.as_str()).collect();
        return Err(CommandFailure::Usage(format!(
            "expected the name of a repository ({}), found {name}",
            names.join(", ")
        )));
    };
    index.remove_repository(name).await?;
    let memberships = status.listed + status.ended;
    if common.json {
        print(&json!({ "name": name, "memberships": memberships }))?;
    } else if !common.quiet {
        print(&format_args!(
            "removed repository {name} with {}; the packages and their places stay",
            counted(memberships, "membership")
        ))?;
    }
    Ok(ExitCode::SUCCESS)
}

impl RepoArgs {
    async fn into_plan(self, index: &Index) -> Result<Plan> {
        let Self { url, name, store, path, distro, format, keys, metadata_only, payload, .. } = self;
        Options { name, store, path, url, distro, format, keys, metadata_only, payload }.into_plan(index).await
    }
}
