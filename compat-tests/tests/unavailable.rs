//! Unavailable answers: one provider could not be asked, and no other had the file. No client may take that for
//! "absent".

#![expect(clippy::unwrap_used, reason = "a failure here is a failed test, and says where")]

use std::io::ErrorKind;
use std::process::Command;
use std::time::{Duration, Instant};

use compat_tests::darkserver::{RunningGateway, Sqlite, import_ok};
use compat_tests::debuginfod::DebuginfodClient;
use compat_tests::fake_server::{self, Behaviour, FakeServer};
use compat_tests::fixtures;
use compat_tests::http::{self, Response};
use compat_tests::mariadb::MariaDb;
use compat_tests::process::{free_port, run};
use compat_tests::wait_until;
use serde_json::Value;

/// The budget of a decision is 4 s; the rest is for a busy machine.
const BUDGET: Duration = Duration::from_secs(7);
/// What is answered out of memory.
const AT_ONCE: Duration = Duration::from_secs(2);
/// How long a gateway may need to notice that a database is back.
const RECOVERY: Duration = Duration::from_secs(15);

const UNKNOWN: &str = "00000000000000000000000000000000000000aa";

fn server(release: u8) -> String {
    fixtures::build_id(&format!("server/server-1.1-{release}.fc99.x86_64.rpm"), "/usr/bin/server")
}

/// A connection that answers nothing: no HTTP is spoken there.
fn nowhere() -> String {
    format!("http://127.0.0.1:{}", free_port())
}

fn within<T>(limit: Duration, what: &str, act: impl FnOnce() -> T) -> T {
    let started = Instant::now();
    let result = act();
    assert!(started.elapsed() < limit, "{what}: expected within {limit:?}, took {:?}", started.elapsed());
    result
}

/// A reset inside the budget, and for the next tries at once.
fn assert_unavailable(gateway: &RunningGateway, path: &str) {
    within(BUDGET, path, || gateway.expect_reset(path));
    within(AT_ONCE, path, || gateway.expect_reset(path));
    within(AT_ONCE, path, || gateway.expect_reset(path));
}

fn assert_unavailable_json(gateway: &RunningGateway, path: &str) {
    let answer = within(BUDGET, path, || gateway.get(path));
    assert_eq!(answer.status, 503, "{path}: {}", answer.text());
    assert_eq!(answer.header("content-type"), Some("application/json"), "{path}");
    assert_eq!(answer.header("cache-control"), Some("no-store"), "{path}");
    let body: Value = serde_json::from_slice(&answer.body).unwrap();
    assert!(body["error"].is_string(), "{path}: {body}");
}

/// What has to work whatever happened to the database.
fn assert_alive(gateway: &RunningGateway) {
    for path in
        ["/", "/darkserver/", "/serverversion", "/darkserver/serverversion", "/healthz", "/metrics", "/upstreams"]
    {
        assert_eq!(within(AT_ONCE, path, || gateway.get(path)).status, 200, "{path}");
    }
}

/// What `/readyz?strict` says of the database, with its status.
fn readiness(gateway: &RunningGateway) -> (u16, String) {
    let answer = within(Duration::from_secs(1), "/readyz", || gateway.get("/readyz?strict"));
    let body: Value = serde_json::from_slice(&answer.body).unwrap();
    (answer.status, body["database"].as_str().unwrap().to_owned())
}

