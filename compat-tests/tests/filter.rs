//! The gateway's filter of the index: absent build-ids without the database, and new ones within its bound.

#![expect(clippy::unwrap_used, reason = "a failure here is a failed test, and says where")]

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use compat_tests::darkserver::{RunningGateway, Sqlite, import_ok};
use compat_tests::fixtures;
use compat_tests::galera::Galera;
use compat_tests::http;
use compat_tests::mariadb::MariaDb;
use compat_tests::wait_within;
use rustix::process::Signal;

/// How long "absent" may count after the changes of the index were read.
const BOUND: Duration = Duration::from_secs(10);
/// The filter asks once a second, and looks through an index every five at most; the rest is for a busy machine.
const SOON: Duration = Duration::from_secs(8);

/// The answer of a gateway for a build-id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LookupResult {
    Found,
    Absent,
    Unknown,
}

fn lookup(gateway: &RunningGateway, build_id: &str) -> LookupResult {
    let answer = gateway.get(&format!("/buildids/{build_id}"));
    match (answer.status, answer.text().as_str()) {
        (200, "[]") => LookupResult::Absent,
        (200, _) => LookupResult::Found,
        (503, _) => LookupResult::Unknown,
        other => panic!("{build_id}: {other:?}"),
    }
}

fn server(release: u8) -> String {
    fixtures::build_id(&format!("server/server-1.1-{release}.fc99.x86_64.rpm"), "/usr/bin/server")
}

fn unknown(number: u32) -> String {
    format!("{number:08x}00000000000000000000000000000000")
}

/// The number of verdicts "absent" so far.
fn absent_verdicts(gateway: &RunningGateway) -> f64 {
    gateway.metric("gateway_filter_lookups_total{result=\"absent\"}")
}

/// Waits until the filter answers.
fn ready(gateway: &RunningGateway) {
    let before = absent_verdicts(gateway);
    let mut number = 1 << 24;
    wait_within(SOON, "the filter", || {
        number += 1;
        lookup(gateway, &unknown(number));
        absent_verdicts(gateway) > before
    });
}

/// A directory with the server of these releases.
fn servers(releases: &[u8]) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    for release in releases {
        add_server(directory.path(), *release);
    }
    directory
}

fn add_server(directory: &Path, release: u8) {
    let name = format!("server-1.1-{release}.fc99.x86_64.rpm");
    fs::copy(fixtures::rpm(&format!("server/{name}")), directory.join(name)).unwrap();
}

fn import(database: &str, directory: &Path) {
    import_ok(database, &["dir", directory.to_str().unwrap()]);
}

fn mariadb() -> (MariaDb, String) {
    let mariadb = MariaDb::start();
    mariadb.create_database("darkserver");
    mariadb.create_user("reader", "geheim", "select on darkserver.*");
    let url = mariadb.url("darkserver");
    import_ok(&url, &["migrate"]);
    (mariadb, url)
}

