//! docs/indexer.toml: the indexer accepts every store and repository of the sample.

use std::collections::BTreeSet;

use compat_tests::darkserver::{Sqlite, import_command};
use compat_tests::process::run;

use super::{document, text};

/// A file of keys that is missing: a repository that has it is refused, so that nothing asks the network.
const KEYS: &str = "keys = [\"/no/such/key\"]\n";

/// Adds a missing key to every repository of a configuration file.
fn without_keys(sample: &str) -> String {
    let sample = sample.replace("/etc/darkserver/keys/opensuse.asc", "/no/such/key");
    let mut tables = sample.split("\n[[repository]]\n");
    let mut text = tables.next().unwrap().to_owned();
    for table in tables {
        let keys = if table.lines().any(|line| line.starts_with("keys = ")) { "" } else { KEYS };
        text.push_str(&format!("\n[[repository]]\n{keys}{table}"));
    }
    text
}

#[test]
fn the_indexer_accepts_the_sample_with_and_without_what_few_need() {
    let sample = document("docs/indexer.toml");
    let whole: String = sample.lines().map(|line| format!("{}\n", line.strip_prefix("#: ").unwrap_or(line))).collect();
    assert_ne!(sample, whole);
    for sample in [sample, whole] {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("indexer.toml");
        std::fs::write(&file, without_keys(&sample)).unwrap();

        let index = Sqlite::empty();
        let mut command = import_command(&index.url(), &["repo", "--all", "--config", text(&file)]);
        let output = run(&mut command, "darkserver-import");
        let messages = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{messages}");
        let repositories = sample.lines().filter(|line| *line == "[[repository]]").count();
        assert_eq!(messages.matches("/no/such/key").count(), repositories, "{messages}");

        let names = names_of_stores(&sample);
        assert!(names.len() >= 10, "{names:?}");
        let listed = run(&mut import_command(&index.url(), &["store", "list", "--json"]), "darkserver-import");
        let listed: serde_json::Value = serde_json::from_slice(&listed.stdout).unwrap();
        let stores = listed.as_array().or_else(|| listed["stores"].as_array()).unwrap();
        let added: BTreeSet<&str> = stores.iter().map(|store| store["name"].as_str().unwrap()).collect();
        assert_eq!(added, names);
    }
}

fn names_of_stores(sample: &str) -> BTreeSet<&str> {
    let tables = sample.split("\n[[store]]\n").skip(1);
    tables.map(|table| table.strip_prefix("name = \"").unwrap().split('"').next().unwrap()).collect()
}
