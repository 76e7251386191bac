//! `X-DEBUGINFOD-IMASIGNATURE`: signatures of single files, checked by `evmctl`, and by a client that enforces them
//! where there is one.

use std::io::Write;
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;

use compat_tests::darkserver::{RunningGateway, Sqlite};
use compat_tests::debuginfod::DebuginfodClient;
use compat_tests::fake_server::FakeServer;
use compat_tests::fixtures;
use compat_tests::http::{self, Response};
use compat_tests::ima::{Signer, signatures};

use crate::{SOURCES, build_id};

const DEBUG: &str = "/usr/lib/debug/usr/bin/b-1.2~rc1-4.fc99.x86_64.debug";

fn signature(answer: &Response) -> Option<&str> {
    answer.header("x-debuginfod-imasignature")
}

/// A gateway for the signed copies of a family.
fn signed(signer: &Signer, family: &str) -> (tempfile::TempDir, Sqlite, RunningGateway) {
    let directory = tempfile::tempdir().unwrap();
    for rpm in fixtures::rpms(family) {
        signer.sign(&rpm, directory.path());
    }
    let index = Sqlite::with_packages(&[directory.path()]);
    let gateway = RunningGateway::start(&index.url());
    (directory, index, gateway)
}

#[test]
fn every_file_of_a_signed_package_carries_its_signature() {
    // RSA as in Fedora 37 and RHEL, ECDSA as in later Fedoras; a package of format 6, too.
    for (kind, family) in [("ec", "fedora-compat"), ("rsa:2048", "server"), ("ec", "v6")] {
        let signer = Signer::make(kind);
        let (directory, _index, gateway) = signed(&signer, family);
        for row in fixtures::truth(family) {
            for word in ["executable", "debuginfo"] {
                let answer = gateway.get(&format!("/buildid/{}/{word}", row.build_id));
                if answer.status == 404 {
                    continue;
                }
                let found = signature(&answer).unwrap_or_else(|| panic!("{row:?}: no signature"));
                assert!(signer.verifies(&answer.body, found), "{row:?}: {found}");
                let (file, archive) = (answer.header("x-debuginfod-file"), answer.header("x-debuginfod-archive"));
                let of_rpm = signatures(&directory.path().join(archive.unwrap()));
                assert!(
                    of_rpm.contains(&(file.unwrap().to_owned(), found.to_owned())),
                    "{row:?}: rpm shows other signatures"
                );
                assert_eq!(
                    answer.header("x-debuginfod-size"),
                    Some(&*answer.body.len().to_string()),
                    "clients insist on it"
                );
                let mut other = answer.body.clone();
                other[0] ^= 1;
                assert!(!signer.verifies(&other, found), "evmctl would take anything");
            }
        }
    }
}

#[test]
fn sources_sections_and_parts_carry_the_signature_of_the_whole_file() {
    let signer = Signer::make("ec");
    let (_directory, _index, mut gateway) = signed(&signer, "fedora-compat");
    let id = build_id("fedora-compat", DEBUG);
    let source = gateway.get(&format!("/buildid/{id}/source{SOURCES}/src/a.c"));
    assert!(signer.verifies(&source.body, signature(&source).unwrap()));
    for (whole, section) in [("debuginfo", ".debug_info"), ("executable", ".text")] {
        let whole = format!("/buildid/{id}/{whole}");
        let section = gateway.get(&format!("/buildid/{id}/section/{section}"));
        let (part, head) = (request(&gateway, "GET", &whole, "bytes=0-9"), request(&gateway, "HEAD", &whole, ""));
        assert_eq!((section.status, part.status, head.status), (200, 206, 200));
        let of_whole = gateway.get(&whole);
        assert!(signer.verifies(&of_whole.body, signature(&of_whole).unwrap()));
        for answer in [&section, &part, &head] {
            assert_eq!(signature(answer), signature(&of_whole));
        }
    }
    // Another process on the same cache directory: the archives are not opened again.
    gateway.wait_until_synced();
    gateway.restart();
    for path in ["debuginfo", "section/.debug_info", &format!("source{SOURCES}/src/a.c")] {
        let answer = gateway.get(&format!("/buildid/{id}/{path}"));
        assert!(
            signature(&answer).is_some_and(|found| path.contains('/') || signer.verifies(&answer.body, found)),
            "{path}"
        );
    }
    assert_eq!(gateway.metric("gateway_extractions_total{result=\"complete\"}"), 0.0);
}

