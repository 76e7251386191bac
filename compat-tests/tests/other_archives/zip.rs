//! Zip archives, cpio archives and packages of opkg, made by Python, Info-ZIP, libarchive and cpio.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use compat_tests::compiled::{Program, Tree, succeed};
use compat_tests::darkserver::{RunningGateway, Sqlite, import, import_ok};
use compat_tests::debuginfod::{Debuginfod, DebuginfodClient};
use compat_tests::files::FileServer;
use compat_tests::http;
use tempfile::{TempDir, tempdir};

use super::{expect, served};

/// A program and its source, as trees for archives.
fn tree(program: &Program) -> Tree {
    let (binary, source) = (format!("/lib/{}", program.name), format!("/s/{0}/{0}.c", program.name));
    Tree::with_files(&[(&binary, &program.whole()), (&source, &program.source())])
}

fn compiled(name: &str) -> Program {
    Program::compile(name, &format!("/s/{name}"))
}

/// A zip archive by Python's `zipfile`, as wheels are made; `method` is one of its constants.
fn python_zip(tree: &Tree, archive: &Path, method: &str) {
    const SCRIPT: &str = "
import os, sys, zipfile
top, name, method = sys.argv[1:]
with zipfile.ZipFile(name, 'w', getattr(zipfile, method)) as archive:
    for directory, _, files in os.walk(top):
        for file in files:
            path = os.path.join(directory, file)
            archive.write(path, os.path.relpath(path, top))
";
    succeed(Command::new("python3").args(["-c", SCRIPT]).arg(tree.path()).arg(archive).arg(method), "python3");
}

/// A cpio archive of this form.
fn cpio(tree: &Tree, archive: &Path, form: &str) {
    let mut find = Command::new("find").arg(".").current_dir(tree.path()).stdout(Stdio::piped()).spawn().unwrap();
    let mut command = Command::new("cpio");
    command
        .args(["--quiet", "-o", "-H", form, "-F"])
        .arg(archive)
        .current_dir(tree.path())
        .stdin(find.stdout.take().unwrap());
    succeed(&mut command, "cpio");
    assert!(find.wait().unwrap().success());
}

/// A package of opkg, of tar and gzip.
fn ipk(tree: &Tree, into: &Path, name: &str) {
    let parts = tempdir().unwrap();
    let control =
        format!("Package: {name}\nVersion: 1.0-1\nArchitecture: mips\nMaintainer: a test\nDescription: a test\n");
    fs::write(parts.path().join("control"), control).unwrap();
    fs::write(parts.path().join("debian-binary"), "2.0\n").unwrap();
    let tar = |archive: &Path, directory: &Path, names: &[&str]| {
        succeed(Command::new("tar").arg("-czf").arg(archive).arg("-C").arg(directory).args(names), "tar");
    };
    tar(&parts.path().join("control.tar.gz"), parts.path(), &["./control"]);
    tar(&parts.path().join("data.tar.gz"), tree.path(), &["."]);
    let outer = into.join(format!("{name}_1.0-1_mips.ipk"));
    tar(&outer, parts.path(), &["./debian-binary", "./data.tar.gz", "./control.tar.gz"]);
}

#[track_caller]
fn expect_program(gateway: &RunningGateway, program: &Program, archive: &str) {
    let (id, name) = (&program.build_id, &program.name);
    let answer = gateway.get(&format!("/buildid/{id}/executable"));
    expect(&answer, &program.whole(), &format!("/lib/{name}"), Some(archive));
    let answer = gateway.get(&format!("/buildid/{id}/section/.text"));
    assert_eq!(answer.status, 200, "{archive}");
}

#[track_caller]
fn expect_source(gateway: &RunningGateway, program: &Program, archive: &str) {
    let source = format!("/s/{0}/{0}.c", program.name);
    let answer = gateway.get(&format!("/buildid/{}/source{source}", program.build_id));
    expect(&answer, &program.source(), &source, Some(archive));
}

