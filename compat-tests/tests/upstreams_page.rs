//! `/upstreams`: the state of every upstream and its last day, as JSON and as a page in a real browser.

#![expect(clippy::unwrap_used, reason = "a failure here is a failed test, and says where")]

use std::io::Write;
use std::net::TcpStream;
use std::time::Duration;

use compat_tests::chromium::browse;
use compat_tests::darkserver::{RunningGateway, Sqlite};
use compat_tests::fake_server::{self, FakeServer};
use compat_tests::http;
use compat_tests::upstreams::{Fault, Random, Upstream};
use compat_tests::wait_within;
use serde_json::Value;

/// A short budget: what hangs costs little.
const BUDGET: &str = "[request]\nbudget = \"300ms\"\n";

/// A gateway that knows nothing itself.
fn gateway(configuration: &str) -> (RunningGateway, Sqlite) {
    let sqlite = Sqlite::with_packages(&[]);
    let gateway = RunningGateway::start_with(&sqlite.url(), configuration, &[]);
    (gateway, sqlite)
}

fn report(gateway: &RunningGateway) -> Value {
    let answer = gateway.get("/upstreams?format=json");
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/json")));
    assert_eq!((answer.header("cache-control"), answer.header("vary")), (Some("no-store"), Some("Accept")));
    serde_json::from_slice(&answer.body).unwrap()
}

/// The upstream `name` in a report.
fn upstream<'r>(report: &'r Value, name: &str) -> &'r Value {
    let upstreams = report["upstreams"].as_array().unwrap();
    upstreams.iter().find(|upstream| upstream["name"] == name).unwrap_or_else(|| panic!("{name}: {report}"))
}

/// Asks for a build-id that nobody was asked for before. What the answer is does not matter.
fn ask(gateway: &RunningGateway, random: &mut Random) {
    let _ = http::get(gateway.port, &format!("/buildid/{}/debuginfo", random.build_id()));
}

/// Answers only with a password and a token, and then with a redirect that has secrets of its own.
fn redirect_with_secrets(head: &str, stream: &mut TcpStream) {
    let head = head.to_ascii_lowercase();
    if !head.contains("authorization: basic bwu6z2vozwltmq==") || !head.contains("x-token: geheim2") {
        return fake_server::fail("", stream);
    }
    let _ = stream.write_all(
        b"HTTP/1.1 302 Found\r\nLocation: http://you:geheim4@127.0.0.1:1/x?token=geheim5\r\nContent-Length: 0\r\n\
          Connection: close\r\n\r\n",
    );
}

#[test]
fn every_upstream_is_reported_without_its_secrets() {
    let [absent, refusing] = [Upstream::start(Fault::None), Upstream::start(Fault::Status(401))];
    let redirecting = FakeServer::start(redirect_with_secrets);
    let login = |url: &str| url.replace("http://", "http://me:geheim1@");
    let configuration = format!(
        "{BUDGET}\
         [[upstream]]\nname = \"absent\"\nurl = \"{}\"\npriority = 3\nserves = [\"debuginfo\"]\n\
         [[upstream]]\nname = \"refusing\"\nurl = \"{}\"\nmode = \"relay\"\nheaders = {{ X-Token = \"geheim2\" }}\n\
         [[upstream]]\nname = \"redirecting\"\nurl = \"{}\"\nheaders = {{ X-Token = \"geheim2\" }}\n\
         [[upstream]]\nname = \"off\"\nurl = \"http://me:geheim1@127.0.0.1:1/base/\"\nenabled = false\n\
         headers = {{ X-Token = \"geheim2\" }}\n",
        absent.url(),
        login(refusing.url()),
        login(&redirecting.url()),
    );
    let (gateway, _sqlite) = gateway(&configuration);
    let mut random = Random::new(1);
    (0..4).for_each(|_| ask(&gateway, &mut random));
    // After several errors a probe decides.
    let is_open = || upstream(&report(&gateway), "refusing")["state"]["breaker"]["state"] == "open";
    wait_within(Duration::from_secs(10), "an open breaker", is_open);
    let found = report(&gateway);
    assert_eq!(found["upstreams"].as_array().unwrap().len(), 4, "{found}");
    assert!(found["time"].as_u64().unwrap() > 1_700_000_000 && found["bucket_seconds"] == 300, "{found}");

    let one = upstream(&found, "absent");
    assert_eq!((&one["mode"], &one["priority"]), (&"redirect".into(), &3.into()));
    assert_eq!((&one["serves"], &one["enabled"]), (&serde_json::json!(["debuginfo"]), &true.into()));
    assert_eq!(one["url"].as_str().unwrap().trim_end_matches('/'), absent.url());
    let state = &one["state"];
    assert_eq!((&state["breaker"]["state"], &state["available"]), (&"closed".into(), &true.into()), "{one}");
    for period in ["last_hour", "last_day"] {
        assert_eq!((&state[period]["requests"], &state[period]["absent"]), (&4.into(), &4.into()), "{one}");
        assert_eq!(
            (&state[period]["shares"]["absent"], &state[period]["shares"]["failed"]),
            (&1.0.into(), &0.0.into())
        );
        assert!(state[period]["p95"].as_f64().unwrap() > 0.0, "{one}");
    }
    assert!(state["share_of_found"].is_null(), "nobody found anything: {one}");
    // The buckets of five minutes during which the test ran.
    let history = state["history"].as_array().unwrap();
    assert!((1..=2).contains(&history.len()), "{one}");

    let refusing = upstream(&found, "refusing");
    assert_eq!((&refusing["mode"], &refusing["state"]["breaker"]["state"]), (&"relay".into(), &"open".into()));
    assert!(refusing["state"]["last_error"]["text"].as_str().unwrap().contains("401"), "{refusing}");
    let off = upstream(&found, "off");
    assert_eq!((&off["enabled"], &off["state"]), (&false.into(), &Value::Null));
    assert_eq!(off["url"], "http://127.0.0.1:1/base/");
    assert!(upstream(&found, "redirecting")["state"]["last_error"].is_object(), "{found}");

    let html = gateway.get("/upstreams").text();
    for text in [found.to_string(), html] {
        assert!(!text.contains("geheim") && !text.contains("//me") && !text.contains("//you"), "{text}");
        assert!(!text.contains("bWU6") && !text.to_ascii_lowercase().contains("x-token"), "{text}");
    }
}

