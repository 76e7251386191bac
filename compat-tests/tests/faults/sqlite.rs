//! An SQLite file that is removed, replaced, truncated or locked during look-ups.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use compat_tests::darkserver::{RunningGateway, Sqlite};
use compat_tests::wait_until;
use compat_tests::{fixtures, scale};

use crate::{ExpectedFile, answer_or_reset};

const SHORT: &str = "[index]\nfound_ttl = \"200ms\"\nabsent_ttl = \"100ms\"\n";
const UNKNOWN: &str = "/buildid/00000000000000000000000000000000000000aa/debuginfo";

fn servers() -> Sqlite {
    Sqlite::with_packages(&[&fixtures::family("server")])
}

/// Replaces `path` by a copy of `file` atomically.
fn replace(path: &Path, file: &Path) {
    let beside = path.with_extension("new");
    std::fs::copy(file, &beside).unwrap();
    std::fs::rename(&beside, path).unwrap();
}

/// Records in memory are answered, other requests are unavailable, and the log names the file.
fn assert_unavailable(gateway: &RunningGateway, path: &Path, what: &str) {
    wait_until(what, || gateway.metric("gateway_index_up") == 0.0);
    // Its entry in memory expires after `found_ttl`; it is answered before and afterwards.
    wait_until(what, || {
        let answer = ExpectedFile::server(5).ask(gateway.port);
        let answer = answer.unwrap_or_else(|| panic!("{what}: expected the answer from memory"));
        answer.header("x-darkserver-index").is_some_and(|value| value.starts_with("unavailable; since="))
    });
    assert!(ExpectedFile::server(6).ask(gateway.port).is_none(), "{what}");
    assert!(answer_or_reset(gateway.port, UNKNOWN).is_none(), "{what}");
    let log = gateway.log();
    let line = log.lines().find(|line| line.contains("the index is unavailable")).unwrap();
    assert!(line.contains(path.to_str().unwrap()), "{what}: no cause: {line}");
}

#[test]
fn a_removed_or_replaced_file_is_unavailable_until_it_is_restored() {
    let (index, other) = (servers(), Sqlite::with_packages(&[&fixtures::family("payloads")]));
    let copy = index.path().with_extension("copy");
    std::fs::copy(index.path(), &copy).unwrap();
    let nonsense = index.path().with_extension("nonsense");
    std::fs::write(&nonsense, "not a database at all".repeat(1000)).unwrap();
    for what in ["removed", "nonsense"] {
        let gateway = RunningGateway::start_with(&index.url(), SHORT, &[]);
        ExpectedFile::server(5).ask(gateway.port).unwrap();
        match what {
            "removed" => std::fs::remove_file(index.path()).unwrap(),
            _ => replace(&index.path(), &nonsense),
        }
        assert_unavailable(&gateway, &index.path(), what);
        replace(&index.path(), &copy);
        assert_eq!(ExpectedFile::server(6).recovers(&gateway).header("x-darkserver-index"), None, "{what}");
        wait_until("absent again", || {
            answer_or_reset(gateway.port, UNKNOWN).is_some_and(|answer| answer.status == 404)
        });
    }
    // Another index replaces the first, whose records expire.
    let gateway = RunningGateway::start_with(&index.url(), SHORT, &[]);
    let (first, second) = (
        ExpectedFile::server(5),
        fixtures::build_id("payloads/payload-none-1.0-1.fc99.x86_64.rpm", "/usr/bin/payload-none"),
    );
    let second = format!("/buildid/{second}/executable");
    first.ask(gateway.port).unwrap();
    assert_eq!(answer_or_reset(gateway.port, &second).unwrap().status, 404);
    replace(&index.path(), &other.path());
    wait_until("the other index", || answer_or_reset(gateway.port, &second).is_some_and(|answer| answer.status == 200));
    wait_until("an absence", || answer_or_reset(gateway.port, &first.path).is_some_and(|answer| answer.status == 404));
}

