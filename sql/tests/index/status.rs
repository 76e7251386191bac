//! The state of the index, and random packages of it.

use std::collections::BTreeSet;
use std::time::UNIX_EPOCH;

use artifact::{Format, Kind};
use sql::{Access, BuildStatus, Cursor, FailedJob, NewRepository, PackageState, PathHash, Poison, Tier};

use crate::builders::{artifact, import, simple, store};
use crate::{Fresh, on_both};

#[test]
fn an_empty_index_has_a_state() {
    on_both(async |fresh: Fresh| {
        let index = fresh.index().await;
        let status = index.status().await.unwrap();
        assert_eq!(status.packages, PackageState::ALL.map(|state| (state, 0)));
        assert_eq!((status.artifacts, status.stores.len(), status.repositories.len()), (0, 0, 0));
        assert!(index.sample(None, 10).await.unwrap().is_empty());
    });
}

#[test]
fn the_state_counts_packages_places_and_what_failed() {
    on_both(async |fresh: Fresh| {
        let index = fresh.index().await;
        let mirror = store(&index, "mirror", Tier::Mirror, 0).await;
        store(&index, "archive", Tier::Archive, 0).await;
        let repository = NewRepository {
            name: "updates".into(),
            store_id: mirror.id,
            path: String::new(),
            url: None,
            format: Format::Rpm,
            distro: None,
        };
        let repository = index.add_repository(&repository).await.unwrap();
        let mut open =
            import(&mirror, "open-1-1.fc40.x86_64", vec![artifact(0, "open", Kind::Executable, "/usr/bin/o")]);
        open.open = true;
        let mut listed = simple(&mirror, "listed-1-1.fc40.x86_64");
        listed.repository_id = Some(repository.id);
        let gone = simple(&mirror, "gone-1-1.fc40.x86_64");
        index.insert("test", &[open, listed, gone]).await.unwrap();
        index.mark_gone(mirror.id, &[PathHash::of_path("gone-1-1.fc40.x86_64.rpm")], i64::MAX / 2).await.unwrap();
        index.fail_listing(repository.id, "expected XML, found HTML", 7).await.unwrap();
        for statement in [
            "update locations set checked_at = 9, check_result = 'failed: timed out' where path like 'open%'",
            "update locations set checked_at = 8, check_result = 'present' where path like 'listed%'",
            "insert into locations (store_id, path_hash, package_id, path, gone_at, checked_at, check_result, derived) \
             select store_id, 'a', package_id, 'a', 3, 3, 'gone', 1 from locations where path like 'listed%'",
            "update packages set deleted_at = 5 where name = 'gone'",
            "insert into cursors (name, value, updated_at) values ('koji', '17', 3)",
            "insert into jobs (kind, `key`, payload, queued_at, next_try_at, attempts, last_error) values \
             ('build', 'a', '', 1, 2, 3, 'refused')",
            "insert into jobs (kind, `key`, payload, queued_at, next_try_at) values ('build', 'b', '', 1, 9999999999)",
            "insert into jobs (kind, `key`, payload, queued_at, next_try_at, claimed_by, claimed_until) values \
             ('build', 'c', '', 4, 5, 'x', 9999999999)",
            "insert into builds (instance, build, nvr, name, version, `release`, state, volume, draft, checked_at, \
             imported_at) values ('k', 1, 'a-1-1', 'a', '1', '1', 'complete', 'DEFAULT', 0, 7, 7), \
             ('k', 2, 'b-1-1', 'b', '1', '1', 'complete', 'DEFAULT', 0, 6, null), \
             ('k', 3, 'c-1-1', 'c', '1', '1', 'deleted', 'DEFAULT', 0, 1, null)",
            "insert into poison (source, payload, reason, received_at, digest) values ('amqp', '{{', 'no JSON', 0, '')",
        ] {
            fresh.execute(statement).await;
        }

        let status = fresh.open(Access::ReadOnly).status().await.unwrap();
        let counts: Vec<u64> = status.packages.iter().map(|(_, count)| *count).collect();
        assert_eq!((counts, status.deleted_packages, status.artifacts), (vec![0, 0, 1, 2], 1, 3));
        let names: Vec<&str> = status.stores.iter().map(|store| store.store.name.as_str()).collect();
        assert_eq!(names, ["archive", "mirror"]);
        let counted = &status.stores[1];
        assert_eq!((counted.present, counted.gone, counted.absent, counted.unchecked), (2, 1, 1, 1));
        assert_eq!((counted.checked_at, counted.failed), (Some(9), 1));
        assert_eq!(counted.failure.as_deref(), Some("timed out"));
        let refreshed = &status.repositories[0];
        assert_eq!((refreshed.listed, refreshed.ended), (1, 0));
        assert_eq!(refreshed.repository.error.as_deref(), Some("expected XML, found HTML"));
        assert_eq!(status.cursors, [Cursor { name: "koji".into(), value: "17".into(), updated_at: 3 }]);
        let [jobs] = status.jobs.as_slice() else { panic!("{:?}", status.jobs) };
        assert_eq!((jobs.kind.as_str(), jobs.count, jobs.failed), ("build", 3, 1));
        assert_eq!((jobs.due, jobs.waiting, jobs.running), (1, 1, 1));
        assert_eq!(jobs.last_error.as_deref(), Some("refused"));
        let age = UNIX_EPOCH.elapsed().unwrap().as_secs() - 1;
        assert!(jobs.due_age.is_some_and(|found| found <= age && found + 60 > age), "{jobs:?}");
        let failed =
            FailedJob { kind: "build".into(), key: "a".into(), attempts: 3, error: "refused".into(), next_try_at: 2 };
        assert_eq!(status.failed_jobs, [failed]);
        let (source, reason, payload) = ("amqp".into(), "no JSON".into(), "{{".into());
        let poison = Poison { id: 1, source, reason, received_at: 0, payload };
        assert_eq!((status.poison, status.last_poison), (1, vec![poison]));
        let builds =
            BuildStatus { instance: "k".into(), complete: 2, not_imported: 1, deleted: 1, oldest_check: Some(6) };
        assert_eq!(status.builds, [builds]);
        assert_eq!(index.build_count("k").await.unwrap(), 2);
    });
}

