//! Broken packages are reported, each once, and the rest is imported.

use std::fs;
use std::io::{Write as _, pipe};
use std::process::Stdio;

use compat_tests::fixtures;

use crate::support::ImportFixture;

#[tokio::test]
async fn broken_packages_are_reported_and_the_rest_is_imported() {
    let fixture = ImportFixture::with_fixtures();
    let sound = fixture.import(&[]).count("found");
    let expected = fixture.dump().await;
    let fixture = ImportFixture { database: fixture.other_database("second.db"), ..fixture };

    let broken = fixture.packages().join("broken");
    fs::create_dir(&broken).unwrap();
    let whole = fs::read(fixtures::family("fedora-compat").join("bidtest-1.2~rc1-4.fc99.x86_64.rpm")).unwrap();
    let mut names = Vec::new();
    let mut write = |name: &str, bytes: &[u8]| {
        fs::write(broken.join(name), bytes).unwrap();
        names.push(broken.join(name).display().to_string());
    };
    write("empty.rpm", b"");
    write("page.rpm", b"<html><body>404 Not Found</body></html>\n".repeat(10).as_slice());
    let garbage: Vec<u8> = (0_u32..40_000).map(|number| (number.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    write("garbage.rpm", &garbage);
    for length in [3, 95, 111, 112, 300, 5_000] {
        write(&format!("truncated-{length}.rpm"), &whole[..length]);
    }
    let mut flipped = whole.clone();
    flipped[7_000] ^= 0xff;
    write("flipped.rpm", &flipped);
    let broken_names = names.len() as u64;

    let output = fixture.import(&[]);
    assert_eq!(output.code, Some(1), "{output:?}");
    output.counts(&[("found", sound + broken_names), ("broken", broken_names), ("unreadable", 0), ("gone", 0)]);
    for name in &names {
        let lines: Vec<_> = output.stderr.lines().filter(|line| line.starts_with(&format!("{name}: "))).collect();
        let [line] = lines.as_slice() else { panic!("{name}: {lines:?}") };
        assert!(line.contains("expected") && line.contains("found"), "{line}");
    }
    assert_eq!(fixture.dump().await, expected);
    fixture.import(&[]).counts(&[("unchanged", sound), ("broken", broken_names), ("gone", 0)]);
}

#[tokio::test]
async fn a_package_with_a_broken_payload_is_open_until_a_whole_copy_is_imported() {
    let fixture = ImportFixture::new();
    let name = "oldtool-1.0-3.el6.x86_64";
    let whole = fs::read(fixtures::family("old-noclasses").join(format!("{name}.rpm"))).unwrap();
    let file = fixture.packages().join(format!("{name}.rpm"));
    let mut changed = whole.clone();
    changed[whole.len() - 500] ^= 0xff;
    fs::write(&file, changed).unwrap();
    let output = fixture.import(&[]);
    assert_eq!(output.code, Some(1), "{output:?}");
    output.counts(&[("found", 1), ("imported", 1), ("broken", 1)]);
    assert!(output.stderr.contains("payload") && output.stderr.contains("expected"), "{output:?}");
    assert!(fixture.index().await.packages_by_nvra(name).await.unwrap().read[0].open);

    fs::write(&file, &whole).unwrap();
    let output = fixture.import(&[]);
    assert_eq!(output.code, Some(0), "{output:?}");
    output.counts(&[("completed", 1), ("broken", 0)]);
    assert!(!fixture.index().await.packages_by_nvra(name).await.unwrap().read[0].open);
}

#[tokio::test]
async fn a_package_replaced_by_garbage_is_gone_from_there() {
    let fixture = ImportFixture::new();
    fixture.copy_family("v3");
    fixture.import(&[]);
    let file = fs::read_dir(fixture.packages().join("v3")).unwrap().next().unwrap().unwrap().path();
    fs::File::create(&file).unwrap().write_all(b"half an upload").unwrap();
    fixture.import(&[]).counts(&[("found", 1), ("broken", 1), ("gone", 1)]);
}

#[test]
fn a_hostile_name_is_one_line_of_the_report() {
    let fixture = ImportFixture::new();
    fs::write(fixture.packages().join("a\n\u{1b}[31mb.rpm"), b"nothing").unwrap();
    let output = fixture.run(&["dir", fixture.packages().to_str().unwrap(), "--quiet"]);
    assert_eq!(output.stderr.lines().count(), 1, "{output:?}");
    assert!(output.stderr.contains("a\\n\\u{1b}[31mb.rpm: "), "{output:?}");
}

#[tokio::test]
async fn a_closed_standard_error_does_not_stop_an_import() {
    let fixture = ImportFixture::new();
    fixture.copy_family("dwarf-twins");
    let sound = crate::support::nvras(&fixture.packages()).len() as u64;
    for number in 0..20 {
        fs::write(fixture.packages().join(format!("broken{number}.rpm")), "bad").unwrap();
    }
    let packages = fixture.packages();
    let run = |args: &[&str]| {
        // A pipe whose reader has gone, as after `2>&1 | head -1`.
        let (reader, writer) = pipe().unwrap();
        drop(reader);
        crate::support::run_output(&fixture.command(args).stderr(Stdio::from(writer)).output().unwrap())
    };
    let dir = ["dir", packages.to_str().unwrap(), "--json"];
    for (args, imported) in [(&dir[..], sound), (&["--wait", "5", "dir", dir[1], "--json"], 0)] {
        let output = run(args);
        assert_eq!(output.code, Some(1), "{output:?}");
        output.counts(&[("found", sound + 20), ("imported", imported), ("broken", 20)]);
    }
    // The words before and after an import, and the log.
    let other = fixture.other_database("other.db");
    assert_eq!(run(&["dir", dir[1], "--database", &other]).code, Some(1));
    assert_eq!(run(&["dir", "/nonexistent"]).code, Some(2));
    assert_eq!(run(&["store", "remove", "nobody"]).code, Some(2));
    assert_eq!(run(&["-r", "nowhere.rpm", "-d", "x"]).code, Some(2));
    assert_eq!(crate::support::open(&other).await.stores().await.unwrap().len(), 1);
}
