//! What `dir` leaves out and what it follows, beside elfutils' options of that kind.

use std::fs;
use std::os::unix::fs::symlink;

use compat_tests::darkserver::{RunningGateway, Sqlite, import_ok};
use compat_tests::fixtures;

use super::import;

const FILE: &str = "/usr/bin/server";

/// The path of a gateway for the program in a release of the family `server`, and the package's file name.
fn server(release: u8) -> (String, String) {
    let name = format!("server-1.1-{release}.fc99.x86_64.rpm");
    (format!("/buildid/{}/executable", fixtures::build_id(&format!("server/{name}"), FILE)), name)
}

#[test]
fn globs_leave_out_and_re_admit() {
    let directory = tempfile::tempdir().unwrap();
    for (release, below) in [(5, "os"), (6, "old"), (7, "old/kept")] {
        let name = server(release).1;
        fs::create_dir_all(directory.path().join(below)).unwrap();
        fs::copy(fixtures::rpm(&format!("server/{name}")), directory.path().join(below).join(name)).unwrap();
    }
    let index = Sqlite::empty();
    let counts = import(&index, &directory, &["--exclude", "/old/*", "--include", "/old/kept/"]);
    assert_eq!((&counts["found"], &counts["excluded"]), (&2.into(), &1.into()), "{counts}");
    let gateway = RunningGateway::start(&index.url());
    let statuses = [5, 6, 7].map(|release| gateway.get(&server(release).0).status);
    assert_eq!(statuses, [200, 404, 200]);
}

#[test]
fn links_to_directories_are_followed_within_the_store() {
    let directory = tempfile::tempdir().unwrap();
    let name = server(5).1;
    for below in ["releases/40", "current"] {
        fs::create_dir_all(directory.path().join(below)).unwrap();
    }
    fs::copy(fixtures::rpm(&format!("server/{name}")), directory.path().join("releases/40").join(&name)).unwrap();
    // An absolute link, which a gateway could not open below the store's directory.
    symlink(directory.path().join("releases/40"), directory.path().join("current/latest")).unwrap();
    symlink("../..", directory.path().join("releases/40/circle")).unwrap();
    symlink("/usr/bin", directory.path().join("current/out")).unwrap();
    let index = Sqlite::empty();
    let (root, current) = (directory.path().to_str().unwrap(), directory.path().join("current"));
    import_ok(&index.url(), &["store", "add", "all", "--tier", "local", "--path", root]);
    let output = import_ok(&index.url(), &["dir", current.to_str().unwrap(), "--follow-links", "--formats", "rpm"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        said.contains(
            "current/out: leads out of the store's directory and is not followed: import it with `dir /usr/bin`"
        ),
        "{said}"
    );
    assert!(said.contains("1 archive found") && said.contains("1 link to other directories"), "{said}");
    let gateway = RunningGateway::start(&index.url());
    let answer = gateway.get(&server(5).0);
    assert!(answer.status == 200 && answer.body == fixtures::member(&fixtures::rpm(&format!("server/{name}")), FILE));
}