/// Asks until the answer is 200.
fn recovers(gateway: &RunningGateway, path: &str) -> Response {
    let started = Instant::now();
    loop {
        match http::get(gateway.port, path) {
            Ok(answer) if answer.status == 200 => return answer,
            // Never "absent" on the way.
            Ok(answer) => assert_eq!(answer.status, 503, "{path}: {}", answer.text()),
            Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{path}: {error}"),
        }
        assert!(started.elapsed() < RECOVERY, "{path}: not again within {RECOVERY:?}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_gateway_without_its_database_starts_and_says_that_it_does_not_know() {
    let gateway = RunningGateway::start(&format!("mysql://reader:geheim@127.0.0.1:{}/darkserver", free_port()));
    assert_alive(&gateway);
    for path in
        ["/buildids/aa11", "/darkserver/buildids/aa11", "/rpm2buildids/bash-1-1.x86_64", "/package/bash-1-1.x86_64"]
    {
        assert_unavailable_json(&gateway, path);
    }
    // What needs no database is decided without it.
    assert_eq!(gateway.get("/buildids/nope").text(), "[]");
    assert_eq!(gateway.get("/buildid/nope/debuginfo").status, 400);
    for path in ["debuginfo", "executable", "section/.text", "source/usr/src/x.c"] {
        assert_unavailable(&gateway, &format!("/buildid/{UNKNOWN}/{path}"));
    }
    let archive = gateway.get(&format!("/archive/{}/a.rpm", "0".repeat(64)));
    assert_eq!((archive.status, archive.header("cache-control")), (503, Some("no-store")));
    let (status, database) = readiness(&gateway);
    assert_eq!(status, 503);
    assert!(database.contains("127.0.0.1"), "{database}");
    assert!(!database.contains("geheim") && !gateway.log().contains("geheim"), "a password in {database} or the log");
}

#[test]
fn an_index_that_appears_later_is_used_without_a_restart() {
    let sqlite = Sqlite::empty();
    let gateway = RunningGateway::start(&sqlite.url());
    let id = server(5);
    assert_unavailable_json(&gateway, &format!("/buildids/{id}"));
    gateway.expect_reset(&format!("/buildid/{id}/executable"));
    import_ok(&sqlite.url(), &["dir", fixtures::family("server").to_str().unwrap()]);
    recovers(&gateway, &format!("/buildids/{id}"));
    let member = fixtures::member(&fixtures::rpm("server/server-1.1-5.fc99.x86_64.rpm"), "/usr/bin/server");
    assert_eq!(recovers(&gateway, &format!("/buildid/{id}/executable")).body, member);
}

#[test]
fn a_database_that_dies_and_comes_back() {
    let mut mariadb = MariaDb::with_family("server");
    let gateway = RunningGateway::start(&mariadb.url("darkserver"));
    let known = format!("/buildid/{}/executable", server(5));
    assert_eq!(gateway.get(&known).status, 200);
    wait_until("the probe of a database", || readiness(&gateway) == (200, "ok".to_owned()));

    mariadb.kill();
    assert_alive(&gateway);
    assert_unavailable_json(&gateway, &format!("/buildids/{}", server(6)));
    assert_unavailable_json(&gateway, "/rpm2buildids/server-1.1-6.fc99.x86_64");
    assert_unavailable_json(&gateway, "/package/server-1.1-6.fc99.x86_64");
    assert_unavailable(&gateway, &format!("/buildid/{}/executable", server(6)));
    assert_unavailable(&gateway, &format!("/buildid/{UNKNOWN}/debuginfo"));
    wait_until("the probe of a database that is away", || readiness(&gateway).0 == 503);
    assert_eq!(gateway.get("/readyz").status, 200, "what was found before is answered");
    // What was found a moment ago is still known.
    assert_eq!(within(AT_ONCE, "from memory", || gateway.get(&known)).status, 200);

    mariadb.restart();
    recovers(&gateway, &format!("/buildids/{}", server(6)));
    recovers(&gateway, "/rpm2buildids/server-1.1-6.fc99.x86_64");
    let member = fixtures::member(&fixtures::rpm("server/server-1.1-6.fc99.x86_64.rpm"), "/usr/bin/server");
    assert_eq!(recovers(&gateway, &format!("/buildid/{}/executable", server(6))).body, member);
    wait_until("the probe of a database", || readiness(&gateway) == (200, "ok".to_owned()));
}

#[test]
fn a_database_that_hangs_and_goes_on() {
    let mariadb = MariaDb::with_family("server");
    let start = || RunningGateway::start(&mariadb.url("darkserver"));
    // Of each the first question gets the one connection that lies idle, and hangs in it.
    let [gateway, for_ids, for_rpm, for_package, for_archive] = [start(), start(), start(), start(), start()];
    let upstream = FakeServer::start(fake_server::serve_elf);
    let federated = RunningGateway::start_with(&mariadb.url("darkserver"), "", &["--upstream", &upstream.url()]);
    let known = format!("/buildid/{}/executable", server(5));
    for gateway in [&gateway, &federated] {
        assert_eq!(gateway.get(&known).status, 200);
    }

    mariadb.pause();
    assert_alive(&gateway);
    for _ in 0..2 {
        assert_unavailable_json(&for_ids, &format!("/buildids/{}", server(6)));
        assert_unavailable_json(&for_rpm, "/rpm2buildids/server-1.1-6.fc99.x86_64");
        assert_unavailable_json(&for_package, "/package/server-1.1-6.fc99.x86_64");
        let path = format!("/archive/{}/a.rpm", "0".repeat(64));
        assert_eq!(within(BUDGET, &path, || for_archive.get(&path)).status, 503);
    }
    assert_unavailable(&gateway, &format!("/buildid/{}/executable", server(6)));
    assert_unavailable(&gateway, &format!("/buildid/{UNKNOWN}/source/usr/src/x.c"));
    wait_until("the probe of a database that is away", || readiness(&gateway).0 == 503);
    assert_eq!(gateway.get("/readyz").status, 200, "what was found before is answered");
    assert_eq!(within(AT_ONCE, "from memory", || gateway.get(&known)).status, 200);
    // The upstreams are asked all the same.
    let path = format!("/buildid/{}/debuginfo", server(7));
    let redirect = within(BUDGET, &path, || federated.get(&path));
    assert_eq!(
        (redirect.status, redirect.header("location")),
        (302, Some(format!("{}{path}", upstream.url()).as_str()))
    );
    // A gateway can be started meanwhile.
    let late = within(Duration::from_secs(15), "a start", start);
    assert_unavailable_json(&late, &format!("/buildids/{}", server(6)));

    mariadb.resume();
    for gateway in [&gateway, &for_ids, &for_rpm, &for_package, &late] {
        recovers(gateway, &format!("/buildids/{}", server(6)));
        recovers(gateway, "/package/server-1.1-6.fc99.x86_64");
        recovers(gateway, &format!("/buildid/{}/executable", server(6)));
        wait_until("the probe of a database", || readiness(gateway) == (200, "ok".to_owned()));
    }
}

#[test]
fn a_real_client_tries_three_times_near_one_budget_and_remembers_nothing() {
    let hanging = FakeServer::start(fake_server::hang);
    let sqlite = Sqlite::with_packages(&[]);
    let gateway = RunningGateway::start_with(&sqlite.url(), "", &["--upstream", &hanging.url()]);
    let client = DebuginfodClient::new(&gateway.url());
    let output = within(Duration::from_secs(7), "three tries", || client.find(&["debuginfo", UNKNOWN]));
    assert!(!output.status.success());
    let tries = gateway.log().matches(&format!("/buildid/{UNKNOWN}/debuginfo")).count();
    assert_eq!(access_lines(&gateway, UNKNOWN), 3, "{tries}: {}", gateway.log());
    assert_eq!(hanging.requests_for(UNKNOWN), 1, "one question, asked once");
    assert_eq!(remembered(&client, UNKNOWN), Vec::<String>::new());
    assert!(gateway.metric("gateway_unavailable_total{result=\"reset\"}") >= 3.0);

    // Where nothing is in doubt the client does remember: so the check above can fail.
    let sure = RunningGateway::start(&sqlite.url());
    let client = DebuginfodClient::new(&sure.url());
    assert!(!client.find(&["debuginfo", UNKNOWN]).status.success());
    assert_eq!(access_lines(&sure, UNKNOWN), 1);
    assert_eq!(remembered(&client, UNKNOWN), ["debuginfo"]);
}

/// How many requests with this build-id the gateway says to have had.
fn access_lines(gateway: &RunningGateway, build_id: &str) -> usize {
    gateway.log().lines().filter(|line| line.contains("access") && line.contains(build_id)).count()
}

/// The files of a build-id in a client's cache, negative ones included.
fn remembered(client: &DebuginfodClient, build_id: &str) -> Vec<String> {
    let Ok(files) = std::fs::read_dir(client.cache().join(build_id)) else { return Vec::new() };
    files.map(|file| file.unwrap().file_name().into_string().unwrap()).collect()
}

/// A request by HTTP/2 with prior knowledge: its status and head.
fn http2(url: &str) -> (u16, String) {
    let mut curl = Command::new("curl");
    curl.args([
        "--silent",
        "--show-error",
        "--http2-prior-knowledge",
        "--max-time",
        "30",
        "--dump-header",
        "-",
        "--output",
    ]);
    let output = run(curl.args(["/dev/null", url]), "curl");
    let head = String::from_utf8_lossy(&output.stdout).to_lowercase();
    assert!(output.status.success(), "{url}: {}", String::from_utf8_lossy(&output.stderr));
    assert!(head.starts_with("http/2 "), "{head}");
    (head[7..10].parse().unwrap(), head)
}

#[test]
fn who_would_make_an_error_of_a_reset_gets_a_status_that_nobody_may_remember() {
    let upstream = nowhere();
    let sqlite = Sqlite::with_packages(&[]);
    let question = |what: &str| format!("/buildid/{UNKNOWN}/{what}");
    let assert_status = |gateway: &RunningGateway| {
        for what in ["debuginfo", "executable", "source/usr/src/x.c"] {
            let answer = gateway.get(&question(what));
            assert_eq!((answer.status, answer.header("cache-control")), (503, Some("no-store")), "{what}");
        }
        // To a client 503 on a section means "fetch the whole file".
        let section = gateway.get(&question("section/.text"));
        assert_eq!((section.status, section.header("cache-control")), (504, Some("no-store")));
    };

    let direct = RunningGateway::start_with(&sqlite.url(), "", &["--upstream", &upstream]);
    for what in ["debuginfo", "executable", "source/usr/src/x.c", "section/.text"] {
        direct.expect_reset(&question(what));
    }
    // What is decided is answered as ever.
    assert_eq!(direct.get(&question("nonsense")).status, 400);
    let (status, head) = http2(&format!("{}{}", direct.url(), question("debuginfo")));
    assert_eq!(status, 503);
    assert!(head.contains("\r\ncache-control: no-store\r\n"), "{head}");
    assert_eq!(http2(&format!("{}{}", direct.url(), question("section/.text"))).0, 504);
    assert_eq!(http2(&format!("{}/healthz", direct.url())).0, 200);

    let behind = "trusted_proxies = [\"127.0.0.0/8\"]\n";
    assert_status(&RunningGateway::start_with(&sqlite.url(), behind, &["--upstream", &upstream]));
    let other_proxy = "trusted_proxies = [\"192.0.2.0/24\", \"::/0\"]\n";
    let gateway = RunningGateway::start_with(&sqlite.url(), other_proxy, &["--upstream", &upstream]);
    gateway.expect_reset(&question("debuginfo"));

    let always_status = "[federation]\nunavailable = \"503\"\n";
    assert_status(&RunningGateway::start_with(&sqlite.url(), always_status, &["--upstream", &upstream]));
    let always_reset = format!("{behind}[federation]\nunavailable = \"reset\"\n");
    let gateway = RunningGateway::start_with(&sqlite.url(), &always_reset, &["--upstream", &upstream]);
    for what in ["debuginfo", "executable", "source/usr/src/x.c", "section/.text"] {
        gateway.expect_reset(&question(what));
    }
}

/// An index of the servers whose archives are to be had at `url` only.
fn servers_at(url: &str) -> Sqlite {
    let sqlite = Sqlite::empty();
    sqlite.add_store("servers", "mirror", &fixtures::family("server"), url);
    sqlite
}

#[test]
fn a_store_that_cannot_be_asked_leaves_the_question_open() {
    let path = format!("/buildid/{}/executable", server(5));
    for (name, behaviour) in [
        ("hangs", fake_server::hang as Behaviour),
        ("lies", fake_server::serve_html),
        ("fails", fake_server::fail),
        ("leads astray", fake_server::redirect_elsewhere),
    ] {
        let store = FakeServer::start(behaviour);
        let sqlite = servers_at(&store.url());
        let gateway = RunningGateway::start(&sqlite.url());
        within(BUDGET, name, || gateway.expect_reset(&path));
        assert!(gateway.log().contains("an answer is unavailable"), "{name}: {}", gateway.log());
        // JSON is about the index, and that was asked.
        assert_eq!(gateway.get(&format!("/buildids/{}", server(5))).status, 200, "{name}");
    }
    let store = FakeServer::start(fake_server::answer_absent);
    let sqlite = servers_at(&store.url());
    assert_eq!(RunningGateway::start(&sqlite.url()).get(&path).status, 404, "a store that says no is an answer");
}

#[test]
fn an_upstream_answers_for_a_store_that_cannot() {
    let upstream = FakeServer::start(fake_server::serve_elf);
    let path = format!("/buildid/{}/executable", server(5));
    for (name, behaviour) in [
        ("hangs", fake_server::hang as Behaviour),
        ("lies", fake_server::serve_html),
        ("knows nothing", fake_server::answer_absent),
    ] {
        let store = FakeServer::start(behaviour);
        let sqlite = servers_at(&store.url());
        let gateway = RunningGateway::start_with(&sqlite.url(), "", &["--upstream", &upstream.url()]);
        let answer = within(BUDGET, name, || gateway.get(&path));
        assert_eq!(
            (answer.status, answer.header("location")),
            (302, Some(format!("{}{path}", upstream.url()).as_str())),
            "{name}"
        );
    }
}

#[test]
fn the_budget_can_be_set() {
    let hanging = FakeServer::start(fake_server::hang);
    let sqlite = Sqlite::with_packages(&[]);
    let gateway =
        RunningGateway::start_with(&sqlite.url(), "[request]\nbudget = \"1s\"\n", &["--upstream", &hanging.url()]);
    let started = Instant::now();
    gateway.expect_reset(&format!("/buildid/{UNKNOWN}/debuginfo"));
    assert!(
        (Duration::from_millis(900)..Duration::from_secs(4)).contains(&started.elapsed()),
        "{:?}",
        started.elapsed()
    );
}

#[test]
fn an_unavailable_answer_is_given_once_it_can_be() {
    let port = free_port();
    let sqlite = Sqlite::with_packages(&[]);
    let upstream = format!("http://127.0.0.1:{port}");
    let gateway = RunningGateway::start_with(&sqlite.url(), "", &["--upstream", &upstream]);
    let path = format!("/buildid/{}/executable", server(5));
    gateway.expect_reset(&path);
    let index = Sqlite::with_packages(&[&fixtures::family("server")]);
    let other = RunningGateway::start_on(port, &[("DARKSERVER_DATABASE", &index.url())], "", &[]);
    let started = Instant::now();
    let answer = loop {
        match http::get(gateway.port, &path) {
            Ok(answer) => break answer,
            Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
        }
        assert!(started.elapsed() < Duration::from_secs(6), "still unavailable");
        std::thread::sleep(Duration::from_millis(50));
    };
    assert_eq!((answer.status, answer.header("location")), (302, Some(format!("{}{path}", other.url()).as_str())));
}
