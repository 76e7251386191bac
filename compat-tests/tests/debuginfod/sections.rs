//! `/section/NAME`.

use std::process::Command;

use compat_tests::process::run;

use crate::{BIDTEST, build_id, etag, gateway, member};

/// The bytes of a section, as binutils sees them.
fn section(elf: &[u8], name: &str) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let (file, out) = (folder.path().join("elf"), folder.path().join("section"));
    std::fs::write(&file, elf).unwrap();
    let mut command = Command::new("objcopy");
    command.arg("--dump-section").arg(format!("{name}={}", out.display())).arg(&file).arg("/dev/null");
    let output = run(&mut command, "binutils");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    std::fs::read(out).unwrap()
}

#[test]
fn sections_equal_those_that_binutils_cuts_out() {
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
