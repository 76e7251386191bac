//! The schema: migrations, the check that a reader makes, and `createtable.sql`.

use std::fmt::Write;
use std::time::Duration;

use sqlx::migrate::{MigrateError, MigrationType, Migrator};
use sqlx::{FromRow, SqlSafeStr};

use crate::connect::db::{Db, both, on_connection};
use crate::connect::dialect;
use crate::{Error, Index, Result};

mod views;

/// The migrations: number, name, SQL. After the first release they are only added; both databases have the same
/// numbers. The first statement of each records in `schema_readers` the schema version of the oldest program that can
/// read the result.
const MYSQL: &[(i64, &str, &str)] = &[(1, "schema", include_str!("../../migrations/mysql/0001_schema.sql"))];
const SQLITE: &[(i64, &str, &str)] = &[(1, "schema", include_str!("../../migrations/sqlite/0001_schema.sql"))];

/// The table of sqlx's migrations, as sqlx creates it.
const MIGRATIONS_TABLE: &str = "create table if not exists _sqlx_migrations (
    version BIGINT PRIMARY KEY,
    description TEXT NOT NULL,
    installed_on TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP,
    success BOOLEAN NOT NULL,
    checksum BLOB NOT NULL,
    execution_time BIGINT NOT NULL
);
";

/// Advice about a schema that is newer than this program.
const OUTDATED: &str = "this program is older than its index: update it";

/// Maximum number of tries while another process applies the same migration.
const MAX_TRIES: u32 = 50;
/// Pause between two tries.
const TRY_INTERVAL: Duration = Duration::from_millis(200);

/// A row of [`MIGRATIONS_TABLE`].
#[derive(FromRow)]
struct Version {
    version: i64,
    /// Checksum of its SQL.
    checksum: Vec<u8>,
    /// False while it is applied, or if the process died during that.
    success: bool,
}

/// The result of [`Index::migrate`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Migration {
    /// Versions of the schema that were applied, in order. Empty if there was nothing to do.
    pub applied: Vec<i64>,
    /// Views that were created: they were missing, or had another definition.
    pub views: Vec<String>,
    /// Notes for the operator: a table at the name of a view, a view that could not be created.
    pub notes: Vec<String>,
}

impl Index {
    /// Migrates the schema, and on MySQL creates the original's tables as views. Several processes may do so at once.
    ///
    /// # Errors
    /// If a migration fails, or the database's schema is newer than this program's.
    pub async fn migrate(&self) -> Result<Migration> {
        let failed = |source| match source {
            MigrateError::Execute(source) if dialect::is_malformed(&source) => self.error("migration", source),
            source => Error::Migration { database: self.redacted_url().into(), source },
        };
        let before = self.versions().await?;
        self.refuse_other_schemas(&before)?;
        let migrator = self.migrator();
        let mut tries = 0;
        loop {
            match both!(Db, &self.db, |pool, Backend| migrator.run(pool).await) {
                Ok(()) => break,
                // Another process applies a migration before this one; sqlx skips migrations that were started.
                Err(MigrateError::ExecuteMigration(error, version))
                    if dialect::is_missing_table(&error) && tries < MAX_TRIES && matches!(self.db, Db::MySql(_)) =>
                {
                    tries += 1;
                    self.forget_unfinished(version).await?;
                    tokio::time::sleep(TRY_INTERVAL).await;
                }
                // There is no lock, which not all databases of MySQL's family have: another process is detected by its
                // effects.
                Err(error) if is_concurrent_migration(&error) && tries < MAX_TRIES => {
                    tries += 1;
                    tokio::time::sleep(TRY_INTERVAL).await;
                }
                // No process finished it: one died during the migration. On MySQL its statements can be repeated.
                Err(MigrateError::Dirty(version)) if tries == MAX_TRIES => {
                    tries += 1;
                    self.forget_unfinished(version).await?;
                }
                Err(error) => return Err(failed(error)),
            }
        }
        let is_new = |version: &i64| before.iter().all(|held| held.version != *version || !held.success);
        let applied = self.versions().await?.into_iter().map(|version| version.version).filter(is_new).collect();
        let (views, notes) = match &self.db {
            Db::Sqlite(_) => (Vec::new(), Vec::new()),
            Db::MySql(pool) => views::make(pool).await.map_err(|source| self.error("making views", source))?,
        };
        Ok(Migration { applied, views, notes })
    }

