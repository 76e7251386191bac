//! What clients wait for while none, one and five of ten upstreams hang: the first requests, those after the breakers
//! opened, and those after `unreachable_after`.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use compat_tests::darkserver::Sqlite;

use super::client::{Answers, Verdict, ask};
use super::upstreams::{BlackHoles, Upstreams};
use super::{DEBUGINFOD, FederateOptions, REDIRECT, RELAY, federating};
use crate::servers::BenchServer;
use crate::table::ResultTable;

pub(super) const TITLE: &str = "Ten upstreams of which some hang";
const COLUMNS: [&str; 7] =
    ["answers/s", "p50 ms", "p99 ms", "found %", "absent %", "within budget + 200 ms %", "the same by its metric %"];
/// Of [`COLUMNS`].
const P99: usize = 2;
const WITHIN: usize = 5;
const UPSTREAMS: usize = 10;
/// Budget + 200 ms; the histogram has this bound.
const DECIDED_WITHIN: Duration = Duration::from_secs(1);
const BUDGET_BUCKET: &str = "le=\"1\"";
const DURATION: &str = "gateway_request_duration_seconds";
/// A silent upstream is soon left out of the quorum, so that the last phase has absent answers.
const SETTINGS: &str = "[request]\nbudget = \"800ms\"\n[federation]\nunreachable_after = \"5s\"\n";
/// What debuginfod's client allows that is nearest to our budget.
const TIMEOUT_SECONDS: u32 = 1;
/// Requests at once to a server that was just started.
const FIRST: usize = 8;
/// Requests at once afterwards, and how many in all; fewer while misses are unavailable, which soon ends.
const AT_ONCE: usize = 4;
const OPEN: usize = 100;
const LATER: usize = 400;
/// debuginfod takes seconds for each while an upstream hangs.
const LATER_SLOW: usize = 8;
/// Longest time until breakers are open, and misses are absent again.
const SETTLED_WITHIN: Duration = Duration::from_secs(30);

pub(super) fn run(options: &FederateOptions) -> Result<ResultTable> {
    let mut table = ResultTable::new(TITLE, &COLUMNS, &[DEBUGINFOD]);
    let (empty, no_files) = (Sqlite::with_packages(&[]), tempfile::tempdir()?);
    for round in 0..options.rounds {
        for hanging in [0, 1, 5] {
            let known = numbered(0xf0, FIRST + LATER);
            let (healthy, holes) = (Upstreams::start(UPSTREAMS - hanging, &known)?, BlackHoles::start(hanging));
            let urls = [holes.urls(), healthy.urls()].concat();
            for system in [REDIRECT, RELAY, DEBUGINFOD] {
                println!("round {}: {TITLE}, {hanging} hang, {system}", round + 1);
                let start = || match system {
                    REDIRECT => federating::gateway(&empty.url(), SETTINGS, &urls, "mode = \"redirect\""),
                    RELAY => federating::gateway(&empty.url(), SETTINGS, &urls, "mode = \"relay\""),
                    _ => federating::debuginfod(&urls, TIMEOUT_SECONDS, ("-F", no_files.path())),
                };
                let (mut known, mut unknown) = (known.iter().cloned().collect(), numbered(0x0f, 2000).into());
                for (what, build_ids) in [("found", &mut known), ("absent", &mut unknown)] {
                    let server = start()?;
                    let is_ours = system != DEBUGINFOD;
                    let group = |phase: &str| format!("{what}, {hanging} hang, {phase}");
                    let first = take(build_ids, FIRST);
                    table.add(&group("first"), system, &measured(&server, &first, FIRST, is_ours)?);
                    if is_ours {
                        wait_until_open(&server, hanging)?;
                    }
                    if is_ours && what == "absent" && hanging > 0 {
                        let open = take(build_ids, OPEN);
                        table.add(&group("breakers open"), system, &measured(&server, &open, AT_ONCE, is_ours)?);
                        wait_until_absent(&server)?;
                    }
                    let is_slow = !is_ours && what == "absent" && hanging > 0;
                    let later = take(build_ids, if is_slow { LATER_SLOW } else { LATER });
                    let at_once = if is_slow { LATER_SLOW } else { AT_ONCE };
                    table.add(&group("later"), system, &measured(&server, &later, at_once, is_ours)?);
                }
            }
        }
    }
    judge(&mut table);
    Ok(table)
}

