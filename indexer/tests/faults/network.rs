//! Slow connections to the database, connections that die, and a database that is unavailable for a while or for good.

use std::sync::Arc;
use std::time::Instant;

use compat_tests::mariadb::MariaDb;

use crate::import_process::{CONNECT_TIMEOUT, EXIT_TIMEOUT, RETRY_TIMEOUT, Running, command, run, run_ok};
use crate::locked_index::{assert_same, dump};
use crate::server::{Imported, assert_names_database};

#[tokio::test]
async fn an_import_into_a_slow_database_succeeds_without_retries() {
    let imported = Imported::into_mariadb(&MariaDb::shared()).await;
    let (database, proxy) = imported.behind_proxy();
    proxy.delay(15);
    let output = run_ok(&database, &imported.dir());
    assert!(output.stderr.is_empty() || !output.stderr.contains("trying again"), "{output:?}");
    assert_same(&dump(&database).await, &imported.expected, "slow");
}

#[tokio::test]
async fn dead_connections_are_replaced() {
    // Through TLS, closing a connection waits for an answer.
    for server in [MariaDb::shared(), Arc::new(MariaDb::start_with_tls())] {
        connections_vanish(&server).await;
    }
}

async fn connections_vanish(server: &Arc<MariaDb>) {
    let imported = Imported::into_mariadb(server).await;
    let (database, proxy) = imported.behind_proxy();
    proxy.delay(5);
    let importer = Running::start(command(&database, &[&imported.dir()[..], &["--wait", "5"]].concat()));
    imported.wait_for_its_middle(&database);
    proxy.vanish();
    proxy.delay(0);
    let output = importer.finish();
    assert_eq!(output.code, Some(0), "{output:?}");
    // In the middle of a statement the retry timeout ends it; between two transactions the ping of 3 s does.
    if output.stderr.contains("trying again") {
        assert!(output.stderr.contains("expected an answer within 5 s"), "{output:?}");
        assert!(
            output.stderr.contains("trying again for up to 5 s") && output.stderr.contains("succeeded after"),
            "{output:?}"
        );
    } else {
        assert!(output.json["seconds"].as_f64().is_some_and(|seconds| seconds >= 3.0), "{output:?}");
    }
    assert_same(&dump(&database).await, &imported.expected, "vanished connections");
}

#[tokio::test]
async fn an_import_retries_while_the_database_refuses_connections() {
    let server = MariaDb::shared();
    let imported = Imported::into_mariadb(&server).await;
    let (database, proxy) = imported.behind_proxy();
    proxy.delay(5);
    let importer = Running::start(command(&database, &[&imported.dir()[..], &["--wait", "60", "--quiet"]].concat()));
    imported.wait_for_its_middle(&database);
    proxy.close();
    importer.wait_for_stderr("trying again");
    proxy.delay(0);
    proxy.open(server.port());
    let output = importer.finish();
    assert_eq!(output.code, Some(0), "{output:?}");
    assert!(output.stderr.contains("for up to 60 s") && output.stderr.contains("succeeded after"), "{output:?}");
    assert_names_database(&output, &database);
    assert_same(&dump(&database).await, &imported.expected, "refused for a while");
}

#[tokio::test]
async fn an_import_fails_in_time_without_its_database_and_the_next_one_continues() {
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
        let output = importer.finish();
        assert!(began.elapsed() < 2 * RETRY_TIMEOUT + EXIT_TIMEOUT, "{:?} {output:?}", began.elapsed());
        assert_eq!(output.code, Some(1), "{output:?}");
        assert!(
            output.stderr.contains("gave up after") && output.stderr.contains("trying again for up to 3 s"),
            "{output:?}"
        );
        assert_names_database(&output, &database);

        // The next import fails at its first connection.
        let began = Instant::now();
        let output = run(&database, &imported.dir());
        assert_eq!(output.code, Some(1), "{output:?}");
        let cause = if is_silent { "expected a connection within 10 s, found none" } else { "Connection refused" };
        assert!(output.stderr.contains(cause), "{output:?}");
        assert_names_database(&output, &database);
        assert!(began.elapsed() < CONNECT_TIMEOUT + EXIT_TIMEOUT, "{:?} {output:?}", began.elapsed());

        proxy.silence(false);
        proxy.delay(0);
        if !is_silent {
            proxy.open(server.port());
        }
        run_ok(&database, &imported.dir());
        assert_same(&dump(&database).await, &imported.expected, "the next run");
    }
}
