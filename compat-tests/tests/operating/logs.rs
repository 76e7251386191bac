//! The log: what the documents promise, the client of each request, the reason of each failure, each once.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use compat_tests::darkserver::{RunningGateway, Sqlite, failed_start, import_ok};
use compat_tests::fake_server::{self, FakeServer};
use compat_tests::http;
use compat_tests::process::free_port;
use compat_tests::wait_until;
use rustix::process::Signal;

use super::{absent_path, lines};

/// The filters in backticks in the paragraph of `RUST_LOG` of docs/configuration.md: the default first.
fn documented_filters() -> Vec<String> {
    let document = include_str!("../../../docs/configuration.md");
    let paragraph = document.split("\n\n").find(|paragraph| paragraph.starts_with("**`RUST_LOG`**")).unwrap();
    let words = paragraph.split('`').skip(1).step_by(2).filter(|word| word.contains("info"));
    words.map(str::to_owned).collect()
}

#[test]
fn documented_log_filters_print_what_the_document_states() {
    let sqlite = Sqlite::with_packages(&[]);
    let filters = documented_filters();
    assert_eq!(filters.len(), 3, "the default, one with less and one with more: {filters:?}");
    let said = |filter: &str| {
        let gateway =
            RunningGateway::start_in(&[("DARKSERVER_DATABASE", &sqlite.url()), ("RUST_LOG", filter)], "", &[]);
        gateway.get("/buildids/aa11");
        // Behind the request's line, if there is one.
        gateway.get("/metrics");
        let log = gateway.log();
        assert!(log.contains(" INFO ") && log.contains("listening"), "{filter}: {log}");
        (log.contains(" access: "), log.contains("DEBUG gateway"))
    };
    for (filter, expected) in filters.iter().zip([(true, false), (false, false), (true, true)]) {
        assert_eq!(said(filter), expected, "{filter}: lines of requests, and more of the gateway");
    }
    // One that cannot be read is named, and the default used, as with an empty one.
    for filter in ["info,access=wran", ""] {
        assert_eq!(said(filter), (true, false), "{filter:?}");
        let gateway =
            RunningGateway::start_in(&[("DARKSERVER_DATABASE", &sqlite.url()), ("RUST_LOG", filter)], "", &[]);
        assert_eq!(
            gateway.log().contains(&format!("RUST_LOG: expected directives like `info,access=warn`, found `{filter}`")),
            !filter.is_empty()
        );
    }
}

#[test]
fn the_client_behind_a_trusted_proxy_is_named_beside_it() {
    let sqlite = Sqlite::with_packages(&[]);
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("gateway.sock");
    let listen = format!("--listen=unix:{}", socket.display());
    let trusting = RunningGateway::start_with(&sqlite.url(), "trusted_proxies = [\"127.0.0.0/8\"]\n", &[&listen]);
    let other = RunningGateway::start(&sqlite.url());
    let forwarded = [("X-Forwarded-For", "192.0.2.1, 2001:db8::1:2:3:4")];
    for gateway in [&trusting, &other] {
        http::request(gateway.port, "GET", "/buildids/aa11", &forwarded).unwrap();
        http::request(gateway.port, "GET", "/buildids/bb22", &[]).unwrap();
    }
    let through_socket = |path: &str, header: &str| {
        let mut stream = UnixStream::connect(&socket).unwrap();
        stream
            .write_all(format!("GET {path} HTTP/1.1\r\nHost: x\r\n{header}Connection: close\r\n\r\n").as_bytes())
            .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    };
    through_socket("/buildids/cc33", "X-Forwarded-For: 198.51.100.7\r\n");
    through_socket("/buildids/dd44", "");
    for (gateway, path, client, peer) in [
        (&trusting, "aa11", "2001:db8::1:2:3:4", "127.0.0.1"),
        (&trusting, "bb22", "127.0.0.1", "127.0.0.1"),
        (&trusting, "cc33", "198.51.100.7", "unix"),
        (&trusting, "dd44", "unix", "unix"),
        (&other, "aa11", "127.0.0.1", "127.0.0.1"),
    ] {
        let fields = format!("client=\"{client}\" peer=\"{peer}\"");
        let path = format!("path=\"/buildids/{path}\"");
        wait_until(&fields, || lines(gateway, &[&path]) == 1);
        assert_eq!(lines(gateway, &[&path, &fields]), 1, "{fields}: {}", gateway.log());
    }
}

