//! What becomes of these rows when the real packages are imported.

use std::fs;

use compat_tests::darkserver::{Sqlite, import_ok};
use compat_tests::fixtures;

use super::*;

const SERVER: &str = "server-1.1-6.fc99.x86_64";

/// A dump of release 1.0 with a row of the server of fixtures, and one that came from a symbolic link.
fn server_dump(url: &str) -> String {
    let id = fixtures::build_id(&format!("server/{SERVER}.rpm"), "/usr/bin/server");
    let columns = "(id, elfname, instpath, build_id, rpm_name, distro, kojibuildid, kojitype, rpm_url)";
    format!(
        "INSERT INTO buildid_gnubuildid {columns} VALUES (1,'server','/usr/bin','{id}','{SERVER}','f99-build',99,\
         'primary','{url}/{SERVER}.rpm'),(2,'sh','/usr/bin','{BASH}','{SERVER}','f99-build',99,'primary','');\n"
    )
}

#[test]
fn a_real_package_replaces_its_rows_and_is_not_changed_by_them() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("old.sql");
    let packages = directory.path().join("packages");
    fs::create_dir(&packages).unwrap();
    fs::copy(fixtures::package("server", SERVER), packages.join(format!("{SERVER}.rpm"))).unwrap();
    fs::write(&path, server_dump("https://example.org//pub")).unwrap();
    let (index, other) = (Sqlite::empty(), Sqlite::empty());
    let from = path.to_str().unwrap();
    let show = |index: &Sqlite| -> Value {
        let shown = import_ok(&index.url(), &["show", SERVER, "--json"]);
        let shown: Value = serde_json::from_slice(&shown.stdout).unwrap();
        assert_eq!(shown["packages"].as_array().unwrap().len(), 1, "{shown}");
        shown["packages"][0].clone()
    };
    let dir = |index: &Sqlite| import_ok(&index.url(), &["dir", packages.to_str().unwrap(), "--store", "local"]);

    // Legacy first.
    import_ok(&index.url(), &["migrate"]);
    import_ok(&index.url(), &["store", "add", "pub", "--tier", "mirror", "--url", "http://example.org/pub"]);
    let (summary, _) = legacy(&index.url(), from, 0);
    assert_eq!((&summary["new"], &summary["places"]), (&json!(1), &json!(1)), "{summary}");
    let before = show(&index);
    assert_eq!((&before["state"], &before["distro"]), (&json!("legacy"), &json!("f99-build")));
    assert_eq!(before["places"][0]["url"], format!("http://example.org/pub/{SERVER}.rpm"));
    dir(&index);
    let after = show(&index);
    assert_eq!((&after["state"], &after["distro"]), (&json!("complete"), &json!("fc99")));
    assert_eq!(after["places"].as_array().unwrap().len(), 2, "the place stays: {after}");
    let files: Vec<&Value> = after["files"].as_array().unwrap().iter().filter(|file| file["claimed"] == true).collect();
    assert!(files.is_empty(), "{files:?}");

    // The package first.
    dir(&other);
    let before = show(&other);
    let (summary, _) = legacy(&other.url(), from, 0);
    assert_eq!(summary["new"], 0);
    let after = show(&other);
    for key in ["state", "distro", "files", "places"] {
        assert_eq!(after[key], before[key], "{key}");
    }
    let gateway = RunningGateway::start(&other.url());
    assert_eq!(get(&gateway, &format!("/buildids/{BASH}")), json!([]), "the row of a symbolic link is gone");
}