/// Archives of one program each.
fn archives(directory: &TempDir) -> Vec<(Program, &'static str)> {
    let into = |name: &str| directory.path().join(name);
    let names = [
        "stored.zip",
        "wheel-1.0-cp311-cp311-linux_x86_64.whl",
        "Nu.Get.1.0.0.nupkg",
        "bzipped.zip",
        "lzma.zip",
        "infozip.zip",
        "streamed.zip",
        "script.zip",
        "new.cpio",
        "check.cpio.gz",
        "initramfs.cpio.zst",
    ];
    let programs: Vec<_> =
        (0..).zip(names).map(|(number, name)| (compiled(&format!("zipped{number}")), name)).collect();
    for (program, name) in &programs {
        let (tree, archive) = (tree(program), into(name));
        match *name {
            "stored.zip" => python_zip(&tree, &archive, "ZIP_STORED"),
            "bzipped.zip" => python_zip(&tree, &archive, "ZIP_BZIP2"),
            "lzma.zip" => python_zip(&tree, &archive, "ZIP_LZMA"),
            "infozip.zip" => {
                succeed(Command::new("zip").args(["-q", "-r"]).arg(&archive).arg(".").current_dir(tree.path()), "zip");
            }
            // Sizes behind the contents.
            "streamed.zip" => {
                let out = fs::File::create(&archive).unwrap();
                let mut command = Command::new("bsdtar");
                command.args(["--format", "zip", "-cf", "-", "-C"]).arg(tree.path()).arg(".").stdout(out);
                assert!(command.status().unwrap().success());
            }
            // A script's first line before the first member.
            "script.zip" => {
                python_zip(&tree, &archive, "ZIP_DEFLATED");
                let whole = [&b"#!/usr/bin/env python3\n"[..], &fs::read(&archive).unwrap()].concat();
                fs::write(&archive, whole).unwrap();
            }
            "new.cpio" => cpio(&tree, &archive, "newc"),
            "check.cpio.gz" => {
                cpio(&tree, &into("check.cpio"), "crc");
                succeed(Command::new("gzip").arg(into("check.cpio")), "gzip");
            }
            "initramfs.cpio.zst" => {
                cpio(&tree, &into("initramfs.cpio"), "newc");
                succeed(Command::new("zstd").args(["-q", "--rm"]).arg(into("initramfs.cpio")), "zstd");
            }
            _ => python_zip(&tree, &archive, "ZIP_DEFLATED"),
        }
    }
    programs
}

#[test]
fn zip_and_cpio_archives_of_every_program_give_executables_sections_and_sources() {
    let directory = tempdir().unwrap();
    let programs = archives(&directory);
    let (index, gateway) = served(&directory, &["--formats", "zip,cpio"]);
    let client = DebuginfodClient::new(&gateway.url());
    for (program, archive) in &programs {
        expect_program(&gateway, program, archive);
        expect_source(&gateway, program, archive);
        assert!(client.found(&["debuginfo", &program.build_id]) == fs::read(program.whole()).unwrap(), "{archive}");
    }
    let rows = gateway.get(&format!("/buildids/{}", programs[1].0.build_id)).text();
    assert!(rows.contains("\"rpm\":\"wheel-1.0-cp311-cp311-linux_x86_64-") && rows.contains("-0.x86_64\""), "{rows}");
    // Unchanged ones are not read again; one that was removed is gone.
    let path = directory.path().to_str().unwrap();
    fs::remove_file(directory.path().join("stored.zip")).unwrap();
    let said = import_ok(&index.url(), &["dir", path, "--formats", "zip,cpio", "--json"]);
    let said: serde_json::Value = serde_json::from_slice(&said.stdout).unwrap();
    assert_eq!((&said["unchanged"], &said["imported"], &said["gone"]), (&10.into(), &0.into(), &1.into()), "{said}");
    assert_eq!(said["formats"], serde_json::json!({"zip": 7, "cpio": 3}));
}

#[test]
fn zip_and_cpio_archives_of_a_store_that_is_elsewhere_are_fetched() {
    let directory = tempdir().unwrap();
    let programs = archives(&directory);
    let files = FileServer::start(directory.path());
    let index = Sqlite::empty();
    super::import(&index, &directory, &["--formats", "zip,cpio", "--store", "mirror", "--url", &files.url()]);
    import_ok(&index.url(), &["store", "add", "mirror", "--tier", "mirror", "--url", &files.url()]);
    let gateway = RunningGateway::start(&index.url());
    for (program, archive) in &programs {
        expect_program(&gateway, program, archive);
        expect_source(&gateway, program, archive);
    }
    fs::copy(directory.path().join("wheel-1.0-cp311-cp311-linux_x86_64.whl"), directory.path().join("infozip.zip"))
        .unwrap();
    let gateway = RunningGateway::start(&index.url());
    let (program, _) = programs.iter().find(|(_, archive)| *archive == "infozip.zip").unwrap();
    assert_eq!(gateway.get(&format!("/buildid/{}/executable", program.build_id)).status, 404);
}

