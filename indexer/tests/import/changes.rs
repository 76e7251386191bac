//! A folder changes, and the index follows.

use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;
use std::time::{Duration, SystemTime};

use sqlx::Connection as _;

use crate::support::{Place, dump, many_packages, nvras, open};

#[tokio::test]
async fn second_run_reads_nothing_and_changes_nothing() {
    let place = Place::with_fixtures();
    let found = place.import(&[]).count("found");
    let before = place.dump().await;
    let said = place.import(&[]);
    assert_eq!(said.code, Some(0));
    said.counts(&[("found", found), ("unchanged", found), ("imported", 0), ("gone", 0), ("header_bytes_read", 0)]);
    assert_eq!(place.dump().await, before);
}

#[tokio::test]
async fn a_removed_package_is_gone_and_comes_back() {
    let place = Place::new();
    place.copy_family("dwarf-twins");
    place.import(&[]).counts(&[("imported", 2)]);
    let file = place.packages().join("dwarf-twins/twin-full-1.0-1.fc99.x86_64.rpm");
    let aside = place.folder.path().join("aside");
    fs::rename(&file, &aside).unwrap();
    place.import(&[]).counts(&[("found", 1), ("unchanged", 1), ("gone", 1)]);
    place.import(&[]).counts(&[("gone", 0)]);
    let index = place.index().await;
    let packages = index.packages_by_nvra("twin-full-1.0-1.fc99.x86_64").await.unwrap();
    assert!(packages[0].locations[0].gone_at.is_some());
    assert!(!index.records_by_nvra("twin-full-1.0-1.fc99.x86_64").await.unwrap().is_empty());

    fs::rename(&aside, &file).unwrap();
    place.import(&[]).counts(&[("found", 2), ("unchanged", 1), ("imported", 0), ("gone", 0)]);
    let packages = place.index().await.packages_by_nvra("twin-full-1.0-1.fc99.x86_64").await.unwrap();
    assert!(packages[0].locations[0].gone_at.is_none());
}

#[tokio::test]
async fn touched_renamed_and_replaced_files_are_followed() {
    let place = Place::new();
    place.copy_family("payloads");
    place.import(&[]).counts(&[("imported", 6)]);
    let folder = place.packages().join("payloads");
    let file = |name: &str| folder.join(format!("payload-{name}-1.0-1.fc99.x86_64.rpm"));
    fs::File::options()
        .write(true)
        .open(file("xz"))
        .unwrap()
        .set_modified(SystemTime::now() + Duration::from_secs(7))
        .unwrap();
    fs::rename(file("zstd"), folder.join("renamed.rpm")).unwrap();
    fs::copy(file("none"), file("gzip")).unwrap();
    // Gone: the old name of zstd, and gzip, which another package replaced. The latter the insert itself notes.
    place.import(&[]).counts(&[("found", 6), ("unchanged", 3), ("imported", 0), ("gone", 1), ("broken", 0)]);
    place.import(&[]).counts(&[("found", 6), ("unchanged", 6), ("gone", 0)]);

    let index = place.index().await;
    let paths = async |name: &str| {
        let packages = index.packages_by_nvra(&format!("payload-{name}-1.0-1.fc99.x86_64")).await.unwrap();
        let mut paths: Vec<_> =
            packages[0].locations.iter().map(|at| (at.path.clone(), at.gone_at.is_some())).collect();
        paths.sort();
        paths
    };
    let at = |name: &str| format!("payloads/payload-{name}-1.0-1.fc99.x86_64.rpm");
    assert_eq!(paths("xz").await, [(at("xz"), false)]);
    assert_eq!(paths("zstd").await, [(at("zstd"), true), ("payloads/renamed.rpm".into(), false)]);
    assert_eq!(paths("gzip").await, [(at("gzip"), true)]);
    assert_eq!(paths("none").await, [(at("gzip"), false), (at("none"), false)]);
}