#[test]
fn a_breaker_opens_when_an_upstream_hangs_and_closes_when_it_answers_again() {
    let [changing, other] = [Upstream::start(Fault::None), Upstream::start(Fault::None)];
    let configuration = format!(
        "{BUDGET}[[upstream]]\nname = \"changing\"\nurl = \"{}\"\n[[upstream]]\nname = \"other\"\nurl = \"{}\"\n",
        changing.url(),
        other.url()
    );
    let (gateway, _sqlite) = gateway(&configuration);
    let mut random = Random::new(2);
    let breaker = || upstream(&report(&gateway), "changing")["state"]["breaker"].clone();
    (0..10).for_each(|_| ask(&gateway, &mut random));
    assert_eq!(breaker()["state"], "closed");
    assert!(upstream(&report(&gateway), "changing")["state"]["latency"]["p99"].is_number());

    changing.set(Fault::Hangs);
    ask(&gateway, &mut random);
    wait_within(Duration::from_secs(10), "an open breaker", || breaker()["state"] != "closed");
    let open = breaker();
    assert!(open["since"].is_u64() && open["cause"].as_str().is_some_and(|cause| !cause.is_empty()), "{open}");
    let page = gateway.get("/upstreams").text();
    assert!(page.contains(open["cause"].as_str().unwrap()), "{page}");
    // At least a second of it is in the history.
    let open_seconds = || upstream(&report(&gateway), "changing")["state"]["last_day"]["open_seconds"].as_u64();
    wait_within(Duration::from_secs(10), "a second of an open breaker", || open_seconds() >= Some(1));

    changing.set(Fault::None);
    wait_within(Duration::from_secs(20), "a closed breaker", || breaker()["state"] == "closed");
    let found = report(&gateway);
    let states: Vec<&Value> = upstream(&found, "changing")["state"]["transitions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|transition| &transition["state"])
        .collect();
    assert_eq!(states, ["open", "closed"]);
    assert_eq!(upstream(&found, "other")["state"]["transitions"], serde_json::json!([]));
    assert_eq!(upstream(&found, "other")["state"]["last_day"]["failed"], 0);
}

#[test]
fn json_is_for_who_accepts_it() {
    let (gateway, _sqlite) = gateway("");
    for (accept, content_type) in [
        ("application/json", "application/json"),
        ("*/*", "text/html; charset=utf-8"),
        ("text/html,application/xhtml+xml,*/*;q=0.8", "text/html; charset=utf-8"),
    ] {
        let answer = http::request(gateway.port, "GET", "/upstreams", &[("Accept", accept)]).unwrap();
        assert_eq!((answer.status, answer.header("content-type")), (200, Some(content_type)), "{accept}");
        let policy = answer.header("content-security-policy");
        assert_eq!(policy.is_some(), content_type.starts_with("text/html"), "{accept}");
    }
}

#[test]
fn a_browser_shows_a_page_with_charts_for_any_number_of_upstreams() {
    let server = Upstream::start(Fault::None);
    let mut random = Random::new(3);
    for count in [0, 1, 30] {
        let configuration: String = (0..count)
            .map(|number| format!("[[upstream]]\nname = \"up-{number}\"\nurl = \"{}/{number}/\"\n", server.url()))
            .collect();
        let (gateway, _sqlite) = gateway(&configuration);
        (0..3).for_each(|_| ask(&gateway, &mut random));
        let (document, messages) = browse(&format!("{}/upstreams", gateway.url()));
        assert!(!messages.contains("CONSOLE"), "the browser complained: {messages}");
        assert_eq!(document.matches("<svg").count(), 2 * count, "{document}");
        assert_eq!(document.contains("No upstream is configured."), count == 0, "{document}");
        for number in 0..count {
            assert!(document.contains(&format!(">Requests to up-{number} in the last day</title>")), "{document}");
            assert!(document.contains(&format!("href=\"#upstream-{number}\">up-{number}</a>")), "{document}");
        }
        // Each chart of requests has bars for the absences, and each of latencies a line.
        for path in ["<path class=\"absent\" d=\"M", "<path class=\"latency\" d=\"M"] {
            assert_eq!(document.matches(path).count(), count, "{path}: {document}");
        }
    }
}
