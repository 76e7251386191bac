//! Readiness, metrics and logs.

use std::time::{Duration, Instant};

use compat_tests::darkserver::{Sqlite, import_ok};
use compat_tests::exposition::{check, families};
use compat_tests::http;
use compat_tests::indexer::RunningIndexer;
use compat_tests::mariadb::MariaDb;
use compat_tests::static_server::StaticServer;
use compat_tests::wait_until;
use serde_json::Value;

use crate::support::{add_store, archive_job, archives, copies, database, enqueue, jobs};

/// The status of `/readyz` and its reason.
fn readiness(service: &RunningIndexer) -> (u16, String) {
    let answer = service.get("/readyz");
    let json: Value = serde_json::from_str(&answer.text()).unwrap();
    assert_eq!(json["ready"], answer.status == 200, "{json}");
    (answer.status, json["reason"].as_str().unwrap_or_default().to_owned())
}

#[test]
fn a_service_is_alive_without_its_database_and_ready_with_it() {
    let mut server = MariaDb::start();
    let url = database(&server, "index");
    server.kill();
    let service = RunningIndexer::start(&url, "");
    wait_until("the first probe", || !readiness(&service).1.contains("starting"));
    let (status, reason) = readiness(&service);
    assert!(status == 503 && !reason.contains("p@ss"), "{status} {reason}");
    assert_eq!(service.get("/healthz").status, 200);
    assert_eq!(service.metric("indexer_database_up"), 0.0);
    server.restart();
    wait_until("readiness", || readiness(&service).0 == 200);
    assert_eq!(service.metric("indexer_database_up"), 1.0);

    // One that hangs delays nothing but jobs.
    server.pause();
    wait_until("a probe without an answer", || readiness(&service).0 == 503);
    for path in ["/metrics", "/healthz", "/readyz"] {
        let began = Instant::now();
        service.get(path);
        let took = began.elapsed();
        assert!(took < Duration::from_millis(500), "{path}: {took:?}");
    }
    server.resume();
    wait_until("readiness after a pause", || readiness(&service).0 == 200);
    assert!(service.log().contains("the database is available again"));
}

#[test]
fn a_service_waits_for_the_schema_that_its_administrator_makes() {
    let server = MariaDb::shared();
    server.create_database("schema_later");
    let url = server.url("schema_later");
    let service = RunningIndexer::start(&url, "");
    wait_until("the reason", || readiness(&service).1.contains("run `darkserver-import migrate`"));
    import_ok(&url, &["migrate"]);
    let archives_of = copies(1);
    let files = StaticServer::start(archives_of.path());
    add_store(&url, &files.url());
    enqueue(&url, &[archive_job("0.rpm")]);
    wait_until("readiness", || readiness(&service).0 == 200);
    wait_until("the job", || archives(&service, "done") == 1.0);
}

#[test]
fn an_sqlite_index_is_made_by_the_service() {
    let directory = tempfile::tempdir().unwrap();
    let service = RunningIndexer::start(&format!("sqlite:{}", directory.path().join("new.db").display()), "");
    wait_until("readiness", || readiness(&service).0 == 200);
}

#[test]
fn metrics_are_valid_and_scraped_at_once() {
    let files = copies(3);
    let server = StaticServer::start(files.path());
    let index = Sqlite::empty();
    let configuration =
        "[[koji]]\nname = \"k\"\nhub = \"http://127.0.0.1:9/kojihub\"\ntopurl = \"http://127.0.0.1:9\"\n";
    let service = RunningIndexer::start(&index.url(), configuration);
    wait_until("readiness", || readiness(&service).0 == 200);
    add_store(&index.url(), &server.url());
    let broken = sql::NewJob { kind: "scratch", key: "x".into(), payload: "{}".into(), delay: Duration::ZERO };
    enqueue(&index.url(), &[archive_job("0.rpm"), archive_job("1.rpm"), archive_job("absent.rpm"), broken]);
    wait_until("the jobs", || jobs(&index.url()) == (0, 1, 0, 1) && archives(&service, "done") == 2.0);
    wait_until("a request to the hub", || {
        service.metric("indexer_hub_requests_total{instance=\"k\",result=\"failed\"}") > 0.0
    });
    // Counts of the database are cached for some seconds.
    wait_until("the counts", || service.metric("indexer_jobs{state=\"waiting\"}") == 1.0);
    let text = service.get("/metrics").text();
    let families = families(&text);
    for (name, family) in &families {
        check("indexer_", name, family);
    }
    assert!(families.len() >= 8, "{text}");
    for (line, value) in [
        ("indexer_jobs{state=\"due\"}", 0.0),
        ("indexer_poison", 1.0),
        ("indexer_jobs_total{kind=\"archive\",result=\"retried\"}", 1.0),
        ("indexer_jobs_total{kind=\"other\",result=\"poison\"}", 1.0),
        ("indexer_packages_total{source=\"archive/site\"}", 1.0),
    ] {
        assert_eq!(service.metric(line), value, "{line}:\n{text}");
    }
    // The job that failed and waits is late.
    let late = service.metric("indexer_lag_seconds{source=\"jobs\"}");
    assert!((0.0..60.0).contains(&late), "{late}");
    let mut times: Vec<Duration> = (0..9)
        .map(|_| {
            let began = Instant::now();
            service.get("/metrics");
            began.elapsed()
        })
        .collect();
    times.sort();
    assert!(times[4] < Duration::from_millis(50), "{times:?}");
    assert_eq!(http::request(service.port, "HEAD", "/healthz", &[]).unwrap().status, 200);
    assert_eq!(service.get("/other").status, 404);
    assert_eq!(http::request(service.port, "POST", "/metrics", &[]).unwrap().status, 404);
}

#[test]
fn a_log_in_json_has_one_object_a_line() {
    let index = Sqlite::empty();
    let mut service = RunningIndexer::start_through(
        &[],
        &[("DARKSERVER_DATABASE", &index.url()), ("DARKSERVER_LOG_FORMAT", "json")],
        "",
    );
    assert_eq!(service.stop(), Some(0));
    let log = service.log();
    let lines: Vec<Value> =
        log.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect();
    for expected in ["starting", "listening", "stopped"] {
        assert!(lines.iter().any(|line| line["message"] == expected), "{expected}:\n{log}");
    }
}
