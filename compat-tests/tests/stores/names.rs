//! Names of archives in URLs, for servers that take `+` for a blank and refuse what RFC 3986 does not allow in a path.

use std::io::Write;
use std::path::Path;

use compat_tests::compiled::{Program, Tree};
use compat_tests::darkserver::{RunningGateway, Sqlite, import_ok};
use compat_tests::fake_server::{self, FakeServer};
use compat_tests::http;
use compat_tests::rpmbuild;
use serde_json::Value;

const RPM: &str = "libfoo++-1.0+git3~rc1^20-1.fc40.x86_64.rpm";
const TAR: &str = "a+b^c;d=e&f@g!h'i(j)*k,l:m$n.tar.gz";

/// An object store as strict as RFC 3986: 400 for what a path must not hold, `+` is a blank.
fn strict(directory: &Path) -> FakeServer {
    let directory = directory.to_owned();
    FakeServer::start(move |head, stream| {
        let path = head.split(' ').nth(1).unwrap_or_default();
        let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@/%".contains(&byte);
        let status = if path.bytes().all(is_allowed) { "404 Not Found" } else { "400 Bad Request" };
        match std::fs::read(directory.join(decode(&path.replace('+', " ")).trim_start_matches('/'))) {
            Ok(bytes) if status.starts_with("404") => {
                fake_server::begin(stream, bytes.len());
                let _ = stream.write_all(&bytes);
            }
            _ => {
                let _ = write!(stream, "HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            }
        }
    })
}

fn decode(path: &str) -> String {
    let mut parts = path.split('%');
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        bytes.push(u8::from_str_radix(&part[..2], 16).unwrap());
        bytes.extend(part[2..].bytes());
    }
    String::from_utf8(bytes).unwrap()
}

/// The URL of the package of a build-id, in the JSON API and in `/metadata`, which must be the same.
fn published(gateway: &RunningGateway, build_id: &str) -> String {
    let json = |path: &str| serde_json::from_slice::<Value>(&gateway.get(path).body).unwrap();
    let url = json(&format!("/buildids/{build_id}"))[0]["url"].as_str().unwrap().to_owned();
    let metadata = json(&format!("/metadata?key=buildid&value={build_id}"));
    assert_eq!(metadata["results"][0]["locations"][0]["url"].as_str(), Some(&*url), "{metadata}");
    url
}

#[test]
fn every_url_of_a_file_name_escapes_all_but_unreserved_characters() {
    let (directory, program) = (tempfile::tempdir().unwrap(), Program::compile("bar", "/s/bar"));
    let id = rpmbuild::build_id();
    let (bytes, link) = (rpmbuild::program(0, &id), rpmbuild::link(&id, ""));
    let files = [("/usr/bin/foo", &*bytes), (&link, b"../../../../usr/bin/foo")];
    rpmbuild::build(directory.path(), "libfoo++", "1.0+git3~rc1^20", "1.fc40", &[("libfoo++", &files)]);
    std::fs::create_dir(directory.path().join("x+y")).unwrap();
    let made = Tree::with_files(&[("usr/bin/bar", &program.whole())]).tar(directory.path(), "made.tar.gz", "tar", &[]);
    std::fs::rename(made, directory.path().join("x+y").join(TAR)).unwrap();

    let store = strict(directory.path());
    let index = Sqlite::empty();
    let path = directory.path().to_str().unwrap();
    let formats = ["--formats", "rpm,tar"];
    import_ok(&index.url(), &[&["dir", path, "--store", "store", "--url", &*store.url()], &formats[..]].concat());
    import_ok(&index.url(), &["store", "add", "store", "--tier", "mirror", "--url", &store.url()]);
    let elsewhere = RunningGateway::start(&index.url());
    let index = Sqlite::empty();
    import_ok(&index.url(), &[&["dir", path], &formats[..]].concat());
    let here = RunningGateway::start(&index.url());

    let escaped_tar = "a%2Bb%5Ec%3Bd%3De%26f%40g%21h%27i%28j%29%2Ak%2Cl%3Am%24n.tar.gz";
    for (id, bytes, file, escaped) in [
        (&id, bytes, RPM.to_owned(), "libfoo%2B%2B-1.0%2Bgit3~rc1%5E20-1.fc40.x86_64.rpm".to_owned()),
        (
            &program.build_id,
            std::fs::read(program.whole()).unwrap(),
            format!("x+y/{TAR}"),
            format!("x%2By/{escaped_tar}"),
        ),
    ] {
        let archive = std::fs::read(directory.path().join(&file)).unwrap();
        let url = published(&elsewhere, id);
        assert_eq!(url, format!("{}/{escaped}", store.url()));
        assert!(http::get(store.port, &url[store.url().len()..]).unwrap().body == archive, "{file}: other bytes");
        assert!(elsewhere.get(&format!("/buildid/{id}/executable")).body == bytes, "{file}: other bytes of the member");

        let own = published(&here, id)[here.url().len()..].to_owned();
        let name = escaped.rsplit('/').next().unwrap();
        assert!(own.starts_with("/archive/") && own.ends_with(&format!("/{name}")), "{own}");
        // Escaped or not, it is the same path.
        for path in [&own, &own.replace(name, file.rsplit('/').next().unwrap())] {
            assert!(here.get(path).body == archive, "{path}: other bytes");
        }
    }
}
