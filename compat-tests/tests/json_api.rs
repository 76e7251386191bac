//! The JSON API of the original darkserver: what its clients rely on, at `/` and under `/darkserver/`, on both
//! databases; and the archives that its links lead to.

#![expect(clippy::unwrap_used, reason = "a failure here is a failed test, and says where")]

use std::fs;
use std::path::{Path, PathBuf};

use artifact::header::Header;
use compat_tests::darkserver::{RunningGateway, Sqlite, import_ok};
use compat_tests::files::FileServer;
use compat_tests::fixtures::{self, Truth};
use compat_tests::http::{self, Response};
use compat_tests::mariadb::MariaDb;
use compat_tests::rpmbuild;
use serde_json::{Value, json};
use tempfile::TempDir;

const SERVER: &str = "server/server-1.1-5.fc99.x86_64.rpm";
const SERVER_DEBUGINFO: &str = "server/server-debuginfo-1.1-5.fc99.x86_64.rpm";
/// Its program has both kinds: it is linked and holds its DWARF.
const PAYLOAD: &str = "payloads/payload-zstd-1.0-1.fc99.x86_64.rpm";

fn identity(rpm: &Path) -> String {
    Header::read(&mut fs::File::open(rpm).unwrap()).unwrap().package.identity.to_string()
}

/// Imports archives one after the other, so that their order in the index is this one.
fn import_in_order(database: &str, rpms: &[&str]) {
    import_ok(database, &["migrate"]);
    for rpm in rpms {
        import_ok(database, &["rpm", fixtures::rpm(rpm).to_str().unwrap()]);
    }
}

/// A directory with copies of fixtures.
fn directory_with(rpms: &[&str]) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    for rpm in rpms {
        let rpm = fixtures::rpm(rpm);
        fs::copy(&rpm, directory.path().join(rpm.file_name().unwrap())).unwrap();
    }
    directory
}

/// The rows of a 200 answer.
fn rows(answer: &Response) -> Vec<Value> {
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/json")), "{}", answer.text());
    match serde_json::from_slice(&answer.body) {
        Ok(Value::Array(rows)) => rows,
        other => panic!("expected an array, found {other:?}"),
    }
}

/// (buildid, rpm, elf) of every row.
fn triples(answer: &Response) -> Vec<(String, String, String)> {
    let text = |row: &Value, key: &str| row[key].as_str().unwrap_or_else(|| panic!("{key} of {row}")).to_owned();
    rows(answer).iter().map(|row| (text(row, "buildid"), text(row, "rpm"), text(row, "elf"))).collect()
}

fn triple(truth: &Truth) -> (String, String, String) {
    (truth.build_id.clone(), truth.nvra().to_owned(), truth.path.clone())
}