    /// Checks that the schema has this program's version, as writers need it. Needs SELECT only.
    ///
    /// # Errors
    /// [`Error::Schema`] states the version found, the one expected, and what to do.
    pub async fn check_schema(&self) -> Result<()> {
        let versions = self.versions().await?;
        self.refuse_other_schemas(&versions)?;
        self.check_own_version(&versions)
    }

    /// Checks that this program can read the schema: its own, or a newer one that declares so. Needs SELECT only.
    ///
    /// # Errors
    /// [`Error::Schema`] states the version found, the one expected, and what to do.
    pub async fn check_readable(&self) -> Result<()> {
        let (own, newer): (Vec<_>, Vec<_>) =
            self.versions().await?.into_iter().partition(|version| version.version <= newest());
        self.refuse_other_schemas(&own)?;
        self.check_own_version(&own)?;
        let Some(found) = newer.iter().map(|version| version.version).max() else { return Ok(()) };
        match self.oldest_reader(found).await? {
            Some(oldest) if oldest <= newest() => Ok(()),
            Some(oldest) => Err(self
                .schema_error(format!("{found}, which programs from schema version {oldest} on can read"), OUTDATED)),
            None => {
                Err(self.schema_error(format!("{found}, which does not state which programs can read it"), OUTDATED))
            }
        }
    }

    /// Checks that this program's version is applied.
    fn check_own_version(&self, versions: &[Version]) -> Result<()> {
        match versions.iter().filter(|version| version.success).map(|version| version.version).max() {
            Some(found) if found == newest() => Ok(()),
            found => {
                let found = found.map_or_else(|| "none".into(), |found| found.to_string());
                Err(self.schema_error(found, "run `darkserver-import migrate`"))
            }
        }
    }

    /// Returns the schema version of the oldest program that can read a version of the schema, as its migration
    /// recorded.
    async fn oldest_reader(&self, version: i64) -> Result<Option<i64>> {
        const OLDEST: &str = "select oldest_reader from schema_readers where version = ?";
        self.retry_query("reading schema_readers", || async {
            let oldest = on_connection!(&self.db, |connection, Backend| {
                sqlx::query_scalar::<Backend, i64>(OLDEST).bind(version).fetch_optional(connection).await
            });
            match oldest {
                Err(error) if dialect::is_missing_table(&error) => Ok(None),
                oldest => oldest,
            }
        })
        .await
    }

    /// Refuses a newer schema, and one of the same number with other tables.
    fn refuse_other_schemas(&self, versions: &[Version]) -> Result<()> {
        let migrator = self.migrator();
        for Version { version: found, checksum, .. } in versions {
            match migrator.iter().find(|migration| migration.version == *found) {
                None => return Err(self.schema_error(found.to_string(), OUTDATED)),
                Some(migration) if migration.checksum != checksum.as_slice() => {
                    return Err(self.schema_error(
                        format!("another version {found}, with other tables"),
                        "it was made by a darkserver from before the first release and cannot be moved forward: import \
                         again into a new database: `darkserver-import --database URL dir PATH`",
                    ));
                }
                Some(_) => {}
            }
        }
        Ok(())
    }

    fn schema_error(&self, found: String, advice: &'static str) -> Error {
        Error::Schema { database: self.redacted_url().into(), expected: newest(), found, advice }
    }

    fn migrator(&self) -> Migrator {
        migrator(if matches!(self.db, Db::Sqlite(_)) { SQLITE } else { MYSQL })
    }

