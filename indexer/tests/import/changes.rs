//! A directory changes, and the index follows.

use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;
use std::time::{Duration, SystemTime};

use sqlx::Connection as _;

use crate::support::{ImportFixture, dump, many_packages, nvras, open};

#[tokio::test]
async fn a_second_run_reads_nothing_and_changes_nothing() {
    let fixture = ImportFixture::with_fixtures();
    let found = fixture.import(&[]).count("found");
    let before = fixture.dump().await;
    let output = fixture.import(&[]);
    assert_eq!(output.code, Some(0));
    output.counts(&[("found", found), ("unchanged", found), ("imported", 0), ("gone", 0), ("header_bytes_read", 0)]);
    assert_eq!(fixture.dump().await, before);
}

#[tokio::test]
async fn a_removed_package_is_gone_until_it_is_restored() {
    let fixture = ImportFixture::new();
    fixture.copy_family("dwarf-twins");
    fixture.import(&[]).counts(&[("imported", 2)]);
    let file = fixture.packages().join("dwarf-twins/twin-full-1.0-1.fc99.x86_64.rpm");
    let aside = fixture.directory.path().join("aside");
    fs::rename(&file, &aside).unwrap();
    fixture.import(&[]).counts(&[("found", 1), ("unchanged", 1), ("gone", 1)]);
    fixture.import(&[]).counts(&[("gone", 0)]);
    let index = fixture.index().await;
    let packages = index.packages_by_nvra("twin-full-1.0-1.fc99.x86_64").await.unwrap().read;
    assert!(packages[0].locations[0].gone_at.is_some());
    assert!(!index.records_by_nvra("twin-full-1.0-1.fc99.x86_64").await.unwrap().records.is_empty());

    fs::rename(&aside, &file).unwrap();
    fixture.import(&[]).counts(&[("found", 2), ("unchanged", 1), ("imported", 0), ("gone", 0)]);
    let packages = fixture.index().await.packages_by_nvra("twin-full-1.0-1.fc99.x86_64").await.unwrap().read;
    assert!(packages[0].locations[0].gone_at.is_none());
}

