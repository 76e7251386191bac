//! `store check --locations`: what answers of servers and directories tell of places.

use std::fs;
use std::io::Write as _;
use std::net::TcpStream;
use std::process::Stdio;
use std::time::Duration;

use compat_tests::fake_server::{FakeServer, hang};
use compat_tests::files::FileServer;
use compat_tests::fixtures;
use compat_tests::process::free_port;
use compat_tests::wait_within;
use rustix::process::{Pid, Signal};
use serde_json::Value;

use crate::support::{ImportFixture, claimed, on_both, run_output};

/// Size of the archives in the index.
const SIZE: u64 = 1000;

/// Answers by the first word of the path: one way of servers each.
fn answer(head: &str, stream: &mut TcpStream) {
    let is_head = head.starts_with("HEAD ");
    let path = head.split(' ').nth(1).unwrap_or_default();
    let way = path.trim_start_matches('/').split('-').next().unwrap_or_default();
    let page = "Content-Type: text/html\r\nContent-Length: 14\r\n\r\n<html></html>\n";
    let one_byte =
        |total: u64| format!("206 Partial Content\r\nContent-Length: 1\r\nContent-Range: bytes 0-0/{total}\r\n\r\nx");
    let length = |length: u64| format!("200 OK\r\nContent-Length: {length}\r\n\r\n");
    let response = match (way, is_head) {
        ("present", true) => length(SIZE),
        ("absent", true) => "404 Not Found\r\nContent-Length: 0\r\n\r\n".to_owned(),
        ("object", _) => {
            "403 Forbidden\r\nContent-Type: application/xml\r\nContent-Length: 8\r\n\r\n<Error/>".to_owned()
        }
        ("page", _) => format!("403 Forbidden\r\n{page}"),
        ("nohead", true) => "405 Method Not Allowed\r\nContent-Length: 0\r\n\r\n".to_owned(),
        // Of an application that states no length of what it does not send.
        ("zero", true) => length(0),
        ("nohead" | "zero", false) => one_byte(SIZE),
        ("other", true) => length(SIZE - 1),
        ("other", false) => one_byte(SIZE - 1),
        ("away", _) => "302 Found\r\nLocation: http://127.0.0.1:1/secret\r\nContent-Length: 0\r\n\r\n".to_owned(),
        ("login", _) => format!("200 OK\r\n{page}"),
        _ => "500 Internal Server Error\r\nContent-Length: 0\r\n\r\n".to_owned(),
    };
    let response = response.replacen("\r\n", "\r\nConnection: close\r\n", 1);
    // A client may close the connection early.
    let _ = stream.write_all(format!("HTTP/1.1 {response}").as_bytes());
}

/// The places of a package in `show --json`.
fn places(fixture: &ImportFixture, nvra: &str) -> Vec<Value> {
    let shown = fixture.run(&["show", nvra]);
    assert_eq!(shown.code, Some(0), "{shown:?}");
    shown.json["packages"][0]["places"].as_array().unwrap().clone()
}

/// The only place of a package.
fn place(fixture: &ImportFixture, nvra: &str) -> Value {
    let [place] = places(fixture, nvra).try_into().unwrap_or_else(|places| panic!("{nvra}: {places:?}"));
    place
}

#[tokio::test]
async fn only_absent_statuses_and_other_sizes_prove_that_a_place_is_gone() {
    on_both("answers", async |fixture| {
        let server = FakeServer::start(answer);
        assert_eq!(fixture.run(&["store", "add", "m", "--tier", "mirror", "--url", &server.url()]).code, Some(0));
        let expected = [
            ("present", "present"),
            ("nohead", "present"),
            ("zero", "present"),
            ("absent", "gone"),
            ("object", "gone"),
            ("other", "gone"),
            ("page", "failed: "),
            ("away", "failed: "),
            ("login", "failed: "),
            ("error", "failed: "),
        ];
        for (way, _) in expected {
            claimed(&fixture, "m", &format!("{way}-1-1.x86_64"), SIZE, None).await;
        }
        let checked = fixture.run(&["store", "check", "m", "--locations", "--for", "1m"]);
        assert_eq!(checked.code, Some(0), "{checked:?}");
        checked.counts(&[("looked_at", 10), ("present", 3), ("gone", 3), ("failed", 4), ("left", 0)]);
        for (way, result) in expected {
            let place = place(&fixture, &format!("{way}-1-1.x86_64"));
            let found = place["check_result"].as_str().unwrap();
            assert!(found.starts_with(result) && place["checked_at"].is_i64(), "{way}: {place}");
            assert_eq!(place["gone_at"].is_i64(), result == "gone", "{way}: {place}");
        }
        assert!(server.requests().iter().all(|request| request.header("user-agent").is_some()));
    })
    .await;
}

