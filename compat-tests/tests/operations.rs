//! Metrics, logs, shutdown and new packages. Readiness and logs about unavailable components are tested in `operating`.

#![expect(clippy::unwrap_used, reason = "a failure here is a failed test, and shows where")]

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use artifact::header::Header;
use compat_tests::darkserver::{RunningGateway, Sqlite, import_ok};
use compat_tests::exposition::{check, families};
use compat_tests::fake_server::{self, FakeServer};
use compat_tests::fixtures;
use compat_tests::http;
use compat_tests::mariadb::MariaDb;
use compat_tests::process::{free_port, run};
use compat_tests::programs::program;
use compat_tests::wait_within;
use rustix::process::Signal;
use serde_json::{Value, json};

const SERVER: &str = "server/server-1.1-5.fc99.x86_64.rpm";

fn server() -> String {
    fixtures::build_id(SERVER, "/usr/bin/server")
}

fn series(gateway: &RunningGateway) -> BTreeSet<String> {
    let families = families(&gateway.get("/metrics").text());
    families.into_values().flat_map(|family| family.samples.into_keys()).collect()
}

/// One request of every sort.
fn ask_everything(gateway: &RunningGateway, build_id: &str) {
    for path in [
        format!("/buildid/{build_id}/debuginfo"),
        format!("/buildid/{build_id}/executable"),
        format!("/buildid/{build_id}/section/.text"),
        format!("/buildid/{build_id}/source/usr/src/{build_id}.c"),
        format!("/buildid/{build_id}/{build_id}"),
        format!("/buildid/x{build_id}/debuginfo"),
        format!("/buildids/{build_id}"),
        format!("/darkserver/buildids/{build_id}"),
        format!("/rpm2buildids/{build_id}"),
        format!("/package/{build_id}"),
        format!("/archive/{build_id}/{build_id}.rpm"),
        format!("/{build_id}"),
        format!("/{build_id}/{build_id}"),
    ] {
        let headers = [("User-Agent", build_id), ("X-Forwarded-For", build_id)];
        // An undecided one is reset.
        let _ = http::request(gateway.port, "GET", &path, &headers);
    }
}

#[test]
fn metrics_are_valid_and_their_number_is_bounded() {
    let sqlite = Sqlite::with_packages(&[&fixtures::family("server")]);
    let upstream = FakeServer::start(fake_server::answer_absent);
    let gateway = RunningGateway::start_with(&sqlite.url(), "", &["--upstream", &upstream.url()]);
    assert_eq!(gateway.get(&format!("/buildid/{}/executable", server())).status, 200);
    ask_everything(&gateway, "00000000000000000000000000000000000000cc");
    let answer = gateway.get("/metrics");
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("text/plain; version=0.0.4; charset=utf-8")));
    let families = families(&answer.text());
    for (name, family) in &families {
        check("gateway_", name, family);
    }
    for name in [
        "gateway_requests_total",
        "gateway_request_duration_seconds",
        "gateway_index_query_duration_seconds",
        "gateway_extraction_duration_seconds",
    ] {
        assert!(families.contains_key(name), "{name}: expected a metric, found {:?}", families.keys());
    }
    let requests = &families["gateway_requests_total"].samples;
    assert_eq!(requests["gateway_requests_total{endpoint=\"executable\",status=\"200\"}"], 1.0);
    assert_eq!(requests["gateway_requests_total{endpoint=\"executable\",status=\"404\"}"], 1.0);
    assert_eq!(
        requests["gateway_requests_total{endpoint=\"buildids\",status=\"200\"}"], 2.0,
        "with and without /darkserver"
    );
    assert_eq!(families["gateway_extractions_total"].samples["gateway_extractions_total{result=\"complete\"}"], 1.0);

    let before = series(&gateway);
    for number in 0..1000_u32 {
        let path = match number % 4 {
            0 => format!("/buildid/{number:040x}/debuginfo"),
            1 => format!("/buildids/{number:040x}"),
            2 => format!("/buildid/{number:040x}/{number}"),
            _ => format!("/{number}/x"),
        };
        let agent = format!("agent/{number}");
        http::request(gateway.port, "GET", &path, &[("User-Agent", &agent)]).unwrap();
    }
    assert_eq!(series(&gateway), before);
}

