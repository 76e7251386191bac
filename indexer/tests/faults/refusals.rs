//! A database that refuses to write: read-only, full, locked by others.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use compat_tests::mariadb::MariaDb;
use sqlx::{Connection, MySqlConnection};

use crate::import_process::{Running, command, run, run_ok};
use crate::locked_index::{Kind, assert_same, dump, file, name};
use crate::server::{Imported, assert_names_database};
use crate::support::{ImportFixture, RunOutput, many_packages, program};

fn assert_failed(output: &RunOutput, causes: &[&str]) {
    assert_eq!(output.code, Some(1), "{output:?}");
    assert!(causes.iter().any(|cause| output.stderr.contains(cause)), "expected one of {causes:?}: {output:?}");
}

#[tokio::test]
async fn a_read_only_server_is_reported_and_the_next_run_continues() {
    let server = Arc::new(MariaDb::start());
    let imported = Imported::into_mariadb(&server).await;
    let database = name(&imported.database).to_owned();
    // An administrator could write to a read-only server.
    server.create_user("writer", "p@ssed on", &format!("all on {database}.*"));
    let limited = server.url_of("writer", "p@ssed on", &database);
    let slow = crate::proxy::Proxy::to(server.port());
    slow.delay(5);
    let importer = Running::start(command(&slow.url(&limited), &imported.dir()));
    imported.wait_for_its_middle(&imported.database);
    server.sql("set global read_only = on");
    let output = importer.finish();
    assert_failed(&output, &["--read-only option"]);
    assert_names_database(&output, &slow.url(&limited));
    assert_failed(&run(&limited, &imported.dir()), &["--read-only option"]);
    server.sql("set global read_only = off");
    run_ok(&limited, &imported.dir());
    assert_same(&dump(&imported.database).await, &imported.expected, "writable again");
}

#[tokio::test]
async fn a_full_server_is_reported_and_the_next_run_continues_once_there_is_space() {
    // Everything in one file, which may not grow.
    let whole = ["--innodb-file-per-table=0", "--innodb-data-file-path=ibdata1:12M:autoextend"];
    let full = ["--innodb-file-per-table=0", "--innodb-data-file-path=ibdata1:12M:autoextend:max:14M"];
    let mut server = Arc::new(MariaDb::start_with(&full));
    let fixture = ImportFixture::new();
    let packages = fixture.packages();
    many_packages(&packages, 6_000);
    let import = ["dir", packages.to_str().unwrap()];
    let database = Kind::MariaDb(server.clone()).empty();
    run_ok(&database, &["migrate"]);
    let output = run(&database, &import);
    assert_failed(&output, &["is full", "No space left"]);
    assert_names_database(&output, &database);
    let the_server = Arc::get_mut(&mut server).unwrap();
    the_server.set_options(&whole);
    the_server.restart();
    run_ok(&database, &import).counts(&[("found", 6_000), ("gone", 0)]);
    let alone = Kind::MariaDb(server.clone()).empty();
    run_ok(&alone, &["migrate"]);
    run_ok(&alone, &import);
    assert_same(&dump(&database).await, &dump(&alone).await, "with room");
}