#[test]
fn what_an_archive_is_first_bytes_tell_not_its_name() {
    let directory = tempdir().unwrap();
    let programs = ["jar", "not-a-zip", "not-a-tar"].map(compiled);
    python_zip(&tree(&programs[0]), &directory.path().join("a.jar"), "ZIP_DEFLATED");
    fs::rename(tree(&programs[1]).tar(directory.path(), "t.tar.gz", "tar", &[]), directory.path().join("a.zip"))
        .unwrap();
    cpio(&tree(&programs[2]), &directory.path().join("a.tar"), "newc");
    let (index, gateway) = served(&directory, &["--formats", "tar,zip", "--suffix", "jar"]);
    for (program, archive) in programs.iter().zip(["a.jar", "a.zip", "a.tar"]) {
        expect_program(&gateway, program, archive);
        expect_source(&gateway, program, archive);
    }
    // What --suffix found is looked for by --suffix.
    fs::remove_file(directory.path().join("a.jar")).unwrap();
    let said = import_ok(&index.url(), &["dir", directory.path().to_str().unwrap(), "--suffix", "jar", "--json"]);
    let said: serde_json::Value = serde_json::from_slice(&said.stdout).unwrap();
    assert_eq!((&said["unchanged"], &said["gone"]), (&1.into(), &1.into()), "{said}");
}

#[test]
fn packages_of_opkg_are_served_as_debian_packages_are() {
    let (directory, program, old) = (tempdir().unwrap(), compiled("routed"), compiled("olden"));
    ipk(&tree(&program), directory.path(), &program.name);
    let deb = tree(&old).deb(directory.path(), (&old.name, "1.0-1", "deb"), "", "gzip");
    fs::rename(deb, directory.path().join("olden_1.0-1_mips.ipk")).unwrap();
    let (_index, gateway) = served(&directory, &[]);
    expect_program(&gateway, &program, "routed_1.0-1_mips.ipk");
    expect_program(&gateway, &old, "olden_1.0-1_mips.ipk");
    let rows = gateway.get(&format!("/buildids/{}", program.build_id)).text();
    assert!(rows.contains("\"rpm\":\"routed-1.0-1.mips\""), "{rows}");
}

#[test]
fn what_cannot_be_read_is_refused_by_name() {
    let (directory, program) = (tempdir().unwrap(), compiled("odd"));
    for form in ["odc", "bin"] {
        cpio(&tree(&program), &directory.path().join(format!("{form}.cpio")), form);
    }
    python_zip(&tree(&program), &directory.path().join("cut.zip"), "ZIP_DEFLATED");
    let whole = fs::read(directory.path().join("cut.zip")).unwrap();
    fs::write(directory.path().join("cut.zip"), &whole[..whole.len() - 30]).unwrap();
    let index = Sqlite::empty();
    let said = import(&index.url(), &["dir", directory.path().to_str().unwrap(), "--formats", "zip,cpio"]);
    let text = String::from_utf8_lossy(&said.stderr).into_owned();
    assert_eq!(said.status.code(), Some(1), "{text}");
    for expected in
        ["found the old character form (odc)", "found the old binary form (bin)", "expected a sound zip archive"]
    {
        assert!(text.contains(expected), "{expected}: {text}");
    }
}

#[test]
fn elfutils_gives_the_same_bytes() {
    let directory = tempdir().unwrap();
    let programs = archives(&directory);
    let theirs = Debuginfod::start_with(
        directory.path(),
        &["-Z", ".zip", "-Z", ".whl", "-Z", ".nupkg", "-Z", ".cpio", "-Z", ".cpio.gz"],
    );
    let (_index, ours) = served(&directory, &["--formats", "zip,cpio"]);
    let mut compared = 0;
    for (program, archive) in &programs {
        let path = format!("/buildid/{}/executable", program.build_id);
        let (theirs, ours) = (http::get(theirs.port, &path).unwrap(), ours.get(&path));
        // libarchive of this distribution may lack a compression.
        if theirs.status == 200 {
            assert!(ours.status == 200 && theirs.body == ours.body, "{archive}");
            compared += 1;
        }
    }
    assert!(compared >= 6, "{compared}");
}
