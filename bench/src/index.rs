//! From a directory of RPMs to an index.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result};
use compat_tests::mariadb::MariaDb;
use compat_tests::programs::program;
use serde::Deserialize;

use crate::cost::{Cost, Usage};
use crate::load::bytes_below;
use crate::servers::BenchServer;
use crate::table::ResultTable;
use crate::{Options, corpus, report};

const COLUMNS: [&str; 7] =
    ["packages/s", "artifact rows/s", "seconds", "CPU s", "KiB read a package", "peak MiB", "index bytes a build-id"];
const HEADERS_ONLY: &str = "headers, no database";
const DEBUGINFOD: &str = "debuginfod";
const SQLITE: &str = "darkserver, SQLite";
const MARIADB: &str = "darkserver, MariaDB";
/// How long debuginfod may scan.
const MAX_SECONDS: u64 = 1800;

/// What is imported, counted.
struct ImportJob {
    name: String,
    directory: PathBuf,
    packages: f64,
    artifacts: f64,
    build_ids: f64,
    /// debuginfod reads payloads, which generated archives do not have.
    has_payloads: bool,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    let mut tables = Vec::new();
    let mariadb = MariaDb::start();
    let parts = tempfile::tempdir_in(options.headers.parent().context("a directory above the generated headers")?)?;
    let mut works = Vec::new();
    for (name, directory, has_payloads) in
        [("real RPMs", &options.rpms, true), ("generated headers", &options.headers, false)]
    {
        let archives = corpus::archives(directory)?;
        for (share, every) in [("1/4", 4), ("1/2", 2), ("1", 1)] {
            let part = parts.path().join(name.replace(' ', "-")).join(share.replace('/', "-"));
            corpus::part(&archives, every, &part)?;
            works.push(ImportJob::new(format!("{name} x {share}"), part, has_payloads)?);
        }
    }
    let mut empty = ResultTable::new("From empty", &COLUMNS, &[DEBUGINFOD, HEADERS_ONLY]);
    let mut unchanged = ResultTable::new("Nothing changed", &COLUMNS, &[DEBUGINFOD]);
    for round in 0..options.rounds {
        for work in &works {
            println!("round {}: {}", round + 1, work.name);
            measure(work, &mariadb, &mut empty, &mut unchanged)?;
        }
    }
    goals(&works, &mut empty, &mut unchanged);
    tables.extend([empty, unchanged]);
    report::publish(&options.results, "index", "make bench-index", &tables)
}

impl ImportJob {
    fn new(name: String, directory: PathBuf, has_payloads: bool) -> Result<Self> {
        let archives = corpus::archives(&directory)?;
        let members = corpus::members(&archives)?;
        let mut build_ids: Vec<_> = members.iter().map(|member| &member.build_id).collect();
        build_ids.sort();
        build_ids.dedup();
        let (build_ids, packages) = (build_ids.len() as f64, archives.len() as f64);
        let (_, counted) = read_headers(&directory)?;
        Ok(Self { name, directory, packages, artifacts: counted.artifacts, build_ids, has_payloads })
    }

    fn figures(&self, cost: Cost, index_bytes: Option<u64>) -> [Option<f64>; 7] {
        [
            Some(self.packages / cost.seconds),
            Some(self.artifacts / cost.seconds),
            Some(cost.seconds),
            Some(cost.cpu_seconds),
            Some(cost.read_bytes / self.packages / 1024.0),
            Some(cost.peak_bytes / (1024.0 * 1024.0)),
            index_bytes.map(|bytes| bytes as f64 / self.build_ids),
        ]
    }
}

