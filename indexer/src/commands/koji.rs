//! The command `koji`: single builds of a Koji, or all of them.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use serde_json::{Value, json};
use sql::Index;

use crate::cli::{BackfillArgs, Common, HeadersOption, InstanceArgs, KojiArgs, KojiCommand};
use crate::feeders::koji::backfill::{Backfill, BackfillEnd, BackfillPlan};
use crate::feeders::koji::importer::{BuildImporter, BuildOutcome, BuildRequest, MAX_BUILDS};
use crate::feeders::koji::{HeaderSource, KojiInstance};
use crate::fetch::network::Network;
use crate::koji::build::BuildRef;
use crate::pipeline::stop::Stop;
use crate::report::failure::{self, CommandFailure, Result};
use crate::report::koji::{FailedBuild, KojiProgress};
use crate::report::output::{print, print_error};
use crate::settings;
use crate::settings::koji::koji_instances;

/// Imports builds.
pub(crate) async fn run(args: KojiArgs, index: &Index, common: &Common) -> Result<ExitCode> {
    let instance = Arc::new(find_instance(koji_instances(common)?, &args.instance)?);
    let settings = settings::repositories(common)?;
    let stop = Stop::on_signal();
    let network = Network::new(settings.contact.as_deref(), settings.limits, stop.clone());
    let importer = BuildImporter::new(index.clone(), Arc::clone(&network), Arc::clone(&instance), stop.clone()).await?;
    let run = Run { importer: importer.with_jobs(usize::from(args.instance.jobs)), network, stop, common };
    match args.command {
        KojiCommand::Build { builds } => Box::pin(run.builds(&builds)).await,
        KojiCommand::Backfill(args) => Box::pin(run.backfill(&args)).await,
    }
}

struct Run<'a> {
    importer: BuildImporter,
    network: Arc<Network>,
    stop: Stop,
    common: &'a Common,
}

