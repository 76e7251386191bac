//! File names of downloads: by `curl -OJ`, and for clients that read the whole of Content-Disposition (RFC 6266).

use std::path::PathBuf;
use std::process::Command;

use compat_tests::compiled::{Program, Tree};
use compat_tests::darkserver::{RunningGateway, Sqlite, import_ok};
use compat_tests::fixtures;
use compat_tests::process::run;
use serde_json::Value;

use crate::{BIDTEST, SOURCES, build_id, gateway};

/// Downloads a path with `curl -OJ`; name and bytes of the file that it made.
fn download(gateway: &RunningGateway, path: &str) -> (String, Vec<u8>) {
    let directory = tempfile::tempdir().unwrap();
    let mut command = Command::new("curl");
    command
        .current_dir(directory.path())
        .args(["--silent", "--fail", "--show-error", "-OJ"])
        .arg(format!("{}{path}", gateway.url()));
    let output = run(&mut command, "curl");
    assert!(output.status.success(), "{path}: {}", String::from_utf8_lossy(&output.stderr));
    let files: Vec<PathBuf> = directory.path().read_dir().unwrap().map(|file| file.unwrap().path()).collect();
    assert_eq!(files.len(), 1, "{path}: {files:?}");
    (files[0].file_name().unwrap().to_str().unwrap().to_owned(), std::fs::read(&files[0]).unwrap())
}

#[test]
fn curl_saves_files_sections_sources_and_archives_by_their_names() {
    let (_index, gateway) = gateway(&["fedora-compat"]);
    let id = build_id("fedora-compat", "/usr/bin/b");
    let version = BIDTEST.strip_prefix("bidtest-").unwrap();
    for (what, name) in [
        ("executable", "b".to_owned()),
        ("debuginfo", format!("b-{version}.x86_64.debug")),
        (&format!("source{SOURCES}/src/b.c"), "b.c".to_owned()),
        ("section/.debug_info", format!("b-{version}.x86_64.debug_info")),
        ("section/.text", "b.text".to_owned()),
    ] {
        let path = format!("/buildid/{id}/{what}");
        let (found, bytes) = download(&gateway, &path);
        assert!(found == name && bytes == gateway.get(&path).body, "{what}: expected {name}, found {found}");
    }
    let rows: Value = serde_json::from_slice(&gateway.get(&format!("/buildids/{id}")).body).unwrap();
    let url = rows[0]["url"].as_str().unwrap();
    let (found, bytes) = download(&gateway, url.strip_prefix(&gateway.url()).unwrap());
    let rpm = format!("{}.rpm", rows[0]["rpm"].as_str().unwrap());
    assert!(found == rpm && bytes == std::fs::read(fixtures::rpm(&format!("fedora-compat/{rpm}"))).unwrap(), "{found}");
    assert_eq!(gateway.get("/buildid/00112233/executable").header("content-disposition"), None);
}

#[test]
fn unusual_file_names_are_encoded_in_content_disposition() {
    const TAR: &str = "odd++ \u{e9}t\u{e9} %2B.tar.gz";
    let directory = tempfile::tempdir().unwrap();
    let [first, second] = ["first", "second"].map(|name| Program::compile(name, &format!("/s/{name}")));
    let tree =
        Tree::with_files(&[("usr/bin/na\u{ef}ve \"q\".so", &first.whole()), ("usr/bin/a;b=c++\n\\d", &second.whole())]);
    let made = tree.tar(directory.path(), "made.tar.gz", "tar", &[]);
    std::fs::rename(made, directory.path().join(TAR)).unwrap();
    let index = Sqlite::empty();
    import_ok(&index.url(), &["dir", directory.path().to_str().unwrap(), "--formats", "tar"]);
    let gateway = RunningGateway::start(&index.url());
    let rows: Value = serde_json::from_slice(&gateway.get(&format!("/buildids/{}", first.build_id)).body).unwrap();
    let archive = rows[0]["url"].as_str().unwrap().strip_prefix(&gateway.url()).unwrap().to_owned();
    for (path, header, name) in [
        (
            format!("/buildid/{}/executable", first.build_id),
            "attachment; filename=\"na_ve _q_.so\"; filename*=UTF-8''na%C3%AFve%20%22q%22.so",
            "na_ve _q_.so",
        ),
        (format!("/buildid/{}/executable", second.build_id), "attachment; filename=\"a;b=c++__d\"", "a;b=c++__d"),
        (
            archive,
            "attachment; filename=\"odd++ _t_ %2B.tar.gz\"; filename*=UTF-8''odd%2B%2B%20%C3%A9t%C3%A9%20%252B.tar.gz",
            "odd++ _t_ %2B.tar.gz",
        ),
    ] {
        assert_eq!(gateway.get(&path).header("content-disposition"), Some(header));
        assert_eq!(download(&gateway, &path).0, name);
    }
}
