//! MariaDB that is killed, slow, out of reach or read-only while look-ups go on.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use compat_tests::darkserver::{RunningGateway, Sqlite, import_ok};
use compat_tests::debuginfod::DebuginfodClient;
use compat_tests::http::{self, Response};
use compat_tests::mariadb::MariaDb;
use compat_tests::proxy::{Fault, Proxy};
use compat_tests::wait_until;
use compat_tests::{fixtures, scale};

use crate::{ExpectedFile, Random, answer_or_reset};

/// Fresh records expire at once, so that stale ones answer during an outage.
const SHORT: &str = "[index]\nfound_ttl = \"200ms\"\nabsent_ttl = \"100ms\"\n";

fn mariadb() -> MariaDb {
    let mariadb = MariaDb::start();
    mariadb.create_database("darkserver");
    import_ok(&mariadb.url("darkserver"), &["migrate"]);
    import_ok(&mariadb.url("darkserver"), &["dir", fixtures::family("server").to_str().unwrap()]);
    mariadb
}

/// Since when the index is unavailable, from the header of an answer.
fn unavailable_since(answer: &Response) -> Option<u64> {
    let header = answer.header("x-darkserver-index")?;
    Some(
        header
            .strip_prefix("unavailable; since=")
            .expect("a header with the time of the first failure")
            .parse()
            .expect("seconds"),
    )
}

fn is_up(gateway: &RunningGateway) -> bool {
    gateway.metric("gateway_index_up") == 1.0
}

fn stale_lookups(gateway: &RunningGateway) -> f64 {
    gateway.metric("gateway_index_lookups_total{result=\"stale\"}")
}

/// A path with an absent build-id.
fn absent_path(number: u64) -> String {
    format!("/buildid/{number:040x}/debuginfo")
}

/// A source of a release, which needs two questions to the index.
fn source(release: u8) -> ExpectedFile {
    let nvra = format!("server-1.1-{release}.fc99.x86_64");
    let path = format!("/usr/src/debug/{nvra}/worker/crash.c");
    let rpm = fixtures::package("server", &format!("server-debugsource-1.1-{release}.fc99.x86_64"));
    let server = ExpectedFile::server(release);
    ExpectedFile { path: format!("/buildid/{}/source{path}", server.build_id()), bytes: fixtures::member(&rpm, &path) }
}

const UP: usize = 0;
const CHANGING: usize = 1;
const UNAVAILABLE: usize = 2;

/// What clients do while a database dies and comes back, and what each answer has to be.
struct Load {
    gateway: u16,
    phase: AtomicUsize,
    number: AtomicU64,
    stop: AtomicBool,
    answers: AtomicUsize,
    known: [ExpectedFile; 3],
    unasked: ExpectedFile,
}

impl Load {
    /// The phase, if it was the same before and after `act`.
    fn during<T>(&self, act: impl FnOnce() -> T) -> (usize, T) {
        let before = self.phase.load(Ordering::SeqCst);
        let result = act();
        let same = before == self.phase.load(Ordering::SeqCst);
        self.answers.fetch_add(1, Ordering::SeqCst);
        (if same { before } else { CHANGING }, result)
    }

    fn raw(&self) {
        while !self.stop.load(Ordering::SeqCst) {
            for known in &self.known {
                let (phase, answer) = self.during(|| known.ask(self.gateway));
                let answer = answer.unwrap_or_else(|| panic!("{}: known, but reset", known.path));
                match phase {
                    UP => assert_eq!(unavailable_since(&answer), None, "{}", known.path),
                    UNAVAILABLE => assert!(unavailable_since(&answer).is_some(), "{}: expected the header", known.path),
                    _ => {}
                }
            }
            let path = format!("/buildids/{}", self.known[0].build_id());
            let (phase, answer) = self.during(|| answer_or_reset(self.gateway, &path).unwrap());
            assert!(answer.status == 200 && answer.text().contains("server-1.1-5"), "{path}: {}", answer.text());
            assert!(phase != UNAVAILABLE || unavailable_since(&answer).is_some(), "{path}: expected the header");

            let path = absent_path(self.number.fetch_add(1, Ordering::SeqCst));
            let (phase, answer) = self.during(|| answer_or_reset(self.gateway, &path));
            match (phase, answer.map(|answer| answer.status)) {
                (UP | CHANGING, Some(404)) | (CHANGING | UNAVAILABLE, None) => {}
                other => panic!("{path}: {other:?}"),
            }
        }
    }

    /// Asks for what is in the index and was not asked for before the database died.
    fn unasked(&self) {
        while !self.stop.load(Ordering::SeqCst) {
            if self.phase.load(Ordering::SeqCst) == UP {
                std::thread::sleep(Duration::from_millis(5));
                continue;
            }
            let (phase, answer) = self.during(|| self.unasked.ask(self.gateway));
            assert!(phase != UNAVAILABLE || answer.is_none(), "{}: from an unavailable index", self.unasked.path);
            let path = format!("/buildids/{}", self.unasked.build_id());
            let (phase, answer) = self.during(|| answer_or_reset(self.gateway, &path).unwrap());
            match answer.status {
                200 => assert!(phase != UNAVAILABLE && answer.text().contains("server-1.1-7"), "{}", answer.text()),
                status => assert_eq!(status, 503, "{path}"),
            }
        }
    }

