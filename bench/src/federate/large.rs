//! A large file: directly from its upstream, and through servers in front of it, at the first time and again.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use compat_tests::compiled::{Program, succeed};
use compat_tests::darkserver::{Sqlite, import_ok};
use tempfile::TempDir;

use super::{DEBUGINFOD, FederateOptions, REDIRECT, RELAY, federating};
use crate::download::{COLUMNS, Download};
use crate::servers::BenchServer;
use crate::table::ResultTable;

pub(super) const TITLE: &str = "A large file of one upstream";
const DIRECT: &str = "the upstream directly";
/// debuginfod's default.
const TIMEOUT_SECONDS: u32 = 90;

pub(super) fn run(options: &FederateOptions) -> Result<ResultTable> {
    let file = LargeFile::make(options.size.large_file())?;
    let index = Sqlite::empty();
    import_ok(&index.url(), &["dir", file.path()?, "--formats", "elf"]);
    let no_files = tempfile::tempdir()?;
    let empty = Sqlite::with_packages(&[]);
    let database = no_files.path().join("upstream.sqlite");
    let upstreams = [
        ("a darkserver has it", BenchServer::gateway(&index.url(), "")?),
        ("a debuginfod has it", BenchServer::debuginfod_with(&[], "-F", file.directory.path(), Some(&database), 600)?),
    ];
    let mut table = ResultTable::new(TITLE, &COLUMNS, &[DIRECT, DEBUGINFOD]);
    let url_path = format!("/buildid/{}/debuginfo", file.build_id);
    for round in 0..options.rounds {
        for (has_it, upstream) in &upstreams {
            println!("round {}: {TITLE}, {has_it}", round + 1);
            let mut fetch = |group: &str, system: &str, server: &BenchServer| -> Result<()> {
                let fetched = Download::fetch(server, &url_path, file.size).with_context(|| system.to_owned())?;
                table.add(group, system, &fetched.figures());
                Ok(())
            };
            let (first, again) = (format!("{has_it}, first"), format!("{has_it}, again"));
            // Once more, so that its file is in the page cache, and in the cache of a darkserver.
            Download::fetch(upstream, &url_path, file.size)?;
            fetch(&first, DIRECT, upstream)?;
            fetch(&again, DIRECT, upstream)?;
            let urls = [upstream.url()];
            for (system, server) in [
                (REDIRECT, federating::gateway(&empty.url(), "", &urls, "mode = \"redirect\"")?),
                (RELAY, federating::gateway(&empty.url(), "", &urls, "mode = \"relay\"")?),
                (DEBUGINFOD, federating::debuginfod(&urls, TIMEOUT_SECONDS, ("-F", no_files.path()))?),
            ] {
                fetch(&first, system, &server)?;
                fetch(&again, system, &server)?;
            }
        }
    }
    for (has_it, _) in &upstreams {
        for system in [REDIRECT, RELAY] {
            let first = format!("{has_it}, first");
            table.at_least(
                &format!("{first}, {system}: times the upstream's own rate"),
                table.ratio(&first, system, DIRECT),
                0.8,
            );
        }
    }
    Ok(table)
}

/// A debug file of which most is a section that does not compress, in a directory of its own.
struct LargeFile {
    directory: TempDir,
    build_id: String,
    size: u64,
}

impl LargeFile {
    fn make(data_bytes: u64) -> Result<Self> {
        let library = Program::compile_library("large", "/usr/src/large");
        let (directory, scratch) = (tempfile::tempdir()?, tempfile::tempdir()?);
        let (data, file) = (scratch.path().join("data"), directory.path().join("large.debug"));
        copy_random(&data, data_bytes)?;
        let mut section = std::ffi::OsString::from(".debug_bench=");
        section.push(&data);
        succeed(Command::new("objcopy").arg("--add-section").arg(section).arg(library.debug()).arg(&file), "binutils");
        let size = std::fs::metadata(&file)?.len();
        Ok(Self { directory, build_id: library.build_id, size })
    }

    fn path(&self) -> Result<&str> {
        self.directory.path().to_str().context("a UTF-8 path")
    }
}

fn copy_random(into: &Path, bytes: u64) -> Result<()> {
    let mut random = std::io::Read::take(std::fs::File::open("/dev/urandom")?, bytes);
    std::io::copy(&mut random, &mut std::fs::File::create(into)?)?;
    Ok(())
}
