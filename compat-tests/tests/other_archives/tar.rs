//! Tar archives of every dialect.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::process::Command;

use compat_tests::compiled::{Program, Tree, succeed};
use compat_tests::darkserver::{RunningGateway, Sqlite, import_ok};
use compat_tests::debuginfod::DebuginfodClient;
use compat_tests::files::FileServer;
use compat_tests::{http, wait_until};
use tempfile::tempdir;

use super::{expect, import, served};

/// The program that it is, with a hole of two mebibytes and a piece of data behind it: `tar -S` stores it in pieces.
fn with_a_hole(program: &Program, name: &str) -> tempfile::NamedTempFile {
    let file = tempfile::Builder::new().prefix(name).tempfile().unwrap();
    fs::copy(program.whole(), file.path()).unwrap();
    let size = fs::metadata(program.whole()).unwrap().len();
    let out = fs::File::options().write(true).open(file.path()).unwrap();
    out.set_len(size + (2 << 20)).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&out, b"the end", size + (2 << 20)).unwrap();
    file
}

#[test]
fn gnu_pax_ustar_and_v7_archives_with_long_names_links_and_holes() {
    let long = format!("/opt/{}/{}/{}", "a".repeat(90), "b".repeat(90), "c".repeat(90));
    let dialects: [(&str, &str, &[&str]); 7] = [
        ("gnu", "tar", &["--format=gnu", "-S"]),
        ("posix", "tar", &["--format=posix", "-S"]),
        ("posix00", "tar", &["--format=posix", "-S", "--sparse-version=0.0"]),
        ("posix01", "tar", &["--format=posix", "-S", "--sparse-version=0.1"]),
        ("ustar", "tar", &["--format=ustar"]),
        ("v7", "tar", &["--format=v7"]),
        ("bsdtar", "bsdtar", &[]),
    ];
    for (dialect, program, options) in dialects {
        let directory = tempdir().unwrap();
        let (plain, sparse, far) = (
            Program::compile("plain", "/s/plain"),
            Program::compile("sparse", "/s/sparse"),
            Program::compile("far", "/s/far"),
        );
        let holey = with_a_hole(&sparse, "sparse");
        let has_long_names = !matches!(dialect, "ustar" | "v7");
        let far_path = if has_long_names { format!("{long}/far") } else { "/opt/far".into() };
        let tree = Tree::with_files(&[
            ("/usr/bin/plain", &plain.whole()),
            (&far_path, &far.whole()),
            ("/z/last", &plain.source()),
        ]);
        succeed(
            Command::new("cp").arg("--sparse=always").arg(holey.path()).arg(tree.make("/usr/lib/sparse")),
            "coreutils",
        );
        let stored = fs::metadata(tree.make("/usr/lib/sparse")).unwrap();
        assert!(stored.blocks() * 512 < stored.len(), "expected a file with a hole");
        fs::hard_link(tree.make("/usr/bin/plain"), tree.make("/usr/bin/again")).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", tree.make("/usr/bin/link")).unwrap();
        let archive = format!("{dialect}.tar.gz");
        let made = tree.tar(directory.path(), &archive, program, options);
        if options.contains(&"-S") {
            assert!(fs::metadata(&made).unwrap().len() < 200_000);
        }
        let (_index, gateway) = served(&directory, &["--formats", "tar"]);
        for (program, path, file) in
            [(&far, far_path.as_str(), far.whole()), (&sparse, "/usr/lib/sparse", holey.path().to_owned())]
        {
            let answer = gateway.get(&format!("/buildid/{}/executable", program.build_id));
            expect(&answer, &file, path, Some(&archive));
        }
        // Whichever of the two links came first has the contents.
        let answer = gateway.get(&format!("/buildid/{}/debuginfo", plain.build_id));
        assert!(answer.body == fs::read(plain.whole()).unwrap(), "{dialect}");
        // What is behind the sparse file is where it should be.
        let source = gateway.get(&format!("/buildid/{}/source/z/last", plain.build_id));
        expect(&source, &plain.source(), "/z/last", Some(&archive));
        for path in ["/usr/bin/again", "/usr/bin/plain"] {
            let source = gateway.get(&format!("/buildid/{}/source{path}", plain.build_id));
            assert!(source.body == fs::read(plain.whole()).unwrap(), "{dialect}: {path}");
        }
    }
}

