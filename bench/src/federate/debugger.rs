//! The case of 2026: GDB on a program with many shared libraries that no server knows, while one of three upstreams
//! hangs.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use compat_tests::compiled::succeed;
use compat_tests::darkserver::Sqlite;
use tempfile::TempDir;

use super::upstreams::{BlackHoles, Upstreams};
use super::{DEBUGINFOD, FederateOptions, federating};
use crate::table::ResultTable;

pub(super) const TITLE: &str = "GDB with 30 unknown shared libraries, three upstreams";
const COLUMNS: [&str; 4] = ["backtraces a minute", "s to the backtrace", "\"Download failed\"", "requests that hang"];
/// Of [`COLUMNS`].
const SECONDS: usize = 1;
const LIBRARIES: usize = 30;
const ONE_HANGS: &str = "one of three hangs";
const TWO_HEALTHY: &str = "two, both healthy";
const FIRST: &str = "darkserver, GDB's first run";
const SECOND: &str = "darkserver, GDB's second run";
const ALONE: &str = "GDB asks them itself";
/// Of whoever asks the upstreams, except for our gateway.
const TIMEOUT_SECONDS: u32 = 2;
/// GDB's default, for what is in front of the upstreams.
const GDB_TIMEOUT_SECONDS: u32 = 90;

pub(super) fn run(options: &FederateOptions) -> Result<ResultTable> {
    let debugged = Debugged::compile()?;
    let (empty, no_files) = (Sqlite::with_packages(&[]), tempfile::tempdir()?);
    let mut table = ResultTable::new(TITLE, &COLUMNS, &[ALONE]);
    for round in 0..options.rounds {
        for (group, hanging) in [(TWO_HEALTHY, 0), (ONE_HANGS, 1)] {
            println!("round {}: {TITLE}, {group}", round + 1);
            let (healthy, holes) = (Upstreams::start(2, &[])?, BlackHoles::start(hanging));
            let urls = [healthy.urls(), holes.urls()].concat();
            let mut backtrace = |system: &str, urls: &str, timeout: u32| -> Result<()> {
                let before = holes.requests();
                let run = debugged.backtrace(urls, timeout)?;
                let figures = [60.0 / run.seconds, run.seconds, run.failed as f64, (holes.requests() - before) as f64];
                table.add(group, system, &figures.map(Some));
                Ok(())
            };
            let gateway = federating::gateway(&empty.url(), "", &urls, "")?;
            for system in [FIRST, SECOND] {
                backtrace(system, &gateway.url(), GDB_TIMEOUT_SECONDS)?;
            }
            // Minutes if one hangs: once is enough.
            if hanging == 0 || options.size.has_gdb_alone() && round == 0 {
                backtrace(ALONE, &urls.join(" "), TIMEOUT_SECONDS)?;
                let debuginfod = federating::debuginfod(&urls, TIMEOUT_SECONDS, ("-F", no_files.path()))?;
                backtrace(DEBUGINFOD, &debuginfod.url(), GDB_TIMEOUT_SECONDS)?;
            }
        }
    }
    for (system, max) in [(FIRST, 8.0), (SECOND, 2.0)] {
        let found = table.median(ONE_HANGS, system, SECONDS);
        table.at_most(&format!("{ONE_HANGS}, {system}: seconds"), found, max);
    }
    Ok(table)
}

/// What a run of GDB took.
struct GdbRun {
    seconds: f64,
    /// Messages "Download failed" after a request. For a relative source path GDB prints one without a request.
    failed: usize,
}

/// A program whose calls go through all of its libraries to abort(3).
struct Debugged {
    directory: TempDir,
}

impl Debugged {
    fn compile() -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let at = directory.path();
        // A path with blanks would need quotes for the linker.
        let rpath = format!("-Wl,--no-as-needed,-rpath,{0},-rpath-link,{0}", at.display());
        for number in (0..LIBRARIES).rev() {
            let next = number + 1;
            let (text, library) = if next == LIBRARIES {
                (format!("#include <stdlib.h>\nint f{number}(int n) {{ if (n) abort(); return n; }}\n"), None)
            } else {
                (format!("int f{next}(int);\nint f{number}(int n) {{ return f{next}(n) + 1; }}\n"), Some(next))
            };
            let name = format!("lib{number}.so");
            compile(at, &text, &["-shared", "-fPIC", "-o", &name], library, &rpath)?;
        }
        compile(at, "int f0(int);\nint main(void) { return f0(1); }\n", &["-o", "program"], Some(0), &rpath)?;
        Ok(Self { directory })
    }

    /// Runs the program in GDB, which has an empty cache, up to its backtrace.
    fn backtrace(&self, urls: &str, timeout_seconds: u32) -> Result<GdbRun> {
        let home = tempfile::tempdir()?;
        let mut command = Command::new("gdb");
        command.args(["-nx", "-batch", "-iex", "set debuginfod enabled on", "-ex", "run", "-ex", "bt"]);
        command.arg(self.directory.path().join("program"));
        command.env("DEBUGINFOD_URLS", urls).env("DEBUGINFOD_TIMEOUT", timeout_seconds.to_string());
        command.env("DEBUGINFOD_CACHE_PATH", home.path().join("cache")).env("HOME", home.path());
        let started = Instant::now();
        let output = command.output().context("start gdb (make bench installs it)")?;
        let seconds = started.elapsed().as_secs_f64();
        let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        for frame in ["in f0 (", "in main ("] {
            ensure!(said.contains(frame), "GDB: expected the frame {frame:?} in:\n{said}");
        }
        let is_failure = |line: &&str| line.contains("Download failed") && !line.contains("without source file");
        Ok(GdbRun { seconds, failed: said.lines().filter(is_failure).count() })
    }
}

fn compile(directory: &Path, text: &str, options: &[&str], library: Option<usize>, rpath: &str) -> Result<()> {
    fs::write(directory.join("source.c"), text)?;
    let mut command = Command::new("cc");
    command.args(["-Wl,--build-id=sha1", "source.c"]).args(options).current_dir(directory);
    if let Some(library) = library {
        command.args([rpath, "-L.", &format!("-l{library}")]);
    }
    succeed(&mut command, "gcc");
    Ok(())
}
