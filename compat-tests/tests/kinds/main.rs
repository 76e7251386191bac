//! Kinds of files (program, debug file or both) and the paths that they are known by. Headers tell a kind, else the
//! extracted file does.

#![expect(clippy::unwrap_used, reason = "helpers of tests: a failure here is a failed test, and says where")]

mod links;
mod moved;
mod nameless;
mod remembered;
mod troubled;
mod unknown;
mod upstreams;
mod yocto;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use compat_tests::compiled::Program;
use compat_tests::darkserver::{RunningGateway, Sqlite, import_ok};
use compat_tests::headers::FileClassFormat;
use compat_tests::http::Response;
use compat_tests::rpmbuild;
use serde_json::{Value, json};

/// An index of these RPMs, imported in this order.
fn index(rpms: &[&Path]) -> Sqlite {
    let index = Sqlite::with_packages(&[]);
    for rpm in rpms {
        import_ok(&index.url(), &["rpm", rpm.to_str().unwrap()]);
    }
    index
}

/// A gateway for these RPMs.
fn served(rpms: &[&Path]) -> (Sqlite, RunningGateway) {
    let index = index(rpms);
    let gateway = RunningGateway::start(&index.url());
    (index, gateway)
}

/// Makes packages of the source package `foo`.
fn build(into: &Path, packages: &[rpmbuild::PackageFiles<'_>]) -> Vec<PathBuf> {
    rpmbuild::build(into, "foo", "1.0", "1", packages);
    packages.iter().map(|(name, _)| into.join(format!("{name}-1.0-1.x86_64.rpm"))).collect()
}

/// Makes a package that holds one program of a name and its build-id link, with a header of this form.
fn linked(into: &Path, program: &Program, file: &Path, form: FileClassFormat) -> PathBuf {
    let made = rpmbuild::of_bytes_with("w3.zstdio", into, &program.name, &fs::read(file).unwrap(), &program.build_id);
    form.apply(&made.rpm);
    made.rpm
}

fn path(build_id: &str, word: &str) -> String {
    format!("/buildid/{build_id}/{word}")
}

/// Expects the bytes of `file` under the name `member`.
#[track_caller]
fn expect_file(gateway: &RunningGateway, build_id: &str, word: &str, file: &Path, member: &str) {
    let answer = gateway.get(&path(build_id, word));
    assert_eq!(answer.status, 200, "{word} of {member}: {}", answer.text());
    assert!(answer.body == fs::read(file).unwrap(), "{word}: other bytes than those of {member}, of {}", said(&answer));
    assert_eq!(answer.header("x-debuginfod-file"), Some(member), "{word}");
}

fn said(answer: &Response) -> String {
    format!("{:?} in {:?}", answer.header("x-debuginfod-file"), answer.header("x-debuginfod-archive"))
}

#[track_caller]
fn expect_absent(gateway: &RunningGateway, build_id: &str, word: &str) {
    let answer = gateway.get(&path(build_id, word));
    assert_eq!(answer.status, 404, "{word}: expected no file, found {}", said(&answer));
}

/// Expects that the connection is reset: the answer is unavailable.
#[track_caller]
fn expect_unavailable(gateway: &RunningGateway, build_id: &str, word: &str) {
    gateway.expect_reset(&path(build_id, word));
}

/// The files of an answer of `/metadata`: path and type, and whether the type is certain. Each is told once.
#[track_caller]
fn told(gateway: &RunningGateway, key: &str, value: &str) -> BTreeMap<(String, String), bool> {
    let value: String = value.bytes().map(|byte| format!("%{byte:02X}")).collect();
    let answer = gateway.get(&format!("/metadata?key={key}&value={value}"));
    assert_eq!(answer.status, 200, "{}", answer.text());
    let answer: Value = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!(answer["complete"], true, "{answer}");
    let mut files = BTreeMap::new();
    for entry in answer["results"].as_array().unwrap() {
        let text = |key: &str| entry[key].as_str().unwrap().to_owned();
        let before = files.insert((text("file"), text("type")), entry["certain"] != json!(false));
        assert_eq!(before, None, "expected each file and type once, found {answer}");
    }
    files
}

/// Expects that `/metadata` tells the file at `member` under exactly these types, by build-id and by path.
#[track_caller]
fn expect_types(gateway: &RunningGateway, build_id: &str, member: &str, types: &[&str], certain: bool) {
    let expected: BTreeMap<_, _> =
        types.iter().map(|kind| ((member.to_owned(), (*kind).to_owned()), certain)).collect();
    let mut by_id = told(gateway, "buildid", build_id);
    by_id.retain(|(file, _), _| file == member);
    assert_eq!(by_id, expected, "by build-id: (path, type) and whether it is certain");
    assert_eq!(told(gateway, "file", member), expected, "by path: (path, type) and whether it is certain");
}

/// The paths in the rows of `/buildids/ID`, sorted.
#[track_caller]
fn rows(gateway: &RunningGateway, build_id: &str) -> Vec<String> {
    let rows: Value = serde_json::from_slice(&gateway.get(&format!("/buildids/{build_id}")).body).unwrap();
    let mut paths: Vec<String> =
        rows.as_array().unwrap().iter().map(|row| row["elf"].as_str().unwrap().to_owned()).collect();
    paths.sort();
    paths
}