impl Run<'_> {
    async fn builds(&self, builds: &[String]) -> Result<ExitCode> {
        let (name, started) = (&self.importer.instance.name, Instant::now());
        let mut progress = KojiProgress::new(self.common.quiet, name, &self.network, None);
        let mut results: Vec<(&String, BuildOutcome)> = Vec::new();
        for part in builds.chunks(MAX_BUILDS) {
            if self.stop.is_set() {
                break;
            }
            let requests: Vec<BuildRequest> =
                part.iter().map(|build| BuildRequest { reference: reference(build), deleted_at: None }).collect();
            results.extend(part.iter().zip(self.importer.import(&requests).await?));
        }
        let is_stopped = self.stop.is_set();
        for (build, outcome) in &results {
            match outcome {
                BuildOutcome::Failed { reason, .. } if !is_stopped => progress.fail(build, reason),
                BuildOutcome::Unknown => progress.fail(build, "expected a build of the hub, found none"),
                BuildOutcome::Building => progress.fail(build, "expected a complete build, found one being built"),
                BuildOutcome::Skipped(reason) => progress.note(&format!("{build}: {reason}")),
                BuildOutcome::Deleted => progress.note(&format!("{build}: it was deleted")),
                BuildOutcome::Imported { .. } | BuildOutcome::Unchanged | BuildOutcome::Failed { .. } => {}
            }
        }
        let failed = std::mem::take(&mut progress.failed);
        // Clears the bar before the summary is printed.
        drop(progress);
        let results = results.iter().map(|(build, outcome)| describe(build, outcome)).collect::<Vec<Value>>();
        self.finish(&failed, json!({ "builds": results }), None, started)
    }

    async fn backfill(&self, args: &BackfillArgs) -> Result<ExitCode> {
        let &BackfillArgs { after, before, newest_first } = args;
        if let (Some(after), Some(before)) = (after, before)
            && after >= before
        {
            return Err(CommandFailure::Usage(
                "expected --after to be earlier than --before, found a later one".into(),
            ));
        }
        let (plan, started) = (BackfillPlan { after, before, newest_first }, Instant::now());
        let name = &self.importer.instance.name;
        let mut progress = KojiProgress::new(self.common.quiet, name, &self.network, plan.span());
        let end = Box::pin(Backfill::new(&self.importer, plan, &mut progress).run()).await;
        let failed = std::mem::take(&mut progress.failed);
        drop(progress);
        let end = end?;
        let given_up = match &end {
            BackfillEnd::GivenUp(reason) => Some(reason.as_str()),
            BackfillEnd::Complete | BackfillEnd::Stopped => None,
        };
        let more = json!({ "complete": end == BackfillEnd::Complete, "error": given_up });
        self.finish(&failed, more, given_up, started)
    }

    /// Prints the summary, and returns the exit status. `given_up` is why nothing more could be imported.
    fn finish(
        &self,
        failed: &[FailedBuild],
        mut shown: Value,
        given_up: Option<&str>,
        started: Instant,
    ) -> Result<ExitCode> {
        let (counts, seconds, requests) = (self.importer.counts(), started.elapsed(), self.importer.hub.calls());
        let is_stopped = self.stop.is_set();
        if self.common.json {
            let counts = serde_json::to_value(&counts).map_err(CommandFailure::local)?;
            let more = json!({
                "instance": self.importer.instance.name,
                "hub_requests": requests,
                "failed_builds": failed,
                "seconds": seconds.as_secs_f64(),
            });
            if let Some(shown) = shown.as_object_mut() {
                for members in [counts, more] {
                    shown.extend(members.as_object().cloned().unwrap_or_default());
                }
            }
            print(&shown)?;
        } else if !self.common.quiet {
            let seconds = seconds.as_secs_f64();
            print_error(&format_args!("{counts}; {requests} requests of the hub; {seconds:.1} s"));
        }
        if is_stopped {
            print_error(&"interrupted: builds read so far are in the index; the same command continues");
            return Ok(ExitCode::from(failure::INTERRUPTED));
        }
        if let Some(reason) = given_up {
            let text = format!("darkserver-import: given up: {reason}; the same command continues");
            print_error(&text);
            return Ok(ExitCode::from(failure::FAILED));
        }
        let is_flawless = counts.failed + counts.unknown + counts.building == 0;
        Ok(if is_flawless { ExitCode::SUCCESS } else { ExitCode::from(failure::FAILED) })
    }
}

/// Reads a build as the command line names it: by its number, or by name-version-release.
fn reference(build: &str) -> BuildRef {
    build.parse().map_or_else(|_| BuildRef::Nvr(build.to_owned()), BuildRef::Id)
}

fn describe(build: &str, outcome: &BuildOutcome) -> Value {
    let word = match outcome {
        BuildOutcome::Imported { .. } => "imported",
        BuildOutcome::Unchanged => "unchanged",
        BuildOutcome::Deleted => "deleted",
        BuildOutcome::Skipped(_) => "skipped",
        BuildOutcome::Building => "building",
        BuildOutcome::Unknown => "unknown",
        BuildOutcome::Failed { .. } => "failed",
    };
    let reason = match outcome {
        BuildOutcome::Skipped(reason) => Some(*reason),
        BuildOutcome::Failed { reason, .. } => Some(reason.as_str()),
        _ => None,
    };
    json!({ "build": build, "outcome": word, "reason": reason })
}