#[test]
fn a_file_is_not_read_with_the_log_of_the_file_before() {
    let index = servers();
    let copy = index.path().with_extension("copy");
    std::fs::copy(index.path(), &copy).unwrap();
    let gateway = RunningGateway::start_with(&index.url(), SHORT, &[]);
    ExpectedFile::server(5).ask(gateway.port).unwrap();
    let session = Session::start(&index.path(), "pragma wal_autocheckpoint = 0; delete from artifacts");
    wait_until("an absence", || {
        answer_or_reset(gateway.port, &ExpectedFile::server(6).path).is_some_and(|answer| answer.status == 404)
    });
    // The log deletes all artifacts. SQLite would apply it to the file that has them.
    replace(&index.path(), &copy);
    wait_until("no answer from the file", || answer_or_reset(gateway.port, &ExpectedFile::server(6).path).is_none());
    for release in [6, 7, 6, 7] {
        assert!(ExpectedFile::server(release).ask(gateway.port).is_none(), "expected a reset");
    }
    wait_until("a reason", || gateway.log().contains("which belongs to a former file"));
    drop(session);
    for suffix in ["-wal", "-shm"] {
        std::fs::remove_file(format!("{}{suffix}", index.path().display())).unwrap();
    }
    assert_eq!(ExpectedFile::server(6).recovers(&gateway).header("x-darkserver-index"), None);
}

#[test]
fn a_truncated_file_is_never_answered_as_absent() {
    let index = servers();
    let copy = index.path().with_extension("copy");
    std::fs::copy(index.path(), &copy).unwrap();
    let whole = copy.metadata().unwrap().len();
    for length in [0, 100, 4096, whole / 2, whole - 4096, whole - 1].into_iter().step_by(scale(2, 1)) {
        let gateway = RunningGateway::start_with(&index.url(), SHORT, &[]);
        ExpectedFile::server(5).ask(gateway.port).unwrap();
        File::options().write(true).open(index.path()).unwrap().set_len(length).unwrap();
        // Right or unavailable, never absent: pages that were read before may still be in memory. Three times
        // `found_ttl`.
        for _ in 0..3 {
            std::thread::sleep(std::time::Duration::from_millis(250));
            ExpectedFile::server(5)
                .ask(gateway.port)
                .unwrap_or_else(|| panic!("{length}: expected the answer from memory"));
            ExpectedFile::server(6).ask(gateway.port);
            let json =
                answer_or_reset(gateway.port, &format!("/buildids/{}", ExpectedFile::server(7).build_id())).unwrap();
            assert!(json.status == 503 || json.text().contains("server-1.1-7"), "{length}: {}", json.text());
        }
        replace(&index.path(), &copy);
        assert_eq!(ExpectedFile::server(7).recovers(&gateway).header("x-darkserver-index"), None, "{length}");
    }
}

/// Another process' connection to an SQLite file. It runs `statements` and holds its locks until it is dropped.
struct Session(Child);

impl Session {
    fn start(path: &Path, statements: &str) -> Self {
        const SCRIPT: &str = "
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
for statement in sys.argv[2].split(';'):
    connection.execute(statement)
print('done', flush=True)
sys.stdin.read()
";
        let mut command = Command::new("python3");
        command.args(["-c", SCRIPT]).arg(path).arg(statements).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("run python3");
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "done\n", "{statements}");
        Self(child)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // Closing its input ends the process: SQLite rolls its transaction back.
        drop(self.0.stdin.take().map(|mut input| input.flush()));
        let _ = self.0.wait();
    }
}

#[test]
fn a_long_transaction_of_a_writer_does_not_block_readers() {
    let index = servers();
    let gateway = RunningGateway::start_with(&index.url(), SHORT, &[]);
    let writer = Session::start(
        &index.path(),
        "begin immediate; delete from artifacts; delete from locations; delete from packages",
    );
    for release in [5, 6, 7] {
        let answer = ExpectedFile::server(release).ask(gateway.port).expect("an answer");
        assert_eq!(answer.header("x-darkserver-index"), None);
    }
    assert_eq!(answer_or_reset(gateway.port, UNKNOWN).unwrap().status, 404);
    drop(writer);
    ExpectedFile::server(6).ask(gateway.port).expect("an answer");
}

#[test]
fn an_exclusively_locked_file_is_unavailable_until_it_is_unlocked() {
    let index = servers();
    let session = Session::start(
        &index.path(),
        "pragma locking_mode = exclusive; begin immediate; delete from artifacts where 0",
    );
    let gateway = RunningGateway::start_with(&index.url(), SHORT, &[]);
    assert!(ExpectedFile::server(6).ask(gateway.port).is_none());
    assert!(answer_or_reset(gateway.port, UNKNOWN).is_none());
    wait_until("a message", || gateway.log().contains("the index is unavailable"));
    assert!(
        gateway.log().lines().any(|line| line.contains("the index is unavailable") && line.contains("darkserver.db")),
        "no cause"
    );
    drop(session);
    assert_eq!(ExpectedFile::server(6).recovers(&gateway).header("x-darkserver-index"), None);
    wait_until("absent again", || answer_or_reset(gateway.port, UNKNOWN).is_some_and(|answer| answer.status == 404));
}