/// The test vectors of the contract (its section 2.8) with fixtures in the place of apr and bash; every answer, to
/// compare them.
fn test_vectors(database: &str) -> Vec<(String, String)> {
    import_in_order(database, &[SERVER, SERVER_DEBUGINFO, PAYLOAD]);
    let gateway = RunningGateway::start_with(database, "", &["--public-url", "http://darkserver.example/some/where/"]);
    let row = |rpm: &str, elf: &str| {
        let nvra = rpm.split('/').nth(1).unwrap().strip_suffix(".rpm").unwrap();
        let url = format!("http://darkserver.example/some/where/archive/{}/{nvra}.rpm", identity(&fixtures::rpm(rpm)));
        json!({"buildid": fixtures::build_id(rpm, elf), "elf": elf, "rpm": nvra, "distro": "fc99", "url": url})
    };
    let a1 = row(SERVER, "/usr/bin/server");
    let a2 = row(SERVER_DEBUGINFO, "/usr/lib/debug/usr/bin/server-1.1-5.fc99.x86_64.debug");
    let b = row(PAYLOAD, "/usr/bin/payload-zstd");
    let a = a1["buildid"].as_str().unwrap().to_owned();
    let b_id = b["buildid"].as_str().unwrap().to_owned();
    let vectors = [
        (format!("/buildids/{a}"), json!([a1, a2])),
        // The order of the index, not that of the request.
        (format!("/buildids/{b_id},{a}"), json!([a1, a2, b])),
        (format!("/buildids/{b_id},{b_id}"), json!([b])),
        (format!("/buildids/{b_id},"), json!([b])),
        (format!("/buildids/,,{b_id}"), json!([b])),
        ("/buildids/deadbeef".to_owned(), json!([])),
        (format!("/buildids/{}", &a[..8]), json!([])),
        ("/buildids/x'%20or%20'1'='1".to_owned(), json!([])),
        ("/buildids/,".to_owned(), json!([])),
        ("/buildids/-".to_owned(), json!([])),
        ("/rpm2buildids/payload-zstd-1.0-1.fc99.x86_64".to_owned(), json!([b])),
        ("/rpm2buildids/payload-zstd-1.0-1.fc99.x86_64.rpm".to_owned(), json!([b])),
        ("/rpm2buildids/payload-zstd-1.0-1.fc99.x86_64.rpm.rpm".to_owned(), json!([])),
        ("/rpm2buildids/payload-zstd-1.0-1.fc99.x86_64.RPM".to_owned(), json!([])),
        ("/rpm2buildids/payload-zstd".to_owned(), json!([])),
        ("/rpm2buildids/PAYLOAD-zstd-1.0-1.fc99.x86_64".to_owned(), json!([])),
        ("/rpm2buildids/nope".to_owned(), json!([])),
        ("/rpm2buildids/.rpm".to_owned(), json!([])),
        ("/package/server-debuginfo-1.1-5.fc99.x86_64".to_owned(), json!({"url": a2["url"]})),
        ("/package/server-debuginfo-1.1-5.fc99.x86_64.rpm".to_owned(), json!({"url": a2["url"]})),
        ("/package/nope".to_owned(), json!({})),
        ("/package/.rpm".to_owned(), json!({})),
    ];
    let mut answers = Vec::new();
    for (path, expected) in vectors {
        for prefix in ["", "/darkserver"] {
            let path = format!("{prefix}{path}");
            let answer = gateway.get(&path);
            assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/json")), "{path}");
            assert_eq!(serde_json::from_slice::<Value>(&answer.body).unwrap(), expected, "{path}");
            answers.push((path, answer.text()));
        }
    }
    answers
}

#[test]
fn the_contracts_test_vectors_hold_on_both_databases() {
    let sqlite = Sqlite::empty();
    let mariadb = MariaDb::start();
    mariadb.create_database("darkserver");
    assert_eq!(test_vectors(&sqlite.url()), test_vectors(&mariadb.url("darkserver")));
}

#[test]
fn every_file_of_a_package_is_a_row_as_the_real_tools_see_it() {
    let families = ["server", "payloads", "dwarf-twins", "old-classes", "fedora-compat", "v6", "v3"];
    let directories = families.map(fixtures::family);
    let sqlite = Sqlite::with_packages(&directories.each_ref().map(PathBuf::as_path));
    let gateway = RunningGateway::start(&sqlite.url());
    let mut all = 0;
    for family in families {
        let truth = fixtures::truth(family);
        for rpm in fixtures::rpms(family) {
            let nvra = rpm.file_stem().unwrap().to_str().unwrap();
            let mut expected: Vec<_> = truth.iter().filter(|row| row.nvra() == nvra).map(triple).collect();
            // In the order of the header, which lists its files by path.
            expected.sort_by(|(_, _, a), (_, _, b)| a.cmp(b));
            assert_eq!(triples(&gateway.get(&format!("/rpm2buildids/{nvra}"))), expected, "{nvra}");
            all += expected.len();
            for (build_id, ..) in &expected {
                let mut expected: Vec<_> = families.iter().flat_map(|family| fixtures::truth(family)).collect();
                expected.retain(|row| row.build_id == *build_id);
                let mut expected: Vec<_> = expected.iter().map(triple).collect();
                let mut found = triples(&gateway.get(&format!("/buildids/{build_id}")));
                expected.sort();
                found.sort();
                assert_eq!(found, expected, "{build_id}");
            }
        }
    }
    assert!(all > 40, "expected rows to compare, found {all}");
}

