//! The handle of the index: one of two pools, and the macros that expand a body for both.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::time::{Duration, Instant};
use std::{fmt, io};

use sqlx::pool::PoolConnection;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, MySql, MySqlConnection, MySqlPool, Sqlite, SqlitePool};
use tokio::runtime::Handle;

use super::database_url::Address;
use super::dialect::{self, Dialect};
use super::pools::{self, Access, WatchedFile};
use crate::{DatabaseUrl, Error, Result};

/// Expands a body once per database. `both!(Db, &self.db, |pool, Backend| ...)` takes an enum with the variants
/// `Sqlite` and `MySql`. In the body `pool` is the content of the variant, and `Backend` is sqlx's type of the
/// database.
macro_rules! both {
    ($of:ident, $value:expr, |$inner:ident, $backend:ident| $body:expr) => {
        match $value {
            $crate::connect::db::$of::Sqlite($inner) => {
                #[expect(clippy::allow_attributes, reason = "not every body needs the type")]
                #[allow(dead_code)]
                type $backend = sqlx::Sqlite;
                $body
            }
            $crate::connect::db::$of::MySql($inner) => {
                #[expect(clippy::allow_attributes, reason = "not every body needs the type")]
                #[allow(dead_code)]
                type $backend = sqlx::MySql;
                $body
            }
        }
    };
}
pub(crate) use both;

/// [`both`] for queries on one connection, so that one node answers all of them:
/// `on_connection!(&self.db, |connection, Backend| ...)`. The body can be dropped before it ends, see
/// [`LeasedConnection`].
macro_rules! on_connection {
    ($db:expr, |$connection:ident, $backend:ident| $body:expr) => {
        match $db {
            $crate::connect::db::Db::Sqlite(pool) => {
                type $backend = sqlx::Sqlite;
                let mut held = pool.acquire().await?;
                let $connection = &mut *held;
                $body
            }
            $crate::connect::db::Db::MySql(pool) => {
                type $backend = sqlx::MySql;
                let mut leased = $crate::connect::db::LeasedConnection::acquire(pool).await?;
                let $connection = &mut *leased;
                let result = $body;
                leased.release();
                result
            }
        }
    };
}
pub(crate) use on_connection;

/// Default of [`Index::with_retry_timeout`].
const DEFAULT_RETRY_TIMEOUT: Duration = Duration::from_secs(300);

/// Time that a server may take to close an abandoned connection.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// Time that [`Index::checkpoint`] waits for other connections.
const CHECKPOINT_BUSY_TIMEOUT: &str = "pragma busy_timeout = 200";

/// The index. Cheap to clone: clones share their connections.
#[derive(Clone)]
pub struct Index {
    pub(crate) db: Db,
    /// The pool of transactions on an SQLite file.
    writer: Option<SqlitePool>,
    redacted_url: Arc<str>,
    /// The watched SQLite file of a reader.
    file: Option<Arc<WatchedFile>>,
    /// Timeout for a connection from the pool.
    pub(crate) acquire_timeout: Duration,
    /// Time that a writer retries during an outage; `None` for a reader.
    pub(crate) retry_timeout: Option<Duration>,
}

#[derive(Clone)]
pub(crate) enum Db {
    Sqlite(SqlitePool),
    MySql(MySqlPool),
}

/// A transaction that writes. It is rolled back if it is dropped without [`Transaction::commit`].
pub(crate) enum Transaction {
    Sqlite(sqlx::Transaction<'static, Sqlite>),
    MySql(LeasedConnection),
}

impl Index {
    /// Opens an index. Connections are made by queries, so this succeeds while the database is down. Must be called
    /// inside a Tokio runtime.
    ///
    /// An SQLite file is created only by a write with [`Access::ReadWrite`]. [`Access::ReadOnly`] detects that the file
    /// appears or is replaced. Its process needs write permission for the file's directory, where SQLite keeps its
    /// shared memory, unless the file cannot change: its file system is read-only, or the URL has `immutable=1`.
    ///
    /// # Errors
    /// [`Error::Url`] if an immutable file is opened to be written.
    pub fn open(url: &DatabaseUrl, access: Access) -> Result<Self> {
        let (acquire_timeout, retry_timeout) = match access {
            Access::ReadOnly => (Duration::from_millis(1500), None),
            Access::ReadWrite => {
                (Duration::from_secs(if url.is_sqlite() { 30 } else { 10 }), Some(DEFAULT_RETRY_TIMEOUT))
            }
        };
        let (db, writer, file) = match url.address() {
            Address::SqliteMemory => (Db::Sqlite(pools::memory()), None, None),
            Address::Sqlite { immutable: true, .. } if access == Access::ReadWrite => {
                return Err(Error::Url {
                    expected: "no immutable=1 for an index that is written",
                    found: url.to_string(),
                });
            }
            Address::Sqlite { path, immutable } => {
                let (pool, file) = pools::sqlite(path, *immutable, access, acquire_timeout);
                let writer = (access == Access::ReadWrite).then(|| pools::sqlite_writer(&pool));
                (Db::Sqlite(pool), writer, file)
            }
            Address::MySql { options, .. } => (Db::MySql(pools::mysql(options, access, acquire_timeout)), None, None),
        };
        Ok(Self { db, writer, redacted_url: url.to_string().into(), file, acquire_timeout, retry_timeout })
    }

