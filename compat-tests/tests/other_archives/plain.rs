//! Plain ELF files in directories.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use compat_tests::compiled::{Program, build_id, succeed};
use compat_tests::darkserver::{RunningGateway, Sqlite, import_ok};
use compat_tests::debuginfod::DebuginfodClient;
use tempfile::tempdir;

use super::{expect, import, served};

#[test]
fn elf_files_of_a_tree_are_served_under_their_paths() {
    let (directory, program) = (tempdir().unwrap(), Program::compile("planted", "/s/planted"));
    let root = directory.path().canonicalize().unwrap();
    let debug = root.join(program.debug_path().trim_start_matches('/'));
    fs::create_dir_all(debug.parent().unwrap()).unwrap();
    fs::copy(program.debug(), &debug).unwrap();
    fs::create_dir(root.join("bin")).unwrap();
    fs::copy(program.stripped(), root.join("bin/a b+%$#^")).unwrap();
    fs::write(root.join("bin/script"), "#!/bin/sh\necho not ELF, and long enough to be looked at\n").unwrap();
    fs::write(root.join("bin/damaged"), &fs::read(program.stripped()).unwrap()[..100]).unwrap();
    let (index, gateway) = served(&directory, &["--formats", "elf"]);
    let client = DebuginfodClient::new(&gateway.url());
    let id = &program.build_id;
    let executable = gateway.get(&format!("/buildid/{id}/executable"));
    expect(&executable, &program.stripped(), root.join("bin/a b+%$#^").to_str().unwrap(), None);
    expect(&gateway.get(&format!("/buildid/{id}/debuginfo")), &program.debug(), debug.to_str().unwrap(), None);
    assert!(client.found(&["debuginfo", id]) == fs::read(program.debug()).unwrap());
    for (name, file) in [(".text", program.stripped()), (".debug_info", program.debug())] {
        let out = directory.path().join("section");
        let dumped = Command::new("objcopy")
            .arg("--dump-section")
            .arg(format!("{name}={}", out.display()))
            .arg(file)
            .arg("/dev/null")
            .status();
        assert!(dumped.unwrap().success(), "{name}");
        assert!(
            gateway.get(&format!("/buildid/{id}/section/{name}")).body == fs::read(&out).unwrap(),
            "{name}: other bytes"
        );
        fs::remove_file(out).unwrap();
    }
    let rows = gateway.get(&format!("/buildids/{id}")).text();
    assert!(rows.contains("\"url\":\"\"") && !rows.contains("/archive/"), "{rows}");
    let said = import(&index, &directory, &["--formats", "elf"]);
    assert_eq!(
        (&said["found"], &said["unchanged"], &said["formats"]["file"]),
        (&2.into(), &2.into(), &2.into()),
        "{said}"
    );
}

#[test]
fn a_file_that_is_replaced_gets_its_new_build_id_and_the_old_one_is_gone() {
    let (directory, old, new) =
        (tempdir().unwrap(), Program::compile("swap", "/s/a"), Program::compile("swap", "/s/b"));
    let file = directory.path().join("swap");
    fs::copy(old.whole(), &file).unwrap();
    let (index, gateway) = served(&directory, &["--formats", "elf"]);
    // The new one before anybody tells the index: neither is served, and no bytes of the new as the old. Its size may
    // be the same.
    fs::write(&file, fs::read(new.whole()).unwrap()).unwrap();
    for program in [&old, &new] {
        for word in ["executable", "debuginfo"] {
            assert_eq!(gateway.get(&format!("/buildid/{}/{word}", program.build_id)).status, 404, "{word}");
        }
    }
    let said = import(&index, &directory, &["--formats", "elf"]);
    assert_eq!((&said["found"], &said["imported"]), (&1.into(), &1.into()), "{said}");
    let gateway = RunningGateway::start(&index.url());
    assert_eq!(gateway.get(&format!("/buildid/{}/executable", old.build_id)).status, 404);
    assert!(gateway.get(&format!("/buildid/{}/executable", new.build_id)).body == fs::read(new.whole()).unwrap());
    // The first one again: its package is known, and comes back.
    fs::write(&file, fs::read(old.whole()).unwrap()).unwrap();
    import(&index, &directory, &["--formats", "elf"]);
    let gateway = RunningGateway::start(&index.url());
    assert_eq!(gateway.get(&format!("/buildid/{}/executable", new.build_id)).status, 404);
    assert_eq!(gateway.get(&format!("/buildid/{}/executable", old.build_id)).status, 200);
    // What is no ELF file any more is gone.
    fs::write(&file, "a text").unwrap();
    assert_eq!(import(&index, &directory, &["--formats", "elf"])["gone"], 1);
    assert_eq!(RunningGateway::start(&index.url()).get(&format!("/buildid/{}/executable", old.build_id)).status, 404);
}