#[tokio::test]
async fn a_budget_ends_checks_of_a_server_that_hangs() {
    let fixture = ImportFixture::new();
    let server = FakeServer::start(hang);
    assert_eq!(fixture.run(&["store", "add", "m", "--tier", "mirror", "--url", &server.url()]).code, Some(0));
    claimed(&fixture, "m", "slow-1-1.x86_64", SIZE, None).await;
    let checked = fixture.run(&["store", "check", "m", "--locations", "--for", "1s"]);
    assert_eq!(checked.code, Some(0), "{checked:?}");
    checked.counts(&[("looked_at", 0), ("left", 1)]);
    let place = place(&fixture, "slow-1-1.x86_64");
    assert_eq!((&place["checked_at"], &place["gone_at"]), (&Value::Null, &Value::Null));
}

#[tokio::test]
async fn a_signal_ends_checks_and_keeps_what_was_looked_at() {
    let fixture = ImportFixture::new();
    let server = FakeServer::start(|head, stream| match head.contains("slow") {
        true => hang(head, stream),
        false => answer(head, stream),
    });
    assert_eq!(fixture.run(&["store", "add", "m", "--tier", "mirror", "--url", &server.url()]).code, Some(0));
    claimed(&fixture, "m", "slow-1-1.x86_64", SIZE, None).await;
    for number in 1..=5 {
        claimed(&fixture, "m", &format!("present-{number}-1.x86_64"), SIZE, None).await;
    }
    let mut command = fixture.command(&["store", "check", "--locations", "--for", "1h", "--json"]);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // At most four are under way at once: the answers to two were read.
    wait_within(Duration::from_secs(30), "six requests", || server.connections() == 6);
    rustix::process::kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    let output = run_output(&child.wait_with_output().unwrap());
    assert_eq!(output.code, Some(130), "{output:?}");
    let (looked_at, present) = (output.count("looked_at"), output.count("present"));
    assert!(looked_at >= 2 && looked_at == present && output.count("left") == 6 - present, "{output:?}");
    let written =
        (1..=5).filter(|number| place(&fixture, &format!("present-{number}-1.x86_64"))["check_result"] == "present");
    assert_eq!(written.count() as u64, present);
    assert_eq!(place(&fixture, "slow-1-1.x86_64")["checked_at"], Value::Null);
}

#[tokio::test]
async fn a_store_that_does_not_answer_is_left_after_some_failures() {
    let fixture = ImportFixture::new();
    let url = format!("http://127.0.0.1:{}/pub?token=geheim", free_port());
    assert_eq!(fixture.run(&["store", "add", "m", "--tier", "mirror", "--url", &url]).code, Some(0));
    for number in 0..8 {
        claimed(&fixture, "m", &format!("p{number}-1-1.x86_64"), SIZE, None).await;
    }
    let checked = fixture.run(&["store", "check", "m", "--locations"]);
    assert_eq!((checked.code, &checked.json["given_up"]), (Some(1), &serde_json::json!(["m"])), "{checked:?}");
    checked.counts(&[("looked_at", 5), ("failed", 5), ("left", 3)]);
    let status = fixture.run(&["status"]);
    assert_eq!(status.json["stores"][0]["failed"], 5, "{status:?}");
    let shown = fixture.command(&["status"]).output().unwrap();
    let page = String::from_utf8_lossy(&shown.stdout);
    assert!(page.contains("store m: 5 places could not be checked, one of them: "), "{page}");
    for text in [status.json.to_string(), page.into_owned(), checked.stderr] {
        assert!(!text.contains("geheim"), "{text}");
    }
}

