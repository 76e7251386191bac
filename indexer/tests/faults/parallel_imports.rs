//! Several importers of the same directories at once: the index of one.

use std::path::Path;

use compat_tests::mariadb::MariaDb;
use sqlx::{Connection, SqliteConnection};

use crate::import_process::{Running, command, run, run_ok};
use crate::locked_index::{Kind, assert_same, dump};
use crate::support::{ImportFixture, many_packages};

async fn together(kind: fn(&Path) -> Kind, packages: usize, rounds: u32) {
    let fixture = ImportFixture::new();
    let directory = fixture.packages();
    many_packages(&directory, packages);
    let kind = kind(fixture.directory.path());
    let import = ["dir", directory.to_str().unwrap()];
    let alone = kind.empty();
    kind.setup_commands().iter().for_each(|args| drop(run_ok(&alone, args)));
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
            for output in kind.setup_commands().iter().flat_map(|args| all(args)) {
                assert_eq!(output.code, Some(0), "round {round}, {importers} together: {output:?}");
            }
            let output = all(&import);
            for output in &output {
                assert_eq!(output.code, Some(0), "round {round}, {importers} together: {output:?}");
                output.counts(&[("found", packages as u64), ("gone", 0), ("broken", 0), ("unreadable", 0)]);
            }
            let imported: u64 = output.iter().map(|output| output.count("imported")).sum();
            assert_eq!(imported, packages as u64, "every package is new for one of them: {output:?}");
            assert_same(&dump(&database).await, &expected, &format!("round {round}, {importers} together"));
            run_ok(&database, &import).counts(&[("unchanged", packages as u64), ("gone", 0)]);
            kind.remove(&database);
        }
    }
}

#[tokio::test]
async fn two_and_four_importers_make_the_index_of_one_on_sqlite() {
    together(|directory| Kind::Sqlite(directory.into()), compat_tests::scale(500, 8_000), compat_tests::scale(2, 6))
        .await;
}

#[tokio::test]
async fn two_and_four_importers_make_the_index_of_one_on_mariadb() {
    together(|_| Kind::MariaDb(MariaDb::shared()), compat_tests::scale(500, 8_000), compat_tests::scale(1, 4)).await;
}

#[tokio::test]
async fn importers_that_create_one_file_at_once_all_succeed() {
    let fixture = ImportFixture::new();
    let directory = fixture.packages();
    many_packages(&directory, 5);
    for round in 0..compat_tests::scale(4, 60) {
        let database = fixture.other_database(&format!("made{round}.db"));
        let import = ["dir", directory.to_str().unwrap()];
        let running: Vec<_> = (0..8).map(|_| Running::start(command(&database, &import))).collect();
        for output in running.into_iter().map(Running::finish) {
            assert_eq!(output.code, Some(0), "round {round}: {output:?}");
        }
    }
}

/// The file is locked for longer than SQLite itself waits.
#[tokio::test]
async fn an_import_retries_while_another_program_locks_the_file() {
    let fixture = ImportFixture::new();
    let directory = fixture.packages();
    many_packages(&directory, 40);
    let (database, alone) = (fixture.database.clone(), fixture.other_database("alone.db"));
    let import = ["dir", directory.to_str().unwrap()];
    run_ok(&alone, &import);
    run_ok(&database, &["migrate"]);
    let mut writer = SqliteConnection::connect(&database).await.unwrap();
    sqlx::raw_sql("begin immediate").execute(&mut writer).await.unwrap();

    let output = run(&database, &[&import[..], &["--wait", "7"]].concat());
    assert_eq!(output.code, Some(1), "{output:?}");
    assert!(output.stderr.contains("is locked") && output.stderr.contains("gave up after"), "{output:?}");
    assert!(output.stderr.contains(&database), "{output:?}");

    let importer = Running::start(command(&database, &import));
    importer.wait_for_stderr("trying again");
    sqlx::raw_sql("commit").execute(&mut writer).await.unwrap();
    let output = importer.finish();
    assert_eq!(output.code, Some(0), "{output:?}");
    assert!(output.stderr.contains("is locked") && output.stderr.contains("succeeded after"), "{output:?}");
    assert_same(&dump(&database).await, &dump(&alone).await, "after the lock");
}
