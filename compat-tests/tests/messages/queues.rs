//! Queues: their names, who declares them, several indexers.

use std::collections::BTreeSet;

use compat_tests::darkserver::Sqlite;
use compat_tests::indexer::RunningIndexer;
use compat_tests::python::queue_as_the_original;
use compat_tests::rabbitmq::VirtualHost;
use compat_tests::{scale, wait_within};
use serde_json::json;

use crate::support::{WITHIN, configuration, count, jobs, publish, query, state_change, wait_until_consumed};

#[test]
fn indexers_of_one_index_share_a_queue_with_a_random_name() {
    let (virtual_host, index) = (VirtualHost::new(), Sqlite::empty());
    // As on Fedora's broker, the queue vanishes without a consumer.
    let configuration = configuration(&virtual_host.url(), "prefetch = 2");
    let mut one = RunningIndexer::start(&index.url(), &configuration);
    wait_until_consumed(&one);
    let mut other = RunningIndexer::start(&index.url(), &configuration);
    wait_until_consumed(&other);
    let names = virtual_host.server().queues(&virtual_host.name);
    assert_eq!(names.len(), 1, "{names:?}");
    assert_eq!(query(&index, "select value from cursors where name = 'queue test'"), names);

    let builds = 1000..1000 + scale(40, 2_000);
    publish(&virtual_host.url(), &[], &builds.clone().map(|build| state_change(build, 1)).collect::<Vec<_>>());
    let total = builds.clone().count() as f64;
    wait_within(WITHIN, "all messages", || count(&one, "queued") + count(&other, "queued") == total);
    // Each was delivered once, and both took part.
    assert!(count(&one, "queued") > 0.0 && count(&other, "queued") > 0.0);
    let expected: BTreeSet<String> = builds.map(|build| format!("build primary {build}")).collect();
    assert_eq!(jobs(&index).into_iter().collect::<BTreeSet<_>>(), expected);

    assert_eq!(one.stop(), Some(0));
    other.kill();
    wait_within(WITHIN, "no queue", || virtual_host.server().queues(&virtual_host.name).is_empty());
    other.restart();
    wait_until_consumed(&other);
    assert_eq!(virtual_host.server().queues(&virtual_host.name), names);
}

#[test]
fn a_passive_consumer_declares_nothing_and_waits_for_its_queue() {
    let (virtual_host, index) = (VirtualHost::new(), Sqlite::empty());
    // It may only read.
    let server = virtual_host.server();
    server.allow("reader", &virtual_host.name, ["^$", "^$", ".*"]);
    let url = virtual_host.url().replace(compat_tests::rabbitmq::USER, "reader");
    let passive = configuration(&url, "queue = \"given\"\npassive = true");
    let indexer = RunningIndexer::start(&index.url(), &passive);
    let refusal = "expected the right to read the queue given, found the refusal \"NOT_FOUND - no queue 'given'";
    wait_within(WITHIN, "a refusal", || indexer.log().contains(refusal));
    assert_eq!(server.queues(&virtual_host.name), [""; 0]);

    let job = json!({"build_id": 7, "instance": "primary"}).to_string();
    queue_as_the_original(&virtual_host.url(), "given", &[job]);
    wait_until_consumed(&indexer);
    wait_within(WITHIN, "a job", || jobs(&index) == ["build primary 7"]);

    // One that declares is refused, and says so.
    let active = configuration(&url, "queue = \"other\"");
    let other = RunningIndexer::start(&index.url(), &active);
    let refusal = "expected the queue other with durable = false, auto_delete = true, exclusive = false, or none and \
                   the right to declare it, found the refusal \"ACCESS_REFUSED";
    wait_within(WITHIN, "a refusal", || other.log().contains(refusal));
    assert_eq!(other.metric("indexer_broker_connected{queue=\"test\"}"), 0.0);
}

#[test]
fn a_wrong_user_virtual_host_or_declaration_is_told() {
    let (virtual_host, index) = (VirtualHost::new(), Sqlite::empty());
    queue_as_the_original(&virtual_host.url(), "durable", &[]);
    for (url, keys, expected) in [
        (virtual_host.url().replace("p%40ss", "SECRET"), "", "ACCESS_REFUSED - Login was refused"),
        (virtual_host.url().replace("%2Ftest", "%2Fother"), "", "NOT_ALLOWED - vhost /other"),
        (virtual_host.url(), "queue = \"durable\"", "PRECONDITION_FAILED - inequivalent arg"),
        (virtual_host.url(), "exchange = \"nowhere\"", "NOT_FOUND - no exchange 'nowhere'"),
        ("amqp://127.0.0.1:9/".to_owned(), "", "Connection refused"),
    ] {
        let indexer = RunningIndexer::start(&index.url(), &configuration(&url, keys));
        wait_within(WITHIN, expected, || {
            let log = indexer.log();
            log.lines().any(|line| line.contains("messages are not consumed: expected ") && line.contains(expected))
        });
        assert!(!indexer.log().contains("SECRET"));
    }
}
