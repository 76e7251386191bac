//! Runs darkclient against a server on 127.0.0.1: its requests, output and exit codes.
//!
//! The server answers canned bytes. Tests with the real gateway are in compat-tests.

#![expect(clippy::unwrap_used, reason = "helpers of tests, which clippy does not take for tests")]

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use assert_cmd::Command;
use tempfile::TempDir;

const APR: &str = "868357887701f51d867eacd0da6e5af6d8c70ce2";
const BASH: &str = "0daa18d6291a5d0d174556c8c46f1345eba61a65";

const RECORDS: &str = r#"[
  {"buildid": "868357887701f51d867eacd0da6e5af6d8c70ce2", "distro": "fc16", "elf": "/usr/lib64/libapr-1.so.0.4.5", "rpm": "apr-1.4.5-1.fc16.x86_64", "url": "u"},
  {"buildid": "868357887701f51d867eacd0da6e5af6d8c70ce2", "distro": "fc16", "elf": "/usr/lib/debug/usr/lib64/libapr-1.so.0.4.5.debug", "rpm": "apr-debuginfo-1.4.5-1.fc16.x86_64", "url": "v"}
]
"#;

const RECORD_LINES: &str = "\
868357887701f51d867eacd0da6e5af6d8c70ce2 apr-1.4.5-1.fc16.x86_64 /usr/lib64/libapr-1.so.0.4.5
868357887701f51d867eacd0da6e5af6d8c70ce2 apr-debuginfo-1.4.5-1.fc16.x86_64 /usr/lib/debug/usr/lib64/libapr-1.so.0.4.5.debug
";

/// A server on a free port that records the heads of requests. Its thread ends with the test process.
struct CannedServer {
    url: String,
    heads: Arc<Mutex<Vec<String>>>,
}

impl CannedServer {
    /// Answers every request with the bytes that `answer` returns for its path; `None` leaves the request without
    /// answer.
    fn start(answer: impl Fn(&str) -> Option<String> + Send + 'static) -> CannedServer {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let heads = Arc::new(Mutex::new(Vec::new()));
        let recorded = Arc::clone(&heads);
        thread::spawn(move || {
            let mut hanging: Vec<TcpStream> = Vec::new();
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let lines = BufReader::new(&stream).lines().map(Result::unwrap).take_while(|line| !line.is_empty());
                let head: Vec<String> = lines.collect();
                let path = head[0].split(' ').nth(1).unwrap().to_string();
                recorded.lock().unwrap().push(head.join("\n"));
                match answer(&path) {
                    Some(bytes) => stream.write_all(bytes.as_bytes()).unwrap(),
                    None => hanging.push(stream),
                }
            }
        });
        CannedServer { url, heads }
    }

    fn answering(status: &str, body: &str) -> CannedServer {
        let bytes = response(status, body);
        CannedServer::start(move |_| Some(bytes.clone()))
    }

    fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap().clone()
    }

    fn paths(&self) -> Vec<String> {
        self.heads().iter().map(|head| head.split(' ').nth(1).unwrap().to_string()).collect()
    }
}

fn response(status: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
}

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
fn http_needs_no_ca_certificates() {
    let server = CannedServer::answering("200 OK", RECORDS);
    let directory = TempDir::new().unwrap();
    let mut command = darkclient(&directory);
    command.env("SSL_CERT_FILE", "/nonexistent").env("SSL_CERT_DIR", "/nonexistent");
    let run = run(command.args(["--server", &server.url, "-i", APR]));
    assert_eq!((run.code, run.stdout.as_str(), run.stderr.as_str()), (Some(0), RECORD_LINES, ""));
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

#[test]
fn no_configuration_file_exits_5() {
    if fs::exists("/etc/darkclient.conf").unwrap() {
        // Not testable on a machine that has darkclient configured. config.rs tests the order of files.
        eprintln!("SKIPPED: /etc/darkclient.conf exists");
        assert!(std::env::var_os("CI").is_none(), "must not be skipped in CI");
        return;
    }
    let run = run(darkclient(&TempDir::new().unwrap()).args(["-i", "abcd"]));
    assert_eq!((run.code, run.stdout.as_str()), (Some(5), ""));
    assert!(run.stderr.contains("./darkclient.conf or /etc/darkclient.conf"), "{}", run.stderr);
}

#[test]
fn a_file_in_the_current_directory_names_the_server() {
    let server = CannedServer::answering("200 OK", RECORDS);
    for text in [server.url.clone(), format!("\u{feff} {}/ \r\nhttp://127.0.0.1:1/\n", server.url)] {
        let directory = TempDir::new().unwrap();
        fs::write(directory.path().join("darkclient.conf"), text).unwrap();
        let run = run(darkclient(&directory).args(["-i", APR]));
        assert_eq!((run.code, run.stdout.as_str(), run.stderr.as_str()), (Some(0), RECORD_LINES, ""));
    }
    assert_eq!(server.paths(), vec![format!("/buildids/{APR}"); 2]);
}

#[test]
fn file_without_a_url_exits_5() {
    for text in ["", "\nhttp://second.example\n", "darkserver.example.org\n"] {
        let directory = TempDir::new().unwrap();
        fs::write(directory.path().join("darkclient.conf"), text).unwrap();
        let run = run(darkclient(&directory).args(["-i", "abcd"]));
        assert_eq!((run.code, run.stdout.as_str()), (Some(5), ""), "{text:?}");
        assert!(run.stderr.starts_with("first line of ./darkclient.conf: expected the server's URL"), "{}", run.stderr);
    }
}

#[test]
fn the_option_precedes_the_environment_and_the_environment_the_file() {
    let servers = [(); 3].map(|()| CannedServer::answering("200 OK", "[]"));
    let [option, environment, file] = &servers;
    let directory = TempDir::new().unwrap();
    fs::write(directory.path().join("darkclient.conf"), &file.url).unwrap();

    run(darkclient(&directory).env("DARKSERVER_URL", &environment.url).args(["--server", &option.url, "-i", "abcd"]));
    run(darkclient(&directory).env("DARKSERVER_URL", &environment.url).args(["-i", "abcd"]));
    run(darkclient(&directory).env("DARKSERVER_URL", "").args(["-i", "abcd"]));
    assert_eq!(servers.each_ref().map(|server| server.paths().len()), [1, 1, 1]);
}

#[test]
fn environment_without_a_url_exits_5() {
    let run = run(darkclient(&TempDir::new().unwrap()).env("DARKSERVER_URL", "nonsense").args(["-i", "abcd"]));
    assert_eq!((run.code, run.stdout.as_str()), (Some(5), ""));
    assert!(run.stderr.contains("DARKSERVER_URL"), "{}", run.stderr);
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
