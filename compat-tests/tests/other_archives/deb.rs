//! Debian packages.

use std::fs;
use std::io::{Seek, SeekFrom, Write};
use std::process::Command;
use std::thread;

use compat_tests::compiled::{Program, Tree, succeed};
use compat_tests::darkserver::{RunningGateway, Sqlite, import, import_ok};
use compat_tests::debuginfod::DebuginfodClient;
use compat_tests::files::FileServer;
use compat_tests::http;
use compat_tests::mariadb::MariaDb;
use serde_json::Value;
use tempfile::{TempDir, tempdir};

use super::{expect, served};

/// A package, and the -dbgsym package beside it.
fn packages(program: &Program, directory: &TempDir, suffix: &str, compressor: &str) {
    let name = program.name.as_str();
    let path = format!("/usr/bin/{name}");
    let tree = Tree::with_files(&[(&path, &program.stripped())]);
    std::os::unix::fs::symlink(name, tree.make(&format!("/usr/bin/{name}-link"))).unwrap();
    tree.deb(directory.path(), (name, "2:1.0-1", "deb"), "", compressor);
    let tree = Tree::with_files(&[(&program.debug_path(), &program.debug())]);
    let lines = format!("Source: {name} (2:1.0-1)\nBuild-Ids: {}\n", program.build_id);
    tree.deb(directory.path(), (&format!("{name}-dbgsym"), "2:1.0-1", suffix), &lines, compressor);
}

#[test]
fn debs_of_every_compression_and_ddebs_are_served_to_debuginfod_find() {
    let directory = tempdir().unwrap();
    let programs: Vec<(Program, &str)> = [("none", "deb"), ("gzip", "deb"), ("xz", "ddeb"), ("zstd", "ddeb")]
        .into_iter()
        .map(|(compressor, suffix)| {
            let program = Program::compile(&format!("packed-{compressor}"), "/usr/src/x");
            packages(&program, &directory, suffix, compressor);
            (program, suffix)
        })
        .collect();
    let (_index, gateway) = served(&directory, &[]);
    let client = DebuginfodClient::new(&gateway.url());
    for (program, suffix) in &programs {
        let (name, id) = (&program.name, &program.build_id);
        let executable = gateway.get(&format!("/buildid/{id}/executable"));
        expect(&executable, &program.stripped(), &format!("/usr/bin/{name}"), Some(&format!("{name}_1.0-1_amd64.deb")));
        let debuginfo = gateway.get(&format!("/buildid/{id}/debuginfo"));
        let archive = format!("{name}-dbgsym_1.0-1_amd64.{suffix}");
        expect(&debuginfo, &program.debug(), &program.debug_path(), Some(&archive));
        assert_eq!(debuginfo.header("cache-control"), Some("public, max-age=604800, immutable"));
        assert!(client.found(&["executable", id]) == fs::read(program.stripped()).unwrap());
        assert!(client.found(&["debuginfo", id]) == fs::read(program.debug()).unwrap());
        let text = tempfile::NamedTempFile::new().unwrap();
        for (section, from) in [(".text", program.stripped()), (".debug_info", program.debug())] {
            let dump = format!("{section}={}", text.path().display());
            succeed(Command::new("objcopy").arg("--dump-section").arg(dump).arg(from).arg("/dev/null"), "binutils");
            for _ in 0..2 {
                let answer = gateway.get(&format!("/buildid/{id}/section/{section}"));
                assert!(answer.status == 200 && answer.body == fs::read(text.path()).unwrap(), "{name}: {section}");
            }
        }
        // There are no sources in Debian's packages: that is known, without reading them.
        assert_eq!(gateway.get(&format!("/buildid/{id}/source/usr/src/x/{name}.c")).status, 404);
    }
}

#[test]
fn sources_come_out_of_src_packages_by_absolute_and_relative_names() {
    let (directory, program) = (tempdir().unwrap(), Program::compile("sourced", "./src"));
    packages(&program, &directory, "deb", "xz");
    let (source, text) = ("/usr/src/debug/sourced/1.0/src/sourced.c", program.source());
    let files: [(&str, &std::path::Path); 3] = [
        (source, &text),
        ("/usr/src/debug/sourced/1.0/lib/x.c", &text),
        ("/usr/src/debug/sourced/1.0/other/x.c", &text),
    ];
    Tree::with_files(&files).deb(
        directory.path(),
        ("sourced-src", "2:1.0-1", "deb"),
        "Source: sourced (2:1.0-1)\n",
        "xz",
    );
    let (_index, gateway) = served(&directory, &[]);
    for path in [source, "/src/sourced.c", "/./src/sourced.c", "/sourced.c"] {
        let answer = gateway.get(&format!("/buildid/{}/source{path}", program.build_id));
        expect(&answer, &text, source, Some("sourced-src_1.0-1_amd64.deb"));
    }
    for path in ["/x.c", "/src/missing.c", "/usr/bin/sourced"] {
        assert_eq!(gateway.get(&format!("/buildid/{}/source{path}", program.build_id)).status, 404, "{path}");
    }
}

