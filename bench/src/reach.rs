//! From a build of Koji to an answer: by messages one at a time, and by a backfill of very many.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Args;
use compat_tests::darkserver::import_ok;
use compat_tests::http;
use compat_tests::indexer::RunningIndexer;
use compat_tests::koji_hub::KojiHub;
use compat_tests::mariadb::MariaDb;
use compat_tests::programs::program;
use compat_tests::python;
use compat_tests::rabbitmq::VirtualHost;
use serde_json::json;

use crate::cost::{Cost, Usage};
use crate::index::server_usage;
use crate::report;
use crate::servers::BenchServer;
use crate::table::ResultTable;

const SQLITE: &str = "darkserver, SQLite";
const MARIADB: &str = "darkserver, MariaDB";
const MIB: f64 = 1024.0 * 1024.0;
/// Builds a minute of a busy day at Fedora.
const BUILDS_A_MINUTE: f64 = 50.0;
/// Time after which a build without an answer is an error.
const ANSWER_WITHIN: Duration = Duration::from_secs(120);
/// Time between two questions about one build: what a latency is accurate to.
const POLL: Duration = Duration::from_millis(20);

/// What this bench takes.
#[derive(Args)]
pub(crate) struct ReachOptions {
    /// Number of builds of the largest backfill; a tenth of it is measured as well.
    #[arg(long, default_value_t = 2_000)]
    builds: u32,
    /// How long builds are told by messages, on each database.
    #[arg(long, default_value_t = 120, value_name = "SECONDS")]
    seconds: u64,
    /// Where to write results.
    #[arg(long, value_name = "DIR", default_value = "bench/results")]
    results: PathBuf,
    /// Only the tables whose title contains this.
    #[arg(long, value_name = "TEXT", default_value = "")]
    only: String,
}

/// An empty index.
struct Index<'a> {
    system: &'static str,
    url: String,
    server: Option<&'a MariaDb>,
    _files: tempfile::TempDir,
}

pub(crate) fn run(options: &ReachOptions) -> Result<()> {
    let mariadb = MariaDb::start();
    let mut reach = ResultTable::new(
        "From message to answer",
        &["p50 s", "p99 s", "largest s", "builds", "CPU s", "peak MiB"],
        &[],
    );
    let mut backfills = ResultTable::new(
        "Backfill, from empty",
        &["builds/s", "seconds", "CPU s", "peak MiB", "hub requests a build", "files fetched a build"],
        &[],
    );
    let mut looks = ResultTable::new("Looks at the index", &["status s", "scrape of /metrics s"], &[]);
    if reach_is_wanted(options, &reach) {
        for index in Index::both(&mariadb, "reach")? {
            println!("messages: {}", index.system);
            measure_reach(options, &index, &mut reach)?;
            reach.at_most(&format!("{}: p99 s", index.system), reach.median("messages", index.system, 1), 5.0);
        }
    }
    if reach_is_wanted(options, &backfills) {
        for count in [options.builds / 10, options.builds] {
            let hub = KojiHub::start();
            let started = Instant::now();
            hub.add_generated_builds(count);
            println!("{count} builds were generated in {:.1} s", started.elapsed().as_secs_f64());
            measure_backfills(count, &hub, &mariadb, &mut backfills, &mut looks)?;
        }
    }
    let command = format!("make bench-reach BUILDS={} ONLY={}", options.builds, options.only);
    report::publish(&options.results, "reach", &command, &[reach, backfills, looks])
}

fn reach_is_wanted(options: &ReachOptions, table: &ResultTable) -> bool {
    table.title.contains(&options.only)
}

impl<'a> Index<'a> {
    fn both(mariadb: &'a MariaDb, name: &str) -> Result<[Self; 2]> {
        let directory = tempfile::tempdir()?;
        let url = format!("sqlite:{}", directory.path().join("index.db").display());
        let sqlite = Self { system: SQLITE, url, server: None, _files: directory };
        mariadb.sql(&format!("drop database if exists {name}"));
        mariadb.create_database(name);
        let url = mariadb.url(name);
        let indexes = [sqlite, Self { system: MARIADB, url, server: Some(mariadb), _files: tempfile::tempdir()? }];
        for index in &indexes {
            import_ok(&index.url, &["migrate"]);
        }
        Ok(indexes)
    }
}

