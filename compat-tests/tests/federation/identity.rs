//! What a gateway tells upstreams of itself and of its clients, how loops end, and what never leaves it.

use std::io::Write;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use compat_tests::darkserver::{RunningGateway, Sqlite, failed_start};
use compat_tests::debuginfod::Debuginfod;
use compat_tests::fake_server::{self, FakeServer, Request};
use compat_tests::fixtures;
use compat_tests::http::{self, Response};
use compat_tests::process::free_port;
use compat_tests::wait_until;

const UNKNOWN: &str = "00000000000000000000000000000000000000cc";
const CONTACT: &str = "mailto:debuginfo@example.org";

/// A gateway that knows nothing itself, with these lines of `[federation]` and these of the only upstream.
fn gateway(federation: &str, url: &str, upstream: &str) -> (RunningGateway, Sqlite) {
    let index = Sqlite::with_packages(&[]);
    let gateway = RunningGateway::start_with(&index.url(), &configuration(federation, url, upstream), &[]);
    (gateway, index)
}

fn configuration(federation: &str, url: &str, upstream: &str) -> String {
    format!("[federation]\n{federation}\n[[upstream]]\nname = \"up\"\nurl = \"{url}\"\n{upstream}\n")
}

fn path_of(build_id: &str) -> String {
    format!("/buildid/{build_id}/debuginfo")
}

fn ask(gateway: &RunningGateway, build_id: &str, headers: &[(&str, &str)]) -> Response {
    http::request(gateway.port, "GET", &path_of(build_id), headers).unwrap()
}

/// The last request of a client that a server got.
fn last(server: &FakeServer) -> Request {
    server.requests().pop().unwrap()
}

/// A build-id that no other call asked for.
fn build_id(number: usize) -> String {
    format!("{number:040x}")
}

#[test]
fn requests_and_probes_name_the_gateway_and_not_its_clients() {
    let upstream = FakeServer::start(fake_server::answer_absent);
    let (gateway, _index) = gateway(&format!("contact = \"{CONTACT}\"\ninstance = \"gw-1\""), &upstream.url(), "");
    let version = env!("CARGO_PKG_VERSION");
    for (number, received, sent) in [
        (1, None, "unknown"),
        (2, Some("198.51.100.7"), "unknown, unknown"),
        (3, Some("198.51.100.7, <script>,x"), "unknown, unknown, unknown, unknown"),
        (4, Some("1,2,3,4,5,6,7"), "unknown, unknown, unknown, unknown, unknown, unknown, unknown, unknown"),
    ] {
        let mut headers = vec![("User-Agent", "elfutils/0.193 (a person's system)"), ("Via", "1.0 proxy")];
        headers.extend(received.map(|received| ("X-Forwarded-For", received)));
        assert_eq!(ask(&gateway, &build_id(number), &headers).status, 404);
        let request = last(&upstream);
        assert_eq!(request.header("user-agent"), Some(&*format!("darkserver/{version} (+{CONTACT})")));
        assert_eq!(request.header("x-forwarded-for"), Some(sent));
        assert_eq!(request.header("via"), Some("1.0 proxy, 1.1 gw-1"));
        assert!(!request.head.contains("198.51.100") && !request.head.contains("elfutils"), "{}", request.head);
    }
    wait_until("a probe", || upstream.all_requests().iter().any(Request::is_probe));
    for probe in upstream.all_requests().iter().filter(|request| request.is_probe()) {
        assert_eq!(probe.header("user-agent"), Some(&*format!("darkserver/{version} (probe; +{CONTACT})")));
    }
    // One that has too much for a client knows it before it sends a byte.
    ask(&gateway, &build_id(5), &[("X-DEBUGINFOD-MAXSIZE", "4711")]);
    assert_eq!(last(&upstream).header("x-debuginfod-maxsize"), Some("4711"));
}

#[test]
fn metadata_and_stores_are_asked_by_the_same_name() {
    let upstream = FakeServer::start(fake_server::answer_absent);
    let store = FakeServer::start(fake_server::answer_absent);
    let index = Sqlite::empty();
    index.add_store("store", "mirror", &fixtures::family("server"), &store.url());
    let text = configuration(&format!("contact = \"{CONTACT}\""), &upstream.url(), "");
    let gateway = RunningGateway::start_with(&index.url(), &text, &[]);
    let headers = [("User-Agent", "gdb/1"), ("X-Forwarded-For", "198.51.100.7")];
    http::request(gateway.port, "GET", "/metadata?key=glob&value=/usr/bin/none", &headers).unwrap();
    let id = fixtures::build_id("server/server-1.1-6.fc99.x86_64.rpm", "/usr/bin/server");
    let _ = http::request(gateway.port, "GET", &format!("/buildid/{id}/executable"), &headers);
    assert!(upstream.requests().iter().any(|request| request.path.starts_with("/metadata")));
    assert!(store.connections() > 0);
    for request in upstream.requests().iter().chain(&store.requests()) {
        let user_agent = request.header("user-agent").unwrap();
        assert!(user_agent.starts_with("darkserver/") && user_agent.ends_with(&format!("(+{CONTACT})")), "{request:?}");
        assert!(!request.head.contains("198.51.100.7"), "{request:?}");
    }
    assert!(store.requests().iter().all(|request| request.header("x-forwarded-for").is_none()));
}

