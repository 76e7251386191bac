//! SQLite indexes that the gateway's user cannot write beside: on read-only media, in a read-only mount of what others
//! write, in another user's directory.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;

use compat_tests::darkserver::{RunningGateway, Sqlite, import_ok};
use compat_tests::{fixtures, wait_until};
use rustix::process::{geteuid, getgid};

use crate::{Asked, decided};

const NOBODYS: &str = "/buildid/00000000000000000000000000000000000000aa/debuginfo";
/// What was found is asked for again soon.
const SHORT: &str = "[index]\nfound_ttl = \"200ms\"\nabsent_ttl = \"100ms\"\n";
/// The user whose the index is, where the tests run as root.
const OTHER: u32 = 61_234;

/// Starts a gateway on `database` behind a shell script in a mount namespace of its own; `$1` in it is `folder`.
fn gateway(database: &str, script: &str, folder: &Path) -> RunningGateway {
    let script = format!("{script} && shift && exec \"$@\"");
    let mut through = vec!["unshare", "--mount"];
    if !geteuid().is_root() {
        through.extend(["--user", "--map-root-user"]);
    }
    through.extend(["sh", "-c", &script, "sh", folder.to_str().unwrap()]);
    RunningGateway::start_through(&through, &[("DARKSERVER_DATABASE", database)], SHORT, &[])
}

/// The copy of an index, and perhaps of the log beside it, in a file system of its own that is mounted read-only at
/// `folder`.
fn media(index: &Path, folder: &Path, with_log: bool) -> RunningGateway {
    let index = index.display();
    let log = if with_log { format!("cp {index}-wal \"$1/index.db-wal\"") } else { "true".into() };
    let copy = format!("cp {index} \"$1/index.db\" && {log}");
    let script = format!("mount -t tmpfs tmpfs \"$1\" && {copy} && mount -o remount,ro \"$1\"");
    gateway(&format!("sqlite:{}", folder.join("index.db").display()), &script, folder)
}

#[test]
fn a_finished_index_on_read_only_media_is_answered_from() {
    let index = Sqlite::with_packages(&[&fixtures::family("server")]);
    assert_eq!(
        index.path().with_extension("db-wal").metadata().map_or(0, |log| log.len()),
        0,
        "an import merges its log"
    );
    let folder = tempfile::tempdir().unwrap();
    let gateway = media(&index.path(), folder.path(), false);
    Asked::server(5).ask(gateway.port).expect("an answer");
    assert_eq!(decided(gateway.port, NOBODYS).unwrap().status, 404);
    assert_eq!(gateway.metric("gateway_index_up"), 1.0);
}

#[test]
fn an_index_on_read_only_media_whose_log_is_not_merged_is_not_believed_without_it() {
    let index = Sqlite::with_packages(&[&fixtures::family("server")]);
    fs::write(index.path().with_extension("db-wal"), "not merged").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let gateway = media(&index.path(), folder.path(), true);
    wait_until("a reason", || gateway.log().contains("run `darkserver-import migrate` where both can be written"));
    assert!(decided(gateway.port, NOBODYS).is_none());
}

/// As a container's read-only volume: others may write what is in it.
#[test]
fn an_index_in_a_read_only_mount_needs_a_promise_that_it_never_changes() {
    let index = Sqlite::with_packages(&[&fixtures::family("server")]);
    let folder = index.path().parent().unwrap().to_owned();
    for ending in ["db-wal", "db-shm"] {
        // It may be there, and is empty.
        let _ = fs::remove_file(index.path().with_extension(ending));
    }
    let mount = "mount --bind \"$1\" \"$1\" && mount -o remount,bind,ro \"$1\"";
    let refused = gateway(&index.url(), mount, &folder);
    assert!(decided(refused.port, NOBODYS).is_none());
    wait_until("both cures", || {
        let log = refused.log();
        log.contains("let the gateway's user or group write to") && log.contains("darkserver.db?immutable=1")
    });
    drop(refused);
    let promised = gateway(&format!("{}?immutable=1", index.url()), mount, &folder);
    Asked::server(5).ask(promised.port).expect("an answer");
    assert_eq!(decided(promised.port, NOBODYS).unwrap().status, 404);
}

/// The directory is another user's, who imports while the gateway answers: never does it take the index for one that
/// cannot change.
#[test]
fn another_user_imports_while_a_gateway_answers() {
    let packages = tempfile::tempdir().unwrap();
    let put = |release: u8| {
        let name = format!("server-1.1-{release}.fc99.x86_64.rpm");
        fs::copy(fixtures::rpm(&format!("server/{name}")), packages.path().join(name)).unwrap();
    };
    put(5);
    let index = Sqlite::with_packages(&[packages.path()]);
    let folder = index.path().parent().unwrap().to_owned();
    for ending in ["db-wal", "db-shm"] {
        let _ = fs::remove_file(index.path().with_extension(ending));
    }
    let is_root = geteuid().is_root();
    let through: &[&str] = if is_root {
        // Root without root's rights: it may not write to another user's directory.
        for path in [&folder, &index.path()] {
            chown(path, Some(OTHER), Some(OTHER)).unwrap();
        }
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).unwrap();
        &["setpriv", "--bounding-set=-all", "--inh-caps=-all"]
    } else {
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o555)).unwrap();
        &["env"]
    };
    let gateway = RunningGateway::start_through(through, &[("DARKSERVER_DATABASE", &index.url())], SHORT, &[]);
    assert!(decided(gateway.port, NOBODYS).is_none());
    wait_until("both cures", || {
        gateway.log().contains("?immutable=1") && gateway.log().contains("user or group write to")
    });

    // The first cure, while the gateway runs.
    if is_root {
        chown(&folder, None, Some(getgid().as_raw())).unwrap();
        chown(index.path(), None, Some(getgid().as_raw())).unwrap();
    }
    fs::set_permissions(index.path(), fs::Permissions::from_mode(0o664)).unwrap();
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o2775)).unwrap();
    Asked::server(5).recovers(&gateway);
    assert_eq!(decided(gateway.port, &Asked::server(6).path).unwrap().status, 404);
    for release in [6, 7] {
        put(release);
        import_ok(&index.url(), &["dir", packages.path().to_str().unwrap()]);
        wait_until("the new package", || {
            decided(gateway.port, &Asked::server(release).path).is_some_and(|answer| answer.status == 200)
        });
        Asked::server(5).ask(gateway.port).expect("an answer");
        Asked::server(release).ask(gateway.port).expect("an answer");
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