/// A configuration with one instance of Koji.
fn configuration(hub: &KojiHub, headers: &str) -> String {
    let (url, topurl) = (hub.url(), hub.topurl());
    format!("[[koji]]\nname = \"primary\"\nhub = \"{url}\"\ntopurl = \"{topurl}\"\nheaders = \"{headers}\"\n")
}

/// The build-id of a generated build, as its package lists it.
fn build_id(hub: &KojiHub, build: i64) -> Result<String> {
    let paths = hub.paths(build);
    let path = paths.iter().find(|path| !path.contains("-debuginfo-")).context("expected a package")?;
    let output = Command::new("rpm").args(["-qpl"]).arg(hub.directory().join(path)).output().context("rpm")?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let link = text.lines().find_map(|line| line.split_once("/.build-id/")?.1.split_once('/'));
    let (start, rest) = link.with_context(|| format!("{path}: expected a link to a build-id, found {text}"))?;
    Ok(format!("{start}{rest}"))
}

/// Tells builds by genuine messages at a steady rate, and asks a gateway for each until it answers.
fn measure_reach(options: &ReachOptions, index: &Index, table: &mut ResultTable) -> Result<()> {
    let count = ((options.seconds as f64 * BUILDS_A_MINUTE / 60.0) as u32).max(1);
    let hub = KojiHub::start();
    let builds: Vec<i64> = hub.add_generated_builds(count + 1).collect();
    // Being built until they are told: so the reconciler does not find them first.
    builds.iter().for_each(|build| hub.set_state(*build, 0));
    let ids = builds.iter().map(|build| build_id(&hub, *build)).collect::<Result<Vec<_>>>()?;
    let virtual_host = VirtualHost::new();
    let queue = format!("[[messages]]\nname = \"bench\"\nurl = \"{}\"\n", virtual_host.url());
    let mut indexer = RunningIndexer::start(&index.url, &format!("{}{queue}", configuration(&hub, "topurl")));
    compat_tests::wait_within(ANSWER_WITHIN, "a consumer", || {
        indexer.metric("indexer_broker_connected{queue=\"bench\"}") == 1.0
    });
    let gateway = BenchServer::gateway(&index.url, "")?;
    let mut publisher = python::script("python/publish.py")
        .arg(virtual_host.url())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .context("start a publisher")?;
    let mut lines = publisher.stdin.take().context("a publisher's input")?;
    let mut published = BufReader::new(publisher.stdout.take().context("a publisher's output")?).lines();
    let port = gateway.port;
    let mut tell = |build: i64| -> Result<()> {
        hub.set_state(build, 1);
        writeln!(lines, "{}", message(&hub.nvr(build), build)).context("tell a publisher")?;
        published.next().context("expected the id of a message")??;
        Ok(())
    };
    // The first is not measured: the publisher starts, which is Python's time and not ours.
    let (first, first_id) = builds.first().zip(ids.first()).context("expected a build")?;
    tell(*first)?;
    wait_for_answer(port, first_id, Instant::now())?;
    let before = server_cpu(index)?;
    let started = Instant::now();
    let pause = Duration::from_secs_f64(60.0 / BUILDS_A_MINUTE);
    let mut latencies = thread::scope(|scope| -> Result<Vec<f64>> {
        let mut waiting = Vec::new();
        for (number, (build, id)) in (0_u32..).zip(builds.iter().zip(&ids).skip(1)) {
            thread::sleep((started + pause * number).saturating_duration_since(Instant::now()));
            let due = Instant::now();
            waiting.push(scope.spawn(move || wait_for_answer(port, id, due)));
            tell(*build)?;
        }
        waiting.into_iter().map(|thread| thread.join().map_err(|_| anyhow::anyhow!("a question failed"))?).collect()
    })?;
    drop(lines);
    ensure!(publisher.wait()?.success(), "expected success of the publisher");
    latencies.sort_by(f64::total_cmp);
    let at = |part: f64| latencies.get(((latencies.len() as f64 * part).ceil() as usize).max(1) - 1).copied();
    let used = Usage::of(indexer.process().id())?;
    let cpu = used.cpu_seconds + server_cpu(index)? - before;
    let figures = [at(0.5), at(0.99), at(1.0), Some(latencies.len() as f64), Some(cpu), Some(used.peak_bytes / MIB)];
    table.add("messages", index.system, &figures);
    ensure!(indexer.stop() == Some(0), "expected exit status 0 of the indexer");
    Ok(())
}

/// CPU of the database's server so far, 0 without one.
fn server_cpu(index: &Index) -> Result<f64> {
    Ok(index.server.map(server_usage).transpose()?.map_or(0.0, |(_, usage)| usage.cpu_seconds))
}

