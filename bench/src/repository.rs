//! From a repository behind HTTP to an index: headers or metadata alone, then nothing changed; and one question, beside
//! `dnf repoquery`.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use clap::Args;
use compat_tests::http;
use compat_tests::mariadb::MariaDb;
use compat_tests::programs::program;
use serde::Deserialize;

use crate::cost::{Cost, Usage};
use crate::index::server_usage;
use crate::load::bytes_below;
use crate::report;
use crate::servers::{BenchServer, Sent};
use crate::table::ResultTable;

/// The parts of the repository, as the program `headers` names them.
const PARTS: [&str; 3] = ["1-4", "1-2", "1"];
const COLUMNS: [&str; 7] =
    ["packages/s", "seconds", "CPU s", "peak MiB", "MiB fetched", "requests", "index bytes a build-id"];
/// Of [`COLUMNS`].
const SECONDS: usize = 1;
/// Of [`COLUMNS`].
const PEAK: usize = 3;
const SQLITE: &str = "darkserver, SQLite";
const MARIADB: &str = "darkserver, MariaDB";
const DNF: &str = "dnf repoquery";
const MIB: f64 = 1024.0 * 1024.0;
/// From this many packages on the figures have goals.
const LARGE: u64 = 70_000;

/// What this bench takes.
#[derive(Args)]
pub(crate) struct RepositoryOptions {
    /// Directory of generated repositories (headers --repository).
    #[arg(long, value_name = "DIR")]
    repository: PathBuf,
    /// How often everything is done; figures are medians.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Where to write results.
    #[arg(long, value_name = "DIR", default_value = "bench/results")]
    results: PathBuf,
}

/// What `repository.json` states.
#[derive(Deserialize)]
struct Facts {
    packages: u64,
    build_ids: u64,
    debug_link: String,
}

/// A generated repository.
struct Part {
    name: &'static str,
    facts: Facts,
}

/// The tables of imports.
struct Imports {
    headers: ResultTable,
    metadata: ResultTable,
    unchanged: ResultTable,
}

/// An empty index.
struct Index<'a> {
    system: &'static str,
    url: String,
    /// The directory of its files.
    files: PathBuf,
    server: Option<&'a MariaDb>,
}

pub(crate) fn run(options: &RepositoryOptions) -> Result<()> {
    let parts = PARTS.iter().map(|name| Part::read(&options.repository, name)).collect::<Result<Vec<_>>>()?;
    let server = BenchServer::files_counted(&options.repository)?;
    let mariadb = MariaDb::start();
    let mut imports = Imports {
        headers: ResultTable::new("Headers, from empty", &COLUMNS, &[]),
        metadata: ResultTable::new("Metadata only, from empty", &COLUMNS, &[]),
        unchanged: ResultTable::new("Nothing changed", &COLUMNS, &[]),
    };
    let mut question =
        ResultTable::new("Which package has this debug file?", &["seconds", "KiB fetched", "peak MiB"], &[]);
    for round in 0..options.rounds {
        for part in &parts {
            println!("round {}: {}", round + 1, part.group());
            measure_imports(part, &server, &mariadb, &mut imports)?;
        }
        if let Some(part) = parts.last() {
            println!("round {}: one question", round + 1);
            ask_dnf(part, &server, &mut question)?;
            ask_gateway(part, &server, &mut question, "darkserver, headers", &[])?;
            ask_gateway(part, &server, &mut question, "darkserver, metadata only", &["--metadata-only"])?;
        }
    }
    let Imports { mut headers, mut metadata, mut unchanged } = imports;
    for part in parts.iter().filter(|part| part.facts.packages >= LARGE) {
        let group = part.group();
        for (system, seconds) in [(SQLITE, 120.0), (MARIADB, 180.0)] {
            headers.at_most(&format!("{system}: seconds"), headers.median(&group, system, SECONDS), seconds);
            metadata.at_most(&format!("{system}: seconds"), metadata.median(&group, system, SECONDS), 30.0);
            unchanged.at_most(&format!("{system}: seconds"), unchanged.median(&group, system, SECONDS), 1.0);
            for table in [&mut headers, &mut metadata] {
                table.at_most(&format!("{system}: peak MiB"), table.median(&group, system, PEAK), 300.0);
            }
        }
    }
    let command = format!("make bench-repository PACKAGES={}", parts.last().map_or(0, |part| part.facts.packages));
    report::publish(&options.results, "repository", &command, &[headers, metadata, unchanged, question])
}

impl Part {
    fn read(directory: &Path, name: &'static str) -> Result<Self> {
        let path = directory.join(name).join("repository.json");
        let text = std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        Ok(Self { name, facts: serde_json::from_str(&text).with_context(|| path.display().to_string())? })
    }

    fn group(&self) -> String {
        format!("{} packages, {} build-ids", self.facts.packages, self.facts.build_ids)
    }

    /// The build-id of its debug file.
    fn build_id(&self) -> Result<String> {
        let link = &self.facts.debug_link;
        let digits = link.strip_prefix("/usr/lib/debug/.build-id/").and_then(|link| link.strip_suffix(".debug"));
        Ok(digits.with_context(|| format!("expected a link to a debug file, found {link}"))?.replace('/', ""))
    }
}

