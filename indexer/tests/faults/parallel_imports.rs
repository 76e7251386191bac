//! Several importers of the same folders at once: the index of one.

use std::path::Path;
use std::time::Duration;

use compat_tests::mariadb::MariaDb;
use sqlx::{Connection, SqliteConnection};

use crate::import_process::{Running, command, run, run_ok};
use crate::locked_index::{Kind, assert_same, dump};
use crate::support::{Place, many_packages};

async fn together(kind: fn(&Path) -> Kind, packages: usize, rounds: u32) {
    let place = Place::new();
    let folder = place.packages();
    many_packages(&folder, packages);
    let kind = kind(place.folder.path());
    let import = ["dir", folder.to_str().unwrap()];
    let alone = kind.empty();
    kind.first().iter().for_each(|args| drop(run_ok(&alone, args)));
    run_ok(&alone, &import);
    let expected = dump(&alone).await;
    for round in 0..rounds {
        for importers in [2, 4] {
            let database = kind.empty();
            // All of them begin with nothing there, as in a new installation.
            let all = |args: &[&str]| {
                let running: Vec<_> = (0..importers).map(|_| Running::start(command(&database, args))).collect();
                running.into_iter().map(Running::finish).collect::<Vec<_>>()
            };
            for said in kind.first().iter().flat_map(|args| all(args)) {
                assert_eq!(said.code, Some(0), "round {round}, {importers} together: {said:?}");
            }
            let said = all(&import);
            for said in &said {
                assert_eq!(said.code, Some(0), "round {round}, {importers} together: {said:?}");
                said.counts(&[("found", packages as u64), ("gone", 0), ("broken", 0), ("problems", 0)]);
            }
            let imported: u64 = said.iter().map(|said| said.count("imported")).sum();
            assert_eq!(imported, packages as u64, "every package is new for one of them: {said:?}");
            assert_same(&dump(&database).await, &expected, &format!("round {round}, {importers} together"));
            run_ok(&database, &import).counts(&[("unchanged", packages as u64), ("gone", 0)]);
            kind.remove(&database);
        }
    }
}

#[tokio::test]
async fn two_and_four_importers_make_the_index_of_one_on_sqlite() {
    together(|folder| Kind::Sqlite(folder.into()), compat_tests::scale(500, 8_000), compat_tests::scale(2, 6)).await;
}

#[tokio::test]
async fn two_and_four_importers_make_the_index_of_one_on_mariadb() {
    together(|_| Kind::MariaDb(MariaDb::shared()), compat_tests::scale(500, 8_000), compat_tests::scale(1, 4)).await;
}

#[tokio::test]
async fn many_importers_that_make_one_file_at_once_all_succeed() {
    let place = Place::new();
    let folder = place.packages();
    many_packages(&folder, 5);
    for round in 0..compat_tests::scale(4, 60) {
        let database = place.other_database(&format!("made{round}.db"));
        let import = ["dir", folder.to_str().unwrap()];
        let running: Vec<_> = (0..8).map(|_| Running::start(command(&database, &import))).collect();
        for said in running.into_iter().map(Running::finish) {
            assert_eq!(said.code, Some(0), "round {round}: {said:?}");
        }
    }
}

/// Longer than SQLite itself waits, in the long run.
#[tokio::test]
async fn a_file_that_another_program_keeps_locked_is_waited_for_in_time() {
    let place = Place::new();
    let folder = place.packages();
    many_packages(&folder, 40);
    let (database, alone) = (place.database.clone(), place.other_database("alone.db"));
    let import = ["dir", folder.to_str().unwrap()];
    run_ok(&alone, &import);
    run_ok(&database, &["migrate"]);
    let mut writer = SqliteConnection::connect(&database).await.unwrap();
    sqlx::raw_sql("begin immediate").execute(&mut writer).await.unwrap();

    let said = run(&database, &[&import[..], &["--wait", "7"]].concat());
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.stderr.contains("is locked") && said.stderr.contains("gave up after"), "{said:?}");
    assert!(said.stderr.contains(&database), "{said:?}");

    let importer = Running::start(command(&database, &import));
    tokio::time::sleep(Duration::from_secs(compat_tests::scale(12, 70))).await;
    sqlx::raw_sql("commit").execute(&mut writer).await.unwrap();
    let said = importer.finish();
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(said.stderr.contains("is locked") && said.stderr.contains("succeeded after"), "{said:?}");
    assert_same(&dump(&database).await, &dump(&alone).await, "after the lock");
}