/// A gateway answers for absent build-ids without the database, and for new ones soon after they came.
fn misses_cost_no_query(reader: &str, writer: &str) {
    let directory = servers(&[5]);
    import(writer, directory.path());
    let gateway = RunningGateway::start(reader);
    ready(&gateway);
    let (queries, before) =
        (gateway.metric("gateway_index_lookups_total{result=\"database\"}"), absent_verdicts(&gateway));
    for number in 0..500 {
        assert_eq!(lookup(&gateway, &unknown(number)), LookupResult::Absent);
        assert_eq!(gateway.get(&format!("/buildid/{}/debuginfo", unknown(number))).status, 404);
    }
    let said = absent_verdicts(&gateway) - before;
    let queries = gateway.metric("gateway_index_lookups_total{result=\"database\"}") - queries;
    // One in 256, and asked twice at most.
    assert!(said > 950.0 && queries < 50.0, "{said} answers by the filter, {queries} by the database");
    assert_eq!(lookup(&gateway, &server(5)), LookupResult::Found);

    assert_eq!(lookup(&gateway, &server(6)), LookupResult::Absent);
    add_server(directory.path(), 6);
    import(writer, directory.path());
    wait_within(SOON, "what was imported", || lookup(&gateway, &server(6)) == LookupResult::Found);
    for _ in 0..50 {
        assert_eq!(lookup(&gateway, &server(6)), LookupResult::Found);
        std::thread::sleep(Duration::from_millis(40));
    }
    assert_eq!(gateway.metric("gateway_filter_rebuilds_total{reason=\"start\"}"), 1.0);
    assert_eq!(gateway.metric("gateway_filter_build_ids{layer=\"delta\"}"), 1.0);

    let without = RunningGateway::start_with(reader, "[index]\nfilter = false\n", &[]);
    assert_eq!(lookup(&without, &unknown(1)), LookupResult::Absent);
    assert_eq!(absent_verdicts(&without), 0.0);
    assert_eq!(without.metric("gateway_index_lookups_total{result=\"database\"}"), 1.0);
    let (flag, file) = (["--index-filter", "false"], "[index]\nfilter = true\n");
    assert_eq!(
        RunningGateway::start_with(reader, file, &flag).metric("gateway_filter_rebuilds_total{reason=\"start\"}"),
        0.0
    );
}

#[test]
fn misses_cost_no_query_on_sqlite() {
    let sqlite = Sqlite::with_packages(&[]);
    misses_cost_no_query(&sqlite.url(), &sqlite.url());
}

#[test]
fn misses_cost_no_query_on_mariadb() {
    let (mariadb, url) = mariadb();
    misses_cost_no_query(&mariadb.url_of("reader", "geheim", "darkserver"), &url);
}

#[test]
fn absent_becomes_unknown_when_the_database_stops_or_hangs() {
    let (mut mariadb, url) = mariadb();
    let directory = servers(&[5]);
    import(&url, directory.path());
    let gateway = RunningGateway::start(&url);
    ready(&gateway);
    mariadb.kill();
    wait_within(BOUND, "unknown", || lookup(&gateway, &unknown(1)) == LookupResult::Unknown);
    for number in 0..20 {
        assert_eq!(lookup(&gateway, &unknown(100 + number)), LookupResult::Unknown);
    }
    mariadb.restart();
    ready(&gateway);

    mariadb.pause();
    let paused = Instant::now();
    let mut number = 1000;
    wait_within(BOUND + SOON, "unknown", || {
        number += 1;
        let asked = paused.elapsed();
        let said = lookup(&gateway, &unknown(number));
        assert!(said == LookupResult::Unknown || asked < BOUND, "still {said:?} after {asked:?}");
        said == LookupResult::Unknown
    });
    mariadb.resume();
    ready(&gateway);
}

/// The lines of the log since a start that came after `before`.
fn log_since(gateway: &RunningGateway, before: usize) -> String {
    gateway.log().get(before..).unwrap_or_default().to_owned()
}

