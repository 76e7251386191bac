//! Relays: bytes of an upstream through the gateway into its cache.

use std::io::Read;
use std::time::{Duration, Instant};

use compat_tests::compiled::{Program, build_id};
use compat_tests::darkserver::{RunningGateway, Sqlite};
use compat_tests::http;
use compat_tests::upstreams::{Fault, Random, Upstream, UpstreamFile};

use crate::client::{Ended, ask};
use crate::{Mode, debug_file, debug_file_with_headers, debuginfo, patient};

/// Bytes behind a debug file: more than a relay holds back.
const TAIL: usize = 400_000;
/// A relay holds back so many bytes at most.
const HELD_BACK: usize = 64 << 10;

/// A gateway that relays what these upstreams have.
fn relaying(index: &Sqlite, upstreams: &[&Upstream]) -> RunningGateway {
    let upstreams: Vec<_> = upstreams.iter().map(|upstream| (Mode::Relay, upstream.url())).collect();
    RunningGateway::start_with(&index.url(), &patient("", &upstreams), &[])
}

fn held(seed: u64) -> (String, String, UpstreamFile) {
    let build_id = Random::new(seed).build_id();
    let (path, file) = (debuginfo(&build_id), debug_file_with_headers(&build_id, TAIL));
    (build_id, path, file)
}

#[test]
fn a_relay_sends_what_came_and_continues_by_a_range_where_it_broke_off() {
    let index = Sqlite::with_packages(&[]);
    let (build_id, path, file) = held(70);
    let stops_at = 300_000;
    let upstream = Upstream::with_files(Fault::Stalls(stops_at), [(&*path, &file)]);
    let gateway = relaying(&index, &[&upstream]);
    let (head, mut stream) = http::begin(gateway.port, &path).unwrap();
    assert_eq!(head.status, 200, "{}", gateway.log());
    for (name, value) in
        [("x-debuginfod-size", file.bytes.len().to_string()), ("x-debuginfod-archive", "odd.rpm".into())]
    {
        assert_eq!(head.header(name), Some(&*value), "{head:?}");
    }
    // What came, but for the end of it, is here although the upstream has stopped.
    let mut bytes = vec![0; stops_at - HELD_BACK - 1024];
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    stream.read_exact(&mut bytes).unwrap_or_else(|error| panic!("{error}: {}", gateway.log()));
    // Its connection ends early; a new one gets all that it asks for.
    upstream.set(Fault::None);
    let started = Instant::now();
    stream.read_to_end(&mut bytes).unwrap_or_else(|error| panic!("{error}: {}", gateway.log()));
    assert!(bytes == *file.bytes, "{} wrong bytes", bytes.len());
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
    let requests = upstream.requests();
    let ranges: Vec<_> = requests.iter().filter_map(|request| request.header("range")).collect();
    assert_eq!(ranges.len(), 1, "expected that it continues by a range: {requests:#?}");
    assert_eq!(gateway.metric("gateway_upstream_resumes_total{upstream=\"u0\"}"), 1.0);

    // All that follows comes from the cache.
    let asked = upstream.requests_for(&build_id);
    let reply = ask(&gateway, &path);
    assert!(reply.has_right_bytes("from the cache", &file.bytes));
    let range = http::request(gateway.port, "GET", &path, &[("Range", "bytes=100000-100999")]).unwrap();
    assert_eq!((range.status, &range.body[..]), (206, &file.bytes[100_000..101_000]));
    let (head, body) = (http::request(gateway.port, "HEAD", &path, &[]).unwrap(), file.bytes.len().to_string());
    assert_eq!((head.status, head.header("content-length")), (200, Some(&*body)));
    assert_eq!(upstream.requests_for(&build_id), asked, "expected that the cache answers");
}

#[test]
fn many_clients_of_one_file_are_one_request() {
    let index = Sqlite::with_packages(&[]);
    let (build_id, path, file) = held(71);
    let upstream = Upstream::with_files(Fault::Drips(100_000), [(&*path, &file)]);
    let gateway = relaying(&index, &[&upstream]);
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..8).map(|_| scope.spawn(|| ask(&gateway, &path))).collect();
        for client in clients {
            let reply = client.join().unwrap();
            assert!(reply.has_right_bytes("one of many", &file.bytes));
            // The drip has some bytes every 20 ms.
            assert!(reply.longest_gap < Duration::from_secs(3), "a gap of {:?}", reply.longest_gap);
        }
    });
    assert_eq!(upstream.requests_for(&build_id), 1, "{:#?}", upstream.requests());
}

/// Distributions rebuild packages: two files of one size can have one build-id and other bytes.
#[test]
fn no_answer_is_joined_from_two_different_files() {
    let index = Sqlite::with_packages(&[]);
    let (build_id, path, first) = held(72);
    for first_headers in [true, false] {
        let mut other = first.bytes.to_vec();
        // Behind the part that the client has when the first one breaks off.
        let end = other.len() - 1000;
        other[end] ^= 0x55;
        let mut early = first.bytes.to_vec();
        early[50_000] ^= 0x55;
        let first = if first_headers { first.clone() } else { UpstreamFile::bare(first.bytes.to_vec()) };
        for (what, bytes) in [("a file that differs early", early), ("a file that differs late", other)] {
            let second = UpstreamFile::new(bytes);
            let breaking = Upstream::with_files(Fault::ResetsAt(200_000), [(&*path, &first)]);
            let rival = Upstream::with_files(Fault::None, [(&*path, &second)]);
            let gateway = relaying(&index, &[&breaking, &rival]);
            for _ in 0..3 {
                match ask(&gateway, &path).ended {
                    // The second one alone: where they differ behind what was sent, the prefix is the same.
                    Ended::File(bytes) => assert!(bytes == *second.bytes, "{what}: {} wrong bytes", bytes.len()),
                    Ended::BrokenOff(bytes) => {
                        assert!(first.bytes.starts_with(&bytes) || second.bytes.starts_with(&bytes), "{what}: mixed");
                    }
                    Ended::Unavailable => {}
                    other => panic!("{what}: {build_id}: {other:?}"),
                }
            }
        }
    }
}

