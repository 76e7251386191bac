use std::env;

use reqwest::header::HeaderValue;

use super::super::Config;
use super::*;
use crate::cli::Arguments;

const UPSTREAM: &str = "[[upstream]]\nname = \"a\"\nurl = \"https://h\"\n";

/// The upstreams of a file with this text; errors begin behind the file's name.
fn load(text: &str) -> Result<Vec<UpstreamSettings>, String> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("g.toml");
    std::fs::write(&path, text).unwrap();
    let config = Config::load(Arguments { config: Some(path.clone()), ..Arguments::default() });
    let prefix = format!("configuration file {}", path.display());
    config.map(|config| config.upstreams).map_err(|error| format!("{error:#}").replacen(&prefix, "", 1))
}

fn of_urls(urls: &[&str]) -> Vec<UpstreamSettings> {
    super::of_urls(urls.iter().map(|url| Url::parse(url).unwrap()).collect())
}

#[test]
fn every_key_is_read() {
    let text = "mode = \"relay\"\nenabled = false\npriority = -1\ndeadline = \"3s\"\n\
                serves = [\"debuginfo\", \"metadata\"]\nbuild_ids = [\"gnu\"]\nabsent_statuses = [403]\n\
                absent_ttl = \"0s\"\nlate_absent_ttl = \"10m\"\nmax_concurrent = 1\nallow_private = true\n\
                headers = { X-Token = \"t\", X-Path = { env = \"PATH\" } }\nredirect_hosts = [\"*\"]\n\
                tls = { ca = \"/a\", certificate = \"/c\", key = \"/k\" }\n";
    let upstream = &load(&format!("{UPSTREAM}{text}")).unwrap()[0];
    assert_eq!((upstream.name.as_str(), upstream.url.as_str(), upstream.enabled), ("a", "https://h/", false));
    assert_eq!((upstream.mode, upstream.priority), (Mode::Relay, -1));
    assert_eq!(upstream.deadline, Some(Duration::from_secs(3)));
    assert_eq!(upstream.serves, [Service::Debuginfo, Service::Metadata]);
    assert_eq!(upstream.build_ids, [Shape::Gnu]);
    assert_eq!((upstream.absent_statuses.as_slice(), upstream.absent_ttl), ([403].as_slice(), Duration::ZERO));
    assert_eq!((upstream.late_absent_ttl, upstream.max_concurrent), (Some(Duration::from_secs(600)), 1));
    assert_eq!((upstream.redirect_hosts.as_slice(), upstream.allow_private), (["*".to_owned()].as_slice(), true));
    assert_eq!(upstream.tls.key.as_deref(), Some("/k".as_ref()));
    assert_eq!(upstream.headers["x-token"], "t");
    assert_eq!(upstream.headers["x-path"].to_str().unwrap(), env::var("PATH").unwrap());
    assert!(upstream.headers.values().all(HeaderValue::is_sensitive));
    assert!(!format!("{upstream:?}").contains("\"t\""), "{upstream:?}");
}

#[test]
fn an_upstream_of_a_url_has_the_defaults_of_the_file() {
    let by_url = UpstreamSettings::new("a".into(), Url::parse("https://h").unwrap());
    assert_eq!(format!("{by_url:?}"), format!("{:?}", load(UPSTREAM).unwrap()[0]));
}

#[test]
fn urls_give_names_without_credentials_and_each_url_counts_once() {
    let upstreams = of_urls(&[
        "https://u:p@h.example:8002/path/",
        "http://h.example",
        "http://h.example/",
        "https://h.example/",
        "http://[::1]:1/",
    ]);
    let names: Vec<&str> = upstreams.iter().map(|upstream| upstream.name.as_str()).collect();
    assert_eq!(names, ["h.example:8002/path", "h.example", "h.example-2", "[::1]:1"]);
}

