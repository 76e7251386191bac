//! What hooks refuse, and with which statuses: tokens, limits, rates, bad input, a database that is down.

use std::io::Write;
use std::time::{Duration, Instant};

use compat_tests::http::{self, Response};
use compat_tests::indexer::RunningIndexer;
use compat_tests::process::free_port;

use super::support::{Bench, NAME, TOKEN, authorization, configuration, json, put, start};

const KOJI: &str = "[[koji]]\nname = 'primary'\nhub = 'http://127.0.0.1:1/kojihub'\ntopurl = 'http://127.0.0.1:1'";

fn post(port: u16, hook: &str, headers: &[(&str, &str)], body: &str) -> Response {
    http::request_with(port, "POST", &format!("/hooks/{hook}"), headers, body.as_bytes()).unwrap()
}

/// Expects a refusal with this status, whose JSON states a reason.
#[track_caller]
fn expect_refusal(response: &Response, status: u16, what: &str) {
    assert_eq!(response.status, status, "{what}: {}", response.text());
    let body = json(response);
    let error = body["error"].as_str().unwrap_or_default();
    assert!(!error.is_empty() && !response.text().contains(TOKEN), "{what}: {body}");
    assert_eq!(response.header("cache-control"), Some("no-store"), "{what}");
}

#[test]
fn a_request_needs_a_token_of_the_file() {
    let bench = start("");
    let port = bench.indexer.port;
    let json = ("Content-Type", "application/json");
    for authorization in ["", "Bearer", "Bearer wrong", "Basic YTpi", "Bearer a-token-of-a-test-012345678", "# tokens"]
    {
        for hook in ["koji", "archive"] {
            let response = post(port, hook, &[json, ("Authorization", authorization)], "{}");
            expect_refusal(&response, 401, authorization);
            assert_eq!(response.header("www-authenticate"), Some("Bearer realm=\"darkserver hooks\""));
        }
    }
    expect_refusal(&post(port, "koji", &[json], "{}"), 401, "no Authorization");
    let twice = ["Bearer wrong", &authorization()].map(|value| ("Authorization", value.to_owned()));
    let twice = twice.each_ref().map(|(name, value)| (*name, value.as_str()));
    expect_refusal(&post(port, "koji", &twice, "{}"), 401, "two tokens");
    let body = vec![0; 1 << 20];
    let response = http::request_with(port, "PUT", &format!("/hooks/upload/uploads/{NAME}"), &[], &body).unwrap();
    expect_refusal(&response, 401, "an upload");
    assert!(bench.names().is_empty());
    // A new file counts from the next request on.
    assert_eq!(bench.post("archive", "{}").status, 400);
    std::fs::write(bench.directory.path().join("tokens"), "new-token\n").unwrap();
    assert_eq!(bench.post("archive", "{}").status, 401);
    std::fs::remove_file(bench.directory.path().join("tokens")).unwrap();
    expect_refusal(&bench.post("archive", "{}"), 403, "no file");
    assert!(!bench.indexer.log().contains(TOKEN), "{}", bench.indexer.log());
    assert!(bench.indexer.metric("indexer_hook_requests_total{hook=\"archive\",status=\"401\"}") >= 7.0);
}

#[test]
fn without_tokens_nothing_is_permitted_and_a_readable_file_is_warned_about() {
    let bench = start("");
    assert!(bench.indexer.log().contains("every user of this machine can read the tokens"), "{}", bench.indexer.log());
    let indexer = RunningIndexer::start(&bench.sqlite.url(), "[hooks]\nupload_stores = ['uploads']\n");
    for hook in ["koji", "archive"] {
        let headers = [("Content-Type", "application/json"), ("Authorization", &authorization())];
        expect_refusal(&post(indexer.port, hook, &headers, "{}"), 403, hook);
    }
    expect_refusal(&put(indexer.port, NAME, &[], b"x"), 403, "an upload");
    assert!(bench.names().is_empty());
}

