//! Debug files of builds that do not install them below `/usr/lib/debug/`: their paths tell what they are.

use std::fs;
use std::path::PathBuf;

use compat_tests::compiled::Program;
use compat_tests::headers::class;
use tempfile::{TempDir, tempdir};

use crate::{build, expect_absent, expect_file, expect_types, path, rows, served};

const PROGRAM: &str = "/usr/bin/foo";
const DEBUG: &str = "/usr/bin/.debug/foo";
const SOURCE: &str = "/usr/src/debug/foo/1.0/main.c";

/// The packages of one build, as Yocto splits it.
struct Build {
    _directory: TempDir,
    program: Program,
    main: PathBuf,
    dbg: PathBuf,
    src: PathBuf,
}

impl Build {
    fn make() -> Self {
        let (directory, program) = (tempdir().unwrap(), Program::compile("main", "/usr/src/debug/foo/1.0"));
        let [stripped, debug, source] =
            [program.stripped(), program.debug(), program.source()].map(|file| fs::read(file).unwrap());
        let packages = [
            ("foo", &[(PROGRAM, &*stripped)][..]),
            ("foo-dbg", &[(DEBUG, &*debug)][..]),
            ("foo-src", &[(SOURCE, &*source)][..]),
        ];
        let [main, dbg, src] = build(directory.path(), &packages).try_into().unwrap();
        let named = format!("BuildID[sha1]={}", program.build_id);
        for (rpm, file, end) in [(&main, PROGRAM, ", stripped"), (&dbg, DEBUG, ", with debug_info, not stripped")] {
            let class = class(rpm, file);
            assert!(class.starts_with("ELF ") && class.contains(&named) && class.ends_with(end), "{class}");
        }
        Self { _directory: directory, program, main, dbg, src }
    }
}

#[test]
fn a_debug_package_alone_has_no_executable() {
    let build = Build::make();
    let (_index, gateway) = served(&[&build.dbg]);
    let id = &build.program.build_id;
    expect_file(&gateway, id, "debuginfo", &build.program.debug(), DEBUG);
    assert_eq!(gateway.get(&path(id, "section/.debug_info")).status, 200);
    assert_eq!(rows(&gateway, id), [DEBUG]);
    expect_absent(&gateway, id, "executable");
    expect_types(&gateway, id, DEBUG, &["debuginfo"], true);
}

#[test]
fn the_executable_is_the_program_whichever_package_came_first() {
    let build = Build::make();
    let id = &build.program.build_id;
    for rpms in [[&*build.dbg, &*build.main], [&*build.main, &*build.dbg]] {
        let (_index, gateway) = served(&rpms);
        expect_file(&gateway, id, "debuginfo", &build.program.debug(), DEBUG);
        assert_eq!(gateway.get(&path(id, "section/.debug_info")).status, 200);
        assert_eq!(rows(&gateway, id), [DEBUG, PROGRAM]);
        expect_file(&gateway, id, "executable", &build.program.stripped(), PROGRAM);
        expect_types(&gateway, id, PROGRAM, &["executable"], true);
        expect_types(&gateway, id, DEBUG, &["debuginfo"], true);
    }
}

#[test]
fn sources_come_out_of_the_src_package() {
    let build = Build::make();
    let word = format!("source{SOURCE}");
    for rpms in
        [&[&*build.dbg, &*build.src][..], &[&*build.main, &*build.src], &[&*build.main, &*build.dbg, &*build.src]]
    {
        let (_index, gateway) = served(rpms);
        expect_file(&gateway, &build.program.build_id, &word, &build.program.source(), SOURCE);
        expect_absent(&gateway, &build.program.build_id, "source/usr/src/debug/foo/1.0/other.c");
    }
    // Without that package there is none.
    let (_index, gateway) = served(&[&build.main, &build.dbg]);
    expect_absent(&gateway, &build.program.build_id, &word);
}

#[test]
fn paths_of_debug_files_tell_what_they_are() {
    let paths = [
        "/app/lib/debug/usr/bin/foo.debug",
        "/app/lib/debug/usr/bin/foo",
        "/opt/v/lib/x.dbg",
        "/opt/v/lib/x.debug",
        "/opt/v/lib/.debug/libx.so",
    ];
    let programs: Vec<Program> = paths.iter().map(|path| Program::compile("foo", path)).collect();
    let bytes: Vec<Vec<u8>> = programs.iter().map(|program| fs::read(program.debug()).unwrap()).collect();
    let files: Vec<(&str, &[u8])> = paths.iter().zip(&bytes).map(|(path, bytes)| (*path, &**bytes)).collect();
    let directory = tempdir().unwrap();
    let rpms = build(directory.path(), &[("foo", &files)]);
    let (_index, gateway) = served(&[&rpms[0]]);
    for (path, program) in paths.iter().zip(&programs) {
        let class = class(&rpms[0], path);
        assert!(class.ends_with(", with debug_info, not stripped"), "{class}");
        expect_file(&gateway, &program.build_id, "debuginfo", &program.debug(), path);
        assert_eq!(rows(&gateway, &program.build_id), [*path]);
        expect_absent(&gateway, &program.build_id, "executable");
        expect_types(&gateway, &program.build_id, path, &["debuginfo"], true);
    }
}
