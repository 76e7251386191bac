//! What `dir` leaves out, what it follows, and what it says of directories in which it finds nothing or whose packages
//! are another store's.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use compat_tests::fixtures;

use crate::support::{Place, program, said};

/// Copies a package of the family `server` into a directory below the packages.
fn put(place: &Place, release: u8, below: &str) {
    let name = format!("server-1.1-{release}.fc99.x86_64.rpm");
    let folder = place.packages().join(below);
    fs::create_dir_all(&folder).unwrap();
    fs::copy(fixtures::rpm(&format!("server/{name}")), folder.join(name)).unwrap();
}

#[test]
fn temporary_files_of_rsync_and_snapshots_are_left_out_by_default() {
    let place = Place::new();
    put(&place, 5, "os");
    for below in ["os/.~tmp~", ".snapshot/hourly.0/os", "os/.zfs/snapshot/x", ".snapshots/1/snapshot"] {
        put(&place, 6, below);
    }
    // Half a file, as rsync leaves it while it runs, and a directory that may not be read.
    fs::write(place.packages().join("os/.~tmp~/server-1.1-7.fc99.x86_64.rpm"), "half").unwrap();
    fs::create_dir(place.packages().join("lost+found")).unwrap();
    fs::set_permissions(place.packages().join("lost+found"), fs::Permissions::from_mode(0o000)).unwrap();
    assert_eq!(place.run(&["migrate"]).code, Some(0));
    let said = place.import(&[]);
    assert_eq!((said.code, said.stderr.as_str()), (Some(0), ""), "{said:?}");
    said.counts(&[("found", 1), ("imported", 1), ("broken", 0), ("problems", 0), ("excluded", 5)]);
    // In words, too.
    let output = place.command(&["dir", place.packages().to_str().unwrap()]).output().unwrap();
    assert!(String::from_utf8_lossy(&output.stderr).contains("; 5 excluded;"), "{output:?}");
    place.import(&["--include", ".snapshot/"]).counts(&[("found", 2), ("imported", 1), ("excluded", 4)]);
    // A directory that is named is not one that is met.
    let inside = place.packages().join(".snapshot/hourly.0");
    let said = place.run(&["dir", inside.to_str().unwrap()]);
    assert_eq!(said.code, Some(2), "{said:?}");
    assert!(said.stderr.contains("give --include '/.snapshot/'"), "{said:?}");
}

#[test]
fn what_is_excluded_later_is_gone_and_comes_back() {
    let place = Place::new();
    put(&place, 5, "os");
    put(&place, 6, "old/a");
    put(&place, 7, "old/b");
    place.import(&[]).counts(&[("found", 3), ("imported", 3), ("gone", 0), ("excluded", 0)]);
    place.import(&["--exclude", "old/"]).counts(&[("found", 1), ("gone", 2), ("excluded", 1)]);
    place.import(&["--exclude", "/old/*/", "--include", "/old/b/"]).counts(&[
        ("found", 2),
        ("gone", 0),
        ("excluded", 1),
    ]);
    place.import(&["--exclude", "*-7.*.rpm", "--exclude", "a"]).counts(&[("found", 1), ("gone", 1), ("excluded", 2)]);
    // Below the store's directory, also where another one is walked.
    let old = place.packages().join("old");
    place.run(&["dir", old.to_str().unwrap(), "--exclude", "/old/a/"]).counts(&[
        ("found", 1),
        ("gone", 0),
        ("excluded", 1),
    ]);
    place.import(&[]).counts(&[("found", 3), ("gone", 0), ("excluded", 0)]);
}

#[test]
fn patterns_that_leave_nothing_are_an_error_and_nothing_is_gone() {
    let place = Place::new();
    put(&place, 5, "os");
    fs::write(place.packages().join("README"), "x").unwrap();
    place.import(&[]).counts(&[("imported", 1)]);
    for patterns in [&["--exclude", "*.rpm"][..], &["--exclude", "*"], &["--exclude", "os/"]] {
        let said = place.import(patterns);
        assert_eq!(said.code, Some(2), "{said:?}");
        assert!(said.stderr.contains("nothing remained: nothing is marked as gone"), "{said:?}");
    }
    let said = place.import(&["--exclude", "[a"]);
    assert_eq!(said.code, Some(2), "{said:?}");
    assert!(said.stderr.contains("exclude: expected a glob of paths below the store's directory"), "{said:?}");
    place.import(&[]).counts(&[("unchanged", 1), ("gone", 0)]);
    // A directory that is empty but for what defaults leave out is one whose packages are gone.
    put(&place, 6, ".snapshot");
    fs::remove_dir_all(place.packages().join("os")).unwrap();
    place.import(&[]).counts(&[("found", 0), ("gone", 1), ("excluded", 1)]);
}

