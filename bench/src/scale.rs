//! An index as large as a distribution's: millions of build-ids on MariaDB, and a gateway that is asked for
//! absent ones.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use compat_tests::darkserver::import_ok;
use compat_tests::http;
use compat_tests::mariadb::MariaDb;
use compat_tests::programs::program;

use crate::cost::Cost;
use crate::load::{self, LoadPaths, bytes_below};
use crate::servers::BenchServer;
use crate::table::ResultTable;
use crate::{Options, report};

/// Packages that are made, imported and removed at a time.
const AT_ONCE: u64 = 200_000;
/// A small database server's: the index is larger than its memory.
const MARIADB: [&str; 3] =
    ["--innodb-buffer-pool-size=2G", "--innodb-log-file-size=1G", "--innodb-flush-log-at-trx-commit=2"];
const CONNECTIONS: [usize; 3] = [1, 16, 128];
const CONSTANT: &str = "constant handler";
const DARKSERVER: &str = "darkserver, MariaDB";
const COLUMNS: [&str; 4] = ["requests/s", "p50 ms at half", "p99 ms at half", "CPU us a request"];
/// Of [`COLUMNS`].
const P99: usize = 2;
/// How long a filter may take to be there.
const MAX_TIME: Duration = Duration::from_secs(600);
const MIB: f64 = 1024.0 * 1024.0;
const BYTES: &str = "gateway_filter_bytes";
const BUILD_IDS: &str = "gateway_filter_build_ids{layer=\"base\"}";
const CHECKED: &str = "gateway_filter_last_sync_timestamp_seconds";

pub(crate) fn run(options: &Options, build_ids: u64) -> Result<()> {
    let mariadb = MariaDb::start_with(&MARIADB);
    mariadb.create_database("bench");
    let database = mariadb.url("bench");
    import_ok(&database, &["migrate"]);
    let mut filled = ResultTable::new(
        "Filling the index",
        &["packages/s", "build-ids in it", "InnoDB bytes a build-id", "peak MiB"],
        &[],
    );
    let data = PathBuf::from(mariadb.sql("select @@datadir").trim()).join("bench");
    let scratch = options.headers.parent().context("a directory above the generated headers")?;
    let (mut packages, mut found) = (0, 0);
    while found < build_ids {
        let (cost, more) = fill(&database, scratch, packages)?;
        (packages, found) = (packages + AT_ONCE, found + more);
        let bytes_each = bytes_below(&data, |_| true) as f64 / found as f64;
        let figures = [AT_ONCE as f64 / cost.seconds, found as f64, bytes_each, cost.peak_bytes / MIB];
        println!(
            "{found} build-ids of {packages} packages: {:.0} packages/s, {bytes_each:.0} bytes a build-id",
            figures[0]
        );
        filled.add(&format!("to {packages} packages"), DARKSERVER, &figures.map(Some));
    }
    let bytes_each = bytes_below(&data, |_| true) as f64 / found as f64;
    filled.at_most("InnoDB bytes a build-id", Some(bytes_each), 400.0);

    let directory = tempfile::tempdir()?;
    let columns = ["seconds until it answers", "bytes", "bytes for 10 million", "peak MiB of the gateway"];
    let mut filter = ResultTable::new("The filter", &columns, &[]);
    for when in ["made from the index", "read after a restart"] {
        let (started, server) = (Instant::now(), BenchServer::gateway_on_cache(&database, directory.path())?);
        let seconds = ready(&server, started)?;
        let (bytes, known) = (metric(&server, BYTES)?, metric(&server, BUILD_IDS)?);
        ensure!(known as u64 >= build_ids, "expected a filter of at least {build_ids} build-ids, found {known}");
        let for_ten_million = bytes / known * 1e7;
        filter.add(when, DARKSERVER, &[seconds, bytes, for_ten_million, server.usage()?.peak_bytes / MIB].map(Some));
        filter.at_most(&format!("{when}: MB for 10 million build-ids"), Some(for_ten_million / 1e6), 12.0);
        // It writes its filter a while after that is made.
        wait_for(&directory.path().join("filter"))?;
    }
    let gateway = BenchServer::gateway_on_cache(&database, directory.path())?;
    ready(&gateway, Instant::now())?;
    let mut tables = vec![filled, filter];
    for (prefix, suffix, is_found) in [("/buildid/", "/debuginfo", false), ("/buildids/", "", true)] {
        tables.push(misses(options, &gateway, prefix, suffix, is_found)?);
    }
    report::publish(&options.results, "scale", "make bench-scale", &tables)
}

