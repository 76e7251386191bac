//! `verify`: the index against the archives.

use std::fs;
use std::path::Path;

use compat_tests::files::FileServer;
use compat_tests::fixtures;
use serde_json::json;

use crate::support::{ImportFixture, RunOutput, claimed, on_both};

const NVRA: &str = "payload-none-1.0-1.fc99.x86_64";

fn differences(output: &RunOutput) -> Vec<(String, String)> {
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    let differences = output.json["differences"].as_array().unwrap_or_else(|| panic!("{output:?}"));
    differences.iter().map(|found| (text(&found["nvra"]), text(&found["difference"]))).collect()
}

#[tokio::test]
async fn an_index_of_unchanged_archives_has_no_differences() {
    on_both("verified", async |fixture| {
        for family in fixtures::families() {
            fixture.copy_family(&family);
        }
        fixture.import(&["--payload", "never"]);
        let verified = fixture.run(&["verify", "--sample", "1000"]);
        assert_eq!(verified.code, Some(0), "{verified:?}");
        assert!(verified.count("packages") > 20, "{verified:?}");
        assert_eq!((&verified.json["differences"], &verified.json["failed"]), (&json!([]), &json!([])));
        // With the build-ids of payloads, too.
        fixture.import(&["--payload", "missing"]);
        assert_eq!(fixture.run(&["verify", "--sample", "1000"]).code, Some(0));
    })
    .await;
}

#[test]
fn replaced_cut_and_missing_archives_differ_here_and_over_http() {
    let fixture = ImportFixture::new();
    fixture.copy_family("payloads");
    let served = fixture.directory.path().join("served");
    fs::create_dir(&served).unwrap();
    let server = FileServer::start(&served);
    fixture.import(&["--store", "mine", "--url", &server.url()]).counts(&[("imported", 6)]);
    verify_damage(&fixture, &fixture.packages());
    // The directory is on another machine now.
    fs::remove_dir(&served).unwrap();
    fs::rename(fixture.packages(), &served).unwrap();
    verify_damage(&fixture, &served);
    assert!(server.log().contains("HEAD /payloads/payload-none"), "{}", server.log());
}

/// Damages the archive of [`NVRA`] below a directory in several ways, and repairs it.
fn verify_damage(fixture: &ImportFixture, directory: &Path) {
    let file = directory.join(format!("payloads/{NVRA}.rpm"));
    let original = fs::read(&file).unwrap();
    let mut other = fs::read(file.with_file_name("payload-gzip-1.0-1.fc99.x86_64.rpm")).unwrap();
    other.resize(original.len(), 0);
    let damages = [
        (Some(original[..original.len() - 1].to_vec()), "place: other file: expected "),
        (Some(other), "identity: the index has payload-none-1.0-1.fc99.x86_64"),
        (Some(vec![b'<'; original.len()]), "expected "),
        (None, "place: found "),
    ];
    for (bytes, expected) in damages {
        match bytes {
            Some(bytes) => fs::write(&file, bytes).unwrap(),
            None => fs::remove_file(&file).unwrap(),
        }
        let output = fixture.run(&["verify"]);
        let [(nvra, difference)] = differences(&output).try_into().unwrap_or_else(|_| panic!("{output:?}"));
        assert!(output.code == Some(1) && nvra == NVRA && difference.contains(expected), "{expected}: {output:?}");
    }
    fs::write(&file, &original).unwrap();
    let output = fixture.run(&["verify", "--store", "mine"]);
    assert_eq!((output.code, output.count("places")), (Some(0), 6), "{output:?}");
}

#[tokio::test]
async fn an_index_of_which_nothing_can_be_compared_fails() {
    on_both("nothing_compared", async |fixture| {
        let add = ["store", "add", "m", "--tier", "mirror", "--url", "https://u.example/pub"];
        assert_eq!(fixture.run(&add).code, Some(0));
        let of_store = ["verify", "--store", "m"];
        // Without packages there is nothing to say.
        for args in [&["verify"][..], &of_store] {
            let verified = fixture.run(args);
            assert_eq!((verified.code, &verified.json["nothing_compared"]), (Some(0), &json!(null)), "{verified:?}");
        }
        claimed(&fixture, "m", "bash-5.2-6.fc44.x86_64", 10, None).await;
        let (all, store) = (
            "1 package whose header was not read, 0 packages without a place where the archive is known to be",
            "store m: 1 place of packages whose header was not read, 0 places where archives are gone",
        );
        for (args, reason) in [(&["verify"][..], all), (&of_store, store)] {
            let verified = fixture.run(args);
            assert_eq!((verified.code, &verified.json["nothing_compared"]), (Some(1), &json!(reason)), "{verified:?}");
            assert!(verified.stderr.contains(&format!("nothing was compared: {reason}")), "{verified:?}");
        }
        // What is compared elsewhere is enough, unless this store is asked for.
        fixture.copy_family("payloads");
        fixture.import(&[]);
        assert_eq!(fixture.run(&["verify"]).code, Some(0));
        assert_eq!(fixture.run(&of_store).code, Some(1));
    })
    .await;
}