#[tokio::test]
async fn a_place_that_follows_from_a_pattern_gets_a_row_when_it_is_looked_at() {
    const NVRA: &str = "payload-none-1.0-1.fc99.x86_64";
    on_both("derived", async |fixture| {
        let koji = tempfile::tempdir().unwrap();
        let server = FileServer::start(koji.path());
        let pattern = "packages/{name}/{version}/{release}/{arch}/{nvra}.rpm";
        let url = server.url();
        let add = ["store", "add", "k", "--tier", "koji", "--url", &url, "--pattern", pattern, "--distros", "fc*"];
        assert_eq!(fixture.run(&add).code, Some(0));
        fs::copy(fixtures::package("payloads", NVRA), fixture.packages().join(format!("{NVRA}.rpm"))).unwrap();
        fixture.import(&[]).counts(&[("imported", 1)]);
        let derived = |fixture: &ImportFixture| {
            let found: Vec<Value> =
                places(fixture, NVRA).into_iter().filter(|place| place["derived"] == true).collect();
            let [place] = found.try_into().unwrap_or_else(|places| panic!("{places:?}"));
            place
        };
        let place = derived(&fixture);
        assert_eq!((&place["tier"], &place["checked_at"]), (&"koji".into(), &Value::Null));
        let below = place["url"].as_str().unwrap().strip_prefix(&format!("{}/", server.url())).unwrap().to_owned();
        let file = koji.path().join(below);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        for (is_there, result) in [(false, "absent"), (true, "present"), (false, "gone"), (true, "present")] {
            if is_there {
                fs::copy(fixtures::package("payloads", NVRA), &file).unwrap();
            } else if result == "gone" {
                fs::remove_file(&file).unwrap();
            }
            let checked = fixture.run(&["store", "check", "k", "--locations"]);
            checked.counts(&[("looked_at", 1), (result, 1), ("left", 0)]);
            fixture.run(&["store", "check", "k", "--locations"]).counts(&[("looked_at", 0), ("left", 0)]);
            let place = derived(&fixture);
            let found = if is_there { "present" } else { "gone" };
            assert_eq!((&place["check_result"], place["gone_at"].is_i64()), (&found.into(), !is_there), "{place}");
            fixture.make_places_due();
        }
    })
    .await;
}

#[test]
fn a_file_of_a_local_store_is_looked_for_in_its_directory() {
    const NVRA: &str = "payload-none-1.0-1.fc99.x86_64";
    let fixture = ImportFixture::new();
    fixture.copy_family("payloads");
    fixture.import(&[]).counts(&[("imported", 6)]);
    let file = fixture.packages().join(format!("payloads/{NVRA}.rpm"));
    let bytes = fs::read(&file).unwrap();
    fs::remove_file(&file).unwrap();
    fixture.run(&["store", "check", "--locations"]).counts(&[("looked_at", 6), ("present", 5), ("gone", 1)]);
    assert_eq!(place(&fixture, NVRA)["check_result"], "gone");
    fs::write(&file, &bytes[..100]).unwrap();
    fixture.make_places_due();
    fixture.run(&["store", "check", "--locations"]).counts(&[("present", 5), ("gone", 1)]);
    fs::write(&file, &bytes).unwrap();
    fixture.make_places_due();
    fixture.run(&["store", "check", "--locations"]).counts(&[("present", 6), ("gone", 0)]);
    assert_eq!(place(&fixture, NVRA)["gone_at"], Value::Null);
    // A directory that is not mounted.
    let away = fixture.directory.path().join("away");
    fs::rename(fixture.packages(), &away).unwrap();
    fs::create_dir(fixture.packages()).unwrap();
    fixture.make_places_due();
    let checked = fixture.run(&["store", "check", "--locations"]);
    assert_eq!((checked.code, checked.count("gone")), (Some(1), 0), "{checked:?}");
    assert_eq!(place(&fixture, NVRA)["gone_at"], Value::Null);
}
