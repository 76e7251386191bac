//! Migrations, their check, and `createtable.sql`.

use std::collections::BTreeSet;

use sql::{Access, DatabaseUrl, Index, Tier};

use crate::builders::{build_id, simple, store};
use crate::{Fresh, on_both, on_mariadb, run};

const CREATETABLE: &str = include_str!("../../createtable.sql");

/// Columns, indexes, tables and views of a database, and the migrations in its books.
fn description(fresh: &Fresh) -> String {
    let statements = "
        select table_name, column_name, ordinal_position, column_default, is_nullable, column_type, character_set_name,
            collation_name, column_key, extra, column_comment
            from information_schema.columns where table_schema = 'NAME' order by 1, 3;
        select table_name, index_name, seq_in_index, column_name, non_unique, sub_part
            from information_schema.statistics where table_schema = 'NAME' order by 1, 2, 3;
        select table_name, table_type, engine, table_collation, row_format
            from information_schema.tables where table_schema = 'NAME' order by 1;
        select table_name, view_definition, security_type, character_set_client, collation_connection
            from information_schema.views where table_schema = 'NAME' order by 1;
        select version, description, success, hex(checksum) from NAME._sqlx_migrations";
    let text = fresh.server().sql(&statements.replace("NAME", &fresh.database));
    text.replace(&fresh.database, "NAME")
}

