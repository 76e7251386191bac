//! The handle: one of two pools, and the macros that write a body once for both.

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

/// Expands a body once per database. `both!(Db, &self.db, |pool, Backend| ...)` takes an enum with the variants `Sqlite` and
/// `MySql`; in the body `pool` is what the variant holds and `Backend` is sqlx's type of the database.
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

/// How long a writer waits for a database in trouble, unless [`Index::with_retry_timeout`] says otherwise.
const DEFAULT_RETRY_TIMEOUT: Duration = Duration::from_secs(300);

/// How long a server may take to close a connection that is not needed any more.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// How long [`Index::checkpoint`] waits for others.
const CHECKPOINT_BUSY_TIMEOUT: &str = "pragma busy_timeout = 200";

/// The index. Cheap to clone: clones share their connections.
#[derive(Clone)]
pub struct Index {
    pub(crate) db: Db,
    name: Arc<str>,
    /// The SQLite file of a reader.
    file: Option<Arc<WatchedFile>>,
    /// For a connection.
    pub(crate) acquire_timeout: Duration,
    /// For a database in trouble.
    pub(crate) retry_timeout: Option<Duration>,
}

#[derive(Clone)]
pub(crate) enum Db {
    Sqlite(SqlitePool),
    MySql(MySqlPool),
}

/// A transaction that writes. Dropped without [`Transaction::commit`], also in the middle, it leaves nothing behind.
pub(crate) enum Transaction {
    Sqlite(sqlx::Transaction<'static, Sqlite>),
    MySql(LeasedConnection),
}

impl Index {
    /// Opens an index. Connects only when something is asked, so it succeeds with the database down; what is asked then is an
    /// error. Wants to be called inside a Tokio runtime.
    ///
    /// An SQLite file is made only by a [`Access::ReadWrite`] that writes. A [`Access::ReadOnly`] notices when the file
    /// appears or is replaced; its process needs the right to write in the file's directory, where SQLite keeps its shared
    /// memory, unless the file cannot change: its file system is read-only, or the URL says `immutable=1`.
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
        let (db, file) = match url.address() {
            Address::SqliteMemory => (Db::Sqlite(pools::memory()), None),
            Address::Sqlite { immutable: true, .. } if access == Access::ReadWrite => {
                return Err(Error::Url {
                    expected: "no immutable=1 for an index that is written",
                    found: url.to_string(),
                });
            }
            Address::Sqlite { path, immutable } => {
                let (pool, file) = pools::sqlite(path, *immutable, access, acquire_timeout);
                (Db::Sqlite(pool), file)
            }
            Address::MySql { options, .. } => (Db::MySql(pools::mysql(options, access, acquire_timeout)), None),
        };
        Ok(Self { db, name: url.to_string().into(), file, acquire_timeout, retry_timeout })
    }

