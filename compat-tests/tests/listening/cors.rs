//! What pages of other origins may ask and read.

use std::fs;

use compat_tests::chromium::browse;
use compat_tests::darkserver::RunningGateway;
use compat_tests::fake_server::FakeServer;
use compat_tests::files::FileServer;
use compat_tests::http::{self, Response};

use super::{UNKNOWN, nowhere, servers};

const ORIGIN: (&str, &str) = ("Origin", "https://debugger.example");
const EVERYBODY: &str = "[cors]\norigins = [\"*\"]\n";

fn ask(gateway: &RunningGateway, method: &str, path: &str, headers: &[(&str, &str)]) -> Response {
    http::request(gateway.port, method, path, headers).unwrap()
}

fn allowed(answer: &Response) -> Option<&str> {
    answer.header("access-control-allow-origin")
}

#[test]
fn no_origin_is_allowed_by_default() {
    let (sqlite, file, _) = servers();
    let gateway = RunningGateway::start(&sqlite.url());
    let options = ask(&gateway, "OPTIONS", &file, &[ORIGIN]);
    assert_eq!((options.status, options.header("allow"), allowed(&options)), (405, Some("GET, HEAD"), None));
    assert_eq!(allowed(&ask(&gateway, "GET", &file, &[ORIGIN])), None);
}

#[test]
fn with_any_origin_allowed_every_client_response_states_it() {
    let (sqlite, file, _) = servers();
    let upstream = FakeServer::start(|head, stream| {
        let status = if head.contains("00bb/") { "200 OK" } else { "404 Not Found" };
        let elf = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0";
        let head = format!(
            "HTTP/1.1 {status}\r\nX-DEBUGINFOD-SIZE: 16\r\nContent-Length: 16\r\nETag: \"e\"\r\n\
             Connection: close\r\n\r\n"
        );
        let _ = std::io::Write::write_all(stream, &[head.as_bytes(), elf].concat());
    });
    let gateway = RunningGateway::start_with(&sqlite.url(), EVERYBODY, &["--upstream", &upstream.url()]);
    let elsewhere = UNKNOWN.replace("00aa", "00bb");
    for (path, status) in [
        (file.clone(), 200),
        (format!("/buildid/{UNKNOWN}/debuginfo"), 404),
        ("/buildid/nonsense/debuginfo".to_owned(), 400),
        (format!("/buildid/{elsewhere}/debuginfo"), 302),
        (format!("/buildids/{UNKNOWN}"), 200),
        ("/darkserver/package/server-1.1-5.fc99.x86_64".to_owned(), 200),
        ("/serverversion".to_owned(), 200),
        ("/".to_owned(), 200),
        ("/nonsense".to_owned(), 404),
    ] {
        let answer = ask(&gateway, "GET", &path, &[ORIGIN]);
        assert_eq!((answer.status, allowed(&answer)), (status, Some("*")), "{path}");
        let read = answer.header("access-control-expose-headers").unwrap().to_lowercase();
        for name in
            ["x-debuginfod-size", "x-debuginfod-file", "x-debuginfod-archive", "x-debuginfod-imasignature", "etag"]
        {
            assert!(read.split(", ").any(|found| found == name), "{path}: {name} in {read}");
        }
        // As elfutils' server: OPTIONS on any path, asked by a browser or not.
        let options = ask(&gateway, "OPTIONS", &path, &[]);
        assert_eq!((options.status, allowed(&options), options.body.len()), (200, Some("*"), 0), "{path}");
        assert!(options.header("access-control-allow-methods").unwrap().contains("GET, OPTIONS"), "{path}");
        let sent = options.header("access-control-allow-headers").unwrap();
        assert!(sent.contains("cache-control") && sent.contains("x-debuginfod-maxsize"), "{sent}");
        assert_eq!(
            answer.header("vary").filter(|vary| vary.contains("Origin")),
            None,
            "{path}: everybody gets the same"
        );
    }
    // A redirect is kept for a short while and has no validator: the file's is the upstream's to tell.
    let redirect = ask(&gateway, "GET", &format!("/buildid/{elsewhere}/debuginfo"), &[]);
    assert_eq!((redirect.header("cache-control"), redirect.header("etag")), (Some("public, max-age=60"), None));
    assert_eq!(redirect.header("x-debuginfod-size"), Some("16"));
    assert_eq!(ask(&gateway, "POST", &file, &[]).header("allow"), Some("HEAD, GET, OPTIONS"));
    for path in ["/metrics", "/healthz", "/readyz", "/upstreams"] {
        assert_eq!(ask(&gateway, "OPTIONS", path, &[ORIGIN]).status, 405, "{path}");
        assert_eq!(allowed(&ask(&gateway, "GET", path, &[ORIGIN])), None, "{path}");
    }
}

