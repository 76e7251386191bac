//! Exclusion, links, and messages of `dir` about directories without packages and directories of other stores.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use compat_tests::fixtures;

use crate::support::{ImportFixture, program, run_output};

/// Copies a package of the family `server` into a directory below the packages.
fn put(fixture: &ImportFixture, release: u8, below: &str) {
    let name = format!("server-1.1-{release}.fc99.x86_64.rpm");
    let directory = fixture.packages().join(below);
    fs::create_dir_all(&directory).unwrap();
    fs::copy(fixtures::rpm(&format!("server/{name}")), directory.join(name)).unwrap();
}

#[test]
fn temporary_files_of_rsync_and_snapshots_are_excluded_by_default() {
    let fixture = ImportFixture::new();
    put(&fixture, 5, "os");
    for below in ["os/.~tmp~", ".snapshot/hourly.0/os", "os/.zfs/snapshot/x", ".snapshots/1/snapshot"] {
        put(&fixture, 6, below);
    }
    // Half a file, as rsync leaves it while it runs, and a directory that may not be read.
    fs::write(fixture.packages().join("os/.~tmp~/server-1.1-7.fc99.x86_64.rpm"), "half").unwrap();
    fs::create_dir(fixture.packages().join("lost+found")).unwrap();
    fs::set_permissions(fixture.packages().join("lost+found"), fs::Permissions::from_mode(0o000)).unwrap();
    assert_eq!(fixture.run(&["migrate"]).code, Some(0));
    let output = fixture.import(&[]);
    assert_eq!((output.code, output.stderr.as_str()), (Some(0), ""), "{output:?}");
    output.counts(&[("found", 1), ("imported", 1), ("broken", 0), ("unreadable", 0), ("excluded", 5)]);
    // In words, too.
    let output = fixture.command(&["dir", fixture.packages().to_str().unwrap()]).output().unwrap();
    assert!(String::from_utf8_lossy(&output.stderr).contains("; 5 excluded;"), "{output:?}");
    fixture.import(&["--include", ".snapshot/"]).counts(&[("found", 2), ("imported", 1), ("excluded", 4)]);
    // A directory that is named is not one that is met.
    let inside = fixture.packages().join(".snapshot/hourly.0");
    let output = fixture.run(&["dir", inside.to_str().unwrap()]);
    assert_eq!(output.code, Some(2), "{output:?}");
    assert!(output.stderr.contains("give --include '/.snapshot/'"), "{output:?}");
}

#[test]
fn packages_excluded_later_are_gone_until_they_are_included() {
    let fixture = ImportFixture::new();
    put(&fixture, 5, "os");
    put(&fixture, 6, "old/a");
    put(&fixture, 7, "old/b");
    fixture.import(&[]).counts(&[("found", 3), ("imported", 3), ("gone", 0), ("excluded", 0)]);
    fixture.import(&["--exclude", "old/"]).counts(&[("found", 1), ("gone", 2), ("excluded", 1)]);
    fixture.import(&["--exclude", "/old/*/", "--include", "/old/b/"]).counts(&[
        ("found", 2),
        ("gone", 0),
        ("excluded", 1),
    ]);
    fixture.import(&["--exclude", "*-7.*.rpm", "--exclude", "a"]).counts(&[("found", 1), ("gone", 1), ("excluded", 2)]);
    // Below the store's directory, also where another one is walked.
    let old = fixture.packages().join("old");
    fixture.run(&["dir", old.to_str().unwrap(), "--exclude", "/old/a/"]).counts(&[
        ("found", 1),
        ("gone", 0),
        ("excluded", 1),
    ]);
    fixture.import(&[]).counts(&[("found", 3), ("gone", 0), ("excluded", 0)]);
}

#[test]
fn patterns_that_leave_nothing_are_an_error_and_nothing_is_gone() {
    let fixture = ImportFixture::new();
    put(&fixture, 5, "os");
    fs::write(fixture.packages().join("README"), "x").unwrap();
    fixture.import(&[]).counts(&[("imported", 1)]);
    for patterns in [&["--exclude", "*.rpm"][..], &["--exclude", "*"], &["--exclude", "os/"]] {
        let output = fixture.import(patterns);
        assert_eq!(output.code, Some(2), "{output:?}");
        assert!(output.stderr.contains("nothing remains: nothing is marked as gone"), "{output:?}");
    }
    let output = fixture.import(&["--exclude", "[a"]);
    assert_eq!(output.code, Some(2), "{output:?}");
    assert!(output.stderr.contains("exclude: expected a glob of paths below the store's directory"), "{output:?}");
    fixture.import(&[]).counts(&[("unchanged", 1), ("gone", 0)]);
    // In a directory that has only files excluded by default, all packages are gone.
    put(&fixture, 6, ".snapshot");
    fs::remove_dir_all(fixture.packages().join("os")).unwrap();
    fixture.import(&[]).counts(&[("found", 0), ("gone", 1), ("excluded", 1)]);
}

