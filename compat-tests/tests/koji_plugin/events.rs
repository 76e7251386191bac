//! Which callbacks tell a build, and as what.

use std::time::Duration;

use compat_tests::wait_within;
use serde_json::{Value, json};

use crate::Setup;
use crate::hub::{Hub, build, changed, complete};
use crate::indexer::Indexer;

/// What the indexer is told of a request with these callbacks: builds and events, in order of the builds.
fn told(callbacks: &[Value]) -> Vec<(i64, String)> {
    let indexer = Indexer::start();
    let setup = Setup::new(&indexer.url(), "");
    let mut hub = Hub::start(&setup);
    hub.commit(callbacks);
    // A build of a later request shows that nothing more comes.
    hub.commit(&[complete(999)]);
    let is_there = || indexer.builds().contains(&999);
    wait_within(Duration::from_secs(10), "the last message", is_there);
    setup.wait_until_told();
    let log = hub.log();
    assert!(!log.contains("Traceback"), "{log}");
    let text = |message: &Value| (message["build"].as_i64().unwrap(), message["event"].as_str().unwrap().to_owned());
    let mut told: Vec<_> = indexer.messages().iter().map(text).filter(|(build, _)| *build != 999).collect();
    told.sort();
    told
}

fn signed(id: i64, arch: &str, key: &str) -> Value {
    json!(["postRPMSign", {
        "sigkey": key, "sighash": "0123456789abcdef", "build": build(id, 1),
        "rpm": {
            "id": 45_000_001, "build_id": id, "name": "hello", "version": "2.12.1", "release": "5.fc44", "arch": arch,
        },
    }])
}

fn imported(id: i64, kind: &str, state: i64) -> Value {
    json!(["postImport", {"type": kind, "build": build(id, state), "rpm": {"id": 1}, "filepath": "/x", "fileinfo": {}}])
}

#[test]
fn changes_of_state_tell_builds_that_are_complete_or_were() {
    let callbacks = [
        changed(1, "state", json!(0), 1, 1),
        changed(2, "state", json!(1), 2, 2),
        // `koji import` makes a complete build.
        changed(3, "state", Value::Null, 1, 1),
        // Begins, fails, is canceled.
        changed(4, "state", Value::Null, 0, 0),
        changed(5, "state", json!(0), 3, 3),
        changed(6, "state", json!(0), 4, 4),
        // resetBuild makes a complete build a canceled one.
        changed(7, "state", json!(1), 4, 4),
    ];
    let expected = [(1, "complete"), (2, "deleted"), (3, "complete"), (7, "reset")];
    assert_eq!(told(&callbacks), expected.map(|(build, event)| (build, event.to_owned())));
}

#[test]
fn moves_promotions_and_added_packages_are_told() {
    let callbacks = [
        changed(1, "volume_id", json!(0), 5, 1),
        // The build policy chooses the volume of a build that goes on.
        changed(2, "volume_id", json!(0), 5, 0),
        json!(["postBuildPromote", {
            "draft_release": "5.fc44,draft_3", "target_release": "5.fc44", "build": build(3, 1), "user": {"id": 1},
        }]),
        imported(4, "rpm", 1),
        imported(5, "rpm", 0),
        imported(6, "archive", 1),
    ];
    let expected = [(1, "moved"), (3, "promoted"), (4, "imported")];
    assert_eq!(told(&callbacks), expected.map(|(build, event)| (build, event.to_owned())));
}

#[test]
fn hundreds_of_signatures_of_a_build_are_one_message() {
    let mut callbacks: Vec<Value> = (0..500).map(|n| signed(1, &format!("arch{n}"), "6d9f90a6")).collect();
    callbacks.push(signed(2, "x86_64", ""));
    assert_eq!(told(&callbacks), [(1, "signed".to_owned())]);
}

#[test]
fn a_completed_build_is_told_once_with_its_packages() {
    // What import_build does in one request.
    let callbacks = [complete(1), imported(1, "rpm", 1), signed(1, "x86_64", ""), imported(1, "build", 1)];
    assert_eq!(told(&callbacks), [(1, "complete".to_owned())]);
}

#[test]
fn a_deletion_takes_precedence_in_its_request() {
    let callbacks = [changed(1, "volume_id", json!(0), 5, 1), changed(1, "state", json!(1), 2, 2)];
    assert_eq!(told(&callbacks), [(1, "deleted".to_owned())]);
}

#[test]
fn builds_without_a_number_are_logged_and_told_not() {
    let indexer = Indexer::start();
    let setup = Setup::new(&indexer.url(), "");
    let mut hub = Hub::start(&setup);
    hub.commit(&[
        json!(["postBuildStateChange", {"attribute": "state", "old": 0, "new": 1, "info": {"name": "hello"}}]),
        json!(["postBuildStateChange", {"attribute": "state", "old": 0, "new": 1, "info": null}]),
        json!(["postRPMSign", {"sigkey": "6d9f90a6"}]),
        json!(["postBuildPromote", {}]),
        complete(1),
    ]);
    wait_within(Duration::from_secs(10), "the other build", || indexer.builds() == [1].into());
    assert_eq!(hub.log().matches("unexpected build").count(), 4, "{}", hub.log());
}
