//! Rows sorted by package, in a temporary SQLite file: those of one package can be far apart in their source.

use std::path::Path;

use artifact::{BuildId, Kind};
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteLockingMode, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection, FromRow, QueryBuilder, Sqlite, SqliteConnection};

use crate::model::rows::decode_error;
use crate::write::chunks;
use crate::{Error, Result};

/// Page cache, also of a sort, in KiB as SQLite wants it: negative.
const CACHE: &str = "-32768";

/// A checked row of an original table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StagedRow {
    /// name-version-release.arch.
    pub nvra: String,
    /// The build-id.
    pub build_id: BuildId,
    /// What the file is.
    pub kind: Kind,
    /// Path of the file.
    pub path: String,
    /// The distribution; empty if unknown.
    pub distro: String,
    /// Koji instance and number of the build.
    pub koji: Option<(String, i64)>,
    /// URL of the RPM, as it was stored.
    pub rpm_url: Option<String>,
}

#[derive(FromRow)]
struct Columns {
    nvra: String,
    build_id: Vec<u8>,
    is_debuginfo: bool,
    path: String,
    distro: String,
    koji_instance: Option<String>,
    koji_build: Option<i64>,
    rpm_url: Option<String>,
}

/// Rows that are collected. The file is private to this process, and worthless after a crash.
pub struct Staging {
    connection: SqliteConnection,
    name: String,
}

/// Rows that are sorted.
pub struct StagedPackages {
    /// Reads the rows in order.
    reader: SqliteConnection,
    /// Looks up names meanwhile.
    names: SqliteConnection,
    name: String,
}

fn options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .journal_mode(SqliteJournalMode::Off)
        .synchronous(SqliteSynchronous::Off)
        .pragma("cache_size", CACHE)
        .pragma("temp_store", "file")
        .disable_statement_logging()
}

fn failed(name: &str, doing: &'static str) -> impl FnOnce(sqlx::Error) -> Error + use<> {
    let database = name.to_owned();
    move |source| Error::Database { database, doing, source }
}

impl Staging {
    /// Makes the file; `path` must not exist yet.
    ///
    /// # Errors
    /// [`Error::Database`] if it cannot be written.
    pub async fn create(path: &Path) -> Result<Self> {
        let name = format!("temporary file {}", path.display());
        let create = async {
            let options = options(path).create_if_missing(true).locking_mode(SqliteLockingMode::Exclusive);
            let mut connection = options.connect().await?;
            sqlx::raw_sql(
                "create table staged (nvra text not null, build_id blob not null, is_debuginfo integer not null, path \
                 text not null, distro text not null, koji_instance text, koji_build integer, rpm_url text)",
            )
            .execute(&mut connection)
            .await?;
            Ok(connection)
        };
        let connection = create.await.map_err(failed(&name, "creating it"))?;
        Ok(Self { connection, name })
    }

    /// Adds rows behind those that are there.
    ///
    /// # Errors
    /// [`Error::Database`] if the disk is full, for example.
    pub async fn add(&mut self, rows: &[StagedRow]) -> Result<()> {
        let add = async {
            let mut transaction = self.connection.begin().await?;
            let statement = |rows: &[StagedRow]| {
                let mut query = QueryBuilder::<Sqlite>::new("insert into staged ");
                query.push_values(rows, |mut values, row| {
                    let (instance, build) = row.koji.clone().unzip();
                    values
                        .push_bind(row.nvra.clone())
                        .push_bind(row.build_id.as_bytes().to_vec())
                        .push_bind(row.kind == Kind::Debuginfo)
                        .push_bind(row.path.clone())
                        .push_bind(row.distro.clone())
                        .push_bind(instance)
                        .push_bind(build)
                        .push_bind(row.rpm_url.clone());
                });
                query
            };
            chunks::write(&mut *transaction, rows, statement).await?;
            transaction.commit().await
        };
        add.await.map_err(failed(&self.name, "writing rows"))
    }

    /// Ends the collection; `path` is that of [`Self::create`].
    ///
    /// # Errors
    /// [`Error::Database`] if the disk is full, for example.
    pub async fn sort(mut self, path: &Path) -> Result<StagedPackages> {
        let sort = async {
            // For single names. Reading by it would read each row from another page: rows are sorted for that.
            sqlx::raw_sql("create index staged_nvra on staged (nvra)").execute(&mut self.connection).await?;
            self.connection.close().await?;
            let options = options(path).read_only(true);
            Ok((options.connect().await?, options.connect().await?))
        };
        let (reader, names) = sort.await.map_err(failed(&self.name, "sorting rows"))?;
        Ok(StagedPackages { reader, names, name: self.name })
    }
}

impl StagedPackages {
    /// Returns the rows by name, those of one name in the order of their source, and what looks up names meanwhile.
    pub fn rows(&mut self) -> (BoxStream<'_, Result<StagedRow>>, StagedNames<'_>) {
        let name = self.name.clone();
        // The plus keeps SQLite from using the index.
        let rows = sqlx::query_as::<_, Columns>(
            "select nvra, build_id, is_debuginfo, path, distro, koji_instance, koji_build, rpm_url from staged order \
             by +nvra, rowid",
        )
        .fetch(&mut self.reader)
        .and_then(|row| std::future::ready(row.into_row()))
        .map_err(move |source| failed(&name, "reading rows")(source));
        (rows.boxed(), StagedNames { connection: &mut self.names, name: &self.name })
    }
}

/// The names of all packages.
pub struct StagedNames<'a> {
    connection: &'a mut SqliteConnection,
    name: &'a str,
}

impl StagedNames<'_> {
    /// True if there are rows of a package with this name-version-release.arch.
    ///
    /// # Errors
    /// [`Error::Database`] if the file cannot be read.
    pub async fn contains(&mut self, nvra: &str) -> Result<bool> {
        let found: Option<i64> = sqlx::query_scalar("select 1 from staged where nvra = ? limit 1")
            .bind(nvra)
            .fetch_optional(&mut *self.connection)
            .await
            .map_err(failed(self.name, "looking up a name"))?;
        Ok(found.is_some())
    }
}

impl Columns {
    fn into_row(self) -> sqlx::Result<StagedRow> {
        Ok(StagedRow {
            build_id: BuildId::from_bytes(&self.build_id).map_err(decode_error)?,
            kind: if self.is_debuginfo { Kind::Debuginfo } else { Kind::Executable },
            koji: self.koji_instance.zip(self.koji_build),
            nvra: self.nvra,
            path: self.path,
            distro: self.distro,
            rpm_url: self.rpm_url,
        })
    }
}
