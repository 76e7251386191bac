//! The same on MariaDB.

use std::fs;

use compat_tests::mariadb::MariaDb;

use crate::support::{Place, dump, many_packages, nvras, open, program};

#[tokio::test]
async fn mariadb_ends_with_the_index_of_sqlite() {
    let server = MariaDb::shared();
    server.create_database("fixtures");
    let place = Place::with_fixtures();
    let embedded = place.import(&[]);
    let expected = place.dump().await;
    let place = Place { database: server.url("fixtures"), ..place };

    // The schema of a server is made on request alone.
    let said = place.import(&[]);
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.stderr.contains("migrate"), "{said:?}");
    assert_eq!(place.run(&["migrate"]).code, Some(0));

    let said = place.import(&[]);
    assert_eq!(said.code, Some(0), "{said:?}");
    for what in ["found", "imported", "artifacts"] {
        assert_eq!(said.count(what), embedded.count(what), "{what}");
    }
    assert_eq!(place.dump().await, expected);
    place.import(&[]).counts(&[("unchanged", said.count("found")), ("gone", 0)]);
    fs::remove_dir_all(place.packages().join("v6")).unwrap();
    place.import(&[]).counts(&[("gone", 1)]);
    place.run(&["dir", place.packages().join("server").to_str().unwrap()]).counts(&[("gone", 0), ("imported", 0)]);
}

#[tokio::test]
async fn importers_at_once_on_mariadb_also_when_killed_end_with_one_index() {
    let server = MariaDb::shared();
    let place = Place::new();
    many_packages(&place.packages(), 400);
    place.import(&[]).counts(&[("imported", 400)]);
    let expected = place.dump().await;
    server.create_database("parallel");
    let place = Place { database: server.url("parallel"), ..place };
    assert_eq!(place.run(&["migrate"]).code, Some(0));
    let folder = place.packages();
    let start = || place.command(&["dir", folder.to_str().unwrap(), "--quiet"]).spawn().unwrap();
    let mut killed = start();
    let others = [start(), start()];
    std::thread::sleep(std::time::Duration::from_millis(100));
    killed.kill().unwrap();
    killed.wait().unwrap();
    for mut importer in others {
        assert!(importer.wait().unwrap().success());
    }
    assert_eq!(dump(&open(&place.database).await, &nvras(&folder)).await, expected);
    place.import(&[]).counts(&[("unchanged", 400), ("gone", 0)]);
}

#[tokio::test]
async fn the_originals_form_takes_its_database_from_the_originals_file() {
    let server = MariaDb::shared();
    server.create_database("darkserver");
    server.create_user("darkwriter", "100%sure", "all on darkserver.*");
    let place = Place { database: server.url("darkserver"), ..Place::new() };
    assert_eq!(place.run(&["migrate"]).code, Some(0));
    place.copy_family("dwarf-twins");
    let etc = tempfile::tempdir().unwrap();
    let settings = format!(
        "[darkserver]\nhost=127.0.0.1\nport={}\nuser=darkwriter\npassword=100%%sure\ndatabase=darkserver\n",
        server.port()
    );
    fs::write(etc.path().join("darkserver.conf"), settings).unwrap();
    let rpm = place.packages().join("dwarf-twins/twin-full-1.0-1.fc99.x86_64.rpm");
    let output =
        program().env("DARKSERVER_ETC", etc.path()).arg("-r").arg(&rpm).args(["-d", "fedora-99"]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let packages = place.index().await.packages_by_nvra("twin-full-1.0-1.fc99.x86_64").await.unwrap();
    assert_eq!(packages[0].distro, "fedora-99");
}
