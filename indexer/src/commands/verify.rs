//! The command `verify`: compares the index with the archives of random packages.

use std::process::ExitCode;
use std::time::Instant;

use clap::Args;
use futures::{StreamExt, stream};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use sql::{Index, Status, Store, StoreStatus};

use super::local_stores::find_store;
use crate::cli::Common;
use crate::fetch::presence::polite_network;
use crate::pipeline::stop::Stop;
use crate::report::failure::{self, CommandFailure, Result};
use crate::report::output::{print, print_error, printable};
use crate::report::summary::counted;
use crate::report::urls::{address, without_url_secrets};
use place::{PlaceReader, Verdict};

mod compare;
mod place;

/// Examples for `verify --help`.
pub(crate) const EXAMPLES: &str = "\
Examples:
  The headers of 100 random packages, at each of their places:
    darkserver-import verify
  More, in one store:
    darkserver-import verify --store f44-mirror --sample 1000

Exit status: 0 if nothing differs; 1 if something does, a place could not be read, or nothing could be compared";

/// Number of packages that are compared at once.
const MAX_PACKAGES: usize = 4;

#[derive(Args)]
pub(crate) struct VerifyArgs {
    /// Only places of this store [default: all stores]
    #[arg(long, value_name = "NAME")]
    store: Option<String>,
    /// Number of random packages
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    sample: u32,
}

/// The result: the object that `--json` prints.
#[derive(Default, Serialize)]
struct Summary {
    /// Packages that were compared.
    packages: u64,
    /// Their present places.
    places: u64,
    differences: Vec<Difference>,
    failed: Vec<Failure>,
    /// Why nothing was compared, although the index has packages.
    nothing_compared: Option<String>,
    seconds: f64,
}

/// Something that differs between the index and an archive.
#[derive(Serialize)]
struct Difference {
    nvra: String,
    store: String,
    /// URL or path, without secrets.
    place: String,
    difference: String,
}

/// A place of which nothing is known.
#[derive(Serialize)]
struct Failure {
    nvra: String,
    store: String,
    place: String,
    reason: String,
}

/// Compares random packages with their archives. Exit status 1 if anything differs or could not be read, or if nothing
/// of an index with packages could be compared.
pub(crate) async fn run(index: &Index, args: &VerifyArgs, contact: Option<&str>, common: &Common) -> Result<ExitCode> {
    let started = Instant::now();
    let stores = index.stores().await?;
    let store = args.store.as_deref().map(|name| find_store(&stores, name)).transpose()?;
    let store_id = store.map(|store| store.id);
    let packages = index.sample(store_id, args.sample).await?;
    let (stop, bar) = (Stop::on_signal(), progress_bar(common.quiet, packages.len()));
    let reader = PlaceReader { network: polite_network(contact, &stop) };
    let mut summary = Summary::default();
    let reader = &reader;
    let mut verified = stream::iter(packages)
        .map(|package| async move {
            let verdicts = reader.verify(index, &package, store_id).await?;
            Ok::<_, CommandFailure>((package.package.nevra.nvra(), verdicts))
        })
        .buffer_unordered(MAX_PACKAGES);
    loop {
        let next = tokio::select! {
            biased;
            () = reader.network.stopped() => break,
            next = verified.next() => next,
        };
        let Some(next) = next else { break };
        let (nvra, verdicts) = next?;
        summary.packages += 1;
        bar.inc(1);
        for (location, verdict) in verdicts {
            summary.places += 1;
            let (store, place) = (location.store.name.clone(), address(&location));
            match verdict {
                Verdict::Read(differences) => {
                    for difference in differences {
                        report(&bar, common, &nvra, &store, &place, &difference)?;
                        let (nvra, store, place) = (nvra.clone(), store.clone(), place.clone());
                        summary.differences.push(Difference { nvra, store, place, difference });
                    }
                }
                Verdict::Failed(reason) => {
                    let reason = without_url_secrets(&reason);
                    report(&bar, common, &nvra, &store, &place, &format!("could not be read: {reason}"))?;
                    summary.failed.push(Failure { nvra: nvra.clone(), store, place, reason });
                }
            }
        }
    }
    bar.finish_and_clear();
    if summary.places == 0 && !stop.is_set() {
        summary.nothing_compared = why_nothing(&index.status().await?, store);
    }
    summary.seconds = started.elapsed().as_secs_f64();
    finish(&summary, common, stop.is_set())
}

/// Why nothing of an index, or of a store, was compared. `None` if it has no packages.
fn why_nothing(status: &Status, store: Option<&Store>) -> Option<String> {
    if let Some(store) = store {
        let StoreStatus { present, gone, .. } = status.stores.iter().find(|known| known.store.id == store.id)?;
        return (present + gone > 0).then(|| {
            format!(
                "store {}: {} of packages whose header was not read, {} where archives are gone",
                store.name,
                counted(*present, "place"),
                counted(*gone, "place")
            )
        });
    }
    let count = |is_read: bool| -> u64 {
        status.packages.iter().filter(|(state, _)| state.is_read() == is_read).map(|(_, count)| count).sum()
    };
    let (unread, read) = (count(false), count(true));
    (unread + read > 0).then(|| {
        let [unread, read] = [unread, read].map(|count| counted(count, "package"));
        format!("{unread} whose header was not read, {read} without a place where the archive is known to be")
    })
}

/// Prints one line about a place, unless the whole is printed as JSON.
fn report(bar: &ProgressBar, common: &Common, nvra: &str, store: &str, place: &str, text: &str) -> Result<()> {
    if common.json {
        return Ok(());
    }
    let line = printable(&format!("{nvra}: {store}: {place}: {text}"));
    Ok(bar.suspend(|| print(&line))?)
}

fn finish(summary: &Summary, common: &Common, interrupted: bool) -> Result<ExitCode> {
    if common.json {
        print(&serde_json::to_string(summary).map_err(CommandFailure::local)?)?;
    } else if !common.quiet {
        let Summary { packages, places, differences, failed, seconds, .. } = summary;
        print_error(&format_args!(
            "{} compared at {}: {}, {} could not be read; {seconds:.1} s",
            counted(*packages, "package"),
            counted(*places, "place"),
            counted(differences.len() as u64, "difference"),
            counted(failed.len() as u64, "place")
        ));
    }
    if let Some(reason) = &summary.nothing_compared {
        print_error(&format_args!("nothing was compared: {}", printable(reason)));
    }
    let is_flawless = summary.differences.is_empty() && summary.failed.is_empty() && summary.nothing_compared.is_none();
    Ok(match (interrupted, is_flawless) {
        (true, _) => ExitCode::from(failure::INTERRUPTED),
        (false, true) => ExitCode::SUCCESS,
        (false, false) => ExitCode::from(failure::FAILED),
    })
}

fn progress_bar(quiet: bool, packages: usize) -> ProgressBar {
    if quiet {
        return ProgressBar::hidden();
    }
    // It hides itself where standard error is no terminal.
    let bar = ProgressBar::new(u64::try_from(packages).unwrap_or(u64::MAX));
    if let Ok(style) = ProgressStyle::with_template("{spinner} comparing packages {pos}/{len} [{wide_bar}] {eta}") {
        bar.set_style(style.progress_chars("=> "));
    }
    bar
}