/// Runs `mariadb -u USER -pPASSWORD -D DATABASE < createtable.sql`.
fn pipe(fresh: &Fresh, text: &str) -> String {
    let output = fresh.server().client(&["-D", &fresh.database, "--default-character-set=latin1"], text);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn a_database_that_is_not_migrated_is_named_with_advice() {
    on_both(async |fresh| {
        // The file has to exist for a reader.
        fresh.open(Access::ReadWrite).check_schema().await.unwrap_err();
        let error = fresh.open(Access::ReadOnly).check_schema().await.unwrap_err().to_string();
        let expected = format!("{}: expected schema version 1, found none: run `darkserver-import migrate`", fresh.url);
        assert_eq!(error, expected);
    });
}

#[test]
fn migrating_again_has_nothing_to_do() {
    on_both(async |fresh| {
        let index = fresh.index().await;
        assert_eq!(index.migrate().await.unwrap(), sql::Migration::default());
        index.check_schema().await.unwrap();
    });
}

#[test]
fn a_schema_newer_than_the_program_is_refused() {
    on_both(async |fresh| {
        let index = fresh.index().await;
        fresh
            .rows(
                "insert into _sqlx_migrations (version, description, success, checksum, execution_time) \
                 values (99, 'x', true, 'x', 0)",
            )
            .await;
        let error = index.check_schema().await.unwrap_err().to_string();
        assert!(error.contains("expected schema version 1, found 99: this program is older than its index"), "{error}");
        assert_eq!(index.migrate().await.unwrap_err().to_string(), error);
    });
}

#[test]
fn a_newer_schema_is_read_if_it_states_that_it_can_be() {
    on_both(async |fresh| {
        fresh.index().await;
        let (reader, writer) = (fresh.open(Access::ReadOnly), fresh.open(Access::ReadWrite));
        reader.check_readable().await.unwrap();
        fresh
            .execute(
                "insert into _sqlx_migrations (version, description, success, checksum, execution_time) \
                 values (3, 'x', true, 'x', 0)",
            )
            .await;
        let error = reader.check_readable().await.unwrap_err().to_string();
        let expected = format!(
            "{}: expected schema version 1, found 3, which does not state which programs can read it: this program is \
             older than its index: update it",
            fresh.url
        );
        assert_eq!(error, expected);
        fresh.execute("insert into schema_readers (version, oldest_reader) values (3, 1)").await;
        reader.check_readable().await.unwrap();
        assert!(writer.check_schema().await.is_err(), "writers need their own");
        assert!(writer.migrate().await.is_err());
        fresh.execute("update schema_readers set oldest_reader = 2 where version = 3").await;
        let error = reader.check_readable().await.unwrap_err().to_string();
        assert!(
            error.contains("expected schema version 1, found 3, which programs from schema version 2 on can read"),
            "{error}"
        );
        // An index that was migrated by none of them.
        fresh.execute("delete from _sqlx_migrations where version = 1").await;
        assert!(reader.check_readable().await.unwrap_err().to_string().contains("found none"));
    });
}

#[test]
fn a_schema_of_the_same_number_with_other_tables_is_refused_with_advice() {
    on_both(async |fresh| {
        let index = fresh.index().await;
        fresh.rows("update _sqlx_migrations set checksum = 'x'").await;
        let expected = format!(
            "{}: expected schema version 1, found another version 1, with other tables: it was made by a darkserver \
             from before the \
             first release and cannot be moved forward: import again into a new database: \
             `darkserver-import --database URL dir PATH`",
            fresh.url
        );
        for error in [index.check_schema().await.unwrap_err(), index.migrate().await.unwrap_err()] {
            assert_eq!(error.to_string(), expected);
        }
    });
}

/// A database of the packed schema, as the programs before this one left it: some of its tables and its books.
const PACKED: [&str; 6] = [
    "create table _sqlx_migrations (version bigint primary key, description text not null, installed_on timestamp not \
     null \
     default current_timestamp, success boolean not null, checksum blob not null, execution_time bigint not null)",
    "insert into _sqlx_migrations (version, description, success, checksum, execution_time) values \
     (1, 'schema', true, 'a', 0), (2, 'changes', true, 'b', 0), (3, 'file names', true, 'c', 0)",
    "create table packages (id int not null primary key, nvra_crc bigint not null)",
    "create table artifacts (build_id varbinary(4) not null, package_id int not null, ordinal int not null)",
    "create table members (package_id int not null, part int not null, list varbinary(100) not null)",
    "insert into members values (1, 0, 'packed')",
];

#[test]
fn an_index_of_the_packed_schema_is_refused_unchanged_with_the_command_that_helps() {
    on_both(async |fresh| {
        let index = fresh.open(Access::ReadWrite);
        // The first query creates the file.
        index.check_schema().await.unwrap_err();
        for statement in PACKED {
            fresh.execute(statement).await;
        }
        let tables = "select count(*) as n from _sqlx_migrations union all select count(*) from members";
        let before = fresh.rows(tables).await;
        for error in [index.migrate().await.unwrap_err(), index.check_schema().await.unwrap_err()] {
            let error = error.to_string();
            assert!(
                error.ends_with("import again into a new database: `darkserver-import --database URL dir PATH`"),
                "{error}"
            );
        }
        assert_eq!(fresh.rows(tables).await, before);
        // Also if the program before died in the middle of its first migration.
        fresh.execute("delete from _sqlx_migrations where version > 1").await;
        fresh.execute("update _sqlx_migrations set success = false").await;
        assert!(index.migrate().await.unwrap_err().to_string().contains("import again into a new database"));
        let names = match &fresh.raw {
            crate::Raw::Sqlite(_) => "select name from sqlite_master where type = 'table' order by name",
            crate::Raw::MariaDb(_) => {
                "select cast(table_name as char) as name from information_schema.tables \
                where table_schema = database() order by 1"
            }
        };
        let names = fresh.rows(names).await.join(" ");
        assert_eq!(names.matches("name=").count(), 4, "{names}");
    });
}

#[test]
fn processes_that_migrate_at_once_all_succeed() {
    on_both(async |fresh| {
        let migrate = async || fresh.open(Access::ReadWrite).migrate().await.unwrap();
        tokio::join!(migrate(), migrate(), migrate(), migrate());
        fresh.open(Access::ReadOnly).check_schema().await.unwrap();
    });
}

#[test]
fn an_interrupted_migration_is_finished() {
    on_mariadb(async |fresh| {
        fresh.index().await;
        let expected = description(&fresh);
        fresh.server().sql(&format!(
            "use {}; drop table cursors, writers, changes, leases; update _sqlx_migrations set success = false",
            fresh.database
        ));
        let index = fresh.open(Access::ReadWrite);
        assert!(index.check_schema().await.is_err());
        assert_eq!(index.migrate().await.unwrap().applied, [1]);
        assert_eq!(description(&fresh), expected);
    });
}

#[test]
fn createtable_through_the_real_client_makes_the_schema_of_the_migrations() {
    on_mariadb(async |fresh| {
        let piped = Fresh::mariadb();
        fresh.index().await;
        assert_eq!(pipe(&piped, CREATETABLE), "");
        assert_eq!(description(&piped), description(&fresh));
        assert_eq!(pipe(&piped, CREATETABLE), "", "it can be repeated");

        let index = piped.open(Access::ReadWrite);
        index.check_schema().await.unwrap();
        assert_eq!(index.migrate().await.unwrap(), sql::Migration::default());
        assert_eq!(description(&piped), description(&fresh));
        let mirror = store(&index, "m", Tier::Mirror, 0).await;
        index.insert("test", &[simple(&mirror, "p-1-1.x86_64")]).await.unwrap();
        assert_eq!(index.records_by_build_id(&[build_id("p-1-1.x86_64")]).await.unwrap().records.len(), 1);
    });
}

#[test]
fn an_old_darkservers_table_is_left_alone_and_named() {
    on_mariadb(async |fresh| {
        let piped = Fresh::mariadb();
        for fresh in [&fresh, &piped] {
            fresh.server().sql(&format!(
                "use {}; create table dark_gnubuildid (id int, elfname varchar(255)); insert into dark_gnubuildid \
                 values (1, 'old')",
                fresh.database
            ));
        }
        let migration = fresh.open(Access::ReadWrite).migrate().await.unwrap();
        assert_eq!(migration.applied, [1]);
        let [note] = migration.notes.as_slice() else { panic!("{:?}", migration.notes) };
        assert!(note.starts_with("table dark_gnubuildid exists and is left alone"), "{note}");
        let said = pipe(&piped, CREATETABLE);
        assert_eq!(said, format!("message\n{note}\n"));
        for fresh in [&fresh, &piped] {
            let sql = |statement: &str| fresh.server().sql(&format!("use {}; {statement}", fresh.database));
            assert_eq!(sql("select * from dark_gnubuildid"), "1\told\n");
            assert_eq!(sql("select count(*) from buildid_gnubuildid"), "0\n");
            sql("rename table dark_gnubuildid to old_gnubuildid");
            let made = sql::Migration { views: vec!["dark_gnubuildid".into()], ..sql::Migration::default() };
            assert_eq!(fresh.open(Access::ReadWrite).migrate().await.unwrap(), made);
            assert_eq!(sql("select count(*) from dark_gnubuildid"), "0\n");
        }
    });
}

#[test]
fn a_user_with_select_alone_can_read_and_check_but_not_insert() {
    on_mariadb(async |fresh| {
        let index = fresh.index().await;
        let mirror = store(&index, "m", Tier::Mirror, 0).await;
        index.insert("test", &[simple(&mirror, "p-1-1.x86_64")]).await.unwrap();
        let name = format!("reader_{}", fresh.database);
        fresh.server().create_user(&name, "s3cret/@", &format!("select on {}.*", fresh.database));
        let url: DatabaseUrl = fresh.server().url_of(&name, "s3cret/@", &fresh.database).parse().unwrap();
        let reader = Index::open(&url, Access::ReadOnly).unwrap();
        reader.check_schema().await.unwrap();
        assert_eq!(reader.records_by_build_id(&[build_id("p-1-1.x86_64")]).await.unwrap().records.len(), 1);
        assert_eq!(reader.stores().await.unwrap().len(), 1);
        let error = reader.insert("test", &[simple(&mirror, "q-1-1.x86_64")]).await.unwrap_err().to_string();
        assert!(error.contains("denied") && !error.contains("s3cret"), "{error}");
    });
}

#[test]
fn an_sqlite_file_that_appears_or_is_replaced_is_opened_again() {
    run(async {
        let fresh = Fresh::sqlite();
        let reader = fresh.open(Access::ReadOnly);
        let error = reader.records_by_build_id(&[build_id("x")]).await.unwrap_err().to_string();
        let command = format!("`darkserver-import --database {} dir PATH`, or the same with `repo URL`", fresh.url);
        assert_eq!(error, format!("{}: no such file: run {command}", fresh.url));
        assert!(reader.check_schema().await.is_err(), "and it was not made");

        fresh.index().await;
        reader.check_schema().await.unwrap();
        assert!(reader.stores().await.unwrap().is_empty());

        let other = Fresh::sqlite();
        let index = other.index().await;
        store(&index, "m", Tier::Mirror, 0).await;
        drop(index);
        let (crate::Raw::Sqlite(from), crate::Raw::Sqlite(to)) = (&other.raw, &fresh.raw) else { panic!() };
        sqlx_checkpoint(from.path()).await;
        for file in ["index.db-wal", "index.db-shm"] {
            let _ = std::fs::remove_file(to.path().join(file));
        }
        std::fs::rename(from.path().join("index.db"), to.path().join("index.db")).unwrap();
        assert_eq!(reader.stores().await.unwrap().len(), 1);
    });
}

#[test]
fn a_path_that_is_no_file_is_refused_with_advice() {
    run(async {
        let directory = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}", directory.path().display());
        let expected =
            format!("{url}: expected an SQLite file, found a directory: name a file in it, like {url}/darkserver.db");
        for access in [Access::ReadOnly, Access::ReadWrite] {
            let index = Index::open(&url.parse().unwrap(), access).unwrap();
            assert_eq!(index.check_connection().await.unwrap_err().to_string(), expected);
            assert_eq!(index.check_schema().await.unwrap_err().to_string(), expected);
        }
        let missing = format!("{url}/index.db");
        let reader = Index::open(&format!("{missing}?immutable=1").parse().unwrap(), Access::ReadOnly).unwrap();
        let error = reader.records_by_build_id(&[build_id("x")]).await.unwrap_err().to_string();
        let command = format!("darkserver-import --database {missing} dir PATH");
        assert_eq!(error, format!("{missing}?immutable=1: no such file: run `{command}`, or the same with `repo URL`"));
    });
}