#[test]
fn a_file_with_another_build_id_under_an_old_size_and_time_is_not_served() {
    let (directory, old, new) =
        (tempdir().unwrap(), Program::compile("forged", "/s/a"), Program::compile("forged", "/s/b"));
    let (file, time) = (directory.path().join("forged"), SystemTime::now() - Duration::from_secs(1000));
    let write = |bytes: &[u8]| {
        fs::write(&file, bytes).unwrap();
        fs::File::options().write(true).open(&file).unwrap().set_modified(time).unwrap();
    };
    let mut bytes = fs::read(old.whole()).unwrap();
    write(&bytes);
    let (_index, gateway) = served(&directory, &["--formats", "elf"]);
    let note: Vec<u8> = (0..20).map(|at| u8::from_str_radix(&old.build_id[2 * at..2 * at + 2], 16).unwrap()).collect();
    let at = bytes.windows(20).position(|window| window == note).unwrap();
    bytes[at..at + 20].copy_from_slice(&[0xab; 20]);
    write(&bytes);
    let answer = gateway.get(&format!("/buildid/{}/executable", old.build_id));
    assert_eq!(answer.status, 404, "{}", gateway.log());
    assert!(gateway.log().contains("expected a file with build-id"), "{}", gateway.log());
    drop(new);
}

#[test]
fn links_lead_nowhere_else() {
    let (directory, outside, program) =
        (tempdir().unwrap(), tempdir().unwrap(), Program::compile("linked", "/s/linked"));
    fs::copy(program.whole(), outside.path().join("linked")).unwrap();
    std::os::unix::fs::symlink(outside.path().join("linked"), directory.path().join("link")).unwrap();
    std::os::unix::fs::symlink(outside.path(), directory.path().join("directory")).unwrap();
    let (index, gateway) = served(&directory, &["--formats", "elf"]);
    assert_eq!(gateway.get(&format!("/buildid/{}/executable", program.build_id)).status, 404);
    // A file that becomes a link after it was imported, with the size and time of what it links to.
    fs::remove_file(directory.path().join("link")).unwrap();
    fs::copy(program.whole(), directory.path().join("file")).unwrap();
    import(&index, &directory, &["--formats", "elf"]);
    let time = fs::metadata(directory.path().join("file")).unwrap().modified().unwrap();
    fs::File::options().write(true).open(outside.path().join("linked")).unwrap().set_modified(time).unwrap();
    fs::remove_file(directory.path().join("file")).unwrap();
    std::os::unix::fs::symlink(outside.path().join("linked"), directory.path().join("file")).unwrap();
    let gateway = RunningGateway::start(&index.url());
    let status = compat_tests::http::get(gateway.port, &format!("/buildid/{}/executable", program.build_id))
        .map(|answer| answer.status);
    assert!(!matches!(status, Ok(200)), "{status:?}");
}

#[test]
fn a_file_that_is_there_twice_is_served_as_long_as_one_of_them_is() {
    let (directory, program) = (tempdir().unwrap(), Program::compile("twice", "/s/twice"));
    for name in ["one", "two"] {
        fs::copy(program.whole(), directory.path().join(name)).unwrap();
    }
    let index = Sqlite::empty();
    let said = import(&index, &directory, &["--formats", "elf"]);
    assert_eq!((&said["found"], &said["imported"]), (&2.into(), &1.into()), "{said}");
    fs::remove_file(directory.path().join("one")).unwrap();
    let gateway = RunningGateway::start(&index.url());
    assert_eq!(gateway.get(&format!("/buildid/{}/debuginfo", program.build_id)).status, 200);
}

