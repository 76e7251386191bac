//! `darkserver-import push`.

use std::fs;
use std::path::Path;
use std::process::Output;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use compat_tests::certificates::Certificates;
use compat_tests::darkserver::import_command;
use compat_tests::fake_server::FakeServer;
use compat_tests::fixtures;
use compat_tests::process::{Process, free_port, run};
use serde_json::{Value, json};

use super::support::{FAMILY, NAME, TOKEN, names, push_to, start, text};

fn rpm(name: &str) -> String {
    text(&fixtures::rpm(&format!("{FAMILY}/{name}"))).to_owned()
}

fn error(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The results of `--json` by file name.
fn results(output: &Output) -> Vec<(String, String)> {
    let reports: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
    let name = |report: &Value| report["file"].as_str().unwrap().rsplit('/').next().unwrap().to_owned();
    reports.iter().map(|report| (name(report), report["result"].as_str().unwrap().to_owned())).collect()
}

#[test]
fn a_broken_or_refused_file_does_not_stop_the_others() {
    let bench = start("");
    let broken = bench.directory.path().join("broken-1-1.noarch.rpm");
    fs::write(&broken, "no package").unwrap();
    let renamed = bench.directory.path().join("renamed-1-1.x86_64.rpm");
    fs::copy(rpm(NAME), &renamed).unwrap();
    let missing = bench.directory.path().join("missing-1-1.noarch.rpm");
    let (package, sub) = (rpm(NAME), rpm("bidtest-sub-9.9-4.fc99.x86_64.rpm"));
    let files = [text(&broken), &package, text(&missing), text(&renamed), "README", &sub, text(bench.directory.path())];
    let output = bench.push(&[&files[..], &["--json"]].concat());
    assert_eq!(output.status.code(), Some(1), "{}", error(&output));
    let results = results(&output).into_iter().map(|(_, result)| result).collect::<Vec<_>>();
    assert_eq!(results, ["failed", "uploaded", "failed", "failed", "failed", "uploaded", "failed"]);
    assert!(error(&output).contains("the name bidtest-debuginfo-1.2~rc1-4.fc99.x86_64.rpm, as in the header"));
    assert_eq!((bench.names().len(), bench.packages().len()), (2, 2));
    let output = bench.push(&[&package, &sub]);
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!((output.status.code(), printed.lines().count()), (Some(0), 2), "{printed}{}", error(&output));
    assert!(printed.lines().all(|line| line.contains("is there already, ")), "{printed}");
    let output = bench.push(&[&package, "--quiet"]);
    assert_eq!((output.status.code(), output.stdout.len(), output.stderr.len()), (Some(0), 0, 0));
}

#[test]
fn a_wrong_token_store_or_url_is_wrong_usage() {
    let bench = start("");
    let (package, url) = (rpm(NAME), bench.indexer.url());
    let file = bench.directory.path().join("token");
    fs::write(&file, "wrong\n").unwrap();
    let files = [package.as_str(), package.as_str()];
    for (arguments, expected) in [
        (vec!["--token-file", text(&file)], "401"),
        (vec!["--store", "other"], "404"),
        (vec!["--token-file", "/nonexistent"], "--token-file"),
        (vec!["--ca", "/nonexistent"], "tls.ca"),
        (vec![], ""),
    ] {
        let output = bench.push(&[&files[..], &arguments, &["--json"]].concat());
        if arguments.is_empty() {
            assert_eq!(output.status.code(), Some(0), "{}", error(&output));
            continue;
        }
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {}", error(&output));
        assert!(error(&output).contains(expected), "{arguments:?}: {}", error(&output));
        assert!(bench.names().is_empty());
    }
    let mut without = import_command("sqlite:/nonexistent/no.db", &["push", &package, "--to", &url]);
    let output = run(without.env_remove("DARKSERVER_HOOK_TOKEN"), "the workspace");
    assert_eq!(output.status.code(), Some(2));
    assert!(error(&output).contains("DARKSERVER_HOOK_TOKEN"), "{}", error(&output));
    for url in ["ftp://127.0.0.1", "http://user:secret@127.0.0.1", "127.0.0.1"] {
        let output = push_to(url, &[&package]);
        assert_eq!(output.status.code(), Some(2), "{url}");
        assert!(!error(&output).contains("secret"), "{}", error(&output));
    }
    fs::write(&file, format!("{TOKEN}\n")).unwrap();
    let output = bench.push(&[&package, "--token-file", text(&file)]);
    assert_eq!(output.status.code(), Some(0), "{}", error(&output));
}

#[test]
fn a_busy_indexer_is_asked_again_when_it_wants() {
    let answers = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&answers);
    let server = FakeServer::start(move |head, stream| {
        use std::io::{Read, Write};
        let length = head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
        let mut body = vec![0; length.unwrap()];
        let (status, more, body_text) = match count.fetch_add(1, Ordering::SeqCst) {
            // Without an answer, in the middle of the body.
            0 => return,
            1 => ("429 Too Many Requests", "Retry-After: 1\r\n", json!({ "error": "too many" })),
            2 => ("503 Service Unavailable", "Retry-After: 1\r\n", json!({ "error": "down" })),
            3 => ("503 Service Unavailable", "", Value::Null),
            _ => ("201 Created", "", json!({ "nvra": "a-1-1.noarch", "build_ids": 3 })),
        };
        let text = body_text.to_string();
        let read = stream.read_exact(&mut body);
        read.unwrap();
        let head = format!("HTTP/1.1 {status}\r\n{more}Content-Length: {}\r\nConnection: close\r\n\r\n", text.len());
        stream.write_all(format!("{head}{text}").as_bytes()).unwrap();
    });
    let began = std::time::Instant::now();
    let output = push_to(&server.url(), &[&rpm(NAME), "--json"]);
    assert_eq!(output.status.code(), Some(0), "{}", error(&output));
    assert_eq!(results(&output), [(NAME.to_owned(), "uploaded".to_owned())]);
    assert_eq!(answers.load(Ordering::SeqCst), 5);
    assert!(began.elapsed() >= Duration::from_secs(2), "{:?}", began.elapsed());
    for request in server.requests() {
        assert!(request.head.starts_with(&format!("PUT /hooks/upload/uploads/{NAME} ")));
        assert_eq!(request.header("authorization"), Some(format!("Bearer {TOKEN}").as_str()));
        assert!(request.header("content-digest").unwrap().starts_with("sha-256=:"), "{}", request.head);
        assert_eq!(request.header("transfer-encoding"), None);
    }
}

