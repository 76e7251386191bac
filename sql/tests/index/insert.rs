//! One transaction per batch: idempotent, refining, safe among others and against being cut off.

use std::time::Duration;

use artifact::{Artifact, Kind};
use sql::{Import, Inserted, PathHash, Tier};

use crate::builders::{artifact, build_id, import, simple, store};
use crate::{on_both, sequences};

fn executables(count: u32, salt: &str) -> Vec<Artifact> {
    (0..count)
        .map(|number| artifact(number, &format!("{salt}{number}"), Kind::Executable, &format!("/usr/bin/{number}")))
        .collect()
}

#[test]
fn the_same_batch_again_changes_nothing() {
    on_both(async |fresh| {
        let index = fresh.index().await;
        let mirror = store(&index, "m", Tier::Mirror, 0).await;
        let batch = [
            import(&mirror, "a-1-1.x86_64", executables(1500, "a")),
            import(&mirror, "b-1-1.x86_64", executables(700, "b")),
        ];
        let first = index.insert("test", &batch).await.unwrap();
        assert_eq!(first, Inserted { packages_new: 2, packages_completed: 0, artifacts: 2200, locations: 2 });
        let dump = fresh.dump().await;
        assert_eq!(dump.len(), 2 + 2200 + 1 + 2);
        let second = index.insert("test", &batch).await.unwrap();
        assert_eq!(second, Inserted { packages_new: 0, packages_completed: 0, artifacts: 0, locations: 2 });
        assert_eq!(fresh.dump().await, dump);
        assert_eq!(sequences(&index).await, [("test".into(), 2)].into());
    });
}

#[test]
fn a_package_found_twice_in_one_batch_is_stored_once_with_both_locations() {
    on_both(async |fresh| {
        let index = fresh.index().await;
        let mirror = store(&index, "m", Tier::Mirror, 0).await;
        let mut open = simple(&mirror, "p-1-1.x86_64");
        open.open = true;
        let mut complete = import(&mirror, "p-1-1.x86_64", executables(2, "p"));
        complete.artifacts.push(complete.artifacts[0].clone());
        complete.location.path = "other/p.rpm".into();
        let inserted = index.insert("test", &[open.clone(), complete, open]).await.unwrap();
        assert_eq!(inserted, Inserted { packages_new: 1, packages_completed: 0, artifacts: 2, locations: 2 });
        let package = index.packages_by_nvra("p-1-1.x86_64").await.unwrap().read.remove(0);
        assert_eq!((package.open, package.locations.len()), (false, 2));
    });
}

#[test]
fn an_open_package_that_is_inserted_complete_is_completed_and_never_reopened() {
    on_both(async |fresh| {
        let index = fresh.index().await;
        let mirror = store(&index, "m", Tier::Mirror, 0).await;
        let mut open = simple(&mirror, "p-1-1.x86_64");
        open.artifacts.push(artifact(7, "wrong", Kind::Debuginfo, "/usr/lib/wrong"));
        open.open = true;
        index.insert("test", &[open.clone(), simple(&mirror, "bystander-1-1.x86_64")]).await.unwrap();
        let complete = import(&mirror, "p-1-1.x86_64", executables(3, "p"));
        let inserted = index.insert("test", &[complete]).await.unwrap();
        assert_eq!(inserted, Inserted { packages_new: 0, packages_completed: 1, artifacts: 3, locations: 1 });
        for _ in 0..2 {
            let records = index.records_by_nvra("p-1-1.x86_64").await.unwrap().records;
            let artifacts: Vec<Artifact> = records.iter().map(|record| record.artifact.clone()).collect();
            assert_eq!(artifacts, executables(3, "p"));
            assert!(records.iter().all(|record| !record.package.open));
            // Again, open: no change.
            let inserted = index.insert("test", &[open.clone()]).await.unwrap();
            assert_eq!(inserted, Inserted { locations: 1, ..Inserted::default() });
        }
        assert!(index.records_by_build_id(&[build_id("wrong")]).await.unwrap().records.is_empty());
        assert_eq!(index.records_by_build_id(&[build_id("bystander-1-1.x86_64")]).await.unwrap().records.len(), 1);
    });
}

#[test]
fn the_distro_is_that_of_the_release_unless_the_import_states_one() {
    on_both(async |fresh| {
        let index = fresh.index().await;
        let mirror = store(&index, "m", Tier::Mirror, 0).await;
        let untold = simple(&mirror, "p-1-5.el7_9.2.x86_64");
        let told = Import { distro: Some("centos-7-x86_64".into()), ..untold.clone() };
        for (import, distro) in [(&untold, "el7"), (&told, "centos-7-x86_64"), (&untold, "centos-7-x86_64")] {
            index.insert("test", std::slice::from_ref(import)).await.unwrap();
            assert_eq!(index.packages_by_nvra("p-1-5.el7_9.2.x86_64").await.unwrap().read[0].distro, distro);
        }
    });
}

