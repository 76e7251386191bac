//! What an upstream has to send to be believed: pages of HTML, redirects to them and files with other build-ids are no
//! proof, and another upstream that has the file wins however slow it is.

use std::io::{ErrorKind, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use compat_tests::compiled::Program;
use compat_tests::darkserver::{RunningGateway, Sqlite};
use compat_tests::fake_server::FakeServer;
use compat_tests::http;

const UNKNOWN: &str = "00000000000000000000000000000000000000bb";
const PAGE: &[u8] = b"<!DOCTYPE html>\n<html><body>Please log in.</body></html>\n";
const SOURCE: &[u8] = b"int main(void) { return 0; }\n";
/// Slower than any other answer here.
const SLOW: Duration = Duration::from_secs(1);
/// The budget of a decision is 4 s; the rest is for a busy machine.
const BUDGET: Duration = Duration::from_secs(8);

fn send(stream: &mut TcpStream, status: &str, headers: &str, body: &[u8]) {
    let length = body.len();
    let _ = write!(stream, "HTTP/1.1 {status}\r\n{headers}Content-Length: {length}\r\nConnection: close\r\n\r\n");
    let _ = stream.write_all(body);
}

/// An upstream that answers everything alike.
fn answers(status: &'static str, headers: &'static str, body: &[u8]) -> FakeServer {
    let body = body.to_owned();
    FakeServer::start(move |_, stream| send(stream, status, headers, &body))
}

/// An upstream that redirects everything to `/login`, which it answers 200.
fn redirects(headers: &'static str, body: &'static [u8]) -> FakeServer {
    FakeServer::start(move |head, stream| match head.starts_with("GET /login ") {
        true => send(stream, "200 OK", headers, body),
        false => send(stream, "302 Found", "Location: /login\r\n", b""),
    })
}

/// An upstream that has a file, and takes its time.
fn slow(body: &[u8]) -> FakeServer {
    let body = body.to_owned();
    FakeServer::start(move |_, stream| {
        std::thread::sleep(SLOW);
        send(stream, "200 OK", "Content-Type: application/octet-stream\r\n", &body);
    })
}

/// A gateway that knows nothing itself.
fn gateway(upstreams: &[&FakeServer]) -> (RunningGateway, Sqlite) {
    let sqlite = Sqlite::with_packages(&[]);
    let urls: Vec<String> = upstreams.iter().map(|upstream| upstream.url()).collect();
    let arguments: Vec<&str> = urls.iter().flat_map(|url| ["--upstream", url]).collect();
    (RunningGateway::start_with(&sqlite.url(), "", &arguments), sqlite)
}

#[track_caller]
fn expect_redirect(what: &str, gateway: &RunningGateway, path: &str, to: &FakeServer) {
    let answer =
        http::get(gateway.port, path).unwrap_or_else(|error| panic!("{what}: {path}: {error}: {}", gateway.log()));
    let location = format!("{}{path}", to.url());
    assert_eq!((answer.status, answer.header("location")), (302, Some(&*location)), "{what}: {}", gateway.log());
}

#[track_caller]
fn expect_bytes(what: &str, gateway: &RunningGateway, path: &str, bytes: &[u8]) {
    let answer =
        http::get(gateway.port, path).unwrap_or_else(|error| panic!("{what}: {path}: {error}: {}", gateway.log()));
    assert_eq!((answer.status, &*answer.body), (200, bytes), "{what}: {}", gateway.log());
}

#[track_caller]
fn expect_unavailable(what: &str, gateway: &RunningGateway, path: &str) {
    match http::get(gateway.port, path) {
        Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
        other => panic!("{what}: {path}: expected a reset, found {other:?}"),
    }
}

#[test]
fn a_page_is_no_section_and_no_source() {
    let having = slow(SOURCE);
    let paths = ["section/.debug_str", "source/usr/src/a.c"].map(|what| format!("/buildid/{UNKNOWN}/{what}"));
    for (what, lying) in [
        ("a page", answers("200 OK", "Content-Type: text/html; charset=utf-8\r\n", PAGE)),
        ("a page of XHTML", answers("200 OK", "Content-Type: application/xhtml+xml\r\n", PAGE)),
        ("a page without a type", answers("200 OK", "", PAGE)),
        ("a redirect to a login page", redirects("Content-Type: text/html\r\n", PAGE)),
        ("a redirect to bytes", redirects("Content-Type: application/octet-stream\r\n", SOURCE)),
        ("403 with a page", answers("403 Forbidden", "Content-Type: text/html\r\n", PAGE)),
    ] {
        let (both, _index) = gateway(&[&lying, &having]);
        let (alone, _index) = gateway(&[&lying]);
        let [section, source] = &paths;
        expect_redirect(what, &both, section, &having);
        // Sources are relayed.
        expect_bytes(what, &both, source, SOURCE);
        for path in &paths {
            expect_unavailable(what, &alone, path);
        }
    }
}

#[test]
fn headers_of_debuginfod_prove_a_source_that_is_html_and_one_behind_a_redirect() {
    let page = "Content-Type: text/html\r\nX-DEBUGINFOD-SIZE: 57\r\nX-DEBUGINFOD-FILE: /usr/share/doc/x.html\r\n";
    for (what, upstream, bytes) in [
        ("a page", answers("200 OK", page, PAGE), PAGE),
        ("behind a redirect", redirects("X-DEBUGINFOD-FILE: /usr/src/a.c\r\n", SOURCE), SOURCE),
        ("an object store without the file beside it", answers("200 OK", "", SOURCE), SOURCE),
    ] {
        let nothing = answers("403 Forbidden", "Content-Type: application/xml\r\n", b"<?xml version=\"1.0\"?><Error/>");
        let (gateway, _index) = gateway(&[&upstream, &nothing]);
        expect_redirect(what, &gateway, &format!("/buildid/{UNKNOWN}/section/.debug_str"), &upstream);
        expect_bytes(what, &gateway, &format!("/buildid/{UNKNOWN}/source/usr/share/doc/x.html"), bytes);
    }
}

#[test]
fn what_is_forbidden_is_unknown_unless_the_upstream_is_an_object_store() {
    let nothing = answers("403 Forbidden", "Content-Type: application/xml\r\n", b"<?xml version=\"1.0\"?><Error/>");
    let path = format!("/buildid/{UNKNOWN}/source/a.c");
    let (by_default, _index) = gateway(&[&nothing]);
    expect_unavailable("403", &by_default, &path);
    let store = format!("[[upstream]]\nname = \"store\"\nurl = \"{}\"\nabsent_statuses = [403, 404]\n", nothing.url());
    let sqlite = Sqlite::with_packages(&[]);
    assert_eq!(RunningGateway::start_with(&sqlite.url(), &store, &[]).get(&path).status, 404);
}

#[test]
fn a_file_with_another_build_id_is_no_debuginfo_and_no_executable() {
    let [asked, other] = ["asked", "other"].map(|name| Program::compile(name, &format!("/s/{name}")));
    for (what, right, wrong) in
        [("debuginfo", asked.debug(), other.debug()), ("executable", asked.stripped(), other.stripped())]
    {
        let [right, wrong] = [right, wrong].map(|file| std::fs::read(file).unwrap());
        let path = format!("/buildid/{}/{what}", asked.build_id);
        let (lying, having) = (answers("200 OK", "X-DEBUGINFOD-SIZE: 1\r\n", &wrong), slow(&right));
        let (both, _index) = gateway(&[&lying, &having]);
        expect_redirect(what, &both, &path, &having);
        let (alone, _index) = gateway(&[&lying]);
        expect_unavailable(what, &alone, &path);
        let log = alone.log();
        assert!(log.contains(&format!("found one with {}", other.build_id)), "{log}");

        // The note of a file that is contained in it comes first: the right one counts.
        let with_both = [&wrong[..], &right].concat();
        let containing = answers("200 OK", "", &with_both);
        let (gateway, _index) = gateway(&[&containing]);
        expect_redirect(what, &gateway, &path, &containing);
    }
}

#[test]
fn a_file_without_a_note_near_its_start_needs_headers_and_a_slow_one_is_not_waited_for_long() {
    let path = format!("/buildid/{UNKNOWN}/debuginfo");
    let far = [&b"\x7fELF"[..], &vec![0; 200_000]].concat();
    let upstream = answers("200 OK", "X-DEBUGINFOD-SIZE: 200004\r\n", &far);
    let (searched, _index) = gateway(&[&upstream]);
    expect_redirect("no note", &searched, &path, &upstream);
    // It is relayed, and has no build-id at its end either.
    let upstream = answers("200 OK", "", &far);
    let (relaying, _index) = gateway(&[&upstream]);
    expect_unavailable("no note and no headers", &relaying, &path);

    let upstream = FakeServer::start(|_, stream| {
        let _ = stream.write_all(
            b"HTTP/1.1 200 OK\r\nContent-Length: 200000\r\nX-DEBUGINFOD-SIZE: 200000\r\nConnection: close\r\n\r\n\
              \x7fELF\x02\x01\x01\0",
        );
        std::thread::sleep(Duration::from_secs(30));
    });
    let (gateway, _index) = gateway(&[&upstream]);
    let started = Instant::now();
    expect_redirect("a slow one", &gateway, &path, &upstream);
    assert!(started.elapsed() < BUDGET, "{:?}", started.elapsed());
}
