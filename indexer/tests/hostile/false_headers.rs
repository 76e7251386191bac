//! Valid packages with false statements: the index has what their headers state, and distinguishes the packages.

use std::fs;
use std::sync::Arc;

use artifact::BuildId;
use compat_tests::mariadb::MariaDb;
use sql::Record;

use crate::builders::{Listed, Made, elf, file, newc};
use crate::limits;
use crate::support::{ImportFixture, open};

fn id(bytes: [u8; 20]) -> BuildId {
    BuildId::from_bytes(&bytes).unwrap()
}

/// A program whose class names one build-id and whose note another.
fn liar(name: &str) -> Made {
    let elf = elf([0xbb; 20]);
    let class = format!("ELF 64-bit LSB shared object, x86-64, BuildID[sha1]={}, stripped", id([0xaa; 20]));
    let listed = Listed { class, ..file("/usr/bin/a", elf.len()) };
    Made::new(name, &[listed], newc(&[("./usr/bin/a", &elf)]))
}

#[tokio::test]
async fn a_class_with_a_wrong_build_id_is_indexed_until_the_payload_is_read() {
    for (payload, right, wrong) in [("open", [0xaa; 20], [0xbb; 20]), ("always", [0xbb; 20], [0xaa; 20])] {
        let fixture = ImportFixture::new();
        fs::write(fixture.packages().join("liar.rpm"), liar("liar").bytes()).unwrap();
        limits::import(&fixture, &["--payload", payload]).counts(&[("imported", 1), ("broken", 0)]);
        let index = fixture.index().await;
        assert_eq!(index.records_by_build_id(&[id(right)]).await.unwrap().records.len(), 1, "{payload}");
        assert_eq!(index.records_by_build_id(&[id(wrong)]).await.unwrap().records.len(), 0, "{payload}");
    }
}

/// Returns a fixture on SQLite and one on MariaDB, each with the same packages, and the server of the latter.
fn on_both(database: &str, fill: impl Fn(&ImportFixture)) -> (Arc<MariaDb>, [ImportFixture; 2]) {
    let server = MariaDb::shared();
    server.create_database(database);
    let fixtures = [ImportFixture::new(), ImportFixture { database: server.url(database), ..ImportFixture::new() }];
    assert_eq!(fixtures[1].run(&["migrate"]).code, Some(0));
    fixtures.iter().for_each(fill);
    (server, fixtures)
}

#[tokio::test]
async fn two_packages_of_one_nevra_are_two() {
    let program = |byte| {
        let elf = elf([byte; 20]);
        Made::new("twin", &[file("/usr/bin/a", elf.len())], newc(&[("./usr/bin/a", &elf)]))
    };
    // Their headers differ, in a file that only one of them lists.
    let mut second = program(2);
    second.files.push(Listed { mode: 0o040_755, ..file("/usr/share/twin", 0) });
    let (_server, fixtures) = on_both("one_nevra", |fixture| {
        fs::write(fixture.packages().join("a.rpm"), program(1).bytes()).unwrap();
        fs::write(fixture.packages().join("b.rpm"), second.bytes()).unwrap();
    });
    for fixture in fixtures {
        limits::import(&fixture, &[]).counts(&[("imported", 2), ("broken", 0)]);
        let index = open(&fixture.database).await;
        let packages = index.packages_by_nvra("twin-1.0-1.x86_64").await.unwrap().read;
        assert_eq!(packages.len(), 2);
        for (byte, path) in [(1, "a.rpm"), (2, "b.rpm")] {
            let records = index.records_by_build_id(&[id([byte; 20])]).await.unwrap().records;
            let [Record { package, .. }] = records.as_slice() else { panic!("{byte}: {records:?}") };
            let paths: Vec<_> = package.locations.iter().map(|at| at.path.as_str()).collect();
            assert_eq!(paths, [path]);
        }
    }
}

#[tokio::test]
async fn a_build_id_in_a_thousand_packages_is_found_in_each_once_and_in_order() {
    const PACKAGES: usize = 1_000;
    let (_server, fixtures) = on_both("one_build_id", |fixture| {
        for number in 0..PACKAGES {
            let name = format!("liar{number:04}");
            fs::write(fixture.packages().join(format!("{name}.rpm")), liar(&name).bytes()).unwrap();
        }
    });
    for fixture in fixtures {
        limits::import(&fixture, &[]).counts(&[("imported", PACKAGES as u64), ("broken", 0)]);
        let index = open(&fixture.database).await;
        let records = index.records_by_build_id(&[id([0xaa; 20]), id([0xaa; 20])]).await.unwrap().records;
        assert_eq!(records.len(), PACKAGES);
        assert!(records.windows(2).all(|pair| pair[0].package.id < pair[1].package.id));
        assert_eq!(index.records_by_build_id(&[id([0xaa; 20])]).await.unwrap().records, records);
    }
}