#[test]
fn an_unavailable_answer_is_readable_by_allowed_origins() {
    let (sqlite, ..) = servers();
    let configuration = format!("{EVERYBODY}[federation]\nunavailable = \"503\"\n");
    let gateway = RunningGateway::start_with(&sqlite.url(), &configuration, &["--upstream", &nowhere()]);
    let answer = ask(&gateway, "GET", &format!("/buildid/{UNKNOWN}/debuginfo"), &[ORIGIN]);
    assert_eq!((answer.status, allowed(&answer), answer.header("cache-control")), (503, Some("*"), Some("no-store")));
}

#[test]
fn only_listed_origins_are_allowed_and_responses_vary_by_origin() {
    let (sqlite, file, _) = servers();
    let configuration = "[cors]\norigins = [\"https://debugger.example\", \"http://127.0.0.1:9000\"]\n";
    let gateway = RunningGateway::start_with(&sqlite.url(), configuration, &[]);
    for (origin, expected) in [
        (Some("https://debugger.example"), Some("https://debugger.example")),
        (Some("http://127.0.0.1:9000"), Some("http://127.0.0.1:9000")),
        (Some("https://debugger.example.org"), None),
        (Some("http://debugger.example"), None),
        (Some("null"), None),
        (None, None),
    ] {
        let headers: Vec<(&str, &str)> = origin.map(|origin| ("Origin", origin)).into_iter().collect();
        for method in ["GET", "OPTIONS"] {
            let answer = ask(&gateway, method, &file, &headers);
            assert_eq!((answer.status, allowed(&answer)), (200, expected), "{method} {origin:?}");
            let varies =
                answer.headers.iter().any(|(name, value)| name == "vary" && value.eq_ignore_ascii_case("origin"));
            assert!(varies, "{method} {origin:?}: {:?}", answer.headers);
            assert_eq!(
                answer.header("access-control-allow-methods").is_some(),
                method == "OPTIONS" && expected.is_some()
            );
        }
    }
}

#[test]
fn a_browser_lets_an_allowed_page_read_file_and_headers() {
    let (sqlite, file, bytes) = servers();
    for (configuration, expected) in [(EVERYBODY, format!("206 {} 4", bytes.len())), ("", "blocked".to_owned())] {
        let gateway = RunningGateway::start_with(&sqlite.url(), configuration, &[]);
        let directory = tempfile::tempdir().unwrap();
        // The header makes the browser ask by OPTIONS first.
        let page = format!(
            "<!DOCTYPE html><p id=said>waiting</p><script>
            const say = text => document.getElementById('said').textContent = `it is ${{text}}.`;
            fetch('{}{file}', {{ headers: {{ Range: 'bytes=0-3', 'X-DEBUGINFOD-MAXSIZE': '99999999' }} }})
                .then(async answer => {{
                    const [size, body] = [answer.headers.get('x-debuginfod-size'), await answer.arrayBuffer()];
                    say(`${{answer.status}} ${{size}} ${{body.byteLength}}`);
                }})
                .catch(() => say('blocked'));
            </script>",
            gateway.url()
        );
        fs::write(directory.path().join("page.html"), page).unwrap();
        let files = FileServer::start(directory.path());
        let (document, said) = browse(&format!("{}/page.html", files.url()));
        assert!(document.contains(&format!("it is {expected}.")), "{document}\n{said}");
        assert!(gateway.log().contains("method=\"OPTIONS\""), "{}", gateway.log());
    }
}