/// Brings everything from the write-ahead log into the file.
async fn sqlx_checkpoint(directory: &std::path::Path) {
    use sqlx::{Connection, SqliteConnection};
    let mut connection =
        SqliteConnection::connect(&format!("sqlite:{}", directory.join("index.db").display())).await.unwrap();
    sqlx::query("pragma wal_checkpoint(truncate)").execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
}

#[test]
fn a_database_in_memory_can_be_used() {
    run(async {
        let index = Index::open(&"sqlite::memory:".parse().unwrap(), Access::ReadWrite).unwrap();
        index.migrate().await.unwrap();
        let mirror = store(&index, "m", Tier::Mirror, 0).await;
        index.insert("test", &[simple(&mirror, "p-1-1.x86_64")]).await.unwrap();
        assert_eq!(index.clone().records_by_build_id(&[build_id("p-1-1.x86_64")]).await.unwrap().records.len(), 1);
    });
}

#[test]
fn a_database_that_is_down_is_an_error_within_the_timeout_and_works_once_it_is_up() {
    let mut server = compat_tests::mariadb::MariaDb::start();
    server.create_database("index1");
    run(async {
        let url: DatabaseUrl = server.url("index1").parse().unwrap();
        Index::open(&url, Access::ReadWrite).unwrap().migrate().await.unwrap();
        let reader = Index::open(&url, Access::ReadOnly).unwrap();
        // Several connections, so that several lie dead in the pool.
        let many: BTreeSet<u32> = (0..8).collect();
        futures::future::join_all(many.iter().map(|_| reader.check_schema())).await;
        server.kill();
        let began = std::time::Instant::now();
        let error = reader.records_by_build_id(&[build_id("x")]).await.unwrap_err().to_string();
        assert!(began.elapsed().as_secs_f32() < 2.5, "{:?}", began.elapsed());
        assert!(error.contains("mysql://darkserver:***@127.0.0.1") && !error.contains("p@ss"), "{error}");
        server.restart();
        assert!(reader.records_by_build_id(&[build_id("x")]).await.unwrap().records.is_empty());
        server.stop();
        server.restart();
        reader.check_schema().await.unwrap();
    });
}

