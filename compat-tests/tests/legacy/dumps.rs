//! Genuine dumps of PostgreSQL, and broken ones.

use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};

use compat_tests::darkserver::{Sqlite, import_command, import_ok};

use super::*;

#[test]
fn dumps_of_postgresql_give_the_same_answers_in_every_form() {
    for name in ["s5-copy.sql", "s5-inserts.sql", "s5-column-inserts.sql"] {
        let index = Sqlite::empty();
        let (summary, _) = legacy(&index.url(), dump(name).to_str().unwrap(), 0);
        assert_eq!(summary["tables"], json!({ "buildid_gnubuildid": 7 }), "{name}");
        assert_eq!(summary["skipped"], json!({ "no_build_id": 1, "odd_digits": 1, "duplicate": 1 }), "{name}");
        assert_eq!((&summary["packages"], &summary["new"]), (&json!(4), &json!(4)), "{name}");
        expect_answers(&index.url(), "fc16");
        let shown = import_ok(&index.url(), &["show", "odd-names-1-1.fc23.x86_64", "--json"]);
        let shown: Value = serde_json::from_slice(&shown.stdout).unwrap();
        assert_eq!(shown["packages"][0]["state"], "legacy");
        assert_eq!(shown["packages"][0]["files"][0]["path"], "/opt/é/tab\tback\\slash'quote\nline");
        let (again, _) = legacy(&index.url(), dump(name).to_str().unwrap(), 0);
        assert_eq!((&again["packages"], &again["new"]), (&json!(4), &json!(0)), "{name}");
        let status = import_ok(&index.url(), &["status", "--json"]);
        let status: Value = serde_json::from_slice(&status.stdout).unwrap();
        assert_eq!((&status["packages"]["legacy"], &status["claims"]), (&json!(4), &json!(4)), "{name}");
    }
}

#[test]
fn every_compression_and_standard_input_are_read() {
    let text = fs::read(dump("s5-copy.sql")).unwrap();
    for program in ["gzip", "xz", "bzip2", "zstd", "cat"] {
        let index = Sqlite::empty();
        let mut compress = Command::new(program);
        compress.args((program != "cat").then_some("-c")).stdin(fs::File::open(dump("s5-copy.sql")).unwrap());
        let packed = compress.output().unwrap().stdout;
        assert_eq!(packed == text, program == "cat");
        let mut command = import_command(&index.url(), &["legacy", "--from", "-", "--json"]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(&packed).unwrap();
        let output = child.wait_with_output().unwrap();
        let summary: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!((&summary["source"], &summary["new"]), (&json!("standard input"), &json!(4)), "{program}");
    }
}

#[test]
fn what_was_read_before_a_dump_broke_is_in_the_index() {
    let directory = tempfile::tempdir().unwrap();
    let text = fs::read_to_string(dump("s5-copy.sql")).unwrap();
    let cut = directory.path().join("cut.sql");
    fs::write(&cut, &text[..text.find("\tapr-debuginfo").unwrap()]).unwrap();
    let index = Sqlite::empty();
    let (summary, stderr) = legacy(&index.url(), cut.to_str().unwrap(), 1);
    assert_eq!(summary["new"], 2, "{summary}");
    let error = summary["error"].as_str().unwrap();
    assert!(error.starts_with("line ") && error.contains("found the end of the file: the dump is cut off"), "{error}");
    assert!(stderr.contains(error), "{stderr}");
    let rows = import_ok(&index.url(), &["show", BASH]);
    assert!(String::from_utf8_lossy(&rows.stdout).contains("legacy: known from the original's database"));
    let secret = directory.path().join("other.sql");
    fs::write(&secret, "INSERT INTO buildid_darkuser VALUES (1,'kushal','5ecre7');").unwrap();
    let (summary, stderr) = legacy(&index.url(), secret.to_str().unwrap(), 1);
    let error = summary["error"].as_str().unwrap();
    assert!(error.contains("expected a dump with the table dark_gnubuildid or buildid_gnubuildid"), "{error}");
    assert!(!stderr.contains("5ecre7") && !summary.to_string().contains("5ecre7"));
}

#[test]
fn nothing_is_written_by_a_dry_run_and_what_is_no_dump_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("never.db");
    let url = format!("sqlite:{}", path.display());
    let output = import_ok(&url, &["legacy", "--from", dump("s5-copy.sql").to_str().unwrap(), "--dry-run", "--json"]);
    let summary: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&summary["packages"], &summary["dry_run"]), (&json!(4), &json!(true)));
    assert!(!path.exists());
    for (from, expected) in [
        (directory.path().to_str().unwrap(), "found a directory"),
        ("no-such-file.sql", "expected a dump"),
        ("postgresql://u:5ecre7@h/d", "pg_dump --table=buildid_gnubuildid"),
        ("mysql://u:5ecre7@h", "no name of a database"),
        ("sqlite:x.db", "sqlite3 FILE .dump"),
    ] {
        let (_, stderr) = legacy(&url, from, 2);
        assert!(stderr.contains(expected) && !stderr.contains("5ecre7"), "{from}: {stderr}");
    }
}