#[test]
fn patterns_of_the_configuration_come_before_those_of_the_command_line() {
    let fixture = ImportFixture::new();
    put(&fixture, 5, "os");
    put(&fixture, 6, "old");
    let etc = tempfile::tempdir().unwrap();
    let file = etc.path().join("indexer.toml");
    let import = |args: &[&str]| {
        let mut command = program();
        command.env("DARKSERVER_DATABASE", &fixture.database).env("DARKSERVER_ETC", etc.path());
        run_output(&command.args(["dir", fixture.packages().to_str().unwrap(), "--json"]).args(args).output().unwrap())
    };
    fs::write(&file, "exclude = [\"old/\"]\n").unwrap();
    import(&[]).counts(&[("found", 1), ("excluded", 1)]);
    import(&["--exclude", "x"]).counts(&[("found", 1), ("excluded", 1)]);
    import(&["--include", "old/"]).counts(&[("found", 2), ("excluded", 0)]);
    fs::write(&file, "exclude = [\"*\"]\ninclude = [\"old/\", \"*-6.*\"]\n").unwrap();
    import(&[]).counts(&[("found", 1), ("excluded", 1), ("gone", 1)]);
    for (text, expected) in [
        ("exclude = [\"[a\"]\n", "indexer.toml: exclude: expected a glob"),
        ("exclude = 5\n", "expected a sequence in `exclude`"),
    ] {
        fs::write(&file, text).unwrap();
        let output = import(&[]);
        assert_eq!(output.code, Some(2), "{output:?}");
        assert!(output.stderr.contains(expected), "{output:?}");
    }
}

#[test]
fn links_are_followed_on_request_within_the_store() {
    let fixture = ImportFixture::new();
    put(&fixture, 5, "releases/40");
    put(&fixture, 6, "current");
    let outside = ImportFixture::new();
    put(&outside, 7, "");
    let link = |to: &str, at: &str| symlink(to, fixture.packages().join(at)).unwrap();
    link("../releases/40", "current/latest");
    // Circles, the same again, and nowhere.
    link("../../current", "releases/40/circle");
    link("..", "current/up");
    link("../releases", "current/again");
    link("self", "current/self");
    link(outside.packages().to_str().unwrap(), "current/out");
    let current = fixture.packages().join("current");
    let current = current.to_str().unwrap();
    assert_eq!(
        fixture.run(&["store", "add", "all", "--tier", "local", "--path", fixture.packages().to_str().unwrap()]).code,
        Some(0)
    );
    fixture.run(&["dir", current]).counts(&[("found", 1), ("outside_links", 0), ("unreadable", 0)]);
    let output = fixture.command(&["dir", current, "--follow-links"]).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(0), "{stderr}");
    let expected = format!(
        "leads out of the store's directory and is not followed: import it with `dir {}`",
        outside.packages().display()
    );
    assert!(stderr.contains(&format!("{current}/out: {expected}")), "{stderr}");
    let output = fixture.run(&["dir", current, "--follow-links", "--exclude", "up"]);
    output.counts(&[
        ("found", 2),
        ("imported", 0),
        ("outside_links", 1),
        ("unreadable", 0),
        ("broken", 0),
        ("gone", 0),
    ]);
    fixture.import(&["--follow-links"]).counts(&[("found", 2), ("unchanged", 2), ("gone", 0)]);
}

#[test]
fn a_directory_without_packages_reports_the_formats_that_it_holds() {
    let fixture = ImportFixture::new();
    let packages = fixture.packages();
    assert_eq!(fixture.run(&["migrate"]).code, Some(0));
    let output = fixture.import(&[]);
    assert_eq!(
        (output.code, &output.json["other_formats"], output.stderr.as_str()),
        (Some(0), &serde_json::json!({}), ""),
        "{output:?}"
    );
    fs::write(packages.join("a.tar.gz"), "x").unwrap();
    fs::write(packages.join("README"), "x").unwrap();
    for name in ["program", "library.so"] {
        fs::copy(std::env::current_exe().unwrap(), packages.join(name)).unwrap();
    }
    let output = fixture.command(&["dir", packages.to_str().unwrap()]).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    let expected = format!(
        "{}: nothing found, but files of other formats (elf: 2, tar: 1): give --formats elf,tar\n",
        packages.display()
    );
    assert!(output.status.success() && stderr.contains(&expected), "{stderr}");
    assert_eq!(fixture.import(&[]).json["other_formats"], serde_json::json!({ "elf": 2, "tar": 1 }));
    // With packages there is nothing to say.
    put(&fixture, 5, "os");
    assert_eq!(fixture.import(&[]).json["other_formats"], serde_json::json!({}));
}