#[test]
fn log_lines_are_json_if_configured() {
    let sqlite = Sqlite::with_packages(&[&fixtures::family("server")]);
    let unused = format!("http://127.0.0.1:{}", free_port());
    let gateway = RunningGateway::start_with(&sqlite.url(), "", &["--log-format", "json", "--upstream", &unused]);
    let id = "00000000000000000000000000000000000000dd";
    ask_everything(&gateway, id);
    gateway.get(&format!("/buildid/{}/executable", server()));
    let log = gateway.log();
    let lines: Vec<Value> =
        log.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}"))).collect();
    for line in &lines {
        assert!(line["timestamp"].is_string() && line["level"].is_string() && line["target"].is_string(), "{line}");
    }
    let access = |path: &str| lines.iter().find(|line| line["target"] == "access" && line["path"] == path);
    let served = access(&format!("/buildid/{}/executable", server())).expect("an access line");
    assert_eq!(
        (&served["method"], &served["status"], &served["peer"]),
        (&json!("GET"), &json!(200), &json!("127.0.0.1"))
    );
    assert_eq!(access(&format!("/buildid/{id}/debuginfo")).expect("an access line")["was_reset"], json!(true));
    assert_eq!(access(&format!("/buildids/{id}")).expect("an access line")["agent"], json!(id));
    assert!(
        lines.iter().any(|line| line["message"] == "an answer is unavailable" && line["causes"].is_string()),
        "{log}"
    );
}

/// A gateway on an archive of 64 MiB, which exceeds the buffers of a connection. Returns it with a download in flight,
/// the bytes received so far, the archive, and the directory and the index.
fn with_a_download_in_flight() -> (RunningGateway, TcpStream, Vec<u8>, Vec<u8>, (tempfile::TempDir, Sqlite)) {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("server-1.1-5.fc99.x86_64.rpm");
    let mut bytes = fs::read(fixtures::rpm(SERVER)).unwrap();
    bytes.resize(64 << 20, 0x5a);
    fs::write(&file, &bytes).unwrap();
    let identity = Header::read(&mut bytes.as_slice()).unwrap().package.identity;
    let sqlite = Sqlite::empty();
    import_ok(&sqlite.url(), &["dir", directory.path().to_str().unwrap()]);
    let gateway = RunningGateway::start(&sqlite.url());

    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, gateway.port)).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let path = format!("/archive/{identity}/server-1.1-5.fc99.x86_64.rpm");
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).unwrap();
    let mut received = vec![0; 1 << 20];
    stream.read_exact(&mut received).unwrap();
    (gateway, stream, received, bytes, (directory, sqlite))
}

#[test]
fn a_download_over_the_shutdown_timeout_is_aborted_and_logged() {
    let (mut gateway, _stream, _, _, _places) = with_a_download_in_flight();
    let began = Instant::now();
    gateway.process().signal(Signal::TERM);
    assert_eq!(gateway.process().wait().code(), Some(0), "{}", gateway.log());
    assert!((29..45).contains(&began.elapsed().as_secs()), "{:?}", began.elapsed());
    let log = gateway.log();
    let is_warning = |line: &str| ["WARN", "stopped", "cut off", "requests=1"].iter().all(|word| line.contains(word));
    assert_eq!(log.lines().filter(|line| is_warning(line)).count(), 1, "{log}");
}

#[test]
fn requests_in_flight_finish_before_the_gateway_ends() {
    let (mut gateway, mut stream, mut received, bytes, _places) = with_a_download_in_flight();
    let port = gateway.port;
    gateway.process().signal(Signal::TERM);
    gateway.process().wait_until("refuse connections", || TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err());
    let end = received.windows(4).position(|window| window == b"\r\n\r\n").unwrap() + 4;
    let mut rest = vec![0; bytes.len() - (received.len() - end)];
    // A slow client needs three seconds more.
    for part in rest.chunks_mut(4 << 20) {
        std::thread::sleep(Duration::from_millis(200));
        stream.read_exact(part).unwrap();
    }
    received.extend(rest);
    assert!(received[end..] == bytes, "expected the bytes of the archive");
    let status = gateway.process().wait();
    assert_eq!(status.code(), Some(0), "{}", gateway.log());
}