    /// Returns the versions that were applied or started; none in a new database.
    async fn versions(&self) -> Result<Vec<Version>> {
        const VERSIONS: &str = "select version, checksum, success from _sqlx_migrations order by version";
        self.retry_query("reading the schema's version", || async {
            let versions = on_connection!(&self.db, |connection, Backend| {
                sqlx::query_as::<Backend, Version>(VERSIONS).fetch_all(connection).await
            });
            match versions {
                Err(error) if dialect::is_missing_table(&error) => Ok(Vec::new()),
                versions => versions,
            }
        })
        .await
    }

    /// Removes the record of an interrupted migration, so that it is applied again.
    async fn forget_unfinished(&self, version: i64) -> Result<()> {
        self.retry_transaction("repeating a migration", || async {
            both!(Db, &self.db, |pool, Backend| {
                sqlx::query::<Backend>("delete from _sqlx_migrations where version = ? and not success")
                    .bind(version)
                    .execute(pool)
                    .await
                    .map(drop)
            })
        })
        .await
    }
}

fn newest() -> i64 {
    MYSQL.iter().map(|(version, ..)| *version).max().unwrap_or_default()
}

fn migrator(migrations: &[(i64, &'static str, &'static str)]) -> Migrator {
    let migrations = migrations
        .iter()
        .map(|&(version, name, sql)| {
            sqlx::migrate::Migration::new(version, name.into(), MigrationType::Simple, sql.into_sql_str(), false)
        })
        .collect();
    let mut migrator = Migrator::with_migrations(migrations);
    migrator.set_locking(false);
    migrator
}

/// True if another process applies the same migration: it has started, or was faster by a statement.
fn is_concurrent_migration(error: &MigrateError) -> bool {
    match error {
        MigrateError::Dirty(_) => true,
        MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => {
            dialect::is_conflict(error)
                || error
                    .as_database_error()
                    .is_some_and(|error| error.is_unique_violation() || error.message().contains("already exists"))
        }
        _ => false,
    }
}

/// Returns the text of `createtable.sql`: what [`Index::migrate`] does to a MySQL database, with sqlx's table, for
/// `mysql -u user -p -D database < createtable.sql`. It can be repeated.
pub fn createtable() -> String {
    let mut text = String::from(
        "-- The tables of darkserver, for MySQL and MariaDB:\n\
         --     mysql -u user -p -D database < createtable.sql\n\
         -- or, the same: darkserver-import migrate\n\
         -- Made by `cargo run -p sql --example createtable`: change the migrations, not this file.\n\n\
         set names utf8mb4 collate utf8mb4_bin;\n\n",
    );
    text.push_str(MIGRATIONS_TABLE);
    for migration in migrator(MYSQL).iter() {
        // Writing to a String cannot fail.
        let _ = write!(
            text,
            "\n-- Version {version}\n\n{sql}\ninsert into _sqlx_migrations (version, description, success, checksum, \
             execution_time)\n\
             values ({version}, '{name}', true, x'{checksum}', 0)\non duplicate key update version = version;\n",
            version = migration.version,
            name = migration.description,
            sql = migration.sql.as_str(),
            checksum = faster_hex::hex_string(&migration.checksum),
        );
    }
    text.push_str(&views::createtable());
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_databases_have_the_same_migrations_in_order() {
        let names = |list: &[(i64, &'static str, &str)]| {
            list.iter().map(|(version, name, _)| (*version, *name)).collect::<Vec<_>>()
        };
        assert_eq!(names(MYSQL), names(SQLITE));
        assert_eq!(MYSQL.iter().map(|(version, ..)| *version).collect::<Vec<_>>(), (1..=newest()).collect::<Vec<_>>());
    }

    #[test]
    fn every_migration_records_the_oldest_reader_of_its_schema() {
        for (version, _, sql) in MYSQL.iter().chain(SQLITE) {
            let record = format!("insert into schema_readers (version, oldest_reader) values ({version}, ");
            assert!(sql.contains(&record), "version {version}: expected `{record}`");
        }
    }

    #[test]
    fn the_committed_createtable_is_what_the_migrations_make() {
        let committed = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/createtable.sql")).unwrap();
        assert!(committed == createtable(), "run `cargo run -p sql --example createtable > sql/createtable.sql`");
    }
}