#[tokio::test]
async fn touched_renamed_and_replaced_files_are_indexed_again() {
    let fixture = ImportFixture::new();
    fixture.copy_family("payloads");
    fixture.import(&[]).counts(&[("imported", 6)]);
    let directory = fixture.packages().join("payloads");
    let file = |name: &str| directory.join(format!("payload-{name}-1.0-1.fc99.x86_64.rpm"));
    fs::File::options()
        .write(true)
        .open(file("xz"))
        .unwrap()
        .set_modified(SystemTime::now() + Duration::from_secs(7))
        .unwrap();
    fs::rename(file("zstd"), directory.join("renamed.rpm")).unwrap();
    fs::copy(file("none"), file("gzip")).unwrap();
    // Gone: the old name of zstd, and gzip, which another package replaced. The latter the insert itself notes.
    fixture.import(&[]).counts(&[("found", 6), ("unchanged", 3), ("imported", 0), ("gone", 1), ("broken", 0)]);
    fixture.import(&[]).counts(&[("found", 6), ("unchanged", 6), ("gone", 0)]);

    let index = fixture.index().await;
    let paths = async |name: &str| {
        let packages = index.packages_by_nvra(&format!("payload-{name}-1.0-1.fc99.x86_64")).await.unwrap().read;
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
fn only_packages_below_the_walked_directory_are_marked_as_gone() {
    let fixture = ImportFixture::with_fixtures();
    fixture.import(&[]);
    for family in ["v3", "v6"] {
        fs::remove_dir_all(fixture.packages().join(family)).unwrap();
        fs::create_dir(fixture.packages().join(family)).unwrap();
    }
    fixture.run(&["dir", fixture.packages().join("v3").to_str().unwrap()]).counts(&[("found", 0), ("gone", 1)]);
    let output = fixture.run(&["dir", fixture.packages().join("payloads").to_str().unwrap()]);
    output.counts(&[("found", 6), ("unchanged", 6), ("gone", 0)]);
    fixture.import(&[]).counts(&[("gone", 1)]);
}

#[test]
fn a_path_that_is_no_directory_is_refused_and_nothing_is_written() {
    let fixture = ImportFixture::new();
    fixture.copy_family("v3");
    fixture.import(&[]);
    fs::remove_dir_all(fixture.packages().join("v3")).unwrap();
    let file = fixture.directory.path().join("index.db");
    for wrong in [fixture.directory.path().join("nowhere"), file] {
        let output = fixture.run(&["dir", wrong.to_str().unwrap()]);
        assert_eq!(output.code, Some(2), "{output:?}");
        assert!(
            output.stderr.contains(wrong.to_str().unwrap()) && output.stderr.contains("expected a directory"),
            "{output:?}"
        );
    }
    fixture.import(&[]).counts(&[("gone", 1)]);
}

#[tokio::test]
async fn only_links_to_files_inside_the_directory_are_followed() {
    let fixture = ImportFixture::new();
    fixture.copy_family("v3");
    let packages = fixture.packages();
    let outside = fixture.directory.path().join("outside");
    fs::create_dir(&outside).unwrap();
    let rpm = fs::read_dir(packages.join("v3")).unwrap().next().unwrap().unwrap().path();
    fs::rename(rpm, packages.join("v3/here.rpm")).unwrap();
    fs::copy(packages.join("v3/here.rpm"), outside.join("there.rpm")).unwrap();
    symlink("v3/here.rpm", packages.join("inside.rpm")).unwrap();
    symlink(outside.join("there.rpm"), packages.join("outside.rpm")).unwrap();
    symlink("nowhere", packages.join("dangling.rpm")).unwrap();
    symlink(&outside, packages.join("directory")).unwrap();
    symlink(".", packages.join("circle")).unwrap();
    symlink("v3", packages.join("directory.rpm")).unwrap();
    let output = fixture.import(&[]);
    assert_eq!(output.code, Some(0), "{output:?}");
    output.counts(&[("found", 2), ("imported", 1), ("broken", 0), ("unreadable", 0)]);
}

#[tokio::test]
async fn an_unreadable_directory_is_reported_and_its_packages_stay() {
    let fixture = ImportFixture::with_fixtures();
    let hidden = fixture.packages().join("payloads");
    fs::set_permissions(fixture.directory.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    // The superuser can read everything: then the program runs as `nobody`, from a directory that it can read.
    let program = fixture.directory.path().join("darkserver-import");
    fs::copy(env!("CARGO_BIN_EXE_darkserver-import"), &program).unwrap();
    let is_root = fs::metadata("/proc/self").map(|own| std::os::unix::fs::MetadataExt::uid(&own)).unwrap() == 0;
    let nobody = 65534;
    if is_root {
        std::os::unix::fs::chown(fixture.directory.path(), Some(nobody), None).unwrap();
    }
    let run = || {
        let mut command = Command::new(&program);
        command.env("DARKSERVER_DATABASE", &fixture.database).env("DARKSERVER_ETC", "/nonexistent/etc");
        command.arg("dir").arg(fixture.packages()).arg("--json");
        if is_root {
            std::os::unix::process::CommandExt::uid(&mut command, nobody);
        }
        crate::support::run_output(&command.output().unwrap())
    };
    let output = run();
    assert_eq!(output.code, Some(0), "{output:?}");
    let found = output.count("found");
    let mode = |mode| fs::set_permissions(&hidden, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
    mode(0o000);
    fs::remove_dir_all(fixture.packages().join("v3")).unwrap();
    let output = run();
    mode(0o755);
    assert_eq!(output.code, Some(1), "{output:?}");
    output.counts(&[("found", found - 7), ("gone", 1), ("unreadable", 1), ("broken", 0)]);
    assert!(output.stderr.contains(hidden.to_str().unwrap()), "{output:?}");
    let output = run();
    assert_eq!(output.code, Some(0), "{output:?}");
    output.counts(&[("found", found - 1), ("unchanged", found - 1), ("gone", 0)]);
}

#[tokio::test]
async fn two_importers_at_once_end_with_the_index_of_one() {
    let fixture = ImportFixture::new();
    many_packages(&fixture.packages(), 400);
    let alone = ImportFixture { database: fixture.other_database("alone.db"), directory: fixture.directory };
    alone.import(&[]).counts(&[("imported", 400)]);
    let expected = alone.dump().await;
    let fixture = ImportFixture { database: alone.other_database("index.db"), directory: alone.directory };
    let directory = fixture.packages();
    let start = || fixture.command(&["dir", directory.to_str().unwrap(), "--quiet"]).spawn().unwrap();
    for mut importer in [start(), start(), start()] {
        assert!(importer.wait().unwrap().success());
    }
    assert_eq!(fixture.dump().await, expected);
    fixture.import(&[]).counts(&[("unchanged", 400), ("gone", 0)]);
}

#[tokio::test]
async fn an_import_that_ends_alone_leaves_the_whole_index_in_the_file() {
    let fixture = ImportFixture::with_fixtures();
    fixture.import(&[]);
    let log = fixture.directory.path().join("index.db-wal");
    assert!(fs::metadata(&log).map_or(0, |log| log.len()) == 0, "expected an empty log");
    let copy = fixture.directory.path().join("copy.db");
    fs::copy(fixture.directory.path().join("index.db"), &copy).unwrap();
    let copy = open(&format!("sqlite:{}", copy.display())).await;
    assert_eq!(dump(&copy, &nvras(&fixture.packages())).await, fixture.dump().await);
}

#[tokio::test]
async fn a_log_of_a_former_file_is_named() {
    const ADD: &str = "with recursive n(i) as (select ? union all select i + 1 from n where i < ?) \
        insert into stores (name, tier, priority, absent_statuses, base_url) \
        select printf('a store with a long name %060d', i), 'koji', 0, '404', 'http://example.org' from n";
    let fixture = ImportFixture::new();
    fixture.copy_family("v3");
    fixture.import(&[]).counts(&[("imported", 1)]);
    // Another index, larger, whose last pages are in its log.
    let (other, [log, stale]) = (
        fixture.other_database("other.db"),
        ["other.db-wal", "index.db-wal"].map(|name| fixture.directory.path().join(name)),
    );
    fixture.run(&["migrate", "--database", &other]);
    let mut connection = sqlx::SqliteConnection::connect(&other).await.unwrap();
    sqlx::query(ADD).bind(0).bind(3000).execute(&mut connection).await.unwrap();
    sqlx::raw_sql("pragma wal_checkpoint(truncate); pragma wal_autocheckpoint = 0")
        .execute(&mut connection)
        .await
        .unwrap();
    sqlx::query(ADD).bind(3001).bind(3300).execute(&mut connection).await.unwrap();
    fs::copy(&log, &stale).unwrap();
    connection.close().await.unwrap();
    let shared = fixture.directory.path().join("index.db-shm");
    let _ = fs::remove_file(&shared);
    let index = fixture.directory.path().join("index.db");
    let before = fs::read(&index).unwrap();
    let packages = fixture.packages();
    for args in [&["dir", packages.to_str().unwrap()][..], &["migrate"], &["store", "list"]] {
        let output = fixture.run(args);
        assert_eq!(output.code, Some(1), "{args:?}: {output:?}");
        let cure = format!("{} belongs to a former file", stale.display());
        assert!(output.stderr.contains("malformed") && output.stderr.contains(&cure), "{args:?}: {output:?}");
        assert!(fs::read(&index).unwrap() == before, "{args:?} changed the file");
    }
    fs::remove_file(&stale).unwrap();
    let _ = fs::remove_file(&shared);
    fixture.import(&[]).counts(&[("unchanged", 1), ("gone", 0)]);
}
