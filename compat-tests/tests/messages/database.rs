//! Messages that arrive while the database is away stay in the queue.

use compat_tests::darkserver::import_ok;
use compat_tests::indexer::RunningIndexer;
use compat_tests::mariadb::MariaDb;
use compat_tests::rabbitmq::VirtualHost;
use compat_tests::wait_within;

use crate::support::{WITHIN, configuration, publish, state_change, wait_until_consumed};

#[test]
fn no_message_is_acknowledged_before_its_job_is_committed() {
    let (virtual_host, mut database) = (VirtualHost::new(), MariaDb::start());
    database.create_database("index");
    let url = database.url("index");
    import_ok(&url, &["migrate"]);
    let keys = "queue = \"q\"\ndurable = true\nauto_delete = false\nprefetch = 3";
    let configuration = configuration(&virtual_host.url(), keys);
    let mut indexer = RunningIndexer::start(&url, &configuration);
    wait_until_consumed(&indexer);
    let keys_of_jobs = |database: &MariaDb| database.sql("select `key` from `index`.jobs order by `key`");
    let messages = || virtual_host.server().messages(&virtual_host.name, "q");

    // The broker keeps what the database could not take, and what is more than `prefetch`.
    database.stop();
    publish(&virtual_host.url(), &[], &[1, 2, 3, 4].map(|build| state_change(build, 1)));
    wait_within(WITHIN, "unacknowledged messages", || messages() == Some((1, 3)));
    database.restart();
    let expected = "build primary 1\nbuild primary 2\nbuild primary 3\nbuild primary 4\n";
    wait_within(WITHIN, "four jobs", || keys_of_jobs(&database) == expected);
    wait_within(WITHIN, "an empty queue", || messages() == Some((0, 0)));

    // An indexer that stops meanwhile gives them back.
    database.stop();
    publish(&virtual_host.url(), &[], &[5, 6].map(|build| state_change(build, 1)));
    wait_within(WITHIN, "unacknowledged messages", || messages() == Some((0, 2)));
    indexer.stop();
    wait_within(WITHIN, "messages in the queue", || messages() == Some((2, 0)));
    database.restart();
    indexer.restart();
    wait_within(WITHIN, "six jobs", || keys_of_jobs(&database).lines().count() == 6);
}
