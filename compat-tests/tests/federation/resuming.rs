//! Relays that are resumed where an upstream breaks off, compared with what it told, and kept.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use compat_tests::darkserver::{RunningGateway, Sqlite};
use compat_tests::debuginfod::Debuginfod;
use compat_tests::fake_server::{FakeServer, Gate, Request};
use compat_tests::fixtures;
use compat_tests::http;
use compat_tests::small_disk::SmallDisk;
use compat_tests::upstreams::{Fault, Random, Upstream, UpstreamFile};
use compat_tests::{wait_until, wait_within};

use crate::client::{Ended, ask};
use crate::{Mode, configuration, debug_file, debug_file_with_headers, debuginfo, federated};

const SERVER: &str = "server/server-1.1-6.fc99.x86_64.rpm";
const DEBUGINFO: &str = "server/server-debuginfo-1.1-6.fc99.x86_64.rpm";
const SOURCES: &str = "server/server-debugsource-1.1-6.fc99.x86_64.rpm";
const DEBUG_FILE: &str = "/usr/lib/debug/usr/bin/server-1.1-6.fc99.x86_64.debug";
const SOURCE: &str = "/usr/src/debug/server-1.1-6.fc99.x86_64/main.c";

/// Bytes behind a debug file, so that it is sent before it was received completely.
const TAIL: usize = 600_000;
/// Where upstreams break off: behind the first bytes, and before those that are held back.
const AT: usize = 300_000;
/// A byte that is sent before an upstream breaks off.
const SENT: usize = 20_000;

/// A gateway that relays from these upstreams; each is asked only after the one before.
fn relaying(index: &Sqlite, urls: &[&str]) -> RunningGateway {
    let mut text = String::new();
    for (number, url) in urls.iter().enumerate() {
        text.push_str(&format!("[[upstream]]\nname = \"u{number}\"\nurl = \"{url}\"\nmode = \"relay\"\n"));
        text.push_str(&format!("priority = {number}\n"));
    }
    RunningGateway::start_with(&index.url(), &text, &[])
}

fn relays(gateway: &RunningGateway, result: &str) -> f64 {
    gateway.metric(&format!("gateway_relays_total{{result=\"{result}\"}}"))
}

fn resumes(gateway: &RunningGateway, upstream: &str) -> f64 {
    gateway.metric(&format!("gateway_upstream_resumes_total{{upstream=\"{upstream}\"}}"))
}

/// A file with a random build-id, and its path.
fn a_file(seed: u64) -> (String, Vec<u8>) {
    let build_id = Random::new(seed).build_id();
    (debuginfo(&build_id), debug_file(&build_id, TAIL))
}

/// A server of one file at `path`, which sends its answer to each request for it by `answer`, with the number of the
/// request. It answers 404 to everything else.
fn serving(path: &str, answer: impl Fn(usize, &str, &mut TcpStream) + Send + Sync + 'static) -> FakeServer {
    let (path, count) = (format!("GET {path} "), AtomicUsize::new(0));
    FakeServer::start(move |head, stream| {
        if head.starts_with(&path) {
            answer(count.fetch_add(1, Ordering::SeqCst), head, stream);
        } else {
            let _ = stream.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        }
    })
}

/// Sends a head with these header lines, and these bytes.
fn send(stream: &mut TcpStream, status: &str, lines: &str, bytes: &[u8]) {
    let head = format!("HTTP/1.1 {status}\r\n{lines}Connection: close\r\n\r\n");
    let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(bytes));
}

/// The first byte that a request asks for.
fn range_start(head: &str) -> Option<usize> {
    let line = head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("range: bytes=").map(str::to_owned));
    line?.strip_suffix('-')?.parse().ok()
}