    fn client(&self) {
        while !self.stop.load(Ordering::SeqCst) {
            let client = DebuginfodClient::new(&format!("http://127.0.0.1:{}", self.gateway));
            let (_, found) = self.during(|| client.found(&["executable", self.known[0].build_id()]));
            assert!(found == self.known[0].bytes, "other bytes");
            self.during(|| {
                client.found(&["source", self.known[2].build_id(), self.known[2].path.split_once("/source").unwrap().1])
            });
        }
    }
}

#[test]
fn found_build_ids_are_answered_while_a_database_is_killed_under_load() {
    let mut mariadb = mariadb();
    let mut random = Random(0x5eed_0001);
    for round in 0..scale(2, 25) {
        let gateway = RunningGateway::start_with(&mariadb.url("darkserver"), SHORT, &[]);
        wait_until("the first probe", || is_up(&gateway));
        let load = Load {
            gateway: gateway.port,
            phase: AtomicUsize::new(UP),
            number: AtomicU64::new(round << 32),
            stop: AtomicBool::new(false),
            answers: AtomicUsize::new(0),
            known: [ExpectedFile::server(5), ExpectedFile::server(6), source(5)],
            unasked: ExpectedFile::server(7),
        };
        for known in &load.known {
            known.ask(gateway.port).unwrap();
        }
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| stopping(&load, Load::raw));
            }
            scope.spawn(|| stopping(&load, Load::unasked));
            scope.spawn(|| stopping(&load, Load::client));
            let act = |_: &Load| {
                std::thread::sleep(Duration::from_millis(100 + random.below(400)));
                load.phase.store(CHANGING, Ordering::SeqCst);
                mariadb.kill();
                wait_until("unavailable", || !is_up(&gateway));
                load.phase.store(UNAVAILABLE, Ordering::SeqCst);
                let (answers, stale_before) = (load.answers.load(Ordering::SeqCst), stale_lookups(&gateway));
                std::thread::sleep(Duration::from_millis(600 + random.below(400)));
                wait_until("answers", || load.answers.load(Ordering::SeqCst) > answers + 50);
                assert!(stale_lookups(&gateway) > stale_before, "expected answers from stale records");
                load.phase.store(CHANGING, Ordering::SeqCst);
                mariadb.restart();
                wait_until("available again", || is_up(&gateway));
                load.unasked.recovers(&gateway);
                // Unavailable answers, which are cached for a moment, have expired.
                wait_until("no unavailable answer", || answer_or_reset(gateway.port, &absent_path(u64::MAX)).is_some());
                load.phase.store(UP, Ordering::SeqCst);
                std::thread::sleep(Duration::from_millis(200));
            };
            stopping(&load, act);
        });
        for line in gateway.log().lines().filter(|line| line.contains("an answer is unavailable")) {
            assert!(line.contains("index: ") && line.contains("127.0.0.1"), "no cause: {line}");
        }
        assert!(
            gateway.log().contains("the index is unavailable")
                && gateway.log().contains("the index is available again")
        );
    }
}

/// Ends the load when `act` ends, however it does.
fn stopping(load: &Load, act: impl FnOnce(&Load)) {
    struct Stop<'a>(&'a AtomicBool);
    impl Drop for Stop<'_> {
        fn drop(&mut self) {
            if std::thread::panicking() {
                self.0.store(true, Ordering::SeqCst);
            }
        }
    }
    let guard = Stop(&load.stop);
    act(load);
    load.stop.store(true, Ordering::SeqCst);
    drop(guard);
}

