//! Refreshes of repositories on schedule, and the lease that services and commands share.

use std::time::Duration;

use compat_tests::darkserver::{Sqlite, import};
use compat_tests::fixtures;
use compat_tests::indexer::RunningIndexer;
use compat_tests::repository::Repository;
use compat_tests::static_server::{Fault, StaticServer};
use compat_tests::{wait_until, wait_within};
use serde_json::Value;

use crate::support::{file, on_index, shared_database, with_repository};

/// The number of packages that the repository lists by the index.
fn listed(database: &str) -> u64 {
    let status = on_index(database, |index| async move { index.status().await });
    status.repositories.iter().map(|repository| repository.listed).sum()
}

fn refreshed(service: &RunningIndexer) -> f64 {
    service.metric("indexer_rounds_total{result=\"done\",task=\"repository/tested\"}")
}

#[test]
fn a_repository_is_refreshed_on_schedule() {
    let rpms = fixtures::rpms("server");
    let (first, rest) = rpms.split_first().unwrap();
    let repository = Repository::of_rpms(std::slice::from_ref(first));
    let server = StaticServer::start(repository.path());
    let index = Sqlite::empty();
    let service = RunningIndexer::start(&index.url(), &with_repository(&server.url(), "2s"));
    wait_until("the first refresh", || refreshed(&service) >= 1.0 && listed(&index.url()) == 1);
    fixtures::copy(rest, repository.path());
    repository.update();
    wait_until("the next refresh", || listed(&index.url()) == rpms.len() as u64);
    // A server that is down ends nothing, and is in the metrics.
    server.set("repomd.xml", Fault::Status(500));
    let failed = "indexer_rounds_total{result=\"failed\",task=\"repository/tested\"}";
    wait_within(Duration::from_secs(60), "a failure", || service.metric(failed) >= 1.0);
    server.repair();
    let before = refreshed(&service);
    wait_until("a refresh after that", || refreshed(&service) > before);
    assert!(service.metric("indexer_lag_seconds{source=\"repository/tested\"}") < 60.0);
}

#[test]
fn two_services_refresh_a_repository_once() {
    let repository = Repository::of_rpms(&fixtures::rpms("server"));
    let server = StaticServer::start(repository.path());
    server.set("primary", Fault::Late(Duration::from_secs(1)));
    let (_mariadb, url) = shared_database("one_refresh");
    let configuration = with_repository(&server.url(), "1h");
    let services = [RunningIndexer::start(&url, &configuration), RunningIndexer::start(&url, &configuration)];
    wait_until("a refresh", || services.iter().map(refreshed).sum::<f64>() >= 1.0);
    // Time for another one.
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(services.iter().map(refreshed).sum::<f64>(), 1.0);
    assert_eq!(server.sent_for("repomd.xml").len(), 1, "one request for an hour");
    // A restart makes none either.
    let again = RunningIndexer::start(&url, &configuration);
    wait_until("readiness", || again.get("/readyz").status == 200);
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(server.sent_for("repomd.xml").len(), 1);
}

#[test]
fn the_refresh_of_a_killed_service_is_continued() {
    let rpms = fixtures::rpms("server");
    let repository = Repository::of_rpms(&rpms);
    let server = StaticServer::start(repository.path());
    server.set(".rpm", Fault::StallsAfter(10));
    let (_mariadb, url) = shared_database("killed_refresh");
    let configuration = with_repository(&server.url(), "1h");
    let mut killed = RunningIndexer::start(&url, &configuration);
    wait_until("packages that stall", || server.begun_for(".rpm") > 0);
    killed.kill();
    server.repair();
    let other = RunningIndexer::start(&url, &configuration);
    wait_until("the refresh", || refreshed(&other) == 1.0 && listed(&url) == rpms.len() as u64);
}

#[test]
fn a_command_leaves_a_repository_to_the_service_that_refreshes_it() {
    let repository = Repository::of_rpms(&fixtures::rpms("server"));
    let server = StaticServer::start(repository.path());
    server.set(".rpm", Fault::StallsAfter(10));
    let index = Sqlite::empty();
    let configuration = with_repository(&server.url(), "1h");
    let mut service = RunningIndexer::start(&index.url(), &configuration);
    wait_until("packages that stall", || server.begun_for(".rpm") > 0);
    let directory = tempfile::tempdir().unwrap();
    let config = file(directory.path(), &configuration);
    let by = format!(":{} refreshes it", service.process().id());

    // Of all repositories, that one is in good hands: no failure.
    let all = import(&index.url(), &["repo", "--all", "--json", "--config", &config]);
    let text = String::from_utf8_lossy(&all.stderr).into_owned();
    assert!(all.status.success() && text.contains("tested: skipped: ") && text.contains(&by), "{text}");
    let json: Value = serde_json::from_slice(&all.stdout).unwrap();
    assert_eq!(json["repositories"][0]["outcome"], "skipped", "{json}");

    // Who asks for one repository finds out that it is not in the index yet.
    let one = import(&index.url(), &["repo", &server.url(), "--store", "site", "--name", "tested"]);
    assert_eq!(one.status.code(), Some(1), "{}", String::from_utf8_lossy(&one.stderr));

    // The service that ends gives the lease back.
    server.repair();
    assert_eq!(service.stop(), Some(0));
    let one = import(&index.url(), &["repo", &server.url(), "--store", "site", "--name", "tested"]);
    assert!(one.status.success(), "{}", String::from_utf8_lossy(&one.stderr));
    assert_eq!(listed(&index.url()), fixtures::rpms("server").len() as u64);
}

#[test]
fn places_are_checked_after_a_round_by_one_service() {
    let repository = Repository::of_rpms(&fixtures::rpms("server"));
    let server = StaticServer::start(repository.path());
    let (_mariadb, url) = shared_database("one_check");
    let configuration = with_repository(&server.url(), "1h").replace("\"0s\"", "\"20s\"");
    let services = [RunningIndexer::start(&url, &configuration), RunningIndexer::start(&url, &configuration)];
    let checked = || {
        let done = |service: &RunningIndexer| service.metric("indexer_rounds_total{result=\"done\",task=\"checks\"}");
        services.iter().map(done).sum::<f64>()
    };
    wait_within(Duration::from_secs(60), "a check", || checked() >= 1.0);
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(checked(), 1.0);
    let logs: String = services.iter().map(RunningIndexer::log).collect();
    assert!(logs.contains("looked at"), "{logs}");
}