    /// Makes commits survive a power cut, for a writer that confirms them to others: SQLite waits until the write-ahead
    /// log is on the disk (`synchronous=FULL`), on each connection. A server decides this itself; the default of InnoDB
    /// is the same. To be called before the first query; clones share it.
    #[must_use]
    pub fn durable(self) -> Self {
        if let (Db::Sqlite(pool), Some(writer)) = (&self.db, &self.writer) {
            [pool, writer].into_iter().for_each(pools::make_durable);
        }
        self
    }

    /// Connects once, without the timeout of the pool: if the database is down, the reason is known at once. To be
    /// called before the first query.
    ///
    /// # Errors
    /// If no connection is made within 10 s, or a writer has no permission to write its SQLite file.
    pub async fn check_connection(&self) -> Result<()> {
        const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
        if let Db::Sqlite(pool) = &self.db {
            pools::check_can_open(pool, self.retry_timeout.is_some())
                .map_err(|source| self.error("opening", source.into()))?;
        }
        let reached = tokio::time::timeout(CONNECT_TIMEOUT, async {
            if let (Db::Sqlite(pool), Some(_)) = (&self.db, self.retry_timeout) {
                pools::check_not_malformed(pool).await?;
            }
            let begun = Instant::now();
            loop {
                // An SQLite file is locked for a moment while another program closes its last connection.
                let connect = async {
                    both!(Db, &self.db, |pool, Backend| pool.connect_options().connect().await?.close().await)
                };
                match connect.await {
                    Err(error) if dialect::is_conflict(&error) && begun.elapsed() < CONNECT_TIMEOUT / 2 => {
                        tokio::time::sleep(Duration::from_millis(50)).await;
                    }
                    connected => break connected,
                }
            }
        });
        match reached.await {
            Ok(reached) => reached.map_err(|source| self.error("connecting", source)),
            Err(_) => {
                Err(Error::Unreachable { database: self.redacted_url().into(), seconds: CONNECT_TIMEOUT.as_secs_f32() })
            }
        }
    }

    pub(crate) async fn begin(&self) -> sqlx::Result<Transaction> {
        Ok(match &self.db {
            Db::Sqlite(pool) => {
                Transaction::Sqlite(self.writer.as_ref().unwrap_or(pool).begin_with(Sqlite::BEGIN).await?)
            }
            Db::MySql(pool) => {
                let mut connection = LeasedConnection::acquire(pool).await?;
                sqlx::raw_sql(MySql::BEGIN).execute(&mut *connection).await?;
                Transaction::MySql(connection)
            }
        })
    }

    /// Merges the write-ahead log of an SQLite file into the file, unless it is in use: the file alone is the index
    /// then and can be copied. If this fails, the next writer does it. Does nothing on a server.
    pub async fn checkpoint(&self) {
        let Db::Sqlite(pool) = &self.db else { return };
        let merged = async {
            let mut connection = pool.acquire().await?;
            let busy_timeout: i64 = sqlx::query_scalar("pragma busy_timeout").fetch_one(&mut *connection).await?;
            sqlx::query(CHECKPOINT_BUSY_TIMEOUT).execute(&mut *connection).await?;
            let checkpoint = sqlx::query("pragma wal_checkpoint(truncate)").execute(&mut *connection).await;
            let restore = AssertSqlSafe(format!("pragma busy_timeout = {busy_timeout}"));
            sqlx::raw_sql(restore).execute(&mut *connection).await.and(checkpoint)
        };
        if let Err(error) = merged.await {
            tracing::debug!(%error, "the write-ahead log was not merged into the index");
        }
    }

    /// Returns the URL of the database without its password.
    pub fn redacted_url(&self) -> &str {
        &self.redacted_url
    }