#[test]
fn a_tar_archive_gives_its_own_sources_also_by_very_long_paths_and_odd_names() {
    let directory = tempdir().unwrap();
    let deep = format!(
        "/{}",
        ["d".repeat(80), "e".repeat(80), "f".repeat(80), "g".repeat(80), "h".repeat(80), "i".repeat(80)].join("/")
    );
    let program = Program::compile("big+hello%20$x#y^z", &deep);
    let source = format!("{deep}/{}.c", program.name);
    assert!(source.len() > 500);
    let odd = format!("/odd/{}.c", program.name);
    let tree =
        Tree::with_files(&[("/a.out", &program.whole()), (&source, &program.source()), (&odd, &program.source())]);
    fs::write(tree.make(&format!("{deep}/empty.h")), "").unwrap();
    tree.tar(directory.path(), "bighello.tar", "tar", &[]);
    let (_index, gateway) = served(&directory, &["--formats", "tar"]);
    let client = DebuginfodClient::new(&gateway.url());
    let id = &program.build_id;
    expect(&gateway.get(&format!("/buildid/{id}/debuginfo")), &program.whole(), "/a.out", Some("bighello.tar"));
    assert!(client.found(&["executable", id]) == fs::read(program.whole()).unwrap());
    assert!(client.found(&["source", id, &odd]) == fs::read(program.source()).unwrap());
    // Not every client can ask for the long one: they make a file name of it.
    let escaped = source.replace('%', "%25").replace('#', "%23").replace('^', "%5E");
    expect(&gateway.get(&format!("/buildid/{id}/source{escaped}")), &program.source(), &source, Some("bighello.tar"));
    let empty = gateway.get(&format!("/buildid/{id}/source{deep}/empty.h"));
    assert_eq!((empty.status, empty.body.len()), (200, 0));
    let rows = gateway.get(&format!("/buildids/{id}")).text();
    assert!(rows.contains("\"rpm\":\"bighello-") && rows.contains("-0.x86_64\""), "{rows}");
}

#[test]
fn an_elf_file_beyond_the_limit_leaves_its_archive_open_until_a_run_with_a_higher_limit() {
    let (directory, programs) =
        (tempdir().unwrap(), ["small", "large"].map(|name| Program::compile(name, &format!("/s/{name}"))));
    let large = with_a_hole(&programs[1], "large");
    Tree::with_files(&[("/usr/bin/large", large.path()), ("/usr/bin/small", &programs[0].whole())]).tar(
        directory.path(),
        "two.tar",
        "tar",
        &[],
    );
    let index = Sqlite::empty();
    let path = directory.path().to_str().unwrap();
    // A later run tries it again.
    for imported in [1, 0] {
        let args = ["dir", path, "--formats", "tar", "--temp-limit", "1MiB", "--json"];
        let said = compat_tests::darkserver::import(&index.url(), &args);
        let text = String::from_utf8_lossy(&said.stderr).into_owned();
        assert_eq!(said.status.code(), Some(1), "{text}");
        assert!(
            text.contains("expected ELF files of at most 1048576 bytes") && text.contains("of /usr/bin/large"),
            "{text}"
        );
        let said: serde_json::Value = serde_json::from_slice(&said.stdout).unwrap();
        let counts = ["imported", "payloads_read", "broken", "gone"].map(|count| said[count].as_u64().unwrap());
        assert_eq!(counts, [imported, 1, 1, 0], "{said}");
    }
    let status = |program: &Program| {
        RunningGateway::start(&index.url()).get(&format!("/buildid/{}/executable", program.build_id)).status
    };
    assert_eq!(programs.each_ref().map(status), [200, 404]);
    let said = import(&index, &directory, &["--formats", "tar"]);
    assert_eq!((&said["completed"], &said["broken"]), (&1.into(), &0.into()), "{said}");
    assert_eq!(programs.each_ref().map(status), [200, 200]);
    assert_eq!(import(&index, &directory, &["--formats", "tar"])["unchanged"], 1);
}