#[test]
fn the_json_api_and_the_archive_itself_are_a_debs() {
    let (directory, program) = (tempdir().unwrap(), Program::compile("jsoned", "/usr/src/x"));
    packages(&program, &directory, "deb", "xz");
    let (_index, gateway) = served(&directory, &["--distro", "bookworm"]);
    let rows: Value = serde_json::from_str(&gateway.get(&format!("/buildids/{}", program.build_id)).text()).unwrap();
    let rows = rows.as_array().unwrap();
    let row = rows.iter().find(|row| row["rpm"] == "jsoned-1.0-1.amd64").unwrap_or_else(|| panic!("{rows:?}"));
    assert_eq!((rows.len(), &row["elf"], &row["distro"]), (2, &"/usr/bin/jsoned".into(), &"bookworm".into()));
    let url = row["url"].as_str().unwrap();
    assert!(url.ends_with("/jsoned_1.0-1_amd64.deb"), "{url}");
    let path = url.strip_prefix(&gateway.url()).unwrap();
    let archive = gateway.get(path);
    assert_eq!((archive.status, archive.header("content-type")), (200, Some("application/vnd.debian.binary-package")));
    let deb = directory.path().join("jsoned_1.0-1_amd64.deb");
    assert!(archive.body == fs::read(&deb).unwrap(), "other bytes");
    assert_eq!(gateway.get(&path.replace("jsoned_1.0-1_amd64.deb", "jsoned-1.0-1.amd64.rpm")).status, 404);
    for call in ["/rpm2buildids/jsoned-1.0-1.amd64", "/package/jsoned-1.0-1.amd64"] {
        assert!(gateway.get(call).text().contains("jsoned_1.0-1_amd64.deb"), "{call}");
    }
    // Another one in its place is another one.
    fs::write(&deb, "replaced").unwrap();
    assert_eq!(gateway.get(path).status, 404);
}

#[test]
fn a_deb_of_a_store_that_is_elsewhere_is_fetched() {
    let (directory, program) = (tempdir().unwrap(), Program::compile("remote", "/usr/src/x"));
    packages(&program, &directory, "deb", "xz");
    let files = FileServer::start(directory.path());
    let index = Sqlite::empty();
    index.add_store("mirror", "mirror", directory.path(), &files.url());
    let gateway = RunningGateway::start(&index.url());
    let answer = gateway.get(&format!("/buildid/{}/debuginfo", program.build_id));
    expect(&answer, &program.debug(), &program.debug_path(), Some("remote-dbgsym_1.0-1_amd64.deb"));
    fs::write(directory.path().join("remote_1.0-1_amd64.deb"), "!<arch>\nanother one").unwrap();
    assert_eq!(gateway.get(&format!("/buildid/{}/executable", program.build_id)).status, 404);
}

#[test]
fn a_deb_that_was_damaged_without_a_trace_is_never_served_to_its_end() {
    let (directory, program) = (tempdir().unwrap(), Program::compile("damaged", "/usr/src/x"));
    packages(&program, &directory, "deb", "none");
    let (_index, gateway) = served(&directory, &[]);
    let deb = directory.path().join("damaged_1.0-1_amd64.deb");
    let (bytes, whole) = (fs::read(&deb).unwrap(), fs::read(program.stripped()).unwrap());
    // Behind the build-id note, which is checked first.
    let at = bytes.windows(64).position(|window| window == &whole[whole.len() - 64..]).unwrap();
    let before = fs::metadata(&deb).unwrap().modified().unwrap();
    let mut file = fs::File::options().write(true).open(&deb).unwrap();
    file.seek(SeekFrom::Start(at as u64)).unwrap();
    file.write_all(&[bytes[at] ^ 1]).unwrap();
    file.set_modified(before).unwrap();
    let broken = http::get(gateway.port, &format!("/buildid/{}/executable", program.build_id));
    assert!(broken.is_err() || broken.as_ref().unwrap().status == 503, "{broken:?}");
    assert!(gateway.log().contains("expected SHA-256 digest"), "{}", gateway.log());
}

