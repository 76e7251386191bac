//! Genuine messages become jobs and tags; others are ignored, or kept with the reason.

use compat_tests::darkserver::{Sqlite, import_ok};
use compat_tests::indexer::RunningIndexer;
use compat_tests::python::queue_as_the_original;
use compat_tests::rabbitmq::VirtualHost;
use compat_tests::wait_within;
use serde_json::{Value, json};

use crate::support::{WITHIN, configuration, count, jobs, message, publish, query, state_change, wait_until_consumed};

fn signed(build: i64, package: &str) -> Value {
    message(
        "koji_fedoramessaging.rpm.SignV1",
        json!({
            "sigkey": "6d9f90a6", "sighash": "0123456789abcdef0123456789abcdef", "instance": "primary",
            "rpm": {"id": 1, "build_id": build, "name": package, "version": "1", "release": "1", "epoch": null,
                "arch": "x86_64", "metadata_only": false, "external_repo_id": 0, "extra": null},
            "build": {"id": build, "build_id": build, "name": "hello", "nvr": "hello-1-1", "epoch": null, "state": 1},
        }),
    )
}

fn tagged(class: &str, build: i64, tag: &str) -> Value {
    let schema = format!("koji_fedoramessaging.tag.{class}");
    let body = json!({"build_id": build, "name": "hello", "version": "1", "release": "1.fc44", "tag": tag,
        "tag_id": 9001, "user": "bodhi", "owner": "somebody", "instance": "primary"});
    message(&schema, body)
}

fn update(nvrs: &[&str]) -> Value {
    let builds: Vec<Value> = nvrs.iter().map(|nvr| json!({"nvr": nvr})).collect();
    json!({"alias": "FEDORA-2026-0123456789", "builds": builds, "release": {"name": "F44"}, "request": null,
        "status": "stable", "user": {"name": "somebody"}})
}

#[test]
fn genuine_messages_become_jobs_and_tags_and_poison_is_kept_with_the_reason() {
    let (virtual_host, index) = (VirtualHost::new(), Sqlite::empty());
    let mut indexer = RunningIndexer::start(&index.url(), &configuration(&virtual_host.url(), "queue = \"q\""));
    wait_until_consumed(&indexer);
    let artifact = json!({"type": "koji-build-group", "id": "FEDORA-2026-0123456789", "repository": "https://r.example",
        "builds": [{"type": "koji-build", "id": 106, "task_id": 1, "nvr": "hello-1-6.fc44", "issuer": "somebody",
            "component": "hello", "scratch": false}]});
    publish(
        &virtual_host.url(),
        &[],
        &[
            state_change(101, 1),
            state_change(102, 2),
            // Duplicates, and what is not complete.
            state_change(101, 1),
            state_change(103, 0),
            state_change(103, 3),
            signed(104, "hello"),
            signed(104, "hello-debuginfo"),
            tagged("TagV1", 105, "f44-updates-candidate"),
            tagged("TagV1", 105, "f44-updates"),
            tagged("UntagV1", 105, "f44-updates-candidate"),
            message("bodhi.update.complete.stable.v1", json!({"update": update(&["bash-5-1.fc44", "zlib-1-1.fc44"])})),
            message("bodhi.update.complete.testing.v1", json!({"update": update(&["bash-5-2.fc44"])})),
            message(
                "bodhi.update.status.testing.v3",
                json!({"agent": "bodhi", "re-trigger": false, "artifact": artifact, "update": update(&[])}),
            ),
            json!({"schema": "base.message", "topic": "buildsys.build.promote",
                "body": {"base_url": "https://koji.example.org", "instance": "primary"}}),
            // A body that its schema would refuse arrives without one.
            json!({"schema": "base.message", "topic": "buildsys.tag", "body": {"build_id": "many", "tag": "f44"}}),
            json!({"schema": "base.message", "topic": "buildsys.repo.done", "body": {"instance": "primary"}}),
        ],
    );
    // The last one has no binding, so it does not arrive.
    let all = || count(&indexer, "queued") + count(&indexer, "ignored") + count(&indexer, "poison");
    wait_within(WITHIN, "all messages", || all() == 15.0);
    let found = [count(&indexer, "queued"), count(&indexer, "ignored"), count(&indexer, "poison")];
    assert_eq!(found, [11.0, 3.0, 1.0]);
    assert_eq!(
        jobs(&index),
        [
            "build primary 101",
            "build primary 104",
            "build primary 105",
            "build primary 106",
            "build primary bash-5-1.fc44",
            "build primary bash-5-2.fc44",
            "build primary zlib-1-1.fc44",
            "deleted build primary 102",
        ]
    );
    let tags = "select tag || ' ' || (tagged_at is not null) || ' ' || (untagged_at is not null) from build_tags \
                where instance = 'primary' and build = 105 order by tag";
    assert_eq!(query(&index, tags), ["f44-updates 1 0", "f44-updates-candidate 1 1"]);
    let [reason] = &query(&index, "select reason from poison where source = 'messages/test'")[..] else {
        panic!("expected one row in poison")
    };
    for part in ["org.fedoraproject.prod.buildsys.tag, message ", "expected a tagged build in JSON", "\"many\""] {
        assert!(reason.contains(part), "{reason}");
    }
    let status = import_ok(&index.url(), &["status"]);
    assert!(String::from_utf8_lossy(&status.stdout).contains("expected a tagged build in JSON"), "{status:?}");
    // Acknowledgements are under way once the messages are counted.
    wait_within(WITHIN, "an empty queue", || virtual_host.server().messages(&virtual_host.name, "q") == Some((0, 0)));
    assert_eq!(indexer.stop(), Some(0));
}

#[test]
fn the_queue_of_the_original_is_read_without_a_configuration() {
    let (virtual_host, index) = (VirtualHost::new(), Sqlite::empty());
    let server = virtual_host.server();
    server.allow("guest", &virtual_host.name, [".*", ".*", ".*"]);
    let etc = tempfile::tempdir().expect("a temporary directory");
    let write = |name: &str, text: &str| std::fs::write(etc.path().join(name), text).expect("write a file");
    let (name, port) = (&virtual_host.name, server.port());
    write("rabbitmq.cfg", &format!("[rabbitmq]\nhost: 127.0.0.1\nport: {port}\nvirtual_host: {name}\n"));
    let koji = r#"{"hub": "http://127.0.0.1:9/kojihub/", "pkgs": "http://127.0.0.1:9//packages"}"#;
    write("koji_info.json", &format!("{{\"primary\": {koji}, \"arm\": {koji}}}"));
    let job =
        |build: i64, instance: &str| json!({"build_id": build, "instance": instance, "release": "fc23"}).to_string();
    let waiting = [job(614_503, "primary"), job(7, "arm"), job(8, "s390"), "not a job".to_owned()];
    queue_as_the_original(&virtual_host.url(), "darkserver_importer", &waiting);
    let url = index.url();
    let environment = [("DARKSERVER_DATABASE", url.as_str()), ("DARKSERVER_ETC", etc.path().to_str().expect("UTF-8"))];
    let mut indexer = RunningIndexer::start_through(&[], &environment, "");
    let poison = "indexer_messages_total{queue=\"darkserver_importer\",result=\"poison\"}";
    wait_within(WITHIN, "the last message", || indexer.metric(poison) == 1.0);
    assert_eq!(jobs(&index), ["build arm 7", "build primary 614503"]);
    assert_eq!(query(&index, "select payload from poison"), ["not a job"]);
    assert_eq!(indexer.stop(), Some(0));
}