#[test]
fn sources_of_a_build_tree_are_served_and_nothing_else_of_it() {
    let directory = tempdir().unwrap();
    let root = directory.path().canonicalize().unwrap();
    fs::create_dir_all(root.join("src/build")).unwrap();
    let program = Program::compile_in(directory, "treed", "src/build", None);
    let inner = root.join("src/build");
    for name in ["secret.c", "treed.c.orig"] {
        fs::write(inner.join(name), "what nobody names").unwrap();
    }
    let index = Sqlite::empty();
    import_ok(&index.url(), &["dir", root.to_str().unwrap(), "--formats", "elf"]);
    let gateway = RunningGateway::start(&index.url());
    let (id, source) = (&program.build_id, inner.join("treed.c"));
    let ask = |path: &str| gateway.get(&format!("/buildid/{id}/source{path}"));
    expect(&ask(source.to_str().unwrap()), &source, source.to_str().unwrap(), None);
    let raw = format!("{}/../build//./treed.c", inner.display());
    let found = DebuginfodClient::new(&gateway.url()).found(&["source", id, &raw]);
    assert!(found == fs::read(&source).unwrap());
    assert_eq!(ask(source.to_str().unwrap()).header("content-length").unwrap(), found.len().to_string());
    // Neither what lies beside it, nor the program itself, nor what DWARF names elsewhere.
    for path in ["secret.c", "treed.c.orig", "treed", "../../../../etc/passwd"] {
        assert_eq!(ask(&format!("{}/{path}", inner.display())).status, 404, "{path}");
    }
    assert_eq!(ask("/etc/passwd").status, 404);
    assert_eq!(ask("/usr/include/stdlib.h").status, 404);
    // A link in its place leads nowhere else.
    let text = fs::read(&source).unwrap();
    fs::remove_file(&source).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", &source).unwrap();
    let linked = compat_tests::http::get(gateway.port, &format!("/buildid/{id}/source{}", source.display()));
    assert!(!linked.as_ref().is_ok_and(|answer| answer.status == 200), "{linked:?}");
    // One that was edited since is the source of another build.
    fs::remove_file(&source).unwrap();
    fs::write(&source, text).unwrap();
    fs::File::options()
        .write(true)
        .open(&source)
        .unwrap()
        .set_modified(SystemTime::now() + Duration::from_secs(60))
        .unwrap();
    let gateway = RunningGateway::start(&index.url());
    assert_eq!(gateway.get(&format!("/buildid/{id}/source{}", source.display())).status, 404);
}

#[test]
fn dwarf_that_names_files_outside_of_its_tree_exposes_nothing() {
    let (directory, outside) = (tempdir().unwrap(), tempdir().unwrap());
    let outside_path = outside.path().canonicalize().unwrap();
    let program = Program::compile("doctored", outside_path.to_str().unwrap());
    fs::copy(program.source(), outside_path.join("doctored.c")).unwrap();
    fs::copy(program.whole(), directory.path().join("doctored")).unwrap();
    let (index, gateway) = served(&directory, &["--formats", "elf"]);
    assert_eq!(gateway.get(&format!("/buildid/{}/debuginfo", program.build_id)).status, 200);
    let source = format!("{}/doctored.c", outside_path.display());
    assert_eq!(gateway.get(&format!("/buildid/{}/source{source}", program.build_id)).status, 404);
    // With a copy in that directory it is served: DWARF does name it.
    fs::copy(program.whole(), outside_path.join("doctored")).unwrap();
    import(&index, &outside, &["--formats", "elf"]);
    let gateway = RunningGateway::start(&index.url());
    assert_eq!(gateway.get(&format!("/buildid/{}/source{source}", program.build_id)).status, 200);
}

/// A program in `ROOT/directory` whose DWARF names its source by a relative name below `sources`.
fn relative_program(root: &Path, directory: &str, name: &str, sources: &str) -> (Program, PathBuf) {
    let (program, directory) = (Program::compile(name, sources), root.join(directory));
    fs::create_dir_all(&directory).unwrap();
    let elf = directory.join(name);
    fs::copy(program.whole(), &elf).unwrap();
    (program, elf)
}

/// Copies a source file to `to` with its modification time.
fn put(source: &Path, to: &Path) {
    fs::create_dir_all(to.parent().unwrap()).unwrap();
    fs::copy(source, to).unwrap();
    let time = fs::metadata(source).unwrap().modified().unwrap();
    fs::File::options().write(true).open(to).unwrap().set_modified(time).unwrap();
}

#[test]
fn relative_names_are_relative_to_the_directory_of_the_elf_file() {
    let directory = tempdir().unwrap();
    let root = directory.path().canonicalize().unwrap();
    // The directory of the program, the directory of its source in DWARF, and where the source is.
    for (number, (bin, sources, place)) in [
        ("", ".", ""),
        ("one/bin", ".", "one/bin"),
        ("two/bin", "./src/lib", "two/bin/src/lib"),
        ("three/bin", "example.com/mod@v1.2.3", "three/bin/example.com/mod@v1.2.3"),
        ("four/bin", "../src", "four/src"),
        ("five/bin/deep", "../x/../../src", "five/src"),
    ]
    .into_iter()
    .enumerate()
    {
        let name = format!("rel{number}");
        let (program, _) = relative_program(&root, bin, &name, sources);
        let place = root.join(place).join(format!("{name}.c"));
        put(&program.source(), &place);
        // Another file of the same name in another directory.
        fs::create_dir_all(root.join("elsewhere")).unwrap();
        fs::write(root.join(format!("elsewhere/{name}.c")), "not this one").unwrap();
        let (_index, gateway) = served(&directory, &["--formats", "elf"]);
        for form in
            [format!("/{sources}/{name}.c"), format!("/{sources}/./y/..//{name}.c"), format!("{sources}/{name}.c")]
        {
            let answer = gateway.get(&format!("/buildid/{}/source/{form}", program.build_id));
            expect(&answer, &program.source(), place.to_str().unwrap(), None);
        }
        let found = DebuginfodClient::new(&gateway.url()).found(&[
            "source",
            &program.build_id,
            &format!("/{sources}/{name}.c"),
        ]);
        assert!(found == fs::read(program.source()).unwrap(), "{name}");
        // The DWARF of this program names none of these.
        for path in
            [format!("/elsewhere/{name}.c"), format!("/{name}"), "/rel99.c".into(), format!("/{name}/../rel9.c")]
        {
            assert_eq!(gateway.get(&format!("/buildid/{}/source{path}", program.build_id)).status, 404, "{path}");
        }
    }
}