#[test]
fn a_disturbed_connection_to_the_database() {
    let mariadb = mariadb();
    let proxy = Proxy::start(mariadb.port());
    let url = mariadb.url("darkserver").replace(&format!(":{}/", mariadb.port()), &format!(":{}/", proxy.port));
    for fault in [Fault::Slow(Duration::from_secs(10)), Fault::Stalls, Fault::Breaks] {
        let gateway = RunningGateway::start_with(&url, SHORT, &[]);
        let (known, unasked) = (ExpectedFile::server(5), ExpectedFile::server(6));
        assert_eq!(unavailable_since(&known.ask(gateway.port).unwrap()), None, "{fault:?}");
        let before = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        proxy.set(fault);
        std::thread::sleep(Duration::from_millis(250));
        // The first look-up notices the fault, and is answered within the budget all the same.
        assert!(unavailable_since(&known.ask(gateway.port).unwrap()).is_some_and(|since| since >= before), "{fault:?}");
        wait_until("unavailable", || !is_up(&gateway));
        // No later look-up waits for it.
        let started = Instant::now();
        for _ in 0..20 {
            assert!(unavailable_since(&known.ask(gateway.port).unwrap()).is_some(), "{fault:?}");
        }
        assert!(unasked.ask(gateway.port).is_none(), "{fault:?}");
        let json = answer_or_reset(gateway.port, &format!("/buildids/{}", unasked.build_id())).unwrap();
        assert_eq!((json.status, json.header("cache-control")), (503, Some("no-store")), "{fault:?}");
        assert!(unavailable_since(&json).is_some(), "{fault:?}");
        assert!(answer_or_reset(gateway.port, &absent_path(1)).is_none(), "{fault:?}");
        assert!(started.elapsed() < Duration::from_secs(5), "{fault:?}: {:?}", started.elapsed());
        // What is known of both together is not known.
        let path = format!("/buildids/{},{}", known.build_id(), unasked.build_id());
        assert_eq!(answer_or_reset(gateway.port, &path).unwrap().status, 503, "{fault:?}");

        proxy.set(Fault::None);
        assert_eq!(unavailable_since(&unasked.recovers(&gateway)), None, "{fault:?}");
        assert!(is_up(&gateway), "{fault:?}");
        wait_until("absent again", || {
            answer_or_reset(gateway.port, &absent_path(1)).is_some_and(|answer| answer.status == 404)
        });
    }
    // Slow, but not too slow: every answer is right.
    let gateway = RunningGateway::start_with(&url, SHORT, &[]);
    wait_until("the first probe", || is_up(&gateway));
    proxy.set(Fault::Slow(Duration::from_millis(100)));
    for release in [5, 6, 7] {
        assert_eq!(unavailable_since(&ExpectedFile::server(release).ask(gateway.port).unwrap()), None);
    }
    assert_eq!(answer_or_reset(gateway.port, &absent_path(2)).unwrap().status, 404);
    assert!(is_up(&gateway));
}

#[test]
fn what_stale_records_lack_is_unknown() {
    // Only the program was indexed: its debuginfo may come while the database is unavailable.
    let directory = tempfile::tempdir().unwrap();
    fixtures::copy(&[fixtures::rpm("server/server-1.1-5.fc99.x86_64.rpm")], directory.path());
    let index = Sqlite::with_packages(&[directory.path()]);
    let configuration = "[index]\nfound_ttl = \"300ms\"\nstale_ttl = \"6s\"\n";
    let gateway = RunningGateway::start_with(&index.url(), configuration, &[]);
    let known = ExpectedFile::server(5);
    let others =
        ["debuginfo", "section/.nonsense", "source/usr/src/x.c"].map(|what| known.path.replace("executable", what));
    let asked = Instant::now();
    known.ask(gateway.port).unwrap();
    for path in &others {
        assert_eq!(answer_or_reset(gateway.port, path).unwrap().status, 404, "{path}");
    }
    let away_file = index.path().with_extension("away");
    std::fs::rename(index.path(), &away_file).unwrap();
    wait_until("unavailable", || !is_up(&gateway));
    std::thread::sleep(Duration::from_millis(350));
    for path in &others {
        assert!(answer_or_reset(gateway.port, path).is_none(), "{path}");
    }
    if asked.elapsed() < Duration::from_secs(5) {
        assert!(unavailable_since(&known.ask(gateway.port).unwrap()).is_some());
    }
    // Not for ever.
    wait_until("the end of stale records", || known.ask(gateway.port).is_none());
    assert!(asked.elapsed() > Duration::from_millis(5500), "{:?}", asked.elapsed());
    std::fs::rename(&away_file, index.path()).unwrap();
    known.recovers(&gateway);
    wait_until("absent again", || answer_or_reset(gateway.port, &others[0]).is_some_and(|answer| answer.status == 404));
}

#[test]
fn a_read_only_database_is_all_that_a_gateway_needs() {
    let mariadb = mariadb();
    mariadb.create_user("reader", "geheim", "select on darkserver.*");
    let url = mariadb.url_of("reader", "geheim", "darkserver");
    let refused = compat_tests::darkserver::import(
        &url,
        &["rpm", fixtures::rpm("server/server-1.1-5.fc99.x86_64.rpm").to_str().unwrap()],
    );
    assert!(!refused.status.success(), "expected a user that cannot write");
    let gateway = RunningGateway::start_with(&url, SHORT, &[]);
    std::thread::scope(|scope| {
        // No other session can write while this one exists.
        let locked =
            scope.spawn(|| mariadb.sql("set global read_only = 1; flush tables with read lock; select sleep(4)"));
        wait_until("a server that is read-only", || mariadb.sql("select @@read_only").trim() == "1");
        while !locked.is_finished() {
            for release in [5, 6, 7] {
                assert_eq!(unavailable_since(&ExpectedFile::server(release).ask(gateway.port).unwrap()), None);
                assert!(unavailable_since(&source(release).ask(gateway.port).unwrap()).is_none());
            }
            assert_eq!(answer_or_reset(gateway.port, &absent_path(1)).unwrap().status, 404);
            assert_eq!(http::get(gateway.port, "/readyz").unwrap().status, 200);
        }
    });
    assert!(is_up(&gateway) && stale_lookups(&gateway) == 0.0);
}
