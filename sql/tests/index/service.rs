//! What a service reads often: the work that waits, who does it, and how far feeders are behind.

use std::time::{Duration, UNIX_EPOCH};

use artifact::Format;
use sql::{Access, Age, NewJob, NewRepository, Tier, Workload};

use crate::builders::store;
use crate::{Fresh, on_both};

const MINUTE: Duration = Duration::from_secs(60);

fn job(key: &str, delay: Duration) -> NewJob {
    NewJob { kind: "build", key: key.into(), payload: String::new(), delay }
}

/// Asserts that ages are those of events at these times, seconds since 1970, by name.
fn assert_ages(found: &[Age], expected: &[(&str, u64)]) {
    let now = UNIX_EPOCH.elapsed().unwrap().as_secs();
    let names: Vec<&str> = found.iter().map(|age| age.name.as_str()).collect();
    assert_eq!(names, expected.iter().map(|(name, _)| *name).collect::<Vec<_>>());
    for (found, (_, at)) in found.iter().zip(expected) {
        let age = now - at;
        assert!((age.saturating_sub(60)..=age).contains(&found.age.as_secs()), "{found:?}, expected {age} s");
    }
}

#[test]
fn an_empty_index_has_no_work() {
    on_both(async |fresh: Fresh| {
        let index = fresh.index().await;
        assert_eq!(index.workload().await.unwrap(), Workload::default());
        assert_eq!(index.job_holders().await.unwrap(), [""; 0]);
        assert_eq!(index.oldest_checks().await.unwrap(), []);
    });
}

#[test]
fn jobs_are_due_wait_or_run() {
    on_both(async |fresh: Fresh| {
        let index = fresh.index().await;
        let jobs = [job("a", Duration::ZERO), job("b", Duration::ZERO), job("c", Duration::ZERO), job("d", MINUTE)];
        index.enqueue(&jobs).await.unwrap();
        // When work was requested counts, whatever its next try.
        fresh.execute("update jobs set queued_at = queued_at - 1000 where `key` = 'b'").await;
        fresh.execute("update jobs set queued_at = queued_at - 2000 where `key` = 'd'").await;
        let reader = fresh.open(Access::ReadOnly);
        let counts = async || {
            let workload = reader.workload().await.unwrap();
            let oldest = workload.oldest_due.map(|age| age.as_secs());
            (workload.due, workload.waiting, workload.running, oldest)
        };
        let (due, waiting, running, oldest) = counts().await;
        assert_eq!((due, waiting, running), (3, 1, 0));
        assert!(oldest.is_some_and(|age| (1000..1060).contains(&age)), "{oldest:?}, not that of one that waits");

        // The claim of the oldest; one that expired; a job that waits after a failure.
        fresh.execute("update jobs set next_try_at = next_try_at - 10 where `key` = 'b'").await;
        let claimed = index.claim_jobs("one", 1, MINUTE, &[]).await.unwrap();
        assert_eq!(claimed[0].key, "b");
        let (due, waiting, running, oldest) = counts().await;
        assert_eq!((due, waiting, running), (2, 1, 1));
        assert!(oldest.is_some_and(|age| age < 60), "{oldest:?}, not that of one that runs");
        let failed = index.claim_jobs("two", 1, MINUTE, &[]).await.unwrap();
        index.retry_job("two", &failed[0], MINUTE, "refused").await.unwrap();
        assert_eq!(counts().await, (1, 2, 1, counts().await.3));
        fresh.execute("update jobs set queued_at = queued_at - 500 where last_error is not null").await;
        let oldest = counts().await.3;
        assert!(oldest.is_some_and(|age| (500..560).contains(&age)), "{oldest:?}, that of one that failed");
        fresh.execute("update jobs set claimed_until = 1 where claimed_by = 'one'").await;
        let (due, waiting, running, oldest) = counts().await;
        assert_eq!((due, waiting, running), (2, 2, 0));
        assert!(oldest.is_some_and(|age| (1000..1060).contains(&age)), "{oldest:?}");

        let rest = index.claim_jobs("three", 10, MINUTE, &[]).await.unwrap();
        index.poison_job("three", &rest[0], "broken").await.unwrap();
        index.finish_jobs("three", &rest[1..]).await.unwrap();
        let (due, waiting, running, oldest) = counts().await;
        assert_eq!((due, waiting, running), (0, 2, 0));
        assert!(oldest.is_some_and(|age| (500..560).contains(&age)), "{oldest:?}, that of the one that failed");
        assert_eq!(reader.workload().await.unwrap().poison, 1);
    });
}

