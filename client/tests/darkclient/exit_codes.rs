//! Exit codes and messages of failures.

use std::fs;
use std::net::TcpListener;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::server::{CannedServer, response};
use crate::{APR, RECORDS, ask, darkclient, run};

#[test]
fn an_error_status_comes_with_the_servers_reason() {
    let run_with = |content_type: &str, body: &str| {
        let bytes = format!(
            "HTTP/1.1 503 Service Unavailable\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\n\
             Connection: close\r\n\r\n{body}",
            body.len()
        );
        let run = ask(&CannedServer::start(move |_| Some(bytes.clone())), &["-i", APR]);
        assert_eq!((run.code, run.stdout.as_str()), (Some(2), ""), "{body}");
        run.stderr
    };
    let said = |reason: &str| format!("expected 200 OK, found 503 Service Unavailable{reason}\n");
    for (content_type, body, reason) in [
        ("application/json", r#"{"error": "the index could not be asked"}"#, ": the index could not be asked"),
        ("application/json; charset=utf-8", "{\"error\": \"a\\u001b[31m\\nb\"}", ": a [31m b"),
        ("text/plain; charset=utf-8", "come back later\n", ": come back later"),
        ("text/html", "<html>sorry</html>", ""),
        ("application/json", "[{", ""),
        ("application/json", "{\"error\": 5}", ""),
        ("text/plain", "", ""),
    ] {
        let stderr = run_with(content_type, body);
        assert!(stderr.ends_with(&said(reason)), "{body}: {stderr}");
    }
    let stderr = run_with("text/plain", &"x".repeat(1 << 20));
    assert!(stderr.contains(&"x".repeat(300)) && stderr.len() < 600, "{}", stderr.len());
}

#[test]
fn one_failing_request_of_many_prints_nothing() {
    let server = CannedServer::start(|path| {
        let first = path.contains(&"0".repeat(40));
        Some(if first { response("200 OK", RECORDS) } else { response("500 Internal Server Error", "") })
    });
    let ids: Vec<String> = (0..151).map(|number| format!("{number:040x}")).collect();
    let directory = TempDir::new().unwrap();
    let run = run(darkclient(&directory).args(["--server", &server.url, "-i"]).args(&ids));
    assert_eq!((run.code, run.stdout.as_str()), (Some(2), ""));
}

#[test]
fn empty_list_or_object_exits_1_silently() {
    for (body, option) in
        [("[]", "-i"), ("{}", "-i"), ("[]", "-r"), ("{}", "-p"), (r#"{"error": "rpm not found"}"#, "-p")]
    {
        let run = ask(&CannedServer::answering("200 OK", body), &[option, "abcd"]);
        assert_eq!((run.code, run.stdout.as_str(), run.stderr.as_str()), (Some(1), "", ""), "{option} {body}");
    }
}

#[test]
fn answer_that_is_not_json_exits_1_with_a_message() {
    for body in ["<html>login</html>", "", "[{"] {
        let run = ask(&CannedServer::answering("200 OK", body), &["-i", "abcd"]);
        assert_eq!((run.code, run.stdout.as_str()), (Some(1), ""), "{body}");
        assert!(run.stderr.contains("/buildids/abcd: expected JSON"), "{}", run.stderr);
    }
}

#[test]
fn http_error_status_exits_2() {
    for status in
        ["400 Bad Request", "404 Not Found", "414 URI Too Long", "500 Internal Server Error", "304 Not Modified"]
    {
        let run = ask(&CannedServer::answering(status, "[]"), &["-i", "abcd"]);
        assert_eq!((run.code, run.stdout.as_str()), (Some(2), ""), "{status}");
        assert!(run.stderr.contains(&format!("expected 200 OK, found {}", &status[..3])), "{}", run.stderr);
    }
}

#[test]
fn unreachable_server_exits_2() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let directory = TempDir::new().unwrap();
    let run = run(darkclient(&directory).args(["--server", &format!("http://127.0.0.1:{port}"), "-i", "abcd"]));
    assert_eq!((run.code, run.stdout.as_str()), (Some(2), ""));
    assert!(run.stderr.contains("Connection refused"), "{}", run.stderr);
}

#[test]
fn truncated_answer_exits_2() {
    let server = CannedServer::start(|_| {
        Some("HTTP/1.1 200 OK\r\nContent-Length: 100\r\nConnection: close\r\n\r\n[]".to_string())
    });
    let run = ask(&server, &["-i", "abcd"]);
    assert_eq!((run.code, run.stdout.as_str()), (Some(2), ""));
}

#[test]
fn server_that_hangs_exits_2_after_the_timeout() {
    let server = CannedServer::start(|_| None);
    let start = Instant::now();
    let run = ask(&server, &["--timeout", "0.3", "-i", "abcd"]);
    assert_eq!((run.code, run.stdout.as_str()), (Some(2), ""));
    assert!(run.stderr.contains("timed out"), "{}", run.stderr);
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
}

#[test]
fn wrong_usage_exits_2() {
    for args in [&["--nonsense"][..], &["-i"], &["-r"], &["stray"], &["--server", "nonsense", "-i", "abcd"]] {
        let run = run(darkclient(&TempDir::new().unwrap()).args(args));
        assert_eq!((run.code, run.stdout.as_str()), (Some(2), ""), "{args:?}");
        assert!(run.stderr.contains("Usage") || run.stderr.contains("--help"), "{}", run.stderr);
    }
}

#[test]
fn no_question_exits_4() {
    let run = run(&mut darkclient(&TempDir::new().unwrap()));
    assert_eq!(
        (run.code, run.stdout.as_str(), run.stderr.as_str()),
        (Some(4), "", "Please provide rpm or id details\n")
    );
}

/// As with other tools that end by SIGPIPE, a shell reads 141. Nothing is printed.
#[test]
fn a_closed_pipe_exits_141_silently() {
    let record = format!(r#"{{"buildid":"{APR}","rpm":"r","elf":"/e"}}"#);
    let server = CannedServer::answering("200 OK", &format!("[{}]", vec![record; 20_000].join(",")));
    let directory = TempDir::new().unwrap();
    let mut child = std::process::Command::new(assert_cmd::cargo::cargo_bin!("darkclient"))
        .env_clear()
        .current_dir(directory.path())
        .args(["--server", &server.url, "-i", APR])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), String::from_utf8(output.stderr).unwrap().as_str()), (Some(141), ""));
}

#[test]
fn a_full_disk_exits_2_with_a_message() {
    let server = CannedServer::answering("200 OK", RECORDS);
    let directory = TempDir::new().unwrap();
    let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let output = std::process::Command::new(assert_cmd::cargo::cargo_bin!("darkclient"))
        .env_clear()
        .current_dir(directory.path())
        .args(["--server", &server.url, "-i", APR])
        .stdout(full)
        .output()
        .unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{stderr}");
    assert!(stderr.contains("No space left on device"), "{stderr}");
}

#[test]
fn a_closed_standard_error_changes_no_exit_code() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut client = std::process::Command::new(assert_cmd::cargo::cargo_bin!("darkclient"));
    let client = client.args(["--server", "http://127.0.0.1:1", APR]).stderr(writer);
    let heard = std::process::Command::new(assert_cmd::cargo::cargo_bin!("darkclient"))
        .args(["--server", "http://127.0.0.1:1", APR])
        .output()
        .unwrap();
    assert!(!heard.status.success() && !heard.stderr.is_empty(), "{heard:?}");
    assert_eq!(client.status().unwrap().code(), heard.status.code());
}
