//! A backfill that is killed at random moments ends with the index of one that nothing disturbed.

use std::thread::sleep;
use std::time::{Duration, Instant};

use compat_tests::darkserver::{import_command, import_ok};
use compat_tests::koji_hub::KojiHub;
use compat_tests::mariadb::MariaDb;
use compat_tests::process::Process;
use compat_tests::scale;
use tempfile::TempDir;

use crate::support::{Database, Seed, etc, expect_equal, instance, koji_ok};

/// Number of builds, of two packages each.
const BUILDS: u32 = 60;
/// Maximum time of one run.
const RUN_WITHIN: Duration = Duration::from_secs(120);
/// The longest time from a request to a kill, in milliseconds: about that of a part's transactions.
const MAX_DELAY: usize = 120;

/// A Koji, the configuration of its instance, and the index of an undisturbed backfill.
struct Bench {
    hub: KojiHub,
    etc: TempDir,
    expected: Database<'static>,
    /// Number of requests of that backfill for files.
    requests: usize,
}

impl Bench {
    fn start() -> Self {
        let hub = KojiHub::start();
        let builds = hub.add_generated_builds(BUILDS);
        let first = *builds.start();
        // Many complete at the same time.
        builds.for_each(|build| hub.set_completion_time(build, 1_600_000_000.0 + (build / 4) as f64));
        hub.move_volume(first + 3, "slow");
        hub.move_volume(first + 55, "slow");
        hub.delete(first + 20);
        let (etc, expected) = (etc(&instance(&hub)), Database::sqlite());
        koji_ok(&expected.url(), etc.path(), &["backfill"]);
        let complete = "select count(*) from builds where imported_at is not null and state = 'complete'";
        assert_eq!(expected.count(complete), u64::from(BUILDS) - 1);
        assert_eq!(expected.count("select count(*) from packages"), 2 * (u64::from(BUILDS) - 1));
        let requests = hub.files.sent().len();
        assert!(requests > BUILDS as usize, "{requests}");
        Self { hub, etc, expected, requests }
    }

    fn launch(&self, database: &str, order: &[&str]) -> Process {
        let mut command = import_command(database, &[&["--quiet", "koji", "backfill"], order].concat());
        command.env("DARKSERVER_ETC", self.etc.path());
        self.hub.forget();
        Process::start(&mut command, &self.etc.path().join("log"))
    }

    /// Waits until a run has made this number of requests for files, and `delay` longer. False if it ended before.
    fn wait_for(&self, run: &mut Process, requests: usize, delay: Duration) -> bool {
        let started = Instant::now();
        while self.hub.files.sent().len() < requests {
            if has_ended(run) {
                return false;
            }
            assert!(started.elapsed() < RUN_WITHIN, "a backfill that does not end:\n{}", run.output());
            sleep(Duration::from_millis(1));
        }
        sleep(delay);
        !has_ended(run)
    }

    /// Kills backfills into `database` at random moments until one ends. Returns the number of kills.
    fn kill_until_it_ends(&self, database: &str, order: &[&str], seed: &mut Seed, max_kills: u64) -> u64 {
        let mut kills = 0;
        loop {
            let mut run = self.launch(database, order);
            // Some moments are before the first request, or among the last transactions.
            let requests = seed.random.below(self.requests);
            let delay = Duration::from_millis(seed.random.below(MAX_DELAY) as u64);
            if kills == max_kills || !self.wait_for(&mut run, requests, delay) {
                let status = run.wait();
                assert!(status.success(), "a backfill ended with {status}:\n{}", run.output());
                return kills;
            }
            run.kill();
            eprintln!("killed {delay:?} after {requests} of {} requests", self.requests);
            kills += 1;
        }
    }

    /// Expects that another backfill finds nothing to do.
    fn expect_complete(&self, database: &Database<'_>, order: &[&str]) {
        expect_equal(database, &self.expected);
        self.hub.forget();
        koji_ok(&database.url(), self.etc.path(), &[&["backfill"], order].concat());
        assert_eq!(self.hub.files.sent().len(), 0);
    }
}

fn has_ended(run: &Process) -> bool {
    // A child that has ended and was not waited for is a zombie (proc(5)).
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", run.id())).unwrap_or_default();
    stat.rsplit(')').next().is_none_or(|rest| rest.trim_start().starts_with(['Z', 'X']) || rest.is_empty())
}

/// Every second backfill begins with the newest builds.
fn order(round: u64) -> &'static [&'static str] {
    if round.is_multiple_of(2) { &[] } else { &["--newest-first"] }
}

#[test]
fn kills_lose_and_double_nothing_on_sqlite() {
    let (bench, mut seed) = (Bench::start(), Seed::new());
    let (mut kills, mut round) = (0, 0);
    while kills < scale(6, 50) {
        let database = Database::sqlite();
        kills += bench.kill_until_it_ends(&database.url(), order(round), &mut seed, scale(6, 10));
        bench.expect_complete(&database, order(round));
        round += 1;
        assert!(round < 100, "expected that runs can be killed: {kills} kills");
    }
}

#[test]
fn kills_and_a_restart_of_the_database_lose_and_double_nothing_on_mariadb() {
    let (bench, mut seed) = (Bench::start(), Seed::new());
    let mut server = MariaDb::start();
    let (mut kills, mut round) = (0, 0);
    while kills < scale(6, 50) {
        let name = format!("index{round}");
        server.create_database(&name);
        let url = server.url(&name);
        import_ok(&url, &["migrate"]);
        // The database is killed in the first run, which goes on once it is back.
        let mut run = bench.launch(&url, order(round));
        let requests = seed.random.below(bench.requests);
        let delay = Duration::from_millis(seed.random.below(MAX_DELAY) as u64);
        let is_killed = bench.wait_for(&mut run, requests, delay);
        server.kill();
        server.restart();
        if is_killed && seed.random.below(2) == 0 {
            run.kill();
            kills += 1;
        } else {
            let status = run.wait();
            assert!(status.success(), "a backfill ended with {status}:\n{}", run.output());
        }
        kills += bench.kill_until_it_ends(&url, order(round), &mut seed, scale(6, 10));
        bench.expect_complete(&Database::MariaDb(&server, name), order(round));
        round += 1;
        assert!(round < 100, "expected that runs can be killed: {kills} kills");
    }
}
