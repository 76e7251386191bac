//! Sections of large and medium files. GDB requests `.gdb_index` before it requests the whole file.

use std::time::Instant;

use anyhow::{Context, Result, ensure};
use compat_tests::darkserver::Sqlite;
use compat_tests::http;

use crate::corpus::CorpusMember;
use crate::servers::BenchServer;
use crate::table::ResultTable;
use crate::{Options, corpus};

/// The number of sequential requests after the first one.
const WARM_REQUESTS: u32 = 20;
/// The maximum number of files that are searched for one with an index for GDB.
const MAX_TRIED_FILES: usize = 60;

/// The maximum size of such a file.
const MAX_INDEXED_BYTES: u64 = 2_100_000;

const COLUMNS: [&str; 4] = ["sections/s, warm", "ms, cold", "ms, warm", "KB of the section"];
/// The index in [`COLUMNS`].
const MS_WARM: usize = 2;
const DARKSERVER: &str = "darkserver";
const DEBUGINFOD: &str = "debuginfod";

/// A section that is requested.
struct RequestedSection<'m> {
    member: &'m CorpusMember,
    name: &'static str,
}

impl RequestedSection<'_> {
    fn group(&self) -> String {
        format!("{} of {:.0} MB", self.name, self.member.size as f64 / 1e6)
    }

    fn path(&self) -> String {
        format!("/buildid/{}/section/{}", self.member.build_id, self.name)
    }
}

/// Measures the line tables of `works`, and the index for GDB of the largest medium file that has one.
pub(crate) fn run(options: &Options, works: &[&CorpusMember], members: &[CorpusMember]) -> Result<ResultTable> {
    let mut wanted: Vec<RequestedSection<'_>> =
        works.iter().map(|member| RequestedSection { member, name: ".debug_line" }).collect();
    let index = Sqlite::with_packages(&[&options.rpms]);
    let gateway = BenchServer::gateway(&index.url(), "")?;
    for member in members.iter().rev().filter(|member| member.size <= MAX_INDEXED_BYTES).take(MAX_TRIED_FILES) {
        let section = RequestedSection { member, name: ".gdb_index" };
        if http::get(gateway.port, &section.path()).context("GET")?.status == 200 {
            wanted.push(section);
            break;
        }
    }
    drop(gateway);
    let scratch = tempfile::tempdir_in(options.rpms.parent().context("a directory above the RPMs")?)?;
    let (directory, database) = (scratch.path().join("rpms"), scratch.path().join("debuginfod.sqlite"));
    corpus::link(wanted.iter().map(|section| section.member), &directory)?;
    let index = Sqlite::with_packages(&[&directory]);
    drop(BenchServer::debuginfod(&directory, &database, 1800)?);
    let mut table = ResultTable::new("Sections", &COLUMNS, &[DEBUGINFOD]);
    for round in 0..options.rounds {
        for section in &wanted {
            println!("round {}: {}", round + 1, section.group());
            // Both servers start with empty caches.
            let darkserver = BenchServer::gateway(&index.url(), "")?;
            measure(&mut table, section, &darkserver, &BenchServer::debuginfod(&directory, &database, 1800)?)?;
        }
    }
    for section in &wanted {
        let group = section.group();
        let ratio = table.ratio(&group, DARKSERVER, DEBUGINFOD);
        table.at_least(&format!("{group}, warm: times debuginfod's rate"), ratio, 10.0);
        if section.name == ".gdb_index" {
            table.at_most(&format!("{group}, warm: ms"), table.median(&group, DARKSERVER, MS_WARM), 2.0);
        }
    }
    Ok(table)
}

/// Sends the same requests to both servers and fails unless they give the same bytes.
fn measure(
    table: &mut ResultTable,
    section: &RequestedSection<'_>,
    darkserver: &BenchServer,
    debuginfod: &BenchServer,
) -> Result<()> {
    let (path, mut bodies) = (section.path(), Vec::new());
    for (system, server) in [(DARKSERVER, darkserver), (DEBUGINFOD, debuginfod)] {
        let ask = || -> Result<(f64, Vec<u8>)> {
            let began = Instant::now();
            let answer = http::get(server.port, &path).with_context(|| format!("GET {path}"))?;
            ensure!(answer.status == 200, "{system} {path}: expected 200, found {}", answer.status);
            Ok((began.elapsed().as_secs_f64(), answer.body))
        };
        let (cold, body) = ask()?;
        let mut warm = 0.0;
        for _ in 0..WARM_REQUESTS {
            warm += ask()?.0 / f64::from(WARM_REQUESTS);
        }
        table.add(&section.group(), system, &[1.0 / warm, cold * 1e3, warm * 1e3, body.len() as f64 / 1e3].map(Some));
        bodies.push(body);
    }
    ensure!(bodies[0] == bodies[1], "{path}: expected the same bytes of both");
    Ok(())
}