    /// Returns the I/O error of writing an SQLite file after an error of a writer. SQLite does not report it.
    fn write_error(&self, source: &sqlx::Error) -> Option<io::Error> {
        let Db::Sqlite(pool) = &self.db else { return None };
        if self.retry_timeout.is_none() || !dialect::is_io_error(source) {
            None
        } else {
            pools::check_can_write(pool).err()
        }
    }

    /// True if a reader could not open its SQLite file because it does not exist; SQLite reports only the failure.
    fn is_missing(&self, source: &sqlx::Error) -> bool {
        let Db::Sqlite(pool) = &self.db else { return false };
        self.retry_timeout.is_none() && dialect::is_cannot_open(source) && pools::is_missing(pool)
    }

    /// Returns advice about an SQLite file after an error of a reader, and updates the mode of the next connections.
    fn advice(&self, source: &sqlx::Error) -> Option<String> {
        let (Db::Sqlite(pool), Some(file)) = (&self.db, &self.file) else { return None };
        let is_immutable = file.update_mode(pool);
        if is_immutable || !dialect::is_io_error(source) { None } else { file.advice() }
    }

    pub(crate) fn error(&self, doing: &'static str, source: sqlx::Error) -> Error {
        if matches!(&self.db, Db::Sqlite(pool) if pools::is_directory(pool)) {
            return Error::Directory { database: self.redacted_url().into() };
        }
        if let Some(advice) = self.advice(&source) {
            return Error::SharedMemory { database: self.redacted_url().into(), doing, source, advice };
        }
        match source {
            sqlx::Error::PoolTimedOut => match self.file.as_ref().and_then(|file| file.check().err()) {
                Some(reason) => Error::Unusable { database: self.redacted_url().into(), reason },
                None => Error::Unreachable {
                    database: self.redacted_url().into(),
                    seconds: self.acquire_timeout.as_secs_f32(),
                },
            },
            source
                if dialect::is_malformed(&source)
                    && let Db::Sqlite(pool) = &self.db =>
            {
                Error::Malformed { database: self.redacted_url().into(), doing, source, log: pools::log_path(pool) }
            }
            source if self.is_missing(&source) => Error::Missing { database: self.redacted_url().into() },
            source => match self.write_error(&source) {
                Some(reason) => Error::Unwritable { database: self.redacted_url().into(), doing, source, reason },
                None => Error::Database { database: self.redacted_url().into(), doing, source },
            },
        }
    }
}

impl fmt::Debug for Index {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Index({})", self.redacted_url)
    }
}

impl Transaction {
    pub(crate) async fn commit(self) -> sqlx::Result<()> {
        match self {
            Self::Sqlite(transaction) => transaction.commit().await,
            Self::MySql(mut connection) => {
                sqlx::raw_sql("commit").execute(&mut *connection).await?;
                connection.release();
                Ok(())
            }
        }
    }
}

/// A connection of MySQL during a query. If it is dropped before [`LeasedConnection::release`] it is closed, which ends
/// its transaction. The pool's own guard would return it to the pool: it would wait for the answer of a host that may
/// be dead, and the result of a statement could reach the next user. The place in the pool is free at once, because
/// closing through TLS can take long. SQLite connections have neither problem.
pub(crate) struct LeasedConnection {
    /// `None` once it is released or dropped.
    connection: Option<PoolConnection<MySql>>,
}

impl LeasedConnection {
    pub(crate) async fn acquire(pool: &MySqlPool) -> sqlx::Result<Self> {
        Ok(Self { connection: Some(pool.acquire().await?) })
    }

    /// Returns the connection to the pool. All results must have been read, and no transaction may be open.
    pub(crate) fn release(mut self) {
        self.connection = None;
    }
}

impl Deref for LeasedConnection {
    type Target = MySqlConnection;

    fn deref(&self) -> &MySqlConnection {
        match &self.connection {
            Some(connection) => connection,
            None => unreachable!("a released connection is consumed"),
        }
    }
}

impl DerefMut for LeasedConnection {
    fn deref_mut(&mut self) -> &mut MySqlConnection {
        match &mut self.connection {
            Some(connection) => connection,
            None => unreachable!("a released connection is consumed"),
        }
    }
}

impl Drop for LeasedConnection {
    fn drop(&mut self) {
        let Some(connection) = self.connection.take().map(PoolConnection::detach) else { return };
        if let Ok(runtime) = Handle::try_current() {
            // A clean close, so that the server logs no aborted connection.
            runtime.spawn(tokio::time::timeout(CLOSE_TIMEOUT, connection.close()));
        }
    }
}

#[cfg(test)]
mod tests;
