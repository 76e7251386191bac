//! Packages of Arch Linux.

use std::fs;
use std::process::Command;

use compat_tests::compiled::{Program, Tree};
use compat_tests::darkserver::RunningGateway;
use compat_tests::debuginfod::DebuginfodClient;
use compat_tests::process::run;
use tempfile::{TempDir, tempdir};

use super::{expect, served};

/// A package, and the -debug package beside it, with its sources.
fn packages(program: &Program, directory: &TempDir, suffix: &str) {
    let name = program.name.as_str();
    Tree::with_files(&[(&format!("/usr/bin/{name}"), &program.stripped())]).arch(
        directory.path(),
        (name, name, "1:2.12-1"),
        suffix,
    );
    let source = format!("/usr/src/debug/{name}/{name}.c");
    let tree = Tree::with_files(&[(&program.debug_path(), &program.debug()), (&source, &program.source())]);
    tree.arch(directory.path(), (&format!("{name}-debug"), name, "1:2.12-1"), suffix);
}

#[test]
fn packages_of_every_compression_give_executables_debuginfo_and_sources() {
    let directory = tempdir().unwrap();
    let programs: Vec<Program> = ["tar.zst", "tar.xz", "tar.bz2", "tar.gz", "tar"]
        .into_iter()
        .map(|suffix| {
            let name = format!("hello.{suffix}");
            let program = Program::compile(&name, &format!("/usr/src/debug/{name}"));
            packages(&program, &directory, suffix);
            program
        })
        .collect();
    fs::write(directory.path().join("hello-1-1-x86_64.pkg.tar.zst.sig"), "a signature").unwrap();
    let (_index, gateway) = served(&directory, &[]);
    let client = DebuginfodClient::new(&gateway.url());
    for program in &programs {
        let (name, id) = (&program.name, &program.build_id);
        let suffix = name.strip_prefix("hello.").unwrap();
        let executable = gateway.get(&format!("/buildid/{id}/executable"));
        expect(
            &executable,
            &program.stripped(),
            &format!("/usr/bin/{name}"),
            Some(&format!("{name}-1:2.12-1-x86_64.pkg.{suffix}")),
        );
        assert!(client.found(&["executable", id]) == fs::read(program.stripped()).unwrap());
        assert!(client.found(&["debuginfo", id]) == fs::read(program.debug()).unwrap());
        let source = format!("/usr/src/debug/{name}/{name}.c");
        let archive = format!("{name}-debug-1:2.12-1-x86_64.pkg.{suffix}");
        expect(&gateway.get(&format!("/buildid/{id}/source{source}")), &program.source(), &source, Some(&archive));
        // As GDB would ask.
        let raw = format!("/usr/src/debug/{name}/./x/..//{name}.c");
        assert!(client.found(&["source", id, &raw]) == fs::read(program.source()).unwrap());
        assert_eq!(gateway.get(&format!("/buildid/{id}/source/usr/src/debug/{name}/other.c")).status, 404);
        // The second time comes from the cache.
        let before = gateway.metric("gateway_extractions_total{result=\"complete\"}");
        assert_eq!(gateway.get(&format!("/buildid/{id}/source{source}")).status, 200);
        assert_eq!(gateway.metric("gateway_extractions_total{result=\"complete\"}"), before);
    }
    let rows = gateway.get(&format!("/buildids/{}", programs[0].build_id)).text();
    assert!(rows.contains("\"rpm\":\"hello.tar.zst-2.12-1.x86_64\""), "{rows}");
}

#[test]
fn gdb_shows_the_source_of_a_stripped_program() {
    let (directory, program) = (tempdir().unwrap(), Program::compile("stepped", "/usr/src/debug/stepped"));
    packages(&program, &directory, "tar.zst");
    let (_index, gateway): (_, RunningGateway) = served(&directory, &[]);
    let mut command = Command::new("gdb");
    let client = DebuginfodClient::new(&gateway.url());
    client.environment(&mut command);
    command.args([
        "-nx",
        "-batch",
        "-iex",
        "set debuginfod enabled on",
        "-iex",
        "set width 0",
        "-ex",
        "list twice_stepped",
    ]);
    let output = run(command.arg(program.stripped()), "gdb");
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let text = fs::read_to_string(program.source()).unwrap();
    for (number, line) in (1..).zip(text.lines()).take(6) {
        assert!(said.contains(&format!("{number}\t{line}\n")), "expected line {number}, {line:?}, in:\n{said}");
    }
}

#[test]
fn relative_names_of_sources_are_found_below_usr_src_debug() {
    let (directory, program) = (tempdir().unwrap(), Program::compile("relative", "./src"));
    let (source, text) = ("/usr/src/debug/relative/src/relative.c", program.source());
    Tree::with_files(&[("/usr/bin/relative", &program.stripped())]).arch(
        directory.path(),
        ("relative", "relative", "1-1"),
        "tar.zst",
    );
    let files: [(&str, &std::path::Path); 5] = [
        (&program.debug_path(), &program.debug()),
        (source, &text),
        ("/usr/src/debug/relative/a/twice.c", &text),
        ("/usr/src/debug/relative/b/twice.c", &text),
        ("/usr/share/src/relative.c", &text),
    ];
    Tree::with_files(&files).arch(directory.path(), ("relative-debug", "relative", "1-1"), "tar.zst");
    let (_index, gateway) = served(&directory, &[]);
    let id = &program.build_id;
    for path in ["/src/relative.c", "/./src/relative.c", "/relative.c", "/../src/relative.c", "src/../src//relative.c"]
    {
        let answer = gateway.get(&format!("/buildid/{id}/source/{path}"));
        expect(&answer, &text, source, Some("relative-debug-1-1-x86_64.pkg.tar.zst"));
    }
    let found = DebuginfodClient::new(&gateway.url()).found(&["source", id, "/./src/relative.c"]);
    assert!(found == fs::read(&text).unwrap());
    for path in ["/twice.c", "/elative.c", "/share/src/relative.c", "/missing.c"] {
        assert_eq!(gateway.get(&format!("/buildid/{id}/source{path}")).status, 404, "{path}");
    }
}
