//! Line tables as compilers and `objcopy` make them, and as nobody should.

#![expect(clippy::unwrap_used, reason = "helpers of tests: a failure here is a failed test, and says where")]

use std::fs;
use std::io::Cursor;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use artifact::elf::{Budget, alternate, names_source, section};
use compat_tests::fixtures;
use compat_tests::process::run;

fn generous() -> Budget {
    Budget { bytes: 1 << 30, until: Instant::now() + Duration::from_secs(20) }
}

fn names(elf: &[u8], source: &str) -> bool {
    names_source(&mut Cursor::new(elf), source, generous()).unwrap()
}

fn succeed(command: &mut Command, package: &str) {
    let output = run(command, package);
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// A shared object that was compiled in `/build/obj` of `/build/src/main.c`, which includes `/usr/include/deep/in/header.h`.
fn compiled(folder: &Path, options: &[&str]) -> Vec<u8> {
    for (file, text) in [
        ("build/src/main.c", "#include <header.h>\nint twice(int a) { return once(a) + once(a + 1); }\n"),
        ("usr/include/deep/in/header.h", "static inline int once(int a) { volatile int b = a; return b; }\n"),
    ] {
        fs::create_dir_all(folder.join(file).parent().unwrap()).unwrap();
        fs::write(folder.join(file), text).unwrap();
    }
    for made in ["build/obj", "usr/include/deep/x"] {
        fs::create_dir_all(folder.join(made)).unwrap();
    }
    let mut command = Command::new("cc");
    command.current_dir(folder.join("build/obj")).args(["-O1", "-shared", "-nostdlib", "-fPIC", "-o", "out"]);
    command.arg(format!("-fdebug-prefix-map={}=", folder.display()));
    command.arg("-isystem").arg(folder.join("usr/include/deep/x/../in")).arg("../src/main.c").args(options);
    succeed(&mut command, "gcc");
    fs::read(folder.join("build/obj/out")).unwrap()
}

/// A file with other contents of one section.
fn with_section(elf: &[u8], name: &str, contents: &[u8], compression: &str) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let (file, bytes) = (folder.path().join("elf"), folder.path().join("contents"));
    fs::write(&file, elf).unwrap();
    fs::write(&bytes, contents).unwrap();
    // One after the other: together objcopy says that it compressed, and did not.
    let update = format!("{name}={}", bytes.display());
    for options in [&["--update-section", &update][..], &[&format!("--compress-debug-sections={compression}")]] {
        succeed(Command::new("objcopy").args(options).arg(&file), "binutils");
    }
    fs::read(file).unwrap()
}

#[test]
fn headers_are_named_in_every_version_and_compression() {
    for dwarf in [&["-gdwarf-2"][..], &["-gdwarf-3"], &["-gdwarf-4"], &["-gdwarf-5"], &["-gdwarf-5", "-gdwarf64"]] {
        for compression in ["none", "zlib", "zstd"] {
            let folder = tempfile::tempdir().unwrap();
            let elf = compiled(folder.path(), dwarf);
            let line = section(&mut Cursor::new(&elf), ".debug_line").unwrap().unwrap();
            let contents = elf[usize::try_from(line.start).unwrap()..usize::try_from(line.end).unwrap()].to_vec();
            // The same tables many times, so that there is something to compress.
            let elf = with_section(&elf, ".debug_line", &contents.repeat(20), compression);
            let about = format!("{dwarf:?} {compression}");
            assert!(names(&elf, "/usr/include/deep/in/header.h"), "{about}");
            // Where the compiler ran is in the tables since version 5.
            assert_eq!(names(&elf, "/build/src/main.c"), dwarf[0] == "-gdwarf-5", "{about}");
            for other in
                ["/usr/include/deep/in/other.h", "/usr/include/in/header.h", "/header.h", "/usr/include/deep/in", "/etc/passwd"]
            {
                assert!(!names(&elf, other), "{about}: {other}");
            }
        }
    }
}