#[test]
fn ids_may_be_written_in_many_ways() {
    let sqlite = Sqlite::empty();
    import_in_order(&sqlite.url(), &[SERVER, SERVER_DEBUGINFO, PAYLOAD]);
    let gateway = RunningGateway::start(&sqlite.url());
    let a = fixtures::build_id(SERVER, "/usr/bin/server");
    let b = fixtures::build_id(PAYLOAD, "/usr/bin/payload-zstd");
    let both = gateway.get(&format!("/buildids/{a},{b}")).text();
    assert_eq!(rows(&gateway.get(&format!("/buildids/{a},{b}"))).len(), 3);
    for path in [
        format!("/buildids/{},{b}", a.to_uppercase()),
        format!("/buildids/{a}%2C{b}"),
        format!("/buildids/{a}%2c{b}"),
        format!("/buildids/{a},,{b},"),
        format!("/buildids/{a},{b}/"),
        format!("//buildids/{a},{b}"),
        format!("/buildids//{a},{b}"),
        format!("/darkserver//buildids/{a},{b}"),
        format!("/buildids/{a},%20{b}"),
        format!("/buildids/{a},{b}?id=x"),
        format!("/buildids/{a},{b},{},xyz,-", a.to_uppercase()),
    ] {
        assert_eq!(gateway.get(&path).text(), both, "{path}");
    }
    for path in ["/buildids/%FF", "/buildids/x%FFy,%C3", "/rpm2buildids/%FF"] {
        assert!(rows(&gateway.get(path)).is_empty(), "{path}");
    }
    assert_eq!(gateway.get("/package/%FF").text(), "{}");
}

#[test]
fn a_thousand_ids_fit_into_one_get() {
    let sqlite = Sqlite::empty();
    import_in_order(&sqlite.url(), &[SERVER, SERVER_DEBUGINFO]);
    let gateway = RunningGateway::start(&sqlite.url());
    let a = fixtures::build_id(SERVER, "/usr/bin/server");
    let mut ids: Vec<String> = (0..998).map(|number| format!("{number:040x}")).collect();
    ids.push(a.clone());
    for round in ["cold", "cached"] {
        let found = triples(&gateway.get(&format!("/buildids/{}", ids.join(","))));
        assert_eq!(found.iter().map(|(id, ..)| id.as_str()).collect::<Vec<_>>(), [a.as_str(); 2], "{round}");
    }
}

#[test]
fn order_and_rows_do_not_depend_on_what_was_asked_before() {
    let sqlite = Sqlite::with_packages(&[
        &fixtures::family("server"),
        &fixtures::family("payloads"),
        &fixtures::family("fedora-compat"),
    ]);
    let gateway = RunningGateway::start(&sqlite.url());
    let truth: Vec<Truth> = ["server", "payloads", "fedora-compat"].into_iter().flat_map(fixtures::truth).collect();
    let mut ids: Vec<String> = truth.iter().map(|row| row.build_id.clone()).collect();
    // Some are in the gateway's memory now, some are not.
    for id in ids.iter().step_by(3) {
        gateway.get(&format!("/buildids/{id}"));
    }
    let mixed = gateway.get(&format!("/buildids/{}", ids.join(",")));
    assert_eq!(rows(&mixed).len(), truth.len(), "one row for each file, also for those with both kinds");
    ids.reverse();
    assert_eq!(gateway.get(&format!("/buildids/{}", ids.join(","))).text(), mixed.text());
    let fresh = RunningGateway::start_with(&sqlite.url(), "", &["--public-url", &gateway.url()]);
    assert_eq!(fresh.get(&format!("/buildids/{}", ids.join(","))).text(), mixed.text());
}