    /// Connects once, without the patience of the pool: a database that is down says so at once, and why. Wants to be called
    /// before anything is asked.
    ///
    /// # Errors
    /// If no connection can be had within 10 s, or a writer may not write to its SQLite file.
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
                // An SQLite file is locked for a moment when another program closes it as the last one.
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
            Err(_) => Err(Error::Unreachable { database: self.name().into(), seconds: CONNECT_TIMEOUT.as_secs_f32() }),
        }
    }

    pub(crate) async fn begin(&self) -> sqlx::Result<Transaction> {
        Ok(match &self.db {
            Db::Sqlite(pool) => Transaction::Sqlite(pool.begin_with(Sqlite::BEGIN).await?),
            Db::MySql(pool) => {
                let mut connection = LeasedConnection::acquire(pool).await?;
                sqlx::raw_sql(MySql::BEGIN).execute(&mut *connection).await?;
                Transaction::MySql(connection)
            }
        })
    }

    /// Empties the log beside an SQLite file into the file, unless somebody uses it in this moment: the file alone is the index then,
    /// can be copied, and takes the least of the disk. What does not succeed now the next writer does. On a server there is nothing to do.
    pub async fn checkpoint(&self) {
        let Db::Sqlite(pool) = &self.db else { return };
        let settled = async {
            let mut connection = pool.acquire().await?;
            let patience: i64 = sqlx::query_scalar("pragma busy_timeout").fetch_one(&mut *connection).await?;
            sqlx::query(CHECKPOINT_BUSY_TIMEOUT).execute(&mut *connection).await?;
            let checkpoint = sqlx::query("pragma wal_checkpoint(truncate)").execute(&mut *connection).await;
            let back = AssertSqlSafe(format!("pragma busy_timeout = {patience}"));
            sqlx::raw_sql(back).execute(&mut *connection).await.and(checkpoint)
        };
        if let Err(error) = settled.await {
            tracing::debug!(%error, "the log beside the index stays");
        }
    }

    /// The database's URL, without a password.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Why an SQLite file that a writer met an error with cannot be written, if that is so: SQLite does not say.
    fn write_error(&self, source: &sqlx::Error) -> Option<io::Error> {
        let Db::Sqlite(pool) = &self.db else { return None };
        if self.retry_timeout.is_none() || !dialect::is_io_error(source) {
            None
        } else {
            pools::check_can_write(pool).err()
        }
    }

    /// True if a reader could not open its SQLite file because there is none. SQLite states only that it could not.
    fn is_missing(&self, source: &sqlx::Error) -> bool {
        let Db::Sqlite(pool) = &self.db else { return false };
        self.retry_timeout.is_none() && dialect::is_cannot_open(source) && pools::is_missing(pool)
    }

    /// What could be done about an SQLite file that a reader met an error with; the next connection is made as it is
    /// needed now.
    fn advice(&self, source: &sqlx::Error) -> Option<String> {
        let (Db::Sqlite(pool), Some(file)) = (&self.db, &self.file) else { return None };
        let is_immutable = file.update_mode(pool);
        if is_immutable || !dialect::is_io_error(source) { None } else { file.advice() }
    }

    pub(crate) fn error(&self, doing: &'static str, source: sqlx::Error) -> Error {
        if matches!(&self.db, Db::Sqlite(pool) if pools::is_directory(pool)) {
            return Error::Directory { database: self.name().into() };
        }
        if let Some(advice) = self.advice(&source) {
            return Error::SharedMemory { database: self.name().into(), doing, source, advice };
        }
        match source {
            sqlx::Error::PoolTimedOut => match self.file.as_ref().and_then(|file| file.check().err()) {
                Some(reason) => Error::Unusable { database: self.name().into(), reason },
                None => {
                    Error::Unreachable { database: self.name().into(), seconds: self.acquire_timeout.as_secs_f32() }
                }
            },
            source
                if dialect::is_malformed(&source)
                    && let Db::Sqlite(pool) = &self.db =>
            {
                Error::Malformed { database: self.name().into(), doing, source, log: pools::log_path(pool) }
            }
            source if self.is_missing(&source) => Error::Missing { database: self.name().into() },
            source => match self.write_error(&source) {
                Some(reason) => Error::Unwritable { database: self.name().into(), doing, source, reason },
                None => Error::Database { database: self.name().into(), doing, source },
            },
        }
    }
}

impl fmt::Debug for Index {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Index({})", self.name)
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

/// A connection of MySQL while something is asked. Dropped before [`LeasedConnection::release`] it is closed, which ends its transaction:
/// sqlx would give it back to the pool, waiting for the answer of a host that may have vanished, and a statement that was being
/// prepared would leave its answer to whoever asks next. Its place in the pool is free at once: to close it is to take leave of the
/// server, and through TLS sqlx waits for the server to do so, too. An SQLite connection knows none of that.
pub(crate) struct LeasedConnection {
    /// Until it is given back or dropped.
    connection: Option<PoolConnection<MySql>>,
}

impl LeasedConnection {
    pub(crate) async fn acquire(pool: &MySqlPool) -> sqlx::Result<Self> {
        Ok(Self { connection: Some(pool.acquire().await?) })
    }

    /// Every answer was read, and no transaction is open.
    pub(crate) fn release(mut self) {
        self.connection = None;
    }
}

impl Deref for LeasedConnection {
    type Target = MySqlConnection;

    fn deref(&self) -> &MySqlConnection {
        match &self.connection {
            Some(connection) => connection,
            None => unreachable!("who gives it back has it no more"),
        }
    }
}

impl DerefMut for LeasedConnection {
    fn deref_mut(&mut self) -> &mut MySqlConnection {
        match &mut self.connection {
            Some(connection) => connection,
            None => unreachable!("who gives it back has it no more"),
        }
    }
}

impl Drop for LeasedConnection {
    fn drop(&mut self) {
        let Some(connection) = self.connection.take().map(PoolConnection::detach) else { return };
        if let Ok(runtime) = Handle::try_current() {
            // The server would complain of one that is just gone.
            runtime.spawn(tokio::time::timeout(CLOSE_TIMEOUT, connection.close()));
        }
    }
}