#[test]
fn paths_methods_types_and_sizes_are_checked() {
    let bench = start("max_body = 1000");
    let (port, authorization) = (bench.indexer.port, authorization());
    let request = |method: &str, path: &str| http::request(port, method, path, &[("Authorization", &authorization)]);
    for (path, allowed) in [("/hooks/koji", "POST"), ("/hooks/archive", "POST"), ("/hooks/upload/uploads/a.rpm", "PUT")]
    {
        for method in ["GET", "DELETE", "OPTIONS", "PATCH", if allowed == "PUT" { "POST" } else { "PUT" }] {
            let response = request(method, path).unwrap();
            expect_refusal(&response, 405, &format!("{method} {path}"));
            assert_eq!(response.header("allow"), Some(allowed));
        }
    }
    for path in ["/hooks", "/hooks/", "/hooks/other", "/hooks/koji/x", "/hooks/upload"] {
        let response = request("POST", path).unwrap();
        assert_eq!(response.status, 404, "{path}: {}", response.text());
    }
    let authorization = ("Authorization", authorization.as_str());
    for content_type in ["", "text/plain", "application/x-www-form-urlencoded", "application/jsonx"] {
        let response = post(port, "koji", &[authorization, ("Content-Type", content_type)], "{}");
        expect_refusal(&response, 415, content_type);
    }
    let json = ("Content-Type", "application/json; charset=utf-8");
    let encoded = post(port, "koji", &[authorization, json, ("Content-Encoding", "gzip")], "{}");
    expect_refusal(&encoded, 415, "gzip");
    expect_refusal(&post(port, "koji", &[authorization, json], &" ".repeat(1001)), 413, "Content-Length");
    let mut stream =
        http::send(port, "POST", "/hooks/koji", &[authorization, json, ("Transfer-Encoding", "chunked")]).unwrap();
    stream.write_all(format!("3e9\r\n{}\r\n0\r\n\r\n", " ".repeat(1001)).as_bytes()).unwrap();
    expect_refusal(&http::receive(&mut stream, "POST").unwrap(), 413, "chunked");
    for body in ["", "{", "[]", "7", "{}", "{\"build\":\"7\"}", "{\"build\":-1}", "{\"nvr\":\"../../x\"}"] {
        let response = bench.post("koji", body);
        expect_refusal(&response, if body == "{}" { 422 } else { response.status }, body);
        assert!(matches!(response.status, 400 | 422), "{body}");
    }
    assert!(bench.packages().is_empty());
}

#[test]
fn a_build_is_accepted_for_an_instance_of_the_configuration_alone() {
    let bench = start(KOJI);
    let response = bench.post("koji", "{\"build\": 7}");
    assert_eq!((response.status, &json(&response)["job"]), (202, &"build primary 7".into()));
    let response = bench.post("koji", "{\"nvr\": \"bash-5.2-1.fc44\", \"instance\": \"primary\"}");
    assert_eq!((response.status, &json(&response)["job"]), (202, &"build primary bash-5.2-1.fc44".into()));
    expect_refusal(&bench.post("koji", "{\"build\": 7, \"instance\": \"other\"}"), 422, "another instance");
    expect_refusal(&bench.post("koji", "{}"), 400, "no build");
    assert_eq!(bench.indexer.metric("indexer_hook_requests_total{hook=\"koji\",status=\"202\"}"), 2.0);
}

#[test]
fn a_slow_body_is_ended() {
    let bench = start("");
    let headers =
        [("Content-Type", "application/json"), ("Authorization", &authorization()), ("Content-Length", "100")];
    let began = Instant::now();
    let mut stream = http::send(bench.indexer.port, "POST", "/hooks/koji", &headers).unwrap();
    stream.write_all(b"{").unwrap();
    expect_refusal(&http::receive(&mut stream, "POST").unwrap(), 408, "a body that does not go on");
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
}