#[test]
fn a_signal_and_the_end_are_logged() {
    let sqlite = Sqlite::with_packages(&[]);
    for (signal, name) in [(Signal::TERM, "SIGTERM"), (Signal::INT, "SIGINT")] {
        let mut gateway = RunningGateway::start(&sqlite.url());
        gateway.process().signal(signal);
        assert_eq!(gateway.process().wait().code(), Some(0), "{}", gateway.log());
        let name = format!("signal=\"{name}\"");
        assert_eq!(lines(&gateway, &["INFO", "stopping", &name, "30 s"]), 1, "{}", gateway.log());
        assert_eq!(lines(&gateway, &["gateway::server::serve: stopped"]), 1, "{}", gateway.log());
    }
}

/// A gateway with a request in flight, which its upstream keeps waiting for a minute.
fn with_a_request_in_flight(sqlite: &Sqlite, hanging: &FakeServer) -> (RunningGateway, TcpStream) {
    let slow = "[request]\nbudget = \"60s\"\n";
    let gateway = RunningGateway::start_with(&sqlite.url(), slow, &["--upstream", &hanging.url()]);
    let mut stream = TcpStream::connect(("127.0.0.1", gateway.port)).unwrap();
    stream.write_all(format!("GET {} HTTP/1.1\r\nHost: x\r\n\r\n", absent_path(1)).as_bytes()).unwrap();
    wait_until("a question to the upstream", || hanging.connections() == 1);
    (gateway, stream)
}

#[test]
fn a_second_signal_cuts_off_requests_unless_it_comes_with_the_first() {
    let (sqlite, hanging) = (Sqlite::with_packages(&[]), FakeServer::start(fake_server::hang));
    let (mut gateway, _stream) = with_a_request_in_flight(&sqlite, &hanging);
    // Two different ones: of one that is pending already the system keeps a single one.
    gateway.process().signal(Signal::TERM);
    gateway.process().signal(Signal::INT);
    wait_until("the signal", || lines(&gateway, &["stopping", "requests=1"]) == 1);
    std::thread::sleep(Duration::from_millis(1500));
    assert_eq!(lines(&gateway, &["stopped"]), 0, "{}", gateway.log());
    let began = Instant::now();
    gateway.process().signal(Signal::TERM);
    gateway.process().wait();
    assert!(began.elapsed().as_secs() < 10, "{:?}", began.elapsed());
    assert_eq!(lines(&gateway, &["WARN", "another signal"]), 1, "{}", gateway.log());
    assert_eq!(lines(&gateway, &["WARN", "stopped", "cut off", "requests=1"]), 1, "{}", gateway.log());
}

#[test]
fn lines_of_libraries_about_an_unavailable_database_are_logged_only_on_request() {
    let sqlite = Sqlite::with_packages(&[]);
    fs::write(sqlite.path().with_extension("db-wal"), "not merged").unwrap();
    let url = format!("{}?immutable=1", sqlite.url());
    for (filter, is_asked_for) in [("", false), ("info,access=warn", false), ("info,sqlx=warn", true)] {
        let gateway = RunningGateway::start_in(&[("DARKSERVER_DATABASE", &url), ("RUST_LOG", filter)], "", &[]);
        wait_until("the cause", || lines(&gateway, &["WARN gateway", "that are not merged into it"]) > 0);
        for number in 0..5 {
            let _ = http::get(gateway.port, &absent_path(number));
        }
        std::thread::sleep(Duration::from_secs(3));
        assert_eq!(lines(&gateway, &["WARN gateway", "that are not merged into it"]), 1, "{filter}: {}", gateway.log());
        assert_eq!(lines(&gateway, &["after_connect"]) > 0, is_asked_for, "{filter}: {}", gateway.log());
        assert_eq!(lines(&gateway, &["actix_server"]), 0, "{filter}: {}", gateway.log());
    }
}

