//! Sources that are not in the build's own -debugsource under the requested path.

use std::path::Path;
use std::process::Command;

use compat_tests::darkserver::{RunningGateway, Sqlite};
use compat_tests::debuginfod::DebuginfodClient;
use compat_tests::process::run;
use compat_tests::rpmbuild;
use tempfile::TempDir;

const KERNEL: &str = "6.5.6-300.fc99.x86_64";
const MAIN: &str =
    "#include \"fs.h\"\n#include \"deep.h\"\nint lib(int a);\nint _start(void) { return fs(1) + deep(2) + lib(3); }\n";
const FS: &str = "static inline int fs(int a) { volatile int b = a; return b; }\n";
const DEEP: &str = "static inline int deep(int a) { volatile int b = a; return b; }\n";
const LIB: &str = "/* linked in */\nint lib(int a) { return a + 1; }\n";

/// A program with DWARF whose files were at these paths: `MAIN`, `FS`, `DEEP`, `LIB`. Its build-id is `number`'s.
fn program(number: u16, directories: [&str; 4]) -> (String, Vec<u8>) {
    let directory = tempfile::tempdir().unwrap();
    let build_id = format!("{}{number:04x}", &rpmbuild::build_id()[..36]);
    let mut command = Command::new("cc");
    command
        .args(["-g", "-O1", "-nostdlib", "-static", "-o", "out"])
        .arg(format!("-Wl,--build-id=0x{build_id}"))
        .current_dir(&directory);
    for ((name, text), is_now) in
        [("main.c", MAIN), ("fs.h", FS), ("deep.h", DEEP), ("lib.c", LIB)].into_iter().zip(directories)
    {
        let was = directory.path().join(name.replace('.', "_"));
        std::fs::create_dir(&was).unwrap();
        std::fs::write(was.join(name), text).unwrap();
        command.arg(format!("-fdebug-prefix-map={}={is_now}", was.display())).arg("-I").arg(&was);
        if name.ends_with(".c") {
            command.arg(was.join(name));
        }
    }
    let output = run(&mut command, "gcc");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    (build_id, std::fs::read(directory.path().join("out")).unwrap())
}

/// A gateway for the packages that `make` writes to a directory.
fn gateway(make: impl FnOnce(&Path)) -> (TempDir, Sqlite, RunningGateway) {
    let directory = tempfile::tempdir().unwrap();
    make(directory.path());
    let index = Sqlite::with_packages(&[directory.path()]);
    let gateway = RunningGateway::start(&index.url());
    (directory, index, gateway)
}

#[track_caller]
fn expect_source(gateway: &RunningGateway, build_id: &str, path: &str, text: &str, archive: &str) {
    let answer = gateway.get(&format!("/buildid/{build_id}/source{path}"));
    assert_eq!((answer.status, answer.text().as_str()), (200, text), "{path}");
    assert_eq!(answer.header("x-debuginfod-archive"), Some(&*format!("{archive}.rpm")), "{path}");
}

#[track_caller]
fn expect_none(gateway: &RunningGateway, build_id: &str, path: &str) {
    let answer = gateway.get(&format!("/buildid/{build_id}/source{path}"));
    assert_eq!(answer.status, 404, "{path}: {}", answer.text());
}

