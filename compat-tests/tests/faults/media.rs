//! SQLite indexes in directories that the gateway's user cannot write to: on read-only media, in a read-only mount of a
//! directory that others write to, in another user's directory.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;

use compat_tests::darkserver::{RunningGateway, Sqlite, import_ok};
use compat_tests::unshare::unshare;
use compat_tests::{fixtures, wait_until};
use rustix::process::{geteuid, getgid};

use crate::{ExpectedFile, answer_or_reset};

const UNKNOWN: &str = "/buildid/00000000000000000000000000000000000000aa/debuginfo";
/// Records expire soon.
const SHORT: &str = "[index]\nfound_ttl = \"200ms\"\nabsent_ttl = \"100ms\"\n";
/// The owner of the index if the tests run as root.
const OTHER: u32 = 61_234;

/// Starts a gateway on `database` behind a shell script in a mount namespace of its own; `$1` in it is `directory`.
fn gateway(database: &str, script: &str, directory: &Path) -> RunningGateway {
    let script = format!("{script} && shift && exec \"$@\"");
    let mut through = unshare("--mount");
    through.extend(["sh", "-c", &script, "sh", directory.to_str().unwrap()]);
    RunningGateway::start_through(&through, &[("DARKSERVER_DATABASE", database)], SHORT, &[])
}

/// The copy of an index, and perhaps of the log beside it, in a file system of its own that is mounted read-only at
/// `directory`.
fn media(index: &Path, directory: &Path, with_log: bool) -> RunningGateway {
    let index = index.display();
    let log = if with_log { format!("cp {index}-wal \"$1/index.db-wal\"") } else { "true".into() };
    let copy = format!("cp {index} \"$1/index.db\" && {log}");
    let script = format!("mount -t tmpfs tmpfs \"$1\" && {copy} && mount -o remount,ro \"$1\"");
    gateway(&format!("sqlite:{}", directory.join("index.db").display()), &script, directory)
}

#[test]
fn a_finished_index_on_read_only_media_is_answered_from() {
    let index = Sqlite::with_packages(&[&fixtures::family("server")]);
    assert_eq!(
        index.path().with_extension("db-wal").metadata().map_or(0, |log| log.len()),
        0,
        "an import merges its log"
    );
    let directory = tempfile::tempdir().unwrap();
    let gateway = media(&index.path(), directory.path(), false);
    ExpectedFile::server(5).ask(gateway.port).expect("an answer");
    assert_eq!(answer_or_reset(gateway.port, UNKNOWN).unwrap().status, 404);
    assert_eq!(gateway.metric("gateway_index_up"), 1.0);
}

#[test]
fn an_index_on_read_only_media_is_not_read_without_its_unmerged_log() {
    let index = Sqlite::with_packages(&[&fixtures::family("server")]);
    fs::write(index.path().with_extension("db-wal"), "not merged").unwrap();
    let directory = tempfile::tempdir().unwrap();
    let gateway = media(&index.path(), directory.path(), true);
    wait_until("a reason", || gateway.log().contains("run `darkserver-import migrate` where both can be written"));
    assert!(answer_or_reset(gateway.port, UNKNOWN).is_none());
}

/// As a read-only volume of a container: others may write to it.
#[test]
fn an_index_in_a_read_only_mount_needs_the_option_immutable() {
    let index = Sqlite::with_packages(&[&fixtures::family("server")]);
    let directory = index.path().parent().unwrap().to_owned();
    for ending in ["db-wal", "db-shm"] {
        // It may exist, and is empty.
        let _ = fs::remove_file(index.path().with_extension(ending));
    }
    let mount = "mount --bind \"$1\" \"$1\" && mount -o remount,bind,ro \"$1\"";
    let refused = gateway(&index.url(), mount, &directory);
    assert!(answer_or_reset(refused.port, UNKNOWN).is_none());
    wait_until("both remedies", || {
        let log = refused.log();
        log.contains("let the gateway's user or group write to") && log.contains("darkserver.db?immutable=1")
    });
    drop(refused);
    let immutable = gateway(&format!("{}?immutable=1", index.url()), mount, &directory);
    ExpectedFile::server(5).ask(immutable.port).expect("an answer");
    assert_eq!(answer_or_reset(immutable.port, UNKNOWN).unwrap().status, 404);
}

/// Another user owns the directory and imports while the gateway answers. The gateway never assumes that the index is
/// immutable.
#[test]
fn another_user_imports_while_a_gateway_answers() {
    let packages = tempfile::tempdir().unwrap();
    let put = |release: u8| {
        let name = format!("server-1.1-{release}.fc99.x86_64.rpm");
        fs::copy(fixtures::rpm(&format!("server/{name}")), packages.path().join(name)).unwrap();
    };
    put(5);
    let index = Sqlite::with_packages(&[packages.path()]);
    let directory = index.path().parent().unwrap().to_owned();
    for ending in ["db-wal", "db-shm"] {
        let _ = fs::remove_file(index.path().with_extension(ending));
    }
    let is_root = geteuid().is_root();
    let through: &[&str] = if is_root {
        // Root without root's rights: it may not write to another user's directory.
        for path in [&directory, &index.path()] {
            chown(path, Some(OTHER), Some(OTHER)).unwrap();
        }
        fs::set_permissions(&directory, fs::Permissions::from_mode(0o755)).unwrap();
        &["setpriv", "--bounding-set=-all", "--inh-caps=-all"]
    } else {
        fs::set_permissions(&directory, fs::Permissions::from_mode(0o555)).unwrap();
        &["env"]
    };
    let gateway = RunningGateway::start_through(through, &[("DARKSERVER_DATABASE", &index.url())], SHORT, &[]);
    assert!(answer_or_reset(gateway.port, UNKNOWN).is_none());
    wait_until("both remedies", || {
        gateway.log().contains("?immutable=1") && gateway.log().contains("user or group write to")
    });

    // The first remedy, while the gateway runs.
    if is_root {
        chown(&directory, None, Some(getgid().as_raw())).unwrap();
        chown(index.path(), None, Some(getgid().as_raw())).unwrap();
    }
    fs::set_permissions(index.path(), fs::Permissions::from_mode(0o664)).unwrap();
    fs::set_permissions(&directory, fs::Permissions::from_mode(0o2775)).unwrap();
    ExpectedFile::server(5).recovers(&gateway);
    assert_eq!(answer_or_reset(gateway.port, &ExpectedFile::server(6).path).unwrap().status, 404);
    for release in [6, 7] {
        put(release);
        import_ok(&index.url(), &["dir", packages.path().to_str().unwrap()]);
        wait_until("the new package", || {
            answer_or_reset(gateway.port, &ExpectedFile::server(release).path)
                .is_some_and(|answer| answer.status == 200)
        });
        ExpectedFile::server(5).ask(gateway.port).expect("an answer");
        ExpectedFile::server(release).ask(gateway.port).expect("an answer");
    }
}

#[test]
fn migrate_and_store_add_leave_no_log_that_is_not_merged() {
    let index = Sqlite::empty();
    let unmerged = || index.path().with_extension("db-wal").metadata().map_or(0, |log| log.len());
    import_ok(&index.url(), &["migrate"]);
    assert_eq!(unmerged(), 0, "migrate");
    import_ok(&index.url(), &["store", "add", "m", "--tier", "mirror", "--url", "https://mirror.example.org"]);
    assert_eq!(unmerged(), 0, "store add");
    import_ok(&index.url(), &["store", "remove", "m"]);
    assert_eq!(unmerged(), 0, "store remove");
}