#[tokio::test]
async fn an_import_retries_while_rows_are_locked() {
    let server = Arc::new(MariaDb::start());
    server.sql("set global innodb_lock_wait_timeout = 1");
    let imported = Imported::into_mariadb(&server).await;
    let database = imported.database.clone();
    run_ok(&database, &imported.dir()[..2]);
    let mut other = MySqlConnection::connect(&database).await.unwrap();
    let lock = "start transaction; select * from writers for update";
    sqlx::raw_sql(lock).execute(&mut other).await.unwrap();
    let importer = Running::start(command(&database, &imported.dir()));
    importer.wait_for_stderr("trying again");
    sqlx::raw_sql("commit").execute(&mut other).await.unwrap();
    let output = importer.finish();
    assert_eq!(output.code, Some(0), "{output:?}");
    assert!(output.stderr.contains("succeeded after"), "{output:?}");
    assert_same(&dump(&database).await, &imported.expected, "locked for a while");

    fs::remove_file(walkdir::WalkDir::new(imported.dir()[1]).into_iter().last().unwrap().unwrap().path()).unwrap();
    many_packages(&imported.packages(), 310);
    sqlx::raw_sql(lock).execute(&mut other).await.unwrap();
    let output = run(&database, &[&imported.dir()[..], &["--wait", "3"]].concat());
    assert_failed(&output, &["Lock wait timeout", "is locked"]);
    assert!(output.stderr.contains("gave up after"), "{output:?}");
    assert_names_database(&output, &database);
    sqlx::raw_sql("commit").execute(&mut other).await.unwrap();
    run_ok(&database, &imported.dir()).counts(&[("found", 310)]);
}

#[tokio::test]
async fn connections_that_an_administrator_kills_are_replaced() {
    let server = MariaDb::shared();
    let imported = Imported::into_mariadb(&server).await;
    let (database, slow) = imported.behind_proxy();
    slow.delay(2);
    let mut importer = Running::start(command(&database, &imported.dir()));
    imported.wait_for_its_middle(&database);
    let connections = format!("select id from information_schema.processlist where db = '{}'", name(&database));
    let mut ended = 0;
    for _ in 0..20 {
        for id in server.sql(&connections).lines() {
            // It may be gone.
            ended += u32::from(server.client(&[], &format!("kill connection {id}")).status.success());
        }
        if importer.is_done().is_some() {
            break;
        }
        thread::sleep(Duration::from_millis(50));
    }
    assert!(ended > 0, "no connection was ended");
    let output = importer.finish();
    assert_eq!(output.code, Some(0), "{output:?}");
    assert_same(&dump(&database).await, &imported.expected, "ended connections");
}

#[tokio::test]
async fn a_read_only_file_is_reported_and_the_next_run_continues() {
    let fixture = ImportFixture::new();
    many_packages(&fixture.packages(), 50);
    let directory = fixture.directory.path().join("index");
    fs::create_dir(&directory).unwrap();
    let (database, alone) = (format!("sqlite:{}/index.db", directory.display()), fixture.other_database("alone.db"));
    let packages = fixture.packages();
    let import = ["dir", packages.to_str().unwrap()];
    run_ok(&alone, &import);
    run_ok(&database, &["migrate"]);
    // The superuser can write to read-only files: then the program runs as `nobody`, from a directory that it can read.
    fs::set_permissions(fixture.directory.path(), Permissions::from_mode(0o755)).unwrap();
    let copy = fixture.directory.path().join("darkserver-import");
    fs::copy(program().get_program(), &copy).unwrap();
    let is_root = fs::metadata("/proc/self").unwrap().uid() == 0;
    if is_root {
        chown(&directory, Some(65534), None).unwrap();
        fs::read_dir(&directory).unwrap().for_each(|file| chown(file.unwrap().path(), Some(65534), None).unwrap());
    }
    let mode = |directory_mode, file_mode| {
        fs::set_permissions(&directory, Permissions::from_mode(directory_mode)).unwrap();
        fs::set_permissions(file(&database), Permissions::from_mode(file_mode)).unwrap();
    };
    let run = || {
        let mut command = Command::new(&copy);
        command.env("DARKSERVER_DATABASE", &database).env("DARKSERVER_ETC", "/nonexistent/etc").args(import);
        if is_root {
            command.uid(65534);
        }
        Running::start(command).finish()
    };
    for (directory_mode, file_mode) in [(0o555, 0o444), (0o755, 0o444)] {
        mode(directory_mode, file_mode);
        let output = run();
        mode(0o755, 0o644);
        assert_failed(&output, &["readonly database", "unable to open database file", "Permission denied"]);
        assert!(output.stderr.contains(&database), "{directory_mode:o} {file_mode:o}: {output:?}");
    }
    let output = run();
    assert_eq!(output.code, Some(0), "{output:?}");
    assert_same(&dump(&database).await, &dump(&alone).await, "writable again");
}

