//! The same on MariaDB.

use std::fs;

use compat_tests::mariadb::MariaDb;

use crate::support::{ImportFixture, dump, many_packages, nvras, open, program};

#[tokio::test]
async fn mariadb_ends_with_the_index_of_sqlite() {
    let server = MariaDb::shared();
    server.create_database("fixtures");
    let fixture = ImportFixture::with_fixtures();
    let embedded = fixture.import(&[]);
    let expected = fixture.dump().await;
    let fixture = ImportFixture { database: server.url("fixtures"), ..fixture };

    // The schema of a server is made on request alone.
    let output = fixture.import(&[]);
    assert_eq!(output.code, Some(1), "{output:?}");
    assert!(output.stderr.contains("migrate"), "{output:?}");
    assert_eq!(fixture.run(&["migrate"]).code, Some(0));

    let output = fixture.import(&[]);
    assert_eq!(output.code, Some(0), "{output:?}");
    for what in ["found", "imported", "artifacts"] {
        assert_eq!(output.count(what), embedded.count(what), "{what}");
    }
    assert_eq!(fixture.dump().await, expected);
    fixture.import(&[]).counts(&[("unchanged", output.count("found")), ("gone", 0)]);
    fs::remove_dir_all(fixture.packages().join("v6")).unwrap();
    fixture.import(&[]).counts(&[("gone", 1)]);
    fixture.run(&["dir", fixture.packages().join("server").to_str().unwrap()]).counts(&[("gone", 0), ("imported", 0)]);
}

#[tokio::test]
async fn importers_at_once_on_mariadb_also_when_killed_end_with_one_index() {
    let server = MariaDb::shared();
    let fixture = ImportFixture::new();
    many_packages(&fixture.packages(), 400);
    fixture.import(&[]).counts(&[("imported", 400)]);
    let expected = fixture.dump().await;
    server.create_database("parallel");
    let fixture = ImportFixture { database: server.url("parallel"), ..fixture };
    assert_eq!(fixture.run(&["migrate"]).code, Some(0));
    let directory = fixture.packages();
    let start = || fixture.command(&["dir", directory.to_str().unwrap(), "--quiet"]).spawn().unwrap();
    let mut killed = start();
    let others = [start(), start()];
    std::thread::sleep(std::time::Duration::from_millis(100));
    killed.kill().unwrap();
    killed.wait().unwrap();
    for mut importer in others {
        assert!(importer.wait().unwrap().success());
    }
    assert_eq!(dump(&open(&fixture.database).await, &nvras(&directory)).await, expected);
    fixture.import(&[]).counts(&[("unchanged", 400), ("gone", 0)]);
}

#[tokio::test]
async fn the_originals_form_uses_the_database_of_the_originals_file() {
    let server = MariaDb::shared();
    server.create_database("darkserver");
    server.create_user("darkwriter", "100%sure", "all on darkserver.*");
    let fixture = ImportFixture { database: server.url("darkserver"), ..ImportFixture::new() };
    assert_eq!(fixture.run(&["migrate"]).code, Some(0));
    fixture.copy_family("dwarf-twins");
    let etc = tempfile::tempdir().unwrap();
    let settings = format!(
        "[darkserver]\nhost=127.0.0.1\nport={}\nuser=darkwriter\npassword=100%%sure\ndatabase=darkserver\n",
        server.port()
    );
    fs::write(etc.path().join("darkserver.conf"), settings).unwrap();
    let rpm = fixture.packages().join("dwarf-twins/twin-full-1.0-1.fc99.x86_64.rpm");
    let output =
        program().env("DARKSERVER_ETC", etc.path()).arg("-r").arg(&rpm).args(["-d", "fedora-99"]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let packages = fixture.index().await.packages_by_nvra("twin-full-1.0-1.fc99.x86_64").await.unwrap().read;
    assert_eq!(packages[0].distro, "fedora-99");
}