/// A `BuildStateChangeV1` for the publisher: the build is complete.
fn message(nvr: &str, build: i64) -> serde_json::Value {
    let mut parts = nvr.rsplitn(3, '-');
    let (release, version, name) = (parts.next(), parts.next(), parts.next());
    json!({
        "schema": "koji_fedoramessaging.build.BuildStateChangeV1",
        "body": {
            "name": name, "version": version, "release": release, "epoch": null,
            "attribute": "state", "old": 0, "new": 1, "build_id": build, "task_id": 140_000_001, "owner": "somebody",
            "instance": "primary", "request": ["git+https://src.example.org/rpms/hello.git#01", "f44-candidate", {}],
            "creation_time": "2026-05-04T10:11:12.131415+00:00",
            "completion_time": "2026-05-04T10:20:00.000001+00:00",
            "task": {"id": 140_000_001, "method": "build", "arch": "noarch", "host_id": 400, "result": null},
        },
    })
}

/// Asks until both packages of a build answer. Returns the seconds since `due`.
fn wait_for_answer(port: u16, id: &str, due: Instant) -> Result<f64> {
    let path = format!("/buildids/{id}");
    loop {
        let answer = http::get(port, &path).with_context(|| format!("GET {path}"))?;
        if answer.status == 200 && answer.text().contains("-debuginfo-") {
            return Ok(due.elapsed().as_secs_f64());
        }
        ensure!(due.elapsed() < ANSWER_WITHIN, "{path}: expected an answer, found {}", answer.text());
        thread::sleep(POLL);
    }
}

/// Fills indexes of both databases from the topurl and from the hub.
fn measure_backfills(
    count: u32,
    hub: &KojiHub,
    mariadb: &MariaDb,
    table: &mut ResultTable,
    looks: &mut ResultTable,
) -> Result<()> {
    for headers in ["topurl", "hub"] {
        let group = format!("{count} builds, headers of the {headers}");
        let etc = tempfile::tempdir()?;
        fs::write(etc.path().join("indexer.toml"), configuration(hub, headers))?;
        for index in Index::both(mariadb, "backfill")? {
            println!("backfill: {group}: {}", index.system);
            let requests = backfill(&group, hub, etc.path(), &index, count, table)?;
            table.at_most(&format!("{group}, {}: hub requests a build", index.system), Some(requests), 0.2);
            if headers == "topurl" {
                look(&format!("{count} builds"), hub, &index, looks)?;
            }
        }
    }
    Ok(())
}

/// Returns the hub's requests per build.
fn backfill(group: &str, hub: &KojiHub, etc: &Path, index: &Index, count: u32, table: &mut ResultTable) -> Result<f64> {
    hub.forget();
    let before = server_cpu(index)?;
    let mut command = Command::new(program("darkserver-import"));
    command.env("DARKSERVER_DATABASE", &index.url).env("DARKSERVER_ETC", etc).args(["koji", "backfill", "--json"]);
    let (cost, text) = Cost::of(&mut command)?;
    let summary: serde_json::Value = serde_json::from_str(&text).with_context(|| text.clone())?;
    ensure!(summary["imported"] == count, "expected {count} builds, found {summary}");
    let builds = f64::from(count);
    let requests = hub.requests() as f64 / builds;
    table.add(
        group,
        index.system,
        &[
            Some(builds / cost.seconds),
            Some(cost.seconds),
            Some(cost.cpu_seconds + server_cpu(index)? - before),
            Some(cost.peak_bytes / MIB),
            Some(requests),
            Some(hub.files.sent().len() as f64 / builds),
        ],
    );
    Ok(requests)
}

/// Measures `status`, and a scrape of the service's metrics.
fn look(group: &str, hub: &KojiHub, index: &Index, table: &mut ResultTable) -> Result<()> {
    let mut command = Command::new(program("darkserver-import"));
    let (cost, _) = Cost::of(command.env("DARKSERVER_DATABASE", &index.url).arg("status"))?;
    let mut indexer = RunningIndexer::start(&index.url, &configuration(hub, "topurl"));
    let started = Instant::now();
    let text = indexer.get("/metrics").text();
    let seconds = started.elapsed().as_secs_f64();
    ensure!(text.contains("indexer_jobs"), "expected metrics, found {text}");
    table.add(group, index.system, &[Some(cost.seconds), Some(seconds)]);
    indexer.stop();
    Ok(())
}
