//! What proves that a store does not have an archive: statuses, and archives with other contents. Login pages prove
//! nothing.

use std::fs;
use std::io::{ErrorKind, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, Mutex};

use compat_tests::compiled::{Program, Tree, succeed};
use compat_tests::darkserver::{RunningGateway, Sqlite, import, import_ok};
use compat_tests::fake_server::FakeServer;
use compat_tests::http;
use compat_tests::rpmbuild;
use serde_json::Value;
use tempfile::TempDir;

/// What a store answers.
#[derive(Clone)]
enum Answers {
    /// A status line's end, headers and a body.
    With(&'static str, &'static str, Vec<u8>),
    /// A redirect to its own login page, which is answered 200.
    RedirectToLogin,
}

const PAGE: &[u8] = b"<!DOCTYPE html>\n<html><body>Please log in.</body></html>\n";
const XML: &[u8] = b"<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>AccessDenied</Code></Error>";

/// A store whose answers a test changes.
struct Store {
    server: FakeServer,
    answers: Arc<Mutex<Answers>>,
}

impl Store {
    fn start() -> Self {
        let answers = Arc::new(Mutex::new(Answers::RedirectToLogin));
        let current = answers.clone();
        let server = FakeServer::start(move |head, stream| {
            let answers = current.lock().unwrap().clone();
            match answers {
                Answers::With(status, headers, body) => answer(stream, status, headers, &body),
                Answers::RedirectToLogin if head.starts_with("GET /login ") => {
                    answer(stream, "200 OK", "Content-Type: text/html\r\n", PAGE)
                }
                Answers::RedirectToLogin => answer(stream, "302 Found", "Location: /login\r\n", b""),
            }
        });
        Self { server, answers }
    }

    fn answers(&self, answers: Answers) {
        *self.answers.lock().unwrap() = answers;
    }
}

fn answer(stream: &mut TcpStream, status: &str, headers: &str, body: &[u8]) {
    let length = body.len();
    let _ = write!(stream, "HTTP/1.1 {status}\r\n{headers}Content-Length: {length}\r\nConnection: close\r\n\r\n");
    let _ = stream.write_all(body);
}

/// An archive of a format, with another one of the same format.
struct Archive {
    format: &'static str,
    build_id: String,
    other: Vec<u8>,
}

/// A directory with an archive of each format.
fn archives(directory: &TempDir) -> Vec<Archive> {
    let (into, elsewhere) = (directory.path(), tempfile::tempdir().unwrap());
    let make = |name: &'static str, of: &dyn Fn(&Tree, PathBuf) -> PathBuf| {
        let program = Program::compile(name, &format!("/s/{name}"));
        of(&Tree::with_files(&[(&format!("usr/bin/{name}"), &program.whole())]), into.to_owned());
        let other = Tree::with_files(&[("usr/bin/other", &program.whole()), ("usr/bin/more", &program.stripped())]);
        (program.build_id.clone(), fs::read(of(&other, elsewhere.path().to_owned())).unwrap())
    };
    let (deb, other_deb) = make("deb", &|tree, into| tree.deb(&into, ("hello", "1.0-1", "deb"), "", "xz"));
    let (arch, other_arch) = make("arch", &|tree, into| tree.arch(&into, ("hello", "hello", "1.0-1"), "tar.zst"));
    let (tar, other_tar) = make("tar", &|tree, into| tree.tar(&into, "hello.tar", "tar", &[]));
    let (tgz, other_tgz) = make("tgz", &|tree, into| tree.tar(&into, "hello.tar.gz", "tar", &[]));
    let (zip, other_zip) = make("zip", &|tree, into| {
        let archive = into.join("hello.zip");
        let mut python = Command::new("python3");
        python.args(["-m", "zipfile", "-c"]).arg(&archive).arg(tree.path().join("usr"));
        succeed(&mut python, "python3");
        archive
    });
    let elf = Program::compile("elf", "/s/elf");
    fs::copy(elf.whole(), into.join("elf")).unwrap();
    let rpm = rpmbuild::large(into, "rpm", 0);
    let other_rpm = rpmbuild::large(elsewhere.path(), "other", 0);
    [
        ("rpm", rpm.build_id, fs::read(other_rpm.rpm).unwrap()),
        ("deb", deb, other_deb),
        ("arch", arch, other_arch),
        ("tar", tar, other_tar),
        ("tar.gz", tgz, other_tgz),
        ("zip", zip, other_zip),
        ("elf", elf.build_id.clone(), fs::read(elf.stripped()).unwrap()),
    ]
    .map(|(format, build_id, other)| Archive { format, build_id, other })
    .into()
}