#[test]
fn a_plus_is_a_plus() {
    let directory = tempfile::tempdir().unwrap();
    let made = rpmbuild::large(directory.path(), "libsg++", 0);
    let sqlite = Sqlite::with_packages(&[directory.path()]);
    let gateway = RunningGateway::start(&sqlite.url());
    for name in ["libsg++-1.0-1.x86_64", "libsg%2B%2B-1.0-1.x86_64.rpm", "libsg+%2b-1.0-1.x86_64"] {
        let found = triples(&gateway.get(&format!("/rpm2buildids/{name}")));
        assert_eq!(found, [(made.build_id.clone(), "libsg++-1.0-1.x86_64".to_owned(), made.member.clone())], "{name}");
        let package: Value = serde_json::from_slice(&gateway.get(&format!("/package/{name}")).body).unwrap();
        let path = package["url"].as_str().unwrap().strip_prefix(&gateway.url()).unwrap().to_owned();
        assert_eq!(gateway.get(&path).body, fs::read(&made.rpm).unwrap(), "{path}");
        assert!(path.ends_with("/libsg%2B%2B-1.0-1.x86_64.rpm"), "{path}");
        assert_eq!(gateway.get(&path.replace("%2B", "+")).body, fs::read(&made.rpm).unwrap(), "{path}");
    }
    assert!(rows(&gateway.get("/rpm2buildids/libsg%20%20-1.0-1.x86_64")).is_empty());
}

#[test]
fn both_mount_points_answer_and_unknown_paths_do_not() {
    let sqlite = Sqlite::with_packages(&[]);
    let gateway = RunningGateway::start(&sqlite.url());
    let redirect = gateway.get("/darkserver");
    assert_eq!((redirect.status, redirect.header("location")), (302, Some("/darkserver/")));
    for path in ["/", "/darkserver/"] {
        let index = gateway.get(path);
        assert_eq!((index.status, index.header("content-type")), (200, Some("text/html; charset=utf-8")), "{path}");
        for call in ["serverversion", "buildids", "rpm2buildids", "package"] {
            assert!(index.text().contains(call), "{call} at {path}");
        }
    }
    for path in ["/serverversion", "/serverversion/", "/darkserver/serverversion", "/darkserver/serverversion/"] {
        let version = gateway.get(path);
        assert_eq!((version.status, version.header("content-type")), (200, Some("application/json")), "{path}");
        let version: Value = serde_json::from_slice(&version.body).unwrap();
        assert!(version["server-version"].as_str().is_some_and(|version| !version.is_empty()), "{version}");
        assert_eq!(version.as_object().unwrap().len(), 1);
    }
    for path in [
        "/foobar",
        "/buildids",
        "/buildids/",
        "/rpm2buildids/",
        "/package",
        "/package/",
        "/darkserver/foobar",
        "/darkserver/buildids/",
        "/darkserverversion",
        "/serverversionXYZ",
        "/archive/",
        "/buildid",
    ] {
        assert_eq!(gateway.get(path).status, 404, "{path}");
    }
}

#[test]
fn get_and_head_are_answered_alike_and_other_methods_refused() {
    let sqlite = Sqlite::empty();
    import_in_order(&sqlite.url(), &[SERVER]);
    let gateway = RunningGateway::start(&sqlite.url());
    let id = fixtures::build_id(SERVER, "/usr/bin/server");
    let archive = format!("/archive/{}/server-1.1-5.fc99.x86_64.rpm", identity(&fixtures::rpm(SERVER)));
    for path in [
        "/",
        "/darkserver/",
        "/darkserver",
        "/serverversion",
        &format!("/buildids/{id}"),
        "/buildids/nope",
        "/rpm2buildids/server-1.1-5.fc99.x86_64",
        "/package/server-1.1-5.fc99.x86_64",
        "/healthz",
        "/readyz",
        &format!("/buildid/{id}/executable"),
        &format!("/buildid/{id}/debuginfo"),
        "/buildid/xyz/debuginfo",
        &archive,
        "/archive/xyz/a.rpm",
        "/foobar",
    ] {
        let headers = |answer: &Response| {
            let mut headers = answer.headers.clone();
            headers.retain(|(name, _)| name != "date");
            headers.sort();
            (answer.status, headers)
        };
        let get = gateway.get(path);
        let head = http::request(gateway.port, "HEAD", path, &[]).unwrap();
        assert_eq!(headers(&get), headers(&head), "{path}");
        assert_eq!(get.header("content-length"), Some(get.body.len().to_string().as_str()), "{path}");
        assert!(head.body.is_empty(), "{path}");
        if path == "/foobar" {
            continue;
        }
        for method in ["POST", "PUT", "DELETE", "OPTIONS"] {
            let answer = http::request(gateway.port, method, path, &[("Content-Length", "0")]).unwrap();
            assert_eq!((answer.status, answer.header("allow")), (405, Some("GET, HEAD")), "{method} {path}");
        }
    }
}

