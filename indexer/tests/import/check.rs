//! `store check` against real servers with faults, and directories.

use std::fs;
use std::net::Ipv4Addr;

use compat_tests::repository::{Metalink, Repository, SigningKey};
use compat_tests::static_server::{Fault, StaticServer};
use serde_json::Value;

use crate::support::{ImportFixture, RunOutput};

const FAMILY: &str = "fedora-separate";

/// The results of a check, by property.
fn results(output: &RunOutput, store: usize) -> Vec<(String, String)> {
    let checks = output.json[store]["checks"].as_array().unwrap_or_else(|| panic!("{output:?}"));
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    checks.iter().map(|check| (text(&check["check"]), text(&check["result"]))).collect()
}

fn assert_results(output: &RunOutput, expected: &[(&str, &str)]) {
    let found = results(output, 0);
    let found: Vec<(&str, &str)> = found.iter().map(|(check, result)| (check.as_str(), result.as_str())).collect();
    assert_eq!(found, expected, "{output:?}");
}

/// The detail of a property of the first store.
fn detail<'a>(output: &'a RunOutput, check: &str) -> &'a str {
    let checks = output.json[0]["checks"].as_array().unwrap();
    let found = checks.iter().find(|found| found["check"] == check);
    found.unwrap_or_else(|| panic!("{check}: {output:?}"))["detail"].as_str().unwrap()
}

#[test]
fn a_store_states_what_works_and_what_does_not() {
    let fixture = ImportFixture::new();
    fixture.copy_family(FAMILY);
    let mut server = StaticServer::start(&fixture.packages());
    let elsewhere = StaticServer::start_at(Ipv4Addr::new(127, 0, 0, 2), &fixture.packages());
    let url = format!("{}/?token=secret", server.url());
    assert_eq!(fixture.import(&["--store", "mirror", "--url", &url]).code, Some(0));
    let all = ["directory", "locations", "reachable", "range", "speed", "redirects"];
    let sound = all.map(|check| (check, "ok"));
    let output = fixture.run(&["store", "check", "mirror"]);
    assert_results(&output, &sound);
    assert_eq!(output.code, Some(0));
    assert_eq!(output.json[0]["address"], format!("{}/", server.url()));
    assert_eq!(output.json[0]["checks"][2]["http_version"], "HTTP/1.1");
    assert!(output.json[0]["checks"][4]["bytes_per_second"].as_f64().is_some_and(|rate| rate > 0.0), "{output:?}");
    assert!(server.sent().iter().all(|sent| sent.target.ends_with("?token=secret")), "{:?}", server.sent());
    let to_host = |host: &StaticServer| Fault::Redirects(format!("{}{{path}}", host.url()));
    for (fault, changed, code, text) in [
        (Fault::IgnoresRange, &[("range", "warning")][..], 0, ("range", "200: it ignores Range")),
        (Fault::ShiftsRange(1), &[("range", "failed")], 1, ("range", "expected bytes 0-1023, found Content-Range")),
        (Fault::Page, &[("range", "failed")], 1, ("range", "expected a file, found a page of HTML")),
        (
            to_host(&elsewhere),
            &[("reachable", "failed"), ("range", "unknown"), ("speed", "unknown"), ("redirects", "failed")],
            1,
            ("redirects", "redirects to a host that redirect_hosts does not allow: 127.0.0.2"),
        ),
        (
            Fault::Status(404),
            &[("reachable", "failed"), ("range", "unknown"), ("speed", "unknown")],
            1,
            ("reachable", "expected 200 or 206, found 404"),
        ),
    ] {
        server.repair();
        server.set("", fault.clone());
        let output = fixture.run(&["store", "check"]);
        let expected = sound.map(|(check, result)| {
            (check, changed.iter().find(|(changed, _)| *changed == check).map_or(result, |(_, result)| *result))
        });
        assert_results(&output, &expected);
        assert_eq!(output.code, Some(code), "{fault:?}: {output:?}");
        assert!(detail(&output, text.0).contains(text.1), "{fault:?}: {output:?}");
        assert!(!format!("{output:?}").contains("secret"), "{fault:?}: {output:?}");
    }
    server.repair();
    let args = ["store", "add", "mirror", "--tier", "local", "--url", &url, "--redirect-hosts", "127.0.0.2", "--path"];
    assert_eq!(fixture.run(&[&args[..], &[fixture.packages().to_str().unwrap()]].concat()).code, Some(0));
    server.set("", to_host(&elsewhere));
    let output = fixture.run(&["store", "check"]);
    assert_results(&output, &sound);
    assert!(detail(&output, "redirects").contains("127.0.0.2"), "{output:?}");
    server.stop();
    let removed = fs::read_dir(fixture.packages().join(FAMILY)).unwrap().next().unwrap().unwrap();
    fs::remove_file(removed.path()).unwrap();
    let output = fixture.run(&["store", "check"]);
    let expected = [("directory", "ok"), ("locations", "failed"), ("reachable", "failed")];
    assert_eq!(&results(&output, 0)[..3], expected.map(|(check, result)| (check.to_owned(), result.to_owned())));
    assert_eq!(output.code, Some(1));
    let text = fixture.command(&["store", "check"]).output().unwrap();
    let text = String::from_utf8(text.stdout).unwrap();
    assert!(text.contains("mirror (local) http://") && text.contains("  reachable  FAILED   "), "{text}");
    let unknown = fixture.run(&["store", "check", "other"]);
    assert_eq!(unknown.code, Some(2), "{unknown:?}");
    assert!(unknown.stderr.contains("expected the name of a store (mirror), found other"), "{unknown:?}");
}

