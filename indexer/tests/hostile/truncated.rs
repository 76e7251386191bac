//! Archives that are shorter than their headers state.

use std::fs;

use compat_tests::fixtures;

use crate::support::ImportFixture;

/// Families and names of packages that are truncated inside their payloads, which are not read.
const SHAPES: [(&str, &str); 4] = [
    ("v3", "ancient-1.0-1.x86_64"),
    ("dwarf-twins", "twin-full-1.0-1.fc99.x86_64"),
    ("v6", "sixpack-6.0-1.fc99.x86_64"),
    ("largefile", "largefile-6.0-1.fc99.x86_64"),
];

#[tokio::test]
async fn an_archive_that_is_still_being_copied_is_reported_and_imported_by_the_next_run() {
    for (family, name) in SHAPES {
        let fixture = ImportFixture::new();
        let whole = fs::read(fixtures::package(family, name)).unwrap();
        let file = fixture.packages().join(format!("{name}.rpm"));
        fs::write(&file, &whole[..whole.len() - 1]).unwrap();
        let output = fixture.import(&["--payload", "never"]);
        assert_eq!(output.code, Some(1), "{output:?}");
        output.counts(&[("found", 1), ("imported", 0), ("broken", 1)]);
        let wrong = format!(
            "archive cut off: expected {} bytes, as its header states, found {}\n",
            whole.len(),
            whole.len() - 1
        );
        assert!(output.stderr.ends_with(&wrong), "{output:?}");
        assert_eq!(fixture.index().await.packages_by_nvra(name).await.unwrap().read, []);

        fs::write(&file, &whole).unwrap();
        let output = fixture.import(&["--payload", "never"]);
        assert_eq!(output.code, Some(0), "{output:?}");
        output.counts(&[("imported", 1), ("broken", 0)]);
    }
}

#[tokio::test]
async fn a_truncated_archive_is_gone_until_it_is_whole_again() {
    let (family, name) = SHAPES[1];
    let fixture = ImportFixture::new();
    let whole = fs::read(fixtures::package(family, name)).unwrap();
    let file = fixture.packages().join(format!("{name}.rpm"));
    fs::write(&file, &whole).unwrap();
    fixture.import(&[]).counts(&[("imported", 1)]);
    fs::write(&file, &whole[..whole.len() / 2 + 2_000]).unwrap();
    fixture.import(&[]).counts(&[("broken", 1), ("gone", 1)]);
    let gone =
        async || fixture.index().await.packages_by_nvra(name).await.unwrap().read[0].locations[0].gone_at.is_some();
    assert!(gone().await);
    fs::write(&file, &whole).unwrap();
    fixture.import(&[]).counts(&[("broken", 0), ("imported", 0), ("gone", 0)]);
    assert!(!gone().await);
}

#[test]
fn an_archive_with_trailing_bytes_is_accepted_as_rpm_does() {
    let (family, name) = SHAPES[0];
    let fixture = ImportFixture::new();
    let mut bytes = fs::read(fixtures::package(family, name)).unwrap();
    bytes.extend_from_slice(b"left behind");
    fs::write(fixture.packages().join("a.rpm"), bytes).unwrap();
    fixture.import(&[]).counts(&[("imported", 1), ("broken", 0)]);
}
