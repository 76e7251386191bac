//! Lines of the checklist in docs/debuginfod.md that no other test is about.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::time::{Duration, SystemTime};

use compat_tests::darkserver::{RunningGateway, Sqlite};
use compat_tests::debuginfod::DebuginfodClient;
use compat_tests::process::run;
use compat_tests::rpmbuild;

use crate::{BIDTEST, build_id, gateway, member};

/// A gateway for one build with these files as sources.
fn gateway_for_sources(files: &[(&str, &[u8])]) -> (tempfile::TempDir, Sqlite, RunningGateway, String) {
    let (directory, build_id) = (tempfile::tempdir().unwrap(), rpmbuild::build_id());
    let elf = member("payloads", "payload-none-1.0-1.fc99.x86_64", "/usr/bin/payload-none");
    let link = rpmbuild::link(&build_id, "");
    let program: [(&str, &[u8]); 2] = [("/usr/bin/named", &elf), (&link, b"../../../../usr/bin/named")];
    rpmbuild::build(directory.path(), "named", "1.0", "1", &[("named", &program), ("named-debugsource", files)]);
    let index = Sqlite::with_packages(&[directory.path()]);
    let gateway = RunningGateway::start(&index.url());
    (directory, index, gateway, build_id)
}

#[test]
fn a_source_may_have_a_long_path_and_any_name() {
    let directory = "/usr/src/debug/named-1.0-1.x86_64";
    let long = format!("{directory}/{}bighello.h", "a-directory-with-a-name-of-some-length/".repeat(14));
    assert!(long.len() > 500);
    let names = ["a+b.c", "100%.c", "a$b.c", "a#b.c", "a^b.c", "a b.c", "a&b;c=d,e.c", "a@b:c!.c", "\u{e4}.c", "%41.c"]
        .map(|name| format!("{directory}/{name}"));
    let mut files: Vec<(&str, &[u8])> = names.iter().map(|name| (name.as_str(), name.as_bytes())).collect();
    files.push((&long, b"long\n"));
    let (_directory, _index, gateway, id) = gateway_for_sources(&files);
    // The client of elfutils 0.188 makes a name of a path that no file system takes.
    assert_eq!(gateway.get(&format!("/buildid/{id}/source{long}")).text(), "long\n");
    for (path, contents) in files.into_iter().filter(|(path, _)| *path != long) {
        // As libdebuginfod escapes it.
        assert!(DebuginfodClient::new(&gateway.url()).found(&["source", &id, path]) == contents, "{path}");
    }
}

#[test]
fn a_fetched_file_has_its_own_modification_time() {
    let (_index, gateway) = gateway(&["fedora-compat"]);
    let id = build_id("fedora-compat", "/usr/bin/b");
    let client = DebuginfodClient::new(&gateway.url());
    for arguments in [&["executable", &id][..], &["debuginfo", &id]] {
        let output = client.find(arguments);
        let file = String::from_utf8(output.stdout).unwrap();
        let modified = std::fs::metadata(file.trim()).unwrap().modified().unwrap();
        // Fixtures are from 2024.
        assert!(modified < SystemTime::now() - Duration::from_secs(24 * 3600), "{arguments:?}: {modified:?}");
    }
}

#[test]
fn libdwfl_finds_debuginfo_through_the_gateway() {
    let (_index, gateway) = gateway(&["fedora-compat"]);
    let client = DebuginfodClient::new(&gateway.url());
    let stripped = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(stripped.path(), member("fedora-compat", &format!("{BIDTEST}.x86_64"), "/usr/bin/b")).unwrap();
    let say = |client: &DebuginfodClient| {
        let mut command = Command::new("eu-addr2line");
        client.environment(&mut command);
        let output = run(command.arg("-e").arg(stripped.path()).args(["-f", "main"]), "elfutils");
        String::from_utf8(output.stdout).unwrap()
    };
    assert!(!say(&DebuginfodClient::new("")).contains("src/b.c"));
    let said = say(&client);
    assert!(said.contains("main") && said.contains("src/b.c:"), "{said}");
}

