//! What the tests share: a configuration, publishers, and a look at the database.

use std::process::Command;

use compat_tests::darkserver::Sqlite;
use compat_tests::indexer::RunningIndexer;
use compat_tests::process::run;
use compat_tests::python;
use compat_tests::wait_within;
use serde_json::{Value, json};

/// Maximum time from a message to its job, with room for a busy machine and the longest pauses of a consumer.
pub(crate) const WITHIN: std::time::Duration = std::time::Duration::from_secs(40);

/// A configuration with an instance of Koji that does not answer, and a queue `test` at the URL.
pub(crate) fn configuration(url: &str, keys: &str) -> String {
    format!(
        "[[koji]]\nname = \"primary\"\nhub = \"http://127.0.0.1:9/kojihub\"\ntopurl = \"http://127.0.0.1:9\"\n\
         [[messages]]\nname = \"test\"\nurl = \"{url}\"\n{keys}\n"
    )
}

/// Waits until the queue `test` is consumed.
pub(crate) fn wait_until_consumed(indexer: &RunningIndexer) {
    wait_within(WITHIN, "a consumer", || indexer.metric("indexer_broker_connected{queue=\"test\"}") == 1.0);
}

/// The number of messages of the queue `test` with a result.
pub(crate) fn count(indexer: &RunningIndexer, result: &str) -> f64 {
    indexer.metric(&format!("indexer_messages_total{{queue=\"test\",result=\"{result}\"}}"))
}

/// A message of a genuine class.
pub(crate) fn message(schema: &str, body: Value) -> Value {
    json!({"schema": schema, "body": body})
}

/// A `BuildStateChangeV1` of a build with a new state.
pub(crate) fn state_change(build: i64, new: i64) -> Value {
    message(
        "koji_fedoramessaging.build.BuildStateChangeV1",
        json!({
            "name": "hello", "version": "2.12.1", "release": format!("{build}.fc44"), "epoch": null,
            "attribute": "state", "old": 0, "new": new, "build_id": build, "task_id": 140_000_001, "owner": "somebody",
            "instance": "primary", "request": ["git+https://src.example.org/rpms/hello.git#01", "f44-candidate", {}],
            "creation_time": "2026-05-04T10:11:12.131415+00:00",
            "completion_time": "2026-05-04T10:20:00.000001+00:00",
            "task": {"id": 140_000_001, "method": "build", "arch": "noarch", "host_id": 400, "result": null},
        }),
    )
}

/// Publishes messages by fedora-messaging, which validates them. `tls` is an authority, a certificate and its key.
#[track_caller]
pub(crate) fn publish(url: &str, tls: &[&str], messages: &[Value]) {
    python::publish(url, tls, &messages.iter().map(Value::to_string).collect::<Vec<_>>());
}

/// The lines of a query of an SQLite index.
pub(crate) fn query(index: &Sqlite, statement: &str) -> Vec<String> {
    let mut sqlite3 = Command::new("sqlite3");
    let output = run(sqlite3.args(["-readonly", "-cmd", ".timeout 5000"]).arg(index.path()).arg(statement), "sqlite3");
    assert!(output.status.success(), "{statement}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect()
}

/// The keys of the jobs in an SQLite index.
pub(crate) fn jobs(index: &Sqlite) -> Vec<String> {
    query(index, "select key from jobs order by key")
}