#[test]
fn a_published_store_is_what_url_names() {
    let directory = directory_with(&[SERVER, SERVER_DEBUGINFO]);
    fs::create_dir(directory.path().join("a b#c")).unwrap();
    fs::copy(fixtures::rpm(PAYLOAD), directory.path().join("a b#c/payload-zstd-1.0-1.fc99.x86_64.rpm")).unwrap();
    let mirror = FileServer::start(directory.path());
    let sqlite = Sqlite::empty();
    import_ok(&sqlite.url(), &["dir", directory.path().to_str().unwrap(), "--url", &format!("{}/", mirror.url())]);
    let gateway = RunningGateway::start_with(&sqlite.url(), "", &["--public-url", "http://unused.example"]);
    for nvra in ["server-1.1-5.fc99.x86_64", "server-debuginfo-1.1-5.fc99.x86_64"] {
        let url = format!("{}/{nvra}.rpm", mirror.url());
        assert_eq!(rows(&gateway.get(&format!("/rpm2buildids/{nvra}")))[0]["url"], json!(url));
        assert_eq!(gateway.get(&format!("/package/{nvra}")).text(), json!({"url": url}).to_string());
        assert_eq!(
            http::get(mirror.port, &format!("/{nvra}.rpm")).unwrap().body,
            fs::read(directory.path().join(format!("{nvra}.rpm"))).unwrap()
        );
    }
    let url = rows(&gateway.get("/rpm2buildids/payload-zstd-1.0-1.fc99.x86_64"))[0]["url"].clone();
    let path = url.as_str().unwrap().strip_prefix(&mirror.url()).unwrap();
    assert_eq!(path, "/a%20b%23c/payload-zstd-1.0-1.fc99.x86_64.rpm");
    assert_eq!(http::get(mirror.port, path).unwrap().body, fs::read(fixtures::rpm(PAYLOAD)).unwrap());
}

#[test]
fn a_package_on_the_gateways_own_disk_can_be_downloaded_from_the_gateway() {
    let sqlite = Sqlite::empty();
    import_in_order(&sqlite.url(), &[SERVER]);
    let gateway = RunningGateway::start(&sqlite.url());
    let package = gateway.get("/package/server-1.1-5.fc99.x86_64");
    assert!(
        package.header("vary").is_some_and(|vary| vary.eq_ignore_ascii_case("host")),
        "the link follows the Host asked by"
    );
    let package: Value = serde_json::from_slice(&package.body).unwrap();
    let path = format!("/archive/{}/server-1.1-5.fc99.x86_64.rpm", identity(&fixtures::rpm(SERVER)));
    assert_eq!(package["url"], json!(format!("{}{path}", gateway.url())));

    let bytes = fs::read(fixtures::rpm(SERVER)).unwrap();
    let whole = gateway.get(&path);
    assert_eq!((whole.status, whole.header("accept-ranges")), (200, Some("bytes")));
    assert_eq!(whole.body, bytes);
    let range = |range: &str| http::request(gateway.port, "GET", &path, &[("Range", range)]).unwrap();
    let part = range("bytes=100-199");
    assert_eq!(
        (part.status, part.header("content-range")),
        (206, Some(format!("bytes 100-199/{}", bytes.len()).as_str()))
    );
    assert_eq!(part.body, bytes[100..200]);
    assert_eq!(range("bytes=-10").body, bytes[bytes.len() - 10..]);
    let beyond = range(&format!("bytes={}-", bytes.len()));
    assert_eq!(
        (beyond.status, beyond.header("content-range")),
        (416, Some(format!("bytes */{}", bytes.len()).as_str()))
    );
}

