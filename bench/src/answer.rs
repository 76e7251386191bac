//! Requests per second, and latencies at half of the highest rate.

use std::path::Path;

use anyhow::{Context, Result};
use artifact::Kind;
use compat_tests::darkserver::{Sqlite, import_ok};
use compat_tests::mariadb::MariaDb;

use crate::corpus::CorpusMember;
use crate::load::{self, LoadPaths};
use crate::servers::BenchServer;
use crate::table::ResultTable;
use crate::{Options, corpus, report};

const COLUMNS: [&str; 4] = ["requests/s", "p50 ms at half", "p99 ms at half", "CPU us a request"];
const CONNECTIONS: [usize; 3] = [1, 16, 128];
const CONSTANT: &str = "constant handler";
const DEBUGINFOD: &str = "debuginfod";
const SQLITE: &str = "darkserver, SQLite";
const MARIADB: &str = "darkserver, MariaDB";
/// Nothing that was asked before is remembered for long.
const UNCACHED: &str = "[index]\nmax_entries = 1\nfound_ttl = \"1ms\"\nabsent_ttl = \"1ms\"\n";
/// Bytes of a small file.
const SMALL: u64 = 64 << 10;
/// How many small files are asked for in turn.
const MANY: usize = 500;
/// How many cached build-ids are asked for in turn.
const CACHED: usize = 1000;
/// How many build-ids are asked for in turn that are not cached.
const UNCACHED_HITS: usize = 100_000;

/// One question, and who is asked it.
struct Case<'a> {
    title: &'static str,
    paths: LoadPaths,
    is_found: bool,
    systems: Vec<(&'static str, &'a BenchServer)>,
    /// A path whose answer the constant handler gives.
    like: String,
    warm: bool,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    let real = corpus::members(&corpus::archives(&options.rpms)?)?;
    let generated = corpus::members(&corpus::archives(&options.headers)?)?;
    println!("importing {} build-ids and kinds", real.len() + generated.len());
    let directories = [options.rpms.as_path(), options.headers.as_path()];
    let sqlite = Sqlite::with_packages(&directories);
    let mariadb = MariaDb::start();
    let on_mariadb = mariadb_index(&mariadb, &directories)?;
    let gateway = BenchServer::gateway(&sqlite.url(), "")?;
    let uncached = [BenchServer::gateway(&sqlite.url(), UNCACHED)?, BenchServer::gateway(&on_mariadb, UNCACHED)?];
    let scratch = tempfile::tempdir()?;
    println!("debuginfod scans");
    let debuginfod = BenchServer::debuginfod(&options.rpms, &scratch.path().join("index.sqlite"), 1800)?;

    let mut files: Vec<&CorpusMember> =
        real.iter().filter(|member| member.kind == Kind::Debuginfo && member.size < SMALL).collect();
    files.sort_by_key(|member| member.size);
    let small: Vec<String> = files.iter().map(|member| member.url_path()).take(MANY).collect();
    let middle = files.get(files.len() / 2).context("a debuginfo file of less than 64 KiB")?.url_path();
    let one = json(&generated, 1);
    let missing = "00000000000000000000000000000000000000ff";
    let cases = [
        Case {
            title: "/buildids/, cached hit",
            like: one[0].clone(),
            paths: LoadPaths::Listed(json(&generated, CACHED)),
            is_found: true,
            systems: vec![(SQLITE, &gateway)],
            warm: true,
        },
        Case {
            title: "/buildids/, uncached hit",
            like: one[0].clone(),
            paths: LoadPaths::Listed(json(&generated, UNCACHED_HITS)),
            is_found: true,
            systems: vec![(SQLITE, &uncached[0]), (MARIADB, &uncached[1])],
            warm: false,
        },
        Case {
            title: "/buildids/, miss, all different",
            like: format!("/buildids/{missing}"),
            paths: LoadPaths::Unknown("/buildids/", ""),
            is_found: true,
            systems: vec![(SQLITE, &gateway), (MARIADB, &uncached[1])],
            warm: false,
        },
        Case {
            title: "/buildid/ID/debuginfo, one small warm file",
            like: middle.clone(),
            paths: LoadPaths::Listed(vec![middle]),
            is_found: true,
            systems: vec![(SQLITE, &gateway), (DEBUGINFOD, &debuginfod)],
            warm: true,
        },
        Case {
            title: "/buildid/ID/debuginfo, many small warm files",
            like: small[small.len() / 2].clone(),
            paths: LoadPaths::Listed(small),
            is_found: true,
            systems: vec![(SQLITE, &gateway), (DEBUGINFOD, &debuginfod)],
            warm: true,
        },
        Case {
            title: "/buildid/ID/debuginfo, miss, all different",
            like: format!("/buildid/{missing}/debuginfo"),
            paths: LoadPaths::Unknown("/buildid/", "/debuginfo"),
            is_found: false,
            systems: vec![(SQLITE, &gateway), (DEBUGINFOD, &debuginfod)],
            warm: false,
        },
        Case {
            title: "/buildid/ID/debuginfo, miss, the same again",
            like: format!("/buildid/{missing}/debuginfo"),
            paths: LoadPaths::Listed(vec![format!("/buildid/{missing}/debuginfo")]),
            is_found: false,
            systems: vec![(SQLITE, &gateway), (DEBUGINFOD, &debuginfod)],
            warm: false,
        },
        Case {
            title: "/metrics",
            like: "/metrics".into(),
            paths: LoadPaths::Listed(vec!["/metrics".into()]),
            is_found: true,
            systems: vec![(SQLITE, &gateway), (DEBUGINFOD, &debuginfod)],
            warm: false,
        },
    ];
    let mut tables = Vec::new();
    for case in cases.iter().filter(|case| case.title.contains(&options.only)) {
        tables.push(measure(case, options)?);
    }
    tables.extend(growth(options, &generated)?);
    report::publish(&options.results, "answer", "make bench-answer", &tables)
}