fn request(gateway: &RunningGateway, method: &str, path: &str, range: &str) -> Response {
    let headers = [("Range", range)];
    http::request(gateway.port, method, path, if range.is_empty() { &[] } else { &headers }).unwrap()
}

#[test]
fn files_without_a_signature_have_no_header() {
    let (_index, gateway) = crate::gateway(&["fedora-compat"]);
    let answer = gateway.get(&format!("/buildid/{}/debuginfo", build_id("fedora-compat", DEBUG)));
    assert_eq!((answer.status, signature(&answer)), (200, None));
}

#[test]
fn invalid_signatures_do_not_make_a_package_unreadable() {
    let signer = Signer::make("ec");
    let directory = tempfile::tempdir().unwrap();
    for rpm in fixtures::rpms("server") {
        let signed = signer.sign(&rpm, directory.path());
        // The first of them is no hex any more; its package is as readable as before, and the other files keep theirs.
        let mut bytes = std::fs::read(&signed).unwrap();
        let first = signatures(&signed).into_iter().find(|(_, signature)| !signature.is_empty()).unwrap().1;
        let at = bytes.windows(first.len()).position(|window| window == first.as_bytes()).unwrap();
        bytes[at] = b'x';
        std::fs::write(&signed, bytes).unwrap();
    }
    let index = Sqlite::with_packages(&[directory.path()]);
    let gateway = RunningGateway::start(&index.url());
    let answer = gateway.get(&format!("/buildid/{}/executable", build_id("server", "/usr/bin/server")));
    assert_eq!((answer.status, signature(&answer)), (200, None));
}

#[test]
fn signatures_that_koji_stores_beside_packages_are_sent() {
    let (signer, directory) = (Signer::make("ec"), tempfile::tempdir().unwrap());
    let build = directory.path().join("packages/bidtest/1.2~rc1/4.fc99");
    fixtures::copy(&fixtures::rpms("fedora-compat"), &build.join("x86_64"));
    let sigcache = |key: &str, nvra: &str| build.join(format!("data/sigcache/{key}/x86_64/{nvra}.rpm.sig"));
    let nvra = "bidtest-debuginfo-1.2~rc1-4.fc99.x86_64";
    // One of another package, which the first key's directory names as ours; an empty one; the right one.
    let other = fixtures::package("fedora-compat", "bidtest-1.2~rc1-4.fc99.x86_64");
    signer.sign_header(&other, &sigcache("11111111", nvra));
    std::fs::create_dir_all(sigcache("22222222", nvra).parent().unwrap()).unwrap();
    std::fs::write(sigcache("22222222", nvra), "").unwrap();
    signer.sign_header(&fixtures::package("fedora-compat", nvra), &sigcache("33333333", nvra));
    let index = Sqlite::with_packages(&[directory.path()]);
    let gateway = RunningGateway::start(&index.url());
    let id = build_id("fedora-compat", DEBUG);
    let answer = gateway.get(&format!("/buildid/{id}/debuginfo"));
    assert!(signer.verifies(&answer.body, signature(&answer).unwrap()));
    // Nobody signed these.
    let answer = gateway.get(&format!("/buildid/{id}/executable"));
    assert_eq!((answer.status, signature(&answer)), (200, None));
}