#[test]
fn another_package_at_the_same_path_replaces_the_former() {
    on_both(async |fresh| {
        let index = fresh.index().await;
        let (mirror, other) = (store(&index, "m", Tier::Mirror, 0).await, store(&index, "o", Tier::Mirror, 0).await);
        let mut old = simple(&mirror, "old-1-1.x86_64");
        old.location.path = "latest.rpm".into();
        let mut elsewhere = old.clone();
        elsewhere.location.store_id = other.id;
        index.insert("test", &[old.clone(), elsewhere]).await.unwrap();
        let mut new = simple(&mirror, "new-2-1.x86_64");
        new.location.path = "latest.rpm".into();
        new.location.size = Some(77);
        index.insert("test", &[new.clone()]).await.unwrap();

        let package = index.packages_by_nvra("old-1-1.x86_64").await.unwrap().read.remove(0);
        let gone: Vec<_> =
            package.locations.iter().map(|location| (location.store.id, location.gone_at.is_some())).collect();
        assert_eq!(gone, [(other.id, false), (mirror.id, true)]);
        let known = index.known_locations(mirror.id).await.unwrap();
        let known = known[&PathHash::of_path("latest.rpm")];
        assert_eq!((known.identity, known.size, known.gone), (Some(new.package.identity), Some(77), false));

        // The old one comes back.
        index.insert("test", &[old.clone()]).await.unwrap();
        let known = index.known_locations(mirror.id).await.unwrap()[&PathHash::of_path("latest.rpm")];
        assert_eq!((known.identity, known.size, known.gone), (Some(old.package.identity), Some(1000), false));
        assert!(index.packages_by_nvra("new-2-1.x86_64").await.unwrap().read[0].locations[0].gone_at.is_some());
    });
}

#[test]
fn a_value_that_does_not_fit_is_refused_by_name_and_nothing_of_the_batch_stays() {
    on_both(async |fresh| {
        let index = fresh.index().await;
        let mirror = store(&index, "m", Tier::Mirror, 0).await;
        let dump = fresh.dump().await;
        let mut long = simple(&mirror, "long-1-1.x86_64");
        long.artifacts[0].path = format!("/{}", "x".repeat(4096));
        let error = index.insert("test", &[simple(&mirror, "fine-1-1.x86_64"), long]).await.unwrap_err().to_string();
        assert_eq!(error, "long-1-1.x86_64: expected at most 4096 bytes of path of a file, found 4097");
        for (change, said) in [
            (
                (|import| import.artifacts[0].path = "/a\0b".into()) as fn(&mut Import),
                r#"path of a file: expected no NUL, found "/a\0b""#,
            ),
            (
                |import| import.artifacts[0].path = format!("/{}", "x".repeat(256)),
                "odd-1-1.x86_64: expected at most 255 bytes of name of a file, found 256",
            ),
            (|import| import.artifacts[0].ordinal = 1 << 23, "ordinal: expected less than 2^23, found \"8388608\""),
            (
                |import| import.location.header = Some(0..1 << 31),
                "end of a header: expected less than 2^31, found \"2147483648\"",
            ),
        ] {
            let mut odd = simple(&mirror, "odd-1-1.x86_64");
            change(&mut odd);
            let error = index.insert("test", &[simple(&mirror, "fine-1-1.x86_64"), odd]).await.unwrap_err().to_string();
            assert!(error.contains(said), "{error}");
        }
        assert_eq!(fresh.dump().await, dump);
    });
}

#[test]
fn an_insert_aborted_at_any_moment_leaves_all_or_nothing() {
    // Package, artifacts, location.
    const ALL: usize = 1 + 20_000 + 1;
    on_both(async |fresh| {
        let index = fresh.index().await;
        let mirror = store(&index, "m", Tier::Mirror, 0).await;
        let empty = fresh.dump().await;
        let batch = [import(&mirror, "p-1-1.x86_64", executables(20_000, "p"))];
        let (mut nothing, mut all) = (0, 0);
        for milliseconds in (0..200).step_by(8) {
            let cut = tokio::time::timeout(Duration::from_millis(milliseconds), index.insert("test", &batch)).await;
            // Read by another connection. A rollback or commit may still be in progress between two statements of the
            // dump.
            let mut dump = fresh.dump().await;
            loop {
                let again = fresh.dump().await;
                if std::mem::replace(&mut dump, again).len() == dump.len() {
                    break;
                }
            }
            match dump.len() - empty.len() {
                0 => nothing += 1,
                ALL => all += 1,
                rows => panic!("{rows} rows after {milliseconds} ms"),
            }
            assert!(cut.is_err() || dump.len() > empty.len(), "an insert that reported success has to be there");
            if all > 0 {
                break;
            }
        }
        assert!(nothing > 0, "no insert was cut off");
        // And the connection is good for the next one.
        index.insert("test", &batch).await.unwrap();
        assert_eq!(fresh.dump().await.len(), empty.len() + ALL);
    });
}

#[test]
fn parallel_writers_of_overlapping_batches_neither_lose_nor_repeat_rows() {
    on_both(async |fresh| {
        let index = fresh.index().await;
        let mirror = store(&index, "m", Tier::Mirror, 0).await;
        let batch: Vec<Import> = (0..60)
            .map(|number| import(&mirror, &format!("p{number}-1-1.x86_64"), executables(50, &format!("p{number}-"))))
            .collect();
        let writer = async |name: &'static str, offset: usize| {
            let index = fresh.open(sql::Access::ReadWrite);
            let mut new = 0;
            for step in 0..compat_tests::scale(10, 1000) {
                // Overlapping, in an order of its own.
                let mut piece: Vec<Import> =
                    batch.iter().cycle().skip((offset + step * 7) % 60).take(30).cloned().collect();
                if offset > 0 {
                    piece.reverse();
                }
                new += index.insert(name, &piece).await.unwrap().packages_new;
            }
            new
        };
        let (a, b, c) = tokio::join!(writer("a", 0), writer("b", 13), writer("c", 31));
        assert_eq!(a + b + c, 60, "every package is new exactly once");
        let dump = fresh.dump().await;
        assert_eq!(dump.len(), 60 + 60 * 50 + 1 + 60);
        index.insert("test", &batch).await.unwrap();
        assert_eq!(fresh.dump().await, dump);
        assert_eq!(sequences(&index).await["b"], compat_tests::scale(10, 1000));
    });
}