#[test]
fn a_restart_uses_the_filter_on_disk_and_refuses_a_wrong_one() {
    let sqlite = Sqlite::with_packages(&[&fixtures::family("server")]);
    let mut gateway = RunningGateway::start(&sqlite.url());
    ready(&gateway);
    let file = gateway.cache().parent().unwrap().join("filter");
    let scans = |gateway: &RunningGateway| gateway.metric("gateway_filter_rebuilds_total{reason=\"start\"}");
    let whole = fs::read(&file).unwrap();

    // What comes while no gateway runs is caught up with.
    gateway.process().kill();
    import(&sqlite.url(), &fixtures::family("fedora-separate"));
    let before = gateway.log().len();
    gateway.restart();
    ready(&gateway);
    assert!(log_since(&gateway, before).contains("a filter of an earlier run was read"), "{}", gateway.log());
    assert_eq!(scans(&gateway), 0.0);
    for truth in [fixtures::truth("server"), fixtures::truth("fedora-separate")].concat() {
        assert_eq!(lookup(&gateway, &truth.build_id), LookupResult::Found, "{truth:?}");
    }

    let elsewhere = Sqlite::with_packages(&[&fixtures::family("payloads")]);
    let other = RunningGateway::start(&elsewhere.url());
    ready(&other);
    let foreign = fs::read(other.cache().parent().unwrap().join("filter")).unwrap();
    let mut damaged = whole.clone();
    damaged[whole.len() / 2] ^= 1;
    let wrong: [(&[u8], &str); 4] = [
        (&damaged, "the filter on disk is ignored"),
        (&whole[..whole.len() - 1], "the filter on disk is ignored"),
        (&[], "the filter on disk is ignored"),
        (&foreign, "the changes since the filter are unknown"),
    ];
    for (bytes, line) in wrong {
        gateway.process().kill();
        fs::write(&file, bytes).unwrap();
        let before = gateway.log().len();
        gateway.restart();
        ready(&gateway);
        assert!(log_since(&gateway, before).contains(line), "{line}: {}", log_since(&gateway, before));
        assert_eq!(lookup(&gateway, &server(5)), LookupResult::Found, "{line}");
    }
}

#[test]
fn a_filter_of_another_index_is_discarded() {
    let [one, other] = [&[5_u8][..], &[6, 7]].map(|releases| {
        let (sqlite, directory) = (Sqlite::with_packages(&[]), servers(releases));
        import(&sqlite.url(), directory.path());
        (sqlite, directory)
    });
    let mut gateway = RunningGateway::start(&one.0.url());
    ready(&gateway);
    let gone = RunningGateway::start(&other.0.url());
    ready(&gone);
    // The directory of a gateway on another index.
    let filter = |gateway: &RunningGateway| gateway.cache().parent().unwrap().join("filter");
    wait_within(SOON, "the file of the filter", || filter(&gone).exists());
    gateway.process().kill();
    fs::copy(filter(&gone), filter(&gateway)).unwrap();
    gateway.restart();
    ready(&gateway);
    assert!(gateway.log().contains("the changes since the filter are unknown"), "{}", gateway.log());
    assert_eq!(lookup(&gateway, &server(5)), LookupResult::Found);

    // Another file is put in the place of the index. Importers may leave what they wrote beside a file, which another
    // one must not find there (docs/operations.md).
    drop(gone);
    let script = "import sqlite3, sys; sqlite3.connect(sys.argv[1]).execute('pragma wal_checkpoint(truncate)')";
    for path in [one.0.path(), other.0.path()] {
        assert!(Command::new("python3").args(["-c", script]).arg(path).status().unwrap().success());
    }
    let replaced = Instant::now();
    fs::rename(other.0.path(), one.0.path()).unwrap();
    wait_within(BOUND, "the new file", || {
        lookup(&gateway, &server(6)) == LookupResult::Found && lookup(&gateway, &server(7)) == LookupResult::Found
    });
    ready(&gateway);
    assert!(replaced.elapsed() < BOUND + SOON);
    wait_within(BOUND, "what was in the old file alone", || lookup(&gateway, &server(5)) == LookupResult::Absent);
}

#[test]
fn pruned_changes_cause_a_new_filter() {
    let (mariadb, url) = mariadb();
    let directory = servers(&[5]);
    import(&url, directory.path());
    let mut gateway = RunningGateway::start(&url);
    ready(&gateway);
    gateway.process().signal(Signal::STOP);
    for release in [6, 7] {
        add_server(directory.path(), release);
        import(&url, directory.path());
    }
    mariadb.sql("use darkserver; delete c from changes c join writers w using (writer) where c.sequence < w.sequence");
    gateway.process().signal(Signal::CONT);
    wait_within(BOUND, "what came", || {
        [6, 7].iter().all(|release| lookup(&gateway, &server(*release)) == LookupResult::Found)
    });
    wait_within(BOUND, "a new filter", || gateway.metric("gateway_filter_rebuilds_total{reason=\"start\"}") == 2.0);
    ready(&gateway);
    assert!(gateway.log().contains("were pruned"), "{}", gateway.log());
    assert_eq!([5, 6, 7].map(|release| lookup(&gateway, &server(release))), [LookupResult::Found; 3]);
}