#[test]
fn an_indexer_that_is_away_is_waited_for() {
    let mut bench = start("");
    let url = bench.indexer.url();
    bench.indexer.kill();
    let output = push_to(&url, &[&rpm(NAME), "--wait", "1"]);
    assert_eq!(output.status.code(), Some(1), "{}", error(&output));
    let output = std::thread::scope(|scope| {
        let pushing = scope.spawn(|| push_to(&url, &[&rpm(NAME)]));
        std::thread::sleep(Duration::from_millis(700));
        bench.indexer.restart();
        pushing.join().unwrap()
    });
    assert_eq!(output.status.code(), Some(0), "{}", error(&output));
    assert_eq!((bench.names(), bench.packages().len()), (vec![NAME.to_owned()], 1));
}

/// Starts a real nginx with TLS before an indexer.
fn nginx(directory: &Path, certificates: &Certificates, indexer: u16) -> (Process, u16) {
    let port = free_port();
    let path = |name: &str| text(&directory.join(name)).to_owned();
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .iter()
        .map(|name| format!("{name}_temp_path {};\n", path(name)))
        .collect();
    let [certificate, key] = [certificates.certificate(), certificates.key()];
    let configuration = format!(
        "daemon off; pid {}; error_log stderr; events {{}}\nhttp {{ access_log off; {temporary}\nserver {{ listen \
         127.0.0.1:{port} ssl; ssl_certificate {}; ssl_certificate_key {}; client_max_body_size 0; location \
         /darkserver/ {{ proxy_pass http://127.0.0.1:{indexer}/; proxy_request_buffering off; proxy_http_version \
         1.1; }} }} }}\n",
        path("nginx.pid"),
        text(&certificate),
        text(&key),
    );
    fs::write(path("nginx.conf"), configuration).unwrap();
    let mut command = std::process::Command::new("nginx");
    command.args(["-e", "stderr", "-p", text(directory), "-c", &path("nginx.conf")]);
    let mut process = Process::start(&mut command, &directory.join("nginx.log"));
    process.wait_for_port(port);
    (process, port)
}

#[test]
fn an_indexer_with_an_own_authority_is_trusted_by_option() {
    let bench = start("");
    let (certificates, directory) = (Certificates::make(), tempfile::tempdir().unwrap());
    let (_nginx, port) = nginx(directory.path(), &certificates, bench.indexer.port);
    let url = format!("https://localhost:{port}/darkserver/");
    let output = push_to(&url, &[&rpm(NAME)]);
    assert_eq!((output.status.code(), bench.names()), (Some(2), vec![]), "{}", error(&output));
    let output = push_to(&url, &[&rpm(NAME), "--ca", text(&certificates.authority())]);
    assert_eq!(output.status.code(), Some(0), "{}", error(&output));
    assert_eq!(names(&bench.root()), [NAME]);
}
