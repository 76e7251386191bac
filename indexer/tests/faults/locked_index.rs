//! Databases for an index, and everything that one holds as text.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use compat_tests::mariadb::MariaDb;
use sqlx::{Connection, MySqlConnection, SqliteConnection};

/// Where databases are made.
pub(crate) enum Kind {
    /// As files in this directory.
    Sqlite(PathBuf),
    MariaDb(Arc<MariaDb>),
}

impl Kind {
    /// Returns the commands that create a new index, before the first import.
    pub(crate) fn setup_commands(&self) -> &'static [&'static [&'static str]] {
        match self {
            Self::Sqlite(_) => &[],
            Self::MariaDb(_) => &[&["migrate"]],
        }
    }

    /// The URL of an empty database.
    pub(crate) fn empty(&self) -> String {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!("faults{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        match self {
            Self::Sqlite(directory) => format!("sqlite:{}", directory.join(name).with_extension("db").display()),
            Self::MariaDb(server) => {
                server.create_database(&name);
                server.url(&name)
            }
        }
    }

    /// The URL of a copy of a database as it is now.
    pub(crate) fn copy(&self, url: &str) -> String {
        let to = self.empty();
        match self {
            Self::Sqlite(_) => {
                for part in ["", "-wal"] {
                    let (from, to) = (format!("{}{part}", file(url)), format!("{}{part}", file(&to)));
                    if Path::new(&from).exists() {
                        fs::copy(from, to).unwrap();
                    }
                }
            }
            Self::MariaDb(server) => {
                let (from, to) = (name(url), name(&to));
                let tables = server.sql(&format!("show full tables from {from} where table_type = 'BASE TABLE'"));
                let mut statements = String::new();
                for table in tables.lines().filter_map(|line| line.split('\t').next()) {
                    writeln!(statements, "create table {to}.{table} like {from}.{table};").unwrap();
                    writeln!(statements, "insert into {to}.{table} select * from {from}.{table};").unwrap();
                }
                server.sql(&statements);
            }
        }
        to
    }

    /// Returns the URL of a copy that can be read without changing the database: opening an SQLite file recovers it.
    pub(crate) fn unchanged_copy(&self, url: &str) -> String {
        match self {
            Self::Sqlite(_) => self.copy(url),
            Self::MariaDb(_) => url.into(),
        }
    }

    pub(crate) fn remove(&self, url: &str) {
        match self {
            Self::Sqlite(_) => ["", "-wal", "-shm"].iter().for_each(|part| {
                // Not all of them are there.
                let _ = fs::remove_file(format!("{}{part}", file(url)));
            }),
            Self::MariaDb(server) => drop(server.sql(&format!("drop database {}", name(url)))),
        }
    }
}

/// The file of an SQLite URL.
pub(crate) fn file(url: &str) -> &str {
    url.strip_prefix("sqlite:").expect("an SQLite URL")
}

/// The server's name for the database of a URL.
pub(crate) fn name(url: &str) -> &str {
    url.rsplit('/').next().expect("a database")
}

const SQLITE_COLUMNS: &str = "select m.name, c.name from sqlite_master m, pragma_table_info(m.name) c \
    where m.type = 'table' and m.name not like 'sqlite%' order by m.name, c.cid";
const MYSQL_COLUMNS: &str = "select cast(table_name as char), cast(column_name as char) from \
    information_schema.columns \
    join information_schema.tables using (table_schema, table_name) \
    where table_schema = database() and table_type = 'BASE TABLE' order by table_name, ordinal_position";

/// Returns every row of every table: ids are replaced by the names of their rows; times, the counters of writers and
/// the records of their last transactions are omitted. Equal for equal indexes; empty if the database does not exist.
pub(crate) async fn dump(url: &str) -> Vec<String> {
    macro_rules! dump {
        ($connection:ty, $columns:expr) => {{
            let mut connection = <$connection>::connect(url).await.unwrap();
            let columns: Vec<(String, String)> = sqlx::query_as($columns).fetch_all(&mut connection).await.unwrap();
            let mut lines = Vec::new();
            for of_table in columns.chunk_by(|a, b| a.0 == b.0).filter(|of_table| of_table[0].0 != "changes") {
                let statement = statement(of_table);
                let rows: Vec<String> =
                    sqlx::query_scalar(sqlx::AssertSqlSafe(statement)).fetch_all(&mut connection).await.unwrap();
                lines.extend(rows.into_iter().map(|row| format!("{}: {row}", of_table[0].0)));
            }
            connection.close().await.unwrap();
            lines.sort();
            lines
        }};
    }
    if !url.starts_with("sqlite:") {
        return dump!(MySqlConnection, MYSQL_COLUMNS);
    }
    if !Path::new(file(url)).exists() {
        return Vec::new();
    }
    let mut connection = SqliteConnection::connect(url).await.unwrap();
    let sound: String = sqlx::query_scalar("pragma integrity_check").fetch_one(&mut connection).await.unwrap();
    assert_eq!(sound, "ok", "{url}");
    dump!(SqliteConnection, SQLITE_COLUMNS)
}

fn statement(columns: &[(String, String)]) -> String {
    let table = &columns[0].0;
    let values: Vec<String> = columns
        .iter()
        .filter_map(|(_, column)| match column.as_str() {
            "id" | "indexed_at" | "first_seen" | "last_seen" | "updated_at" | "sequence" => None,
            "installed_on" | "execution_time" | "refreshed_at" | "attempted_at" => None,
            "gone_at" => Some("case when t.gone_at is null then 'there' else 'gone' end".into()),
            "ended_at" => Some("case when t.ended_at is null then 'listed' else 'ended' end".into()),
            "package_id" => {
                Some("coalesce((select p.identity from packages p where p.id = t.package_id), 'of nothing')".into())
            }
            "repository_id" => Some(
                "coalesce((select r.name from repositories r where r.id = t.repository_id), 'in no repository')".into(),
            ),
            "store_id" => Some("coalesce((select s.name from stores s where s.id = t.store_id), 'in no store')".into()),
            column => Some(format!("coalesce(hex(t.`{column}`), 'null')")),
        })
        .collect();
    format!("select concat_ws(' ', '', {}) from `{table}` t", values.join(", "))
}

/// Panics with the first differences unless both are equal.
pub(crate) fn assert_same(found: &[String], expected: &[String], when: &str) {
    if found == expected {
        return;
    }
    let only = |a: &[String], b: &[String]| {
        let b: BTreeSet<_> = b.iter().collect();
        a.iter().filter(|line| !b.contains(line)).take(5).cloned().collect::<Vec<_>>().join("\n  ")
    };
    panic!(
        "{when}: expected {} rows, found {}\nlost:\n  {}\nadded:\n  {}",
        expected.len(),
        found.len(),
        only(expected, found),
        only(found, expected)
    );
}
