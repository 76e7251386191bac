//! Every behaviour of the index, on SQLite and on MariaDB: one test body, run on both.

#![expect(clippy::unwrap_used, reason = "what fails here is a failed test")]

mod builders;
mod builds;
mod changes;
mod claims;
mod deadlock;
mod file_names;
mod insert;
mod jobs;
mod legacy;
mod lives;
mod lost_connections;
mod modules;
mod operator_queries;
mod paths;
mod queries;
mod repositories;
mod schema;
mod service;
mod status;
mod stores;
mod views;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use compat_tests::mariadb::MariaDb;
use sql::{Access, DatabaseUrl, Index};
use sqlx::{Column, Connection, Row};
use tempfile::TempDir;

/// An empty database and how to reach it.
struct Fresh {
    url: DatabaseUrl,
    raw: Raw,
    /// The server's name for it.
    database: String,
}

enum Raw {
    Sqlite(TempDir),
    MariaDb(Arc<MariaDb>),
}

impl Fresh {
    fn sqlite() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let url = DatabaseUrl::sqlite(directory.path().join("index.db"));
        Self { url, raw: Raw::Sqlite(directory), database: String::new() }
    }

    fn mariadb() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let server = MariaDb::shared();
        let database = format!("index{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        server.create_database(&database);
        Self { url: server.url(&database).parse().unwrap(), raw: Raw::MariaDb(server), database }
    }

    fn server(&self) -> &MariaDb {
        match &self.raw {
            Raw::MariaDb(server) => server,
            Raw::Sqlite(_) => panic!("not on a server"),
        }
    }

    fn open(&self, access: Access) -> Index {
        Index::open(&self.url, access).unwrap()
    }

    /// Migrated, for an importer.
    async fn index(&self) -> Index {
        let index = self.open(Access::ReadWrite);
        let migration = index.migrate().await.unwrap();
        assert_eq!((migration.applied, migration.notes), (vec![1], Vec::new()));
        index
    }

    /// Runs one statement beside the index; one string per row.
    async fn rows(&self, statement: &'static str) -> Vec<String> {
        macro_rules! rows {
            ($connection:ty, $url:expr) => {{
                let mut connection = <$connection>::connect($url).await.unwrap();
                let rows = sqlx::query(statement).fetch_all(&mut connection).await.unwrap();
                let value = |row: &_, at: usize| {
                    let row: &<<$connection as Connection>::Database as sqlx::Database>::Row = row;
                    let name = row.column(at).name();
                    let text = row.try_get::<Option<String>, _>(at).map(|value| format!("{name}={value:?}"));
                    let number = || row.try_get::<Option<i64>, _>(at).map(|value| format!("{name}={value:?}"));
                    let bytes = || row.try_get::<Option<Vec<u8>>, _>(at).map(|value| format!("{name}={value:?}"));
                    text.or_else(|_| number()).or_else(|_| bytes()).unwrap()
                };
                rows.iter().map(|row| (0..row.len()).map(|at| value(row, at)).collect::<Vec<_>>().join(" ")).collect()
            }};
        }
        match &self.raw {
            Raw::Sqlite(directory) => {
                rows!(sqlx::SqliteConnection, &format!("sqlite:{}", directory.path().join("index.db").display()))
            }
            Raw::MariaDb(server) => rows!(sqlx::MySqlConnection, &server.url(&self.database)),
        }
    }

    /// Runs one statement beside the index, for its effect.
    async fn execute(&self, statement: &'static str) {
        match &self.raw {
            Raw::Sqlite(directory) => {
                let url = format!("sqlite:{}", directory.path().join("index.db").display());
                let mut connection = sqlx::SqliteConnection::connect(&url).await.unwrap();
                sqlx::query(statement).execute(&mut connection).await.unwrap();
            }
            Raw::MariaDb(server) => drop(server.sql(&format!("use {}; {statement}", self.database))),
        }
    }

    /// Returns all rows without the writers' sequences and the columns that depend on the clock.
    async fn dump(&self) -> Vec<String> {
        let mut dump = Vec::new();
        for statement in [
            "select id, format, identity, identity_kind, name, epoch, version, `release`, arch, nvra, source_rpm, \
             distro, \
             koji_instance, koji_build, koji_volume, built_at, state, deleted_at from packages order by id",
            "select * from artifacts order by package_id, ordinal, build_id",
            "select * from modules order by package_id, ordinal",
            "select * from claims order by build_id, package_id",
            "select * from includes order by dir, package_id",
            "select * from stores order by id",
            "select id, name, store_id, path, url, format, distro, revision, metadata_checksum, verified, \
             package_count, error from repositories order by id",
            "select package_id, repository_id, ended_at is null as listed from memberships order by package_id, \
             repository_id",
            "select store_id, path_hash, package_id, path, size, mtime_ns, header_start, header_end, checksum, \
             checksum_kind, \
             signing_key, gone_at, check_result, derived from locations order by package_id, store_id, path_hash",
        ] {
            dump.extend(self.rows(statement).await);
        }
        dump
    }
}

fn run(future: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap().block_on(future);
}

/// Runs a test body on an empty SQLite file and on an empty MariaDB database.
fn on_both(body: impl AsyncFn(Fresh)) {
    for fresh in [Fresh::sqlite as fn() -> Fresh, Fresh::mariadb] {
        run(async { body(fresh()).await });
    }
}

fn on_mariadb(body: impl AsyncFn(Fresh)) {
    run(async { body(Fresh::mariadb()).await });
}

/// Everything can be awaited from a spawned task.
#[test]
fn futures_can_move_between_threads() {
    fn is_send(_: impl Send) {}
    run(async {
        let index = Index::open(&"sqlite::memory:".parse().unwrap(), Access::ReadWrite).unwrap();
        is_send(index.migrate());
        is_send(index.insert("test", &[]));
        is_send(index.records_by_build_id(&[]));
        is_send(index.records_by_nvra(""));
        is_send(index.records_by_path(&sql::PathQuery::Exact(String::new()), 1, std::time::Instant::now()));
        is_send(index.insert_claimed("test", &[]));
        is_send(index.known_locations(1));
        is_send(index.mark_seen(1, &[], 0));
        is_send(index.remove_store(""));
    });
}

/// How many transactions each writer has committed.
async fn sequences(index: &Index) -> BTreeMap<String, i64> {
    index.heads().await.unwrap().into_iter().map(|(writer, head)| (writer, head.sequence)).collect()
}
