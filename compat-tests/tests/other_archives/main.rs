//! Debian packages, Arch packages, other tar, zip and cpio archives and plain ELF files, from `dpkg-deb`, `tar` and
//! `bsdtar` through an import and a gateway to `debuginfod-find` and GDB; and elfutils' own server beside ours.

#![expect(clippy::unwrap_used, reason = "helpers of tests: a failure here is a failed test, and says where")]

mod arch;
mod beside_elfutils;
mod deb;
mod left_out;
mod plain;
mod tar;
mod zip;

use std::fs;
use std::path::Path;

use compat_tests::darkserver::{RunningGateway, Sqlite, import_ok};
use compat_tests::http::Response;
use serde_json::Value;
use tempfile::TempDir;

/// Imports `directory` with these options, and says what was done.
fn import(index: &Sqlite, directory: &TempDir, options: &[&str]) -> Value {
    let said = import_ok(&index.url(), &[&["dir", directory.path().to_str().unwrap(), "--json"], options].concat());
    serde_json::from_slice(&said.stdout).unwrap()
}

/// A gateway for `directory`, imported with these options.
fn served(directory: &TempDir, options: &[&str]) -> (Sqlite, RunningGateway) {
    let index = Sqlite::empty();
    import(&index, directory, options);
    let gateway = RunningGateway::start(&index.url());
    (index, gateway)
}

/// Expects the bytes of `file`, under these names.
#[track_caller]
fn expect(answer: &Response, file: &Path, member: &str, archive: Option<&str>) {
    assert_eq!(answer.status, 200, "{member}: {}", answer.text());
    assert!(answer.body == fs::read(file).unwrap(), "{member}: other bytes than {}", file.display());
    let size = answer.body.len().to_string();
    let said = ["x-debuginfod-file", "x-debuginfod-archive", "x-debuginfod-size"].map(|name| answer.header(name));
    assert_eq!(said, [Some(member), archive, Some(&*size)]);
}