#[test]
fn those_who_claimed_jobs_are_named_once() {
    on_both(async |fresh: Fresh| {
        let index = fresh.index().await;
        let jobs: Vec<NewJob> = ["a", "b", "c", "d"].map(|key| job(key, Duration::ZERO)).into();
        index.enqueue(&jobs).await.unwrap();
        let two = index.claim_jobs("two", 2, MINUTE, &[]).await.unwrap();
        index.claim_jobs("one", 1, Duration::ZERO, &[]).await.unwrap();
        assert_eq!(index.job_holders().await.unwrap(), ["one", "two"], "also one whose claim expired");
        index.finish_jobs("two", &two[..1]).await.unwrap();
        index.release_jobs("one").await.unwrap();
        assert_eq!(index.job_holders().await.unwrap(), ["two"]);
        index.retry_job("two", &two[1], MINUTE, "").await.unwrap();
        assert_eq!(index.job_holders().await.unwrap(), [""; 0]);
    });
}

#[test]
fn feeders_are_behind_by_their_last_positions_and_refreshes() {
    on_both(async |fresh: Fresh| {
        let index = fresh.index().await;
        let mirror = store(&index, "mirror", Tier::Mirror, 0).await;
        for name in ["never", "once"] {
            let (name, path) = (name.to_owned(), name.to_owned());
            let new = NewRepository { name, store_id: mirror.id, path, url: None, format: Format::Rpm, distro: None };
            index.add_repository(&new).await.unwrap();
        }
        index.set_cursor("b", "17").await.unwrap();
        index.set_cursor("a", "18").await.unwrap();
        fresh.execute("update cursors set updated_at = 1000 where name = 'b'").await;
        // A clock of another machine that is ahead.
        fresh.execute("update cursors set updated_at = 9999999999 where name = 'a'").await;
        fresh.execute("update repositories set refreshed_at = 2000 where name = 'once'").await;
        let workload = index.workload().await.unwrap();
        assert_ages(&workload.cursors[1..], &[("b", 1000)]);
        assert_eq!(workload.cursors[0], Age { name: "a".into(), age: Duration::ZERO });
        assert_ages(&workload.repositories, &[("once", 2000)]);
    });
}

#[test]
fn the_oldest_check_is_that_of_builds_that_exist() {
    on_both(async |fresh: Fresh| {
        let index = fresh.index().await;
        fresh
            .execute(
                "insert into builds (instance, build, nvr, name, version, `release`, state, volume, draft, checked_at) \
                 values ('b', 1, 'a-1-1', 'a', '1', '1', 'complete', 'DEFAULT', 0, 7000), \
                 ('b', 2, 'b-1-1', 'b', '1', '1', 'complete', 'DEFAULT', 0, 6000), \
                 ('b', 3, 'c-1-1', 'c', '1', '1', 'deleted', 'DEFAULT', 0, 1000), \
                 ('b', 4, 'd-1-1', 'd', '1', '1', 'building', 'DEFAULT', 0, 2000), \
                 ('a', 1, 'a-1-1', 'a', '1', '1', 'complete', 'DEFAULT', 0, 8000), \
                 ('c', 1, 'a-1-1', 'a', '1', '1', 'failed', 'DEFAULT', 0, 3000)",
            )
            .await;
        let checks = index.oldest_checks().await.unwrap();
        assert_ages(&checks, &[("a", 8000), ("b", 6000)]);
    });
}