/// GDB's listing of a program, with the gateway as its only source of files.
fn gdb(gateway: &RunningGateway, program: &[u8], commands: &[&str]) -> String {
    let (client, file) = (DebuginfodClient::new(&gateway.url()), tempfile::NamedTempFile::new().unwrap());
    std::fs::write(file.path(), program).unwrap();
    let mut command = Command::new("gdb");
    client.environment(&mut command);
    command.args(["-nx", "-batch", "-iex", "set debuginfod enabled on", "-iex", "set width 0"]);
    for text in commands {
        command.args(["-ex", text]);
    }
    let output = run(command.arg(file.path()), "gdb");
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn kernels_have_their_sources_in_debuginfo_common_and_their_headers_in_devel() {
    let sources = format!("/usr/src/debug/kernel-6.5.6/linux-{KERNEL}");
    let headers = format!("/usr/src/kernels/{KERNEL}/include");
    let (build_id, vmlinux) = program(1, [&format!("{sources}/init"), &headers, &headers, &format!("{sources}/lib")]);
    let member = format!("/usr/lib/debug/lib/modules/{KERNEL}/vmlinux");
    let (directory, _index, gateway) = gateway(|directory| {
        let (link, target) = (rpmbuild::link(&build_id, "debug/"), format!("../../../../..{member}"));
        let (main, lib) = (format!("{sources}/init/main.c"), format!("{sources}/lib/lib.c"));
        let (fs, deep) = (format!("{headers}/fs.h"), format!("{headers}/deep.h"));
        let packages: [rpmbuild::PackageFiles<'_>; 4] = [
            ("kernel", &[("/lib/modules/config", b"CONFIG_X=y\n")]),
            ("kernel-debuginfo", &[(&member, &vmlinux), (&link, target.as_bytes())]),
            ("kernel-debuginfo-common-x86_64", &[(&main, MAIN.as_bytes()), (&lib, LIB.as_bytes())]),
            ("kernel-devel", &[(&fs, FS.as_bytes()), (&deep, DEEP.as_bytes())]),
        ];
        rpmbuild::build(directory, "kernel", "6.5.6", "300.fc99", &packages);
    });
    expect_source(
        &gateway,
        &build_id,
        &format!("{sources}/init/main.c"),
        MAIN,
        &format!("kernel-debuginfo-common-x86_64-{KERNEL}"),
    );
    expect_source(&gateway, &build_id, &format!("{headers}/x/../fs.h"), FS, &format!("kernel-devel-{KERNEL}"));
    let said = gdb(&gateway, &vmlinux, &["list main.c:1,4", "list fs.h:1,1", "list lib.c:1,2"]);
    for line in [MAIN, FS, LIB].iter().flat_map(|text| text.lines()) {
        assert!(said.contains(line), "expected {line:?} in:\n{said}");
    }
    for path in [
        "/lib/modules/config",
        &member,
        &format!("{headers}/missing.h"),
        &format!("/usr/src/kernels/{KERNEL}.x/include/fs.h"),
    ] {
        expect_none(&gateway, &build_id, path);
    }
    drop(directory);
}

#[test]
fn sources_of_a_linked_library_come_from_its_debugsource() {
    let (own, other) = ("/usr/src/debug/linked-1.0-1.x86_64", "/usr/src/debug/libother-2.3-4.fc99.x86_64");
    let (build_id, elf) = program(2, [own, own, own, other]);
    let (directory, _index, gateway) = gateway(|directory| {
        let (link, main, lib) = (rpmbuild::link(&build_id, ""), format!("{own}/main.c"), format!("{other}/lib.c"));
        let packages: [rpmbuild::PackageFiles<'_>; 2] = [
            ("linked", &[("/usr/bin/linked", &elf), (&link, b"../../../../usr/bin/linked")]),
            ("linked-debugsource", &[(&main, MAIN.as_bytes())]),
        ];
        rpmbuild::build(directory, "linked", "1.0", "1", &packages);
        let packages: [rpmbuild::PackageFiles<'_>; 2] = [
            ("libother", &[("/usr/lib64/libother.a", b"!<arch>\n")]),
            ("libother-debugsource", &[(&lib, LIB.as_bytes())]),
        ];
        rpmbuild::build(directory, "libother", "2.3", "4.fc99", &packages);
    });
    expect_source(&gateway, &build_id, &format!("{own}/main.c"), MAIN, "linked-debugsource-1.0-1.x86_64");
    expect_source(&gateway, &build_id, &format!("{other}/lib.c"), LIB, "libother-debugsource-2.3-4.fc99.x86_64");
    let said = gdb(&gateway, &elf, &["list lib.c:1,2"]);
    assert!(said.contains("/* linked in */"), "{said}");
    expect_none(&gateway, &build_id, &other.replace("2.3-4", "2.3-5"));
    expect_none(&gateway, &build_id, &format!("{}/lib.c", other.replace("2.3-4", "2.3-5")));
    // An unknown build-id opens no archive.
    expect_none(&gateway, "00112233445566778899aabbccddeeff00112233", &format!("{other}/lib.c"));
    drop(directory);
}

#[test]
fn relative_names_are_found_if_one_source_alone_has_that_suffix() {
    let (build_id, elf) = program(3, ["./src", "include", "include", "src/lib"]);
    let sources = "/usr/src/debug/mapped-1.0-1.x86_64";
    let (directory, _index, gateway) = gateway(|directory| {
        let link = rpmbuild::link(&build_id, "");
        let files =
            ["src/main.c", "include/fs.h", "src/lib/lib.c", "src/other/lib.c"].map(|file| format!("{sources}/{file}"));
        let [main, fs, lib, other] = &files;
        let packages: [rpmbuild::PackageFiles<'_>; 2] = [
            (
                "mapped",
                &[
                    ("/usr/bin/mapped", &elf),
                    (&link, b"../../../../usr/bin/mapped"),
                    ("/etc/src/config.c", b"config\n"),
                ],
            ),
            (
                "mapped-debugsource",
                &[(main, MAIN.as_bytes()), (fs, FS.as_bytes()), (lib, LIB.as_bytes()), (other, b"other\n")],
            ),
        ];
        rpmbuild::build(directory, "mapped", "1.0", "1", &packages);
    });
    let archive = "mapped-debugsource-1.0-1.x86_64";
    // libdebuginfod removes one leading slash, or none.
    for path in ["/src/main.c", "/./src/main.c", "/main.c", "//src/../src/main.c", "/%2e/src%2Fmain.c"] {
        expect_source(&gateway, &build_id, path, MAIN, archive);
    }
    expect_source(&gateway, &build_id, "/include/fs.h", FS, archive);
    expect_source(&gateway, &build_id, "/lib/lib.c", LIB, archive);
    // An ambiguous suffix; a part of a name; a member of another package.
    for path in ["/lib.c", "/ain.c", "/c", "/config.c", "/etc/src/config.c", "/usr/src/main.c", "/mapped-1.0-1.x86_64"]
    {
        expect_none(&gateway, &build_id, path);
    }
    drop(directory);
}

#[test]
fn include_files_come_from_the_package_of_the_time_of_the_build() {
    const YEAR: u32 = 31_536_000;
    let (own, widgets) = ("/usr/src/debug/user-1.0-1.x86_64", "/usr/include/widgets-2.0");
    let (build_id, elf) = program(3, [own, widgets, "/usr/include", own]);
    let (in_directory, above, deep) = (format!("{widgets}/fs.h"), format!("{widgets}/unused.h"), "/usr/include/deep.h");
    let (directory, _index, gateway) = gateway(|directory| {
        let link = rpmbuild::link(&build_id, "");
        let packages: [rpmbuild::PackageFiles<'_>; 1] =
            [("user", &[("/usr/bin/user", &elf), (&link, b"../../../../usr/bin/user")])];
        rpmbuild::build_at(Some(40 * YEAR), "w1.gzdio", directory, "user", "1.0", "1", &packages);
        for (year, release, text) in [(37, "1", "long before\n"), (39, "2", FS), (41, "3", "later\n")] {
            let files: [(&str, &[u8]); 3] =
                [(&in_directory, text.as_bytes()), (&above, b"unused\n"), (deep, DEEP.as_bytes())];
            let packages: [rpmbuild::PackageFiles<'_>; 2] =
                [("widgets", &[("/usr/share/w", b"w\n")]), ("widgets-devel", &files)];
            rpmbuild::build_at(Some(year * YEAR), "w1.gzdio", directory, "widgets", "2.0", release, &packages);
        }
    });
    expect_source(&gateway, &build_id, &in_directory, FS, "widgets-devel-2.0-2.x86_64");
    expect_source(&gateway, &build_id, deep, DEEP, "widgets-devel-2.0-2.x86_64");
    let said = gdb(&gateway, &elf, &["list fs.h:1,1", "list deep.h:1,1"]);
    assert!(said.contains(FS.trim()) && said.contains(DEEP.trim()), "{said}");
    // A file that its line tables do not name is none of its sources. An unknown build-id opens no archive.
    for path in [&above, &format!("{widgets}/missing.h"), "/usr/include/unused.h"] {
        expect_none(&gateway, &build_id, path);
    }
    expect_none(&gateway, "00112233445566778899aabbccddeeff00112233", &in_directory);
    drop(directory);
}

#[test]
fn paths_with_a_base_arch_match_packages_of_its_family_of_arches() {
    // A program's arch, its own sources, the package that was linked in, and its sources.
    for (number, (arch, own, other_arch, other)) in [
        ("i686", "linked-1.0-1.i386", "i686", "libother-2.3-4.fc99.i386"),
        ("i686", "linked-1.0-1.i386", "i586", "libother-2.3-4.fc99.i386"),
        ("i686", "linked-1.0-1.i386", "i686", "libother-2.3-4.fc99.i686"),
        ("armv7hl", "linked-1.0-1.arm", "armv7hl", "libother-2.3-4.fc99.arm"),
        ("sparcv9", "linked-1.0-1.sparc", "sparcv9", "libother-2.3-4.fc99.sparc"),
        ("ppc64p7", "linked-1.0-1.ppc64", "ppc64p7", "libother-2.3-4.fc99.ppc64"),
    ]
    .into_iter()
    .enumerate()
    {
        let [own, other] = [own, other].map(|directory| format!("/usr/src/debug/{directory}"));
        let (build_id, elf) = program(u16::try_from(100 + number).unwrap(), [&own, &own, &own, &other]);
        let (main, lib) = (format!("{own}/main.c"), format!("{other}/lib.c"));
        let (directory, _index, gateway) = gateway(|directory| {
            let link = rpmbuild::link(&build_id, "");
            let packages: [rpmbuild::PackageFiles<'_>; 2] = [
                ("linked", &[("/usr/bin/linked", &elf), (&link, b"../../../../usr/bin/linked")]),
                ("linked-debugsource", &[(&main, MAIN.as_bytes())]),
            ];
            rpmbuild::build_for(arch, directory, "linked", "1.0", "1", &packages);
            let packages: [rpmbuild::PackageFiles<'_>; 2] =
                [("libother", &[("/usr/lib/x.a", b"!<arch>\n")]), ("libother-debugsource", &[(&lib, LIB.as_bytes())])];
            rpmbuild::build_for(other_arch, directory, "libother", "2.3", "4.fc99", &packages);
            // The sources of another family differ.
            let packages: [rpmbuild::PackageFiles<'_>; 2] = [
                ("libother", &[("/usr/lib/y.a", b"!<arch>\n")]),
                ("libother-debugsource", &[(&lib, b"another family\n")]),
            ];
            rpmbuild::build_for("s390x", directory, "libother", "2.3", "4.fc99", &packages);
        });
        expect_source(&gateway, &build_id, &main, MAIN, &format!("linked-debugsource-1.0-1.{arch}"));
        expect_source(&gateway, &build_id, &lib, LIB, &format!("libother-debugsource-2.3-4.fc99.{other_arch}"));
        expect_none(&gateway, &build_id, &lib.replace("2.3-4", "2.3-5"));
        expect_none(&gateway, "00112233445566778899aabbccddeeff00112233", &lib);
        drop(directory);
    }
}

#[test]
fn sibling_packages_of_the_same_arch_precede_those_of_its_family() {
    let sources = "/usr/src/debug/kernel-2.6/linux-2.6.i386";
    let (build_id, elf) = program(110, [sources, sources, sources, sources]);
    let paths = ["main.c", "fs.h", "lib.c"].map(|name| format!("{sources}/{name}"));
    let [main, fs, lib] = &paths;
    let (directory, _index, gateway) = gateway(|directory| {
        let link = rpmbuild::link(&build_id, "");
        let packages: [rpmbuild::PackageFiles<'_>; 2] = [
            ("kernel", &[("/usr/bin/kernel", &elf), (&link, b"../../../../usr/bin/kernel")]),
            ("kernel-debuginfo", &[(fs, FS.as_bytes())]),
        ];
        rpmbuild::build_for("i686", directory, "kernel", "2.6", "1", &packages);
        for (arch, text) in [("i386", MAIN.as_bytes()), ("x86_64", b"another family\n")] {
            let files: [(&str, &[u8]); 3] =
                [(main, text), (fs, b"another arch\n"), ("/usr/src/debug/lib.c", b"not relative\n")];
            let packages: [rpmbuild::PackageFiles<'_>; 2] =
                [("kernel", &[("/etc/k", b"k\n")]), ("kernel-debuginfo-common", &files)];
            rpmbuild::build_for(arch, directory, "kernel", "2.6", "1", &packages);
        }
    });
    expect_source(&gateway, &build_id, main, MAIN, "kernel-debuginfo-common-2.6-1.i386");
    expect_source(&gateway, &build_id, fs, FS, "kernel-debuginfo-2.6-1.i686");
    expect_source(&gateway, &build_id, "/main.c", MAIN, "kernel-debuginfo-common-2.6-1.i386");
    expect_none(&gateway, &build_id, lib);
    drop(directory);
}

#[test]
fn sources_come_from_src_packages_of_yocto() {
    let sources = "/usr/src/debug/yocto/1.0";
    let (build_id, elf) = program(120, [sources, sources, "./include", sources]);
    let (main, deep) = (format!("{sources}/main.c"), format!("{sources}/include/deep.h"));
    let (directory, _index, gateway) = gateway(|directory| {
        let (link, debug) = (rpmbuild::link(&build_id, ""), "/usr/bin/.debug/yocto");
        let packages: [rpmbuild::PackageFiles<'_>; 3] = [
            ("yocto", &[("/usr/bin/yocto", &elf), (&link, b"../../../../usr/bin/yocto")]),
            ("yocto-dbg", &[(debug, b"debug\n")]),
            ("yocto-src", &[(&main, MAIN.as_bytes()), (&deep, DEEP.as_bytes()), ("/usr/share/deep.h", b"no source\n")]),
        ];
        rpmbuild::build(directory, "yocto", "1.0", "r0", &packages);
    });
    expect_source(&gateway, &build_id, &main, MAIN, "yocto-src-1.0-r0.x86_64");
    expect_source(&gateway, &build_id, "/./include/deep.h", DEEP, "yocto-src-1.0-r0.x86_64");
    expect_none(&gateway, &build_id, &format!("{sources}/missing.c"));
    drop(directory);
}
