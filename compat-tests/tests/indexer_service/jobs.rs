//! Jobs: which of several services runs them, and what becomes of those of one that was killed.

use std::time::Duration;

use compat_tests::darkserver::{Sqlite, import};
use compat_tests::indexer::RunningIndexer;
use compat_tests::static_server::{Fault, StaticServer};
use compat_tests::{scale, wait_until, wait_within};
use serde_json::Value;

use crate::support::{add_store, add_store_named, archive_job, archives, copies, enqueue, jobs, shared_database};

#[test]
fn two_services_share_jobs_and_none_runs_twice() {
    let count = scale(300, 3000);
    let files = copies(count);
    let server = StaticServer::start(files.path());
    let (_mariadb, url) = shared_database("shared_jobs");
    add_store(&url, &server.url());
    server.set(".rpm", Fault::Late(Duration::from_millis(20)));
    let work: Vec<_> = (0..count).map(|at| archive_job(&format!("{at}.rpm"))).collect();
    enqueue(&url, &work);
    let services = [RunningIndexer::start(&url, ""), RunningIndexer::start(&url, "")];
    wait_within(Duration::from_secs(120), "all jobs", || jobs(&url) == (0, 0, 0, 0));
    let done = services.each_ref().map(|service| archives(service, "done"));
    assert_eq!(done.iter().sum::<f64>(), count as f64, "{done:?}");
    assert!(done.iter().all(|done| *done > 0.0), "{done:?}");
    // Each archive was read from its start once. A check of places sends HEAD.
    let sent = server.sent();
    for at in 0..count {
        let path = format!("{at}.rpm");
        let reads: Vec<_> = sent.iter().filter(|sent| sent.path == path && sent.method == "GET").collect();
        let starts = reads.iter().filter(|sent| sent.range.as_deref().is_none_or(|range| range.starts_with("0-")));
        assert_eq!(starts.count(), 1, "{reads:#?}");
    }
}

#[test]
fn a_store_that_does_not_answer_hinders_no_other_store() {
    let count = 400;
    let files = copies(count);
    let (hanging, server) = (StaticServer::start(files.path()), StaticServer::start(files.path()));
    let index = Sqlite::empty();
    let service = RunningIndexer::start(&index.url(), "");
    wait_until("readiness", || service.get("/readyz").status == 200);
    add_store(&index.url(), &hanging.url());
    add_store_named(&index.url(), "other", &server.url());
    hanging.set(".rpm", Fault::StallsAfter(10));
    enqueue(&index.url(), &(0..count).map(|at| archive_job(&format!("{at}.rpm"))).collect::<Vec<_>>());
    wait_until("claims", || jobs(&index.url()).2 > 0);
    let job = sql::NewJob {
        key: "archive other/0.rpm".into(),
        payload: r#"{"store":"other","path":"0.rpm","source":"test"}"#.into(),
        ..archive_job("0.rpm")
    };
    enqueue(&index.url(), &[job]);
    wait_within(Duration::from_secs(20), "the archive of the other store", || archives(&service, "done") == 1.0);
    let (_, _, running, _) = jobs(&index.url());
    assert!((1..200).contains(&running), "{running} jobs of the store that does not answer are claimed");
    hanging.repair();
}

#[test]
fn the_jobs_of_a_killed_service_are_taken_over() {
    let files = copies(2);
    let server = StaticServer::start(files.path());
    let (_mariadb, url) = shared_database("killed_service");
    add_store(&url, &server.url());
    server.set("0.rpm", Fault::StallsAfter(10));
    let mut killed = RunningIndexer::start(&url, "");
    enqueue(&url, &[archive_job("0.rpm")]);
    wait_until("the claim", || jobs(&url).2 == 1);
    killed.kill();
    server.repair();
    assert_eq!(jobs(&url), (0, 0, 1, 0), "still claimed");

    // A service that runs already cannot tell whether the other one lives: it waits until the claim has expired. One
    // that starts on the same machine can.
    let other = RunningIndexer::start(&url, "");
    wait_within(Duration::from_secs(10), "the job", || archives(&other, "done") == 1.0);
    assert!(other.log().contains("giving back the jobs of a process that ended"), "{}", other.log());
}

#[test]
fn a_claim_expires_for_services_that_run_already() {
    let files = copies(2);
    let server = StaticServer::start(files.path());
    let (mariadb, url) = shared_database("expired_claim");
    add_store(&url, &server.url());
    server.set("0.rpm", Fault::StallsAfter(10));
    let mut killed = RunningIndexer::start(&url, "");
    enqueue(&url, &[archive_job("0.rpm")]);
    wait_until("the claim", || jobs(&url).2 == 1);
    let other = RunningIndexer::start(&url, "");
    enqueue(&url, &[archive_job("1.rpm")]);
    wait_until("another job", || jobs(&url).2 == 1 && jobs(&url).0 == 0);
    killed.kill();
    server.repair();
    // As if that had been some time ago.
    mariadb.sql("update expired_claim.jobs set claimed_until = claimed_until - 15");
    let took = wait_within(Duration::from_secs(60), "the job", || jobs(&url) == (0, 0, 0, 0));
    assert!(took > Duration::from_secs(3), "no claim expires at once: {took:?}");
    assert!(archives(&other, "done") >= 1.0);
}

#[test]
fn a_job_that_is_requested_while_it_runs_runs_again() {
    let files = copies(1);
    let server = StaticServer::start(files.path());
    let index = Sqlite::empty();
    let service = RunningIndexer::start(&index.url(), "");
    wait_until("readiness", || service.get("/readyz").status == 200);
    add_store(&index.url(), &server.url());
    server.set_times("0.rpm", Fault::Late(Duration::from_secs(2)), 1);
    enqueue(&index.url(), &[archive_job("0.rpm")]);
    wait_until("the claim", || jobs(&index.url()).2 == 1);
    enqueue(&index.url(), &[archive_job("0.rpm")]);
    wait_until("both runs", || archives(&service, "done") == 2.0 && jobs(&index.url()) == (0, 0, 0, 0));
}

#[test]
fn the_status_names_jobs_that_wait_and_what_was_given_up() {
    let files = copies(1);
    let server = StaticServer::start(files.path());
    let index = Sqlite::empty();
    let service = RunningIndexer::start(&index.url(), "");
    wait_until("readiness", || service.get("/readyz").status == 200);
    add_store(&index.url(), &server.url());
    let broken = sql::NewJob { kind: "scratch", key: "x".into(), payload: "{}".into(), delay: Duration::ZERO };
    enqueue(&index.url(), &[archive_job("absent.rpm"), broken]);
    wait_until("the ends", || jobs(&index.url()) == (0, 1, 0, 1));
    let text = String::from_utf8(import(&index.url(), &["status"]).stdout).unwrap();
    for expected in ["expected a job of kind build or archive, found scratch", "absent.rpm"] {
        assert!(text.contains(expected), "{expected}:\n{text}");
    }
    let json: Value = serde_json::from_slice(&import(&index.url(), &["status", "--json"]).stdout).unwrap();
    assert_eq!(json["poison"], 1, "{json}");
    assert_eq!(json["jobs"][0]["failed"], 1, "{json}");
}