#[test]
fn redirects_carry_the_signature_of_the_upstream() {
    let signer = Signer::make("ec");
    let (_directory, _index, upstream) = signed(&signer, "fedora-compat");
    let empty = Sqlite::with_packages(&[]);
    let gateway = RunningGateway::start_with(&empty.url(), "", &["--upstream", &upstream.url()]);
    let path = format!("/buildid/{}/debuginfo", build_id("fedora-compat", DEBUG));
    let (redirect, whole) = (gateway.get(&path), upstream.get(&path));
    assert_eq!((redirect.status, redirect.header("location")), (302, Some(&*format!("{}{path}", upstream.url()))));
    assert!(signature(&redirect).is_some() && signature(&redirect) == signature(&whole));
    assert_eq!(redirect.headers.iter().filter(|(name, _)| name == "x-debuginfod-imasignature").count(), 1);
}

/// Distributions of the Debian family build their client without IMA. Of elfutils 0.192 or later, configured with
/// `--enable-debuginfod-ima-verification`, `DARKSERVER_IMA_CLIENT` names the debuginfod-find.
#[test]
#[ignore = "needs a debuginfod-find that was built with IMA: DARKSERVER_IMA_CLIENT"]
fn a_client_that_enforces_signatures_takes_signed_files_alone() {
    let program = std::env::var_os("DARKSERVER_IMA_CLIENT").expect("DARKSERVER_IMA_CLIENT: a debuginfod-find with IMA");
    let (signer, stranger) = (Signer::make("ec"), Signer::make("ec"));
    let (_directory, _index, gateway) = signed(&signer, "fedora-compat");
    let (_plain_index, plain) = crate::gateway(&["fedora-compat"]);
    let empty = Sqlite::with_packages(&[]);
    let redirecting = RunningGateway::start_with(&empty.url(), "", &["--upstream", &gateway.url()]);
    let port = gateway.port;
    let corrupting = FakeServer::start(move |head, stream| corrupt(port, head, stream));
    let id = build_id("fedora-compat", DEBUG);
    let source = format!("{SOURCES}/src/a.c");
    let find = |url: &str, certificates: Option<&Path>, arguments: &[&str]| {
        let client = DebuginfodClient::new(&format!("ima:enforcing {url}"));
        let mut command = Command::new(&program);
        client.environment(&mut command);
        command.envs(certificates.map(|directory| ("DEBUGINFOD_IMA_CERT_PATH", directory)));
        let output = command.env("DEBUGINFOD_VERBOSE", "1").args(arguments).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(said.contains("IMA verification policy: enforcing"), "no client with IMA: {said}");
        output.status.success()
    };
    for arguments in [&["debuginfo", &id][..], &["executable", &id], &["source", &id, &source]] {
        for url in [gateway.url(), redirecting.url()] {
            assert!(find(&url, Some(signer.certificates()), arguments), "{arguments:?} of {url}");
            assert!(!find(&url, None, arguments), "{arguments:?} of {url}: taken without a certificate");
            assert!(
                !find(&url, Some(stranger.certificates()), arguments),
                "{arguments:?} of {url}: taken from a stranger"
            );
        }
        assert!(
            !find(&plain.url(), Some(signer.certificates()), arguments),
            "{arguments:?}: taken without a signature"
        );
        assert!(
            !find(&corrupting.url(), Some(signer.certificates()), arguments),
            "{arguments:?}: taken with another byte"
        );
    }
    // A section is cut out of a whole file that was checked.
    assert!(find(&gateway.url(), Some(signer.certificates()), &["section", &id, ".debug_info"]));
    assert_eq!(gateway.metric("gateway_requests_total{endpoint=\"section\",status=\"200\"}"), 0.0);
}

/// Relays answers of the gateway on `port` with their last byte changed.
fn corrupt(port: u16, head: &str, stream: &mut TcpStream) {
    let mut answer = http::get(port, head.split(' ').nth(1).unwrap()).unwrap();
    *answer.body.last_mut().unwrap() ^= 1;
    let size = answer.body.len();
    let signature = signature(&answer).unwrap();
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Length: {size}\r\nX-DEBUGINFOD-SIZE: {size}\r\n\
        X-DEBUGINFOD-IMASIGNATURE: {signature}\r\nConnection: close\r\n\r\n"
    );
    // A client that has seen enough may go.
    let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&answer.body));
}