#[test]
fn repositories_state_their_mirrors_metadata_and_signature() {
    let fixture = ImportFixture::new();
    fixture.copy_family(FAMILY);
    let repository = Repository::at(&fixture.packages());
    let server = StaticServer::start(repository.path());
    let output = fixture.run(&["repo", &server.url(), "--name", "own"]);
    assert_eq!(output.code, Some(0), "{output:?}");
    let remote = ["reachable", "range", "speed", "redirects"].map(|check| (check, "ok"));
    let output = fixture.run(&["store", "check"]);
    assert_results(&output, &[&remote[..], &[("metadata", "ok"), ("signature", "warning")]].concat());
    assert_eq!(detail(&output, "signature"), "none: nothing verifies the metadata");
    let key = SigningKey::make();
    key.sign(&repository.repomd());
    let configuration = fixture.directory.path().join("indexer.toml");
    let table = format!("[[repository]]\nname = \"own\"\nkeys = [{:?}]\n", key.public());
    fs::write(&configuration, table).unwrap();
    let configured = ["store", "check", "--config", configuration.to_str().unwrap()];
    assert!(detail(&fixture.run(&["store", "check"]), "signature").contains("no keys are configured"));
    let output = fixture.run(&configured);
    let signature = detail(&output, "signature");
    let expected = "repodata/repomd.xml.asc is by one of the configured keys: ";
    assert!(signature.starts_with(expected) && signature.ends_with("a test <test@example.org>"), "{signature}");
    let table = format!("[[repository]]\nname = \"own\"\nkeys = [{:?}]\n", SigningKey::make().public());
    let other = fixture.directory.path().join("other.toml");
    fs::write(&other, table).unwrap();
    let output = fixture.run(&["store", "check", "--config", other.to_str().unwrap()]);
    assert!(
        output.code == Some(1) && results(&output, 0).contains(&("signature".into(), "failed".into())),
        "{output:?}"
    );
    server.set("repomd.xml.asc", Fault::Status(404));
    let output = fixture.run(&configured);
    assert_eq!((detail(&output, "signature").contains("expected a signature"), output.code), (true, Some(1)));
    // A metalink that came by http.
    let metalink = Metalink::of(&repository.repomd()).with_mirror(&server.url());
    fs::write(repository.path().join("metalink"), metalink.text()).unwrap();
    let url = format!("{}/metalink", server.url());
    let store = output.json[0]["name"].as_str().unwrap();
    let added = fixture.run(&["repo", &url, "--name", "own", "--store", store]);
    assert_eq!(added.code, Some(0), "{added:?}");
    let output = fixture.run(&["store", "check"]);
    assert!(detail(&output, "metalink").starts_with("1 mirrors; its hash verifies nothing"), "{output:?}");
    server.set("repomd.xml", Fault::Page);
    let output = fixture.run(&["store", "check"]);
    assert_results(&output, &[&remote[..], &[("metalink", "warning"), ("metadata", "failed")]].concat());
    assert_eq!(output.code, Some(1));
}
