//! `/section/NAME`.

use std::path::Path;
use std::process::Command;

use compat_tests::darkserver::{RunningGateway, Sqlite};
use compat_tests::debuginfod::DebuginfodClient;
use compat_tests::process::run;
use compat_tests::rpmbuild;

use crate::{BIDTEST, build_id, etag, gateway, member};

const DEBUG: &str = "/usr/lib/debug/usr/bin/b-1.2~rc1-4.fc99.x86_64.debug";

/// The bytes of a section, as binutils sees them.
fn section(elf: &[u8], name: &str) -> Vec<u8> {
    let directory = tempfile::tempdir().unwrap();
    let (file, out) = (directory.path().join("elf"), directory.path().join("section"));
    std::fs::write(&file, elf).unwrap();
    let mut command = Command::new("objcopy");
    command.arg("--dump-section").arg(format!("{name}={}", out.display())).arg(&file).arg("/dev/null");
    let output = run(&mut command, "binutils");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    std::fs::read(out).unwrap()
}

#[test]
fn sections_equal_those_of_binutils() {
    let (_index, gateway) = gateway(&["fedora-compat"]);
    let debuginfo = "/usr/lib/debug/usr/bin/b-1.2~rc1-4.fc99.x86_64.debug";
    let id = build_id("fedora-compat", debuginfo);
    let main = member("fedora-compat", &format!("{BIDTEST}.x86_64"), "/usr/bin/b");
    let debug = member("fedora-compat", "bidtest-debuginfo-1.2~rc1-4.fc99.x86_64", debuginfo);
    // .text is NOBITS in the debuginfo: it comes from the executable.
    for (name, elf, file) in [
        (".debug_info", &debug, debuginfo),
        (".gnu_debugaltlink", &debug, debuginfo),
        (".text", &main, "/usr/bin/b"),
        (".rodata", &main, "/usr/bin/b"),
    ] {
        let expected = section(elf, name);
        assert!(!expected.is_empty(), "{name}");
        // The second time as the first: the reference server answers 404 then.
        for _ in 0..2 {
            let answer = gateway.get(&format!("/buildid/{id}/section/{name}"));
            assert_eq!(answer.status, 200, "{name}");
            assert!(answer.body == expected, "{name}: other bytes");
            assert_eq!(answer.header("x-debuginfod-size"), Some(&*expected.len().to_string()), "{name}");
            assert_eq!(answer.header("x-debuginfod-file"), Some(file), "{name}");
        }
    }
    for name in [".bss", ".no_such_section", ".debug_inf", ".debug_info2"] {
        assert_eq!(gateway.get(&format!("/buildid/{id}/section/{name}")).status, 404, "{name}");
    }
    assert_eq!(gateway.get(&format!("/buildid/{id}/section/%2e%2e")).status, 400, "no name of a section");
    // Two sections of one file are two contents.
    let etags = [".text", ".rodata"].map(|name| etag(&gateway.get(&format!("/buildid/{id}/section/{name}"))));
    assert_ne!(etags[0], etags[1]);
}

/// A program with DWARF, made by the compiler and `objcopy` with these options.
fn program(directory: &Path, options: &[&str]) -> Vec<u8> {
    let (source, elf) = (directory.join("program.c"), directory.join("program"));
    // Enough that something can be saved.
    let functions: String =
        (0..200).map(|number| format!("int function_number_{number}(int a) {{ return a + {number}; }}\n")).collect();
    std::fs::write(&source, functions).unwrap();
    let mut compile = Command::new("cc");
    compile.args(["-g", "-nostdlib", "-shared", "-fPIC", "-o"]).arg(&elf).arg(&source);
    let id = format!("-Wl,--build-id=0x{}", rpmbuild::build_id());
    let mut change = Command::new("objcopy");
    for (command, package) in [(compile.arg(id), "gcc"), (change.args(options).arg(&elf), "binutils")] {
        let output = run(command, package);
        assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
    std::fs::read(elf).unwrap()
}

/// Offset, size and flags of a section, from `readelf`.
fn locate(elf: &[u8], name: &str) -> (std::ops::Range<usize>, String) {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), elf).unwrap();
    let output = run(Command::new("readelf").arg("-SW").arg(file.path()), "binutils");
    let text = String::from_utf8(output.stdout).unwrap();
    let rows =
        text.lines().filter_map(|line| line.split_once(']')).map(|(_, row)| row.split_whitespace().collect::<Vec<_>>());
    let row = rows.into_iter().find(|row| row.first() == Some(&name)).unwrap_or_else(|| panic!("{name}: {text}"));
    let number = |cell: usize| usize::from_str_radix(row[cell], 16).unwrap();
    (number(3)..number(3) + number(4), row[6].to_owned())
}

