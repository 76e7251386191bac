//! A stream of requests of which 94 % are for what no upstream has, as public servers see it: what upstreams are
//! asked for one miss of a client.

use std::collections::HashSet;

use anyhow::{Result, ensure};
use compat_tests::darkserver::Sqlite;
use compat_tests::fixtures;
use compat_tests::upstreams::Random;

use super::client::{Answers, Verdict};
use super::upstreams::Upstreams;
use super::{DEBUGINFOD, FederateOptions, federating};
use crate::corpus;
use crate::servers::BenchServer;
use crate::table::ResultTable;

pub(super) const TITLE: &str = "A replay with 94 % misses, five upstreams";
const COLUMNS: [&str; 6] = [
    "misses an upstream request",
    "upstream requests a miss",
    "misses",
    "distinct misses",
    "requests a search by its metric",
    "answers/s",
];
const UPSTREAMS: usize = 5;
const GROUP: &str = "no index, found ones at the upstreams";
const WITH_INDEX: &str = "half of the found ones in the index";
const DARKSERVER: &str = "darkserver";
const TOLD: &str = "darkserver, told what two upstreams serve";
/// As operators note it for some of the public servers.
const PARTIAL: &str = "serves = [\"debuginfo\", \"source\", \"section\"]\nbuild_ids = [\"gnu\"]";
const TIMEOUT_SECONDS: u32 = 2;
const AT_ONCE: usize = 4;
const SEED: u64 = 16;
const PERCENT_MISSES: usize = 94;
/// Of the misses: requests for executables, for build-ids of 16 bytes and of 8 bytes.
const PERCENT_EXECUTABLES: usize = 20;
const PERCENT_UUID: usize = 10;
const PERCENT_SHORT: usize = 5;

pub(super) fn run(options: &FederateOptions) -> Result<ResultTable> {
    let stream = Stream::make(options.size.replayed())?;
    let (empty, no_files) = (Sqlite::with_packages(&[]), tempfile::tempdir()?);
    let packages = fixtures::directory();
    let index = Sqlite::with_packages(&[&packages]);
    let mut table = ResultTable::new(TITLE, &COLUMNS, &[DEBUGINFOD]);
    for round in 0..options.rounds {
        println!("round {}: {TITLE}", round + 1);
        for (group, database, files) in
            [(GROUP, empty.url(), ("-F", no_files.path())), (WITH_INDEX, index.url(), ("-R", packages.as_path()))]
        {
            for system in [DARKSERVER, TOLD, DEBUGINFOD] {
                let upstreams = Upstreams::start(UPSTREAMS, &stream.known)?;
                let urls = upstreams.urls();
                let server = match system {
                    DARKSERVER => federating::gateway(&database, "", &urls, "")?,
                    TOLD => {
                        let told = |at| if at < 2 { PARTIAL } else { "" };
                        let each: Vec<_> = urls.iter().enumerate().map(|(at, url)| (url.as_str(), told(at))).collect();
                        federating::gateway_with(&database, "", &each)?
                    }
                    _ => federating::debuginfod(&urls, TIMEOUT_SECONDS, files)?,
                };
                table.add(group, system, &replay(&stream, &upstreams, &server, system != DEBUGINFOD)?);
            }
        }
    }
    for group in [GROUP, WITH_INDEX] {
        let ratio = table.ratio(group, DARKSERVER, DEBUGINFOD);
        table.at_least(&format!("{group}: misses an upstream request, times debuginfod's"), ratio, 1.0);
    }
    Ok(table)
}

fn replay(
    stream: &Stream,
    upstreams: &Upstreams,
    server: &BenchServer,
    is_ours: bool,
) -> Result<[Option<f64>; COLUMNS.len()]> {
    let answers = Answers::of(server.port, &stream.paths, AT_ONCE)?;
    let absent = answers.count(Verdict::Absent);
    // A debuginfod under load closes some connections without an answer.
    ensure!(absent == stream.misses || !is_ours, "expected {} absent answers, found {absent}", stream.misses);
    let (misses, requests) = (stream.misses as f64, upstreams.absent_requests() as f64);
    let by_metric = if is_ours {
        let sum = |what: &str| federating::metric(server, &format!("gateway_federation_requests_per_miss_{what}"), &[]);
        Some(sum("sum")? / sum("count")?)
    } else {
        None
    };
    Ok([
        Some(misses / requests),
        Some(requests / misses),
        Some(misses),
        Some(stream.distinct_misses as f64),
        by_metric,
        Some(answers.rate()),
    ])
}

