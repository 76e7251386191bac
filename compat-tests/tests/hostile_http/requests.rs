//! Requests on a connection of their own: the status, and whether the connection stays open.

use compat_tests::darkserver::{RunningGateway, Sqlite};
use compat_tests::fixtures;

use super::{Connection, SERVER, assert_others_are_served};

/// The connection after the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    /// The next request on it is answered.
    Kept,
    /// It ends, and nothing comes behind the answer.
    Closed,
}
use Then::{Closed, Kept};

struct Row {
    send: Vec<u8>,
    status: u16,
    then: Then,
    because: &'static str,
}

fn row(send: impl Into<Vec<u8>>, status: u16, then: Then, because: &'static str) -> Row {
    Row { send: send.into(), status, then, because }
}

/// GET this target.
fn target(target: &str, status: u16, then: Then, because: &'static str) -> Row {
    row(format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n"), status, then, because)
}

/// GET /healthz with these header lines, and what comes behind the head.
fn headers(lines: &str, behind: &str, status: u16, then: Then, because: &'static str) -> Row {
    row(format!("GET /healthz HTTP/1.1\r\nHost: x\r\n{lines}\r\n{behind}"), status, then, because)
}

fn method(name: &str, target: &str, status: u16) -> Row {
    let because =
        "RFC 9110, section 9.1: 405 for a method that is known but not allowed, 501 for one that is not; case matters";
    row(format!("{name} {target} HTTP/1.1\r\nHost: x\r\n\r\n"), status, Kept, because)
}

fn ids(count: usize) -> String {
    format!("/buildids/{}", vec!["0123456789abcdef0123456789abcdef01234567"; count].join(","))
}

#[test]
fn strange_targets() {
    let id = "aa11";
    run(&[
        target("/buildid/%00/debuginfo", 400, Kept, "no build-id"),
        target(&format!("/buildid/{id}/source/a%00b"), 404, Kept, "a path that nothing has"),
        target(
            &format!("/buildid/{id}/source/%2e%2e%2f%2e%2e%2fetc/passwd"),
            404,
            Kept,
            "a source path is a name in the index",
        ),
        target(
            &format!("/buildid/{id}/source/../../../../etc/passwd"),
            404,
            Kept,
            "a source path is a name in the index",
        ),
        target(&format!("/buildid/{id}/section/../../etc/passwd"), 400, Kept, "a section is a name in an ELF file"),
        target(
            &format!("/archive/{}/..%2f..%2fetc%2fpasswd", "0".repeat(64)),
            404,
            Kept,
            "an archive's name is compared",
        ),
        target("/%2e%2e%2f%2e%2e%2fetc/passwd", 404, Kept, "no such route"),
        target("/../../etc/passwd", 404, Kept, "no such route"),
        target(&format!("/buildid/{id}%2Fdebuginfo"), 404, Kept, "docs/api.md: %2F is a slash"),
        target("/buildid%2Faa11%2Fdebuginfo", 404, Kept, "RFC 3986, section 2.2: not in front of a route"),
        target(&format!("/buildid/{id}/source/%ff%fe"), 400, Kept, "no UTF-8 behind /buildid/"),
        target("/buildids/%ff%fe", 200, Kept, "docs/api.md: malformed names match nothing"),
        target("/buildids/%zz%1", 200, Kept, "docs/api.md: malformed names match nothing"),
        target("/rpm2buildids/%ff", 200, Kept, "docs/api.md: malformed names match nothing"),
        target("/%ff%fe", 404, Kept, "no such route"),
        target("/x%0d%0aSet-Cookie:a=b", 404, Kept, "no such route; shown as it came"),
        target("/buildid/%3Cscript%3E/debuginfo", 400, Kept, "no build-id; quoted as plain text"),
        target("/buildids/\u{e9}", 400, Closed, "RFC 9112, section 3.2: a target is ASCII"),
        target("/buildids/\0", 400, Closed, "RFC 9112, section 3.2: no such character"),
        target("/\u{1b}[31m", 400, Closed, "RFC 9112, section 3.2: no such character"),
        target("/<script>\"", 400, Closed, "RFC 9112, section 3.2: no such character"),
        target("", 400, Closed, "RFC 9112, section 3: a request line has a target"),
        target(" /healthz ", 400, Closed, "RFC 9112, section 3: single spaces"),
        target("//healthz", 200, Kept, "docs/api.md: a doubled slash counts as one"),
        target(&format!("/healthz?{}", "q".repeat(9000)), 200, Kept, "nobody reads a query"),
        target("http://x/healthz", 200, Kept, "RFC 9112, section 3.2.2: absolute-form must be accepted"),
        target("http://x", 200, Kept, "RFC 9112, section 3.2.1: an empty path is /"),
        target("x:80", 400, Kept, "RFC 9112, section 3.2.3: authority-form is for CONNECT"),
        target("healthz", 400, Kept, "RFC 9112, section 3.2: a path begins with a slash"),
        target("*", 400, Kept, "RFC 9112, section 3.2.4: asterisk-form is for OPTIONS"),
        target(&ids(1590), 200, Kept, "a request line of 64 KiB is read"),
        target(&ids(1610), 414, Closed, "RFC 9110, section 15.5.15"),
        target(&ids(3000), 414, Closed, "RFC 9110, section 15.5.15"),
        target(&ids(50_000), 414, Closed, "RFC 9110, section 15.5.15; the answer must not be lost by a reset"),
    ]);
}

#[test]
fn strange_methods_and_versions() {
    run(&[
        method("TRACE", "/healthz", 405),
        method("DELETE", "/healthz", 405),
        method("OPTIONS", "/healthz", 405),
        method("OPTIONS", "*", 405),
        method("POST", "/nowhere", 405),
        method("BREW", "/healthz", 501),
        method("get", "/healthz", 501),
        method("BREW", "/nowhere", 501),
        method(&"A".repeat(5000), "/healthz", 501),
        row(
            "CONNECT x:80 HTTP/1.1\r\nHost: x\r\n\r\n",
            405,
            Closed,
            "RFC 9110, section 9.3.6: what follows might be a tunnel's",
        ),
        row("G(T /healthz HTTP/1.1\r\nHost: x\r\n\r\n", 400, Closed, "RFC 9110, section 9.1: a method is a token"),
        row("GET /healthz\r\n\r\n", 400, Closed, "HTTP/0.9 is gone: RFC 9112, appendix C.1"),
        row("GET /healthz HTTP/0.9\r\n\r\n", 400, Closed, "HTTP/0.9 is gone: RFC 9112, appendix C.1"),
        row(
            "GET /healthz HTTP/1.0\r\n\r\n",
            200,
            Closed,
            "RFC 9112, section 9.3: HTTP/1.0 has no persistence, nor Host",
        ),
        row("GET /buildids/aa11 HTTP/1.0\r\n\r\n", 200, Closed, "links can be made without Host"),
        row("GET /healthz HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", 200, Kept, "RFC 9112, section 9.3"),
        row("GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 200, Closed, "RFC 9112, section 9.6"),
        row("GET /healthz HTTP/1.1\r\n\r\n", 400, Closed, "RFC 9112, section 3.2: Host is required"),
        row("GET /healthz HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400, Closed, "RFC 9112, section 3.2: one Host"),
        row("GET /healthz HTTP/1.1\r\nHost: <script>\r\n\r\n", 400, Kept, "RFC 9112, section 3.2: an invalid Host"),
        row("GET /healthz HTTP/1.1\r\nHost: u@x\r\n\r\n", 400, Kept, "RFC 9112, section 3.2: no user in a Host"),
        row("GET /healthz HTTP/1.1\r\nHost:\r\n\r\n", 200, Kept, "RFC 9112, section 3.2: Host may be empty"),
        row("GET /healthz HTTP/1.2\r\nHost: x\r\n\r\n", 400, Closed, "RFC 9110, section 2.5: 505 or 400"),
        row("GET /healthz HTTP/2.0\r\nHost: x\r\n\r\n", 400, Closed, "HTTP/2 begins with its preface"),
        row(
            "\r\n\r\nGET /healthz HTTP/1.1\r\nHost: x\r\n\r\n",
            200,
            Kept,
            "RFC 9112, section 2.2: empty lines before a request",
        ),
        row("GET /healthz HTTP/1.1\nHost: x\n\n", 200, Kept, "RFC 9112, section 2.2: a line may end with LF alone"),
        row("GET /healthz HTTP/1.1\rHost: x\r\r", 400, Closed, "RFC 9112, section 2.2: a bare CR"),
        row(*b"\x16\x03\x01\x00\xc8\x01\x00\x00\xc4\x03\x03\0\0\0\0\0\0", 400, Closed, "a TLS ClientHello"),
        row([0xde, 0xad, 0xbe, 0xef].repeat(100), 400, Closed, "no HTTP"),
        row("PRI * HTTP/1.1\r\nHost: x\r\n\r\n", 501, Kept, "not quite HTTP/2"),
    ]);
}

#[test]
fn strange_headers_and_bodies() {
    let many = |count: usize| (0..count).map(|number| format!("X-{number}: y\r\n")).collect::<String>();
    let smuggled = "0\r\n\r\nGET /metrics HTTP/1.1\r\nHost: x\r\n\r\n";
    let no_meaning =
        "RFC 9110, section 9.3.1: a body of GET means nothing; RFC 9112, section 9.3: read it whole or close";
    run(&[
        headers(&many(90), "", 200, Kept, "so many are read"),
        headers(&many(97), "", 431, Closed, "RFC 6585, section 5"),
        headers(&many(5000), "", 431, Closed, "RFC 6585, section 5"),
        headers(&format!("X: {}\r\n", "a".repeat(100_000)), "", 200, Kept, "a head of 128 KiB is read"),
        headers(&format!("X: {}\r\n", "a".repeat(200_000)), "", 431, Closed, "RFC 6585, section 5"),
        headers(&format!("X: {}\r\n", "a".repeat(10 << 20)), "", 431, Closed, "the answer must not be lost by a reset"),
        headers("no colon\r\n", "", 400, Closed, "RFC 9112, section 5"),
        headers("X : y\r\n", "", 400, Closed, "RFC 9112, section 5.1: no blank before the colon"),
        headers("X: y\r\n z\r\n", "", 400, Closed, "RFC 9112, section 5.2: folded lines"),
        headers("X: a\0b\r\n", "", 400, Closed, "RFC 9110, section 5.5: NUL in a value"),
        headers("X: a\rb\r\n", "", 400, Closed, "RFC 9110, section 5.5: CR in a value"),
        headers("Expect: 200-ok\r\n", "", 200, Kept, "RFC 9110, section 10.1.1: 417 is a may"),
        headers(
            "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
            smuggled,
            400,
            Closed,
            "RFC 9112, section 6.1: both",
        ),
        headers(
            "Content-Length: 5\r\nContent-Length: 6\r\n",
            "hello",
            400,
            Closed,
            "RFC 9112, section 6.3: two lengths",
        ),
        headers("Content-Length: 5, 6\r\n", "hello", 400, Closed, "RFC 9112, section 6.3: two lengths"),
        headers("Content-Length: -1\r\n", "", 400, Closed, "RFC 9110, section 8.6: digits"),
        headers("Content-Length: +5\r\n", "hello", 400, Closed, "RFC 9110, section 8.6: digits"),
        headers("Content-Length: 0x5\r\n", "hello", 400, Closed, "RFC 9110, section 8.6: digits"),
        headers("Content-Length:\r\n", "", 400, Closed, "RFC 9110, section 8.6: digits"),
        headers(
            "Content-Length: 99999999999999999999999\r\n",
            "",
            400,
            Closed,
            "RFC 9110, section 8.6: beyond any number",
        ),
        headers("Transfer-Encoding: gzip, chunked\r\n", smuggled, 400, Closed, "RFC 9112, section 6.1: 501 or 400"),
        headers("Transfer-Encoding: identity\r\n", "", 400, Closed, "RFC 9112, section 6.3: chunked must be last"),
        headers(
            "Transfer-Encoding: xchunked\r\n",
            smuggled,
            400,
            Closed,
            "RFC 9112, section 6.3: chunked must be last",
        ),
        headers(
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
            smuggled,
            400,
            Closed,
            "RFC 9112, section 6.1: once",
        ),
        row(
            format!("GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n{smuggled}"),
            400,
            Closed,
            "RFC 9112, section 6.1: not in 1.0",
        ),
        headers("Transfer-Encoding: chunked\r\n", "5\r\nhello\r\n0\r\n\r\n", 200, Kept, no_meaning),
        headers("Transfer-Encoding: chunked\r\n", "zz\r\nhello\r\n0\r\n\r\n", 200, Closed, no_meaning),
        headers("Transfer-Encoding: chunked\r\n", "fffffffffffffffff\r\nhello\r\n0\r\n\r\n", 200, Closed, no_meaning),
        headers("Content-Length: 500\r\n", "hello", 200, Closed, no_meaning),
        headers("Content-Length: 18446744073709551615\r\n", "hello", 200, Closed, no_meaning),
        headers(
            "Connection: Upgrade\r\nUpgrade: h2c\r\n",
            "",
            200,
            Closed,
            "RFC 9110, section 7.8: an upgrade may be ignored",
        ),
    ]);
}

#[test]
fn strange_ranges() {
    let path = format!("/buildid/{}/executable", fixtures::build_id(SERVER, "/usr/bin/server"));
    let ignored = "RFC 9110, section 14.2: what is no range is ignored";
    let range = |text: &str, status, because| {
        row(format!("GET {path} HTTP/1.1\r\nHost: x\r\nRange: {text}\r\n\r\n"), status, Kept, because)
    };
    run(&[
        range("bytes=0-0", 206, "a range"),
        range("bytes=", 200, ignored),
        range("bytes=-", 200, ignored),
        range("bytes=5-2", 200, ignored),
        range("bytes=a-b", 200, ignored),
        range("bytes=0x0-0x5", 200, ignored),
        range("lines=1-2", 200, ignored),
        range("bytes=0-0,2-3", 200, "several ranges may be ignored"),
        range(&format!("bytes={}", "0-,".repeat(30_000)), 200, "RFC 9110, section 17.15: many small ranges"),
        range("bytes=-0", 416, "RFC 9110, section 14.1.2: nothing of it can be sent"),
        range("bytes=99999999999999999999-", 416, "beyond the end, and any number"),
        range("bytes=99999999999999999999-5", 200, ignored),
        range("bytes=0-99999999999999999999", 206, "RFC 9110, section 14.1.2: up to the end"),
    ]);
}

/// Sends each row, checks the answer, and asserts that other clients are served.
fn run(rows: &[Row]) {
    let sqlite = Sqlite::with_packages(&[&fixtures::family("server")]);
    let gateway = RunningGateway::start(&sqlite.url());
    let directory = gateway.cache().ancestors().nth(2).unwrap().to_str().unwrap().to_owned();
    for Row { send, status, then, because } in rows {
        let shown = String::from_utf8_lossy(&send[..send.len().min(120)]).into_owned();
        let shown = format!("{shown:?} ({because})");
        let mut line = Connection::open(gateway.port);
        line.send(send).unwrap_or_else(|error| panic!("{shown}: {error}"));
        let answer = line.answer(true).unwrap_or_else(|error| panic!("{shown}: {error}"));
        assert_eq!(answer.status, *status, "{shown}: {}", answer.text());
        match then {
            Kept => assert!(line.is_open(), "{shown}: expected an open connection"),
            Closed => {
                let (rest, took) = line.rest();
                assert!(rest.is_empty(), "{shown}: behind the answer came {:?}", String::from_utf8_lossy(&rest));
                assert!(took.as_secs() < 8, "{shown}: ended after {took:?}");
            }
        }
        if answer.status >= 400 {
            let text = answer.text();
            assert!(!text.contains(&directory), "{shown}: {text}");
            assert!(text.chars().all(|c| c == '\n' || !c.is_control()), "{shown}: {text:?}");
            let is_plain = answer.header("content-type") == Some("text/plain; charset=utf-8");
            assert!(
                !text.contains('<') || is_plain && answer.header("x-content-type-options") == Some("nosniff"),
                "{shown}: {text}"
            );
            let allow = answer.header("allow");
            assert_eq!(allow == Some("GET, HEAD"), matches!(answer.status, 405 | 501), "{shown}: {allow:?}");
        }
        assert_others_are_served(&gateway);
    }
}

#[test]
fn a_thousand_pipelined_requests_are_answered_in_order() {
    let sqlite = Sqlite::with_packages(&[]);
    let gateway = RunningGateway::start(&sqlite.url());
    let mut line = Connection::open(gateway.port);
    let mut requests = Vec::new();
    for number in 0..1000 {
        // The longest are refused one by one, and some look into the index.
        let path = if number % 3 == 0 { format!("/buildids/{number:040x}") } else { format!("/nowhere-{number}") };
        requests.extend(format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").into_bytes());
    }
    line.send(&requests).unwrap();
    for number in 0..1000 {
        let answer = line.answer(true).unwrap();
        if number % 3 == 0 {
            assert_eq!(answer.text(), "[]", "{number}");
        } else {
            assert!(answer.text().contains(&format!("/nowhere-{number}\"")), "{number}: {}", answer.text());
        }
    }
    assert!(line.is_open());
}