#[test]
fn addresses_and_the_user_agent_travel_where_that_is_configured() {
    let upstream = FakeServer::start(fake_server::answer_absent);
    let (gateway, _index) = gateway("forward_client = true", &upstream.url(), "");
    let headers = [("User-Agent", "gdb/1"), ("X-Forwarded-For", "198.51.100.7, <script>, ::1")];
    assert_eq!(ask(&gateway, UNKNOWN, &headers).status, 404);
    let request = last(&upstream);
    assert_eq!(request.header("user-agent"), Some("gdb/1"));
    assert_eq!(request.header("x-forwarded-for"), Some("198.51.100.7, unknown, ::1, 127.0.0.1"));
}

/// A port on which a gateway with this upstream's port runs.
fn gateway_on(port: u16, index: &Sqlite, federation: &str, upstream: u16) -> RunningGateway {
    let text = configuration(federation, &format!("http://127.0.0.1:{upstream}"), "");
    RunningGateway::start_on(port, &[("DARKSERVER_DATABASE", &index.url())], &text, &[])
}

#[test]
fn a_loop_of_three_gateways_ends_where_it_began() {
    let (ports, index) = ([free_port(), free_port(), free_port()], Sqlite::with_packages(&[]));
    // The hop limit would let it go round many times.
    let start = |at: usize| gateway_on(ports[at], &index, "max_hops = 30", ports[(at + 1) % 3]);
    let gateways = [start(0), start(1), start(2)];
    let started = Instant::now();
    let answer = gateways[0].get(&path_of(UNKNOWN));
    assert_eq!(answer.status, 404, "{}", answer.text());
    assert!(started.elapsed() < Duration::from_millis(3500), "{:?}", started.elapsed());
    // Each asked its upstream once, and the first was asked a second time.
    let ends = |gateway: &RunningGateway| {
        let log = gateway.log();
        log.lines().filter(|line| line.contains(UNKNOWN) && line.contains("upstreams are not asked")).count()
    };
    let logs = gateways.each_ref().map(RunningGateway::log).concat();
    assert_eq!(gateways.each_ref().map(ends), [1, 0, 0], "{logs}");
}

#[test]
fn a_question_that_comes_back_gets_the_local_answer_alone() {
    const RPM: &str = "server/server-1.1-6.fc99.x86_64.rpm";
    let upstream = FakeServer::start(fake_server::serve_elf);
    let index = Sqlite::with_packages(&[&fixtures::family("server")]);
    let text = configuration("instance = \"gw-1\"", &upstream.url(), "");
    let gateway = RunningGateway::start_with(&index.url(), &text, &[]);
    let path = format!("/buildid/{}/executable", fixtures::build_id(RPM, "/usr/bin/server"));
    let many = ["192.0.2.1"; 8].join(", ");
    for headers in [("Via", "1.1 other, 1.1 gw-1, 1.1 third"), ("X-Forwarded-For", &*many)] {
        let found = http::request(gateway.port, "GET", &path, &[headers]).unwrap();
        assert!(found.body == fixtures::member(&fixtures::rpm(RPM), "/usr/bin/server"), "other bytes");
        // Another one may have it: nobody may remember this.
        let absent = ask(&gateway, UNKNOWN, &[headers]);
        assert_eq!((absent.status, absent.header("cache-control")), (404, Some("no-store")), "{headers:?}");
    }
    assert_eq!(upstream.connections(), 0);
    // Names that only resemble its own are others.
    assert_eq!(ask(&gateway, UNKNOWN, &[("Via", "1.1 gw-10, gw-1 x")]).status, 302);
}

#[test]
fn a_loop_through_a_server_without_via_ends_by_the_hops() {
    let (port, index) = (free_port(), Sqlite::with_packages(&[]));
    // It sends on X-Forwarded-For, with an element for its client, and no Via.
    let between = Debuginfod::start_federated(&format!("http://127.0.0.1:{port}"), &fixtures::family("old-classes"));
    let gateway = gateway_on(port, &index, "", between.port);
    let started = Instant::now();
    // Found or not is not the matter: it ends, and the question went round a few times only.
    let _ = http::get(gateway.port, &path_of(UNKNOWN));
    assert!(started.elapsed() < Duration::from_secs(15), "{:?}", started.elapsed());
    wait_until("the end of the loop", || {
        let asked = || between.log().matches(&format!("GET /buildid/{UNKNOWN}")).count();
        let before = asked();
        std::thread::sleep(Duration::from_millis(500));
        before > 0 && asked() == before
    });
    let asked = between.log().matches(&format!("GET /buildid/{UNKNOWN}")).count();
    assert!((1..=8).contains(&asked), "{asked}: {}", between.log());
}

/// A server that redirects every question to `target`.
fn redirecting(target: String) -> FakeServer {
    FakeServer::start(move |head, stream| redirect(head, stream, &target))
}