#[test]
fn sources_are_relayed_up_to_a_size_and_redirected_to_beyond_it() {
    let index = Sqlite::with_packages(&[]);
    let build_id = Random::new(73).build_id();
    let path = |name: &str| format!("/buildid/{build_id}/source/usr/src/{name}");
    let small = UpstreamFile::bare(b"int small;\n".repeat(20));
    let large = UpstreamFile::bare(b"int large;\n".repeat(2000));
    let upstream = Upstream::with_files(Fault::None, [(&*path("small.c"), &small), (&*path("large.c"), &large)]);
    let text = patient("[relay]\nmax_source = \"1KiB\"", &[(Mode::Redirect, upstream.url())]);
    let gateway = RunningGateway::start_with(&index.url(), &text, &[]);
    for _ in 0..2 {
        assert_eq!(ask(&gateway, &path("small.c")).ended, Ended::File(small.bytes.to_vec()));
    }
    assert_eq!(upstream.requests_for(&build_id), 1, "expected that the cache has it");
    let to = format!("{}{}", upstream.url(), path("large.c"));
    assert_eq!(ask(&gateway, &path("large.c")).ended, Ended::Redirect(to));
    let text = patient("", &[(Mode::Relay, upstream.url())]);
    let gateway = RunningGateway::start_with(&index.url(), &text, &[]);
    assert_eq!(ask(&gateway, &path("large.c")).ended, Ended::File(large.bytes.to_vec()));
}

#[test]
fn a_section_is_a_slice_of_a_cached_file_and_never_a_reason_to_get_a_whole_one() {
    let index = Sqlite::with_packages(&[]);
    let program = Program::compile("sections", "/s/sections");
    let (id, bytes) = (build_id(&program.debug()), std::fs::read(program.debug()).unwrap());
    let (file, section) = (debuginfo(&id), format!("/buildid/{id}/section/.debug_str"));
    let theirs = UpstreamFile::bare(b"as the upstream has it".to_vec());
    for mode in Mode::BOTH {
        let upstream =
            Upstream::with_files(Fault::None, [(&*file, &UpstreamFile::new(bytes.clone())), (&*section, &theirs)]);
        let gateway = RunningGateway::start_with(&index.url(), &patient("", &[(mode, upstream.url())]), &[]);
        match ask(&gateway, &section).ended {
            Ended::Redirect(to) if mode == Mode::Redirect => assert_eq!(to, format!("{}{section}", upstream.url())),
            Ended::File(bytes) if mode == Mode::Relay => assert_eq!(bytes, *theirs.bytes),
            other => panic!("{mode:?}: {other:?}"),
        }
        let paths: Vec<String> = upstream.requests().into_iter().map(|request| request.path).collect();
        assert_eq!(paths, [section.as_str()], "{mode:?}");
    }
    // Of a file in the cache.
    let upstream = Upstream::with_files(Fault::None, [(&*file, &UpstreamFile::new(bytes.clone()))]);
    let gateway = relaying(&index, &[&upstream]);
    assert_eq!(ask(&gateway, &file).ended, Ended::File(bytes.clone()));
    let Ended::File(slice) = ask(&gateway, &section).ended else { panic!("{}", gateway.log()) };
    assert!(!slice.is_empty() && bytes.windows(slice.len()).any(|window| window == slice), "{} bytes", slice.len());
    let paths: Vec<String> = upstream.requests().into_iter().map(|request| request.path).collect();
    assert_eq!(paths, [file.as_str()]);
}

/// A file of which nobody told the size ends where the upstream's answer does.
#[test]
fn a_file_without_a_stated_size_is_relayed_whole() {
    let index = Sqlite::with_packages(&[]);
    let build_id = Random::new(75).build_id();
    let (path, bytes) = (debuginfo(&build_id), debug_file(&build_id, TAIL));
    let sent = bytes.clone();
    let chunked = compat_tests::fake_server::FakeServer::start(move |head, stream| {
        use std::io::Write;
        if !head.contains(&build_id) {
            return compat_tests::fake_server::answer_absent(head, stream);
        }
        let _ = write!(stream, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n");
        for chunk in sent.chunks(50_000) {
            let _ = write!(stream, "{:x}\r\n", chunk.len());
            let _ = stream.write_all(chunk).and_then(|()| stream.write_all(b"\r\n"));
        }
        let _ = stream.write_all(b"0\r\n\r\n");
    });
    let text = patient("", &[(Mode::Relay, &chunked.url())]);
    let gateway = RunningGateway::start_with(&index.url(), &text, &[]);
    for _ in 0..2 {
        assert!(ask(&gateway, &path).has_right_bytes("chunked", &bytes));
    }
    assert_eq!(chunked.connections(), 1);
}