/// Requests in their order, the same at every run.
struct Stream {
    paths: Vec<String>,
    misses: usize,
    distinct_misses: usize,
    /// Build-ids that an upstream has. The packages of the fixtures have the second half of them, too.
    known: Vec<String>,
}

impl Stream {
    /// Few build-ids are asked for again and again, most once: the number of requests for a build-id falls as its rank
    /// grows (Zipf).
    fn make(count: usize) -> Result<Self> {
        let packaged = corpus::members(&corpus::archives(&fixtures::directory())?)?;
        let mut packaged: Vec<(String, String)> =
            packaged.iter().map(|member| (member.build_id.to_string(), member.url_path())).collect();
        // Every upstream serves debuginfo of these.
        packaged.retain(|(build_id, path)| build_id.len() == 40 && path.ends_with("/debuginfo"));
        packaged.truncate(20);
        let elsewhere = (0..packaged.len()).map(|number| format!("ee{number:038x}"));
        let mut found: Vec<(String, String)> =
            elsewhere.map(|build_id| (build_id.clone(), format!("/buildid/{build_id}/debuginfo"))).collect();
        found.extend(packaged);
        let mut random = Random::new(SEED);
        let unknown: Vec<String> = (0..count / 4).map(|_| unknown_path(&mut random)).collect();
        let (unknown_ranks, found_ranks) = (Zipf::new(unknown.len()), Zipf::new(found.len()));
        let (mut paths, mut missed) = (Vec::new(), HashSet::new());
        let mut misses = 0;
        for _ in 0..count {
            if random.below(100) < PERCENT_MISSES {
                let path = &unknown[unknown_ranks.draw(&mut random)];
                misses += 1;
                missed.insert(path.clone());
                paths.push(path.clone());
            } else {
                paths.push(found[found_ranks.draw(&mut random)].1.clone());
            }
        }
        let known = found.into_iter().map(|(build_id, _)| build_id).collect();
        Ok(Self { paths, misses, distinct_misses: missed.len(), known })
    }
}

fn unknown_path(random: &mut Random) -> String {
    let bytes = match random.below(100) {
        percent if percent < PERCENT_SHORT => 8,
        percent if percent < PERCENT_SHORT + PERCENT_UUID => 16,
        _ => 20,
    };
    let kind = if random.below(100) < PERCENT_EXECUTABLES { "executable" } else { "debuginfo" };
    let digits = format!("{:016x}{:016x}{:016x}", random.number(), random.number(), random.number());
    format!("/buildid/{}/{kind}", &digits[..2 * bytes])
}

/// Ranks whose probability is the reciprocal of the rank, counted from 1.
struct Zipf {
    /// For each rank the sum of the weights up to it.
    sums: Vec<f64>,
}

impl Zipf {
    fn new(count: usize) -> Self {
        let weights = (1..=count).map(|rank| 1.0 / rank as f64);
        Self {
            sums: weights
                .scan(0.0, |sum, weight| {
                    *sum += weight;
                    Some(*sum)
                })
                .collect(),
        }
    }

    fn draw(&self, random: &mut Random) -> usize {
        let point = random.number() as f64 / u64::MAX as f64 * self.sums.last().copied().unwrap_or_default();
        self.sums.partition_point(|sum| *sum < point).min(self.sums.len() - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn low_ranks_are_drawn_often_and_all_are_in_range() {
        let (zipf, mut random) = (Zipf::new(100), Random::new(1));
        let mut counts = [0; 100];
        (0..10_000).for_each(|_| counts[zipf.draw(&mut random)] += 1);
        assert!(counts[0] > 1500 && counts[0] > 5 * counts[9] && counts[50..].iter().sum::<i32>() > 500, "{counts:?}");
    }
}
