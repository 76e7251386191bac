//! `repo`: wrong usage and wrong configuration, before anything is fetched. What repositories become in the index is
//! proved by `compat-tests/tests/repositories`.

use std::fs;

use crate::support::{ImportFixture, RunOutput};

/// Expects wrong usage with these texts, and never the secret.
#[track_caller]
fn expect_usage(output: &RunOutput, texts: &[&str]) {
    assert_eq!(output.code, Some(2), "{output:?}");
    for text in texts {
        assert!(output.stderr.contains(text), "expected {text:?}: {output:?}");
    }
    assert!(!output.stderr.contains("secret"), "{output:?}");
}

#[test]
fn wrong_usage_of_repo_names_what_is_expected() {
    let fixture = ImportFixture::new();
    let add = ["store", "add", "fedora", "--tier", "mirror", "--url", "https://m.example/pub?token=secret"];
    assert_eq!(fixture.run(&add).code, Some(0));
    let base = "https://m.example/pub/el9";
    for (arguments, texts) in [
        (&[][..], &["URL|METALINK|MIRRORLIST", "--all"][..]),
        (&[base, "--all"], &["--all"]),
        (&["ftp://m.example/secret"], &["expected an http or https URL", "another scheme"]),
        (&["https://me:secret@m.example/"], &["user or password"]),
        (&["/srv/repository"], &["expected an http or https URL"]),
        (&["https://m.example/metalink?repo=x&token=secret"], &["needs --store"]),
        (&["https://m.example/mirrorlist"], &["needs --store"]),
        (&[base, "--store", "other"], &["expected the name of a store (fedora), found other"]),
        (
            &["https://x.example/el9", "--store", "fedora"],
            &["below that of store fedora (https://m.example/pub)", "--path"],
        ),
        (&["https://x.example/el9", "--name", "fedora"], &["store fedora is another one"]),
        (&[base, "--key", "/nonexistent/key"], &["/nonexistent/key", "expected a file with OpenPGP keys"]),
        (&[base, "--payload", "sometimes"], &["missing"]),
        (&[base, "--format", "arch"], &["core.files"]),
        (&["--all"], &["expected [[repository]] tables"]),
    ] {
        expect_usage(&fixture.run(&[&["repo"], arguments].concat()), texts);
    }
    // A store that a wrong command would have added is not there.
    let names: Vec<String> = fixture
        .run(&["store", "list"])
        .json
        .as_array()
        .unwrap()
        .iter()
        .map(|store| store["name"].to_string())
        .collect();
    assert_eq!(names, ["\"fedora\""]);
}

#[test]
fn a_wrong_configuration_names_file_table_and_key() {
    let fixture = ImportFixture::new();
    let file = fixture.directory.path().join("indexer.toml");
    let path = file.to_str().unwrap();
    let store = "[[store]]\nname = \"m\"\ntier = \"mirror\"\nurl = \"https://m.example?token=secret\"\n";
    let repository = "[[repository]]\nname = \"r\"\nstore = \"m\"\npath = \"el9\"\n";
    for (text, texts) in [
        ("[[store]]\nname = \"m\"\n".to_owned(), &["missing field `tier`"][..]),
        (format!("{store}colour = \"red\"\n"), &["unknown field `colour`", "expected one of `name`"]),
        (format!("{store}pattern = \"../{{nvra}}\"\ndistros = [\"fc*\"]\n{repository}"), &["[[store]] m", "pattern"]),
        (format!("{store}pattern = \"{{nvra}}.rpm\"\n{repository}"), &["[[store]] m: expected pattern and distros"]),
        (format!("{store}absent_statuses = [200]\n{repository}"), &["[[store]] m", "absent statuses"]),
        (format!("{store}redirect_hosts = [\"a:80\"]\n{repository}"), &["[[store]] m", "redirect hosts"]),
        (store.replace("mirror", "elsewhere") + repository, &["[[store]] m", "tier", "elsewhere"]),
        (format!("{store}{store}{repository}"), &["different names of [[store]]", "m twice"]),
        (format!("{store}{repository}{repository}"), &["different names of [[repository]]", "r twice"]),
        (format!("{store}{repository}payload = \"some\"\n"), &["line", "payload"]),
        (format!("{store}{repository}url = \"ftp://secret\"\n"), &["[[repository]] r", "another scheme"]),
        (
            format!("{store}[[repository]]\nname = \"r\"\nstore = \"n\"\n"),
            &["[[repository]] r", "name of a store (m), found n"],
        ),
        (format!("{store}[[repository]]\nname = \"r\"\n"), &["[[repository]] r", "`store` and `path`"]),
        ("[check]\nbudget = \"soon\"\n".to_owned(), &["expected a duration like 10m"]),
        ("contact = \"a (b)\"\n".to_owned(), &["contact: expected an address"]),
        (store.to_owned(), &["expected [[repository]] tables"]),
    ] {
        fs::write(&file, &text).unwrap();
        let output = fixture.run(&["repo", "--all", "--config", path]);
        expect_usage(&output, &[&[path], texts].concat());
    }
}