fn judge(table: &mut ResultTable) {
    for system in [REDIRECT, RELAY] {
        for what in ["found", "absent"] {
            let group = |hanging: usize, phase: &str| format!("{what}, {hanging} hang, {phase}");
            for hanging in [1, 5] {
                let first = group(hanging, "first");
                table.at_least(
                    &format!("{first}, {system}: percent within budget + 200 ms"),
                    table.median(&first, system, WITHIN),
                    100.0,
                );
                let p99 = |hanging| table.median(&group(hanging, "later"), system, P99);
                let ratio = p99(hanging).zip(p99(0)).map(|(hangs, none)| hangs / none);
                table.at_most(&format!("{}, {system}: p99 to that without", group(hanging, "later")), ratio, 2.0);
            }
        }
    }
}

fn measured(
    server: &BenchServer,
    paths: &[String],
    at_once: usize,
    is_ours: bool,
) -> Result<[Option<f64>; COLUMNS.len()]> {
    let decided = || -> Result<(f64, f64)> {
        let of_artifacts = "endpoint=\"debuginfo\"";
        Ok((
            federating::metric(server, &format!("{DURATION}_bucket"), &[of_artifacts, BUDGET_BUCKET])?,
            federating::metric(server, &format!("{DURATION}_count"), &[of_artifacts])?,
        ))
    };
    let before = if is_ours { decided()? } else { (0.0, 0.0) };
    let answers = Answers::of(server.port, paths, at_once)?;
    let by_metric = if is_ours {
        let after = decided()?;
        Some(100.0 * (after.0 - before.0) / (after.1 - before.1))
    } else {
        None
    };
    Ok([
        Some(answers.rate()),
        answers.percentile(0.5),
        answers.percentile(0.99),
        Some(answers.percent_of(Verdict::Found)),
        Some(answers.percent_of(Verdict::Absent)),
        Some(answers.percent_within(DECIDED_WITHIN)),
        by_metric,
    ])
}

/// Waits until the breakers of the hanging upstreams are open.
fn wait_until_open(server: &BenchServer, hanging: usize) -> Result<()> {
    wait(&format!("{hanging} open breakers"), || {
        Ok(federating::metric(server, "gateway_upstream_breaker", &["state=\"open\""])? >= hanging as f64)
    })
}

/// Waits until misses are absent without the word of the hanging upstreams.
fn wait_until_absent(server: &BenchServer) -> Result<()> {
    let mut build_ids = numbered(0xaa, 1000).into_iter();
    wait("an absent miss", || {
        let path = url_path(&build_ids.next().context("another build-id")?);
        Ok(ask(server.port, &path)?.verdict == Verdict::Absent)
    })
}

fn wait(what: &str, mut condition: impl FnMut() -> Result<bool>) -> Result<()> {
    let started = Instant::now();
    while !condition()? {
        ensure!(started.elapsed() < SETTLED_WITHIN, "{what}: expected within {SETTLED_WITHIN:?}, still not so");
        std::thread::sleep(Duration::from_millis(100));
    }
    Ok(())
}

/// Build-ids that begin with this byte.
fn numbered(first: u8, count: usize) -> Vec<String> {
    (0..count).map(|number| format!("{first:02x}{number:038x}")).collect()
}

fn take(build_ids: &mut VecDeque<String>, count: usize) -> Vec<String> {
    build_ids.drain(..count.min(build_ids.len())).map(|build_id| url_path(&build_id)).collect()
}

fn url_path(build_id: &str) -> String {
    format!("/buildid/{build_id}/debuginfo")
}