#[test]
fn tar_archives_are_read_only_when_they_are_asked_for() {
    let (directory, program) = (tempdir().unwrap(), Program::compile("asked", "/s/asked"));
    let tree = Tree::with_files(&[("/usr/bin/asked", &program.whole())]);
    tree.tar(directory.path(), "asked.tar.xz", "tar", &[]);
    fs::rename(tree.tar(directory.path(), "asked.tar.zst", "tar", &[]), directory.path().join("asked.tpkg")).unwrap();
    fs::write(directory.path().join("vmlinux"), fs::read(program.whole()).unwrap()).unwrap();
    for (options, found) in [
        (&[][..], 0),
        (&["--formats", "rpm,deb"], 0),
        (&["--formats", "tar"], 1),
        (&["--suffix", "tpkg"], 2),
        (&["--suffix", ".tpkg", "--formats", "rpm"], 2),
        (&["--formats", "elf"], 1),
        (&["--formats", "rpm,deb,arch,tar,elf", "--suffix", "tpkg"], 3),
    ] {
        let index = Sqlite::empty();
        let said = import(&index, &directory, options);
        assert_eq!((&said["found"], &said["imported"]), (&found.into(), &found.into()), "{options:?}: {said}");
        let again = import(&index, &directory, options);
        assert_eq!((&again["unchanged"], &again["gone"]), (&found.into(), &0.into()), "{options:?}: {again}");
        let gateway = RunningGateway::start(&index.url());
        let status = gateway.get(&format!("/buildid/{}/executable", program.build_id)).status;
        assert_eq!(status, if found > 0 { 200 } else { 404 }, "{options:?}");
    }
    let index = Sqlite::empty();
    let said = import(&index, &directory, &["--formats", "rpm,deb,arch,tar,elf"]);
    assert_eq!(said["formats"], serde_json::json!({"tar": 1, "file": 1}), "{said}");
    // Single files are told by their names, too.
    let index = Sqlite::empty();
    import_ok(&index.url(), &["rpm", directory.path().join("asked.tar.xz").to_str().unwrap()]);
    assert_eq!(
        RunningGateway::start(&index.url()).get(&format!("/buildid/{}/executable", program.build_id)).status,
        200
    );
}

#[test]
fn relative_names_of_sources_are_found_in_the_archive() {
    let (directory, program) = (tempdir().unwrap(), Program::compile("relative", "."));
    let tree = Tree::with_files(&[("/relative", &program.whole()), ("/relative.c", &program.source())]);
    tree.tar(directory.path(), "relative.tar", "tar", &[]);
    let (_index, gateway) = served(&directory, &["--formats", "tar"]);
    for path in ["/./relative.c", "/relative.c"] {
        let answer = gateway.get(&format!("/buildid/{}/source{path}", program.build_id));
        expect(&answer, &program.source(), "/relative.c", Some("relative.tar"));
    }
}

#[test]
fn relative_names_of_sources_are_found_in_any_directory_of_the_archive() {
    let (directory, program) = (tempdir().unwrap(), Program::compile("main", "example.com/mod@v1.2.3"));
    let (source, text) = ("/release-1.2.3/src/example.com/mod@v1.2.3/main.c", program.source());
    let tree = Tree::with_files(&[
        ("/release-1.2.3/bin/main", &program.whole()),
        (source, &text),
        ("/a/x.c", &text),
        ("/b/x.c", &text),
    ]);
    fs::hard_link(tree.make("/a/x.c"), tree.make("/a/y.c")).unwrap();
    fs::hard_link(tree.make("/a/x.c"), tree.make("/c/y.c")).unwrap();
    tree.tar(directory.path(), "release.tar.gz", "tar", &[]);
    let (_index, gateway) = served(&directory, &["--formats", "tar"]);
    let ask = |path: &str| gateway.get(&format!("/buildid/{}/source{path}", program.build_id));
    for path in ["/example.com/mod@v1.2.3/main.c", "/./example.com/x/../mod@v1.2.3/main.c", "/../mod@v1.2.3/main.c"] {
        expect(&ask(path), &text, source, Some("release.tar.gz"));
    }
    // Two names of one file are one source.
    expect(&ask("/y.c"), &text, "/a/y.c", Some("release.tar.gz"));
    for path in ["/x.c", "/ain.c", "/missing/main.c", "/.com/mod@v1.2.3/main.c"] {
        assert_eq!(ask(path).status, 404, "{path}");
    }
}