#[test]
fn only_a_trusted_proxy_may_say_what_the_gateway_is_called() {
    let sqlite = Sqlite::empty();
    import_in_order(&sqlite.url(), &[SERVER]);
    let url = |gateway: &RunningGateway| {
        let headers = [("X-Forwarded-Host", "elsewhere.example"), ("X-Forwarded-Proto", "https")];
        let answer = http::request(gateway.port, "GET", "/package/server-1.1-5.fc99.x86_64", &headers).unwrap();
        let package: Value = serde_json::from_slice(&answer.body).unwrap();
        package["url"].as_str().unwrap().to_owned()
    };
    let direct = RunningGateway::start(&sqlite.url());
    assert!(url(&direct).starts_with(&format!("{}/archive/", direct.url())), "{}", url(&direct));
    let behind = RunningGateway::start_with(&sqlite.url(), "trusted_proxies = [\"127.0.0.0/8\"]", &[]);
    assert!(url(&behind).starts_with("https://elsewhere.example/archive/"), "{}", url(&behind));
}

#[test]
fn the_archive_route_gives_nothing_but_the_package_named() {
    let directory = directory_with(&[SERVER, SERVER_DEBUGINFO, PAYLOAD]);
    let sqlite = Sqlite::with_packages(&[directory.path()]);
    let gateway = RunningGateway::start(&sqlite.url());
    let path = |rpm: &str| format!("/archive/{}/{}", identity(&fixtures::rpm(rpm)), rpm.split('/').nth(1).unwrap());
    for rpm in [SERVER, SERVER_DEBUGINFO, PAYLOAD] {
        assert_eq!(gateway.get(&path(rpm)).body, fs::read(fixtures::rpm(rpm)).unwrap());
    }
    let identity = identity(&fixtures::rpm(SERVER));
    for (path, status) in [
        (format!("/archive/{identity}/server-1.1-6.fc99.x86_64.rpm"), 404),
        (format!("/archive/{identity}/server-1.1-5.fc99.x86_64"), 404),
        (format!("/archive/{identity}/..%2F..%2Fetc%2Fpasswd"), 404),
        (format!("/archive/{identity}/../{identity}/server-1.1-5.fc99.x86_64.rpm"), 404),
        (format!("/archive/{}/server-1.1-5.fc99.x86_64.rpm", "0".repeat(64)), 404),
        (format!("/archive/{}/server-1.1-5.fc99.x86_64.rpm", &identity[1..]), 400),
        ("/archive/server/server-1.1-5.fc99.x86_64.rpm".to_owned(), 400),
        (format!("/archive/{identity}"), 404),
        (format!("/archive/{identity}/"), 404),
    ] {
        let answer = gateway.get(&path);
        assert_eq!(answer.status, status, "{path}: {}", answer.text());
    }

    // Another package under the name of this one.
    let at = |rpm: &str| directory.path().join(rpm.split('/').nth(1).unwrap());
    fs::copy(fixtures::rpm("server/server-1.1-6.fc99.x86_64.rpm"), at(SERVER)).unwrap();
    assert_eq!(gateway.get(&path(SERVER)).status, 404, "a replaced file");
    // The very package, but by a link that leads out of the store's directory.
    let outside = directory_with(&[SERVER_DEBUGINFO]);
    fs::remove_file(at(SERVER_DEBUGINFO)).unwrap();
    std::os::unix::fs::symlink(outside.path().join(at(SERVER_DEBUGINFO).file_name().unwrap()), at(SERVER_DEBUGINFO))
        .unwrap();
    let answer = gateway.get(&path(SERVER_DEBUGINFO));
    assert_eq!((answer.status, answer.header("cache-control")), (503, Some("no-store")), "a link that leads out");
    fs::write(at(PAYLOAD), "no RPM at all").unwrap();
    assert_ne!(gateway.get(&path(PAYLOAD)).status, 200, "no RPM at all");
    fs::remove_file(at(PAYLOAD)).unwrap();
    assert_eq!(gateway.get(&path(PAYLOAD)).status, 404, "a removed file");
}