#[test]
fn wrong_values_are_refused_with_the_expected_form() {
    for (text, expected) in [
        ("url = \"https://h\"", ", line 1: missing field `name` in `upstream`"),
        ("name = \"a\"", ", line 1: missing field `url` in `upstream`"),
        (
            "name = \"a b\"",
            ", line 2: expected a name of 1 to 64 letters, digits and ._:/-, found `a b` in `upstream.name`",
        ),
        ("name = \"\"", ", line 2: expected a name of 1 to 64 letters, digits and ._:/-, found ``"),
        ("name = \"a\"\nurl = \"h\"", ", line 3: expected an http or https URL, found none"),
        (
            "name = \"a\"\nurl = \"https://h/?q=1\"",
            ", line 3: expected an http or https URL without query and fragment, found a query in",
        ),
    ] {
        let error = load(&format!("[[upstream]]\n{text}\n")).unwrap_err();
        assert!(error.starts_with(expected), "{text}: {error}");
    }
    for (text, expected) in [
        ("mode = \"proxy\"", ", line 4: expected `redirect` or `relay`, found `proxy` in `upstream.mode`"),
        ("serves = []", ", line 4: expected `debuginfo`, `executable`, `source`, `section` or `metadata`, found an"),
        ("serves = [\"log\"]", "`section` or `metadata`, found `log` in `upstream.serves`"),
        ("build_ids = [\"go\", \"go\"]", ", line 4: expected each name once, found `go` twice"),
        ("deadline = 3", ", line 4: expected a duration like 4s, 300ms or 1d, found `3` in `upstream.deadline`"),
        ("deadline = \"49ms\"", ": upstream `a`: deadline: expected 50ms to 1m, found 49ms"),
        ("absent_ttl = \"61m\"", ": upstream `a`: absent_ttl: expected at most 1h, found 1h 1m"),
        ("late_absent_ttl = \"0s\"", ": upstream `a`: late_absent_ttl: expected 1s to 1day, found 0s"),
        ("max_concurrent = 0", ": upstream `a`: max_concurrent: expected 1 to 10000, found 0"),
        ("absent_statuses = []", ": upstream `a`: absent_statuses: expected at least one status like 404, found none"),
        ("absent_statuses = [200]", ": upstream `a`: absent_statuses: expected 400 to 599 except 406, found 200"),
        ("absent_statuses = [404, 302]", "expected 400 to 599 except 406, found 302"),
        ("absent_statuses = [406]", "expected 400 to 599 except 406, found 406"),
        ("tls = { key = \"/k\" }", ": upstream `a`: tls: expected tls.certificate beside tls.key, found none"),
        ("tls = { ca = \"\" }", ", line 4: expected a path, found an empty string in `upstream.tls.ca`"),
        ("retries = 3", ", line 4: unknown field `retries`"),
        (UPSTREAM, ": upstream.name: expected a unique name, found `a` twice"),
    ] {
        let error = load(&format!("{UPSTREAM}{text}\n")).unwrap_err();
        assert!(error.contains(expected), "{text}: {error}");
    }
    assert!(load("[upstream]\nname = \"a\"").unwrap_err().contains("expected tables [[upstream]]"));
}

#[test]
fn errors_have_no_values_of_headers() {
    for (headers, expected) in [
        ("\"secret\"", "expected a table like { \"X-Token\" = \"...\" }, found a string"),
        ("{ \"a b secret\" = \"x\" }", "expected names of headers, found other characters in one"),
        ("{ a = \"secr\u{e9}t\" }", "expected visible ASCII characters and blanks, found others in the value of `a`"),
        ("{ a = \"secret\\n\" }", "in the value of `a` in `upstream.headers`"),
        ("{ a = 83728 }", "for the value of a variable, found a number"),
        ("{ a = \"secret\", A = \"secret\" }", "expected each header once, found `a` twice"),
        ("{ Host = \"secret\" }", "expected headers that the gateway does not set, found `host`"),
        ("{ a = { variable = \"secret\" } }", "found another table"),
        ("{ a = { env = \"DARKSERVER_UNSET\" } }", "expected text in the variable DARKSERVER_UNSET, found none"),
    ] {
        let error = load(&format!("{UPSTREAM}headers = {headers}\n")).unwrap_err();
        assert!(error.contains(expected) && error.contains("line 4"), "{headers}: {error}");
        assert!(!error.contains("secr") && !error.contains("83728"), "{headers}: {error}");
    }
}

#[test]
fn an_empty_list_means_no_upstreams() {
    assert!(load("upstream = []\n").unwrap().is_empty());
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("g.toml");
    std::fs::write(&path, UPSTREAM).unwrap();
    let flags = |upstreams: &[&str]| {
        let upstreams = upstreams.iter().map(|&url| url.to_owned()).collect();
        let arguments = Arguments { config: Some(path.clone()), upstreams, ..Arguments::default() };
        Config::load(arguments).unwrap().upstreams.into_iter().map(|upstream| upstream.name).collect::<Vec<_>>()
    };
    assert_eq!(flags(&[]), ["a"]);
    assert_eq!(flags(&["http://b"]), ["b"]);
    assert!(flags(&[""]).is_empty());
}

#[test]
fn shapes_are_told_by_length_and_characters() {
    for (bytes, expected) in [
        (vec![7; 20], Shape::Gnu),
        (vec![7; 16], Shape::Uuid),
        (vec![7; 8], Shape::Short),
        (b"Kd3/aBc/Xyz".to_vec(), Shape::Go),
        (b"Kd3aBcXyz".to_vec(), Shape::Other),
        (vec![b'/', 0xff, 3], Shape::Other),
        (vec![7; 32], Shape::Other),
    ] {
        assert_eq!(Shape::of(&BuildId::from_bytes(&bytes).unwrap()), expected);
    }
}
