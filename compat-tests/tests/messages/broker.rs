//! Faults of the broker: restarted, silent, a queue that is deleted.

use compat_tests::darkserver::Sqlite;
use compat_tests::indexer::RunningIndexer;
use compat_tests::rabbitmq::RabbitMq;
use compat_tests::wait_within;

use crate::support::{WITHIN, configuration, jobs, publish, state_change, wait_until_consumed};

const CONNECTED: &str = "indexer_broker_connected{queue=\"test\"}";
const CONNECTS: &str = "indexer_broker_connects_total{queue=\"test\"}";

#[test]
fn a_consumer_outlives_its_broker_and_its_queue() {
    let (mut server, index) = (RabbitMq::start(), Sqlite::empty());
    let virtual_host = server.virtual_host();
    let url = server.url(&virtual_host);
    let keys = "queue = \"q\"\ndurable = true\nauto_delete = false";
    let configuration = configuration(&format!("{url}?heartbeat=2"), keys);
    let mut indexer = RunningIndexer::start(&index.url(), &configuration);
    wait_until_consumed(&indexer);
    publish(&url, &[], &[state_change(1, 1)]);
    wait_within(WITHIN, "a job", || jobs(&index) == ["build primary 1"]);

    // What waits in the queue survives the broker.
    assert_eq!(indexer.stop(), Some(0));
    publish(&url, &[], &[state_change(2, 1)]);
    indexer.restart();
    wait_within(WITHIN, "a second job", || jobs(&index).len() == 2);
    server.stop();
    wait_within(WITHIN, "no connection", || indexer.metric(CONNECTED) == 0.0);
    assert!(indexer.log().contains("messages are not consumed: expected "), "{}", indexer.log());
    server.restart();
    wait_until_consumed(&indexer);
    publish(&url, &[], &[state_change(3, 1)]);
    wait_within(WITHIN, "a third job", || jobs(&index).len() == 3);
    assert_eq!(indexer.metric(CONNECTS), 2.0);

    // A queue that somebody deletes is declared again.
    server.control(&["delete_queue", "-p", &virtual_host, "q"]);
    wait_within(WITHIN, "another connection", || indexer.metric(CONNECTS) == 3.0);
    assert!(indexer.log().contains("expected the queue q, found it removed"), "{}", indexer.log());
    wait_until_consumed(&indexer);
    publish(&url, &[], &[state_change(4, 1)]);
    wait_within(WITHIN, "a fourth job", || jobs(&index).len() == 4);

    // A broker that is silent is noticed by its heartbeats, and no thread waits for it.
    let id = indexer.process().id();
    let threads = || std::fs::read_dir(format!("/proc/{}/task", id)).map_or(0, Iterator::count);
    let before = threads();
    server.pause();
    wait_within(WITHIN, "no connection", || indexer.metric(CONNECTED) == 0.0);
    server.resume();
    wait_until_consumed(&indexer);
    publish(&url, &[], &[state_change(5, 1)]);
    wait_within(WITHIN, "a fifth job", || jobs(&index).len() == 5);
    wait_within(WITHIN, "threads of former connections", || threads() <= before + 2);
}