#[test]
fn patterns_of_the_configuration_come_before_those_of_the_command_line() {
    let place = Place::new();
    put(&place, 5, "os");
    put(&place, 6, "old");
    let etc = tempfile::tempdir().unwrap();
    let file = etc.path().join("indexer.toml");
    let import = |args: &[&str]| {
        let mut command = program();
        command.env("DARKSERVER_DATABASE", &place.database).env("DARKSERVER_ETC", etc.path());
        said(&command.args(["dir", place.packages().to_str().unwrap(), "--json"]).args(args).output().unwrap())
    };
    fs::write(&file, "exclude = [\"old/\"]\n").unwrap();
    import(&[]).counts(&[("found", 1), ("excluded", 1)]);
    import(&["--exclude", "x"]).counts(&[("found", 1), ("excluded", 1)]);
    import(&["--include", "old/"]).counts(&[("found", 2), ("excluded", 0)]);
    fs::write(&file, "exclude = [\"*\"]\ninclude = [\"old/\", \"*-6.*\"]\n").unwrap();
    import(&[]).counts(&[("found", 1), ("excluded", 1), ("gone", 1)]);
    for (text, expected) in [
        ("exclude = [\"[a\"]\n", "indexer.toml: exclude: expected a glob"),
        ("exclude = 5\n", "`exclude` and `include` as lists of globs"),
    ] {
        fs::write(&file, text).unwrap();
        let said = import(&[]);
        assert_eq!(said.code, Some(2), "{said:?}");
        assert!(said.stderr.contains(expected), "{said:?}");
    }
}

#[test]
fn links_are_followed_on_request_within_the_store() {
    let place = Place::new();
    put(&place, 5, "releases/40");
    put(&place, 6, "current");
    let outside = Place::new();
    put(&outside, 7, "");
    let link = |to: &str, at: &str| symlink(to, place.packages().join(at)).unwrap();
    link("../releases/40", "current/latest");
    // Circles, the same again, and nowhere.
    link("../../current", "releases/40/circle");
    link("..", "current/up");
    link("../releases", "current/again");
    link("self", "current/self");
    link(outside.packages().to_str().unwrap(), "current/out");
    let current = place.packages().join("current");
    let current = current.to_str().unwrap();
    assert_eq!(
        place.run(&["store", "add", "all", "--tier", "local", "--path", place.packages().to_str().unwrap()]).code,
        Some(0)
    );
    place.run(&["dir", current]).counts(&[("found", 1), ("links_out", 0), ("problems", 0)]);
    let output = place.command(&["dir", current, "--follow-links"]).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(0), "{stderr}");
    let expected = format!(
        "leads out of the store's directory and is not followed: import it with `dir {}`",
        outside.packages().display()
    );
    assert!(stderr.contains(&format!("{current}/out: {expected}")), "{stderr}");
    let said = place.run(&["dir", current, "--follow-links", "--exclude", "up"]);
    said.counts(&[("found", 2), ("imported", 0), ("links_out", 1), ("problems", 0), ("broken", 0), ("gone", 0)]);
    place.import(&["--follow-links"]).counts(&[("found", 2), ("unchanged", 2), ("gone", 0)]);
}

#[test]
fn a_folder_without_packages_names_the_formats_that_would_find_something() {
    let place = Place::new();
    let packages = place.packages();
    assert_eq!(place.run(&["migrate"]).code, Some(0));
    let said = place.import(&[]);
    assert_eq!(
        (said.code, &said.json["other_formats"], said.stderr.as_str()),
        (Some(0), &serde_json::json!({}), ""),
        "{said:?}"
    );
    fs::write(packages.join("a.tar.gz"), "x").unwrap();
    fs::write(packages.join("README"), "x").unwrap();
    for name in ["program", "library.so"] {
        fs::copy(std::env::current_exe().unwrap(), packages.join(name)).unwrap();
    }
    let output = place.command(&["dir", packages.to_str().unwrap()]).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    let expected = format!(
        "{}: nothing found, but files of other formats (elf: 2, tar: 1): give --formats elf,tar\n",
        packages.display()
    );
    assert!(output.status.success() && stderr.contains(&expected), "{stderr}");
    assert_eq!(place.import(&[]).json["other_formats"], serde_json::json!({ "elf": 2, "tar": 1 }));
    // With packages there is nothing to say.
    put(&place, 5, "os");
    assert_eq!(place.import(&[]).json["other_formats"], serde_json::json!({}));
}