#[test]
fn what_elfutils_has_is_relayed_once_and_kept_over_a_restart() {
    let debuginfod = Debuginfod::start(&fixtures::family("server"));
    let index = Sqlite::with_packages(&[]);
    let mut gateway = relaying(&index, &[&debuginfod.url()]);
    let id = fixtures::build_id(SERVER, "/usr/bin/server");
    let files = [
        (format!("/buildid/{id}/executable"), fixtures::member(&fixtures::rpm(SERVER), "/usr/bin/server")),
        (format!("/buildid/{id}/debuginfo"), fixtures::member(&fixtures::rpm(DEBUGINFO), DEBUG_FILE)),
        (format!("/buildid/{id}/source{SOURCE}"), fixtures::member(&fixtures::rpm(SOURCES), SOURCE)),
    ];
    let names = ["x-debuginfod-size", "x-debuginfod-file", "x-debuginfod-archive", "last-modified"];
    let theirs: Vec<_> = files.iter().map(|(path, _)| http::get(debuginfod.port, path).unwrap()).collect();
    let expect_all = |gateway: &RunningGateway| {
        for ((path, bytes), theirs) in files.iter().zip(&theirs) {
            let answer = gateway.get(path);
            assert_eq!(answer.status, 200, "{path}: {}", gateway.log());
            assert!(answer.body == *bytes, "{path}");
            for name in names {
                let what = format!("{path}: {name}");
                assert_eq!(answer.header(name).unwrap(), theirs.header(name).unwrap(), "{what}");
            }
        }
    };
    expect_all(&gateway);
    wait_until("complete relays", || relays(&gateway, "complete") == 3.0);
    assert_eq!(gateway.metric("gateway_cache_files"), 3.0);
    drop(debuginfod);
    expect_all(&gateway);
    gateway.wait_until_synced();
    gateway.restart();
    expect_all(&gateway);
    assert_eq!(relays(&gateway, "complete"), 0.0);

    let (path, bytes) = &files[1];
    let get = |method: &str, headers: &[(&str, &str)]| http::request(gateway.port, method, path, headers).unwrap();
    let head = get("HEAD", &[]);
    assert_eq!((head.status, head.header("content-length")), (200, Some(bytes.len().to_string().as_str())));
    let modified = head.header("last-modified").unwrap();
    assert_eq!(get("GET", &[("If-Modified-Since", modified)]).status, 304);
    let part = get("GET", &[("Range", "bytes=10-19"), ("If-Range", modified)]);
    assert_eq!((part.status, &part.body[..]), (206, &bytes[10..20]));
    let section = gateway.get(&format!("/buildid/{id}/section/.debug_info"));
    assert_eq!(section.status, 200);
    assert!(bytes.windows(section.body.len()).any(|window| window == section.body), "a slice of the cached file");
}

#[test]
fn the_rest_comes_from_the_same_upstream_by_range() {
    let index = Sqlite::with_packages(&[]);
    let (path, bytes) = a_file(1);
    let sent = Arc::new(bytes.clone());
    let upstream = serving(&path, move |number, head, stream| {
        let (length, validator) = (sent.len(), "ETag: \"one\"\r\nX-DEBUGINFOD-FILE: /x\r\n");
        match (number, range_start(head)) {
            (0, None) => send(stream, "200 OK", &format!("{validator}Content-Length: {length}\r\n"), &sent[..AT]),
            (_, start) => {
                let start = start.expect("a range");
                let range = format!("Content-Range: bytes {start}-{}/{length}\r\n", length - 1);
                let lines = format!("{validator}{range}Content-Length: {}\r\n", length - start);
                send(stream, "206 Partial Content", &lines, &sent[start..]);
            }
        }
    });
    let gateway = relaying(&index, &[&upstream.url()]);
    assert_eq!(ask(&gateway, &path).ended, Ended::File(bytes), "{}", gateway.log());
    let requests: Vec<Request> = upstream.requests();
    assert_eq!(requests.len(), 2);
    assert_eq!(requests[1].header("if-range"), Some("\"one\""));
    assert_eq!(resumes(&gateway, "u0"), 1.0);
    wait_until("a complete relay", || relays(&gateway, "complete") == 1.0);
}

#[test]
fn what_has_changed_meanwhile_is_not_continued() {
    let index = Sqlite::with_packages(&[]);
    let (path, bytes) = a_file(2);
    let length = bytes.len();
    // By 206 without a validator, and by 200.
    for (is_part, changed_at) in [(true, AT - 1000), (false, SENT)] {
        let (first, mut changed) = (bytes.clone(), bytes.clone());
        changed[changed_at] ^= 1;
        let upstream = serving(&path, move |number, head, stream| match (number, range_start(head)) {
            (0, _) => send(stream, "200 OK", &format!("Content-Length: {length}\r\n"), &first[..AT]),
            (_, Some(start)) if is_part => {
                let range = format!("Content-Range: bytes {start}-{}/{length}\r\n", length - 1);
                let lines = format!("{range}Content-Length: {}\r\n", length - start);
                send(stream, "206 Partial Content", &lines, &changed[start..]);
            }
            _ => send(stream, "200 OK", &format!("Content-Length: {length}\r\n"), &changed),
        });
        let gateway = relaying(&index, &[&upstream.url()]);
        match ask(&gateway, &path).ended {
            Ended::BrokenOff(part) => assert!(bytes.starts_with(&part) && part.len() < length),
            // The reset overtook the first bytes.
            Ended::Unavailable => {}
            other => panic!("expected a reset, found {other:?}: {}", gateway.log()),
        }
        wait_until("a failed relay", || relays(&gateway, "failed") == 1.0);
        assert_eq!(gateway.metric("gateway_cache_files"), 0.0);
    }
}

