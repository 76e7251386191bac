//! Headers, ranges, validators and limits of a response.

use std::process::Command;

use compat_tests::fixtures::{self};
use compat_tests::http::{self, Response};
use compat_tests::process::run;

use crate::{SOURCES, build_id, etag, gateway};

#[test]
fn head_has_the_headers_of_get_and_no_body() {
    let (_index, gateway) = gateway(&["fedora-compat"]);
    let id = build_id("fedora-compat", "/usr/bin/b");
    for path in
        ["executable", "debuginfo", "section/.text", &format!("source{SOURCES}/src/b.c"), "section/.bss", "source/none"]
    {
        // HEAD first: it must not depend on an earlier GET.
        let path = format!("/buildid/{id}/{path}");
        let head = http::request(gateway.port, "HEAD", &path, &[]).unwrap();
        let get = gateway.get(&path);
        let without_date = |answer: &Response| {
            let mut headers = answer.headers.clone();
            headers.retain(|(name, _)| name != "date");
            headers.sort();
            headers
        };
        assert_eq!((head.status, without_date(&head)), (get.status, without_date(&get)), "{path}");
        assert!(head.body.is_empty() && !get.body.is_empty(), "{path}");
        assert_eq!(head.header("content-length"), Some(&*get.body.len().to_string()), "{path}");
    }
}

#[test]
fn headers_name_the_member_its_time_its_digest_and_its_archive() {
    let (_index, gateway) = gateway(&["fedora-compat", "v3"]);
    let of = |family: &str, path: &str, word: &str| gateway.get(&format!("/buildid/{}/{word}", build_id(family, path)));
    let answer = of("fedora-compat", "/usr/bin/b", "executable");
    assert_eq!(answer.header("x-debuginfod-file"), Some("/usr/bin/b"));
    assert_eq!(answer.header("x-debuginfod-archive"), Some("bidtest-1.2~rc1-4.fc99.x86_64.rpm"));
    assert_eq!(answer.header("content-type"), Some("application/octet-stream"));
    assert_eq!(answer.header("accept-ranges"), Some("bytes"));
    assert_eq!(answer.header("cache-control"), Some("public, max-age=604800, immutable"));
    let directory = tempfile::tempdir().unwrap();
    for (family, nvra, path) in [
        ("fedora-compat", "bidtest-1.2~rc1-4.fc99.x86_64", "/usr/bin/b"),
        ("v3", "ancient-1.0-1.x86_64", "/usr/bin/ancient"),
    ] {
        fixtures::unpack(&fixtures::package(family, nvra), directory.path());
        let file = directory.path().join(&path[1..]);
        let output = run(
            Command::new("date").env("LC_ALL", "C").args(["-u", "+%a, %d %b %Y %H:%M:%S GMT", "-r"]).arg(file),
            "coreutils",
        );
        let expected = String::from_utf8(output.stdout).unwrap();
        assert_eq!(of(family, path, "executable").header("last-modified"), Some(expected.trim()), "{path}");
    }
    // The digest in the header: SHA-256, or MD5 in a package of format 3.
    for (family, path, word, tool) in [
        ("fedora-compat", "/usr/bin/b", "executable", "sha256sum"),
        ("fedora-compat", "/usr/bin/b", "debuginfo", "sha256sum"),
        ("v3", "/usr/bin/ancient", "executable", "md5sum"),
    ] {
        let answer = of(family, path, word);
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), &answer.body).unwrap();
        let output = run(Command::new(tool).arg(file.path()), "coreutils");
        let sum = String::from_utf8(output.stdout).unwrap();
        let etag = etag(&answer);
        assert!(etag.trim_matches('"').ends_with(sum.split(' ').next().unwrap()), "{path}: {etag} {sum}");
    }
}

#[test]
fn ranges_and_validators_follow_rfc_9110() {
    let (_index, gateway) = gateway(&["fedora-compat"]);
    let id = build_id("fedora-compat", "/usr/bin/b");
    let path = format!("/buildid/{id}/debuginfo");
    let ask = |headers: &[(&str, &str)]| http::request(gateway.port, "GET", &path, headers).unwrap();
    let whole = gateway.get(&path);
    let size = whole.body.len();
    let last = size - 1;
    for (range, first, end) in [
        ("bytes=0-0".to_owned(), 0, 1),
        ("bytes=100-199".to_owned(), 100, 200),
        ("bytes=100-".to_owned(), 100, size),
        (format!("bytes=100-{}", size + 100), 100, size),
        ("bytes=-64".to_owned(), size - 64, size),
        (format!("bytes=-{}", size + 1), 0, size),
        (format!("bytes={last}-{last}"), last, size),
    ] {
        let answer = ask(&[("Range", &range)]);
        assert_eq!(answer.status, 206, "{range}");
        assert!(answer.body == whole.body[first..end], "{range}: other bytes");
        assert_eq!(answer.header("content-range"), Some(&*format!("bytes {first}-{}/{size}", end - 1)), "{range}");
    }
    for range in [format!("bytes={size}-"), "bytes=-0".to_owned()] {
        let answer = ask(&[("Range", &range)]);
        assert_eq!(
            (answer.status, answer.header("content-range")),
            (416, Some(&*format!("bytes */{size}"))),
            "{range}"
        );
        assert!(answer.body.is_empty(), "{range}");
    }
    for range in ["bytes=5-2", "bytes=0-1,3-4", "lines=0-1"] {
        let answer = ask(&[("Range", range)]);
        assert_eq!((answer.status, answer.body.len()), (200, size), "{range}");
    }
    let (etag, modified) = (etag(&whole), whole.header("last-modified").unwrap());
    let earlier = "Fri, 31 Dec 1999 23:59:59 GMT";
    for (headers, status) in [
        (vec![("If-None-Match", etag.as_str())], 304),
        (vec![("If-None-Match", "\"other\"")], 200),
        (vec![("If-None-Match", "*")], 304),
        (vec![("If-Modified-Since", modified)], 304),
        (vec![("If-Modified-Since", earlier)], 200),
        // The stronger validator decides.
        (vec![("If-None-Match", "\"other\""), ("If-Modified-Since", modified)], 200),
        (vec![("If-Range", etag.as_str()), ("Range", "bytes=0-9")], 206),
        (vec![("If-Range", modified), ("Range", "bytes=0-9")], 206),
        (vec![("If-Range", "\"other\""), ("Range", "bytes=0-9")], 200),
        (vec![("If-Range", earlier), ("Range", "bytes=0-9")], 200),
    ] {
        let answer = ask(&headers);
        assert_eq!(answer.status, status, "{headers:?}");
        let length = [(200, size), (206, 10), (304, 0)].iter().find(|(known, _)| *known == status).unwrap().1;
        assert_eq!(answer.body.len(), length, "{headers:?}");
    }
    let other = gateway.get(&format!("/buildid/{id}/executable"));
    assert_ne!(other.header("etag"), Some(&*etag));
}

#[test]
fn a_file_over_the_clients_maximum_size_is_refused() {
    let (_index, gateway) = gateway(&["fedora-compat"]);
    let path = format!("/buildid/{}/executable", build_id("fedora-compat", "/usr/bin/b"));
    let size = gateway.get(&path).body.len();
    for (most, status) in [(size, 200), (size - 1, 406), (1, 406)] {
        let answer = http::request(gateway.port, "GET", &path, &[("X-DEBUGINFOD-MAXSIZE", &most.to_string())]).unwrap();
        assert_eq!(answer.status, status, "{most}");
    }
}
