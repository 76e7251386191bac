//! Databases as docs/operations.md sets them up, backs them up and restores them.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use compat_tests::darkserver::{RunningGateway, Sqlite, import, import_ok};
use compat_tests::fixtures;
use compat_tests::mariadb::MariaDb;

use super::{SERVER, block, document, record_calls, server, shell_ok, text, with};

/// How root runs the import as its user, in samples.
const AS_IMPORT: &str = "runuser -u darkserver-import -- /usr/local/bin/darkserver-import";

/// The records of the fixture's package in a database, from a gateway that also has to serve its program.
fn records(database: &str) -> String {
    let gateway = RunningGateway::start_with(database, "public_url = \"http://localhost\"\n", &[]);
    let (path, bytes) = server();
    assert!(gateway.get(&path).body == bytes, "expected the program");
    gateway.get(&format!("/rpm2buildids/{}", SERVER.rsplit('/').next().unwrap())).text()
}

#[test]
fn sqlite_is_backed_up_while_it_is_used_and_restored() {
    let sqlite = Sqlite::with_packages(&[&fixtures::family("server")]);
    let before = records(&sqlite.url());
    assert!(before.contains("/usr/bin/server"), "{before}");
    let directory = tempfile::tempdir().unwrap();
    let copy = directory.path().join("darkserver.db");
    let operations = document("docs/operations.md");
    let paths = [
        ("/var/lib/darkserver/darkserver.db", text(&sqlite.path()).to_owned()),
        ("/var/backups/darkserver.db", text(&copy).to_owned()),
    ];
    let paths = paths.each_ref().map(|(from, to)| (*from, to.as_str()));
    // A gateway has the database open.
    let gateway = RunningGateway::start(&sqlite.url());
    shell_ok(&with(&block(&operations, "sh", "vacuum into"), &paths), directory.path(), &[]);
    assert_eq!(gateway.get(&server().0).status, 200);
    drop(gateway);
    // The index goes on, and is lost; a leftover log of it must not be taken for that of the back-up.
    std::fs::write(sqlite.path(), "lost").unwrap();
    std::fs::set_permissions(sqlite.path(), std::fs::Permissions::from_mode(0o640)).unwrap();
    std::fs::write(format!("{}-wal", text(&sqlite.path())), "of another index").unwrap();
    for name in ["systemctl", "chown"] {
        record_calls(directory.path(), name);
    }
    let restore = with(&block(&operations, "sh", "darkserver.db-wal"), &paths);
    shell_ok(&restore, directory.path(), &[]);
    assert_eq!(records(&sqlite.url()), before);
    let calls = std::fs::read_to_string(directory.path().join("systemctl.log")).unwrap();
    let calls: Vec<&str> = calls.lines().collect();
    assert!(calls[0].starts_with("stop darkserver") && calls[1].starts_with("start darkserver"), "{calls:?}");
}

/// A server that the steps of docs/operations.md set up. `directory` has the configuration files, in the place of
/// `/etc/darkserver`.
fn set_up_mariadb(directory: &Path) -> MariaDb {
    let server = MariaDb::start();
    let operations = document("docs/operations.md");
    server.sql(&block(&operations, "sql", "create user darkserver_reader"));
    let sample = block(&operations, "sh", "install -d /etc/darkserver");
    let script = with(
        &sample,
        &[
            // Users that only an installation has.
            ("-o root -g darkserver-import ", ""),
            ("-o root -g darkserver ", ""),
            (AS_IMPORT, "darkserver-import"),
            ("@db.example.org/", &format!("@127.0.0.1:{}/", server.port())),
            ("/etc/darkserver", text(directory)),
        ],
    );
    shell_ok(&script, directory, &[("DARKSERVER_ETC", text(directory))]);
    server
}

/// The URL in a configuration file.
fn configured(directory: &Path, file: &str) -> String {
    let file = std::fs::read_to_string(directory.join(file)).unwrap();
    file.trim().strip_prefix("database = \"").and_then(|rest| rest.strip_suffix('"')).unwrap().to_owned()
}

#[test]
fn mariadb_has_one_user_for_the_import_and_one_for_gateways() {
    let directory = tempfile::tempdir().unwrap();
    let _server = set_up_mariadb(directory.path());
    let [reader, writer] = ["gateway.toml", "indexer.toml"].map(|file| configured(directory.path(), file));
    import_ok(&writer, &["dir", text(&fixtures::family("server"))]);
    assert!(records(&reader).contains("/usr/bin/server"));
    assert!(
        !import(&reader, &["dir", text(&fixtures::family("v6"))]).status.success(),
        "expected a reader that cannot write"
    );
    let mode = std::fs::metadata(directory.path().join("gateway.toml")).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o640, "the file holds a password");
}

#[test]
fn mariadb_is_dumped_without_views_and_restored_by_its_two_users() {
    let directory = tempfile::tempdir().unwrap();
    let etc = directory.path();
    let server = set_up_mariadb(etc);
    import_ok(&configured(etc, "indexer.toml"), &["dir", text(&fixtures::family("server"))]);
    let before = records(&configured(etc, "gateway.toml"));
    let options = format!("[client]\nuser=root\nsocket={}\n", text(&server.socket()));
    std::fs::write(etc.join(".my.cnf"), options).unwrap();
    record_calls(etc, "systemctl");
    let environment = [("HOME", text(etc)), ("DARKSERVER_ETC", text(etc))];
    let operations = document("docs/operations.md");
    shell_ok(&block(&operations, "sh", "mariadb-dump"), etc, &environment);
    server.sql("drop database darkserver");
    let restore = block(&operations, "sh", "create database restored");
    shell_ok(&with(&restore, &[(AS_IMPORT, "darkserver-import"), ("/etc/darkserver", text(etc))]), etc, &environment);
    let [reader, writer] = ["gateway.toml", "indexer.toml"].map(|file| configured(etc, file));
    assert!(reader.ends_with("/restored") && writer.ends_with("/restored"), "{reader} {writer}");
    assert_eq!(records(&reader), before);
    import_ok(&writer, &["dir", text(&fixtures::family("v6"))]);
    let views = "select table_name from information_schema.views where table_schema = 'restored' order by table_name";
    assert_eq!(server.sql(views), "buildid_gnubuildid\ndark_gnubuildid\n");
    assert_ne!(server.sql("select count(*) from restored.dark_gnubuildid"), "0\n");
    let calls = std::fs::read_to_string(etc.join("systemctl.log")).unwrap();
    let calls: Vec<&str> = calls.lines().collect();
    assert_eq!(
        calls,
        [
            "stop darkserver-import.timer darkserver-import.service",
            "restart darkserver.service",
            "start darkserver-import.timer"
        ]
    );
}

#[test]
fn a_group_shares_sqlite_between_two_users() {
    let sqlite = Sqlite::with_packages(&[&fixtures::family("server")]);
    let directory = sqlite.path().parent().unwrap().to_owned();
    let commands = tempfile::tempdir().unwrap();
    record_calls(commands.path(), "chgrp");
    let sample = block(&document("docs/operations.md"), "sh", "chgrp");
    let script = with(
        &sample,
        &[("/var/lib/darkserver/darkserver.db", text(&sqlite.path())), ("/var/lib/darkserver", text(&directory))],
    );
    shell_ok(&script, commands.path(), &[]);
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    assert_eq!((mode(&directory), mode(&sqlite.path())), (0o2775, 0o664));
    let calls = std::fs::read_to_string(commands.path().join("chgrp.log")).unwrap();
    assert_eq!(calls.trim(), format!("darkserver {} {}", text(&directory), text(&sqlite.path())));
}
