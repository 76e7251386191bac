//! Upstreams: who is asked, what is believed, and where clients are sent.

use std::io::Write;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use compat_tests::darkserver::{RunningGateway, Sqlite};
use compat_tests::debuginfod::{Debuginfod, DebuginfodClient};
use compat_tests::fake_server::{self, FakeServer};
use compat_tests::fixtures;
use compat_tests::http::{self, Response};
use compat_tests::process::free_port;
use compat_tests::wait_within;
use serde_json::Value;

const SERVER: &str = "server/server-1.1-6.fc99.x86_64.rpm";
const DEBUGINFO: &str = "server/server-debuginfo-1.1-6.fc99.x86_64.rpm";
const DEBUG_FILE: &str = "/usr/lib/debug/usr/bin/server-1.1-6.fc99.x86_64.debug";
const UNKNOWN: &str = "00000000000000000000000000000000000000bb";

/// The budget of a decision is 4 s; the rest is for a busy machine.
const BUDGET: Duration = Duration::from_secs(7);

fn server() -> String {
    fixtures::build_id(SERVER, "/usr/bin/server")
}

/// A gateway that knows nothing itself.
fn ignorant(configuration: &str, upstreams: &[String]) -> (RunningGateway, Sqlite) {
    let sqlite = Sqlite::with_packages(&[]);
    let gateway = with_upstreams(&sqlite, configuration, upstreams);
    (gateway, sqlite)
}

fn with_upstreams(sqlite: &Sqlite, configuration: &str, upstreams: &[String]) -> RunningGateway {
    let arguments: Vec<&str> = upstreams.iter().flat_map(|upstream| ["--upstream", upstream]).collect();
    RunningGateway::start_with(&sqlite.url(), configuration, &arguments)
}

fn assert_redirects(answer: &Response, to: &str) {
    assert_eq!((answer.status, answer.header("location")), (302, Some(to)), "{}", answer.text());
    let lifetime = answer.header("cache-control").unwrap_or_default();
    assert!(lifetime.split(", ").any(|word| word == "max-age=60"), "{lifetime}");
}

#[test]
fn a_client_gets_through_two_gateways_what_the_distributions_debuginfod_has() {
    let debuginfod = Debuginfod::start(&fixtures::family("server"));
    let (inner, _index) = ignorant("", &[debuginfod.url()]);
    let (outer, _index) = ignorant("", &[inner.url()]);
    let id = server();
    let executable = fixtures::member(&fixtures::rpm(SERVER), "/usr/bin/server");
    let debuginfo = fixtures::member(&fixtures::rpm(DEBUGINFO), DEBUG_FILE);
    let sources = fixtures::rpm("server/server-debugsource-1.1-6.fc99.x86_64.rpm");
    let source = "/usr/src/debug/server-1.1-6.fc99.x86_64/main.c";
    for gateway in [&inner, &outer] {
        let client = DebuginfodClient::new(&gateway.url());
        assert_eq!(client.found(&["executable", &id]), executable);
        assert_eq!(client.found(&["debuginfo", &id]), debuginfo);
        assert_eq!(client.found(&["source", &id, source]), fixtures::member(&sources, source));
        assert!(!client.found(&["section", &id, ".debug_info"]).is_empty());
        assert!(!client.find(&["debuginfo", UNKNOWN]).status.success());
    }

    // The headers of the one that has it, on the redirect itself: clients take the first that they see.
    for (kind, file, rpm) in [("executable", "/usr/bin/server", SERVER), ("debuginfo", DEBUG_FILE, DEBUGINFO)] {
        let path = format!("/buildid/{id}/{kind}");
        let theirs = http::get(debuginfod.port, &path).unwrap();
        let ours = inner.get(&path);
        assert_redirects(&ours, &format!("{}{path}", debuginfod.url()));
        assert_redirects(&outer.get(&path), &format!("{}{path}", inner.url()));
        for answer in [&ours, &outer.get(&path)] {
            assert_eq!(answer.header("x-debuginfod-size"), Some(theirs.body.len().to_string().as_str()), "{kind}");
            assert_eq!(answer.header("x-debuginfod-file"), theirs.header("x-debuginfod-file"), "{kind}");
            assert_eq!(answer.header("x-debuginfod-archive"), theirs.header("x-debuginfod-archive"), "{kind}");
        }
        assert!(ours.header("x-debuginfod-file").is_some_and(|found| file.ends_with(found)), "{ours:?}");
        // Before elfutils 0.189 with the path.
        assert!(
            ours.header("x-debuginfod-archive")
                .is_some_and(|found| found.ends_with(&rpm[rpm.find('/').unwrap() + 1..])),
            "{ours:?}"
        );
    }
    let head = http::request(inner.port, "HEAD", &format!("/buildid/{id}/debuginfo"), &[]).unwrap();
    assert_redirects(&head, &format!("{}/buildid/{id}/debuginfo", debuginfod.url()));
}

