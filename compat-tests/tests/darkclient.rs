//! `darkclient` against the real gateway: what it prints, and its exit codes, which scripts rely on.

use std::fs;
use std::process::Output;

use compat_tests::darkserver::{RunningGateway, Sqlite, darkclient};
use compat_tests::fake_server::{self, FakeServer};
use compat_tests::fixtures::{self, Truth};
use compat_tests::http;
use compat_tests::process::free_port;

const SERVER: &str = "server/server-1.1-5.fc99.x86_64.rpm";
const UNKNOWN: &str = "00000000000000000000000000000000000000ee";

/// Its lines, sorted, after an exit with `code`.
fn lines(output: &Output, code: i32) -> Vec<String> {
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{errors}");
    assert_eq!(code == 0 || code == 1, errors.is_empty(), "messages are for failures: {errors}");
    let mut lines: Vec<String> = String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

fn line(row: &Truth) -> String {
    format!("{} {} {}", row.build_id, row.nvra(), row.path)
}

/// The lines of the rows of some families that `wanted` picks, sorted.
fn expected(wanted: impl Fn(&Truth) -> bool) -> Vec<String> {
    let rows = ["server", "payloads"].into_iter().flat_map(fixtures::truth).filter(wanted);
    let mut lines: Vec<String> = rows.map(|row| line(&row)).collect();
    lines.sort();
    assert!(!lines.is_empty());
    lines
}

fn gateway() -> (RunningGateway, Sqlite) {
    let sqlite = Sqlite::with_packages(&[&fixtures::family("server"), &fixtures::family("payloads")]);
    (RunningGateway::start(&sqlite.url()), sqlite)
}

#[test]
fn ids_are_answered_with_packages_and_paths() {
    let (gateway, _index) = gateway();
    let id = fixtures::build_id(SERVER, "/usr/bin/server");
    let other = fixtures::build_id("payloads/payload-xz-1.0-1.fc99.x86_64.rpm", "/usr/bin/payload-xz");
    let of_id = expected(|row| row.build_id == id);
    assert_eq!(of_id.len(), 2, "the program and its debuginfo");
    // At both mount points.
    for server in [
        gateway.url(),
        format!("{}/", gateway.url()),
        format!("{}/darkserver", gateway.url()),
        format!("{}/darkserver/", gateway.url()),
    ] {
        assert_eq!(lines(&darkclient(&server, &["-i", &id]), 0), of_id, "{server}");
    }
    let of_both = expected(|row| row.build_id == id || row.build_id == other);
    let url = gateway.url();
    assert_eq!(lines(&darkclient(&url, &["-i", &id, &other]), 0), of_both);
    assert_eq!(lines(&darkclient(&url, &["-i", &format!("{id},{other}")]), 0), of_both);
    assert_eq!(lines(&darkclient(&url, &["-i", UNKNOWN, &id, "-i", &other]), 0), of_both);
    assert_eq!(lines(&darkclient(&url, &["-i", &id.to_uppercase()]), 0), of_id);
    assert!(lines(&darkclient(&url, &["-i", UNKNOWN]), 1).is_empty());
    assert!(lines(&darkclient(&url, &["-i", &id, "nonsense"]), 2).is_empty());
    assert!(!gateway.log().contains("nonsense"), "{}", gateway.log());
}

#[test]
fn ids_of_several_requests_are_all_answered() {
    let (gateway, _index) = gateway();
    let mut ids: Vec<String> = (0..400).map(|number| format!("{number:040x}")).collect();
    let known: Vec<String> = fixtures::truth("server").into_iter().map(|row| row.build_id).collect();
    for (at, id) in known.iter().enumerate() {
        ids.insert(at * 60, id.clone());
    }
    let arguments: Vec<&str> = ["-i"].into_iter().chain(ids.iter().map(String::as_str)).collect();
    let found = lines(&darkclient(&gateway.url(), &arguments), 0);
    assert_eq!(found, expected(|row| known.contains(&row.build_id)));
    assert!(gateway.log().matches("/buildids/").count() >= 3, "several requests");
}

#[test]
fn a_package_is_answered_with_its_files() {
    let (gateway, _index) = gateway();
    for rpm in fixtures::rpms("server") {
        let nvra = rpm.file_stem().unwrap().to_str().unwrap();
        if nvra.contains("debugsource") {
            assert!(lines(&darkclient(&gateway.url(), &["-r", nvra]), 1).is_empty(), "{nvra} has no ELF file");
            continue;
        }
        let files = expected(|row| row.nvra() == nvra);
        assert_eq!(lines(&darkclient(&gateway.url(), &["-r", nvra]), 0), files);
        assert_eq!(lines(&darkclient(&gateway.url(), &["-r", &format!("{nvra}.rpm")]), 0), files);
    }
    assert!(lines(&darkclient(&gateway.url(), &["-r", "server"]), 1).is_empty());
}

#[test]
fn a_package_can_be_downloaded_from_the_printed_url() {
    let (gateway, _index) = gateway();
    let found = lines(&darkclient(&gateway.url(), &["-p", "server-1.1-5.fc99.x86_64"]), 0);
    let [url] = found.as_slice() else { panic!("expected one URL, found {found:?}") };
    let path = url.strip_prefix(&gateway.url()).unwrap_or_else(|| panic!("expected a URL of the gateway, found {url}"));
    assert_eq!(http::get(gateway.port, path).unwrap().body, fs::read(fixtures::rpm(SERVER)).unwrap());
    assert!(lines(&darkclient(&gateway.url(), &["-p", "server-9.9-9.fc99.x86_64"]), 1).is_empty());
}

#[test]
fn failures_differ_from_absent_records() {
    // No database: not "no data".
    let gateway = RunningGateway::start(&format!("mysql://reader:geheim@127.0.0.1:{}/darkserver", free_port()));
    for arguments in [["-i", UNKNOWN], ["-r", "server-1.1-5.fc99.x86_64"], ["-p", "server-1.1-5.fc99.x86_64"]] {
        let output = darkclient(&gateway.url(), &arguments);
        assert!(lines(&output, 2).is_empty());
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(said.contains("503 Service Unavailable: the index did not answer"), "{said}");
    }
    let unused = format!("http://127.0.0.1:{}", free_port());
    assert!(lines(&darkclient(&unused, &["-i", UNKNOWN]), 2).is_empty());
    let failing = FakeServer::start(fake_server::fail);
    assert!(lines(&darkclient(&failing.url(), &["-i", UNKNOWN]), 2).is_empty());
    let hanging = FakeServer::start(fake_server::hang);
    assert!(lines(&darkclient(&hanging.url(), &["-i", UNKNOWN, "--timeout", "0.5"]), 2).is_empty());
    // A page of HTML is no answer.
    let lying = FakeServer::start(fake_server::serve_html);
    assert_eq!(darkclient(&lying.url(), &["-i", UNKNOWN]).status.code(), Some(1));
    assert_eq!(darkclient(&gateway.url(), &["--nonsense"]).status.code(), Some(2));
    assert_eq!(darkclient(&gateway.url(), &[]).status.code(), Some(4));
}
