//! `show` and `status`: what is known of a package, and of the whole index.

use std::fs;
use std::time::UNIX_EPOCH;

use artifact::Format;
use compat_tests::fixtures;
use serde_json::{Value, json};
use sql::{CompleteListing, NewRepository, Verified};

use crate::support::{ImportFixture, build_id, claimed, on_both};

/// Standard output of the page for people.
fn page(fixture: &ImportFixture, args: &[&str]) -> String {
    let output = fixture.command(args).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn keys(value: &Value) -> Vec<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

#[tokio::test]
async fn the_life_of_a_claimed_package_is_shown() {
    Box::pin(on_both("life", async |fixture| {
        let add = ["store", "add", "m", "--tier", "mirror", "--url", "https://u.example/pub?token=geheim"];
        assert_eq!(fixture.run(&add).code, Some(0));
        let index = fixture.writer().await;
        let store = index.stores().await.unwrap().remove(0);
        let repository = NewRepository {
            name: "f44-updates".into(),
            store_id: store.id,
            path: String::new(),
            url: Some("https://u.example/metalink?repo=geheim".into()),
            format: Format::Rpm,
            distro: None,
        };
        let repository = Box::pin(index.add_repository(&repository)).await.unwrap();
        let old = claimed(&fixture, "m", "bash-5.2-6.fc44.x86_64", 10, Some(repository.id)).await;
        // Memberships that began in the same second have no order.
        std::thread::sleep(std::time::Duration::from_millis(1100));
        claimed(&fixture, "m", "bash-5.2-7.fc44.x86_64", 11, Some(repository.id)).await;
        let now = UNIX_EPOCH.elapsed().unwrap().as_secs().cast_signed();
        let listing = CompleteListing {
            revision: Some("17".into()),
            metadata_checksum: Some("00".repeat(32)),
            verified: Verified::No,
            package_count: 1,
            ended: vec![old],
            gone: vec![sql::PathHash::of_path("bash-5.2-6.fc44.x86_64.rpm")],
            started_at: now + 2,
            refused_count: 0,
            refused: None,
        };
        index.complete_listing(repository.id, &listing).await.unwrap();
        index.fail_listing(repository.id, "https://u.example/repomd.xml: expected XML, found HTML", 17).await.unwrap();

        let id = build_id("bash-5.2-6.fc44.x86_64").to_string();
        let shown = fixture.run(&["show", &id]);
        assert_eq!((shown.code, &shown.json["build_id"]), (Some(0), &json!(id)), "{shown:?}");
        assert_eq!(keys(&shown.json), ["build_id", "packages"]);
        let package = &shown.json["packages"][0];
        assert_eq!(
            keys(package),
            [
                "build",
                "deleted_at",
                "distro",
                "files",
                "memberships",
                "nvra",
                "places",
                "source_rpm",
                "state",
                "successors"
            ]
        );
        assert_eq!(package["build"], json!(null), "it comes from no Koji");
        assert_eq!((&package["nvra"], &package["state"]), (&json!("bash-5.2-6.fc44.x86_64"), &json!("claimed")));
        let file = json!({ "path": "/usr/lib/.build-id/x", "kind": "executable", "claimed": true });
        assert_eq!(package["files"], json!([file]));
        let membership = &package["memberships"][0];
        assert_eq!(keys(membership), ["ended_at", "first_seen", "last_seen", "repository"]);
        assert!(membership["ended_at"].is_i64(), "{membership}");
        assert_eq!(keys(&package["successors"][0]), ["first_seen", "nvra", "repository"]);
        assert_eq!(package["successors"][0]["nvra"], "bash-5.2-7.fc44.x86_64");
        let place = &package["places"][0];
        assert_eq!(
            keys(place),
            [
                "check_result",
                "checked_at",
                "checksum",
                "derived",
                "first_seen",
                "gone_at",
                "last_seen",
                "signing_key",
                "size",
                "store",
                "tier",
                "url"
            ]
        );
        assert_eq!(place["checksum"], format!("sha256:{}", "07".repeat(32)));
        assert!(place["gone_at"].is_i64(), "{place}");
        let text = page(&fixture, &["show", &id]);
        for expected in [
            "was in f44-updates from 20",
            ", obsoleted by bash-5.2-7.fc44.x86_64\n",
            "claimed: known from repository metadata",
            "from all known places since 20",
            "https://u.example/pub/",
        ] {
            assert!(text.contains(expected), "{expected}: {text}");
        }
        let newer = page(&fixture, &["show", "bash-5.2-7.fc44.x86_64.rpm"]);
        assert!(newer.contains("is in f44-updates since 20") && !newer.contains("obsoleted"), "{newer}");

        let status = fixture.run(&["status"]);
        assert_eq!(status.code, Some(0), "{status:?}");
        let found = &status.json["repositories"][0];
        assert_eq!(
            (&found["verified"], &found["revision"], &found["store"]),
            (&json!("no"), &json!("17"), &json!("m"))
        );
        assert_eq!((&found["listed"], &found["ended"]), (&json!(1), &json!(1)));
        assert!(found["attempted_at"].is_i64() && found["refreshed_at"].is_i64(), "{found}");
        assert_eq!((&status.json["packages"]["claimed"], &status.json["claims"]), (&json!(2), &json!(2)));
        assert_eq!((&status.json["stores"][0]["present"], &status.json["stores"][0]["gone"]), (&json!(1), &json!(1)));
        let state = page(&fixture, &["status"]);
        assert!(state.contains("unverified"), "{state}");
        assert!(state.contains("repository f44-updates: https://u.example/repomd.xml: expected XML, found HTML"));
        for text in [text, state, status.json.to_string(), shown.json.to_string()] {
            assert!(!text.contains("geheim"), "{text}");
        }
    }))
    .await;
}

#[tokio::test]
async fn open_and_complete_packages_and_former_places_are_shown() {
    on_both("states", async |fixture| {
        fixture.copy_family("payloads");
        fixture.copy_family("old-noclasses");
        fixture.import(&["--payload", "never"]);
        let open = "oldtool-1.0-3.el6.x86_64";
        assert!(page(&fixture, &["show", open]).contains("open: its payload can have more build-ids"));
        let complete = "payload-none-1.0-1.fc99.x86_64";
        let id = fixtures::build_id(&format!("payloads/{complete}.rpm"), "/usr/bin/payload-none");
        fs::remove_file(fixture.packages().join(format!("payloads/{complete}.rpm"))).unwrap();
        fixture.import(&["--payload", "never"]).counts(&[("gone", 1)]);
        let shown = fixture.run(&["show", &id.to_uppercase()]);
        let packages = shown.json["packages"].as_array().unwrap();
        let package = packages.iter().find(|package| package["nvra"] == complete).unwrap();
        let file = json!({ "path": "/usr/bin/payload-none", "kind": "unknown", "claimed": false });
        assert_eq!((&package["state"], &package["files"]), (&json!("complete"), &json!([file])));
        assert!(package["places"][0]["gone_at"].is_i64() && package["places"][0]["url"].is_null(), "{package}");
        let text = page(&fixture, &["show", complete]);
        assert!(text.contains("gone since 20") && text.contains(&format!("{complete}.rpm")), "{text}");
        let state = page(&fixture, &["status"]);
        assert!(state.contains("open: ") && state.contains("--payload missing"), "{state}");
    })
    .await;
}

#[test]
fn what_is_unknown_or_neither_a_build_id_nor_a_name_is_refused() {
    let fixture = ImportFixture::new();
    fixture.copy_family("payloads");
    fixture.import(&[]);
    for (subject, code, expected) in [
        ("00112233445566778899", 1, "expected a build-id of a package in the index, found 00112233445566778899"),
        (
            "bash-1-1.x86_64",
            1,
            "expected the name-version-release.arch of a package in the index, found bash-1-1.x86_64",
        ),
        ("/usr/bin/bash", 2, "expected the hex digits of a build-id, or NAME-VERSION-RELEASE.ARCH"),
    ] {
        let output = fixture.run(&["show", subject]);
        assert_eq!((output.code, &output.json), (Some(code), &Value::Null), "{output:?}");
        assert!(output.stderr.contains(expected), "{output:?}");
    }
    // An index that does not exist is not made.
    let missing = fixture.other_database("missing.db");
    for command in ["status", "verify"] {
        assert_eq!(fixture.run(&[command, "--database", &missing]).code, Some(1), "{command}");
    }
    assert!(!fixture.directory.path().join("missing.db").exists());
}