#[test]
fn a_question_passes_seven_servers_and_no_eighth_is_asked() {
    let debuginfod = Debuginfod::start(&fixtures::family("server"));
    let (gateway, _index) = ignorant("[federation]\nforward_client = true\n", &[debuginfod.url()]);
    let path = format!("/buildid/{}/executable", server());
    let ask = |forwarded: &str| {
        let headers = [("X-Forwarded-For", forwarded), ("User-Agent", "hopcounter/7")];
        http::request(gateway.port, "GET", &path, &headers).unwrap()
    };
    let eight: Vec<String> = (1..=8).map(|number| format!("192.0.2.{number}")).collect();
    let asked = || debuginfod.log().matches("hopcounter/7").count();
    assert_eq!(ask(&eight.join(", ")).status, 404);
    let seven = eight[..7].join(", ");
    assert_redirects(&ask(&seven), &format!("{}{path}", debuginfod.url()));
    // It logs a request when it has forgotten about it.
    wait_within(Duration::from_secs(10), "a line of debuginfod's log", || asked() > 0);
    assert_eq!(asked(), 1, "{}", debuginfod.log());
    let log = debuginfod.log();
    let line = log.lines().find(|line| line.contains("hopcounter/7")).unwrap();
    // Its log leaves out blanks.
    assert!(line.contains(&format!("XFF:{},127.0.0.1 GET", seven.replace(' ', ""))), "{line}");
    // Several header lines are one list.
    let lines =
        [("X-Forwarded-For", "192.0.2.1, 192.0.2.2,192.0.2.3,192.0.2.4"), ("X-Forwarded-For", "::1, ::1, ::1, ::1")];
    assert_eq!(http::request(gateway.port, "GET", &path, &lines).unwrap().status, 404);

    let (strict, _index) = ignorant("[federation]\nmax_hops = 1\n", &[debuginfod.url()]);
    assert_eq!(strict.get(&path).status, 302);
    assert_eq!(http::request(strict.port, "GET", &path, &[("X-Forwarded-For", "192.0.2.1")]).unwrap().status, 404);
}

#[test]
fn an_upstream_learns_how_many_servers_a_question_passed_and_not_who_asked() {
    let upstream = FakeServer::start(fake_server::answer_absent);
    let (gateway, _index) = ignorant("[federation]\ncontact = \"mailto:admin@example.org\"\n", &[upstream.url()]);
    let path = format!("/buildid/{UNKNOWN}/debuginfo");
    let headers =
        [("X-Forwarded-For", "192.0.2.1, 192.0.2.2"), ("User-Agent", "elfutils/0.192,Linux/x86_64,fedora/43")];
    assert_eq!(http::request(gateway.port, "GET", &path, &headers).unwrap().status, 404);
    let requests = upstream.requests();
    let request = requests.iter().find(|request| request.path == path).unwrap();
    assert_eq!(request.header("x-forwarded-for"), Some("unknown, unknown, unknown"), "{}", request.head);
    let agent = request.header("user-agent").unwrap();
    let expected = format!("darkserver/{} (+mailto:admin@example.org)", env!("CARGO_PKG_VERSION"));
    assert_eq!(agent, expected);
    assert!(!request.head.contains("192.0.2.") && !request.head.contains("fedora"), "{}", request.head);
}