#[test]
fn two_indexers_on_two_nodes_of_a_galera_cluster() {
    let mut galera = Galera::start();
    galera.nodes[0].create_database("darkserver");
    let urls = [galera.nodes[0].url("darkserver"), galera.nodes[1].url("darkserver")];
    import_ok(&urls[0], &["migrate"]);
    let directory = servers(&[]);
    import(&urls[0], directory.path());
    let gateway = RunningGateway::start(&urls[1]);
    ready(&gateway);

    let mut inserted: Vec<(u8, Instant)> = Vec::new();
    for (number, release) in [5, 6, 7].into_iter().enumerate() {
        assert_eq!(lookup(&gateway, &server(release)), LookupResult::Absent);
        add_server(directory.path(), release);
        import(&urls[number % 2], directory.path());
        inserted.push((release, Instant::now()));
        // Asked all the time, also those from before.
        for _ in 0..20 {
            for (release, when) in &inserted {
                let (age, said) = (when.elapsed(), lookup(&gateway, &server(*release)));
                assert!(
                    said == LookupResult::Found || said == LookupResult::Absent && age < BOUND,
                    "{release}: {said:?} after {age:?}"
                );
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
    wait_within(BOUND, "all of them", || {
        inserted.iter().all(|(release, _)| lookup(&gateway, &server(*release)) == LookupResult::Found)
    });

    // Two that insert at the same time, as one writer and on two nodes: one of them loses, and tries again.
    let (one, other) = (servers(&[]), servers(&[]));
    let rpms = fixtures::rpms("fedora-separate");
    fs::copy(&rpms[0], one.path().join("a.rpm")).unwrap();
    fs::copy(&rpms[1], other.path().join("b.rpm")).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| import(&urls[0], one.path()));
        scope.spawn(|| import(&urls[1], other.path()));
    });
    let of = |rpm: &Path| -> Vec<String> {
        let name = format!("fedora-separate/{}", rpm.file_name().unwrap().to_str().unwrap());
        let truth = fixtures::truth("fedora-separate");
        truth.into_iter().filter(|truth| truth.rpm == name).map(|truth| truth.build_id).collect()
    };
    let ids: Vec<String> = rpms[..2].iter().flat_map(|rpm| of(rpm)).collect();
    assert!(!ids.is_empty());
    wait_within(BOUND, "both", || ids.iter().all(|id| lookup(&gateway, id) == LookupResult::Found));
    assert_eq!(
        gateway.metric("gateway_filter_rebuilds_total{reason=\"start\"}"),
        1.0,
        "all of it was followed: {}",
        gateway.log()
    );

    // The gateway's node goes, and something comes on the other one.
    galera.nodes[1].stop();
    wait_within(BOUND, "unknown", || lookup(&gateway, &unknown(1)) == LookupResult::Unknown);
    let late = rpms.iter().skip(2).find(|rpm| !of(rpm).is_empty()).unwrap();
    let third = servers(&[]);
    fs::copy(late, third.path().join("c.rpm")).unwrap();
    import(&urls[0], third.path());
    let started = Instant::now();
    while started.elapsed() < BOUND + Duration::from_secs(2) {
        for id in of(late) {
            assert_ne!(lookup(&gateway, &id), LookupResult::Absent, "while the index cannot be asked");
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    galera.restart(1);
    wait_within(BOUND, "what came", || {
        of(late).iter().all(|id| match http::get(gateway.port, &format!("/buildids/{id}")) {
            Ok(answer) => answer.status == 200 && answer.text() != "[]",
            Err(error) => panic!("{error}"),
        })
    });
}
