//! kill -9 of the program at any moment of its life.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use crate::crash_points::Chance;
use crate::import_process::{Running, command, length, run_ok};
use crate::locked_index::{Kind, assert_same, dump};
use crate::support::{ImportFixture, many_packages};

/// Packages at first, and after the directory has changed.
const PACKAGES: (usize, usize) = (200, 260);

/// Every directory is a store with an import of its own, so that a run is a long row of transactions of every kind.
fn directories(packages: &Path) -> Vec<String> {
    (0..20).map(|number| packages.join(format!("{number:02}")).display().to_string()).collect()
}

/// Removes, replaces and adds packages.
pub(crate) fn change(packages: &Path) {
    let others = tempfile::tempdir().unwrap();
    many_packages(others.path(), PACKAGES.1);
    let mut files: Vec<_> = walkdir::WalkDir::new(packages).into_iter().map(Result::unwrap).collect();
    files.retain(|file| file.file_type().is_file());
    files.sort_by(|a, b| a.path().cmp(b.path()));
    for (number, file) in files.iter().enumerate() {
        match number % 9 {
            0 => fs::remove_file(file.path()).unwrap(),
            1 => {
                let other = walkdir::WalkDir::new(others.path().join(format!("{:02}", (number + 3) % 20))).into_iter();
                let other = other.map(Result::unwrap).filter(|other| other.file_type().is_file()).last().unwrap();
                fs::copy(other.path(), file.path()).unwrap();
            }
            _ => {}
        }
    }
    for directory in directories(others.path()) {
        for file in
            walkdir::WalkDir::new(&directory).into_iter().map(Result::unwrap).filter(|file| file.file_type().is_file())
        {
            let to = packages.join(file.path().strip_prefix(others.path()).unwrap());
            let number: usize = file.file_name().to_str().unwrap()[1..7].parse().unwrap();
            if number >= PACKAGES.0 {
                fs::copy(file.path(), to).unwrap();
            }
        }
    }
}

/// Counts of kills by the state in which they left the index.
#[derive(Debug, Default)]
struct KillCounts {
    nothing_written: u32,
    middle: u32,
    everything_written: u32,
}

async fn killed_at(kind: &Kind, packages: &Path, old: &str, rounds: u32) -> KillCounts {
    let directories = directories(packages);
    let import: Vec<&str> = ["dir"].into_iter().chain(directories.iter().map(String::as_str)).collect();
    // From nothing, and from an old index.
    let start = |is_new: bool| {
        if !is_new {
            return kind.copy(old);
        }
        let database = kind.empty();
        kind.setup_commands().iter().for_each(|args| drop(run_ok(&database, args)));
        database
    };
    let mut undisturbed = Vec::new();
    for is_new in [true, false] {
        let database = start(is_new);
        let begun = dump(&database).await;
        let whole = length(&database, &import);
        undisturbed.push((begun, whole, dump(&database).await));
        kind.remove(&database);
    }

    let (mut chance, mut met) = (Chance::new(u64::from(rounds)), KillCounts::default());
    for round in 0..rounds {
        let is_new = round % 2 == 0;
        let database = start(is_new);
        let (begun, whole, expected) = &undisturbed[usize::from(!is_new)];
        let moment = chance.moment(*whole, round, rounds);
        kill(&database, &import, moment, chance.time(Duration::from_millis(8)));
        let seen = kind.unchanged_copy(&database);
        match dump(&seen).await {
            found if found == *expected => met.everything_written += 1,
            found if found == *begun => met.nothing_written += 1,
            _ => met.middle += 1,
        }
        if seen != database {
            kind.remove(&seen);
        }
        if round % 4 >= 2 {
            // Once more, while the rest is imported.
            kill(&database, &import, chance.below(*whole), Duration::ZERO);
        }
        run_ok(&database, &import);
        assert_same(
            &dump(&database).await,
            expected,
            &format!("round {round} of {rounds}, killed after {moment} of {whole} bytes"),
        );
        kind.remove(&database);
    }
    met
}

/// Runs the program and kills it when it has come so far, and some time later.
pub(crate) fn kill(database: &str, args: &[&str], moment: u64, later: Duration) {
    let mut running = Running::start(command(database, args));
    while running.progress().is_some_and(|progress| progress < moment) {
        thread::sleep(Duration::from_micros(300));
    }
    thread::sleep(later);
    running.kill();
}

async fn killed(kind: fn(&Path) -> Kind) {
    let fixture = ImportFixture::new();
    let packages = fixture.packages();
    let kind = kind(fixture.directory.path());
    many_packages(&packages, PACKAGES.0);
    let old = kind.empty();
    kind.setup_commands().iter().for_each(|args| drop(run_ok(&old, args)));
    let directories = directories(&packages);
    let import: Vec<&str> =
        ["dir", "--payload", "never"].into_iter().chain(directories.iter().map(String::as_str)).collect();
    run_ok(&old, &import);
    change(&packages);
    let rounds = compat_tests::scale(8, 200);
    let met = killed_at(&kind, &packages, &old, rounds).await;
    eprintln!("killed {rounds} times: {met:?}");
    assert!(met.middle >= rounds / 3, "most kills did not meet an import in its middle: {met:?}");
}

#[tokio::test]
async fn imports_killed_at_any_moment_end_with_the_same_index_on_sqlite() {
    killed(|directory| Kind::Sqlite(directory.into())).await;
}

#[tokio::test]
async fn imports_killed_at_any_moment_end_with_the_same_index_on_mariadb() {
    killed(|_| Kind::MariaDb(compat_tests::mariadb::MariaDb::shared())).await;
}

#[tokio::test]
async fn a_migration_killed_at_any_moment_is_finished_by_the_next() {
    let directory = tempfile::tempdir().unwrap();
    for kind in [Kind::Sqlite(directory.path().into()), Kind::MariaDb(compat_tests::mariadb::MariaDb::shared())] {
        let (database, before) = (kind.empty(), Instant::now());
        run_ok(&database, &["migrate"]);
        let (whole, expected) = (before.elapsed(), dump(&database).await);
        let mut chance = Chance::new(3);
        for round in 0..compat_tests::scale(3, 60) {
            let database = kind.empty();
            let running = Running::start(command(&database, &["migrate"]));
            thread::sleep(chance.time(whole));
            running.kill();
            run_ok(&database, &["migrate"]);
            assert_same(&dump(&database).await, &expected, &format!("migration {round}"));
            kind.remove(&database);
        }
    }
}