/// Returns the instance that the command line names. URLs that it gives replace those of the configuration.
///
/// # Errors
/// [`CommandFailure::Usage`] if none is configured and not both URLs are given, or a value is wrong.
fn find_instance(configured: Vec<KojiInstance>, args: &InstanceArgs) -> Result<KojiInstance> {
    let usage = CommandFailure::Usage;
    let names: Vec<&str> = configured.iter().map(|instance| instance.name.as_str()).collect();
    let mut instance = match (&args.instance, &args.hub, &args.topurl) {
        (Some(name), hub, topurl) => match (configured.iter().find(|found| found.name == *name), hub, topurl) {
            (Some(found), ..) => found.clone(),
            (None, Some(hub), Some(topurl)) => KojiInstance::new(name, hub, topurl).map_err(usage)?,
            (None, ..) => {
                return Err(usage(format!(
                    "expected the name of a configured Koji instance ({}), or --hub and --topurl with it, found {name}",
                    names.join(", ")
                )));
            }
        },
        (None, Some(hub), Some(topurl)) => {
            let given = KojiInstance::new("given", hub, topurl).map_err(usage)?;
            // The configured one with that hub keeps its name and its store.
            match configured.into_iter().find(|found| found.hub == given.hub) {
                Some(found) => found,
                None => KojiInstance::new(given.hub.host_str().unwrap_or("koji"), hub, topurl).map_err(usage)?,
            }
        }
        (None, ..) => configured.into_iter().next().ok_or_else(|| {
            usage(
                "expected a [[koji]] of indexer.toml or the original's koji_info.json, or --hub and --topurl, found \
                 none: see `koji --help`"
                    .into(),
            )
        })?,
    };
    let given = |hub: &str, topurl: &str| KojiInstance::new(&instance.name, hub, topurl).map_err(CommandFailure::Usage);
    let hub = args.hub.as_deref().unwrap_or(instance.hub.as_str());
    let topurl = args.topurl.as_deref().unwrap_or(instance.topurl.as_str());
    let KojiInstance { hub, topurl, .. } = given(hub, topurl)?;
    (instance.hub, instance.topurl) = (hub, topurl);
    if let Some(headers) = args.headers {
        instance.headers = match headers {
            HeadersOption::Topurl => HeaderSource::Topurl,
            HeadersOption::Hub => HeaderSource::Hub,
        };
    }
    Ok(instance)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: InstanceArgs,
    }

    fn find(configured: &[KojiInstance], options: &[&str]) -> Result<KojiInstance> {
        let line = Line::try_parse_from([&["koji"], options].concat()).unwrap_or_else(|error| panic!("{error}"));
        find_instance(configured.to_vec(), &line.args)
    }

    #[test]
    fn the_command_line_names_an_instance_or_makes_one() {
        let instance = |name| KojiInstance::new(name, &format!("http://{name}.example/hub"), "http://p").unwrap();
        let configured = [instance("a"), instance("b")];
        assert_eq!(find(&configured, &[]).unwrap().name, "a");
        let b = find(&configured, &["--instance", "b", "--headers", "hub"]).unwrap();
        assert_eq!((b.name.as_str(), b.headers), ("b", HeaderSource::Hub));
        let moved = find(&configured, &["--topurl", "http://q//"]).unwrap();
        assert_eq!((moved.name.as_str(), moved.topurl.as_str()), ("a", "http://q/"));
        let same = find(&configured, &["--hub", "http://b.example/hub/", "--topurl", "http://q"]).unwrap();
        assert_eq!((same.name.as_str(), same.store.as_str()), ("b", "koji-b"));
        let urls = ["--hub", "http://new.example/hub", "--topurl", "http://q"];
        assert_eq!(find(&configured, &urls).unwrap().name, "new.example");
        assert_eq!(find(&[], &[&urls[..], &["--instance", "n"]].concat()).unwrap().store, "koji-n");
        for (configured, options, expected) in [
            (&[][..], &[][..], "koji_info.json"),
            (&[], &["--hub", "http://x"], "koji_info.json"),
            (&configured, &["--instance", "c"], "(a, b)"),
            (&configured, &["--hub", "x"], "hub: expected"),
        ] {
            let message = find(configured, options).unwrap_err().to_string();
            assert!(message.contains(expected), "{expected}: {message}");
        }
    }

    #[test]
    fn digits_are_a_number_of_a_build() {
        assert_eq!(reference("2900001"), BuildRef::Id(2_900_001));
        assert_eq!(reference("bash-5.2-1.fc42"), BuildRef::Nvr("bash-5.2-1.fc42".into()));
    }
}