fn index_at(directory: &TempDir, url: &str, options: &[&str]) -> Sqlite {
    let (index, directory) = (Sqlite::empty(), directory.path().to_str().unwrap());
    import_ok(
        &index.url(),
        &["dir", directory, "--store", "store", "--url", url, "--formats", "rpm,deb,arch,tar,zip,elf"],
    );
    import_ok(&index.url(), &[&["store", "add", "store", "--tier", "mirror", "--url", url], options].concat());
    index
}

/// `404`, or `reset` where it could not be told.
fn outcome(gateway: &RunningGateway, archive: &Archive) -> String {
    match http::get(gateway.port, &format!("/buildid/{}/executable", archive.build_id)) {
        Ok(answer) => answer.status.to_string(),
        Err(error) if error.kind() == ErrorKind::ConnectionReset => "reset".into(),
        Err(error) => error.to_string(),
    }
}

#[test]
fn only_a_status_or_an_archive_with_other_contents_proves_absence() {
    let (directory, store) = (tempfile::tempdir().unwrap(), Store::start());
    let archives = archives(&directory);
    let index = index_at(&directory, &store.server.url(), &[]);
    let compressed_page = [&b"\x1f\x8b\x08\0\0\0\0\0"[..], &[0; 600]].concat();
    for (what, answers, expected) in [
        ("a login page", Answers::With("200 OK", "Content-Type: text/html; charset=utf-8\r\n", PAGE.into()), "reset"),
        ("a page without a type", Answers::With("200 OK", "", PAGE.into()), "reset"),
        (
            "a page said to be bytes",
            Answers::With("200 OK", "Content-Type: application/octet-stream\r\n", PAGE.into()),
            "reset",
        ),
        ("a compressed page", Answers::With("200 OK", "Content-Type: text/html\r\n", compressed_page), "reset"),
        ("an empty file", Answers::With("200 OK", "", Vec::new()), "reset"),
        ("a part", Answers::With("206 Partial Content", "Content-Range: bytes 0-9/10\r\n", vec![0; 10]), "reset"),
        ("a redirect to a login page", Answers::RedirectToLogin, "reset"),
        ("401", Answers::With("401 Unauthorized", "", Vec::new()), "reset"),
        ("500", Answers::With("500 Internal Server Error", "", Vec::new()), "reset"),
        ("403 with a page", Answers::With("403 Forbidden", "Content-Type: text/html\r\n", PAGE.into()), "reset"),
        ("403 with a page without a type", Answers::With("403 Forbidden", "", PAGE.into()), "reset"),
        (
            "403 of an object store",
            Answers::With("403 Forbidden", "Content-Type: application/xml\r\n", XML.into()),
            "404",
        ),
        ("403 with XML without a type", Answers::With("403 Forbidden", "", XML.into()), "404"),
        ("403 without a body", Answers::With("403 Forbidden", "", Vec::new()), "404"),
        ("404 with a page", Answers::With("404 Not Found", "Content-Type: text/html\r\n", PAGE.into()), "404"),
        ("410", Answers::With("410 Gone", "", Vec::new()), "404"),
    ] {
        store.answers(answers);
        // What was unavailable stays so for a moment: each case has a gateway of its own.
        let gateway = RunningGateway::start(&index.url());
        for archive in &archives {
            assert_eq!(outcome(&gateway, archive), expected, "{what}: {}: {}", archive.format, gateway.log());
        }
    }
    let gateway = RunningGateway::start(&index.url());
    for archive in &archives {
        store.answers(Answers::With("200 OK", "", archive.other.clone()));
        assert_eq!(outcome(&gateway, archive), "404", "another archive: {}: {}", archive.format, gateway.log());
    }
}

