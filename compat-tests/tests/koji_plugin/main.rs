//! The plugin of Koji's hub (`packaging/koji-plugin`) in Koji's own plugin interface: it tells builds after the commit,
//! never delays the hub longer than its timeout, and loses no build, whatever the indexer, the network and the disk do.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a failure here is a failed test, and shows where")]

mod events;
mod faults;
mod hub;
mod indexer;
mod listen;
mod package;
mod spool;

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use compat_tests::wait_within;
use tempfile::TempDir;

use crate::hub::{Hub, complete};
use crate::indexer::Indexer;

/// The plugin's default timeout.
const TIMEOUT: Duration = Duration::from_millis(100);
/// What a busy machine may add to it. Every fault here lasts longer than both.
const MARGIN: Duration = Duration::from_millis(400);

/// A directory with the configuration, the token and the spool of a plugin.
struct Setup {
    directory: TempDir,
}

impl Setup {
    /// The plugin tells the builds to `url`; `more` are further options.
    fn new(url: &str, more: &str) -> Self {
        let setup = Self { directory: tempfile::tempdir().unwrap() };
        std::fs::write(setup.path("token"), format!("{}\n", indexer::TOKEN)).unwrap();
        setup.configure(url, more);
        setup
    }

    /// Writes the configuration anew.
    fn configure(&self, url: &str, more: &str) {
        let spool =
            if more.starts_with("spool =") { String::new() } else { format!("spool = {}\n", self.path("spool")) };
        let text = format!(
            "[darkserver]\nurl = {url}\ntoken_file = {}\ninstance = primary\n{spool}{more}\n",
            self.path("token")
        );
        std::fs::write(self.path("darkserver.conf"), text).unwrap();
    }

    fn path(&self, name: &str) -> String {
        self.directory.path().join(name).to_str().unwrap().to_owned()
    }

    fn configuration(&self) -> String {
        self.path("darkserver.conf")
    }

    /// The names of the entries of the spool.
    fn spooled(&self) -> BTreeSet<String> {
        entries(Path::new(&self.path("spool")))
    }

    /// `darkserver-koji-flush` on this configuration: its exit status and what it wrote.
    fn flush(&self, more: &[&str]) -> (Option<i32>, String) {
        let mut command = hub::flush_command(&self.configuration());
        let output = command.args(more).output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    }

    /// Tells what is left to `indexer`; nothing is left afterwards.
    #[track_caller]
    fn flush_to(&self, indexer: &Indexer, more: &str) {
        self.configure(&indexer.url(), more);
        let (status, written) = self.flush(&["--max-seconds", "20"]);
        assert_eq!(status, Some(0), "{written}");
        assert_eq!(self.spooled(), BTreeSet::new(), "{written}");
    }
}

/// The names of the entries of a spool.
fn entries(spool: &Path) -> BTreeSet<String> {
    let names = std::fs::read_dir(spool).into_iter().flatten().map(|entry| entry.unwrap().file_name());
    names.map(|name| name.into_string().unwrap()).filter(|name| name.contains(".json")).collect()
}

/// The builds of `first` to `last`.
fn builds(first: i64, last: i64) -> BTreeSet<i64> {
    (first..=last).collect()
}

#[test]
fn a_build_is_told_after_the_commit() {
    let indexer = Indexer::start();
    let setup = Setup::new(&indexer.url(), "");
    let mut hub = Hub::start(&setup);
    hub.commit(&[complete(4711)]);
    let taken = wait_within(Duration::from_secs(10), "a message", || indexer.builds().contains(&4711));
    assert!(taken < Duration::from_secs(5), "{taken:?}");
    let messages = indexer.messages();
    assert_eq!(messages.len(), 1, "{messages:?}");
    let message = &messages[0];
    assert_eq!(message["build"], 4711);
    assert_eq!(message["instance"], "primary");
    assert_eq!(message["event"], "complete");
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    assert!(message["time"].as_u64().unwrap().abs_diff(now) < 60, "{message}");
    setup.wait_until_told();
}

#[test]
fn nothing_is_told_without_a_commit() {
    let indexer = Indexer::start();
    let setup = Setup::new(&indexer.url(), "");
    let mut hub = Hub::start(&setup);
    hub.run(&[complete(1)], "rollback");
    hub.run(&[complete(2)], "read");
    assert_eq!(setup.spooled(), BTreeSet::new());
    // A later request of the same thread has its own builds alone.
    hub.commit(&[complete(3)]);
    wait_within(Duration::from_secs(10), "a message", || indexer.builds().contains(&3));
    setup.wait_until_told();
    assert_eq!(indexer.builds(), [3].into());
}

#[test]
fn many_builds_of_many_threads_and_processes_are_told() {
    let indexer = Indexer::start();
    let setup = Setup::new(&indexer.url(), "");
    let count = compat_tests::scale(40, 1000);
    let seconds: Vec<f64> = std::thread::scope(|scope| {
        let processes: Vec<_> = (0..3)
            .map(|process| {
                let setup = &setup;
                scope.spawn(move || Hub::start(setup).commit_many(1 + process * 4 * count, 4, count))
            })
            .collect();
        processes.into_iter().flat_map(|process| process.join().unwrap()).collect()
    });
    assert_eq!(seconds.len() as i64, 3 * 4 * count);
    // The processes were ended while they told builds.
    setup.age_claims();
    let (status, written) = setup.flush(&["--max-seconds", "60"]);
    assert_eq!(status, Some(0), "{written}");
    assert_eq!(indexer.builds(), builds(1, 3 * 4 * count));
    assert_eq!(setup.spooled(), BTreeSet::new());
}

impl Setup {
    /// Waits until no build is left in the spool.
    #[track_caller]
    fn wait_until_told(&self) {
        wait_within(Duration::from_secs(20), "an empty spool", || self.spooled().is_empty());
    }

    /// Makes the files of builds that a process began to tell an hour old.
    fn age_claims(&self) {
        let then = std::time::SystemTime::now() - Duration::from_secs(3600);
        for name in self.spooled() {
            if name.contains(".telling.") {
                let path = Path::new(&self.path("spool")).join(name);
                std::fs::File::options().append(true).open(path).unwrap().set_modified(then).unwrap();
            }
        }
    }
}