#[test]
fn two_gateways_that_ask_each_other_come_to_an_end() {
    let ports = [free_port(), free_port()];
    let index = Sqlite::with_packages(&[]);
    let url = index.url();
    let start = |own: u16, other: u16| {
        let upstream = format!("http://127.0.0.1:{other}");
        RunningGateway::start_on(own, &[("DARKSERVER_DATABASE", &url)], "", &["--upstream", &upstream])
    };
    let gateways = [start(ports[0], ports[1]), start(ports[1], ports[0])];
    let started = Instant::now();
    assert_eq!(gateways[0].get(&format!("/buildid/{UNKNOWN}/debuginfo")).status, 404);
    assert!(started.elapsed() < Duration::from_millis(3500), "{:?}", started.elapsed());
    for (gateway, other) in [(&gateways[0], ports[1]), (&gateways[1], ports[0])] {
        let label = format!("gateway_upstream_requests_total{{outcome=\"absent\",upstream=\"127.0.0.1:{other}\"}}");
        assert!((1.0..=4.0).contains(&gateway.metric(&label)), "{}", gateway.get("/metrics").text());
    }
}

#[test]
fn one_upstream_that_has_it_outweighs_all_that_do_not() {
    let [failing, lying, ignorant_one, astray] =
        [fake_server::fail, fake_server::serve_html, fake_server::answer_absent, fake_server::redirect_elsewhere]
            .map(|behaviour: fake_server::Behaviour| FakeServer::start(behaviour));
    let hanging = FakeServer::start(fake_server::hang);
    let having = FakeServer::start(fake_server::serve_elf);
    let nobody = format!("http://127.0.0.1:{}", free_port());
    let all = [hanging.url(), failing.url(), lying.url(), ignorant_one.url(), astray.url(), nobody, having.url()];
    let (gateway, _index) = ignorant("", &all);
    let path = format!("/buildid/{UNKNOWN}/debuginfo");
    let started = Instant::now();
    assert_redirects(&gateway.get(&path), &format!("{}{path}", having.url()));
    assert!(started.elapsed() < Duration::from_millis(3500), "the hanging one was waited for: {:?}", started.elapsed());

    let (gateway, _index) = ignorant("", &all[..6]);
    let started = Instant::now();
    gateway.expect_reset(&path);
    assert!(started.elapsed() < BUDGET, "{:?}", started.elapsed());
    for (upstream, cause) in [
        (&hanging, "expected an answer within the budget"),
        (&failing, "found 500"),
        (&lying, "expected the bytes of an ELF file"),
        (&astray, "redirects to a host that redirect_hosts does not allow"),
    ] {
        let cause = format!("upstream 127.0.0.1:{}: {cause}", upstream.port);
        let log = gateway.log();
        // Statuses have their text behind.
        let begins = log
            .split("upstream ")
            .any(|part| format!("upstream {part}").contains(cause.split("found").next().unwrap()));
        assert!(begins, "{cause} in {log}");
    }
    for upstream in [&failing, &lying, &ignorant_one, &astray] {
        assert_eq!(upstream.connections(), 2, "each once for each gateway");
    }
}

#[test]
fn what_all_upstreams_deny_is_absent_and_any_one_fault_leaves_it_open() {
    let no = [FakeServer::start(fake_server::answer_absent), FakeServer::start(fake_server::answer_absent)];
    let path = format!("/buildid/{UNKNOWN}/debuginfo");
    let (gateway, _index) = ignorant("", &[no[0].url(), no[1].url()]);
    assert_eq!(gateway.get(&path).status, 404);
    for behaviour in [
        fake_server::fail as fake_server::Behaviour,
        fake_server::serve_html,
        fake_server::redirect_elsewhere,
        closes,
        resets,
        sends_nothing_in_200,
    ] {
        let faulty = FakeServer::start(behaviour);
        let (gateway, _index) = ignorant("", &[no[0].url(), faulty.url()]);
        gateway.expect_reset(&path);
    }
}

/// Ends the connection in good order, without a word.
fn closes(_: &str, _: &mut TcpStream) {}

/// Ends the connection with a reset.
fn resets(_: &str, stream: &mut TcpStream) {
    let _ = rustix::net::sockopt::set_socket_linger(stream, Some(Duration::ZERO));
}

fn sends_nothing_in_200(_: &str, stream: &mut TcpStream) {
    let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
}