#[test]
fn a_connection_stays_usable_after_an_error() {
    let (_index, gateway) = gateway(&["fedora-compat"]);
    let id = build_id("fedora-compat", "/usr/bin/b");
    let mut stream = TcpStream::connect(("127.0.0.1", gateway.port)).unwrap();
    let paths = [
        "/buildid/00112233/debuginfo",
        "/badapi",
        "/buildid/xyz/debuginfo",
        &format!("/buildid/{id}/section/.nowhere"),
    ];
    for path in paths {
        write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        let (mut head, mut byte) = (Vec::new(), [0]);
        while !head.ends_with(b"\r\n\r\n") {
            stream.read_exact(&mut byte).unwrap();
            head.push(byte[0]);
        }
        let head = String::from_utf8(head).unwrap().to_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
        assert!(head.starts_with("http/1.1 40") && !head.contains("connection: close"), "{path}: {head}");
        stream.read_exact(&mut vec![0; length.parse().unwrap()]).unwrap();
    }
    write!(stream, "GET /buildid/{id}/executable HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).unwrap();
    assert!(rest.ends_with(&member("fedora-compat", &format!("{BIDTEST}.x86_64"), "/usr/bin/b")));
}

#[test]
fn absent_files_are_logged_and_counted_by_endpoint_and_status() {
    let (_index, gateway) = gateway(&["fedora-compat"]);
    for path in ["/badapi", "/buildid/00112233/debuginfo", "/buildid/00112233/nonsense"] {
        gateway.get(path);
    }
    let log = gateway.log();
    for expected in [
        "path=\"/badapi\" status=404",
        "path=\"/buildid/00112233/debuginfo\" status=404",
        "path=\"/buildid/00112233/nonsense\" status=400",
    ] {
        assert!(log.contains(expected), "expected {expected} in:\n{log}");
    }
    assert_eq!(gateway.metric("gateway_requests_total{endpoint=\"debuginfo\",status=\"404\"}"), 1.0);
    let metrics = gateway.get("/metrics").text();
    assert!(!metrics.contains("nonsense") && !metrics.contains("badapi"), "{metrics}");
}

#[test]
fn a_client_requests_an_unknown_build_id_once_in_ten_minutes() {
    let (_index, gateway) = gateway(&["fedora-compat"]);
    let client = DebuginfodClient::new(&gateway.url());
    for _ in 0..3 {
        assert!(!client.find(&["debuginfo", "00112233445566778899aabbccddeeff00112233"]).status.success());
    }
    assert_eq!(gateway.metric("gateway_requests_total{endpoint=\"debuginfo\",status=\"404\"}"), 1.0);
}

#[test]
fn sixty_four_concurrent_requests_are_answered() {
    let (_index, gateway) = gateway(&["fedora-compat"]);
    let path = format!("/buildid/{}/debuginfo", build_id("fedora-compat", "/usr/bin/b"));
    std::thread::scope(|scope| {
        let ask = || gateway.get(&path).status;
        let asked: Vec<_> = (0..64).map(|_| scope.spawn(ask)).collect();
        assert!(asked.into_iter().all(|asked| asked.join().unwrap() == 200));
    });
    assert_eq!(gateway.metric("gateway_requests_total{endpoint=\"debuginfo\",status=\"200\"}"), 64.0);
}

#[test]
fn two_gateways_share_one_index() {
    let (index, one) = gateway(&["fedora-compat"]);
    let other = RunningGateway::start(&index.url());
    let path = format!("/buildid/{}/debuginfo", build_id("fedora-compat", "/usr/bin/b"));
    let (first, second) = (one.get(&path), other.get(&path));
    assert!(first.status == 200 && first.body == second.body);
}
