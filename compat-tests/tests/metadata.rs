//! `/metadata`: elfutils' newest client, its newest server beside ours, upstreams, limits, and a database that is away.

#![expect(clippy::unwrap_used, reason = "a failure here is a failed test, and says where")]

use std::collections::BTreeSet;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use compat_tests::darkserver::{RunningGateway, Sqlite, import_ok};
use compat_tests::debuginfod::{Debuginfod, DebuginfodClient};
use compat_tests::fake_server::{self, FakeServer};
use compat_tests::fixtures;
use compat_tests::http;
use compat_tests::mariadb::MariaDb;
use compat_tests::wait_until;
use compat_tests::wait_within;
use serde_json::{Value, json};

/// What the tests allow an answer; the rest is for a busy machine.
const SHORT: &str = "[metadata]\nbudget = \"2s\"\n";
const WITHIN: Duration = Duration::from_secs(5);

/// A file as both servers name it: type, build-id, path.
type File = (String, String, String);

fn packages(families: &[&str]) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    for family in families {
        fixtures::copy(&fixtures::rpms(family), directory.path());
    }
    directory
}

fn path_of(key: &str, value: &str) -> String {
    let value: String = value.bytes().map(|byte| format!("%{byte:02X}")).collect();
    format!("/metadata?key={key}&value={value}")
}

fn ask(port: u16, key: &str, value: &str) -> Value {
    let path = path_of(key, value);
    let answer = http::get(port, &path).unwrap();
    assert_eq!(
        (answer.status, answer.header("content-type")),
        (200, Some("application/json")),
        "{path}: {}",
        answer.text()
    );
    serde_json::from_slice(&answer.body).unwrap()
}

/// What was found, and whether that is all.
fn files(answer: &Value) -> (BTreeSet<File>, bool) {
    let text = |file: &Value, key: &str| file[key].as_str().unwrap().to_owned();
    let results = answer["results"].as_array().unwrap();
    let file = |file: &Value| (text(file, "type"), text(file, "buildid"), text(file, "file"));
    (results.iter().map(file).collect(), answer["complete"].as_bool().unwrap())
}

/// `/usr/bin/server` of three releases.
fn servers() -> BTreeSet<File> {
    let server = |release| {
        let rpm = format!("server/server-1.1-{release}.fc99.x86_64.rpm");
        ("executable".to_owned(), fixtures::build_id(&rpm, "/usr/bin/server"), "/usr/bin/server".to_owned())
    };
    [5, 6, 7].map(server).into()
}

