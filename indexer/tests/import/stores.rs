//! Stores: made by `dir`, and by hand.

use std::fs;
use std::process::Command;

use rustix::process::geteuid;

use crate::support::{ImportFixture, program, run_output};

#[test]
fn stores_are_added_changed_listed_and_removed() {
    let fixture = ImportFixture::new();
    let run = |args: &[&str]| fixture.run(&[&["store"], args].concat());
    assert_eq!(
        run(&["add", "kojipkgs", "--tier", "koji", "--url", "https://koji.example.org/packages/"]).code,
        Some(0)
    );
    assert_eq!(
        run(&["add", "old", "--tier", "archive", "--url", "https://old.example.org", "--priority", "-3"]).code,
        Some(0)
    );
    assert_eq!(run(&["add", "here", "--tier", "local", "--path", fixture.packages().to_str().unwrap()]).code, Some(0));
    assert_eq!(run(&["add", "old", "--tier", "mirror", "--url", "http://older.example.org"]).code, Some(0));
    let stores = run(&["list"]).json;
    let names: Vec<&str> = stores.as_array().unwrap().iter().map(|store| store["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["here", "kojipkgs", "old"]);
    assert_eq!(stores[1]["url"], "https://koji.example.org/packages");
    assert_eq!((&stores[2]["tier"], &stores[2]["priority"]), (&"mirror".into(), &(-3).into()));

    let output = fixture.command(&["store", "list"]).output().unwrap();
    let table = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<&str> = table.lines().collect();
    assert_eq!(lines.len(), 4, "{table}");
    assert_eq!(lines[0].find("TIER"), lines[1].find("local"), "{table}");

    fixture.copy_family("payloads");
    fixture.import(&[]);
    let output = run(&["remove", "here"]);
    assert_eq!((output.code, output.count("locations")), (Some(0), 6));
    for unknown in [&["store", "remove", "here"][..], &["store", "check", "here"], &["verify", "--store", "here"]] {
        let output = fixture.run(unknown);
        assert_eq!(output.code, Some(2), "{output:?}");
        assert!(output.stderr.contains("expected the name of a store (kojipkgs, old), found here"), "{output:?}");
    }
}

#[test]
fn store_add_states_what_it_changed() {
    let fixture = ImportFixture::new();
    let add = |args: &[&str]| {
        let output = fixture.command(&[&["store", "add", "k"], args].concat()).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let pattern = ["--pattern", "{name}/{nvra}.rpm", "--distros", "fc*"];
    let url = ["--tier", "koji", "--url", "https://koji.example.org/a?token=secret"];
    assert_eq!(add(&[&url[..], &pattern].concat()), "added store k (koji, https://koji.example.org/a)\n");
    assert_eq!(add(&["--tier", "koji"]), "store k is as it was\n");
    assert_eq!(
        add(&["--tier", "archive", "--url", "https://old.example.org", "--priority", "2"]),
        "changed store k: tier archive (was koji), url https://old.example.org (was https://koji.example.org/a), \
         priority 2 (was 0)\n"
    );
    assert_eq!(add(&["--url", "https://old.example.org?t=secret"]), "changed store k: another query of the url\n");
    assert_eq!(
        add(&["--pattern", ""]),
        "changed store k: pattern none (was {name}/{nvra}.rpm), distros none (was fc*)\n"
    );
}

#[test]
fn stores_that_make_no_sense_are_refused() {
    let fixture = ImportFixture::new();
    for args in [
        vec!["add", "x", "--tier", "elsewhere", "--url", "http://h"],
        vec!["add", "x", "--tier", "mirror"],
        vec!["add", "x", "--tier", "local"],
        vec!["add", "x", "--tier", "mirror", "--url", "http://h", "--path", "/srv"],
        vec!["add", "x", "--tier", "mirror", "--url", "rsync://h"],
        vec!["add", "x", "--tier", "mirror", "--url", "http://user:secret@h"],
        vec!["add", "x", "--tier", "local", "--path", "relative/and/nowhere"],
    ] {
        let output = fixture.run(&[&["store"], args.as_slice()].concat());
        assert_eq!(output.code, Some(2), "{args:?}: {output:?}");
    }
    assert_eq!(fixture.run(&["store", "list"]).json, serde_json::json!([]));
}

#[tokio::test]
async fn a_directory_has_one_store_and_its_url_can_be_changed() {
    let fixture = ImportFixture::new();
    fixture.copy_family("payloads");
    let directory = fixture.packages();
    let inner = directory.join("payloads");
    let (directory, inner) = (directory.to_str().unwrap(), inner.to_str().unwrap());
    let output = fixture.run(&["dir", directory, "--store", "mine", "--url", "https://mirror.example.org/pub/"]);
    assert_eq!(output.code, Some(0), "{output:?}");
    output.counts(&[("imported", 6)]);
    fixture.run(&["dir", inner]).counts(&[("unchanged", 6)]);
    fixture.run(&["dir", directory, inner, inner]).counts(&[("found", 6), ("unchanged", 6)]);
    assert_eq!(fixture.run(&["dir", directory, "--store", "mine", "--url", "https://other.example.org"]).code, Some(0));
    for wrong in
        [vec!["dir", directory, "--store", "other"], vec!["dir", inner, "--url", "https://other.example.org/payloads"]]
    {
        let output = fixture.run(&wrong);
        assert_eq!(output.code, Some(2), "{output:?}");
        assert!(output.stderr.contains("mine"), "{output:?}");
    }
    let stores = fixture.index().await.stores().await.unwrap();
    let [store] = stores.as_slice() else { panic!("{stores:?}") };
    assert_eq!((store.name.as_str(), store.base_url.as_deref()), ("mine", Some("https://other.example.org")));

    // The name of another directory's store is refused.
    let other = tempfile::tempdir().unwrap();
    let output = fixture.run(&["dir", other.path().to_str().unwrap(), "--store", "mine"]);
    assert_eq!(output.code, Some(2), "{output:?}");
}

#[test]
fn stores_are_listed_from_files_that_cannot_be_written() {
    let fixture = ImportFixture::new();
    assert_eq!(
        fixture.run(&["store", "add", "k", "--tier", "koji", "--url", "https://koji.example.org"]).code,
        Some(0)
    );
    let index = fixture.directory.path().join("index.db");
    for ending in ["-wal", "-shm"] {
        // It may be there, and is empty.
        let _ = fs::remove_file(format!("{}{ending}", index.display()));
    }
    let media = fixture.directory.path().join("media");
    fs::create_dir(&media).unwrap();
    let copy =
        format!("mount -t tmpfs tmpfs \"$1\" && cp {} \"$1/index.db\" && mount -o remount,ro \"$1\"", index.display());
    let read_only_mount = "mount --bind \"$1\" \"$1\" && mount -o remount,bind,ro \"$1\"";
    let list = |database: &str, script: &str, directory: &std::path::Path| {
        let mut command = Command::new("unshare");
        command.arg("--mount");
        if !geteuid().is_root() {
            command.args(["--user", "--map-root-user"]);
        }
        command.args(["sh", "-c", &format!("{script} && shift && exec \"$@\""), "sh"]).arg(directory);
        command.arg(program().get_program()).args(["store", "list", "--json", "--database", database]);
        run_output(&command.env("DARKSERVER_ETC", "/nonexistent/etc").output().unwrap())
    };
    let on_media = list(&format!("sqlite:{}/index.db", media.display()), &copy, &media);
    let promised = list(&format!("{}?immutable=1", fixture.database), read_only_mount, fixture.directory.path());
    for output in [on_media, promised] {
        assert_eq!((output.code, &output.json[0]["name"]), (Some(0), &"k".into()), "{output:?}");
    }
    // A file that others can write is refused with advice.
    let output = list(&fixture.database, read_only_mount, fixture.directory.path());
    assert_eq!(output.code, Some(1), "{output:?}");
    assert!(output.stderr.contains("?immutable=1"), "{output:?}");
    // A missing file is not created, and writers refuse immutable files.
    let missing = fixture.other_database("missing.db");
    let output = fixture.run(&["store", "list", "--database", &missing]);
    assert_eq!(output.code, Some(1), "{output:?}");
    assert!(
        output.stderr.contains("no such file") && !fixture.directory.path().join("missing.db").exists(),
        "{output:?}"
    );
    let output = fixture.run(&["store", "remove", "k", "--database", &format!("{}?immutable=1", fixture.database)]);
    assert_eq!(output.code, Some(2), "{output:?}");
}