#[test]
fn a_deb_that_is_replaced_or_removed_takes_its_build_ids_along() {
    let (directory, old, new) =
        (tempdir().unwrap(), Program::compile("moving", "/usr/src/a"), Program::compile("moving", "/usr/src/b"));
    packages(&old, &directory, "deb", "xz");
    let (index, gateway) = served(&directory, &[]);
    assert_eq!(gateway.get(&format!("/buildid/{}/executable", old.build_id)).status, 200);
    packages(&new, &directory, "deb", "xz");
    let said = super::import(&index, &directory, &[]);
    assert_eq!(
        (&said["found"], &said["imported"], &said["formats"]["deb"]),
        (&2.into(), &2.into(), &2.into()),
        "{said}"
    );
    let gateway = RunningGateway::start(&index.url());
    for word in ["executable", "debuginfo"] {
        assert_eq!(gateway.get(&format!("/buildid/{}/{word}", old.build_id)).status, 404, "{word}");
        assert_eq!(gateway.get(&format!("/buildid/{}/{word}", new.build_id)).status, 200, "{word}");
    }
    fs::remove_file(directory.path().join("moving_1.0-1_amd64.deb")).unwrap();
    // A run that does not look for Debian packages leaves them as they are.
    assert_eq!(super::import(&index, &directory, &["--formats", "rpm"])["gone"], 0);
    let said = super::import(&index, &directory, &[]);
    assert_eq!((&said["unchanged"], &said["gone"]), (&1.into(), &1.into()), "{said}");
    let gateway = RunningGateway::start(&index.url());
    assert_eq!(gateway.get(&format!("/buildid/{}/executable", new.build_id)).status, 404);
    assert_eq!(gateway.get(&format!("/buildid/{}/debuginfo", new.build_id)).status, 200);
}

#[test]
fn sixty_four_clients_at_once_and_a_second_gateway_get_the_same() {
    let (directory, program) = (tempdir().unwrap(), Program::compile("crowd", "/usr/src/x"));
    packages(&program, &directory, "deb", "zstd");
    let (index, gateway) = served(&directory, &[]);
    let passive = RunningGateway::start(&index.url());
    let expected = fs::read(program.debug()).unwrap();
    thread::scope(|scope| {
        for number in 0..64 {
            let gateway = if number % 2 == 0 { &gateway } else { &passive };
            let (program, expected) = (&program, &expected);
            scope.spawn(move || {
                let answer = gateway.get(&format!("/buildid/{}/debuginfo", program.build_id));
                assert!(answer.status == 200 && answer.body == *expected, "{}", answer.status);
            });
        }
    });
    assert_eq!(gateway.metric("gateway_requests_total{endpoint=\"debuginfo\",status=\"200\"}"), 32.0);
    assert_eq!(gateway.metric("gateway_extractions_total{result=\"complete\"}"), 1.0);
}

#[test]
fn debs_are_imported_into_mariadb_and_served_from_it() {
    let server = MariaDb::shared();
    server.create_database("other_archives");
    let database = server.url("other_archives");
    let (directory, program) = (tempdir().unwrap(), Program::compile("married", "/usr/src/x"));
    packages(&program, &directory, "ddeb", "zstd");
    import_ok(&database, &["migrate"]);
    for new in [2, 0] {
        let said = import_ok(&database, &["dir", directory.path().to_str().unwrap(), "--json"]);
        let said: Value = serde_json::from_slice(&said.stdout).unwrap();
        assert_eq!((&said["found"], &said["imported"]), (&2.into(), &new.into()), "{said}");
    }
    let gateway = RunningGateway::start(&database);
    let answer = gateway.get(&format!("/buildid/{}/debuginfo", program.build_id));
    expect(&answer, &program.debug(), &program.debug_path(), Some("married-dbgsym_1.0-1_amd64.ddeb"));
}

#[test]
fn what_is_no_sound_deb_is_reported_and_the_others_are_imported() {
    let (directory, program) = (tempdir().unwrap(), Program::compile("sound", "/usr/src/x"));
    packages(&program, &directory, "deb", "xz");
    let deb = fs::read(directory.path().join("sound_1.0-1_amd64.deb")).unwrap();
    for (name, bytes) in [("cut", &deb[..deb.len() - 2000]), ("page", &b"<html>"[..]), ("empty", &b""[..])] {
        fs::write(directory.path().join(format!("{name}_1_amd64.deb")), bytes).unwrap();
    }
    let index = Sqlite::empty();
    let said = import(&index.url(), &["dir", directory.path().to_str().unwrap(), "--json"]);
    assert_eq!(said.status.code(), Some(1));
    let (json, text): (Value, _) =
        (serde_json::from_slice(&said.stdout).unwrap(), String::from_utf8_lossy(&said.stderr));
    assert_eq!((&json["found"], &json["broken"], &json["imported"]), (&5.into(), &3.into(), &2.into()), "{json}");
    for expected in
        ["cut_1_amd64.deb: payload: expected", "page_1_amd64.deb: payload: expected !<arch>", "empty_1_amd64.deb: "]
    {
        assert!(text.contains(expected), "expected {expected:?} in:\n{text}");
    }
}
