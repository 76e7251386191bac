//! LLVM's debuginfod client, and the form of header names on HTTP/1 that its older releases look for.

use std::io::Read;
use std::path::PathBuf;
use std::process::Command;

use compat_tests::http;
use compat_tests::process::run;

use crate::{BIDTEST, SOURCES, build_id, gateway, member};

/// The head of an answer as it was sent.
fn raw_head(port: u16, method: &str, path: &str, headers: &[(&str, &str)]) -> String {
    let mut bytes = Vec::new();
    http::send(port, method, path, headers).unwrap().read_to_end(&mut bytes).unwrap();
    let text = String::from_utf8_lossy(&bytes).into_owned();
    text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{method} {path}: expected a head, found {text}")).0.to_owned()
}

/// Each part of a name begins with a capital: `Content-Length`.
fn is_capitalized(name: &str) -> bool {
    name.split('-').all(|part| {
        let (first, rest) = part.split_at(1);
        first == first.to_uppercase() && rest == rest.to_lowercase()
    })
}

#[test]
fn names_of_headers_are_capitalized_on_http_1() {
    let (_index, gateway) = gateway(&["fedora-compat"]);
    let executable = format!("/buildid/{}/executable", build_id("fedora-compat", "/usr/bin/b"));
    let etag = gateway.get(&executable).header("etag").unwrap().to_owned();
    let range = [("Range", "bytes=0-9")];
    for (method, path, headers, status) in [
        ("GET", &*executable, &[][..], 200),
        ("HEAD", &executable, &[], 200),
        ("GET", &executable, &range, 206),
        ("GET", "/darkserver", &[], 302),
        ("GET", &executable, &[("If-None-Match", &*etag)], 304),
        ("GET", "/buildid/xyz/debuginfo", &[], 400),
        ("GET", "/buildid/00112233/debuginfo", &[], 404),
        ("GET", "/nothing", &[], 404),
        ("DELETE", &executable, &[], 405),
        ("GET", &executable, &[("X-DEBUGINFOD-MAXSIZE", "1")], 406),
        ("GET", &executable, &[("Range", "bytes=99999999-")], 416),
        ("BREW", &executable, &[], 501),
        ("GET", "/metrics", &[], 200),
        ("GET", "/buildids/00112233", &[], 200),
        ("GET", "/metadata?key=glob&value=/*", &[], 200),
    ] {
        let head = raw_head(gateway.port, method, path, headers);
        let mut lines = head.split("\r\n");
        let is_expected = lines.next().unwrap().starts_with(&format!("HTTP/1.1 {status} "));
        let names: Vec<&str> = lines.map(|line| line.split_once(": ").unwrap().0).collect();
        assert!(
            is_expected && names.iter().all(|name| is_capitalized(name)),
            "{method} {path}: expected {status}, found {head}"
        );
        assert!(status == 304 || names.contains(&"Content-Length"), "{method} {path}: {head}");
    }
}

/// The client, whose name has the release of LLVM in some distributions.
fn client() -> PathBuf {
    let directories = std::env::var_os("PATH").unwrap_or_default();
    let files =
        std::env::split_paths(&directories).filter_map(|directory| directory.read_dir().ok()).flatten().flatten();
    let is_client = |name: &str| {
        let release = name.strip_prefix("llvm-debuginfod-find");
        release.is_some_and(|release| release.trim_start_matches('-').bytes().all(|byte| byte.is_ascii_digit()))
    };
    let mut clients: Vec<PathBuf> =
        files.filter(|file| file.file_name().to_str().is_some_and(is_client)).map(|file| file.path()).collect();
    clients.sort();
    clients.into_iter().next().unwrap_or_else(|| panic!("llvm-debuginfod-find: expected it in PATH; install llvm"))
}

#[test]
fn llvms_client_gets_executables_debuginfo_and_sources() {
    let (_index, gateway) = gateway(&["fedora-compat"]);
    let id = build_id("fedora-compat", "/usr/bin/b");
    let source = format!("{SOURCES}/src/b.c");
    let debug_file = format!("/usr/lib/debug/usr/bin/b-{}.x86_64.debug", &BIDTEST["bidtest-".len()..]);
    let cache = tempfile::tempdir().unwrap();
    for (option, path, nvra, file) in [
        ("--executable", "executable", format!("{BIDTEST}.x86_64"), "/usr/bin/b"),
        ("--debuginfo", "debuginfo", BIDTEST.replace("bidtest-", "bidtest-debuginfo-") + ".x86_64", &*debug_file),
        (
            &format!("--source={source}"),
            &format!("source{source}"),
            BIDTEST.replace("bidtest-", "bidtest-debugsource-") + ".x86_64",
            &*source,
        ),
    ] {
        let mut command = Command::new(client());
        command.env("DEBUGINFOD_URLS", gateway.url()).env("DEBUGINFOD_CACHE_PATH", cache.path()).args([option, &id]);
        let output = run(&mut command, "llvm");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{option}: {said}");
        let found = std::fs::read(String::from_utf8(output.stdout).unwrap().trim()).unwrap();
        assert!(found == gateway.get(&format!("/buildid/{id}/{path}")).body, "{option}: other bytes than were sent");
        assert!(found == member("fedora-compat", &nvra, file), "{option}: other bytes than in the package");
    }
}