#[test]
fn compressed_sections_keep_their_header() {
    for (options, prefix) in
        [(["--compress-debug-sections=zlib"], ".debug_"), (["--compress-debug-sections=zlib-gnu"], ".zdebug_")]
    {
        let directory = tempfile::tempdir().unwrap();
        let elf = program(directory.path(), &options);
        let rpms = tempfile::tempdir().unwrap();
        let made = rpmbuild::of_bytes(rpms.path(), "compressed", &elf, &rpmbuild::build_id());
        let index = Sqlite::with_packages(&[rpms.path()]);
        let gateway = RunningGateway::start(&index.url());
        for name in ["info", "str"].map(|name| format!("{prefix}{name}")) {
            let (range, flags) = locate(&elf, &name);
            assert!(flags.contains('C') || elf[range.clone()].starts_with(b"ZLIB"), "{name}: not compressed");
            let answer = gateway.get(&format!("/buildid/{}/section/{name}", made.build_id));
            assert!(answer.status == 200 && answer.body == elf[range], "{name}: other bytes");
        }
    }
}

#[test]
fn a_section_costs_one_extraction_of_the_file_that_has_it() {
    let (_index, gateway) = gateway(&["fedora-compat"]);
    let id = build_id("fedora-compat", DEBUG);
    let extractions = || gateway.metric("gateway_extractions_total{result=\"complete\"}");
    // Only programs have data of .text: no debuginfo is unpacked for it.
    let first = gateway.get(&format!("/buildid/{id}/section/.text"));
    assert_eq!((first.header("x-debuginfod-file"), extractions()), (Some("/usr/bin/b"), 1.0));
    let debug = gateway.get(&format!("/buildid/{id}/section/.debug_line"));
    assert_eq!((debug.header("x-debuginfod-file"), extractions()), (Some(DEBUG), 2.0));
    for (name, answer) in [(".text", &first), (".debug_line", &debug)] {
        for _ in 0..100 {
            let again = gateway.get(&format!("/buildid/{id}/section/{name}"));
            assert!(again.status == 200 && again.body == answer.body && etag(&again) == etag(answer), "{name}");
        }
    }
    // Absent, without unpacking a program for DWARF that its debuginfo does not have.
    for _ in 0..2 {
        assert_eq!(gateway.get(&format!("/buildid/{id}/section/.gdb_index")).status, 404);
    }
    assert_eq!(extractions(), 2.0);
}

#[test]
fn a_file_of_another_format_has_no_sections() {
    let rpms = tempfile::tempdir().unwrap();
    // As a compressed kernel module: its build-id link names what is inside.
    let made = rpmbuild::of_bytes(rpms.path(), "module", b"\xfd7zXZ\0 no more than that", &rpmbuild::build_id());
    let index = Sqlite::with_packages(&[rpms.path()]);
    let gateway = RunningGateway::start(&index.url());
    for name in [".text", ".debug_info", ".modinfo"] {
        let answer = gateway.get(&format!("/buildid/{}/section/{name}", made.build_id));
        assert_eq!(answer.status, 404, "{name}: {}", gateway.log());
    }
}

#[test]
fn a_client_gets_sections_and_never_the_whole_file() {
    let (_index, gateway) = gateway(&["fedora-compat"]);
    let id = build_id("fedora-compat", DEBUG);
    let client = DebuginfodClient::new(&gateway.url());
    let debug = member("fedora-compat", "bidtest-debuginfo-1.2~rc1-4.fc99.x86_64", DEBUG);
    let main = member("fedora-compat", &format!("{BIDTEST}.x86_64"), "/usr/bin/b");
    for (name, elf) in [(".debug_line", &debug), (".debug_info", &debug), (".text", &main)] {
        assert!(client.found(&["section", &id, name]) == section(elf, name), "{name}: other bytes");
    }
    for name in [".gdb_index", ".bss", ".nowhere"] {
        let output = client.find(&["section", &id, name]);
        assert!(!output.status.success(), "{name}");
    }
    let requests = |endpoint: &str, status: u16| {
        gateway.metric(&format!("gateway_requests_total{{endpoint=\"{endpoint}\",status=\"{status}\"}}"))
    };
    assert_eq!((requests("section", 200), requests("section", 404)), (3.0, 3.0));
    assert_eq!((requests("debuginfo", 200), requests("executable", 200)), (0.0, 0.0));
}