fn said_by_client(client: &DebuginfodClient, key: &str, value: &str) -> Value {
    let output = client.metadata(key, value);
    assert!(output.status.success(), "{key} {value}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn mariadb_index(directory: &Path) -> String {
    let mariadb = MariaDb::shared();
    mariadb.create_database("metadata");
    let url = mariadb.url("metadata");
    import_ok(&url, &["migrate"]);
    import_ok(&url, &["dir", directory.to_str().unwrap()]);
    // The server lives as long as the process.
    url
}

#[test]
fn answers_are_those_of_elfutils_server() {
    // Without hard links, of which libarchive gives elfutils' server one name alone.
    let directory = packages(&["server", "payloads", "dwarf-twins"]);
    let theirs = Debuginfod::start_newest("", directory.path());
    let sqlite = Sqlite::with_packages(&[directory.path()]);
    let mariadb = MariaDb::shared();
    let gateways = [RunningGateway::start(&sqlite.url()), RunningGateway::start(&mariadb_index(directory.path()))];
    let one = servers().first().unwrap().1.clone();
    let debug_file = "/usr/lib/debug/usr/bin/server-1.1-6.fc99.x86_64.debug";
    let mut found = 0;
    for (key, value) in [
        ("file", "/usr/bin/server"),
        ("file", debug_file),
        ("file", "/usr/bin/serve"),
        ("file", "server"),
        ("file", "/usr/bin/"),
        ("file", ""),
        ("file", "/usr/bin/*"),
        ("glob", "/usr/bin/server"),
        ("glob", "/usr/bin/serv*"),
        ("glob", "/usr/bin/*"),
        ("glob", "/usr/*/server"),
        ("glob", "/*"),
        ("glob", "*"),
        ("glob", "/usr/*"),
        ("glob", "/usr/bin/payload-[a-m]*"),
        ("glob", "/usr/bin/payload-?[^a-m]*"),
        ("glob", "/usr/lib/debug/usr/bin/*.debug"),
        ("glob", "/usr/lib/debug/*/*/*-1.1-[67].*"),
        ("glob", "/usr/bin/SERVER"),
        ("glob", "[/]usr/bin/server"),
        ("glob", "/usr/bin/[server"),
        ("buildid", &one),
        ("buildid", &one[..8]),
        ("buildid", "no build-id"),
        ("buildid", ""),
    ] {
        let expected = files(&ask(theirs.port, key, value));
        assert!(expected.1, "{key} {value}");
        for gateway in &gateways {
            assert_eq!(files(&ask(gateway.port, key, value)), expected, "{key} {value}");
        }
        found += expected.0.len();
    }
    assert!(found > 50, "expected questions that find something, found {found}");
    drop(mariadb);
}

#[test]
fn the_newest_client_asks_by_path_pattern_and_build_id_and_keeps_what_it_was_told() {
    let sqlite = Sqlite::with_packages(&[&fixtures::family("server")]);
    let gateway = RunningGateway::start(&sqlite.url());
    let client = DebuginfodClient::new(&gateway.url());
    for (key, value) in [("file", "/usr/bin/server"), ("glob", "/usr/b?n/ser*")] {
        assert_eq!(files(&said_by_client(&client, key, value)), (servers(), true), "{key} {value}");
    }
    let one = servers().first().unwrap().1.clone();
    let (found, complete) = files(&said_by_client(&client, "buildid", &one));
    assert!(complete && found.iter().all(|file| file.1 == one), "{found:?}");
    let kinds: Vec<&str> = found.iter().map(|file| file.0.as_str()).collect();
    assert_eq!(kinds, ["debuginfo", "executable"]);
    assert_eq!(files(&said_by_client(&client, "file", "/usr/bin/none")), (BTreeSet::new(), true));
    // An hour long.
    let asked = || gateway.log().lines().filter(|line| line.contains("/metadata")).count();
    let before = asked();
    assert_eq!(before, 4, "{}", gateway.log());
    for (key, value) in [("file", "/usr/bin/server"), ("file", "/usr/bin/none")] {
        said_by_client(&client, key, value);
    }
    assert_eq!(asked(), before);
}

#[test]
fn an_entry_says_which_package_and_where() {
    let directory = packages(&["server"]);
    let sqlite = Sqlite::empty();
    let url = "https://mirror.example/fedora/";
    let import =
        || import_ok(&sqlite.url(), &["dir", directory.path().to_str().unwrap(), "--store", "published", "--url", url]);
    import();
    let gateway = RunningGateway::start(&sqlite.url());
    let said = ask(gateway.port, "file", "/usr/bin/server");
    let of_six =
        said["results"].as_array().unwrap().iter().find(|entry| entry["nevra"] == "server-1.1-6.fc99.x86_64").unwrap();
    let rpm = "server-1.1-6.fc99.x86_64.rpm";
    assert_eq!(
        *of_six,
        json!({
            "type": "executable",
            "buildid": fixtures::build_id(&format!("server/{rpm}"), "/usr/bin/server"),
            "file": "/usr/bin/server",
            "archive": rpm,
            "nevra": "server-1.1-6.fc99.x86_64",
            "source_rpm": "server-1.1-6.fc99.src.rpm",
            "distro": "fc99",
            "locations": [{ "tier": "local", "url": format!("{url}{rpm}") }],
        })
    );
    // What is gone is told, and since when.
    std::fs::remove_file(directory.path().join(rpm)).unwrap();
    import();
    wait_within(WITHIN, "a location that is gone", || {
        let said = ask(gateway.port, "file", "/usr/bin/server");
        let gone = said["results"].as_array().unwrap().iter().find(|entry| entry["archive"] == rpm).unwrap();
        gone["locations"][0]["gone_at"].as_i64().is_some_and(|at| at > 1_700_000_000)
    });
}

#[test]
fn malformed_questions_say_what_was_expected_and_variants_of_the_path_are_taken() {
    let sqlite = Sqlite::with_packages(&[&fixtures::family("server")]);
    let gateway = RunningGateway::start_with(&sqlite.url(), "[cors]\norigins = [\"*\"]\n", &[]);
    for (query, expected) in [
        ("", "expected /metadata?key=KEY&value=VALUE"),
        ("?key=file", "expected /metadata?key=KEY&value=VALUE"),
        ("?value=/usr/bin/server", "expected /metadata?key=KEY&value=VALUE"),
        ("?key=name&value=server", "expected glob, file or buildid as key, found \"name\""),
        (&format!("?key=glob&value={}", "*".repeat(5000)), "expected a value of at most 4096 bytes, found 5000"),
    ] {
        let answer = gateway.get(&format!("/metadata{query}"));
        assert_eq!(answer.status, 400, "{query}");
        assert!(answer.text().contains(expected), "{query}: {}", answer.text());
    }
    let plain = gateway.get(&path_of("file", "/usr/bin/server"));
    for path in [
        "/metadata/what/ever?key=file&value=/usr/bin/server",
        "/metadata/?value=/usr/bin/server&key=file",
        "/metadata?key=file&value=%2Fusr%2Fbin%2Fserver&more=1",
    ] {
        assert_eq!(gateway.get(path).text(), plain.text(), "{path}");
    }
    let path = path_of("file", "/usr/bin/server");
    let answer = http::request(gateway.port, "GET", &path, &[("Origin", "https://debugger.example")]).unwrap();
    assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
    let head = http::request(gateway.port, "HEAD", &path, &[]).unwrap();
    assert_eq!((head.status, head.body.len()), (200, 0));
    assert_eq!(head.header("content-length"), Some(plain.body.len().to_string().as_str()));
    let small = http::request(gateway.port, "GET", &path, &[("X-DEBUGINFOD-MAXSIZE", "100")]).unwrap();
    assert_eq!(small.status, 406);
}

#[test]
fn answers_have_at_most_so_many_files_and_say_that_there_are_more() {
    let sqlite = Sqlite::with_packages(&[&fixtures::family("server")]);
    let gateway = RunningGateway::start_with(&sqlite.url(), "[metadata]\nmax_results = 2\n", &[]);
    let answer = gateway.get(&path_of("file", "/usr/bin/server"));
    let (found, complete) = files(&serde_json::from_slice(&answer.body).unwrap());
    assert!(found.len() == 2 && found.is_subset(&servers()) && !complete, "{found:?}");
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    assert_eq!(gateway.metric("gateway_metadata_answers_total{key=\"file\",result=\"partial\"}"), 1.0);
    assert_eq!(files(&ask(gateway.port, "buildid", &servers().first().unwrap().1)).0.len(), 2);
}

#[test]
fn upstreams_are_asked_too_and_who_does_not_answer_leaves_the_answer_incomplete() {
    let upstream = Debuginfod::start_newest("", &fixtures::family("server"));
    let sqlite = Sqlite::with_packages(&[&fixtures::family("payloads")]);
    let with = |urls: &[String]| {
        let arguments: Vec<&str> = urls.iter().flat_map(|url| ["--upstream", url]).collect();
        RunningGateway::start_with(&sqlite.url(), SHORT, &arguments)
    };
    let near = with(&[upstream.url()]);
    let outer = with(&[near.url()]);
    for gateway in [&near, &outer] {
        let (found, complete) = files(&ask(gateway.port, "glob", "/usr/bin/*"));
        assert!(complete && found.is_superset(&servers()), "{found:?}");
        assert!(found.iter().any(|file| file.2 == "/usr/bin/payload-xz"), "{found:?}");
    }
    // Who had it all itself does not say it twice.
    let both = ask(outer.port, "file", "/usr/bin/payload-xz");
    assert_eq!(both["results"].as_array().unwrap().len(), 2, "{both}");

    let said = |body: &'static str| {
        FakeServer::start(move |_: &str, stream: &mut std::net::TcpStream| {
            let _ =
                write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len());
        })
    };
    let (broken, partial, hangs) =
        (said("{\"results\": ["), said("{\"results\": [], \"complete\": false}"), FakeServer::start(fake_server::hang));
    for odd in [broken.url(), partial.url(), hangs.url(), "http://127.0.0.1:9".to_owned()] {
        let gateway = with(&[odd.clone(), upstream.url()]);
        let started = Instant::now();
        let (found, complete) = files(&ask(gateway.port, "file", "/usr/bin/server"));
        assert!(started.elapsed() < WITHIN, "{odd}: took {:?}", started.elapsed());
        assert_eq!((found, complete), (servers(), false), "{odd}");
    }

    // Two that ask each other end, and do not believe that they know all.
    let inner_port = compat_tests::process::free_port();
    let first = with(&[format!("http://127.0.0.1:{inner_port}")]);
    let arguments = ["--upstream", &first.url()];
    let second = RunningGateway::start_on(inner_port, &[("DARKSERVER_DATABASE", &sqlite.url())], SHORT, &arguments);
    let started = Instant::now();
    let (found, complete) = files(&ask(second.port, "file", "/usr/bin/payload-xz"));
    assert!(
        found.len() == 2 && !complete && started.elapsed() < WITHIN,
        "{found:?} {complete} {:?}",
        started.elapsed()
    );
}

