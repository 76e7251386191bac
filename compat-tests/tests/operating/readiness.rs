//! `/readyz`: 200 while anything useful can be answered, at once, whatever hangs.

use std::fs;
use std::time::{Duration, Instant};

use compat_tests::darkserver::{RunningGateway, Sqlite};
use compat_tests::fake_server::{self, FakeServer};
use compat_tests::http;
use compat_tests::mariadb::MariaDb;
use compat_tests::process::free_port;
use compat_tests::wait_until;
use serde_json::{Value, json};

use super::program;

/// The status of `/readyz`, that of `/readyz?strict`, and what they say.
#[track_caller]
fn ready(gateway: &RunningGateway) -> (u16, u16, Value) {
    let started = Instant::now();
    let (answer, strict) = (gateway.get("/readyz"), gateway.get("/readyz?strict"));
    // 100 ms each; the rest is for a busy machine. What they wait for in vain takes 2 s.
    assert!(started.elapsed() < Duration::from_millis(1500), "{:?}", started.elapsed());
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let body: Value = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!(body["ready"], json!(answer.status == 200), "{body}");
    (answer.status, strict.status, body)
}

#[track_caller]
fn assert_becomes(gateway: &RunningGateway, statuses: (u16, u16)) -> Value {
    wait_until(&format!("{statuses:?}"), || {
        let (status, strict, _) = ready(gateway);
        (status, strict) == statuses
    });
    ready(gateway).2
}

fn has(text: &Value, words: &str) -> bool {
    text.as_str().is_some_and(|text| text.contains(words))
}

#[test]
fn upstreams_that_hang_or_are_down_delay_nothing() {
    let sqlite = Sqlite::with_packages(&[]);
    let up = FakeServer::start(fake_server::answer_absent);
    let hanging = FakeServer::start(fake_server::hang);
    let down = free_port();
    let upstreams = [up.url(), hanging.url(), format!("http://127.0.0.1:{down}")];
    let arguments: Vec<&str> = upstreams.iter().flat_map(|upstream| ["--upstream", upstream]).collect();
    let gateway = RunningGateway::start_with(&sqlite.url(), "", &arguments);
    let name = |port: u16| format!("127.0.0.1:{port}");
    assert_eq!((ready(&gateway).0, ready(&gateway).1), (200, 503), "known at once");
    wait_until("all probes", || {
        let (status, _, body) = ready(&gateway);
        assert_eq!(status, 200, "an upstream's outage is no reason to take a gateway out of service: {body}");
        let upstreams = &body["upstreams"];
        upstreams[name(up.port)] == "ok"
            && has(&upstreams[name(hanging.port)], "to a probe within 5s, found none")
            && has(&upstreams[name(down)], "refused")
    });
    let (_, strict, body) = ready(&gateway);
    assert_eq!(strict, 503);
    for part in ["database", "schema", "cache"] {
        assert_eq!(body[part], "ok", "{body}");
        assert_eq!(gateway.metric(&format!("gateway_component_up{{component=\"{part}\"}}")), 1.0);
    }
    assert_eq!(gateway.metric("gateway_ready"), 1.0);
    for (port, value) in [(up.port, 1.0), (hanging.port, 0.0), (down, 0.0)] {
        assert_eq!(gateway.metric(&format!("gateway_upstream_up{{upstream=\"{}\"}}", name(port))), value);
    }
}

#[test]
fn a_cache_directory_that_cannot_be_written_is_reported() {
    let sqlite = Sqlite::with_packages(&[]);
    let gateway = RunningGateway::start(&sqlite.url());
    assert_becomes(&gateway, (200, 200));
    let configured = gateway.cache().parent().unwrap().to_owned();
    fs::remove_dir_all(&configured).unwrap();
    fs::write(&configured, "no directory").unwrap();
    // Members are sent from memory meanwhile.
    let body = assert_becomes(&gateway, (200, 503));
    assert!(has(&body["cache"], "cache directory"), "{body}");
    assert_eq!(gateway.metric("gateway_component_up{component=\"cache\"}"), 0.0);
    fs::remove_file(&configured).unwrap();
    assert_eq!(assert_becomes(&gateway, (200, 200))["cache"], "ok", "the directory is made anew");
}

