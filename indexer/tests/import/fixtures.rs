//! The index equals what the real tools read from the payloads.

use std::collections::BTreeSet;

use compat_tests::fixtures;

use crate::support::ImportFixture;

/// The families with packages whose header cannot say everything, and how many these are: `nobid` in bidtest and the
/// libraries without link in a MIME-typed v6 package, everything in el6 packages and in those of format 3.
const OPEN: [(&str, u64); 7] = [
    ("fedora-alldebug", 1),
    ("fedora-compat", 1),
    ("fedora-none", 1),
    ("fedora-separate", 1),
    ("old-noclasses", 2),
    ("v3", 1),
    ("v6", 1),
];

#[tokio::test]
async fn every_family_is_indexed_as_the_real_tools_read_it() {
    for family in fixtures::families() {
        let fixture = ImportFixture::new();
        fixture.copy_family(&family);
        let output = fixture.import(&[]);
        assert_eq!(output.code, Some(0), "{family}: {output:?}");
        let open = OPEN.iter().find(|(name, _)| *name == family).map_or(0, |(_, open)| *open);
        let rpms = fixtures::rpms(&family);
        output.counts(&[
            ("found", rpms.len() as u64),
            ("imported", rpms.len() as u64),
            ("payloads_read", open),
            ("broken", 0),
        ]);

        let index = fixture.index().await;
        let mut found = BTreeSet::new();
        for rpm in &rpms {
            let name = rpm.file_name().unwrap().to_str().unwrap();
            let nvra = name.strip_suffix(".rpm").unwrap();
            let packages = index.packages_by_nvra(nvra).await.unwrap().read;
            let [package] = packages.as_slice() else { panic!("{nvra}: {packages:?}") };
            assert!(!package.open, "{nvra}");
            assert_eq!(package.locations.len(), 1, "{nvra}");
            assert_eq!(package.locations[0].path, format!("{family}/{name}"));
            assert_eq!(package.locations[0].size, Some(rpm.metadata().unwrap().len()));
            for record in index.records_by_nvra(nvra).await.unwrap().records {
                found.insert((format!("{family}/{name}"), record.artifact.build_id.to_string(), record.artifact.path));
            }
        }
        let truth: BTreeSet<_> =
            fixtures::truth(&family).into_iter().map(|row| (row.rpm, row.build_id, row.path)).collect();
        assert_eq!(found, truth, "{family}");
    }
}

#[tokio::test]
async fn reading_every_payload_finds_the_same_files() {
    let fixture = ImportFixture::with_fixtures();
    let output = fixture.import(&["--payload", "always"]);
    assert_eq!(output.code, Some(0), "{output:?}");
    assert!(output.count("payloads_read") >= 30, "{output:?}");
    let index = fixture.index().await;
    for family in fixtures::families() {
        for rpm in fixtures::rpms(&family) {
            let nvra = rpm.file_stem().unwrap().to_str().unwrap().to_owned();
            let records = index.records_by_nvra(&nvra).await.unwrap().records;
            let found: BTreeSet<_> = records
                .iter()
                .map(|record| (record.artifact.build_id.to_string(), record.artifact.path.clone()))
                .collect();
            let truth = fixtures::truth(&family).into_iter().filter(|row| row.nvra() == nvra);
            assert_eq!(found, truth.map(|row| (row.build_id, row.path)).collect(), "{family} {nvra}");
        }
    }
}

#[tokio::test]
async fn open_packages_are_completed_later_with_the_same_result() {
    let fixture = ImportFixture::with_fixtures();
    let output = fixture.import(&["--payload", "never"]);
    output.counts(&[("payloads_read", 0), ("broken", 0)]);
    let imported = output.count("imported");

    // Open packages are no reason to read anything as long as payloads are not wanted.
    fixture.import(&["--payload", "never"]).counts(&[("unchanged", output.count("found")), ("header_bytes_read", 0)]);

    let output = fixture.import(&[]);
    let open: u64 = OPEN.iter().map(|(_, open)| open).sum();
    // Two of the families share their main package.
    output.counts(&[("imported", 0), ("completed", open - 2), ("broken", 0)]);
    assert!((open - 2..=open).contains(&output.count("payloads_read")), "{output:?}");
    assert_eq!(output.code, Some(0));

    let at_once = ImportFixture { database: fixture.other_database("at-once.db"), ..fixture };
    at_once.import(&[]).counts(&[("imported", imported)]);
    let later = ImportFixture { database: at_once.other_database("index.db"), directory: at_once.directory };
    let dump = later.dump().await;
    assert_eq!(dump, ImportFixture { database: later.other_database("at-once.db"), ..later }.dump().await);
    assert!(!dump.contains("open true"));
}
