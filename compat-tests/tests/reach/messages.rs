//! Messages of Koji and Bodhi, published by fedora-messaging.

use std::io::Write;
use std::process::Stdio;

use compat_tests::koji_hub::KojiHub;
use compat_tests::python;
use serde_json::{Value, json};

/// Koji's numbers of states.
const BUILDING: i64 = 0;
const COMPLETE: i64 = 1;
const DELETED: i64 = 2;

/// `BuildStateChangeV1` of a build that is complete.
pub(crate) fn completed(koji: &KojiHub, build: i64) -> Value {
    build_change(koji, build, "state", BUILDING, COMPLETE)
}

/// `BuildStateChangeV1` of a build that was deleted.
pub(crate) fn deleted(koji: &KojiHub, build: i64) -> Value {
    build_change(koji, build, "state", COMPLETE, DELETED)
}

/// `BuildStateChangeV1` of a build that is on another volume. The body has the numbers of the volumes.
pub(crate) fn moved(koji: &KojiHub, build: i64) -> Value {
    build_change(koji, build, "volume_id", 0, 7)
}

fn build_change(koji: &KojiHub, build: i64, attribute: &str, old: i64, new: i64) -> Value {
    let nvr = koji.nvr(build);
    let parts: Vec<&str> = nvr.rsplitn(3, '-').collect();
    json!({"schema": "koji_fedoramessaging.build.BuildStateChangeV1", "body": {
        "name": parts[2], "version": parts[1], "release": parts[0], "epoch": null,
        "attribute": attribute, "old": old, "new": new, "build_id": build, "task_id": 140_000_001, "owner": "somebody",
        "instance": "primary", "request": ["git+https://src.example.org/rpms/server.git#01", "f44-candidate", {}],
        "creation_time": "2026-05-04T10:11:12.131415+00:00",
        "completion_time": "2026-05-04T10:20:00.000001+00:00",
        "task": {"id": 140_000_001, "method": "build", "arch": "noarch", "host_id": 400, "result": null},
    }})
}

/// `TagV1` or `UntagV1` of a build.
pub(crate) fn tagging(class: &str, koji: &KojiHub, build: i64, tag: &str) -> Value {
    let nvr = koji.nvr(build);
    let parts: Vec<&str> = nvr.rsplitn(3, '-').collect();
    json!({"schema": format!("koji_fedoramessaging.tag.{class}"), "body": {
        "build_id": build, "name": parts[2], "version": parts[1], "release": parts[0], "tag": tag, "tag_id": 9001,
        "user": "bodhi", "owner": "somebody", "instance": "primary",
    }})
}

/// `bodhi.update.complete.stable.v1` of an update of this build.
pub(crate) fn stable(koji: &KojiHub, build: i64) -> Value {
    json!({"schema": "bodhi.update.complete.stable.v1", "body": {"update": {
        "alias": "FEDORA-2026-0123456789", "builds": [{"nvr": koji.nvr(build)}], "release": {"name": "F99"},
        "request": null, "status": "stable", "user": {"name": "somebody"},
    }}})
}

/// Publishes messages by fedora-messaging, which validates them and waits for the broker.
#[track_caller]
pub(crate) fn publish(url: &str, messages: &[Value]) {
    let mut command = python::script("python/publish.py");
    command.arg(url).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let lines: String = messages.iter().map(|message| format!("{message}\n")).collect();
    // A publisher that fails closes its input; its status tells.
    let _ = child.stdin.take().map(|mut stdin| stdin.write_all(lines.as_bytes()));
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(String::from_utf8_lossy(&output.stdout).lines().count(), messages.len(), "ids of messages");
}
