//! kill -9 of the database server during an import.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use compat_tests::mariadb::MariaDb;

use crate::crash_points::Chance;
use crate::import_process::{EXIT_TIMEOUT, RETRY_TIMEOUT, Running, command, length, run, run_ok};
use crate::locked_index::{Kind, assert_same, dump};
use crate::proxy::Proxy;
use crate::support::{ImportFixture, many_packages};

const PACKAGES: usize = 400;

#[tokio::test]
async fn an_import_retries_while_its_server_is_down_and_ends_with_the_same_index() {
    let fixture = ImportFixture::new();
    many_packages(&fixture.packages(), PACKAGES);
    let directories: Vec<String> =
        (0..20).map(|number| fixture.packages().join(format!("{number:02}")).display().to_string()).collect();
    let import: Vec<&str> =
        ["dir", "--wait", "120"].into_iter().chain(directories.iter().map(String::as_str)).collect();
    let mut server = Arc::new(MariaDb::start());
    let kind = Kind::MariaDb(server.clone());
    let alone = kind.empty();
    run_ok(&alone, &["migrate"]);
    let whole = length(&alone, &import);
    let expected = dump(&alone).await;
    drop(kind);

    let rounds = compat_tests::scale(4, 60);
    let (mut chance, mut waited) = (Chance::new(7), 0);
    for round in 0..rounds {
        let database = Kind::MariaDb(server.clone()).empty();
        run_ok(&database, &["migrate"]);
        // A slow network: the import must not end before the server is killed.
        let proxy = Proxy::to(server.port());
        proxy.delay(3);
        let mut importer = Running::start(command(&proxy.url(&database), &import));
        // A server that is down at the very first connection is another matter.
        while proxy.connections() < 2 && importer.is_done().is_none() {
            thread::sleep(Duration::from_millis(1));
        }
        let moment = chance.moment(whole, round, rounds);
        while importer.progress().is_some_and(|progress| progress < moment) {
            thread::sleep(Duration::from_micros(300));
        }
        let mysqld = Arc::get_mut(&mut server).unwrap();
        mysqld.kill();
        thread::sleep(Duration::from_millis(chance.below(1500)));
        mysqld.restart();
        proxy.delay(0);
        let output = importer.finish();
        assert_eq!(output.code, Some(0), "round {round}: {output:?}");
        waited += u32::from(output.stderr.contains("trying again for up to 120 s"));
        let when = format!("round {round}, server killed after {moment} bytes: {output:?}");
        assert_same(&dump(&database).await, &expected, &when);
        run_ok(&database, &import).counts(&[("unchanged", PACKAGES as u64), ("imported", 0), ("gone", 0)]);
    }
    eprintln!("killed the server {rounds} times, {waited} imports waited for it");
    assert!(waited >= rounds / 3, "only {waited} of {rounds} imports met a dead server");
}

#[tokio::test]
async fn an_import_fails_in_time_if_its_server_stays_down() {
    let fixture = ImportFixture::new();
    many_packages(&fixture.packages(), PACKAGES);
    let mut server = Arc::new(MariaDb::start());
    let database = Kind::MariaDb(server.clone()).empty();
    run_ok(&database, &["migrate"]);
    let packages = fixture.packages();
    let import = ["dir", packages.to_str().unwrap()];
    let proxy = Proxy::to(server.port());
    proxy.delay(20);
    let mut importer = Running::start(command(&proxy.url(&database), &[&import[..], &["--wait", "3"]].concat()));
    while proxy.connections() < 2 && importer.is_done().is_none() {
        thread::sleep(Duration::from_millis(1));
    }
    Arc::get_mut(&mut server).unwrap().kill();
    let began = Instant::now();
    let output = importer.finish();
    assert!(began.elapsed() < 2 * RETRY_TIMEOUT + EXIT_TIMEOUT, "{:?}", began.elapsed());
    assert_eq!(output.code, Some(1), "{output:?}");
    assert!(output.stderr.contains("mysql://darkserver:***@") && !output.stderr.contains("p@ss"), "{output:?}");
    assert_eq!(run(&database, &import).code, Some(1));
    Arc::get_mut(&mut server).unwrap().restart();
    run_ok(&database, &import).counts(&[("found", PACKAGES as u64), ("gone", 0)]);
    let alone = Kind::MariaDb(server.clone()).empty();
    run_ok(&alone, &["migrate"]);
    run_ok(&alone, &import);
    assert_same(&dump(&database).await, &dump(&alone).await, "the next run");
}
