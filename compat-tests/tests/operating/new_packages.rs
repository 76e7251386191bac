//! A package that is imported is answered within about two seconds, also of a build-id that was answered before.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use compat_tests::darkserver::{RunningGateway, Sqlite, import_ok};
use compat_tests::debuginfod::DebuginfodClient;
use compat_tests::fixtures;
use compat_tests::mariadb::MariaDb;
use compat_tests::process::run;
use compat_tests::wait_until;

use super::SERVER;

/// Two seconds, and the rest for a busy machine. What was found is cached for a minute.
const SOON: Duration = Duration::from_secs(10);

fn import(database: &str, directory: &Path, rpm: &str) {
    fixtures::copy(&[fixtures::rpm(rpm)], directory);
    import_ok(database, &["dir", directory.to_str().unwrap()]);
}

fn is_seen_soon(database: &str, configuration: &str) {
    let directory = tempfile::tempdir().unwrap();
    import_ok(database, &["migrate"]);
    import(database, directory.path(), SERVER);
    let gateway = RunningGateway::start_with(database, configuration, &[]);
    let build_id = fixtures::build_id(SERVER, "/usr/bin/server");
    let path = |what: &str| format!("/buildid/{build_id}/{what}");
    assert_eq!(gateway.get(&path("executable")).status, 200);
    let questions = || gateway.metric("gateway_index_lookups_total{result=\"database\"}");
    // The first state of the index that is followed invalidates what was asked before it.
    let began = Instant::now();
    loop {
        let before = questions();
        assert_eq!(gateway.get(&path("debuginfo")).status, 404, "only the program was imported");
        if questions() == before {
            break;
        }
        assert!(began.elapsed() < SOON, "the program is not answered from memory");
        std::thread::sleep(Duration::from_millis(100));
    }
    import(database, directory.path(), "server/server-debuginfo-1.1-5.fc99.x86_64.rpm");
    let began = Instant::now();
    // Asked all the time: what is cached would stay so.
    while gateway.get(&path("debuginfo")).status != 200 {
        assert!(began.elapsed() < SOON, "{configuration}: still absent {:?} after its import", began.elapsed());
        std::thread::sleep(Duration::from_millis(20));
    }
    eprintln!("{configuration:?}: found after {:?}", began.elapsed());
    assert!(gateway.get(&format!("/buildids/{build_id}")).text().contains("server-debuginfo"));
}

#[test]
fn debuginfo_of_a_known_program_is_found_soon_on_sqlite() {
    for configuration in ["", "[index]\nfilter = false\n"] {
        is_seen_soon(&Sqlite::empty().url(), configuration);
    }
}

/// The command in docs/operations.md that makes a client forget all that was absent, for its cache in `cache`.
fn documented_command(cache: &Path) -> String {
    let document = include_str!("../../../docs/operations.md");
    let command = document.split('`').find(|text| text.starts_with("find ~/.cache/debuginfod_client ")).unwrap();
    command.replace("~/.cache/debuginfod_client", cache.to_str().unwrap())
}

#[test]
fn a_client_whose_cache_was_cleared_as_documented_asks_again() {
    let (sqlite, directory) = (Sqlite::empty(), tempfile::tempdir().unwrap());
    import(&sqlite.url(), directory.path(), SERVER);
    let gateway = RunningGateway::start(&sqlite.url());
    let client = DebuginfodClient::new(&gateway.url());
    let build_id = fixtures::build_id(SERVER, "/usr/bin/server");
    let finds = |what: &str| client.find(&[what, &build_id]).status.success();
    assert!(finds("executable") && !finds("debuginfo"));
    import(&sqlite.url(), directory.path(), "server/server-debuginfo-1.1-5.fc99.x86_64.rpm");
    wait_until("the debuginfo", || gateway.get(&format!("/buildid/{build_id}/debuginfo")).status == 200);
    assert!(!finds("debuginfo"), "expected that the client remembers");
    let cleared = run(Command::new("sh").arg("-c").arg(documented_command(&client.cache())), "a shell");
    assert!(cleared.status.success(), "{}", String::from_utf8_lossy(&cleared.stderr));
    assert!(finds("debuginfo") && finds("executable"));
}

#[test]
fn debuginfo_of_a_known_program_is_found_soon_on_mariadb() {
    let mariadb = MariaDb::start();
    for (database, configuration) in [("filtered", ""), ("unfiltered", "[index]\nfilter = false\n")] {
        mariadb.create_database(database);
        is_seen_soon(&mariadb.url(database), configuration);
    }
}