#[test]
fn only_the_folder_that_was_walked_can_lose_packages() {
    let place = Place::with_fixtures();
    place.import(&[]);
    for family in ["v3", "v6"] {
        fs::remove_dir_all(place.packages().join(family)).unwrap();
        fs::create_dir(place.packages().join(family)).unwrap();
    }
    place.run(&["dir", place.packages().join("v3").to_str().unwrap()]).counts(&[("found", 0), ("gone", 1)]);
    let said = place.run(&["dir", place.packages().join("payloads").to_str().unwrap()]);
    said.counts(&[("found", 6), ("unchanged", 6), ("gone", 0)]);
    place.import(&[]).counts(&[("gone", 1)]);
}

#[test]
fn a_path_that_is_no_folder_is_refused_and_nothing_is_written() {
    let place = Place::new();
    place.copy_family("v3");
    place.import(&[]);
    fs::remove_dir_all(place.packages().join("v3")).unwrap();
    let file = place.folder.path().join("index.db");
    for wrong in [place.folder.path().join("nowhere"), file] {
        let said = place.run(&["dir", wrong.to_str().unwrap()]);
        assert_eq!(said.code, Some(2), "{said:?}");
        assert!(
            said.stderr.contains(wrong.to_str().unwrap()) && said.stderr.contains("expected a directory"),
            "{said:?}"
        );
    }
    place.import(&[]).counts(&[("gone", 1)]);
}

#[tokio::test]
async fn links_to_files_inside_the_folder_are_followed_and_no_others() {
    let place = Place::new();
    place.copy_family("v3");
    let packages = place.packages();
    let outside = place.folder.path().join("outside");
    fs::create_dir(&outside).unwrap();
    let rpm = fs::read_dir(packages.join("v3")).unwrap().next().unwrap().unwrap().path();
    fs::rename(rpm, packages.join("v3/here.rpm")).unwrap();
    fs::copy(packages.join("v3/here.rpm"), outside.join("there.rpm")).unwrap();
    symlink("v3/here.rpm", packages.join("inside.rpm")).unwrap();
    symlink(outside.join("there.rpm"), packages.join("outside.rpm")).unwrap();
    symlink("nowhere", packages.join("dangling.rpm")).unwrap();
    symlink(&outside, packages.join("folder")).unwrap();
    symlink(".", packages.join("circle")).unwrap();
    symlink("v3", packages.join("folder.rpm")).unwrap();
    let said = place.import(&[]);
    assert_eq!(said.code, Some(0), "{said:?}");
    said.counts(&[("found", 2), ("imported", 1), ("broken", 0), ("problems", 0)]);
}