#[test]
fn folders_of_other_stores_are_not_imported_twice() {
    let place = Place::new();
    put(&place, 5, "os");
    put(&place, 6, "inner/x");
    let [outer, inner] = [place.packages(), place.packages().join("inner")];
    let [outer, inner] = [&outer, &inner].map(|path| path.to_str().unwrap());
    place.run(&["dir", inner, "--store", "in"]).counts(&[("imported", 1)]);
    for args in [&["dir", outer][..], &["store", "add", "out", "--tier", "local", "--path", outer]] {
        let said = place.run(args);
        assert_eq!(said.code, Some(2), "{said:?}");
        assert!(
            said.stderr.contains("contains the directory of store in (") && said.stderr.contains("store remove in"),
            "{said:?}"
        );
    }
    assert_eq!(place.run(&["store", "list"]).json.as_array().unwrap().len(), 1);
    place.run(&["dir", outer, "--exclude", "/inner/"]).counts(&[("found", 1), ("imported", 1), ("excluded", 1)]);
    place.run(&["dir", inner]).counts(&[("found", 1), ("unchanged", 1)]);

    assert_eq!(place.run(&["store", "remove", "in"]).code, Some(0));
    for (path, expected) in [(inner, "lies in the directory of store"), (outer, "is the directory of store")] {
        let said = place.run(&["store", "add", "new", "--tier", "local", "--path", path]);
        assert_eq!(said.code, Some(2), "{said:?}");
        assert!(said.stderr.contains(expected) && said.stderr.contains(&format!("`dir {path}`")), "{said:?}");
    }
    // Below a store no other one is needed.
    place.run(&["dir", inner]).counts(&[("found", 1)]);
    assert_eq!(place.run(&["store", "list"]).json.as_array().unwrap().len(), 1);
}

#[test]
fn an_sqlite_path_in_a_missing_folder_names_the_folder() {
    let place = Place::new();
    let missing = place.folder.path().join("nowhere");
    let said = place.run(&["migrate", "--database", &format!("sqlite:{}/index.db", missing.display())]);
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.stderr.contains(&format!("found no directory {}", missing.display())), "{said:?}");
}

#[test]
fn a_suffix_never_takes_packages_from_their_formats() {
    let place = Place::new();
    put(&place, 5, "os");
    put(&place, 6, "os");
    place.import(&[]).counts(&[("imported", 2)]);
    for (suffix, expected) in [
        ("rpm", "--formats rpm"),
        (".deb", "--formats deb"),
        ("pkg.tar.zst", "--formats arch"),
        ("", "none"),
        (".", "none"),
    ] {
        let said = place.import(&["--suffix", suffix]);
        assert_eq!(said.code, Some(2), "{suffix}: {said:?}");
        assert!(said.stderr.contains("--suffix") && said.stderr.contains(expected), "{suffix}: {said:?}");
    }
    place.import(&["--suffix", "tpkg"]).counts(&[("found", 2), ("unchanged", 2), ("gone", 0), ("broken", 0)]);
}

#[test]
fn every_usual_ending_of_tar_archives_is_looked_for() {
    let place = Place::new();
    let endings = ["tar", "tar.lzma", "tgz", "taz", "tbz2", "tbz", "tb2", "tz2", "txz", "tlz", "tzst"];
    for ending in endings {
        // Without any member.
        fs::write(place.packages().join(format!("a.{ending}")), [0; 1024]).unwrap();
    }
    place.import(&["--formats", "tar"]).counts(&[("found", endings.len() as u64), ("broken", 0)]);
}

#[test]
fn a_folder_that_cannot_be_imported_keeps_no_other_from_it() {
    let place = Place::new();
    put(&place, 5, "m1/old");
    put(&place, 6, "m2");
    put(&place, 7, "m3");
    let [m1, m2, m3, missing] = ["m1", "m2", "m3", "missing"].map(|name| place.packages().join(name));
    let [m1, m2, m3, missing] = [&m1, &m2, &m3, &missing].map(|path| path.to_str().unwrap());
    place.run(&["dir", m1]).counts(&[("imported", 1)]);
    let said = place.run(&["dir", m2, missing, m1, m3, "--exclude", "old/"]);
    assert_eq!(said.code, Some(2), "{said:?}");
    said.counts(&[("found", 2), ("imported", 2), ("gone", 0), ("refused", 2), ("problems", 0)]);
    let lines: Vec<&str> = said.stderr.lines().filter(|line| line.starts_with("darkserver-import: ")).collect();
    let [first, second] = lines.as_slice() else { panic!("{said:?}") };
    assert!(first.contains(missing) && first.contains("expected a directory"), "{first}");
    assert!(second.contains(m1) && second.contains("nothing is marked as gone"), "{second}");
    place.run(&["dir", m1]).counts(&[("unchanged", 1), ("gone", 0)]);
    // In words, too; a folder of another store's is one more reason.
    let output = place.command(&["dir", place.packages().to_str().unwrap(), missing]).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{stderr}");
    assert!(
        stderr.contains("contains the directory of store") && stderr.contains("; 2 directories NOT IMPORTED;"),
        "{stderr}"
    );
}