fn redirect(head: &str, stream: &mut TcpStream, target: &str) {
    let path = head.split(' ').nth(1).unwrap_or_default();
    let _ = write!(
        stream,
        "HTTP/1.1 302 Found\r\nLocation: {target}{path}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    );
}

#[test]
fn secrets_reach_the_upstream_and_nobody_else() {
    let target = FakeServer::start(fake_server::serve_elf);
    let upstream = redirecting(format!("http://localhost:{}", target.port));
    let url = upstream.url().replace("//", "//me:geheim@");
    let secrets = "redirect_hosts = [\"localhost\"]\nheaders = { \"X-Token\" = \"t0ken\" }";
    let (gateway, _index) = gateway("", &url, secrets);
    let answer = ask(&gateway, UNKNOWN, &[]);
    assert_eq!(answer.status, 302, "{}", answer.text());
    assert_eq!(answer.header("location"), Some(&*format!("{}{}", upstream.url(), path_of(UNKNOWN))));
    // me:geheim
    let (asked, followed) = (last(&upstream), last(&target));
    assert_eq!(asked.header("authorization"), Some("Basic bWU6Z2VoZWlt"));
    assert_eq!(asked.header("x-token"), Some("t0ken"));
    let told =
        format!("{answer:?} {} {} {}", gateway.log(), gateway.get("/metrics").text(), gateway.get("/readyz").text());
    for text in [&followed.head, &told] {
        for secret in ["t0ken", "geheim", "bWU6Z2VoZWlt"] {
            assert!(!text.to_ascii_lowercase().contains(&secret.to_ascii_lowercase()), "{text}");
        }
    }
    // What is no secret travels: the target may be a server that counts hops.
    assert_eq!(followed.header("x-forwarded-for"), Some("unknown"));
    assert!(followed.header("user-agent").unwrap().starts_with("darkserver/"));
    for probe in upstream.all_requests().iter().filter(|request| request.is_probe()) {
        assert_eq!(probe.header("x-token"), Some("t0ken"));
    }
    let probes = target.all_requests();
    assert!(probes.iter().all(|request| request.header("x-token").is_none()), "{probes:?}");
}

#[test]
fn private_targets_are_followed_by_name_and_not_by_the_star() {
    for (own, private) in [("127.0.0.1", "localhost"), ("localhost", "127.0.0.1"), ("127.0.0.1", "0x7f.0.0.2")] {
        let target = FakeServer::start(fake_server::serve_elf);
        let upstream = redirecting(format!("http://{private}:{}", target.port));
        let url = upstream.url().replace("127.0.0.1", own);
        let (refusing, _index) = gateway("", &url, "redirect_hosts = [\"*\"]");
        refusing.expect_reset(&path_of(UNKNOWN));
        assert_eq!(target.connections(), 0, "{private}");
        let log = refusing.log();
        assert!(log.contains("expected a public address of ") && log.contains("or set allow_private"), "{log}");
        if private.starts_with("0x") {
            continue;
        }
        for allowing in [
            format!("redirect_hosts = [\"{private}\"]"),
            format!("redirect_hosts = [\"*\", \"{private}\"]"),
            "redirect_hosts = [\"*\"]\nallow_private = true".to_owned(),
        ] {
            let (gateway, _index) = gateway("", &url, &allowing);
            assert_eq!(ask(&gateway, UNKNOWN, &[]).status, 302, "{own} {allowing}");
        }
        assert_eq!(target.connections(), 3);
    }
}

#[test]
fn more_than_three_redirects_are_none() {
    for (redirects, status) in [(3, Some(302)), (4, None)] {
        let upstream = FakeServer::start(move |head, stream| {
            let path = head.split(' ').nth(1).unwrap_or_default();
            match path.len() - path.trim_end_matches('~').len() {
                followed if followed < redirects => redirect(&head.replace(path, &format!("{path}~")), stream, ""),
                _ => fake_server::serve_elf(head, stream),
            }
        });
        let (gateway, _index) = gateway("", &upstream.url(), "");
        match status {
            Some(status) => assert_eq!(ask(&gateway, UNKNOWN, &[]).status, status),
            None => {
                gateway.expect_reset(&path_of(UNKNOWN));
                assert!(gateway.log().contains("redirects more than 3 times"), "{}", gateway.log());
            }
        }
        let asked = upstream.requests_for(UNKNOWN);
        assert_eq!(asked, 4, "{redirects}");
    }
}

#[test]
fn a_certificate_that_cannot_be_used_is_an_error_with_its_file() {
    let directory = tempfile::tempdir().unwrap();
    let (file, index) = (directory.path().join("g.toml"), Sqlite::with_packages(&[]));
    let tls = "tls = { ca = \"/nonexistent/ca.pem\" }";
    std::fs::write(&file, configuration("", "https://u.example/", tls)).unwrap();
    let cache = directory.path().join("cache");
    let arguments = ["--config", file.to_str().unwrap(), "--cache-dir", cache.to_str().unwrap()];
    let output = failed_start(&[("DARKSERVER_DATABASE", &index.url())], &arguments);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("tls.ca /nonexistent/ca.pem"), "{said}");
}