#[test]
fn a_sample_has_different_packages_with_present_places() {
    on_both(async |fresh: Fresh| {
        let index = fresh.index().await;
        let (mirror, koji) =
            (store(&index, "mirror", Tier::Mirror, 0).await, store(&index, "koji", Tier::Koji, 0).await);
        let imports: Vec<_> = (0..20).map(|number| simple(&mirror, &format!("p{number}-1-1.x86_64"))).collect();
        index.insert("test", &imports).await.unwrap();
        index.insert("test", &[simple(&koji, "p0-1-1.x86_64"), simple(&koji, "k-1-1.x86_64")]).await.unwrap();
        index.mark_gone(mirror.id, &[PathHash::of_path("p7-1-1.x86_64.rpm")], i64::MAX / 2).await.unwrap();
        let sample = async |store: Option<i64>, max: u32| -> BTreeSet<String> {
            let sample = index.sample(store, max).await.unwrap();
            let names: BTreeSet<String> = sample.iter().map(|stored| stored.package.nevra.nvra()).collect();
            assert_eq!(names.len(), sample.len());
            names
        };
        let all = sample(None, 100).await;
        assert!(all.len() == 20 && !all.contains("p7-1-1.x86_64") && all.contains("k-1-1.x86_64"), "{all:?}");
        assert_eq!(sample(Some(koji.id), 100).await.into_iter().collect::<Vec<_>>(), ["k-1-1.x86_64", "p0-1-1.x86_64"]);
        assert_eq!(sample(Some(mirror.id), 100).await.len(), 19);
        // From another package each time.
        let mut found = BTreeSet::new();
        for _ in 0..50 {
            let few = sample(None, 3).await;
            assert_eq!(few.len(), 3);
            found.extend(few);
        }
        assert!(found.len() > 6, "{found:?}");
    });
}