#[test]
fn relative_names_expose_nothing_above_the_store_and_nothing_newer_or_ambiguous() {
    let directory = tempdir().unwrap();
    let outside = directory.path().canonicalize().unwrap();
    let root = outside.join("store");
    let (above, _) = relative_program(&root, "bin", "above", "../../secret");
    put(&above.source(), &outside.join("secret/above.c"));
    let (linked, _) = relative_program(&root, "bin", "linked", "./links");
    put(&linked.source(), &outside.join("links/linked.c"));
    std::os::unix::fs::symlink(outside.join("links"), root.join("bin/links")).unwrap();
    let (edited, elf) = relative_program(&root, "bin", "edited", ".");
    put(&edited.source(), &root.join("bin/edited.c"));
    let later = fs::metadata(&elf).unwrap().modified().unwrap() + Duration::from_secs(60);
    fs::File::options().write(true).open(root.join("bin/edited.c")).unwrap().set_modified(later).unwrap();
    let (absent, _) = relative_program(&root, "bin", "absent", ".");
    // `x.c` and `../x.c` are one path for a client.
    let tree = tempdir().unwrap();
    fs::create_dir_all(tree.path().join("bin")).unwrap();
    fs::write(tree.path().join("x.c"), "int above(void) { return 1; }\n").unwrap();
    fs::write(tree.path().join("bin/x.c"), "int main(void) { return 0; }\n").unwrap();
    let mut command = Command::new("cc");
    command.args(["-g", "-Wl,--build-id=sha1", "-o", "both", "x.c", "../x.c"]).current_dir(tree.path().join("bin"));
    let prefix = tree.path().canonicalize().unwrap().join("bin");
    succeed(command.arg(format!("-ffile-prefix-map={}=.", prefix.display())), "gcc");
    let both = build_id(&tree.path().join("bin/both"));
    for file in ["x.c", "bin/x.c", "bin/both"] {
        put(&tree.path().join(file), &root.join("both").join(file));
    }
    let index = Sqlite::empty();
    import_ok(&index.url(), &["dir", root.to_str().unwrap(), "--formats", "elf"]);
    let gateway = RunningGateway::start(&index.url());
    for (id, path) in [
        (&above.build_id, "/secret/above.c"),
        (&above.build_id, "/../../secret/above.c"),
        (&edited.build_id, "/./edited.c"),
        (&absent.build_id, "/./absent.c"),
        (&both, "/./x.c"),
        (&both, "/../x.c"),
    ] {
        assert_eq!(gateway.get(&format!("/buildid/{id}/debuginfo")).status, 200);
        assert_eq!(gateway.get(&format!("/buildid/{id}/source{path}")).status, 404, "{path}");
    }
    let path = format!("/buildid/{}/source/./links/linked.c", linked.build_id);
    let answer = compat_tests::http::get(gateway.port, &path);
    assert!(!answer.as_ref().is_ok_and(|answer| answer.status == 200), "{answer:?}");
}

#[test]
fn relative_names_are_also_relative_to_the_program_whose_dwarf_is_elsewhere() {
    let directory = tempdir().unwrap();
    let root = directory.path().canonicalize().unwrap();
    let program = Program::compile("split", ".");
    fs::create_dir_all(root.join("bin/.debug")).unwrap();
    fs::copy(program.stripped(), root.join("bin/split")).unwrap();
    fs::copy(program.debug(), root.join("bin/.debug/split.debug")).unwrap();
    put(&program.source(), &root.join("bin/split.c"));
    let (_index, gateway) = served(&directory, &["--formats", "elf"]);
    let answer = gateway.get(&format!("/buildid/{}/source/./split.c", program.build_id));
    expect(&answer, &program.source(), root.join("bin/split.c").to_str().unwrap(), None);
}