#[test]
fn sources_of_an_archive_that_was_damaged_in_its_store_are_unknown() {
    let (directory, program) = (tempdir().unwrap(), Program::compile("spoiled", "/usr/src/x"));
    let tree = Tree::with_files(&[("/spoiled", &program.whole()), ("/usr/src/x/spoiled.c", &program.source())]);
    tree.tar(directory.path(), "spoiled.tar", "tar", &[]);
    let files = FileServer::start(directory.path());
    let index = Sqlite::empty();
    import(&index, &directory, &["--formats", "tar", "--store", "mirror", "--url", &files.url()]);
    import_ok(&index.url(), &["store", "add", "mirror", "--tier", "mirror", "--url", &files.url()]);
    let archive = directory.path().join("spoiled.tar");
    let (whole, source) = (fs::read(&archive).unwrap(), fs::read(program.source()).unwrap());
    let at = whole.windows(source.len()).position(|window| window == source).unwrap();
    let mut spoiled = whole.clone();
    spoiled[at] ^= 1;
    fs::write(&archive, spoiled).unwrap();
    let gateway = RunningGateway::start(&index.url());
    let path = format!("/buildid/{}/source/usr/src/x/spoiled.c", program.build_id);
    let answer = http::get(gateway.port, &path);
    assert!(answer.is_err() || answer.as_ref().unwrap().status == 503, "{answer:?}");
    assert!(gateway.log().contains("the archive: expected SHA-256 digest"), "{}", gateway.log());
    // Mended, it is what it was: nothing of the damaged one is remembered, once a client's tries are over.
    fs::write(&archive, whole).unwrap();
    wait_until("the source", || http::get(gateway.port, &path).is_ok_and(|answer| answer.status == 200));
    expect(&gateway.get(&path), &program.source(), "/usr/src/x/spoiled.c", Some("spoiled.tar"));
}

#[test]
fn archives_without_zeros_at_their_end_and_frames_before_the_first_are_read() {
    let directory = tempdir().unwrap();
    let programs =
        ["bare", "zstandard", "parallel", "named-gz"].map(|name| Program::compile(name, &format!("/s/{name}")));
    let made = programs.each_ref().map(|program| {
        let (binary, source) = (format!("/usr/bin/{}", program.name), format!("/s/{0}/{0}.c", program.name));
        let tree = Tree::with_files(&[(&binary, &program.whole()), (&source, &program.source())]);
        let archive = tree.tar(directory.path(), &format!("{}.tar", program.name), "tar", &[]);
        let mut bytes = fs::read(&archive).unwrap();
        bytes.truncate(bytes.iter().rposition(|byte| *byte != 0).unwrap().next_multiple_of(512));
        fs::write(&archive, bytes).unwrap();
        succeed(Command::new("tar").arg("-tf").arg(&archive), "tar");
        archive
    });
    succeed(Command::new("zstd").args(["-q", "--rm"]).arg(&made[1]), "zstd");
    // A frame to be skipped comes first.
    succeed(Command::new("pzstd").args(["-q", "--rm"]).arg(&made[2]), "zstd");
    let skippable = fs::read(directory.path().join("parallel.tar.zst")).unwrap();
    assert_eq!(skippable[1..4], [0x2a, 0x4d, 0x18]);
    // Compressed by another program than its name says.
    succeed(Command::new("xz").arg("--suffix=.gz").arg(&made[3]), "xz-utils");
    let (_index, gateway) = served(&directory, &["--formats", "tar"]);
    for (program, archive) in
        programs.iter().zip(["bare.tar", "zstandard.tar.zst", "parallel.tar.zst", "named-gz.tar.gz"])
    {
        let (id, name) = (&program.build_id, &program.name);
        expect(
            &gateway.get(&format!("/buildid/{id}/executable")),
            &program.whole(),
            &format!("/usr/bin/{name}"),
            Some(archive),
        );
        let source = format!("/s/{name}/{name}.c");
        expect(&gateway.get(&format!("/buildid/{id}/source{source}")), &program.source(), &source, Some(archive));
    }
}

#[test]
fn what_is_no_archive_is_refused_with_its_first_bytes() {
    let directory = tempdir().unwrap();
    fs::write(directory.path().join("login.tar.zst"), "<!DOCTYPE html>\n<title>Log in</title>\n").unwrap();
    fs::write(directory.path().join("empty.tar"), "").unwrap();
    let index = Sqlite::empty();
    let said = compat_tests::darkserver::import(
        &index.url(),
        &["dir", directory.path().to_str().unwrap(), "--formats", "tar"],
    );
    let text = String::from_utf8_lossy(&said.stderr).into_owned();
    assert_eq!(said.status.code(), Some(1), "{text}");
    let expected =
        "plain or compressed with gzip, bzip2, xz, lzma or zstd, found first bytes 3c21444f43545950452068746d6c3e0a";
    assert!(text.contains(expected) && text.contains("found an empty file"), "{text}");
}