#[tokio::test]
async fn a_file_that_becomes_read_only_during_an_import_loses_nothing() {
    let fixture = ImportFixture::new();
    let packages = fixture.packages();
    many_packages(&packages, 6_000);
    let directory = fixture.directory.path().join("index");
    fs::create_dir(&directory).unwrap();
    let (database, alone) = (format!("sqlite:{}/index.db", directory.display()), fixture.other_database("alone.db"));
    let import = ["dir", packages.to_str().unwrap()];
    run_ok(&alone, &import);
    let expected = dump(&alone).await;
    run_ok(&database, &["migrate"]);

    // A process can write to an open file after its mode changed, unless the file becomes immutable. Only the superuser
    // can set that, and not on every file system. With it the import fails, without it the import succeeds.
    let files = || fs::read_dir(&directory).unwrap().map(|file| file.unwrap().path());
    let mode = |directory_mode: u32, file_mode: u32| {
        files().for_each(|file| fs::set_permissions(file, Permissions::from_mode(file_mode)).unwrap());
        fs::set_permissions(&directory, Permissions::from_mode(directory_mode)).unwrap();
    };
    // Without SQLite's shared memory (-shm): the kernel kills a program that writes to a mapped file that became
    // immutable.
    let immutable = |sign: &str| {
        let files = files().filter(|file| !file.to_string_lossy().ends_with("-shm"));
        Command::new("chattr").arg(format!("{sign}i")).args(files).output()
    };
    let mut importer = Running::start(command(&database, &import));
    while !directory.join("index.db-wal").metadata().is_ok_and(|log| log.len() > 200_000) {
        assert!(importer.is_done().is_none(), "it was done before its middle");
        thread::sleep(Duration::from_millis(1));
    }
    importer.pause();
    mode(0o555, 0o444);
    let is_immutable = immutable("+").is_ok_and(|chattr| chattr.status.success());
    importer.resume();
    let output = importer.finish();
    // Where it was not possible, it is not there to be undone.
    let _ = immutable("-");
    mode(0o755, 0o644);
    if is_immutable {
        assert_failed(&output, &["Operation not permitted"]);
        assert!(output.stderr.contains(&database), "{output:?}");
        assert!(dump(&database).await.len() < expected.len(), "it was not in the middle");
    } else {
        assert_eq!(output.code, Some(0), "{output:?}");
    }
    run_ok(&database, &import).counts(&[("found", 6_000), ("gone", 0)]);
    assert_same(&dump(&database).await, &expected, "writable again");
}

#[tokio::test]
async fn a_full_disk_is_reported_and_the_next_run_continues_once_there_is_space() {
    let fixture = ImportFixture::new();
    let packages = fixture.packages();
    many_packages(&packages, 6_000);
    let (database, alone) = (fixture.database.clone(), fixture.other_database("alone.db"));
    let import = ["dir", packages.to_str().unwrap()];
    run_ok(&alone, &import);
    let expected = dump(&alone).await;

    // The nearest to a full disk that needs no rights: a file that may not grow any more, in the middle of the import.
    run_ok(&database, &["migrate"]);
    let mut limited = Command::new("sh");
    let script = "trap '' XFSZ; ulimit -f 2048; exec \"$@\"";
    limited.args(["-c", script, "sh"]).arg(program().get_program()).args(import);
    limited.env("DARKSERVER_DATABASE", &database).env("DARKSERVER_ETC", "/nonexistent/etc");
    let output = Running::start(limited).finish();
    assert_failed(&output, &["File too large", "disk I/O error", "disk is full"]);
    assert!(output.stderr.contains(&database), "{output:?}");

    run_ok(&database, &import).counts(&[("found", 6_000), ("gone", 0)]);
    assert_same(&dump(&database).await, &expected, "with room");
}
