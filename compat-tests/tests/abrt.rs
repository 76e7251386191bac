//! The requests of ABRT for a core dump: build-ids of its modules, their packages, the packages' RPMs.

#![expect(clippy::unwrap_used, reason = "helpers of tests: a failure here is a failed test, and shows where")]

use std::io::Write;
use std::process::{Command, Stdio};

use compat_tests::crash::Crash;
use compat_tests::darkserver::{RunningGateway, Sqlite, darkclient};
use compat_tests::files::FileServer;
use compat_tests::fixtures;
use compat_tests::http;
use compat_tests::programs::program;
use serde_json::Value;

/// The build-ids in the list of `eu-unstrip -n`, as ABRT's `build_ids` has them: no vDSO, no module without one.
fn build_ids(modules: &str) -> Vec<String> {
    let lines = modules.lines().filter(|line| !line.contains("linux-vdso") && !line.contains("linux-gate"));
    let ids = lines.filter_map(|line| Some(line.split_whitespace().nth(1)?.split('@').next()?.to_owned()));
    ids.filter(|id| id != "-").collect()
}

/// Downloads `http://127.0.0.1:PORT/PATH`.
fn download(url: &str) -> Vec<u8> {
    let (port, path) = url.strip_prefix("http://127.0.0.1:").and_then(|rest| rest.split_once('/')).unwrap();
    let answer = http::get(port.parse().unwrap(), &format!("/{path}")).unwrap();
    assert_eq!(answer.status, 200, "{url}");
    answer.body
}

/// From a core dump to the RPM, by the JSON API.
fn expect_rpm(gateway: &RunningGateway, release: u32, base: &str) {
    let crash = Crash::run_server(release);
    let ids = build_ids(&crash.modules());
    assert!(ids.len() >= 2, "expected the program and its libraries, found {ids:?}");
    let answer = gateway.get(&format!("/buildids/{}", ids.join(",")));
    assert_eq!(answer.status, 200);
    let rows: Value = serde_json::from_str(&answer.text()).unwrap();
    let rows = rows.as_array().unwrap();
    let nvra = format!("server-1.1-{release}.fc99.x86_64");
    let program: Vec<&Value> = rows.iter().filter(|row| row["elf"] == "/usr/bin/server").collect();
    assert_eq!(program.len(), 1, "expected one row for the program, found {rows:?}");
    assert_eq!((program[0]["rpm"].as_str(), program[0]["distro"].as_str()), (Some(&*nvra), Some("fc99")));
    assert!(ids.iter().any(|id| program[0]["buildid"] == **id));
    let url = program[0]["url"].as_str().unwrap();
    assert!(url.starts_with(base) && url.ends_with(&format!("/{nvra}.rpm")), "{url}");
    let expected = std::fs::read(fixtures::package("server", &nvra)).unwrap();
    assert!(download(url) == expected, "{url}: another archive");
    // Its debuginfo as well, and by the name of the package.
    let debuginfo = nvra.replace("server-", "server-debuginfo-");
    let row = rows.iter().find(|row| row["rpm"] == *debuginfo).unwrap();
    let expected = std::fs::read(fixtures::package("server", &debuginfo)).unwrap();
    assert!(download(row["url"].as_str().unwrap()) == expected, "another archive of debuginfo");
    let package: Value = serde_json::from_str(&gateway.get(&format!("/package/{nvra}")).text()).unwrap();
    assert_eq!(package["url"], *url);
}

#[test]
fn a_core_leads_to_the_rpm_in_a_store() {
    let files = FileServer::start(&fixtures::family("server"));
    let index = Sqlite::empty();
    index.add_store("koji", "koji", &fixtures::family("server"), &files.url());
    let gateway = RunningGateway::start(&index.url());
    for release in 5..=7 {
        expect_rpm(&gateway, release, &files.url());
    }
}

#[test]
fn a_core_leads_to_the_rpm_on_the_gateways_own_disk() {
    let index = Sqlite::with_packages(&[&fixtures::family("server")]);
    let gateway = RunningGateway::start(&index.url());
    expect_rpm(&gateway, 6, &format!("{}/archive/", gateway.url()));
}

#[test]
fn darkclient_reads_the_output_of_eu_unstrip() {
    let index = Sqlite::with_packages(&[&fixtures::family("server")]);
    let gateway = RunningGateway::start(&index.url());
    let crash = Crash::run_server(6);
    let modules = crash.modules();
    let mut client = Command::new(program("darkclient"))
        .args(["-i", "-", "--server", &gateway.url()])
        .current_dir(crash.directory())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    client.stdin.take().unwrap().write_all(modules.as_bytes()).unwrap();
    let output = client.wait_with_output().unwrap();
    let (said, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{errors}");
    let id = fixtures::build_id("server/server-1.1-6.fc99.x86_64.rpm", "/usr/bin/server");
    let lines: Vec<&str> = said.lines().collect();
    assert!(lines.contains(&&*format!("{id} server-1.1-6.fc99.x86_64 /usr/bin/server")), "{said}");
    let debug =
        format!("{id} server-debuginfo-1.1-6.fc99.x86_64 /usr/lib/debug/usr/bin/server-1.1-6.fc99.x86_64.debug");
    assert_eq!((lines.len(), lines.contains(&&*debug)), (2, true), "{said}");

    let words = darkclient(&gateway.url(), &["-i", &build_ids(&modules).join(",")]);
    assert_eq!(String::from_utf8_lossy(&words.stdout), said);
    let url = darkclient(&gateway.url(), &["-p", "server-1.1-6.fc99.x86_64"]);
    let url = String::from_utf8(url.stdout).unwrap();
    let expected = std::fs::read(fixtures::package("server", "server-1.1-6.fc99.x86_64")).unwrap();
    assert!(download(url.trim()) == expected, "{url}: another archive");
}