fn measure(work: &ImportJob, mariadb: &MariaDb, empty: &mut ResultTable, unchanged: &mut ResultTable) -> Result<()> {
    let group = work.name.as_str();
    // Else whoever comes first pays for what the disk has, and the others do not.
    read_all(&work.directory)?;
    let (cost, _) = read_headers(&work.directory)?;
    empty.add(group, HEADERS_ONLY, &work.figures(cost, None));

    let directory = tempfile::tempdir()?;
    let database = format!("sqlite:{}", directory.path().join("index.db").display());
    for table in [&mut *empty, &mut *unchanged] {
        let (cost, _) = Cost::of(&mut import(&database, &work.directory))?;
        table.add(group, SQLITE, &work.figures(cost, Some(bytes_below(directory.path(), |_| true))));
    }

    mariadb.create_database("bench");
    let database = mariadb.url("bench");
    compat_tests::darkserver::import_ok(&database, &["migrate"]);
    let data = PathBuf::from(mariadb.sql("select @@datadir").trim()).join("bench");
    for table in [&mut *empty, &mut *unchanged] {
        let (server, before) = server_usage(mariadb)?;
        let (mut cost, _) = Cost::of(&mut import(&database, &work.directory))?;
        cost.cpu_seconds += Usage::of(server)?.cpu_seconds - before.cpu_seconds;
        table.add(group, MARIADB, &work.figures(cost, Some(bytes_below(&data, |_| true))));
    }
    mariadb.sql("drop database bench");

    if work.has_payloads {
        let directory = tempfile::tempdir()?;
        let database = directory.path().join("index.sqlite");
        for table in [empty, unchanged] {
            let started = Instant::now();
            let server = BenchServer::debuginfod(&work.directory, &database, MAX_SECONDS)?;
            let (seconds, usage) = (started.elapsed().as_secs_f64(), server.usage()?);
            drop(server);
            let cost = Cost {
                seconds,
                cpu_seconds: usage.cpu_seconds,
                peak_bytes: usage.peak_bytes,
                read_bytes: usage.read_bytes,
            };
            table.add(group, DEBUGINFOD, &work.figures(cost, Some(bytes_below(directory.path(), |_| true))));
        }
    }
    Ok(())
}

/// Reads all archives, so that they lie in the page cache.
fn read_all(directory: &Path) -> Result<()> {
    for archive in corpus::archives(directory)? {
        io::copy(&mut File::open(archive)?, &mut io::sink())?;
    }
    Ok(())
}

fn import(database: &str, directory: &Path) -> Command {
    let mut command = Command::new(program("darkserver-import"));
    command.env("DARKSERVER_DATABASE", database).arg("dir").arg(directory);
    command
}

/// The process id of a database server, and what it used so far.
pub(crate) fn server_usage(mariadb: &MariaDb) -> Result<(u32, Usage)> {
    let pid_file = mariadb.sql("select @@pid_file");
    let pid = std::fs::read_to_string(pid_file.trim())?.trim().parse()?;
    Ok((pid, Usage::of(pid)?))
}

/// What `read-headers` says.
#[derive(Deserialize)]
struct IndexCounts {
    artifacts: f64,
}

fn read_headers(directory: &Path) -> Result<(Cost, IndexCounts)> {
    let (cost, text) = Cost::of(Command::new(program("read-headers")).arg(directory))?;
    Ok((cost, serde_json::from_str(&text)?))
}

fn goals(works: &[ImportJob], empty: &mut ResultTable, unchanged: &mut ResultTable) {
    for work in works.iter().filter(|work| work.name.ends_with("x 1")) {
        let group = work.name.as_str();
        if work.has_payloads {
            empty.at_least(
                &format!("{group}: packages/s, times debuginfod's"),
                empty.ratio(group, SQLITE, DEBUGINFOD),
                400.0,
            );
        }
        let half = empty.median(group, HEADERS_ONLY, 1).map(|rate| (rate / 2.0).min(250_000.0));
        if let Some(half) = half {
            let text = format!("{group}: artifact rows/s on SQLite (half of the header-only rate, or 250,000)");
            empty.at_least(&text, empty.median(group, SQLITE, 1), half);
        }
        // Expectations of plain rows (docs/adr/0024), not limits.
        empty.at_most(&format!("{group}: bytes a build-id on SQLite"), empty.median(group, SQLITE, 6), 850.0);
        empty.at_most(&format!("{group}: bytes a build-id on InnoDB"), empty.median(group, MARIADB, 6), 1600.0);
        empty.at_most(&format!("{group}: peak MiB on SQLite"), empty.median(group, SQLITE, 5), 200.0);
        for system in [SQLITE, MARIADB] {
            unchanged.at_most(
                &format!("{group}: seconds with nothing changed, {system}"),
                unchanged.median(group, system, 2),
                2.0,
            );
        }
    }
}
