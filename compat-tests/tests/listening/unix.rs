//! Unix sockets.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use compat_tests::darkserver::{RunningGateway, Sqlite};
use serde_json::Value;
use tempfile::TempDir;

use super::{PATIENCE, UNKNOWN, curl, curl_says, nowhere, refusal, servers, text};

/// A place for a socket, and the option that listens there.
fn place() -> (TempDir, PathBuf, String) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("gateway.sock");
    let option = format!("--listen=unix:{}", path.display());
    (directory, path, option)
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().permissions().mode() & 0o7777
}

#[test]
fn files_are_served_through_a_unix_socket_on_http_1_and_2() {
    let (sqlite, file, bytes) = servers();
    let (_directory, path, option) = place();
    let gateway = RunningGateway::start_with(&sqlite.url(), "", &[&option]);
    let url = format!("http://localhost{file}");
    for version in ["--http1.1", "--http2-prior-knowledge"] {
        let output = curl(&["--unix-socket", text(&path), version, &url]);
        assert!(output.stdout == bytes, "{version}: {}", String::from_utf8_lossy(&output.stderr));
    }
    assert_eq!(curl_says("%{http_version}", &["--unix-socket", text(&path), "--http2-prior-knowledge", &url]), "2");
    assert!(gateway.get(&file).body == bytes, "through TCP");
    assert!(gateway.log().contains("peer=\"unix\""), "{}", gateway.log());
}

#[test]
fn a_socket_file_has_the_configured_mode_and_is_replaced_at_a_restart() {
    let sqlite = Sqlite::with_packages(&[]);
    let (_directory, path, option) = place();
    let mut gateway = RunningGateway::start_with(&sqlite.url(), "", &[&option]);
    assert_eq!(mode(&path), 0o660, "by default for the group");
    let asks = || curl_says("%{http_code}", &["--unix-socket", text(&path), "http://localhost/healthz"]);
    assert_eq!(asks(), "200");
    // Killed: its socket file stays, and the next one takes its place.
    gateway.restart();
    assert_eq!(asks(), "200");
    drop(gateway);
    assert!(path.exists());
    let _gateway = RunningGateway::start_with(&sqlite.url(), "unix_mode = \"0606\"\n", &[&option]);
    assert_eq!((mode(&path), asks().as_str()), (0o606, "200"));
}

#[test]
fn a_file_or_a_socket_in_use_is_not_replaced() {
    let (_directory, path, option) = place();
    fs::write(&path, "precious").unwrap();
    let said = refusal("", &[&option]);
    assert!(said.contains(text(&path)) && said.contains("expected a socket or no file, found another file"), "{said}");
    assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
    fs::remove_file(&path).unwrap();
    let theirs = UnixListener::bind(&path).unwrap();
    let said = refusal("", &[&option]);
    assert!(said.contains(text(&path)) && said.contains("found one in use"), "{said}");
    drop(UnixStream::connect(&path).unwrap());
    theirs.accept().unwrap();
}

#[test]
fn the_peer_of_a_unix_socket_is_a_trusted_proxy() {
    let (sqlite, ..) = servers();
    let (_directory, path, option) = place();
    let gateway = RunningGateway::start_with(&sqlite.url(), "", &[&option, "--upstream", &nowhere()]);
    let socket = ["--unix-socket", text(&path)];
    // An undecided question has a status: a reset would become an error of the proxy's.
    for (what, status) in [("debuginfo", "503"), ("section/.text", "504")] {
        let url = format!("http://localhost/buildid/{UNKNOWN}/{what}");
        assert_eq!(
            curl_says("%{http_code} %header{cache-control}", &[&socket[..], &[&url]].concat()),
            format!("{status} no-store")
        );
    }
    let forwarded = ["-H", "X-Forwarded-Host: public.example", "-H", "X-Forwarded-Proto: https"];
    let output = curl(&[&socket[..], &forwarded, &["http://localhost/package/server-1.1-5.fc99.x86_64"]].concat());
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(answer["url"].as_str().unwrap().starts_with("https://public.example/archive/"), "{answer}");
    drop(gateway);

    // Who wants a reset all the same gets what comes nearest: the end, without an answer.
    let always = "[federation]\nunavailable = \"reset\"\n";
    let gateway = RunningGateway::start_with(&sqlite.url(), always, &[&option, "--upstream", &nowhere()]);
    let output = curl(&[&socket[..], &[&format!("http://localhost/buildid/{UNKNOWN}/debuginfo")]].concat());
    assert_eq!(output.status.code(), Some(52), "curl: {}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(gateway.metric("gateway_unavailable_total{result=\"reset\"}"), 1.0);
}

#[test]
fn timeouts_apply_on_a_unix_socket() {
    let sqlite = Sqlite::with_packages(&[]);
    let (_directory, path, option) = place();
    let short = "[connections]\nhead_timeout = \"2s\"\nidle_timeout = \"3s\"\n";
    let gateway = RunningGateway::start_with(&sqlite.url(), short, &[&option]);
    let lifetime = |says: &[u8]| {
        let started = Instant::now();
        let mut stream = UnixStream::connect(&path).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(says).unwrap();
        let mut came = Vec::new();
        stream.read_to_end(&mut came).unwrap();
        (started.elapsed(), came)
    };
    for (what, says, answers, least) in [
        ("silent", &b""[..], 0, 2),
        ("half a request line", b"GET /heal", 0, 2),
        ("idle", b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n", 1, 3),
    ] {
        let (lived, came) = lifetime(says);
        assert_eq!(came.windows(9).filter(|window| window == b"HTTP/1.1 ").count(), answers, "{what}");
        let least = Duration::from_secs(least);
        assert!(lived >= least && lived < least + Duration::from_secs(10), "{what}: lived {lived:?}");
    }
    // A line without an end is answered, too.
    let (_, came) = lifetime(&[b"GET /", [b'a'; 70_000].as_slice()].concat());
    assert!(came.starts_with(b"HTTP/1.1 414 "), "{}", String::from_utf8_lossy(&came));
    for (why, count) in [("head_timeout", 2.0), ("idle_timeout", 1.0), ("malformed", 1.0)] {
        assert_eq!(gateway.metric(&format!("gateway_connections_closed_total{{reason=\"{why}\"}}")), count, "{why}");
    }
}