#[test]
fn another_upstream_continues_only_with_the_same_bytes() {
    let index = Sqlite::with_packages(&[]);
    let (path, bytes) = a_file(3);
    let mut differing = bytes.clone();
    differing[SENT] ^= 1;
    let mut shorter = bytes.clone();
    shorter.pop();
    for (what, fault) in [("broken off", Fault::ResetsAt(AT)), ("stalled", Fault::Stalls(AT))] {
        for (other, is_same) in [(&bytes, true), (&differing, false), (&shorter, false)] {
            let breaking = Upstream::with_files(fault, [(&*path, &UpstreamFile::new(bytes.clone()))]);
            let healthy = Upstream::with_files(Fault::None, [(&*path, &UpstreamFile::new(other.clone()))]);
            let gateway = relaying(&index, &[breaking.url(), healthy.url()]);
            match ask(&gateway, &path).ended {
                Ended::File(found) => assert!(is_same && found == bytes, "{what}"),
                Ended::BrokenOff(part) => assert!(!is_same && bytes.starts_with(&part), "{what}: {}", gateway.log()),
                // The reset overtook the first bytes.
                Ended::Unavailable if !is_same => {}
                other => panic!("{what}, same: {is_same}: found {other:?}: {}", gateway.log()),
            }
            wait_until("the end of a relay", || relays(&gateway, if is_same { "complete" } else { "failed" }) == 1.0);
            assert_eq!(gateway.metric("gateway_cache_files"), if is_same { 1.0 } else { 0.0 }, "{what}");
            let counted = |outcome| {
                gateway.metric(&format!("gateway_upstream_requests_total{{outcome=\"{outcome}\",upstream=\"u1\"}}"))
            };
            let counted = counted("found") + counted("failed");
            assert_eq!(counted, healthy.requests().len() as f64, "{what}: {}", gateway.log());
            if is_same {
                assert_eq!(resumes(&gateway, "u1"), 1.0, "{what}");
            }
            assert!(breaking.requests().len() <= 2 && healthy.requests().len() <= 2, "{what}");
        }
    }
}