/// InnoDB refuses to write such a log under READ COMMITTED (error 1665).
#[test]
fn a_server_that_logs_statements_is_migrated_and_written_to() {
    run(async {
        let server = compat_tests::mariadb::MariaDb::start_with(&[
            "--log-bin=log",
            "--binlog-format=STATEMENT",
            "--server-id=1",
        ]);
        server.create_database("logged");
        let url: DatabaseUrl = server.url("logged").parse().unwrap();
        let index = Index::open(&url, Access::ReadWrite).unwrap();
        assert_eq!(index.migrate().await.unwrap().applied, [1]);
        let mirror = store(&index, "m", Tier::Mirror, 0).await;
        // Writers that meet: each brings packages of its own, and ones that others bring, too.
        let write = async |number: u32| {
            let index = Index::open(&url, Access::ReadWrite).unwrap();
            for round in 0..8 {
                let names = [format!("own{number}x{round}-1-1.x86_64"), format!("shared{round}-1-1.x86_64")];
                let batch: Vec<_> = names.iter().map(|name| simple(&mirror, name)).collect();
                index.insert("test", &batch).await.unwrap();
            }
        };
        tokio::join!(write(0), write(1), write(2), write(3));
        let count = |of: &str| server.sql(&format!("select count(*) from logged.{of}"));
        assert_eq!(
            (count("packages"), count("artifacts"), count("locations")),
            ("40\n".into(), "40\n".into(), "40\n".into())
        );
        assert_eq!(server.sql("select sequence from logged.writers"), "32\n");
        assert_eq!(
            server.sql(
                "select count(*) from logged.changes c where total <> (select sum(length(build_ids)) \
            from logged.changes d where d.sequence <= c.sequence)"
            ),
            "0\n"
        );
        index.remove_store("m").await.unwrap();
        assert_eq!(count("locations"), "0\n");
        // MySQL and MariaDB name it differently.
        let isolation = server.sql("show session variables like '%isolation'");
        assert!(isolation.contains("\tREPEATABLE-READ\n"), "only writers' sessions are changed: {isolation}");
    });
}