#[test]
fn directories_of_other_stores_are_not_imported_twice() {
    let fixture = ImportFixture::new();
    put(&fixture, 5, "os");
    put(&fixture, 6, "inner/x");
    let [outer, inner] = [fixture.packages(), fixture.packages().join("inner")];
    let [outer, inner] = [&outer, &inner].map(|path| path.to_str().unwrap());
    fixture.run(&["dir", inner, "--store", "in"]).counts(&[("imported", 1)]);
    for args in [&["dir", outer][..], &["store", "add", "out", "--tier", "local", "--path", outer]] {
        let output = fixture.run(args);
        assert_eq!(output.code, Some(2), "{output:?}");
        assert!(
            output.stderr.contains("contains the directory of store in (") && output.stderr.contains("store remove in"),
            "{output:?}"
        );
    }
    assert_eq!(fixture.run(&["store", "list"]).json.as_array().unwrap().len(), 1);
    fixture.run(&["dir", outer, "--exclude", "/inner/"]).counts(&[("found", 1), ("imported", 1), ("excluded", 1)]);
    fixture.run(&["dir", inner]).counts(&[("found", 1), ("unchanged", 1)]);

    assert_eq!(fixture.run(&["store", "remove", "in"]).code, Some(0));
    for (path, expected) in [(inner, "is inside the directory of store"), (outer, "is the directory of store")] {
        let output = fixture.run(&["store", "add", "new", "--tier", "local", "--path", path]);
        assert_eq!(output.code, Some(2), "{output:?}");
        assert!(output.stderr.contains(expected) && output.stderr.contains(&format!("`dir {path}`")), "{output:?}");
    }
    // Below a store no other one is needed.
    fixture.run(&["dir", inner]).counts(&[("found", 1)]);
    assert_eq!(fixture.run(&["store", "list"]).json.as_array().unwrap().len(), 1);
}

#[test]
fn an_sqlite_path_in_a_missing_directory_names_the_directory() {
    let fixture = ImportFixture::new();
    let missing = fixture.directory.path().join("nowhere");
    let output = fixture.run(&["migrate", "--database", &format!("sqlite:{}/index.db", missing.display())]);
    assert_eq!(output.code, Some(1), "{output:?}");
    assert!(output.stderr.contains(&format!("found no directory {}", missing.display())), "{output:?}");
}

#[test]
fn a_suffix_does_not_change_the_format_of_packages() {
    let fixture = ImportFixture::new();
    put(&fixture, 5, "os");
    put(&fixture, 6, "os");
    fixture.import(&[]).counts(&[("imported", 2)]);
    for (suffix, expected) in [
        ("rpm", "--formats rpm"),
        (".deb", "--formats deb"),
        ("pkg.tar.zst", "--formats arch"),
        ("", "none"),
        (".", "none"),
    ] {
        let output = fixture.import(&["--suffix", suffix]);
        assert_eq!(output.code, Some(2), "{suffix}: {output:?}");
        assert!(output.stderr.contains("--suffix") && output.stderr.contains(expected), "{suffix}: {output:?}");
    }
    fixture.import(&["--suffix", "tpkg"]).counts(&[("found", 2), ("unchanged", 2), ("gone", 0), ("broken", 0)]);
}

#[test]
fn every_usual_suffix_of_tar_archives_is_imported() {
    let fixture = ImportFixture::new();
    let endings = ["tar", "tar.lzma", "tgz", "taz", "tbz2", "tbz", "tb2", "tz2", "txz", "tlz", "tzst"];
    for ending in endings {
        // Without any member.
        fs::write(fixture.packages().join(format!("a.{ending}")), [0; 1024]).unwrap();
    }
    fixture.import(&["--formats", "tar"]).counts(&[("found", endings.len() as u64), ("broken", 0)]);
}

#[test]
fn a_directory_that_cannot_be_imported_does_not_stop_the_others() {
    let fixture = ImportFixture::new();
    put(&fixture, 5, "m1/old");
    put(&fixture, 6, "m2");
    put(&fixture, 7, "m3");
    let [m1, m2, m3, missing] = ["m1", "m2", "m3", "missing"].map(|name| fixture.packages().join(name));
    let [m1, m2, m3, missing] = [&m1, &m2, &m3, &missing].map(|path| path.to_str().unwrap());
    fixture.run(&["dir", m1]).counts(&[("imported", 1)]);
    let output = fixture.run(&["dir", m2, missing, m1, m3, "--exclude", "old/"]);
    assert_eq!(output.code, Some(2), "{output:?}");
    output.counts(&[("found", 2), ("imported", 2), ("gone", 0), ("refused", 2), ("unreadable", 0)]);
    let lines: Vec<&str> = output.stderr.lines().filter(|line| line.starts_with("darkserver-import: ")).collect();
    let [first, second] = lines.as_slice() else { panic!("{output:?}") };
    assert!(first.contains(missing) && first.contains("expected a directory"), "{first}");
    assert!(second.contains(m1) && second.contains("nothing is marked as gone"), "{second}");
    fixture.run(&["dir", m1]).counts(&[("unchanged", 1), ("gone", 0)]);
    // In words, too; a directory of another store's is one more reason.
    let output = fixture.command(&["dir", fixture.packages().to_str().unwrap(), missing]).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{stderr}");
    assert!(
        stderr.contains("contains the directory of store") && stderr.contains("; 2 directories NOT IMPORTED;"),
        "{stderr}"
    );
}
