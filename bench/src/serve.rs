//! Large members: time to the first byte and to the last, CPU, memory; cold and warm.

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result};
use artifact::Kind;
use compat_tests::darkserver::Sqlite;

use crate::corpus::CorpusMember;
use crate::cost::Cost;
use crate::download::{COLUMNS, CPU_OF_A_GB, Download};
use crate::load::{self, LoadPaths};
use crate::servers::BenchServer;
use crate::table::ResultTable;
use crate::{Options, corpus, report, sections};

/// Bytes of a small file.
const SMALL: u64 = 64 << 10;
/// How many small files are asked for at most.
const FILES: usize = 1000;
const DARKSERVER: &str = "darkserver";
const DEBUGINFOD: &str = "debuginfod";
const NGINX: &str = "nginx, a plain file";
const BSDTAR: &str = "bsdtar, to /dev/null";

pub(crate) fn run(options: &Options) -> Result<()> {
    let archives = corpus::archives(&options.rpms)?;
    let mut members = corpus::members(&archives)?;
    members.retain(|member| member.kind == Kind::Debuginfo);
    members.sort_by_key(|member| member.size);
    let largest = members.last().context("a debuginfo file")?.size;
    // The largest, and those nearest to a half, a quarter and a sixteenth of it.
    let works: Vec<&CorpusMember> = [1, 2, 4, 16]
        .into_iter()
        .filter_map(|part| members.iter().min_by_key(|member| member.size.abs_diff(largest / part)))
        .collect();

    // Each in a directory of its own: debuginfod scans what it is given.
    let scratch = tempfile::tempdir_in(options.rpms.parent().context("a directory above the RPMs")?)?;
    let directory = scratch.path().join("rpms");
    corpus::link(works.iter().copied(), &directory)?;
    let index = Sqlite::with_packages(&[&directory]);
    let database = scratch.path().join("debuginfod.sqlite");
    drop(BenchServer::debuginfod(&directory, &database, 1800)?);

    let mut cold = ResultTable::new("Cold members", &COLUMNS, &[DEBUGINFOD, BSDTAR]);
    let mut warm = ResultTable::new("Warm members", &COLUMNS, &[DEBUGINFOD, NGINX]);
    for round in 0..options.rounds {
        for member in &works {
            let group = format!("{} MB", member.size / 1_000_000);
            println!("round {}: {group}", round + 1);
            // Servers that know nothing yet: the first time is cold, the next are warm.
            for (system, server) in [
                (DARKSERVER, BenchServer::gateway(&index.url(), "")?),
                (DEBUGINFOD, BenchServer::debuginfod(&directory, &database, 1800)?),
            ] {
                fetch(&server, member, &mut cold, &group, system)?;
                for _ in 0..3 {
                    fetch(&server, member, &mut warm, &group, system)?;
                }
            }
            let (extracted, cost) = extract(member, &scratch.path().join("plain"))?;
            cold.add(&group, BSDTAR, &Download::of_a_program(member.size, &cost).figures());
            let server = BenchServer::files(extracted.parent().context("a directory")?)?;
            for _ in 0..3 {
                fetch_from(&server, "/plain", member, &mut warm, &group, NGINX)?;
            }
        }
    }
    // What a gigabyte costs must not grow with the member it is a part of. (Cold, it depends on where in its archive a
    // member lies.)
    let group = |member: &CorpusMember| format!("{} MB", member.size / 1_000_000);
    if let [largest, _, quarter, ..] = works[..]
        && let (Some(large), Some(small)) = (
            warm.median(&group(largest), DARKSERVER, CPU_OF_A_GB),
            warm.median(&group(quarter), DARKSERVER, CPU_OF_A_GB),
        )
    {
        warm.at_most("CPU a GB, warm: of the largest member to that of a quarter of it", Some(large / small), 1.5);
    }
    for member in &works {
        let group = group(member);
        cold.at_least(
            &format!("{group}, cold: times debuginfod's rate"),
            cold.ratio(&group, DARKSERVER, DEBUGINFOD),
            1.0,
        );
        warm.at_least(
            &format!("{group}, warm: times debuginfod's rate"),
            warm.ratio(&group, DARKSERVER, DEBUGINFOD),
            1.0,
        );
    }
    let sections = sections::run(options, &works, &members)?;
    report::publish(&options.results, "serve", "make bench-serve", &[cold, warm, sections, growth(options, &members)?])
}

/// What a small file costs, cold and warm, when a quarter, a half and the whole of the files are in the cache.
fn growth(options: &Options, members: &[CorpusMember]) -> Result<ResultTable> {
    let columns = ["requests/s", "p50 ms at half", "p99 ms at half", "CPU us a request"];
    let mut table = ResultTable::new("Growth: small files, 1/4, 1/2 and 1 of them in the cache", &columns, &[]);
    let mut files: Vec<&CorpusMember> = members.iter().filter(|member| member.size < SMALL).collect();
    files.sort_by_key(|member| &member.build_id);
    let paths: Vec<String> = files.iter().map(|member| member.url_path()).take(FILES).collect();
    let index = Sqlite::with_packages(&[&options.rpms]);
    for round in 0..options.rounds {
        for (share, parts) in [("1/4", 4), ("1/2", 2), ("1", 1)] {
            println!("round {}: growth, {share} of {} files", round + 1, paths.len());
            let (server, system) = (BenchServer::gateway(&index.url(), "")?, format!("{share} of the files"));
            let part = &paths[..paths.len() / parts];
            let (before, started) = (server.usage()?, Instant::now());
            load::warm(&server, part)?;
            let (seconds, count) = (started.elapsed().as_secs_f64(), part.len() as f64);
            let cpu = (server.usage()?.cpu_seconds - before.cpu_seconds) * 1e6 / count;
            table.add("cold, one after the other", &system, &[Some(count / seconds), None, None, Some(cpu)]);
            let found = load::run(&server, &LoadPaths::Listed(part.to_vec()), true, 16, options.load_time())?;
            table.add("warm, 16 connections", &system, &[found.rate, found.p50, found.p99, found.cpu].map(Some));
        }
    }
    for group in ["cold, one after the other", "warm, 16 connections"] {
        let ratio = table.ratio(group, "1 of the files", "1/4 of the files");
        table.at_least(&format!("{group}: rate at 1 to that at 1/4"), ratio, 0.8);
    }
    Ok(table)
}

fn fetch(
    server: &BenchServer,
    member: &CorpusMember,
    table: &mut ResultTable,
    group: &str,
    system: &str,
) -> Result<()> {
    fetch_from(server, &member.url_path(), member, table, group, system)
}

/// One download by curl, of which nothing is kept.
fn fetch_from(
    server: &BenchServer,
    path: &str,
    member: &CorpusMember,
    table: &mut ResultTable,
    group: &str,
    system: &str,
) -> Result<()> {
    let fetched = Download::fetch(server, path, member.size)?;
    table.add(group, system, &fetched.figures());
    Ok(())
}

/// What the machine itself needs: the archive's decompressor up to the member, into nothing; and the member as a plain
/// file.
fn extract(member: &CorpusMember, into: &Path) -> Result<(std::path::PathBuf, Cost)> {
    let name = format!(".{}", member.path);
    let tar = |target: &str| {
        let mut command = Command::new("sh");
        command.args(["-c", &format!("exec bsdtar -xOf \"$0\" -q \"$1\" > {target}")]).arg(&member.archive).arg(&name);
        command
    };
    let (cost, _) = Cost::of(&mut tar("/dev/null"))?;
    let (_, _) = Cost::of(&mut tar(&format!("'{}'", into.display())))?;
    Ok((into.to_owned(), cost))
}