/// Bytes of the other upstream that the reader has already are no progress for the reader.
#[test]
fn a_reader_waits_no_longer_than_a_stall_for_the_same_bytes_again() {
    let index = Sqlite::with_packages(&[]);
    let build_id = Random::new(16).build_id();
    let (path, file) = (debuginfo(&build_id), UpstreamFile::new(debug_file(&build_id, 8_000_000)));
    let breaking = Upstream::with_files(Fault::Stalls(6_000_000), [(&*path, &file)]);
    let bytes = file.bytes.to_vec();
    let slow = serving(&path, move |_, _, stream| {
        send(stream, "200 OK", &format!("Content-Length: {}\r\n", bytes.len()), &[]);
        for chunk in bytes.chunks(20_000) {
            if stream.write_all(chunk).is_err() {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    });
    let gateway = relaying(&index, &[breaking.url(), &slow.url()]);
    let reply = ask(&gateway, &path);
    assert!(!reply.has_right_bytes("stalled", &file.bytes), "{}", gateway.log());
    assert!(matches!(reply.ended, Ended::BrokenOff(_)), "{}", gateway.log());
    assert!(reply.longest_gap < Duration::from_secs(12), "a gap of {:?}", reply.longest_gap);
    wait_until("the end of a relay", || relays(&gateway, "failed") == 1.0);
}

#[test]
fn an_empty_source_is_an_answer_of_no_bytes() {
    let index = Sqlite::with_packages(&[]);
    let path = format!("/buildid/{}/source/usr/src/empty.c", Random::new(17).build_id());
    let upstream = Upstream::with_files(Fault::None, [(&*path, &UpstreamFile::new(Vec::new()))]);
    let gateway = relaying(&index, &[upstream.url()]);
    for _ in 0..2 {
        let answer = gateway.get(&path);
        assert_eq!((answer.status, answer.header("content-length")), (200, Some("0")), "{}", gateway.log());
        assert!(answer.body.is_empty());
        wait_until("a complete relay", || relays(&gateway, "complete") == 1.0);
    }
    assert_eq!(upstream.requests().iter().filter(|request| request.path == path).count(), 1);
}

#[test]
fn a_body_without_a_stated_size_is_taken_whole() {
    let index = Sqlite::with_packages(&[]);
    let (path, bytes) = a_file(4);
    let source = b"int main(void) { return 0; }\n".to_vec();
    let source_path = path.replace("debuginfo", "source/usr/src/x.c");
    // Before the end of its tables.
    let (cut, cut_late) = (bytes[..4000].to_vec(), bytes[..AT].to_vec());
    let chunked = |bytes: &[u8]| [format!("{:x}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n0\r\n\r\n"].concat();
    let (sized, chunks) = (format!("X-DEBUGINFOD-SIZE: {}\r\n", bytes.len()), "Transfer-Encoding: chunked\r\n");
    for (what, path, lines, sent, expected) in [
        ("chunked", &path, chunks.to_owned(), chunked(&bytes), Some(&bytes)),
        ("a chunked source", &source_path, chunks.to_owned(), chunked(&source), Some(&source)),
        ("whole, up to the end of the connection", &path, String::new(), bytes.clone(), Some(&bytes)),
        ("cut off, up to the end of the connection", &path, String::new(), cut, None),
        ("a source up to the end of the connection", &source_path, String::new(), source.clone(), None),
        ("cut off, with debuginfod's size", &path, sized, cut_late, None),
    ] {
        let upstream = serving(path, move |_, _, stream| send(stream, "200 OK", &lines, &sent));
        let gateway = relaying(&index, &[&upstream.url()]);
        match (ask(&gateway, path).ended, expected) {
            (Ended::File(found), Some(expected)) => assert!(found == *expected, "{what}"),
            (Ended::Unavailable, None) => {}
            (Ended::BrokenOff(part), None) => assert!(bytes.starts_with(&part) && part.len() <= AT, "{what}"),
            (other, _) => panic!("{what}: found {other:?}: {}", gateway.log()),
        }
        let files = if expected.is_some() { 1.0 } else { 0.0 };
        wait_until(what, || gateway.metric("gateway_cache_files") == files);
    }
}

#[test]
fn a_digest_that_an_upstream_tells_is_compared_and_told() {
    let index = Sqlite::with_packages(&[&fixtures::family("server")]);
    let empty = Sqlite::with_packages(&[]);
    let inner = RunningGateway::start(&index.url());
    let outer = relaying(&empty, &[&inner.url()]);
    let path = format!("/buildid/{}/executable", fixtures::build_id(SERVER, "/usr/bin/server"));
    let [theirs, ours] = [inner.get(&path), outer.get(&path)];
    assert!(ours.body == theirs.body);
    for name in ["repr-digest", "etag"] {
        assert!(theirs.header(name).is_some(), "{name}: {theirs:?}");
        assert_eq!(ours.header(name), theirs.header(name), "{name}");
    }
    let etag = theirs.header("etag").unwrap();
    assert_eq!(http::request(outer.port, "GET", &path, &[("If-None-Match", etag)]).unwrap().status, 304);

    // Of another file.
    let (path, bytes) = a_file(5);
    let digest = theirs.header("repr-digest").unwrap();
    let mut file = UpstreamFile::new(bytes.clone());
    file.headers.push_str(&format!("Repr-Digest: {digest}\r\n"));
    let upstream = Upstream::with_files(Fault::None, [(&*path, &file)]);
    let gateway = relaying(&empty, &[upstream.url()]);
    match ask(&gateway, &path).ended {
        Ended::BrokenOff(part) => assert!(bytes.starts_with(&part)),
        // It was compared before the first byte was sent.
        Ended::Unavailable => {}
        other => panic!("expected a reset, found {other:?}: {}", gateway.log()),
    }
    assert_eq!(gateway.metric("gateway_upstream_junk_total{upstream=\"u0\"}"), 1.0);
}

#[test]
fn after_a_wrong_file_another_upstream_is_asked_first() {
    let index = Sqlite::with_packages(&[]);
    let build_id = Random::new(6).build_id();
    let (path, right) = (debuginfo(&build_id), debug_file(&build_id, TAIL));
    let mut wrong = right.clone();
    *wrong.last_mut().unwrap() ^= 1;
    let mut lying = UpstreamFile::new(wrong);
    lying.headers.push_str("Repr-Digest: sha-256=:LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ=:\r\n");
    let lying = Upstream::with_files(Fault::None, [(&*path, &lying)]);
    let honest = Upstream::with_files(Fault::None, [(&*path, &UpstreamFile::new(right.clone()))]);
    let gateway = relaying(&index, &[lying.url(), honest.url()]);
    assert!(matches!(ask(&gateway, &path).ended, Ended::BrokenOff(_)));
    assert_eq!(ask(&gateway, &path).ended, Ended::File(right));
    assert_eq!(lying.requests().len(), 1);
}

#[test]
fn twenty_clients_are_one_request_and_a_slow_one_holds_up_none() {
    let index = Sqlite::with_packages(&[]);
    let (path, bytes) = a_file(7);
    let (gate, sent) = (Gate::default(), Arc::new(bytes.clone()));
    let passed = gate.clone();
    let upstream = serving(&path, move |_, _, stream| {
        send(stream, "200 OK", &format!("Content-Length: {}\r\n", sent.len()), &sent[..AT]);
        passed.pass();
        let _ = stream.write_all(&sent[AT..]);
    });
    let gateway = relaying(&index, &[&upstream.url()]);
    // It reads nothing of the body.
    let (_, mut slow) = http::begin(gateway.port, &path).unwrap();
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..20).map(|_| scope.spawn(|| ask(&gateway, &path).ended)).collect();
        // A part that is there already, while the rest is not.
        let part = http::request(gateway.port, "GET", &path, &[("Range", "bytes=1000-1999")]).unwrap();
        assert_eq!((part.status, &part.body[..]), (206, &bytes[1000..2000]));
        assert!(!gate.is_open());
        gate.open();
        for client in clients {
            assert!(client.join().unwrap() == Ended::File(bytes.clone()), "{}", gateway.log());
        }
    });
    assert_eq!(upstream.requests().len(), 1);
    let mut body = Vec::new();
    slow.read_to_end(&mut body).unwrap();
    assert!(body == bytes);
}