#[test]
fn an_endless_body_is_ended() {
    let bench = start("max_body = 1000\nmax_upload = 1000");
    let headers = [("Authorization", authorization()), ("Transfer-Encoding", "chunked".to_owned())];
    let headers = headers.each_ref().map(|(name, value)| (*name, value.as_str()));
    let json = [&headers[..], &[("Content-Type", "application/json")]].concat();
    let path = format!("/hooks/upload/uploads/{NAME}");
    for (method, path, headers) in [("POST", "/hooks/koji", &json[..]), ("PUT", &path, &headers[..])] {
        let began = Instant::now();
        let mut stream = http::send(bench.indexer.port, method, path, headers).unwrap();
        let chunk = format!("400\r\n{}\r\n", " ".repeat(1024));
        // The pause keeps the answer from being lost in a flood.
        while stream.write_all(chunk.as_bytes()).is_ok() {
            assert!(began.elapsed() < Duration::from_secs(30), "{method}: expected an end of the connection");
            std::thread::sleep(Duration::from_millis(5));
        }
        expect_refusal(&http::receive(&mut stream, method).unwrap(), 413, method);
    }
    assert!(bench.names().is_empty());
}

/// Posts until the status is 429. Returns the number of requests before, and Retry-After.
fn exhaust(bench: &Bench, status: u16) -> (u32, String) {
    for number in 0..100 {
        let response = bench.post("archive", "{\"url\": \"http://127.0.0.1:1/x/a.rpm\"}");
        if response.status == 429 {
            expect_refusal(&response, 429, "too many");
            return (number, response.header("retry-after").unwrap().to_owned());
        }
        assert_eq!(response.status, status, "{}", response.text());
    }
    panic!("expected a limit within 100 requests");
}

#[test]
fn a_token_has_a_rate_that_others_do_not_use_up() {
    let bench = start("rate = 1\nburst = 5");
    let wrong = [("Content-Type", "application/json"), ("Authorization", "Bearer wrong")];
    let statuses: Vec<u16> = (0..20).map(|_| post(bench.indexer.port, "koji", &wrong, "{}").status).collect();
    assert!(statuses.starts_with(&[401; 5]) && statuses.contains(&429), "{statuses:?}");
    let (requests, retry_after) = exhaust(&bench, 422);
    assert!((5..15).contains(&requests) && retry_after == "1", "{requests}, {retry_after}");
    let another = [("Content-Type", "application/json"), ("Authorization", "Bearer another-token")];
    assert_eq!(post(bench.indexer.port, "archive", &another, "{}").status, 400);
}

#[test]
fn a_database_that_is_down_is_unavailable_and_never_asked_beyond_the_rate() {
    let directory = tempfile::tempdir().unwrap();
    let database = format!("mysql://user:password@127.0.0.1:{}/none", free_port());
    let configuration = configuration(directory.path(), &format!("rate = 1\nburst = 2\n{KOJI}"));
    let indexer = RunningIndexer::start(&database, &configuration);
    let headers = [("Content-Type", "application/json"), ("Authorization", &authorization())];
    let began = Instant::now();
    let statuses: Vec<u16> = std::thread::scope(|scope| {
        let ask = || {
            let response = post(indexer.port, "koji", &headers, "{\"build\": 7}");
            expect_refusal(&response, response.status, "no database");
            assert!(response.header("retry-after").is_some(), "{}", response.text());
            response.status
        };
        let requests: Vec<_> = (0..6).map(|_| scope.spawn(ask)).collect();
        requests.into_iter().map(|request| request.join().unwrap()).collect()
    });
    assert!(statuses.contains(&503) && statuses.contains(&429), "{statuses:?}");
    assert!(statuses.iter().filter(|status| **status == 503).count() <= 4, "{statuses:?}");
    assert!(began.elapsed() < Duration::from_secs(25), "{:?}", began.elapsed());
    assert!(!indexer.log().contains("password@"), "{}", indexer.log());
}