/// Questions for at most `max` members, in the order of their build-ids: in that of the archives, consecutive questions
/// would be for the same package.
fn json(members: &[CorpusMember], max: usize) -> Vec<String> {
    let every = (members.len() / max).max(1);
    let mut paths: Vec<String> =
        members.iter().step_by(every).take(max).map(|member| format!("/buildids/{}", member.build_id)).collect();
    paths.sort();
    paths
}

fn mariadb_index(mariadb: &MariaDb, directories: &[&Path]) -> Result<String> {
    mariadb.create_database("bench");
    let database = mariadb.url("bench");
    import_ok(&database, &["migrate"]);
    for directory in directories {
        import_ok(&database, &["dir", directory.to_str().context("a UTF-8 path")?]);
    }
    Ok(database)
}

fn measure(case: &Case<'_>, options: &Options) -> Result<ResultTable> {
    let mut table = ResultTable::new(case.title, &COLUMNS, &[CONSTANT, DEBUGINFOD]);
    let constant = BenchServer::constant(case.systems[0].1, &case.like)?;
    if let (true, LoadPaths::Listed(paths)) = (case.warm, &case.paths) {
        for (_, server) in &case.systems {
            load::warm(server, paths)?;
        }
    }
    for round in 0..options.rounds {
        for connections in CONNECTIONS {
            for (system, server) in case.systems.iter().copied().chain([(CONSTANT, &constant)]) {
                println!("round {}: {}, {connections} connections, {system}", round + 1, case.title);
                let found = load::run(server, &case.paths, case.is_found, connections, options.load_time())?;
                let figures = [found.rate, found.p50, found.p99, found.cpu].map(Some);
                table.add(&format!("{connections} connections"), system, &figures);
            }
        }
    }
    for connections in CONNECTIONS {
        let group = format!("{connections} connections");
        let is_cached =
            case.title.contains("cached hit") && !case.title.contains("uncached") || case.title.contains("miss");
        if is_cached {
            table.at_least(
                &format!("{group}: of the constant handler's rate"),
                table.ratio(&group, SQLITE, CONSTANT),
                0.9,
            );
        }
        if case.title.contains("debuginfo") {
            table.at_least(&format!("{group}: times debuginfod's rate"), table.ratio(&group, SQLITE, DEBUGINFOD), 10.0);
        }
    }
    Ok(table)
}

/// The cost of a request when the index is a quarter, a half and the whole of what it was.
fn growth(options: &Options, all: &[CorpusMember]) -> Result<Option<ResultTable>> {
    const TITLE: &str = "Growth: /buildids/ on 1/4, 1/2 and 1 of the index, uncached";
    if !TITLE.contains(&options.only) {
        return Ok(None);
    }
    let archives = corpus::archives(&options.headers)?;
    let scratch = tempfile::tempdir_in(options.headers.parent().context("a directory above the generated headers")?)?;
    let mut table = ResultTable::new(TITLE, &COLUMNS, &[]);
    let mut parts = Vec::new();
    for (share, every) in [("1/4", 4), ("1/2", 2), ("1", 1)] {
        let directory = scratch.path().join(share.replace('/', "-"));
        corpus::part(&archives, every, &directory)?;
        let sqlite = Sqlite::with_packages(&[&directory]);
        let gateway = BenchServer::gateway(&sqlite.url(), UNCACHED)?;
        parts.push((share, sqlite, gateway, corpus::members(&corpus::archives(&directory)?)?));
    }
    for round in 0..options.rounds {
        for (share, _index, gateway, members) in &parts {
            println!("round {}: growth, {share} of {} build-ids and kinds", round + 1, all.len());
            let hits = LoadPaths::Listed(json(members, UNCACHED_HITS));
            for (what, paths) in [("hit", &hits), ("miss", &LoadPaths::Unknown("/buildids/", ""))] {
                let found = load::run(gateway, paths, true, 16, options.load_time())?;
                let figures = [found.rate, found.p50, found.p99, found.cpu].map(Some);
                table.add(what, &format!("{share} of the index"), &figures);
            }
        }
    }
    for what in ["hit", "miss"] {
        table.at_least(
            &format!("{what}: rate at 1 to that at 1/4"),
            table.ratio(what, "1 of the index", "1/4 of the index"),
            0.8,
        );
    }
    Ok(Some(table))
}
