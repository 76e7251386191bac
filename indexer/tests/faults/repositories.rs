//! kill -9 of an import of a repository over HTTP at any moment, and of its server of the index in between.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use compat_tests::mariadb::MariaDb;
use compat_tests::repository::Repository;
use compat_tests::static_server::StaticServer;

use crate::crash_points::Chance;
use crate::import_process::{length, run_ok};
use crate::indexer_killed::{change, kill};
use crate::locked_index::{Kind, assert_same, dump};
use crate::support::{ImportFixture, many_packages};

/// Packages at first; [`change`] removes, replaces and adds some.
const PACKAGES: usize = 200;
/// Directories of [`many_packages`], each a repository.
const REPOSITORIES: usize = 20;

/// Imports a repository that has changed since the last import, is killed, and imports it again. `restart` runs after
/// each kill.
async fn killed(mut kind: Kind, restart: impl Fn(&mut Kind)) {
    let fixture = ImportFixture::new();
    let packages = fixture.packages();
    many_packages(&packages, PACKAGES);
    let server = StaticServer::start(&packages);
    // Many repositories in one run: a long row of transactions of every kind.
    let mut text = format!(
        "[check]\nbudget = \"0s\"\n[[store]]\nname = \"killed\"\ntier = \"mirror\"\nurl = \"{}\"\n",
        server.url()
    );
    let repositories: Vec<Repository> = (0..REPOSITORIES)
        .map(|number| {
            text += &format!(
                "[[repository]]\nname = \"r{number:02}\"\nstore = \"killed\"\npath = \"{number:02}\"\n\
                 payload = \"never\"\n"
            );
            Repository::at(&packages.join(format!("{number:02}")))
        })
        .collect();
    let file = fixture.directory.path().join("killed.toml");
    std::fs::write(&file, text).unwrap();
    let import = ["repo", "--all", "--config", file.to_str().unwrap()];
    let old = setup(&kind);
    run_ok(&old, &import);
    change(&packages);
    repositories.iter().for_each(Repository::update);

    let mut undisturbed = Vec::new();
    for is_new in [false, true] {
        let database = if is_new { setup(&kind) } else { kind.copy(&old) };
        let begun = dump(&database).await;
        let whole = length(&database, &import);
        undisturbed.push((begun, whole, dump(&database).await));
        kind.remove(&database);
    }
    let rounds = compat_tests::scale(3, 50);
    let (mut chance, mut middle) = (Chance::new(17), 0);
    for round in 0..rounds {
        let is_new = round % 3 == 1;
        let database = if is_new { setup(&kind) } else { kind.copy(&old) };
        let (begun, whole, expected) = &undisturbed[usize::from(is_new)];
        let moment = chance.moment(*whole, round, rounds);
        kill(&database, &import, moment, chance.time(Duration::from_millis(8)));
        restart(&mut kind);
        let seen = kind.unchanged_copy(&database);
        let found = dump(&seen).await;
        middle += u32::from(found != *begun && found != *expected);
        if seen != database {
            kind.remove(&seen);
        }
        if round % 4 == 3 {
            // Once more, while the rest is imported.
            kill(&database, &import, chance.below(*whole), Duration::ZERO);
        }
        run_ok(&database, &import);
        let when = format!("round {round} of {rounds}, killed after {moment} of {whole} bytes");
        assert_same(&dump(&database).await, expected, &when);
        kind.remove(&database);
    }
    eprintln!("killed {rounds} times, {middle} of them in the middle");
    assert!(middle > 0, "no kill met an import in its middle");
}

fn setup(kind: &Kind) -> String {
    let database = kind.empty();
    kind.setup_commands().iter().for_each(|args| drop(run_ok(&database, args)));
    database
}

#[tokio::test]
async fn repositories_killed_at_any_moment_end_with_the_same_index_on_sqlite() {
    let directory = tempfile::tempdir().unwrap();
    let path: &Path = directory.path();
    killed(Kind::Sqlite(path.into()), |_| ()).await;
}

#[tokio::test]
async fn repositories_killed_at_any_moment_end_with_the_same_index_on_a_mariadb_that_is_killed_too() {
    killed(Kind::MariaDb(Arc::new(MariaDb::start())), |kind| {
        let Kind::MariaDb(server) = kind else { return };
        let server = Arc::get_mut(server).unwrap();
        server.kill();
        server.restart();
    })
    .await;
}
