//! A database that is reached slowly, stops answering, refuses, and may come back.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use compat_tests::mariadb::MariaDb;

use crate::import_process::{Running, command, run, run_ok};
use crate::locked_index::{assert_same, dump};
use crate::server::{Imported, assert_names_database};

#[tokio::test]
async fn a_slow_database_is_only_slow() {
    let imported = Imported::into_mariadb(&MariaDb::shared()).await;
    let (database, proxy) = imported.behind_proxy();
    proxy.delay(15);
    let said = run_ok(&database, &imported.dir());
    assert!(said.stderr.is_empty() || !said.stderr.contains("trying again"), "{said:?}");
    assert_same(&dump(&database).await, &imported.expected, "slow");
}

#[tokio::test]
async fn connections_that_vanish_are_replaced() {
    // Through TLS to take leave of a connection is to wait for an answer.
    for server in [MariaDb::shared(), Arc::new(MariaDb::start_with_tls())] {
        connections_vanish(&server).await;
    }
}

async fn connections_vanish(server: &Arc<MariaDb>) {
    let imported = Imported::into_mariadb(server).await;
    let (database, proxy) = imported.behind_proxy();
    proxy.delay(5);
    let importer = Running::start(command(&database, &[&imported.dir()[..], &["--wait", "15"]].concat()));
    imported.wait_for_its_middle(&database);
    proxy.vanish();
    proxy.delay(0);
    let said = importer.finish();
    assert_eq!(said.code, Some(0), "{said:?}");
    // In the middle of a statement it is waited for and told; between two transactions a ping of 3 s notices.
    if said.stderr.contains("trying again") {
        assert!(said.stderr.contains("expected an answer within 15 s"), "{said:?}");
        assert!(
            said.stderr.contains("trying again for up to 15 s") && said.stderr.contains("succeeded after"),
            "{said:?}"
        );
    } else {
        assert!(said.json["seconds"].as_f64().is_some_and(|seconds| seconds >= 3.0), "{said:?}");
    }
    assert_same(&dump(&database).await, &imported.expected, "vanished connections");
}

#[tokio::test]
async fn a_database_that_refuses_for_a_while_is_waited_for() {
    let server = MariaDb::shared();
    let imported = Imported::into_mariadb(&server).await;
    let (database, proxy) = imported.behind_proxy();
    proxy.delay(5);
    let importer = Running::start(command(&database, &[&imported.dir()[..], &["--wait", "60", "--quiet"]].concat()));
    imported.wait_for_its_middle(&database);
    proxy.close();
    thread::sleep(Duration::from_secs(2));
    proxy.delay(0);
    proxy.open(server.port());
    let said = importer.finish();
    assert_eq!(said.code, Some(0), "{said:?}");
    // It is told when a question breaks off, or when it has had no connection for 10 s.
    if said.stderr.contains("trying again") {
        assert!(said.stderr.contains("for up to 60 s") && said.stderr.contains("succeeded after"), "{said:?}");
        assert_names_database(&said, &database);
    }
    assert_same(&dump(&database).await, &imported.expected, "refused for a while");
}

#[tokio::test]
async fn a_database_that_does_not_come_back_ends_the_import_in_time_and_the_next_one_goes_on() {
    let server = MariaDb::shared();
    for is_silent in [false, true] {
        let imported = Imported::into_mariadb(&server).await;
        let (database, proxy) = imported.behind_proxy();
        proxy.delay(5);
        let importer = Running::start(command(&database, &[&imported.dir()[..], &["--wait", "3"]].concat()));
        imported.wait_for_its_middle(&database);
        let fault = || if is_silent { proxy.silence(true) } else { proxy.close() };
        fault();
        let began = Instant::now();
        let said = importer.finish();
        // Twice the time, and a bound that is generous to busy machines.
        assert!(began.elapsed() < Duration::from_secs(6 + 15), "{:?} {said:?}", began.elapsed());
        assert_eq!(said.code, Some(1), "{said:?}");
        assert!(
            said.stderr.contains("gave up after") && said.stderr.contains("trying again for up to 3 s"),
            "{said:?}"
        );
        assert_names_database(&said, &database);

        // Nor does the next one hang, or wait: it says so.
        let began = Instant::now();
        let said = run(&database, &imported.dir());
        assert_eq!(said.code, Some(1), "{said:?}");
        let cause = if is_silent { "expected a connection within 10 s, found none" } else { "Connection refused" };
        assert!(said.stderr.contains(cause), "{said:?}");
        assert_names_database(&said, &database);
        assert!(began.elapsed() < Duration::from_secs(25), "{:?} {said:?}", began.elapsed());

        proxy.silence(false);
        proxy.delay(0);
        if !is_silent {
            proxy.open(server.port());
        }
        run_ok(&database, &imported.dir());
        assert_same(&dump(&database).await, &imported.expected, "the next run");
    }
}