/// A source file need not be ELF.
fn has_a_source(_: &str, stream: &mut TcpStream) {
    let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 12\r\nConnection: close\r\n\r\nint main(){}");
}

#[test]
fn sources_and_sections_of_upstreams_need_not_be_elf_files() {
    let upstream = FakeServer::start(has_a_source);
    let (gateway, _index) = ignorant("", &[format!("{}/some/path/", upstream.url())]);
    let path = format!("/buildid/{UNKNOWN}/section/.debug_str");
    let answer = gateway.get(&path);
    assert_redirects(&answer, &format!("{}/some/path{path}", upstream.url()));
    assert_eq!(answer.header("x-debuginfod-size"), Some("12"));
    // A source is relayed: GDB compares its time.
    let path = format!("/buildid/{UNKNOWN}/source/usr/src/a%20b/d%2B%2B.c");
    let answer = gateway.get(&path);
    assert_eq!((answer.status, answer.text().as_str()), (200, "int main(){}"));
    assert_eq!(answer.header("x-debuginfod-size"), Some("12"));
    assert!(upstream.requests().iter().any(|request| request.path == format!("/some/path{path}")));
    gateway.expect_reset(&format!("/buildid/{UNKNOWN}/executable"));
}

#[test]
fn a_redirect_of_an_upstream_is_followed_only_where_the_configuration_allows() {
    static TARGET: std::sync::OnceLock<String> = std::sync::OnceLock::new();
    fn redirects(_: &str, stream: &mut TcpStream) {
        let target = TARGET.get().unwrap();
        let head =
            format!("HTTP/1.1 302 Found\r\nLocation: {target}/x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        let _ = stream.write_all(head.as_bytes());
    }
    let target = FakeServer::start(fake_server::serve_elf);
    TARGET.set(target.url().replace("127.0.0.1", "localhost")).unwrap();
    let upstream = FakeServer::start(redirects);
    let path = format!("/buildid/{UNKNOWN}/debuginfo");
    let (gateway, _index) = ignorant("", &[upstream.url()]);
    gateway.expect_reset(&path);
    assert_eq!(target.connections(), 0, "a place that is not allowed was asked");
    let allowed =
        format!("[[upstream]]\nname = \"allowed\"\nurl = \"{}\"\nredirect_hosts = [\"localhost\"]\n", upstream.url());
    let (gateway, _index) = ignorant(&allowed, &[]);
    // The client goes the same way itself.
    assert_redirects(&gateway.get(&path), &format!("{}{path}", upstream.url()));
    assert_eq!(target.connections(), 1);
}

#[test]
fn what_the_index_has_is_served_unless_redirects_are_preferred() {
    let sqlite = Sqlite::with_packages(&[&fixtures::family("server")]);
    let upstream = FakeServer::start(fake_server::serve_elf);
    let path = format!("/buildid/{}/executable", server());
    let member = fixtures::member(&fixtures::rpm(SERVER), "/usr/bin/server");
    let extracting = with_upstreams(&sqlite, "", &[upstream.url()]);
    assert_eq!(extracting.get(&path).body, member);
    assert_eq!(upstream.connections(), 0);
    let prefer = "[federation]\nprefer = \"redirect\"\n";
    let redirecting = with_upstreams(&sqlite, prefer, &[upstream.url()]);
    assert_redirects(&redirecting.get(&path), &format!("{}{path}", upstream.url()));
    // Whatever is wrong with the upstream, the file is here.
    for behaviour in [
        fake_server::answer_absent as fake_server::Behaviour,
        fake_server::fail,
        fake_server::serve_html,
        fake_server::hang,
    ] {
        let upstream = FakeServer::start(behaviour);
        let gateway = with_upstreams(&sqlite, prefer, &[upstream.url()]);
        let started = Instant::now();
        assert_eq!(gateway.get(&path).body, member);
        assert!(started.elapsed() < BUDGET, "{:?}", started.elapsed());
    }
}

#[test]
fn what_is_larger_than_the_client_wants_is_refused_and_not_remembered() {
    let having = FakeServer::start(fake_server::serve_elf);
    let sqlite = Sqlite::with_packages(&[&fixtures::family("server")]);
    let gateway = with_upstreams(&sqlite, "", &[having.url()]);
    let size = fixtures::member(&fixtures::rpm(SERVER), "/usr/bin/server").len();
    for (id, size) in [(UNKNOWN.to_owned(), 16), (server(), size)] {
        let ask = |most: String| {
            let path = format!("/buildid/{id}/executable");
            http::request(gateway.port, "GET", &path, &[("X-DEBUGINFOD-MAXSIZE", &most)]).unwrap()
        };
        let refused = ask((size - 1).to_string());
        assert_eq!(refused.status, 406, "{}", refused.text());
        assert_eq!((refused.header("location"), refused.header("x-debuginfod-size")), (None, None));
        assert!(refused.text().contains(&size.to_string()), "{}", refused.text());
        assert!([200, 302].contains(&ask(size.to_string()).status), "exactly as much is not too much");
        assert!([200, 302].contains(&ask("nonsense".to_owned()).status));
    }
    let client = DebuginfodClient::new(&gateway.url());
    let output = client.find_in(&[("DEBUGINFOD_MAXSIZE", "10")], &["executable", &server()]);
    assert!(!output.status.success());
    let files = std::fs::read_dir(client.cache().join(server())).map(Iterator::count).unwrap_or(0);
    assert_eq!(files, 0, "too large is no reason to remember anything");
}

/// Answers only who logs in.
fn wants_login(head: &str, stream: &mut TcpStream) {
    // me:geheim
    if head.to_ascii_lowercase().contains("authorization: basic bwu6z2volgltnq==")
        || head.contains("Basic bWU6Z2VoZWlt")
    {
        return fake_server::serve_elf(head, stream);
    }
    let _ = stream.write_all(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
}

#[test]
fn what_the_gateway_logs_in_with_stays_with_the_gateway() {
    let upstream = FakeServer::start(wants_login);
    let down = free_port();
    let with_login = |port: u16| format!("http://me:geheim@127.0.0.1:{port}");
    let (gateway, _index) = ignorant("", &[with_login(upstream.port), with_login(down)]);
    let path = format!("/buildid/{UNKNOWN}/debuginfo");
    let answer = gateway.get(&path);
    assert_redirects(&answer, &format!("{}{path}", upstream.url()));
    let (failing, _index) = ignorant("", &[with_login(down)]);
    failing.expect_reset(&path);
    for gateway in [&gateway, &failing] {
        let ready = gateway.get("/readyz");
        for text in [ready.text(), gateway.get("/metrics").text(), gateway.log(), format!("{answer:?}")] {
            assert!(!text.contains("geheim") && !text.contains("me:"), "{text}");
            assert!(!text.contains("bWU6Z2VoZWlt"), "{text}");
        }
        let ready: Value = serde_json::from_slice(&ready.body).unwrap();
        assert!(ready["upstreams"][format!("127.0.0.1:{down}")].as_str().is_some_and(|state| state != "ok"), "{ready}");
    }
}

#[test]
fn debuginfod_urls_are_the_default_and_flags_win() {
    let [first, second] = [FakeServer::start(fake_server::serve_elf), FakeServer::start(fake_server::serve_elf)];
    let sqlite = Sqlite::with_packages(&[]);
    let urls = format!("{} ima:enforcing", first.url());
    let environment = [("DARKSERVER_DATABASE", sqlite.url()), ("DEBUGINFOD_URLS", urls)];
    let environment = environment.each_ref().map(|(name, value)| (*name, value.as_str()));
    let path = format!("/buildid/{UNKNOWN}/debuginfo");
    let by_default = RunningGateway::start_in(&environment, "", &[]);
    assert_redirects(&by_default.get(&path), &format!("{}{path}", first.url()));
    let by_flag = RunningGateway::start_in(&environment, "", &["--upstream", &second.url()]);
    assert_redirects(&by_flag.get(&path), &format!("{}{path}", second.url()));
    let by_file = format!("[[upstream]]\nname = \"second\"\nurl = \"{}\"\n", second.url());
    let by_file = RunningGateway::start_in(&environment, &by_file, &[]);
    assert_redirects(&by_file.get(&path), &format!("{}{path}", second.url()));
    let none = RunningGateway::start_in(&environment, "upstream = []\n", &[]);
    assert_eq!(none.get(&path).status, 404);
}
