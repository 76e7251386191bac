//! Jobs, leases, positions of feeders, and what cannot be processed.

use std::collections::BTreeSet;
use std::time::Duration;

use sql::{Access, Index, Job, NewJob};

use crate::{Fresh, on_both};

const MINUTE: Duration = Duration::from_secs(60);

fn job(key: &str) -> NewJob {
    NewJob { kind: "build", key: key.into(), payload: format!("payload of {key}"), delay: Duration::ZERO }
}

async fn claim(index: &Index, holder: &str) -> Vec<Job> {
    index.claim_jobs(holder, 10, MINUTE, &[]).await.unwrap()
}

fn keys(jobs: &[Job]) -> Vec<&str> {
    jobs.iter().map(|job| job.key.as_str()).collect()
}

/// Key, requests, attempts, error and holder of all jobs.
async fn rows(fresh: &Fresh) -> Vec<String> {
    fresh.rows("select `key`, requests, attempts, last_error, claimed_by from jobs order by `key`").await
}

#[test]
fn a_job_is_done_once_by_one_holder() {
    on_both(async |fresh: Fresh| {
        let index = fresh.index().await;
        index.enqueue(&[]).await.unwrap();
        index.enqueue(&[job("b"), job("a")]).await.unwrap();
        let later = NewJob { delay: MINUTE, ..job("later") };
        index.enqueue(&[later]).await.unwrap();
        let jobs = claim(&index, "one").await;
        assert_eq!(keys(&jobs), ["a", "b"]);
        assert_eq!((jobs[0].kind.as_str(), jobs[0].payload.as_str()), ("build", "payload of a"));
        assert_eq!((jobs[0].attempts, jobs[0].requests), (0, 1));
        assert!(claim(&index, "two").await.is_empty() && claim(&index, "one").await.is_empty());
        // Another holder can neither end nor keep it.
        index.finish_jobs("two", &jobs).await.unwrap();
        index.poison_job("two", &jobs[0], "no reason").await.unwrap();
        index.retry_job("two", &jobs[0], MINUTE, "error").await.unwrap();
        let ids: Vec<i64> = jobs.iter().map(|job| job.id).collect();
        assert_eq!(index.renew_jobs("two", &ids, MINUTE).await.unwrap(), 0);
        assert_eq!(index.renew_jobs("one", &ids, MINUTE).await.unwrap(), 2);
        assert_eq!(index.workload().await.unwrap().running, 2);
        assert_eq!(index.workload().await.unwrap().poison, 0);
        index.finish_jobs("one", &jobs).await.unwrap();
        assert_eq!(
            rows(&fresh).await,
            ["key=Some(\"later\") requests=Some(1) attempts=Some(0) last_error=None claimed_by=None"]
        );
        // Its id is not used again.
        index.enqueue(&[job("a")]).await.unwrap();
        assert!(!ids.contains(&claim(&index, "one").await[0].id));
    });
}

#[test]
fn two_holders_at_once_claim_each_job_once() {
    on_both(async |fresh: Fresh| {
        let index = fresh.index().await;
        let all: Vec<NewJob> = (0..200).map(|number| job(&format!("build k {number}"))).collect();
        index.enqueue(&all).await.unwrap();
        let work = async |holder: &'static str| -> Vec<String> {
            // A process of its own has connections of its own.
            let index = fresh.open(Access::ReadWrite);
            let mut done = Vec::new();
            loop {
                let jobs = index.claim_jobs(holder, 7, MINUTE, &[]).await.unwrap();
                if jobs.is_empty() {
                    return done;
                }
                done.extend(jobs.iter().map(|job| job.key.clone()));
                index.finish_jobs(holder, &jobs).await.unwrap();
            }
        };
        let (one, two, three) = tokio::join!(work("one"), work("two"), work("three"));
        let done: Vec<&String> = one.iter().chain(&two).chain(&three).collect();
        assert_eq!(done.len(), 200, "a job was done twice or never");
        assert_eq!(done.into_iter().collect::<BTreeSet<_>>().len(), 200);
        assert!([one, two, three].iter().filter(|done| !done.is_empty()).count() > 1);
        assert!(rows(&fresh).await.is_empty());
    });
}