#[test]
fn an_operator_names_the_statuses_that_prove_absence() {
    let (directory, store) = (tempfile::tempdir().unwrap(), Store::start());
    rpmbuild::large(directory.path(), "hello", 0);
    let archive = Archive { format: "rpm", build_id: rpmbuild::build_id(), other: Vec::new() };
    let index = index_at(&directory, &store.server.url(), &["--absent-statuses", "451,404"]);
    let listed = import_ok(&index.url(), &["store", "list", "--json"]);
    let listed: Value = serde_json::from_slice(&listed.stdout).unwrap();
    assert_eq!(listed[0]["absent_statuses"], serde_json::json!([404, 451]), "{listed}");
    let table = String::from_utf8(import_ok(&index.url(), &["store", "list"]).stdout).unwrap();
    assert!(table.contains("ABSENT") && table.contains("404,451"), "{table}");

    for (status, expected) in [
        ("451 Unavailable For Legal Reasons", "404"),
        ("404 Not Found", "404"),
        ("403 Forbidden", "reset"),
        ("410 Gone", "reset"),
    ] {
        store.answers(Answers::With(status, "", Vec::new()));
        let gateway = RunningGateway::start(&index.url());
        assert_eq!(outcome(&gateway, &archive), expected, "{status}: {}", gateway.log());
    }

    let url = store.server.url();
    // Importing the directory again with another URL keeps the statuses; so does adding the store again without them.
    let local = Sqlite::empty();
    let (name, dir) = ("local", directory.path().to_str().unwrap());
    let statuses = || {
        let listed = import_ok(&local.url(), &["store", "list", "--json"]).stdout;
        serde_json::from_slice::<Value>(&listed).unwrap()[0]["absent_statuses"].to_string()
    };
    import_ok(&local.url(), &["migrate"]);
    import_ok(&local.url(), &["store", "add", name, "--tier", "local", "--path", dir, "--absent-statuses", "404"]);
    import_ok(&local.url(), &["dir", dir, "--url", &url]);
    assert_eq!(statuses(), "[404]");
    import_ok(&local.url(), &["store", "add", name, "--tier", "local", "--path", dir]);
    assert_eq!(statuses(), "[404]");
    import_ok(&local.url(), &["store", "add", name, "--absent-statuses", ""]);
    assert_eq!(statuses(), "[403,404,410]");

    for bad in ["404 410", "200", "4xx", "404,"] {
        let refused =
            import(&local.url(), &["store", "add", "x", "--tier", "mirror", "--url", &url, "--absent-statuses", bad]);
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        let expected = "expected HTTP statuses of 400 to 599 separated by commas, like 403,404,410";
        assert!(refused.status.code() == Some(2) && said.contains(expected), "{bad:?}: {said}");
    }
}

#[test]
fn archives_whose_compression_is_called_a_content_encoding_are_taken_as_they_are() {
    let (directory, store) = (tempfile::tempdir().unwrap(), Store::start());
    let program = Program::compile("hello", "/s/hello");
    let tree = Tree::with_files(&[("usr/bin/hello", &program.whole())]);
    let tar = fs::read(tree.tar(directory.path(), "hello.tar.gz", "tar", &[])).unwrap();
    let index = index_at(&directory, &store.server.url(), &[]);
    let gzip_twice = {
        let again = tree.path().join("again");
        fs::write(&again, &tar).unwrap();
        succeed(Command::new("gzip").arg(&again), "gzip");
        fs::read(again.with_extension("gz")).unwrap()
    };
    // What was encoded for the transfer has a length that says nothing of the archive's.
    store.answers(Answers::With("200 OK", "Content-Encoding: gzip\r\n", gzip_twice));
    let gateway = RunningGateway::start(&index.url());
    let archive = Archive { format: "tar.gz", build_id: program.build_id.clone(), other: Vec::new() };
    assert_eq!(outcome(&gateway, &archive), "reset", "{}", gateway.log());
    for encoding in ["gzip", "x-gzip"] {
        let headers = if encoding == "gzip" { "Content-Encoding: gzip\r\n" } else { "Content-Encoding: x-gzip\r\n" };
        store.answers(Answers::With("200 OK", headers, tar.clone()));
        let gateway = RunningGateway::start(&index.url());
        let answer = gateway.get(&format!("/buildid/{}/executable", program.build_id));
        assert!(answer.body == fs::read(program.whole()).unwrap(), "{encoding}: {}", gateway.log());
    }
}