#[test]
fn an_index_without_a_schema_is_unavailable() {
    let empty = Sqlite::empty();
    fs::write(empty.path(), "").unwrap();
    let gateway = RunningGateway::start(&empty.url());
    assert_becomes(&gateway, (503, 503));
    wait_until("both parts say what to do about it", || {
        let (_, _, body) = ready(&gateway);
        ["database", "schema"].iter().all(|part| has(&body[*part], "darkserver-import migrate"))
            && body["reason"].is_string()
    });
    assert_eq!((gateway.get("/healthz").status, gateway.metric("gateway_ready")), (200, 0.0));
    // An upstream is something useful.
    let upstream = FakeServer::start(fake_server::answer_absent);
    assert_becomes(&RunningGateway::start_with(&empty.url(), "", &["--upstream", &upstream.url()]), (200, 503));
}

#[test]
fn a_gateway_with_another_source_stays_ready_when_the_database_is_killed() {
    let mut mariadb = MariaDb::with_family("server");
    let url = mariadb.url("darkserver");
    let upstream = FakeServer::start(fake_server::answer_absent);
    let gateway = RunningGateway::start(&url);
    let unasked = RunningGateway::start(&url);
    assert_eq!(gateway.get(&program()).status, 200);
    assert_eq!(assert_becomes(&gateway, (200, 200)).get("reason"), None);
    mariadb.kill();
    wait_until("the probe", || gateway.metric("gateway_index_up") == 0.0);
    let body = assert_becomes(&gateway, (200, 503));
    assert!(has(&body["database"], "127.0.0.1"), "{body}");
    assert_eq!(gateway.get(&program()).status, 200, "a known build-id");
    assert!(has(&assert_becomes(&unasked, (503, 503))["reason"], "no records"));
    // Started while it is away.
    let fresh = RunningGateway::start(&url);
    let federated = RunningGateway::start_with(&url, "", &["--upstream", &upstream.url()]);
    assert_becomes(&fresh, (503, 503));
    assert_becomes(&federated, (200, 503));
    mariadb.restart();
    for gateway in [&gateway, &unasked, &fresh, &federated] {
        assert_becomes(gateway, (200, 200));
    }
}

#[test]
fn a_newer_schema_is_used_if_it_states_that_it_can_be() {
    let mariadb = MariaDb::with_family("server");
    let url = mariadb.url("darkserver");
    let running = RunningGateway::start(&url);
    assert_becomes(&running, (200, 200));
    let sql = |statements: &str| mariadb.sql(&format!("use darkserver; {statements}"));
    sql("insert into schema_readers (version, oldest_reader) values (7, 1); \
         insert into _sqlx_migrations (version, description, success, checksum, execution_time) \
         values (7, 'x', true, 'x', 0); \
         alter table packages add column later int null");
    let started = RunningGateway::start(&url);
    // Longer than between two probes of the schema.
    std::thread::sleep(Duration::from_secs(6));
    for gateway in [&running, &started] {
        assert_eq!(assert_becomes(gateway, (200, 200))["schema"], "ok");
        assert_eq!(gateway.get(&program()).status, 200);
    }
    sql("update schema_readers set oldest_reader = 5");
    let again = RunningGateway::start(&url);
    let upstream = FakeServer::start(fake_server::answer_absent);
    let federated = RunningGateway::start_with(&url, "", &["--upstream", &upstream.url()]);
    for gateway in [&running, &started, &again] {
        let body = assert_becomes(gateway, (503, 503));
        assert!(has(&body["schema"], "expected schema version 1, found 7"), "{body}");
        assert!(has(&body["schema"], "from schema version 5 on") && has(&body["schema"], "update it"), "{body}");
        assert_eq!(gateway.metric("gateway_component_up{component=\"schema\"}"), 0.0);
    }
    assert_becomes(&federated, (200, 503));
    // What it cannot read proves neither presence nor absence.
    for gateway in [&again, &federated] {
        assert_eq!(gateway.get("/buildids/00112233").status, 503);
        assert!(http::get(gateway.port, "/buildid/00112233/debuginfo").is_err(), "{}", gateway.log());
        assert!(http::get(gateway.port, &program()).is_err(), "{}", gateway.log());
    }
    // Rolled back.
    sql("delete from _sqlx_migrations where version = 7");
    assert_becomes(&running, (200, 200));
}
