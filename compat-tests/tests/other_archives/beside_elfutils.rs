//! elfutils' server on the same directory gives the same bytes under the same names.

use std::fs;

use compat_tests::compiled::{Program, Tree};
use compat_tests::debuginfod::Debuginfod;
use compat_tests::http;
use tempfile::tempdir;

use super::served;

#[test]
fn every_format_is_answered_as_elfutils_answers() {
    let directory = tempdir().unwrap();
    let [deb, arch, tar, plain] =
        ["deb", "arch", "tarred", "plain"].map(|name| Program::compile(name, &format!("/usr/src/debug/{name}")));
    Tree::with_files(&[("/usr/bin/deb", &deb.whole())]).deb(directory.path(), ("deb", "1-1", "deb"), "", "xz");
    let source = |program: &Program| format!("/usr/src/debug/{0}/{0}.c", program.name);
    Tree::with_files(&[("/usr/bin/arch", &arch.whole()), (&source(&arch), &arch.source())]).arch(
        directory.path(),
        ("arch-debug", "arch", "1-1"),
        "tar.xz",
    );
    Tree::with_files(&[("/opt/tarred", &tar.whole()), (&source(&tar), &tar.source())]).tar(
        directory.path(),
        "tarred.tar.bz2",
        "tar",
        &[],
    );
    fs::copy(plain.whole(), directory.path().join("plain")).unwrap();
    let theirs = Debuginfod::start_with(directory.path(), &["-F", "-U", "-Z", ".tar.xz", "-Z", ".tar.bz2"]);
    let (_index, ours) = served(&directory, &["--formats", "rpm,deb,arch,tar,elf"]);
    let mut compared = 0;
    for program in [&deb, &arch, &tar, &plain] {
        let id = &program.build_id;
        let mut words = vec!["executable".to_owned(), "debuginfo".into()];
        if ["arch", "tarred"].contains(&program.name.as_str()) {
            words.push(format!("source{}", source(program)));
        }
        for word in words {
            let path = format!("/buildid/{id}/{word}");
            let (theirs, ours) = (http::get(theirs.port, &path).unwrap(), ours.get(&path));
            assert_eq!((theirs.status, ours.status), (200, 200), "{path} of {}", program.name);
            assert!(theirs.body == ours.body, "{path} of {}: other bytes", program.name);
            for name in ["x-debuginfod-size", "last-modified"] {
                assert_eq!(ours.header(name), theirs.header(name), "{path} of {}: {name}", program.name);
            }
            // Some of their versions say names instead of paths, and of archives theirs is a path on the server.
            for name in ["x-debuginfod-file", "x-debuginfod-archive"] {
                let last = |answer: &http::Response| {
                    answer.header(name).map(|path| path.rsplit('/').next().unwrap().to_owned())
                };
                assert_eq!(last(&ours), last(&theirs), "{path} of {}: {name}", program.name);
            }
            compared += 1;
        }
    }
    assert_eq!(compared, 10);
}
