//! Backfills: killed at any moment, continued, repeated.

use std::path::Path;

use compat_tests::darkserver::import_command;
use compat_tests::koji_hub::KojiHub;
use compat_tests::process::Process;
use compat_tests::scale;

use crate::support::{Database, configured, import};

#[test]
fn a_backfill_that_is_killed_loses_and_doubles_nothing() {
    let hub = KojiHub::start();
    let etc = configured(&hub);
    let count = scale(150, 5_000);
    let builds = hub.add_generated_builds(count);
    for database in Database::both() {
        for options in [&[][..], &["--newest-first"]] {
            if options.is_empty() {
                kill_some(&hub, &database, etc.path(), options, count);
            }
            let run = import(&database, etc.path(), &[&["koji", "backfill", "--json"], options].concat()).expect(0);
            assert_eq!((&run.json()["complete"], &run.json()["failed"]), (&true.into(), &0.into()));
            let imported = "select count(*) from builds where imported_at is not null";
            assert_eq!(database.number(imported), u64::from(count));
            for table in ["packages", "locations", "(select distinct nvra from packages) as names"] {
                assert_eq!(database.number(&format!("select count(*) from {table}")), 2 * u64::from(count), "{table}");
            }
            // Again: a list, and nothing is read.
            hub.forget();
            let again = import(&database, etc.path(), &[&["koji", "backfill", "--json"], options].concat()).expect(0);
            let json = again.json();
            assert_eq!((&json["imported"], &json["headers"]), (&0.into(), &0.into()));
            assert_eq!(hub.files.sent().len(), 0);
            assert!(hub.requests() <= u64::from(count) / 1_000 + 2, "{} requests", hub.requests());
        }
    }
    assert_eq!(builds.count(), count as usize);
}

/// Kills backfills by SIGKILL while they read.
fn kill_some(hub: &KojiHub, database: &Database, etc: &Path, options: &[&str], count: u32) {
    let directory = tempfile::tempdir().unwrap();
    for run in 1..=scale(3, 30) {
        hub.forget();
        let mut command = import_command(&database.url(), &[&["koji", "backfill", "--quiet"], options].concat());
        command.env("DARKSERVER_ETC", etc);
        let mut process = Process::start(&mut command, &directory.path().join("log"));
        let enough = (run * 17) % 60 + 10;
        process.wait_until("some headers", || hub.files.sent().len() >= enough);
        process.kill();
        let imported = database.number("select count(*) from builds where imported_at is not null");
        let packages = database.number("select count(*) from packages");
        assert!(imported <= u64::from(count) && packages >= 2 * imported, "{imported} builds, {packages} packages");
    }
}
