//! Hard links of one program inside an archive: every name is known.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use compat_tests::compiled::{Program, Tree};
use compat_tests::darkserver::{RunningGateway, Sqlite, import_ok};
use compat_tests::process::run;
use tempfile::tempdir;

use crate::{path, told};

const NAMES: [&str; 3] = ["/usr/bin/alias", "/usr/bin/prog", "/usr/lib/prog/tool"];

/// A tree with one program under three names.
fn tree(program: &Program) -> Tree {
    let tree = Tree::with_files(&[("/usr/bin/prog", &program.whole())]);
    for name in ["/usr/bin/alias", "/usr/lib/prog/tool"] {
        fs::hard_link(tree.make("/usr/bin/prog"), tree.make(name)).unwrap();
    }
    tree
}

/// Expects that an archive stores the bytes of the program once, and links for its other names.
fn expect_links(listing: &mut Command) {
    let output = run(listing, "dpkg and libarchive-tools (Debian) or bsdtar (Fedora)");
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(text.lines().filter(|line| line.contains(" link to ")).count(), 2, "{text}");
}

/// Imports `directory`, and expects every name once, and the program.
fn expect_names(directory: &Path, program: &Program, formats: &str) {
    let index = Sqlite::empty();
    import_ok(&index.url(), &["dir", directory.to_str().unwrap(), "--formats", formats]);
    let gateway = RunningGateway::start(&index.url());
    for word in ["executable", "debuginfo"] {
        let answer = gateway.get(&path(&program.build_id, word));
        assert!(answer.status == 200 && answer.body == fs::read(program.whole()).unwrap(), "{word}: {}", answer.status);
        let named = answer.header("x-debuginfod-file");
        assert!(NAMES.iter().any(|name| named == Some(name)), "{word}: expected one of {NAMES:?}, found {named:?}");
    }
    let extracted = gateway.metric("gateway_extractions_total{result=\"complete\"}");
    assert_eq!(extracted, 1.0, "extractions of one program");
    for name in NAMES {
        assert_eq!(told(&gateway, "file", name), types(&[name]), "{name}");
    }
    assert_eq!(told(&gateway, "glob", "/usr/bin/*"), types(&NAMES[..2]));
    assert_eq!(told(&gateway, "glob", "/usr/*/prog/t??l"), types(&NAMES[2..]));
    assert_eq!(told(&gateway, "buildid", &program.build_id), types(&NAMES));
    assert_eq!(told(&gateway, "file", "/usr/bin/other"), BTreeMap::new());
}

/// An unstripped program is both, and that is certain where the whole file was read.
fn types(names: &[&str]) -> BTreeMap<(String, String), bool> {
    let of_name = |name: &&str| ["debuginfo", "executable"].map(|kind| ((name.to_string(), kind.to_owned()), true));
    names.iter().flat_map(of_name).collect()
}

#[test]
fn of_a_debian_package() {
    let (directory, program) = (tempdir().unwrap(), Program::compile("prog", "/s/prog"));
    let deb = tree(&program).deb(directory.path(), ("prog", "1.0-1", "deb"), "", "xz");
    expect_links(Command::new("dpkg-deb").arg("--contents").arg(deb));
    expect_names(directory.path(), &program, "deb");
}

#[test]
fn of_an_arch_package() {
    let (directory, program) = (tempdir().unwrap(), Program::compile("prog", "/s/prog"));
    let package = tree(&program).arch(directory.path(), ("prog", "prog", "1.0-1"), "tar.zst");
    expect_links(Command::new("bsdtar").arg("-tvf").arg(package));
    expect_names(directory.path(), &program, "arch");
}

#[test]
fn of_a_tar_archive() {
    for (tar, options) in [("tar", &["--format=gnu"][..]), ("tar", &["--format=posix"]), ("bsdtar", &[])] {
        let (directory, program) = (tempdir().unwrap(), Program::compile("prog", "/s/prog"));
        let archive = tree(&program).tar(directory.path(), "prog.tar.gz", tar, options);
        expect_links(Command::new("bsdtar").arg("-tvf").arg(archive));
        expect_names(directory.path(), &program, "tar");
    }
}