impl Index<'_> {
    fn import(&self, part: &Part, server: &BenchServer, arguments: &[&str]) -> Result<[Option<f64>; 7]> {
        let (before, used_before) = (server.sent()?, self.server.map(server_usage).transpose()?);
        let mut command = Command::new(program("darkserver-import"));
        let url = format!("{}/{}/", server.url(), part.name);
        command.env("DARKSERVER_DATABASE", &self.url).args(["repo", &url, "--name", "bench", "--quiet"]);
        let (mut cost, _) = Cost::of(command.args(arguments))?;
        if let Some((pid, before)) = used_before {
            cost.cpu_seconds += Usage::of(pid)?.cpu_seconds - before.cpu_seconds;
        }
        let Sent { bytes, requests } = server.sent()?.since(before);
        Ok([
            Some(part.facts.packages as f64 / cost.seconds),
            Some(cost.seconds),
            Some(cost.cpu_seconds),
            Some(cost.peak_bytes / MIB),
            Some(bytes / MIB),
            Some(requests),
            Some(bytes_below(&self.files, |_| true) as f64 / part.facts.build_ids as f64),
        ])
    }

    /// Imports the headers and then what has not changed.
    fn measure_headers(&self, part: &Part, server: &BenchServer, imports: &mut Imports) -> Result<()> {
        let group = part.group();
        imports.headers.add(&group, self.system, &self.import(part, server, &[])?);
        imports.unchanged.add(&group, self.system, &self.import(part, server, &[])?);
        Ok(())
    }

    fn measure_metadata(&self, part: &Part, server: &BenchServer, imports: &mut Imports) -> Result<()> {
        imports.metadata.add(&part.group(), self.system, &self.import(part, server, &["--metadata-only"])?);
        Ok(())
    }
}

fn measure_imports(part: &Part, server: &BenchServer, mariadb: &MariaDb, imports: &mut Imports) -> Result<()> {
    for measure in [Index::measure_headers, Index::measure_metadata] {
        let directory = tempfile::tempdir()?;
        let (url, files) = (sqlite_url(directory.path()), directory.path().to_owned());
        measure(&Index { system: SQLITE, url, files, server: None }, part, server, imports)?;

        mariadb.create_database("bench");
        let url = mariadb.url("bench");
        compat_tests::darkserver::import_ok(&url, &["migrate"]);
        let files = PathBuf::from(mariadb.sql("select @@datadir").trim()).join("bench");
        measure(&Index { system: MARIADB, url, files, server: Some(mariadb) }, part, server, imports)?;
        mariadb.sql("drop database bench");
    }
    Ok(())
}

fn sqlite_url(directory: &Path) -> String {
    format!("sqlite:{}", directory.join("index.db").display())
}

/// Asks dnf for the package of a debug file: with an empty cache, and with the repository's metadata in it.
fn ask_dnf(part: &Part, server: &BenchServer, table: &mut ResultTable) -> Result<()> {
    let directory = tempfile::tempdir()?;
    let repository = format!("bench,{}/{}/", server.url(), part.name);
    for state in ["cold", "warm"] {
        let before = server.sent()?;
        let mut command = Command::new("dnf");
        command.args(["--quiet", "--repofrompath", &repository, "--repoid", "bench", "--releasever", "1"]);
        command.arg(format!("--setopt=cachedir={}", directory.path().display()));
        command.args(["repoquery", "--file", &part.facts.debug_link]);
        let (cost, found) = Cost::of(&mut command).context("dnf (make install-tools)")?;
        ensure!(found.contains("-debuginfo-"), "dnf repoquery: expected a debuginfo package, found {found:?}");
        let bytes = server.sent()?.since(before).bytes;
        table.add(state, DNF, &[Some(cost.seconds), Some(bytes / 1024.0), Some(cost.peak_bytes / MIB)]);
    }
    Ok(())
}

/// Asks a gateway for the packages of the same build-id: as its first request, and again. `arguments` are those of the
/// import.
fn ask_gateway(
    part: &Part,
    server: &BenchServer,
    table: &mut ResultTable,
    system: &str,
    arguments: &[&str],
) -> Result<()> {
    let directory = tempfile::tempdir()?;
    let (url, files) = (sqlite_url(directory.path()), directory.path().to_owned());
    Index { system: SQLITE, url: url.clone(), files, server: None }.import(part, server, arguments)?;
    let gateway = BenchServer::gateway(&url, "")?;
    let path = format!("/buildids/{}", part.build_id()?);
    for state in ["cold", "warm"] {
        let started = Instant::now();
        let answer = http::get(gateway.port, &path).with_context(|| format!("GET {path}"))?;
        let seconds = started.elapsed().as_secs_f64();
        ensure!(answer.text().contains("-debuginfo-"), "{path}: expected a package, found {}", answer.text());
        let peak = gateway.usage()?.peak_bytes / MIB;
        table.add(state, system, &[Some(seconds), Some(answer.body.len() as f64 / 1024.0), Some(peak)]);
    }
    Ok(())
}