/// Makes packages behind the first `after` of the series, imports and removes them; how many build-ids they have.
fn fill(database: &str, scratch: &Path, after: u64) -> Result<(Cost, u64)> {
    let directory = tempfile::tempdir_in(scratch)?;
    let mut make = Command::new(program("headers"));
    make.arg(directory.path()).args(["--packages", &AT_ONCE.to_string(), "--after", &after.to_string()]);
    let made = make.output().context("start headers")?;
    let said = String::from_utf8_lossy(&made.stderr).into_owned();
    ensure!(made.status.success(), "headers: {said}");
    let files = said.split(", ").find_map(|part| part.strip_suffix(" ELF files")?.parse::<u64>().ok());
    let mut import = Command::new(program("darkserver-import"));
    import.env("DARKSERVER_DATABASE", database).arg("dir").arg(directory.path());
    let (cost, _) = Cost::of(&mut import)?;
    // A program and its debuginfo have one build-id.
    Ok((cost, files.with_context(|| format!("headers: expected a number of ELF files, found {said}"))? / 2))
}

/// Seconds from `started` until the filter answers.
fn ready(server: &BenchServer, started: Instant) -> Result<f64> {
    while metric(server, BUILD_IDS)? == 0.0 || metric(server, CHECKED)? == 0.0 {
        ensure!(started.elapsed() < MAX_TIME, "expected a filter within {MAX_TIME:?}, found none");
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(started.elapsed().as_secs_f64())
}

fn wait_for(file: &Path) -> Result<()> {
    let started = Instant::now();
    while !file.exists() {
        ensure!(started.elapsed() < MAX_TIME, "expected {} within {MAX_TIME:?}, found nothing", file.display());
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

fn metric(server: &BenchServer, line: &str) -> Result<f64> {
    let text = http::get(server.port, "/metrics").context("GET /metrics")?.text();
    let value = text.lines().find_map(|row| row.strip_prefix(line)?.strip_prefix(' ')?.parse().ok());
    Ok(value.unwrap_or(0.0))
}

fn misses(
    options: &Options,
    gateway: &BenchServer,
    prefix: &'static str,
    suffix: &'static str,
    is_found: bool,
) -> Result<ResultTable> {
    let mut table = ResultTable::new(format!("{prefix}ID{suffix}, miss, all different"), &COLUMNS, &[CONSTANT]);
    let constant =
        BenchServer::constant(gateway, &format!("{prefix}00000000000000000000000000000000000000ff{suffix}"))?;
    for round in 0..options.rounds {
        for connections in CONNECTIONS {
            for (system, server) in [(DARKSERVER, gateway), (CONSTANT, &constant)] {
                println!("round {}: misses of {prefix}, {connections} connections, {system}", round + 1);
                let found =
                    load::run(server, &LoadPaths::Unknown(prefix, suffix), is_found, connections, options.load_time())?;
                let figures = [found.rate, found.p50, found.p99, found.cpu].map(Some);
                table.add(&format!("{connections} connections"), system, &figures);
            }
        }
    }
    for connections in CONNECTIONS {
        let group = format!("{connections} connections");
        table.at_least(
            &format!("{group}: of the constant handler's rate"),
            table.ratio(&group, DARKSERVER, CONSTANT),
            0.9,
        );
        table.at_most(&format!("{group}: p99 ms at half"), table.median(&group, DARKSERVER, P99), 1.0);
    }
    Ok(table)
}