#[test]
fn a_database_that_is_away_makes_no_empty_answer() {
    let mut mariadb = MariaDb::start();
    mariadb.create_database("away");
    let url = mariadb.url("away");
    import_ok(&url, &["migrate"]);
    import_ok(&url, &["dir", fixtures::family("server").to_str().unwrap()]);
    let gateway = RunningGateway::start_with(&url, SHORT, &[]);
    let upstream = Debuginfod::start_newest("", &fixtures::family("payloads"));
    let federated = RunningGateway::start_with(&url, SHORT, &["--upstream", &upstream.url()]);
    assert_eq!(files(&ask(gateway.port, "file", "/usr/bin/server")), (servers(), true));
    mariadb.kill();
    for (key, value) in
        [("file", "/usr/bin/server"), ("glob", "*none*"), ("buildid", "00000000000000000000000000000000000000aa")]
    {
        let answer = gateway.get(&path_of(key, value));
        assert_eq!(
            (answer.status, answer.header("cache-control")),
            (503, Some("no-store")),
            "{key} {value}: {}",
            answer.text()
        );
    }
    // The client is told that there may be more.
    let said = said_by_client(&DebuginfodClient::new(&gateway.url()), "file", "/usr/bin/server");
    assert_eq!(files(&said), (BTreeSet::new(), false));
    let (found, complete) = files(&ask(federated.port, "file", "/usr/bin/payload-xz"));
    assert!(found.len() == 2 && !complete, "{found:?}");
    mariadb.restart();
    wait_until("the index", || gateway.get(&path_of("file", "/usr/bin/server")).status == 200);
    assert_eq!(files(&ask(gateway.port, "file", "/usr/bin/server")), (servers(), true));
}