#[test]
fn a_relay_without_readers_is_finished_or_cancelled_as_configured() {
    let index = Sqlite::with_packages(&[]);
    for (abandoned, result) in [("finish", "complete"), ("cancel", "cancelled")] {
        let (path, bytes) = a_file(8);
        let (gate, sent) = (Gate::default(), Arc::new(bytes));
        let passed = gate.clone();
        let upstream = serving(&path, move |_, _, stream| {
            send(stream, "200 OK", &format!("Content-Length: {}\r\n", sent.len()), &sent[..AT]);
            for piece in sent[AT..].chunks(40_000) {
                std::thread::sleep(Duration::from_millis(if passed.is_open() { 0 } else { 900 }));
                if stream.write_all(piece).is_err() {
                    return;
                }
            }
        });
        let text = format!(
            "[extraction]\nabandoned = \"{abandoned}\"\n{}",
            configuration("", &[(Mode::Relay, &upstream.url())])
        );
        let gateway = RunningGateway::start_with(&index.url(), &text, &[]);
        drop(http::begin(gateway.port, &path).unwrap());
        if abandoned == "finish" {
            gate.open();
        }
        wait_within(Duration::from_secs(20), result, || relays(&gateway, result) == 1.0);
    }
}

#[test]
fn a_relayed_section_is_kept_by_itself() {
    let index = Sqlite::with_packages(&[]);
    let path = format!("/buildid/{}/section/.debug_info", Random::new(10).build_id());
    let upstream = Upstream::with_files(Fault::None, [(&*path, &UpstreamFile::bare(b"section".to_vec()))]);
    let gateway = federated(&index, Mode::Relay, "", &[&upstream]);
    for _ in 0..2 {
        let answer = gateway.get(&path);
        assert_eq!((answer.status, &answer.body[..]), (200, &b"section"[..]), "{}", gateway.log());
    }
    assert_eq!(upstream.requests().len(), 1);
}

#[test]
fn a_relay_to_a_full_disk_goes_through_memory() {
    let index = Sqlite::with_packages(&[]);
    let (path, bytes) = a_file(11);
    let upstream = Upstream::with_files(Fault::None, [(&*path, &UpstreamFile::new(bytes.clone()))]);
    let text = configuration("", &[(Mode::Relay, upstream.url())]);
    let mut disk = SmallDisk::start(&index.url(), 4, &text, &[]);
    disk.fill();
    assert_eq!(ask(&disk.gateway, &path).ended, Ended::File(bytes.clone()), "{}", disk.gateway.log());
    assert_eq!(disk.gateway.metric("gateway_cache_memory_fallbacks_total"), 1.0);
    disk.empty();
    assert_eq!(ask(&disk.gateway, &path).ended, Ended::File(bytes));
    wait_until("a cached file", || disk.gateway.metric("gateway_cache_files") == 1.0);
    let build_id = Random::new(12).build_id();
    upstream.add(&debuginfo(&build_id), &debug_file_with_headers(&build_id, 129 << 20));
    disk.gateway.expect_reset(&debuginfo(&build_id));
}