#[test]
fn a_failed_start_prints_only_its_reason() {
    let sqlite = Sqlite::with_packages(&[]);
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("cache");
    fs::write(&file, "no directory").unwrap();
    // What goes on in the background meanwhile differs from one time to the other.
    for _ in 0..5 {
        let url = sqlite.url();
        let output = failed_start(&[("DARKSERVER_DATABASE", &url)], &["--cache-dir", file.to_str().unwrap()]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
        assert!(said.lines().last().unwrap().contains(file.to_str().unwrap()), "{said}");
        assert!(!said.contains("cancelled") && !said.contains("WARN"), "{said}");
    }
}

#[test]
fn a_missing_index_file_is_named_once_with_the_command_that_makes_it() {
    let sqlite = Sqlite::empty();
    let gateway = RunningGateway::start(&sqlite.url());
    wait_until("the probe", || lines(&gateway, &["no such file"]) > 0);
    assert_eq!(gateway.get("/buildids/aa11").status, 503);
    std::thread::sleep(Duration::from_secs(5));
    let command = format!("{0}: no such file: run `darkserver-import --database {0} dir PATH`", sqlite.url());
    assert_eq!(lines(&gateway, &["WARN"]), 1, "{}", gateway.log());
    assert_eq!(lines(&gateway, &["WARN", &command]), 1, "{}", gateway.log());
    import_ok(&sqlite.url(), &["migrate"]);
    wait_until("the index", || gateway.get("/buildids/aa11").status == 200);
    assert_eq!(lines(&gateway, &["INFO", "the index is available again"]), 1);
}

#[test]
fn an_upstream_is_logged_once_as_unavailable_and_once_as_available_again() {
    let sqlite = Sqlite::with_packages(&[]);
    let is_away = Arc::new(AtomicBool::new(true));
    let away = is_away.clone();
    let upstream = FakeServer::start(move |head, stream| {
        if !away.load(Ordering::SeqCst) {
            fake_server::answer_absent(head, stream);
        }
    });
    let gateway = RunningGateway::start_with(&sqlite.url(), "", &["--upstream", &upstream.url()]);
    let name = format!("127.0.0.1:{}", upstream.port);
    let unavailable = || lines(&gateway, &["WARN", "an upstream is unavailable", &name]);
    let available = || lines(&gateway, &["INFO", "an upstream is available again", &name]);
    for round in 1..=2 {
        is_away.store(true, Ordering::SeqCst);
        let mut asked = 1000;
        wait_until("a warning", || {
            // In the first round probes tell, in the second three requests that fail do.
            if round == 2 && asked < 1003 {
                let _ = http::get(gateway.port, &absent_path(asked));
                asked += 1;
            }
            unavailable() == round
        });
        let warnings = lines(&gateway, &["WARN"]);
        for number in 0..10 {
            let answer = http::get(gateway.port, &absent_path(number + 100 * round as u32));
            assert!(answer.is_err(), "{answer:?}");
        }
        assert_eq!(lines(&gateway, &["WARN"]), warnings, "one line for each request: {}", gateway.log());
        assert!(
            lines(&gateway, &["DEBUG", "an answer is unavailable", &name]) >= 10,
            "the reasons at debug: {}",
            gateway.log()
        );
        is_away.store(false, Ordering::SeqCst);
        wait_until("that it is back", || available() == round);
        assert_eq!(http::get(gateway.port, &absent_path(77 + round as u32)).unwrap().status, 404);
    }
    assert_eq!((unavailable(), available()), (2, 2), "{}", gateway.log());
    let nobody =
        RunningGateway::start_with(&sqlite.url(), "", &["--upstream", &format!("http://127.0.0.1:{}", free_port())]);
    wait_until("a warning", || lines(&nobody, &["WARN", "an upstream is unavailable", "refused"]) == 1);
}