#[test]
fn an_idle_gateway_ends_at_once() {
    let sqlite = Sqlite::with_packages(&[]);
    for signal in [Signal::TERM, Signal::INT] {
        let mut gateway = RunningGateway::start(&sqlite.url());
        gateway.get("/healthz");
        let started = Instant::now();
        gateway.process().signal(signal);
        assert_eq!(gateway.process().wait().code(), Some(0), "{}", gateway.log());
        assert!(started.elapsed() < Duration::from_secs(3), "{:?}", started.elapsed());
    }
}

#[test]
fn a_new_package_is_found_seconds_after_its_import() {
    let sqlite = Sqlite::with_packages(&[]);
    let gateway = RunningGateway::start(&sqlite.url());
    let paths = [format!("/buildid/{}/executable", server()), format!("/buildids/{}", server())];
    let found = |path: &String| {
        let answer = gateway.get(path);
        answer.status == 200 && answer.text() != "[]"
    };
    let directory = tempfile::tempdir().unwrap();
    symlink(fixtures::rpm(SERVER), directory.path().join("ignored")).unwrap();
    fs::copy(fixtures::rpm(SERVER), directory.path().join("server-1.1-5.fc99.x86_64.rpm")).unwrap();
    assert!(!paths.iter().any(found));
    import_ok(&sqlite.url(), &["dir", directory.path().to_str().unwrap()]);
    // Requests in between do not extend a cached absence.
    wait_within(Duration::from_secs(8), "the new package", || paths.iter().all(found));
    // A hit causes no query.
    let questions = || gateway.metric("gateway_index_lookups_total{result=\"database\"}");
    let before = questions();
    assert!(paths.iter().all(found));
    assert_eq!(questions(), before);
}

