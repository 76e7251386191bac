//! docs/indexer.toml: the indexer accepts every store and repository of the sample.

use std::collections::BTreeSet;

use compat_tests::darkserver::{Sqlite, import_command};
use compat_tests::process::run;

use super::{document, text, with};

/// A repository that is refused before any is refreshed, so that nothing asks the network.
const LAST: &str =
    "\n[[repository]]\nname = \"last\"\nstore = \"opensuse\"\npath = \"last\"\nkeys = [\"/no/such/key\"]\n";

#[test]
fn the_indexer_accepts_the_sample_with_and_without_what_few_need() {
    let sample = document("docs/indexer.toml");
    let whole: String = sample.lines().map(|line| format!("{}\n", line.strip_prefix("#: ").unwrap_or(line))).collect();
    assert_ne!(sample, whole);
    for sample in [sample, whole] {
        let directory = tempfile::tempdir().unwrap();
        let (key, file) = (directory.path().join("key.asc"), directory.path().join("indexer.toml"));
        std::fs::write(&key, "").unwrap();
        let sample = with(&sample, &[("/etc/darkserver/keys/opensuse.asc", text(&key))]);
        std::fs::write(&file, format!("{sample}{LAST}")).unwrap();

        let index = Sqlite::empty();
        let mut command = import_command(&index.url(), &["repo", "--all", "--config", text(&file)]);
        let output = run(&mut command, "darkserver-import");
        let messages = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{messages}");
        assert!(messages.contains("[[repository]] last") && messages.contains("/no/such/key"), "{messages}");

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
