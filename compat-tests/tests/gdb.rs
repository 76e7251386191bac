//! GDB on core dumps of stripped programs, with a gateway as its only source of debuginfo.

use compat_tests::crash::{Crash, expect_crash, gdb};
use compat_tests::darkserver::{RunningGateway, Sqlite, import_ok};
use compat_tests::debuginfod::DebuginfodClient;
use compat_tests::files::FileServer;
use compat_tests::fixtures;
use serde_json::Value;

#[test]
fn without_a_gateway_gdb_shows_no_names() {
    let crash = Crash::run_server(6);
    let said = gdb(&DebuginfodClient::new(""), &["bt"], &[&crash.program(), &crash.core()]);
    assert!(said.contains("in ?? ()") && !said.contains("crash_in_1_1_6"), "{said}");
}

/// The story that darkserver was founded on: a program crashes that the repositories no longer hold.
#[test]
fn a_core_of_a_package_removed_from_the_repository_is_debugged_from_the_archive() {
    let (repository, archive) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    fixtures::copy(&fixtures::rpms("server"), repository.path());
    let (mirror, koji) = (FileServer::start(repository.path()), FileServer::start(archive.path()));
    let index = Sqlite::empty();
    let directory = |directory: &tempfile::TempDir| directory.path().to_str().unwrap().to_owned();
    let mirror_again = || {
        import_ok(&index.url(), &["dir", &directory(&repository), "--store", "mirror", "--url", &mirror.url()]);
    };
    mirror_again();
    // 1.1-7 is released: the mirror drops 1.1-6, and only the build system keeps it.
    for rpm in fixtures::rpms("server").iter().filter(|rpm| rpm.to_string_lossy().contains("1.1-6")) {
        let name = rpm.file_name().unwrap();
        std::fs::rename(repository.path().join(name), archive.path().join(name)).unwrap();
    }
    index.add_store("koji", "koji", archive.path(), &koji.url());
    mirror_again();

    let gateway = RunningGateway::start(&index.url());
    for release in [6, 5, 7] {
        let crash = Crash::run_server(release);
        let said =
            gdb(&DebuginfodClient::new(&gateway.url()), &["bt", "frame 0", "list"], &[&crash.program(), &crash.core()]);
        expect_crash(&said, release);
    }
    for name in ["server-debuginfo-1.1-6.fc99.x86_64.rpm", "server-debugsource-1.1-6.fc99.x86_64.rpm"] {
        assert!(koji.log().contains(&format!("GET /{name} HTTP/1.1\" 200")), "{}", koji.log());
    }
    for release in 5..=7 {
        let nvra = format!("server-1.1-{release}.fc99.x86_64");
        let id = fixtures::build_id(&format!("server/{nvra}.rpm"), "/usr/bin/server");
        let rows: Value = serde_json::from_str(&gateway.get(&format!("/buildids/{id}")).text()).unwrap();
        let urls: Vec<&str> = rows.as_array().unwrap().iter().map(|row| row["url"].as_str().unwrap()).collect();
        let store = if release == 6 { koji.url() } else { mirror.url() };
        let expected =
            [nvra.clone(), nvra.replace("server-", "server-debuginfo-")].map(|nvra| format!("{store}/{nvra}.rpm"));
        assert!(
            !urls.is_empty() && urls.iter().all(|url| expected.contains(&(*url).to_owned())),
            "{release}: {urls:?}"
        );
    }
}

#[test]
fn a_core_alone_is_enough() {
    let files = FileServer::start(&fixtures::family("server"));
    let index = Sqlite::empty();
    index.add_store("mirror", "mirror", &fixtures::family("server"), &files.url());
    let gateway = RunningGateway::start(&index.url());
    let crash = Crash::run_server(6);
    std::fs::remove_file(crash.program()).unwrap();
    let core = format!("core-file {}", crash.core().display());
    let said = gdb(&DebuginfodClient::new(&gateway.url()), &[&core, "bt", "frame 0", "list"], &[]);
    expect_crash(&said, 6);
    assert_eq!(gateway.metric("gateway_requests_total{endpoint=\"executable\",status=\"200\"}"), 1.0, "{said}");
}

#[test]
fn debuginfo_shared_by_dwz_is_combined() {
    for (family, package, program, sources, source) in [
        (
            "fedora-compat",
            "bidtest-1.2~rc1-4.fc99",
            "usr/bin/a",
            "bidtest-debugsource-1.2~rc1-4.fc99",
            "bidtest-1.2~rc1-4.fc99.x86_64/src/a.c",
        ),
        (
            "old-classes",
            "oldtool-1.0-3.el7",
            "usr/bin/oldtool",
            "oldtool-debuginfo-1.0-3.el7",
            "oldtool-1.0/src/oldtool.c",
        ),
    ] {
        let index = Sqlite::with_packages(&[&fixtures::family(family)]);
        let gateway = RunningGateway::start(&index.url());
        let directory = tempfile::tempdir().unwrap();
        fixtures::unpack(&fixtures::package(family, &format!("{package}.x86_64")), directory.path());
        let list = format!("list {}:1,9", source.rsplit('/').next().unwrap());
        let said = gdb(
            &DebuginfodClient::new(&gateway.url()),
            &[&list, "ptype struct drawing"],
            &[&directory.path().join(program)],
        );
        let rpm = fixtures::package(family, &format!("{sources}.x86_64"));
        let text = String::from_utf8(fixtures::member(&rpm, &format!("/usr/src/debug/{source}"))).unwrap();
        for (number, line) in (1..).zip(text.lines()).take(9) {
            assert!(
                said.contains(&format!("{number}\t{line}\n")),
                "expected line {number} of {source}, {line:?}, in:\n{said}"
            );
        }
        // Common types are in dwz's file alone.
        assert!(said.contains("type = struct drawing {"), "{family}: {said}");
        let dwz = fixtures::truth(family).into_iter().find(|row| row.path.contains("/.dwz/")).unwrap();
        assert!(
            gateway.log().contains(&format!("/buildid/{}/debuginfo\" status=200", dwz.build_id)),
            "{}",
            gateway.log()
        );
    }
}
