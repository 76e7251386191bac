//! `darkserver upstream check` against elfutils' debuginfod and against servers with faults.

#![expect(clippy::unwrap_used, reason = "a failure here is a failed test, and says where")]

use std::io::Write;
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Output};

use compat_tests::debuginfod::Debuginfod;
use compat_tests::fake_server::{self, FakeServer};
use compat_tests::fixtures;
use compat_tests::process::free_port;
use compat_tests::programs::program;
use serde_json::Value;

/// The program with a configuration of this text.
fn check(directory: &Path, configuration: &str, arguments: &[&str]) -> Output {
    let file = directory.join("gateway.toml");
    std::fs::write(&file, configuration).unwrap();
    let mut command = Command::new(program("darkserver"));
    command.args(["upstream", "check", "--timeout", "1s"]).args(arguments).arg("--config").arg(file);
    command.env_clear().env("HOME", directory).env("DARKSERVER_ETC", directory).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn upstream(name: &str, url: &str) -> String {
    format!("[[upstream]]\nname = \"{name}\"\nurl = \"{url}\"\n")
}

/// The report of one upstream, and the lines to configure in one text.
fn report(url: &str, expected: i32) -> (Value, String) {
    let directory = tempfile::tempdir().unwrap();
    let output = check(directory.path(), &upstream("one", url), &["--json"]);
    assert_eq!(output.status.code(), Some(expected), "{}{}", text(&output.stdout), text(&output.stderr));
    let mut reports: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
    let report = reports.remove(0);
    assert_eq!((report["ok"].as_bool(), reports.len()), (Some(expected == 0), 0), "{report}");
    let lines = report["configure"].as_array().unwrap().iter().map(|line| line.as_str().unwrap().to_owned());
    let lines = lines.collect::<Vec<_>>().join("\n");
    (report, lines)
}

/// An object store: 403 for what it does not have, in XML.
fn object_store(_: &str, stream: &mut TcpStream) {
    let body = "<?xml version=\"1.0\"?><Error><Code>AccessDenied</Code></Error>";
    answer(stream, "403 Forbidden", "Content-Type: application/xml\r\n", body);
}

/// Serves debuginfo alone.
fn debuginfo_alone(head: &str, stream: &mut TcpStream) {
    let status = if head.contains("/debuginfo ") { "404 Not Found" } else { "501 Not Implemented" };
    answer(stream, status, "Server: fake/1\r\n", "");
}

fn answer(stream: &mut TcpStream, status: &str, headers: &str, body: &str) {
    let length = body.len();
    let head = format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {length}\r\nConnection: close\r\n\r\n{body}");
    let _ = stream.write_all(head.as_bytes());
}

#[test]
fn elfutils_debuginfod_is_sound() {
    let server = Debuginfod::start(&fixtures::family("server"));
    let (report, lines) = report(&server.url(), 0);
    for service in ["debuginfo", "executable", "source", "section"] {
        assert_eq!(report["services"][service]["status"], 404, "{report}");
        assert_eq!(report["services"][service]["meaning"], "absent", "{report}");
    }
    assert_eq!(report["root"]["meaning"], "answered", "{report}");
    assert!(report["answer_seconds"].as_f64().unwrap() < 1.0 && report["connect_seconds"].is_number(), "{report}");
    assert_eq!(report["addresses"][0], "127.0.0.1", "{report}");
    // Old versions have no /metadata.
    match report["services"]["metadata"]["meaning"].as_str() {
        Some("served") => assert_eq!(lines, ""),
        found => assert!(found == Some("not served") && lines.contains("serves = "), "{report}"),
    }
    // Its log has no blanks and parentheses of a User-Agent.
    let is_probe = |line: &str| line.contains("UA:darkserver/") && line.contains("probe");
    assert!(server.log().lines().any(is_probe), "{}", server.log());
}

#[test]
fn faults_are_told_with_what_to_configure() {
    let target = free_port();
    let redirects = FakeServer::start(move |_: &str, stream: &mut TcpStream| {
        answer(stream, "302 Found", &format!("Location: http://localhost:{target}/x\r\n"), "");
    });
    let junk = FakeServer::start(fake_server::serve_elf);
    let (store, partial) = (FakeServer::start(object_store), FakeServer::start(debuginfo_alone));
    let hanging = FakeServer::start(fake_server::hang);
    for (url, expected, status, advice) in [
        (junk.url(), "junk: it has what cannot exist", 1, "enabled = false  # it answers 200 to what cannot exist"),
        (store.url(), "refused", 1, "absent_statuses = [403, 404]  # only if it is an object store"),
        (redirects.url(), "redirect_hosts does not allow: localhost", 1, "redirect_hosts = [\"localhost\"]"),
        (
            partial.url(),
            "absent",
            0,
            "serves = [\"debuginfo\"]  # it does not serve executable, source, section, metadata",
        ),
    ] {
        let (report, lines) = report(&url, status);
        let meaning = report["services"]["debuginfo"]["meaning"].as_str().unwrap();
        assert!(meaning.contains(expected) && lines.contains(advice), "{report}");
    }
    for url in [hanging.url(), format!("http://127.0.0.1:{}", free_port()), "http://nowhere.invalid".into()] {
        let (report, lines) = report(&url, 1);
        assert!(report["error"].is_string() && lines.contains("enabled = false  # it does not answer"), "{report}");
    }
}

#[test]
fn names_choose_and_secrets_stay_secret() {
    let (absent, hanging) = (FakeServer::start(fake_server::answer_absent), FakeServer::start(fake_server::hang));
    let directory = tempfile::tempdir().unwrap();
    let with_credentials = absent.url().replace("://", "://me:geheim@");
    let configuration = format!(
        "{}headers = {{ X-Token = \"geheim\" }}\nserves = [\"debuginfo\"]\n{}enabled = false\n",
        upstream("first", &with_credentials),
        upstream("second", &hanging.url())
    );
    // Those that are not enabled are tried by name alone.
    let output = check(directory.path(), &configuration, &[]);
    let report = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{report}{}", text(&output.stderr));
    assert!(report.starts_with(&format!("first  {}/\n", absent.url())) && report.contains("404: absent"), "{report}");
    assert!(!report.contains("geheim") && !report.contains("second") && output.stderr.is_empty(), "{report}");
    assert!(report.contains("mode = \"relay\"  # redirected clients do not send the headers, user and password"));
    // A connection without a request measures the time of a connection.
    let requests = absent.all_requests().into_iter().filter(|request| !request.head.is_empty());
    assert!(requests.into_iter().all(|request| request.header("x-token") == Some("geheim")));
    let output = check(directory.path(), &configuration, &["second", "first"]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stdout));
    assert!(text(&output.stdout).contains("timed out"), "{}", text(&output.stdout));
    for (configuration, arguments, expected) in [
        (configuration.as_str(), &["third"][..], "found `third`: the configuration has first, second"),
        ("upstream = []\n", &[], "expected an upstream in the configuration, found none"),
        ("upstream = 3\n", &[], "expected tables [[upstream]]"),
        ("", &["--jason"], "--jason"),
    ] {
        let output = check(directory.path(), configuration, arguments);
        assert_eq!(output.status.code(), Some(2), "{}", text(&output.stdout));
        assert!(text(&output.stderr).contains(expected), "{}", text(&output.stderr));
    }
}