#[tokio::test]
async fn an_unreadable_folder_is_reported_and_loses_nothing() {
    let place = Place::with_fixtures();
    let hidden = place.packages().join("payloads");
    fs::set_permissions(place.folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    // Nothing is unreadable for the superuser: then the program runs as nobody, from where nobody can run it.
    let program = place.folder.path().join("darkserver-import");
    fs::copy(env!("CARGO_BIN_EXE_darkserver-import"), &program).unwrap();
    let is_root = fs::metadata("/proc/self").map(|own| std::os::unix::fs::MetadataExt::uid(&own)).unwrap() == 0;
    let nobody = 65534;
    if is_root {
        std::os::unix::fs::chown(place.folder.path(), Some(nobody), None).unwrap();
    }
    let run = || {
        let mut command = Command::new(&program);
        command.env("DARKSERVER_DATABASE", &place.database).env("DARKSERVER_ETC", "/nonexistent/etc");
        command.arg("dir").arg(place.packages()).arg("--json");
        if is_root {
            std::os::unix::process::CommandExt::uid(&mut command, nobody);
        }
        crate::support::said(&command.output().unwrap())
    };
    let said = run();
    assert_eq!(said.code, Some(0), "{said:?}");
    let found = said.count("found");
    let mode = |mode| fs::set_permissions(&hidden, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
    mode(0o000);
    fs::remove_dir_all(place.packages().join("v3")).unwrap();
    let said = run();
    mode(0o755);
    assert_eq!(said.code, Some(1), "{said:?}");
    said.counts(&[("found", found - 7), ("gone", 1), ("problems", 1), ("broken", 0)]);
    assert!(said.stderr.contains(hidden.to_str().unwrap()), "{said:?}");
    let said = run();
    assert_eq!(said.code, Some(0), "{said:?}");
    said.counts(&[("found", found - 1), ("unchanged", found - 1), ("gone", 0)]);
}

#[tokio::test]
async fn two_importers_at_once_end_with_the_index_of_one() {
    let place = Place::new();
    many_packages(&place.packages(), 400);
    let alone = Place { database: place.other_database("alone.db"), folder: place.folder };
    alone.import(&[]).counts(&[("imported", 400)]);
    let expected = alone.dump().await;
    let place = Place { database: alone.other_database("index.db"), folder: alone.folder };
    let folder = place.packages();
    let start = || place.command(&["dir", folder.to_str().unwrap(), "--quiet"]).spawn().unwrap();
    for mut importer in [start(), start(), start()] {
        assert!(importer.wait().unwrap().success());
    }
    assert_eq!(place.dump().await, expected);
    place.import(&[]).counts(&[("unchanged", 400), ("gone", 0)]);
}

#[tokio::test]
async fn an_import_that_ends_alone_leaves_the_whole_index_in_the_file() {
    let place = Place::with_fixtures();
    place.import(&[]);
    let log = place.folder.path().join("index.db-wal");
    assert!(fs::metadata(&log).map_or(0, |log| log.len()) == 0, "expected an empty log");
    let copy = place.folder.path().join("copy.db");
    fs::copy(place.folder.path().join("index.db"), &copy).unwrap();
    let copy = open(&format!("sqlite:{}", copy.display())).await;
    assert_eq!(dump(&copy, &nvras(&place.packages())).await, place.dump().await);
}

#[tokio::test]
async fn the_log_of_a_file_that_stood_there_before_is_named() {
    const ADD: &str = "with recursive n(i) as (select ? union all select i + 1 from n where i < ?) \
        insert into stores (name, tier, priority, absent_statuses, base_url) \
        select printf('a store with a long name %060d', i), 'koji', 0, '404', 'http://example.org' from n";
    let place = Place::new();
    place.copy_family("v3");
    place.import(&[]).counts(&[("imported", 1)]);
    // Another index, larger, whose last pages are in its log.
    let (other, [log, stale]) =
        (place.other_database("other.db"), ["other.db-wal", "index.db-wal"].map(|name| place.folder.path().join(name)));
    place.run(&["migrate", "--database", &other]);
    let mut connection = sqlx::SqliteConnection::connect(&other).await.unwrap();
    sqlx::query(ADD).bind(0).bind(3000).execute(&mut connection).await.unwrap();
    sqlx::raw_sql("pragma wal_checkpoint(truncate); pragma wal_autocheckpoint = 0")
        .execute(&mut connection)
        .await
        .unwrap();
    sqlx::query(ADD).bind(3001).bind(3300).execute(&mut connection).await.unwrap();
    fs::copy(&log, &stale).unwrap();
    connection.close().await.unwrap();
    let shared = place.folder.path().join("index.db-shm");
    let _ = fs::remove_file(&shared);
    let index = place.folder.path().join("index.db");
    let before = fs::read(&index).unwrap();
    let packages = place.packages();
    for args in [&["dir", packages.to_str().unwrap()][..], &["migrate"], &["store", "list"]] {
        let said = place.run(args);
        assert_eq!(said.code, Some(1), "{args:?}: {said:?}");
        let cure = format!("{} is of the file that stood there before", stale.display());
        assert!(said.stderr.contains("malformed") && said.stderr.contains(&cure), "{args:?}: {said:?}");
        assert!(fs::read(&index).unwrap() == before, "{args:?} changed the file");
    }
    fs::remove_file(&stale).unwrap();
    let _ = fs::remove_file(&shared);
    place.import(&[]).counts(&[("unchanged", 1), ("gone", 0)]);
}