/// `darkserver` in an environment with this one variable; it has to end by itself.
fn darkserver(environment: (&str, &str), arguments: &[&str]) -> Output {
    let mut command = Command::new(program("darkserver"));
    run(command.env_clear().env(environment.0, environment.1).args(arguments), "the workspace")
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn passwords_are_never_shown() {
    let mariadb = MariaDb::start();
    mariadb.create_database("darkserver");
    mariadb.create_user("reader", "geheim", "select on darkserver.*");
    let right = mariadb.url_of("reader", "geheim", "darkserver");
    let wrong = mariadb.url_of("reader", "geheimer", "darkserver");
    for url in [&right, &wrong] {
        let gateway = RunningGateway::start(url);
        let json = gateway.get("/buildids/aa11");
        assert_eq!(json.status, 503, "there is no schema");
        let shown = format!(
            "{}{}{}{}",
            gateway.log(),
            gateway.get("/readyz").text(),
            gateway.get("/metrics").text(),
            json.text()
        );
        assert!(shown.contains("reader") && shown.contains("***"), "the database is named: {shown}");
        for secret in ["geheim", "%67%65"] {
            assert!(!shown.contains(secret), "{secret} in {shown}");
        }
    }
    for (name, value) in
        [("DARKSERVER_DATABASE", right.as_str()), ("DARKSERVER_UPSTREAMS", "http://me:geheim@127.0.0.1:1/")]
    {
        let help = darkserver((name, value), &["--help"]);
        assert!(help.status.success() && said(&help).contains(name), "{}", said(&help));
        for secret in ["geheim", "%67%65"] {
            assert!(!said(&help).contains(secret), "{}", said(&help));
        }
    }
    // A value that is refused is not shown either.
    for (name, value) in [
        ("DARKSERVER_DATABASE", "mysql://me:geheim@host:port/darkserver"),
        ("DARKSERVER_DATABASE", "postgres://me:geheim@host/darkserver"),
        ("DARKSERVER_DATABASE", "mysql://me:geheim@host/darkserver?ssl-mode=nonsense"),
        ("DARKSERVER_UPSTREAMS", "http://me:geheim@host:port/"),
        ("DARKSERVER_UPSTREAMS", "ftp://me:geheim@host/"),
        ("DEBUGINFOD_URLS", "http://me:geheim@host:port/"),
    ] {
        let refused = darkserver((name, value), &["--listen", "127.0.0.1:0"]);
        assert_eq!(refused.status.code(), Some(2), "{name}={value}: {}", said(&refused));
        assert!(!said(&refused).contains("geheim"), "{name}: {}", said(&refused));
        assert!(said(&refused).contains("expected"), "{name}: what was expected: {}", said(&refused));
    }
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("gateway.toml");
    for line in [
        "database = \"mysql://me:geheim@host:port/darkserver\"",
        "[[upstream]]\nname = \"a\"\nurl = \"http://me:geheim@host:port/\"",
        "[[upstream]]\nname = \"a\"\nurl = \"ftp://me:geheim@host/\"",
    ] {
        fs::write(&file, line).unwrap();
        let refused = darkserver(("DARKSERVER_CONFIG", file.to_str().unwrap()), &["--listen", "127.0.0.1:0"]);
        assert_eq!(refused.status.code(), Some(2), "{line}: {}", said(&refused));
        assert!(
            said(&refused).contains("expected") && !said(&refused).contains("geheim"),
            "{line}: {}",
            said(&refused)
        );
    }
}

#[test]
fn malformed_requests_are_answered_with_the_expected_form() {
    let sqlite = Sqlite::with_packages(&[]);
    let gateway = RunningGateway::start(&sqlite.url());
    for (path, expected) in [
        ("/buildid/xyz/debuginfo", "hex digits"),
        ("/buildid/abc/debuginfo", "an even number of hex digits"),
        ("/buildid//debuginfo", "hex digits"),
        ("/buildid/", "hex digits"),
        ("/buildid/aa11", "debuginfo, executable, section/NAME or source/PATH"),
        ("/buildid/aa11/metadata", "debuginfo, executable, section/NAME or source/PATH"),
        ("/buildid/aa11/section", "a section name"),
        ("/buildid/aa11/section/", "a section name"),
        ("/buildid/aa11/source", "an absolute path"),
        ("/buildid/aa11/source/", "an absolute path"),
        ("/buildid/aa11/source/%FF", "UTF-8"),
        ("/archive/aa11/a.rpm", "64 hex digits"),
    ] {
        let answer = gateway.get(path);
        assert_eq!((answer.status, answer.header("content-type")), (400, Some("text/plain; charset=utf-8")), "{path}");
        assert!(answer.text().contains("expected") && answer.text().contains(expected), "{path}: {}", answer.text());
    }
    let absent = gateway.get("/buildid/aa11/debuginfo");
    assert_eq!((absent.status, absent.text().as_str()), (404, "not found\n"));
}

/// A directory in the place of a file, which no user can read; and where the tests do not run as root, a file of mode
/// 0.
#[test]
fn a_default_configuration_file_that_cannot_be_read_ends_every_program_with_status_2() {
    let is_root = rustix::process::geteuid().is_root();
    for (name, arguments, file) in [
        ("darkserver", ["--listen", "127.0.0.1:1"], "gateway.toml"),
        ("darkserver", ["--listen", "127.0.0.1:1"], "darkserverweb.conf"),
        ("darkserver", ["--listen", "127.0.0.1:1"], "darkweb.cfg"),
        ("darkserver-import", ["store", "list"], "indexer.toml"),
        ("darkserver-import", ["store", "list"], "darkserver.conf"),
        ("darkserver-import", ["store", "list"], "darkjobworker.conf"),
        ("darkclient", ["-i", "aabb"], "darkclient.conf"),
    ] {
        for is_directory in [true, false] {
            if !is_directory && is_root {
                continue;
            }
            let etc = tempfile::tempdir().unwrap();
            let path = etc.path().join(file);
            if is_directory {
                fs::create_dir(&path).unwrap();
            } else {
                fs::write(&path, "").unwrap();
                fs::set_permissions(&path, fs::Permissions::from_mode(0o000)).unwrap();
            }
            let mut command = Command::new(program(name));
            command.env_clear().env("DARKSERVER_ETC", etc.path()).current_dir(etc.path()).args(arguments);
            let output = run(&mut command, "the workspace");
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(output.status.code(), Some(2), "{name}, {file}: {said}");
            let causes = if is_directory {
                ["Is a directory", "found a directory"]
            } else {
                ["Permission denied", "permission denied"]
            };
            let stated: usize = causes.iter().map(|cause| said.matches(cause).count()).sum();
            assert!(said.contains(file) && stated == 1, "{name}: {said}");
        }
    }
}
