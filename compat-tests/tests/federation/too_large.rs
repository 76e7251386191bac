//! Limits of clients (`X-DEBUGINFOD-MAXSIZE`): found, too large is neither absent nor remembered.

use compat_tests::darkserver::Sqlite;
use compat_tests::fake_server::FakeServer;
use compat_tests::http;
use compat_tests::upstreams::{Fault, Random, Upstream};

use crate::client::{Ended, ask};
use crate::{Mode, debug_file_with_headers, debuginfo, federated};

#[test]
fn what_is_too_large_is_406_and_found_without_the_limit() {
    let index = Sqlite::with_packages(&[]);
    for mode in Mode::BOTH {
        let build_id = Random::new(60).build_id();
        let (path, file) = (debuginfo(&build_id), debug_file_with_headers(&build_id, 100_000));
        let upstreams = [Upstream::start(Fault::None), Upstream::with_files(Fault::None, [(&*path, &file)])];
        let gateway = federated(&index, mode, "", &[&upstreams[0], &upstreams[1]]);
        for _ in 0..2 {
            let limited = http::request(gateway.port, "GET", &path, &[("X-DEBUGINFOD-MAXSIZE", "1000")]).unwrap();
            assert_eq!(limited.status, 406, "{mode:?}: {}", limited.text());
            let reply = ask(&gateway, &path);
            match &reply.ended {
                Ended::Redirect(to) if mode == Mode::Redirect => {
                    assert_eq!(*to, format!("{}{path}", upstreams[1].url()))
                }
                _ => assert!(reply.has_right_bytes("without a limit", &file.bytes)),
            }
        }
    }
}

#[test]
fn an_upstream_that_answers_406_is_passed_on_and_never_makes_404() {
    use std::io::Write;
    let index = Sqlite::with_packages(&[]);
    // As elfutils: the limit of the client is compared there.
    let strict = FakeServer::start(|head, stream| {
        let limited = head.to_ascii_lowercase().contains("x-debuginfod-maxsize");
        let status = if limited { "406 Not Acceptable" } else { "404 Not Found" };
        let _ = write!(stream, "HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    });
    for mode in Mode::BOTH {
        let path = debuginfo(&Random::new(61).build_id());
        let mut text = crate::configuration("", &[(mode, &strict.url())]);
        let other = Upstream::start(Fault::None);
        text.push_str(&format!("[[upstream]]\nname = \"other\"\nurl = \"{}\"\n", other.url()));
        let gateway = compat_tests::darkserver::RunningGateway::start_with(&index.url(), &text, &[]);
        let limited = http::request(gateway.port, "GET", &path, &[("X-DEBUGINFOD-MAXSIZE", "1000")]).unwrap();
        assert_eq!(limited.status, 406, "{mode:?}: {}", limited.text());
        assert_ne!(limited.header("cache-control").unwrap_or_default(), "public, max-age=10", "{mode:?}");
    }
    // A 406 that nobody asked for is no absence either.
    for mode in Mode::BOTH {
        let faulty = Upstream::start(Fault::Status(406));
        let gateway = federated(&index, mode, "", &[&faulty]);
        let reply = ask(&gateway, &debuginfo(&Random::new(62).build_id()));
        assert!(matches!(reply.ended, Ended::TooLarge | Ended::Unavailable), "{mode:?}: {reply:?}");
    }
}