#[test]
fn jobs_whose_keys_begin_so_are_left_out_of_a_claim() {
    on_both(async |fresh: Fresh| {
        let index = fresh.index().await;
        index.enqueue(&["build ä 1", "build ä 2", "build äb 1", "build b 1", "archive ä/x"].map(job)).await.unwrap();
        let except = ["build ä ".to_owned(), "archive ".to_owned()];
        let jobs = index.claim_jobs("one", 10, MINUTE, &except).await.unwrap();
        assert_eq!(keys(&jobs), ["build b 1", "build äb 1"]);
        assert_eq!(claim(&index, "two").await.len(), 3);
    });
}

#[test]
fn an_expired_claim_is_taken_over() {
    on_both(async |fresh: Fresh| {
        let index = fresh.index().await;
        index.enqueue(&[job("a"), job("b")]).await.unwrap();
        let jobs = index.claim_jobs("dead", 10, Duration::from_secs(1), &[]).await.unwrap();
        assert_eq!(jobs.len(), 2);
        // One of them is renewed.
        assert_eq!(index.renew_jobs("dead", &[jobs[1].id], MINUTE).await.unwrap(), 1);
        let mut taken = Vec::new();
        for _ in 0..100 {
            taken = claim(&index, "alive").await;
            if !taken.is_empty() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert_eq!(keys(&taken), ["a"]);
        // The first holder comes back, and does not end the other's job.
        index.finish_jobs("dead", &jobs).await.unwrap();
        assert_eq!(rows(&fresh).await.len(), 1);
        assert_eq!(index.renew_jobs("alive", &[taken[0].id], MINUTE).await.unwrap(), 1);
        index.release_jobs("alive").await.unwrap();
        assert_eq!(keys(&claim(&index, "third").await), ["a"]);
    });
}

#[test]
fn a_job_requested_during_the_work_is_done_again() {
    on_both(async |fresh: Fresh| {
        let index = fresh.index().await;
        let wait_long = NewJob { delay: MINUTE, ..job("a") };
        index.enqueue(std::slice::from_ref(&wait_long)).await.unwrap();
        assert!(claim(&index, "one").await.is_empty());
        // The earlier time and the last payload count.
        index.enqueue(&[NewJob { payload: "second".into(), ..job("a") }]).await.unwrap();
        index.enqueue(&[NewJob { payload: "third".into(), ..wait_long }]).await.unwrap();
        let first = claim(&index, "one").await;
        assert_eq!((first[0].requests, first[0].payload.as_str()), (3, "third"));
        index.enqueue(&[job("a")]).await.unwrap();
        assert!(claim(&index, "two").await.is_empty(), "it is under way");
        for end in ["finish", "retry", "poison"] {
            let jobs = match end {
                "finish" => first.clone(),
                _ => {
                    let jobs = claim(&index, "one").await;
                    index.enqueue(&[job("a")]).await.unwrap();
                    jobs
                }
            };
            match end {
                "finish" => index.finish_jobs("one", &jobs).await.unwrap(),
                "retry" => index.retry_job("one", &jobs[0], MINUTE, "refused").await.unwrap(),
                _ => index.poison_job("one", &jobs[0], "refused").await.unwrap(),
            }
            assert_eq!(rows(&fresh).await.len(), 1, "{end}");
        }
        assert_eq!(index.workload().await.unwrap().poison, 0);
        let again = claim(&index, "two").await;
        assert_eq!((again[0].requests, again[0].attempts, again[0].payload.as_str()), (6, 0, "payload of a"));
        index.finish_jobs("two", &again).await.unwrap();
        // Some of the requests were delayed.
        assert_eq!(index.status().await.unwrap().jobs[0].waiting, 1);
        fresh.execute("update jobs set next_try_at = next_try_at - 60, again_at = again_at - 60").await;
        index.finish_jobs("two", &claim(&index, "two").await).await.unwrap();
        assert!(rows(&fresh).await.is_empty());
    });
}

#[test]
fn a_delayed_request_is_served_at_its_time_also_if_the_work_is_due_or_under_way() {
    on_both(async |fresh: Fresh| {
        let index = fresh.index().await;
        let delayed = |key: &str| NewJob { delay: MINUTE, ..job(key) };
        // As time goes by.
        let a_minute_later = async || {
            fresh.execute("update jobs set next_try_at = next_try_at - 60, again_at = again_at - 60").await;
        };
        let claim_keys = async || {
            let jobs = claim(&index, "one").await;
            let keys: BTreeSet<String> = jobs.iter().map(|job| job.key.clone()).collect();
            (jobs, keys.into_iter().collect::<Vec<_>>())
        };
        index.enqueue(&[job("running"), delayed("waiting")]).await.unwrap();
        let (running, claimed) = claim_keys().await;
        assert_eq!(claimed, ["running"]);
        index.enqueue(&[job("due"), delayed("list"), job("list")]).await.unwrap();
        index.enqueue(&[delayed("running"), delayed("due"), job("waiting")]).await.unwrap();
        index.finish_jobs("one", &running).await.unwrap();
        // Now, and again at the time of the delayed request.
        let (jobs, claimed) = claim_keys().await;
        assert_eq!(claimed, ["due", "list", "waiting"]);
        index.finish_jobs("one", &jobs).await.unwrap();
        assert_eq!(index.status().await.unwrap().jobs[0].waiting, 4);
        assert_eq!(claim_keys().await.1.len(), 0);
        a_minute_later().await;
        let (jobs, claimed) = claim_keys().await;
        assert_eq!(claimed, ["due", "list", "running", "waiting"]);
        index.finish_jobs("one", &jobs).await.unwrap();
        assert!(rows(&fresh).await.is_empty());

        // The same after failures: neither a longer pause nor the last failure counts.
        index.enqueue(&[job("failed")]).await.unwrap();
        let (jobs, _) = claim_keys().await;
        index.enqueue(&[delayed("failed")]).await.unwrap();
        index.retry_job("one", &jobs[0], Duration::from_secs(3600), "refused").await.unwrap();
        assert_eq!(claim_keys().await.1.len(), 0);
        a_minute_later().await;
        let (jobs, _) = claim_keys().await;
        index.enqueue(&[delayed("failed")]).await.unwrap();
        index.poison_job("one", &jobs[0], "refused").await.unwrap();
        assert_eq!((claim_keys().await.1.len(), index.workload().await.unwrap().poison), (0, 0));
        a_minute_later().await;
        let (jobs, _) = claim_keys().await;
        index.poison_job("one", &jobs[0], "refused").await.unwrap();
        assert_eq!(index.workload().await.unwrap().poison, 1);
        assert!(rows(&fresh).await.is_empty());
    });
}

#[test]
fn a_failed_job_waits_and_a_new_request_forgets_its_failures() {
    on_both(async |fresh: Fresh| {
        let index = fresh.index().await;
        index.enqueue(&[job("a")]).await.unwrap();
        let failed = claim(&index, "one").await;
        index.retry_job("one", &failed[0], Duration::ZERO, "connection refused").await.unwrap();
        let failed = claim(&index, "one").await;
        assert_eq!(failed[0].attempts, 1);
        index.retry_job("one", &failed[0], MINUTE, &"é".repeat(5000)).await.unwrap();
        assert!(claim(&index, "one").await.is_empty());
        let status = index.status().await.unwrap();
        assert_eq!((status.failed_jobs[0].attempts, status.failed_jobs[0].error.chars().count()), (2, 2048));
        assert_eq!((status.jobs[0].waiting, status.jobs[0].due_age.is_some()), (1, true));
        index.enqueue(&[job("a")]).await.unwrap();
        let again = claim(&index, "one").await;
        assert_eq!((again[0].attempts, again[0].requests), (0, 2));
        // Nothing failed: the work merely waits.
        index.retry_job("one", &again[0], MINUTE, "").await.unwrap();
        assert_eq!(
            rows(&fresh).await,
            ["key=Some(\"a\") requests=Some(2) attempts=Some(1) last_error=None claimed_by=None"]
        );
    });
}

#[test]
fn work_that_waits_or_runs_is_not_requested_again_if_only_missing_work_is() {
    on_both(async |fresh: Fresh| {
        let index = fresh.index().await;
        index.enqueue(&[job("failed"), job("running")]).await.unwrap();
        let jobs = claim(&index, "one").await;
        index.retry_job("one", &jobs[0], MINUTE, "connection refused").await.unwrap();
        let before = rows(&fresh).await;
        let other = |key: &str| NewJob { payload: "other".into(), ..job(key) };
        index.enqueue_missing(&[other("failed"), other("running")]).await.unwrap();
        assert_eq!(rows(&fresh).await, before);
        // The pause lasts, and the work that runs is done once.
        assert!(claim(&index, "two").await.is_empty());
        index.finish_jobs("one", &jobs[1..]).await.unwrap();
        index.enqueue_missing(&[other("failed"), other("running"), other("new")]).await.unwrap();
        let claimed = claim(&index, "two").await;
        assert_eq!(keys(&claimed), ["new", "running"]);
        assert!(claimed.iter().all(|job| job.payload == "other" && job.requests == 1), "{claimed:?}");
    });
}

#[test]
fn a_poisoned_job_is_kept_with_its_reason() {
    on_both(async |fresh: Fresh| {
        let index = fresh.index().await;
        index.enqueue(&[job("a"), job("b")]).await.unwrap();
        let jobs = claim(&index, "one").await;
        index.poison_job("one", &jobs[0], "no such build").await.unwrap();
        let long = format!("{}é", "x".repeat((64 << 10) - 1));
        index.insert_poison(&"q".repeat(100), &long, "expected JSON, found a wall of x").await.unwrap();
        let kept = fresh.rows("select source, payload, reason from poison order by id").await;
        assert_eq!(kept[0], "source=Some(\"job build\") payload=Some(\"payload of a\") reason=Some(\"no such build\")");
        let (source, payload) = (format!("source=Some(\"{}\") ", "q".repeat(64)), "x".repeat((64 << 10) - 1));
        assert!(kept[1].starts_with(&source) && kept[1].contains(&format!("\"{payload}\"")) && kept.len() == 2);
        assert_eq!(rows(&fresh).await.len(), 1);
        let poison = index.status().await.unwrap().last_poison;
        assert_eq!(poison.iter().map(|poison| poison.source.len()).collect::<Vec<_>>(), [64, 9]);

        // What comes again is the same row, with the latest reason, and the last of all.
        fresh.execute("update poison set received_at = id").await;
        index.insert_poison("job build", "payload of a", "still no such build").await.unwrap();
        let poison = index.status().await.unwrap().last_poison;
        let of = |at: usize| (poison[at].id, poison[at].reason.as_str());
        assert_eq!((poison.len(), of(0), of(1).0), (2, (1, "still no such build"), 2));
        // The whole payload counts, and its source.
        index.insert_poison(&"q".repeat(100), &format!("{long}!"), "expected JSON").await.unwrap();
        index.insert_poison("messages/q", "payload of a", "expected JSON").await.unwrap();
        assert_eq!(index.workload().await.unwrap().poison, 4);

        // Both or none: the job stays if the row cannot be written.
        fresh.execute("alter table poison rename to elsewhere").await;
        index
            .clone()
            .with_retry_timeout(Duration::from_secs(1))
            .poison_job("one", &jobs[1], "broken")
            .await
            .unwrap_err();
        fresh.execute("alter table elsewhere rename to poison").await;
        assert_eq!(rows(&fresh).await.len(), 1);
        index.poison_job("one", &jobs[1], "broken").await.unwrap();
        assert!(rows(&fresh).await.is_empty());
        assert_eq!(index.workload().await.unwrap().poison, 5);
    });
}

#[test]
fn values_that_do_not_fit_are_refused() {
    on_both(async |fresh: Fresh| {
        let index = fresh.index().await;
        let long = "x".repeat(256);
        let error = index.enqueue(&[job("a"), job(&long)]).await.unwrap_err().to_string();
        assert!(error.contains("key of a job"), "{error}");
        assert!(rows(&fresh).await.is_empty());
        index.claim_jobs(&long, 1, MINUTE, &[]).await.unwrap_err();
        index.acquire_lease(&long, "one", MINUTE).await.unwrap_err();
        index.set_cursor(&long, "1").await.unwrap_err();
    });
}

#[test]
fn a_lease_has_one_holder_until_it_expires() {
    on_both(async |fresh: Fresh| {
        let index = fresh.index().await;
        let acquire = async |holder: &str, ttl: u64| {
            fresh.open(Access::ReadWrite).acquire_lease("checks", holder, Duration::from_secs(ttl)).await.unwrap()
        };
        let all = tokio::join!(acquire("one", 60), acquire("two", 60), acquire("three", 60));
        assert_eq!([all.0, all.1, all.2].iter().filter(|is_held| **is_held).count(), 1);
        let held = index.lease("checks").await.unwrap().unwrap();
        assert!(held.expires_in <= MINUTE && held.expires_in > Duration::from_secs(30));
        let other = if held.holder == "one" { "two" } else { "one" };
        index.release_lease("checks", other).await.unwrap();
        assert!(!acquire(other, 60).await);
        // Renewed by its holder, here to an earlier end; the clock is the database's.
        assert!(acquire(&held.holder, 1).await);
        let mut is_taken = false;
        for _ in 0..100 {
            is_taken = acquire(other, 60).await;
            if is_taken {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert!(is_taken && !acquire(&held.holder, 60).await);
        index.release_lease("checks", other).await.unwrap();
        assert_eq!(index.lease("checks").await.unwrap(), None);
        assert!(acquire(&held.holder, 60).await);
        assert!(index.acquire_lease("another", other, MINUTE).await.unwrap());
        // The rows that transactions lock stay.
        let own = fresh.rows("select name from leases where name in ('claims', 'modules')").await;
        index.release_lease("claims", "").await.unwrap();
        assert_eq!(fresh.rows("select name from leases where name in ('claims', 'modules')").await, own);
    });
}

#[test]
fn times_are_those_of_the_database() {
    on_both(async |fresh: Fresh| {
        let index = fresh.index().await;
        index.enqueue(&[NewJob { delay: Duration::from_millis(59_100), ..job("a") }]).await.unwrap();
        index.acquire_lease("a", "one", MINUTE).await.unwrap();
        let clock = if fresh.is_sqlite() { "cast(strftime('%s', 'now') as integer)" } else { "unix_timestamp()" };
        let statement = format!(
            "select j.queued_at between {clock} - 30 and {clock} as queued, j.next_try_at - j.queued_at as pause, \
             l.until between {clock} + 30 and {clock} + 60 as held from jobs j, leases l where l.name = 'a'"
        );
        // Leaked once for each database.
        let rows = fresh.rows(statement.leak()).await;
        assert_eq!(rows, ["queued=Some(1) pause=Some(60) held=Some(1)"]);
    });
}

#[test]
fn a_position_is_stored_and_the_first_writer_wins() {
    on_both(async |fresh: Fresh| {
        let index = fresh.index().await;
        assert_eq!(index.cursor("koji").await.unwrap(), None);
        index.set_cursor("koji", "17").await.unwrap();
        index.set_cursor("koji", "18").await.unwrap();
        fresh.execute("update cursors set updated_at = updated_at + 100000").await;
        assert_eq!(index.cursor("koji").await.unwrap().unwrap().updated_at, 0, "a time in the future is long ago");
        index.set_cursor("koji", "18").await.unwrap();
        let stored = index.cursor("koji").await.unwrap().unwrap();
        assert_eq!((stored.name.as_str(), stored.value.as_str()), ("koji", "18"));
        let insert =
            async |value: &str| fresh.open(Access::ReadWrite).cursor_or_insert("queue fedora", value).await.unwrap();
        let all = tokio::join!(insert("a"), insert("b"), insert("c"), insert("d"));
        assert!([&all.1, &all.2, &all.3].iter().all(|value| **value == all.0), "{all:?}");
        assert_eq!(index.cursor("queue fedora").await.unwrap().unwrap().value, all.0);
    });
}

impl Fresh {
    fn is_sqlite(&self) -> bool {
        matches!(self.raw, crate::Raw::Sqlite(_))
    }
}
