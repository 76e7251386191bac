//! `verify`: the index against the archives.

use std::fs;
use std::path::Path;

use compat_tests::files::FileServer;
use compat_tests::fixtures;
use serde_json::json;

use crate::support::{ImportFixture, RunOutput, on_both};

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
