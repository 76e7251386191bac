//! Runs darkclient against a server on 127.0.0.1: its requests, output and exit codes.
//!
//! The server answers canned bytes. Tests with the real gateway are in compat-tests.

#![expect(clippy::unwrap_used, reason = "helpers of tests, which clippy does not take for tests")]

use std::time::Duration;

use assert_cmd::Command;
use tempfile::TempDir;

use server::{CannedServer, response};

mod configuration;
mod exit_codes;
mod server;

const APR: &str = "868357887701f51d867eacd0da6e5af6d8c70ce2";
const BASH: &str = "0daa18d6291a5d0d174556c8c46f1345eba61a65";

const RECORDS: &str = include_str!("records.json");

const RECORD_LINES: &str = include_str!("records.txt");

/// Returns a darkclient in an empty directory, without the environment of the caller.
fn darkclient(directory: &TempDir) -> Command {
    let mut command = Command::cargo_bin("darkclient").unwrap();
    command.env_clear().current_dir(directory.path()).timeout(Duration::from_secs(60));
    command
}

struct Run {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

fn run(command: &mut Command) -> Run {
    let output = command.output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Run { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

/// Runs darkclient with `args` against `server`.
fn ask(server: &CannedServer, args: &[&str]) -> Run {
    run(darkclient(&TempDir::new().unwrap()).args(["--server", &server.url]).args(args))
}

#[test]
fn ids_are_printed_as_lines_in_the_servers_order() {
    let server = CannedServer::answering("200 OK", RECORDS);
    let run = ask(&server, &["-i", BASH, APR]);
    assert_eq!((run.code, run.stdout.as_str(), run.stderr.as_str()), (Some(0), RECORD_LINES, ""));
    assert_eq!(server.paths(), [format!("/buildids/{BASH},{APR}")]);
}

#[test]
fn rpm_is_printed_as_lines() {
    let server = CannedServer::answering("200 OK", RECORDS);
    let run = ask(&server, &["--rpm", "libstdc++-4.6.2-1.fc16.x86_64.rpm"]);
    assert_eq!((run.code, run.stdout.as_str(), run.stderr.as_str()), (Some(0), RECORD_LINES, ""));
    assert_eq!(server.paths(), ["/rpm2buildids/libstdc%2B%2B-4.6.2-1.fc16.x86_64.rpm"]);
}

#[test]
fn package_is_printed_as_its_url_alone() {
    let server = CannedServer::answering("200 OK", r#"{"url": "https://koji.example/apr.rpm"}"#);
    let run = ask(&server, &["-p", "apr-1.4.5-1.fc16.x86_64"]);
    assert_eq!((run.code, run.stdout.as_str(), run.stderr.as_str()), (Some(0), "https://koji.example/apr.rpm\n", ""));
    assert_eq!(server.paths(), ["/package/apr-1.4.5-1.fc16.x86_64"]);
}

#[test]
fn json_is_printed_whole() {
    let server = CannedServer::answering("200 OK", r#"{"url":"u","more":[1]}"#);
    let run = ask(&server, &["--json", "-p", "apr"]);
    assert_eq!((run.code, run.stdout.as_str()), (Some(0), "{\n  \"more\": [\n    1\n  ],\n  \"url\": \"u\"\n}\n"));
}

#[test]
fn json_without_data_is_printed_too() {
    let run = ask(&CannedServer::answering("200 OK", "[]"), &["--json", "-i", APR]);
    assert_eq!((run.code, run.stdout.as_str()), (Some(1), "[]\n"));
}

#[test]
fn repeated_ids_are_requested_before_earlier_ones() {
    let server = CannedServer::answering("200 OK", RECORDS);
    ask(&server, &["-i", "aa", "bb", "-r", "ignored", "--ids", "cc", "dd"]);
    assert_eq!(server.paths(), ["/buildids/cc,dd,aa,bb"]);
}

#[test]
fn ids_are_sent_as_typed() {
    let server = CannedServer::answering("200 OK", "[]");
    ask(&server, &["-i", "DEADBEEF", "deadbeef"]);
    assert_eq!(server.paths(), ["/buildids/DEADBEEF,deadbeef"]);
}

#[test]
fn invalid_build_ids_are_not_sent() {
    let server = CannedServer::answering("200 OK", RECORDS);
    let passwords = format!("{APR}\nroot:x:0:0:root:/root:/bin/bash\n");
    for (args, input, said) in [
        (
            &["-i", APR, "secret"][..],
            "",
            "-i: expected a build-id (an even number of hex digits, at most 128), found \"secret\"",
        ),
        (&["-i", "-"], passwords.as_str(), "standard input, line 2: expected a build-id"),
        (&["-i", "-"], "0x400000+0x207000 secret@0x40024c /bin/a - a\n", "standard input, line 1: expected a build-id"),
    ] {
        let directory = TempDir::new().unwrap();
        let run = run(darkclient(&directory).args(["--server", &server.url]).args(args).write_stdin(input));
        assert_eq!((run.code, run.stdout.as_str()), (Some(2), ""), "{args:?}");
        assert!(run.stderr.starts_with(said), "{}", run.stderr);
    }
    assert!(server.paths().is_empty(), "{:?}", server.paths());
}

#[test]
fn a_request_names_the_client_and_its_version() {
    let server = CannedServer::answering("200 OK", "[]");
    ask(&server, &["-i", APR]);
    let head = server.heads()[0].to_ascii_lowercase();
    assert!(head.contains(concat!("user-agent: darkclient/", env!("CARGO_PKG_VERSION"))), "{head}");
}

#[test]
fn ids_come_from_standard_input() {
    let server = CannedServer::answering("200 OK", RECORDS);
    let input =
        format!("0x400000+0x207000 {APR}@0x40024c /bin/a - a\n0x7fff0000+0x1000 - . - linux-vdso.so.1\n{BASH} cc\n");
    let directory = TempDir::new().unwrap();
    let run = run(darkclient(&directory).args(["--server", &server.url, "-i", "-"]).write_stdin(input));
    assert_eq!(run.code, Some(0));
    assert_eq!(server.paths(), [format!("/buildids/{APR},{BASH},cc")]);
}

#[test]
fn no_id_on_standard_input_is_no_data() {
    let server = CannedServer::answering("200 OK", RECORDS);
    let directory = TempDir::new().unwrap();
    let run = run(darkclient(&directory)
        .args(["--server", &server.url, "-i", "-"])
        .write_stdin("0+0x1000 - . - linux-vdso.so.1\n"));
    assert_eq!((run.code, run.stdout.as_str()), (Some(1), ""));
    assert!(server.paths().is_empty());
}

#[test]
fn many_ids_take_several_requests_that_servers_accept() {
    let record = |id: &str| format!(r#"{{"buildid":"{id}","rpm":"r","elf":"/e"}}"#);
    let server = CannedServer::start(move |path| {
        let ids = path.strip_prefix("/darkserver/buildids/").unwrap();
        // The last id of each request, and one record that every request finds.
        Some(response("200 OK", &format!("[{},{}]", record(ids.rsplit(',').next().unwrap()), record("shared"))))
    });
    let ids: Vec<String> = (0..400).map(|number| format!("{number:040x}")).collect();
    let directory = TempDir::new().unwrap();
    let run = run(darkclient(&directory).args(["--server", &format!("{}/darkserver/", server.url), "-i"]).args(&ids));

    assert_eq!(run.code, Some(0));
    let expected = format!("{} r /e\nshared r /e\n{} r /e\n{} r /e\n", ids[149], ids[299], ids[399]);
    assert_eq!(run.stdout, expected);
    let asked: Vec<String> = server
        .paths()
        .iter()
        .flat_map(|path| path["/darkserver/buildids/".len()..].split(',').map(String::from).collect::<Vec<_>>())
        .collect();
    assert_eq!(asked, ids);
    assert!(server.heads().iter().all(|head| head.lines().next().unwrap().len() < 8190));
}

#[test]
fn redirect_is_followed() {
    let server = CannedServer::start(|path| {
        let moved =
            "HTTP/1.1 302 Found\r\nLocation: /darkserver/buildids/aa\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
        Some(if path.starts_with("/darkserver") { response("200 OK", RECORDS) } else { moved.to_string() })
    });
    let run = ask(&server, &["-i", "aa"]);
    assert_eq!((run.code, run.stdout.as_str()), (Some(0), RECORD_LINES));
}

#[test]
fn http_needs_no_ca_certificates() {
    let server = CannedServer::answering("200 OK", RECORDS);
    let directory = TempDir::new().unwrap();
    let mut command = darkclient(&directory);
    command.env("SSL_CERT_FILE", "/nonexistent").env("SSL_CERT_DIR", "/nonexistent");
    let run = run(command.args(["--server", &server.url, "-i", APR]));
    assert_eq!((run.code, run.stdout.as_str(), run.stderr.as_str()), (Some(0), RECORD_LINES, ""));
}

#[test]
fn help_has_examples_exit_codes_and_files() {
    for option in ["-h", "--help"] {
        let run = run(darkclient(&TempDir::new().unwrap()).arg(option));
        assert_eq!(run.code, Some(0));
        for text in
            ["eu-unstrip -n --core=core | darkclient -i -", "Exit codes:", "/etc/darkclient.conf", "DARKSERVER_URL"]
        {
            assert!(run.stdout.contains(text), "{text}: {}", run.stdout);
        }
    }
    let run = run(darkclient(&TempDir::new().unwrap()).arg("-V"));
    assert_eq!((run.code, run.stdout), (Some(0), format!("darkclient {}\n", env!("CARGO_PKG_VERSION"))));
}