#[tokio::test]
async fn a_missing_key_file_refuses_its_repository_alone_and_others_of_the_index_are_named() {
    let fixture = ImportFixture::new();
    let file = fixture.directory.path().join("indexer.toml");
    let store = "[[store]]\nname = \"m\"\ntier = \"mirror\"\nurl = \"http://127.0.0.1:1\"\n";
    let table = |name| format!("[[repository]]\nname = \"{name}\"\nstore = \"m\"\nkeys = [\"/no/key-of-{name}\"]\n");
    fs::write(&file, format!("{store}{}{}", table("a"), table("b"))).unwrap();
    let all = ["repo", "--all", "--config", file.to_str().unwrap()];
    let output = fixture.run(&all);
    assert_eq!(output.code, Some(1), "{output:?}");
    for name in ["a", "b"] {
        let expected = format!("{name}: key /no/key-of-{name}: expected a file with OpenPGP keys");
        assert!(output.stderr.contains(&expected), "{output:?}");
    }
    assert_eq!(output.json["repositories"].as_array().unwrap().len(), 2, "{output:?}");

    let writable = fixture.database.parse().unwrap();
    let index = sql::Index::open(&writable, sql::Access::ReadWrite).unwrap();
    let store_id = index.stores().await.unwrap()[0].id;
    let (name, path, format) = ("old".to_owned(), "old".to_owned(), artifact::Format::Rpm);
    let repository = sql::NewRepository { name, store_id, path, url: None, format, distro: None };
    index.add_repository(&repository).await.unwrap();
    let output = fixture.run(&all);
    assert!(output.stderr.contains("indexer.toml: old; they stay"), "{output:?}");
    let output = fixture.run(&["repo", "--remove", "old"]);
    assert_eq!((output.code, output.count("memberships")), (Some(0), 0), "{output:?}");
    expect_usage(&fixture.run(&["repo", "--remove", "old"]), &["expected the name of a repository"]);
    expect_usage(&fixture.run(&["repo", "--remove", "old", "--all"]), &["--all"]);
}

#[test]
fn stores_have_patterns_and_urls_with_queries_that_are_not_shown() {
    let fixture = ImportFixture::new();
    let pattern = "{volume}packages/{name}/{version}/{release}/{signed}{arch}/{nvra}.rpm";
    let url = "https://koji.example/?token=secret";
    let add = ["store", "add", "koji", "--tier", "koji", "--url", url, "--pattern", pattern, "--distros", "fc*,el9*"];
    let output = fixture.run(&add);
    assert_eq!(output.code, Some(0), "{output:?}");
    assert!(!output.json.to_string().contains("secret"), "{output:?}");
    let stores = fixture.run(&["store", "list"]).json;
    assert_eq!(stores[0]["pattern"], pattern);
    assert_eq!(stores[0]["distros"], serde_json::json!(["fc*", "el9*"]));
    assert_eq!(stores[0]["url"], "https://koji.example");
    let table = fixture.command(&["store", "list"]).output().unwrap();
    assert!(!String::from_utf8_lossy(&table.stdout).contains("secret"));
    for wrong in [&["--pattern", pattern][..], &["--distros", "fc*"], &["--pattern", "/etc/{nvra}", "--distros", "*"]] {
        let add = ["store", "add", "other", "--tier", "koji", "--url", "https://koji.example"];
        assert_eq!(fixture.run(&[&add, wrong].concat()).code, Some(2), "{wrong:?}");
    }
}