#[test]
fn files_of_the_fixtures_name_their_sources_and_the_file_that_dwz_made() {
    for (family, debuginfo, source) in [
        (
            "fedora-compat",
            "/usr/lib/debug/usr/bin/b-1.2~rc1-4.fc99.x86_64.debug",
            "/usr/src/debug/bidtest-1.2~rc1-4.fc99.x86_64/include/shapes.h",
        ),
        (
            "server",
            "/usr/lib/debug/usr/bin/server-1.1-6.fc99.x86_64.debug",
            "/usr/src/debug/server-1.1-6.fc99.x86_64/worker/crash.c",
        ),
    ] {
        let (_, elf) = fixtures::truth_with_bytes(family).into_iter().find(|(row, _)| row.path == debuginfo).unwrap();
        assert!(names(&elf, source), "{family}");
        assert!(!names(&elf, &source.replace("/usr/src", "/src")), "{family}");
        let dwz = fixtures::truth(family).into_iter().find(|row| row.path.contains("/.dwz/"));
        let found = alternate(&mut Cursor::new(&elf)).unwrap().map(|build_id| build_id.to_string());
        assert_eq!(found, dwz.map(|row| row.build_id), "{family}");
    }
}

#[test]
fn what_is_broken_names_nothing_and_costs_no_more_than_its_budget() {
    let folder = tempfile::tempdir().unwrap();
    let elf = compiled(folder.path(), &["-gdwarf-5"]);
    let line = section(&mut Cursor::new(&elf), ".debug_line").unwrap().unwrap();
    let strings = section(&mut Cursor::new(&elf), ".debug_line_str").unwrap().unwrap();
    let mut changed = elf.clone();
    for range in [line, strings] {
        for at in usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap() {
            for new in [0, 0xff, elf[at] ^ 1, elf[at] ^ 0x80] {
                changed[at] = new;
                // Nothing of it is taken for another name.
                assert!(!names(&changed, "/etc/passwd"));
            }
            changed[at] = elf[at];
        }
    }
    for end in 0..elf.len() {
        let cut = names_source(&mut Cursor::new(&elf[..end]), "/usr/include/deep/in/header.h", generous());
        assert!(cut.is_err() || !cut.unwrap(), "{end}");
    }
    let short = Budget { bytes: 20, ..generous() };
    assert!(!names_source(&mut Cursor::new(&elf), "/usr/include/deep/in/header.h", short).unwrap());
    let late = Budget { until: Instant::now(), ..generous() };
    assert!(!names_source(&mut Cursor::new(&elf), "/usr/include/deep/in/header.h", late).unwrap());
}

#[test]
fn bombs_end_with_the_budget() {
    let folder = tempfile::tempdir().unwrap();
    let elf = compiled(folder.path(), &["-gdwarf-5"]);
    // Units without anything; a unit of which the end never comes; a table with as many files as fit, all with one long name.
    let endless = [&0xffff_ffe0_u32.to_le_bytes()[..], &[5, 0, 8, 0, 10, 0, 0, 0]].concat();
    let mut table = vec![1, 1, 1, 0xfb, 14, 1];
    table.extend([1, 1, 0x1f, 1, 0, 0, 0, 0]);
    table.extend([1, 1, 0x1f, 0xff, 0xff, 0xff, 0x0f]);
    table.resize(500 << 10, 0);
    let mut many = Vec::new();
    for _ in 0..100 {
        many.extend((u32::try_from(table.len()).unwrap() + 8).to_le_bytes());
        many.extend([5, 0, 8, 0]);
        many.extend(u32::try_from(table.len()).unwrap().to_le_bytes());
        many.extend(&table);
    }
    let names_bomb = with_section(&elf, ".debug_line_str", &vec![b'/'; 40 << 20], "none");
    for (about, elf, contents) in [
        ("zeros", &elf, vec![0; 300 << 20]),
        ("endless", &elf, endless),
        ("many files", &elf, many.clone()),
        ("long names", &names_bomb, many),
    ] {
        let bomb = with_section(elf, ".debug_line", &contents, "zlib");
        let started = Instant::now();
        let budget = Budget { bytes: 1 << 30, until: started + Duration::from_secs(1) };
        assert!(!names_source(&mut Cursor::new(&bomb), "/usr/include/deep/in/header.h", budget).unwrap(), "{about}");
        // In a debug build, beside others.
        assert!(started.elapsed() < Duration::from_secs(5), "{about}: {:?}", started.elapsed());
        eprintln!("{about}: {} bytes, {:?}", bomb.len(), started.elapsed());
    }
}
