//! The handle: two pools, and the macros that write a body once for both.

use std::fmt;
use std::fs::File;
use std::io::{self, ErrorKind};
use std::ops::{Deref, DerefMut};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use sqlx::mysql::MySqlPoolOptions;
use sqlx::pool::PoolConnection;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection, MySql, MySqlConnection, MySqlPool, Sqlite, SqlitePool};

use crate::database_url::Target;
use crate::dialect::{self, Dialect};
use crate::{DatabaseUrl, Error, Result};

/// Expands a body once per database. `both!(Db, &self.db, |pool, Backend| ...)` takes an enum with the variants `Sqlite` and
/// `MySql`; in the body `pool` is what the variant holds and `Backend` is sqlx's type of the database.
macro_rules! both {
    ($of:ident, $value:expr, |$inner:ident, $backend:ident| $body:expr) => {
        match $value {
            $crate::db::$of::Sqlite($inner) => {
                #[expect(clippy::allow_attributes, reason = "not every body needs the type")]
                #[allow(dead_code)]
                type $backend = sqlx::Sqlite;
                $body
            }
            $crate::db::$of::MySql($inner) => {
                #[expect(clippy::allow_attributes, reason = "not every body needs the type")]
                #[allow(dead_code)]
                type $backend = sqlx::MySql;
                $body
            }
        }
    };
}
pub(crate) use both;

/// [`both`] for a query that only reads: `asking!(&self.db, |connection, Backend| ...)`. The body may be dropped in the middle,
/// see [`Lent`].
macro_rules! asking {
    ($db:expr, |$connection:ident, $backend:ident| $body:expr) => {
        match $db {
            $crate::db::Db::Sqlite($connection) => {
                type $backend = sqlx::Sqlite;
                $body
            }
            $crate::db::Db::MySql(pool) => {
                type $backend = sqlx::MySql;
                let mut lent = $crate::db::Lent::from(pool).await?;
                let $connection = &mut *lent;
                let result = $body;
                lent.give_back();
                result
            }
        }
    };
}
pub(crate) use asking;

/// Connections of a reader: more only queue up inside the database.
pub(crate) const READERS: u32 = 16;
/// How long SQLite waits for another writer before it says that there is one.
const BUSY: Duration = Duration::from_secs(5);
/// How long an idle connection of a writer may take to show that it lives. One whose host vanished never would.
const PING: Duration = Duration::from_secs(3);
/// How long a writer waits for a database in trouble, unless [`Index::waiting`] says otherwise.
const WAIT: Duration = Duration::from_secs(300);

/// What an [`Index`] is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// The gateway: SELECT alone, short waits.
    ReadOnly,
    /// The indexer: may create an SQLite file, and waits for a database that is away ([`Index::waiting`]).
    ReadWrite,
}

/// The index. Cheap to clone: clones share their connections.
#[derive(Clone)]
pub struct Index {
    pub(crate) db: Db,
    name: Arc<str>,
    /// For a connection.
    pub(crate) patience: Duration,
    /// For a database in trouble.
    pub(crate) wait: Option<Duration>,
}

#[derive(Clone)]
pub(crate) enum Db {
    Sqlite(SqlitePool),
    MySql(MySqlPool),
}

/// A transaction that writes. Dropped without [`Transaction::commit`], also in the middle, it leaves nothing behind.
pub(crate) enum Transaction {
    Sqlite(sqlx::Transaction<'static, Sqlite>),
    MySql(Lent),
}

impl Index {
    /// Opens an index. Connects only when something is asked, so it succeeds with the database down; what is asked then is an
    /// error. Wants to be called inside a Tokio runtime.
    ///
    /// An SQLite file is made only by a [`Access::ReadWrite`] that writes. A [`Access::ReadOnly`] notices when the file appears or
    /// is replaced; its process needs the right to write in the file's folder, where SQLite keeps its shared memory.
    ///
    /// # Errors
    /// [`Error::Url`] if the parameters of the URL mean nothing.
    pub fn open(url: &DatabaseUrl, access: Access) -> Result<Self> {
        let (patience, wait) = match access {
            Access::ReadOnly => (Duration::from_millis(1500), None),
            Access::ReadWrite => (Duration::from_secs(if url.is_sqlite() { 30 } else { 10 }), Some(WAIT)),
        };
        let db = match url.target() {
            Target::SqliteMemory => Db::Sqlite(memory()),
            Target::Sqlite(path) => Db::Sqlite(sqlite(path, access, patience)),
            Target::MySql(_) => Db::MySql(mysql(url, access, patience)?),
        };
        Ok(Self { db, name: url.to_string().into(), patience, wait })
    }

    /// Connects once, without the patience of the pool: a database that is down says so at once, and why. Wants to be called
    /// before anything is asked.
    ///
    /// # Errors
    /// If no connection can be had within 10 s, or a writer may not write to its SQLite file.
    pub async fn reach(&self) -> Result<()> {
        const WITHIN: Duration = Duration::from_secs(10);
        self.may_write().map_err(|source| self.error("opening", source.into()))?;
        let reached = tokio::time::timeout(WITHIN, async {
            let begun = Instant::now();
            loop {
                // An SQLite file is locked for a moment when another program closes it as the last one.
                let connect =
                    async { both!(Db, &self.db, |pool, Backend| pool.connect_options().connect().await?.close().await) };
                match connect.await {
                    Err(error) if dialect::is_conflict(&error) && begun.elapsed() < WITHIN / 2 => {
                        tokio::time::sleep(Duration::from_millis(50)).await;
                    }
                    connected => break connected,
                }
            }
        });
        match reached.await {
            Ok(reached) => reached.map_err(|source| self.error("connecting", source)),
            Err(_) => Err(Error::Unreachable { database: self.name(), seconds: WITHIN.as_secs_f32() }),
        }
    }

    /// SQLite would open a file that is read-only nevertheless, and leave read-only files beside it, which keep every later writer
    /// out.
    fn may_write(&self) -> io::Result<()> {
        let Db::Sqlite(pool) = &self.db else { return Ok(()) };
        let file = pool.connect_options();
        match File::options().write(self.wait.is_some()).read(true).open(file.get_filename()) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    pub(crate) async fn begin(&self) -> sqlx::Result<Transaction> {
        Ok(match &self.db {
            Db::Sqlite(pool) => Transaction::Sqlite(pool.begin_with(Sqlite::BEGIN).await?),
            Db::MySql(pool) => {
                let mut connection = Lent::from(pool).await?;
                sqlx::raw_sql(MySql::BEGIN).execute(&mut *connection).await?;
                Transaction::MySql(connection)
            }
        })
    }

    /// The database, without a password.
    pub(crate) fn name(&self) -> String {
        self.name.to_string()
    }

    pub(crate) fn error(&self, doing: &'static str, source: sqlx::Error) -> Error {
        match source {
            sqlx::Error::PoolTimedOut => Error::Unreachable { database: self.name(), seconds: self.patience.as_secs_f32() },
            source => Error::Database { database: self.name(), doing, source },
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
                connection.give_back();
                Ok(())
            }
        }
    }
}

/// A connection of MySQL while something is asked. Dropped before [`Lent::give_back`] it is closed, which ends its transaction:
/// sqlx would give it back to the pool, waiting for the answer of a host that may have vanished, and a statement that was being
/// prepared would leave its answer to whoever asks next. An SQLite connection knows neither.
pub(crate) struct Lent {
    connection: PoolConnection<MySql>,
    answered: bool,
}

impl Lent {
    pub(crate) async fn from(pool: &MySqlPool) -> sqlx::Result<Self> {
        Ok(Self { connection: pool.acquire().await?, answered: false })
    }

    /// Every answer was read, and no transaction is open.
    pub(crate) fn give_back(mut self) {
        self.answered = true;
    }
}

impl Deref for Lent {
    type Target = MySqlConnection;

    fn deref(&self) -> &MySqlConnection {
        &self.connection
    }
}

impl DerefMut for Lent {
    fn deref_mut(&mut self) -> &mut MySqlConnection {
        &mut self.connection
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if !self.answered {
            self.connection.close_on_drop();
        }
    }
}

fn memory() -> SqlitePool {
    // Every connection would be a database of its own.
    SqlitePoolOptions::new()
        .max_connections(1)
        .idle_timeout(None)
        .max_lifetime(None)
        .connect_lazy_with(SqliteConnectOptions::new().in_memory(true))
}

fn sqlite(path: &Path, access: Access, patience: Duration) -> SqlitePool {
    // A writer's transaction is begun again: what it waits for is told in between.
    let options = SqliteConnectOptions::new().filename(path).busy_timeout(patience.min(BUSY));
    let pool = SqlitePoolOptions::new().acquire_timeout(patience).test_before_acquire(false);
    match access {
        Access::ReadWrite => pool.max_connections(1).connect_lazy_with(
            options
                .create_if_missing(true)
                .journal_mode(SqliteJournalMode::Wal)
                .synchronous(SqliteSynchronous::Normal)
                .pragma("cache_size", "-65536")
                .disable_statement_logging(),
        ),
        Access::ReadOnly => {
            let file = Arc::new(WatchedFile::new(path));
            pool.max_connections(4)
                .before_acquire(move |_, connection| {
                    let current = file.is_unchanged_for(connection.age);
                    Box::pin(async move { Ok(current) })
                })
                .connect_lazy_with(options.read_only(true))
        }
    }
}

fn mysql(url: &DatabaseUrl, access: Access, patience: Duration) -> Result<MySqlPool> {
    let options = url.mysql_options()?;
    let pool = MySqlPoolOptions::new().acquire_timeout(patience).acquire_slow_threshold(patience);
    Ok(match access {
        Access::ReadOnly => pool.max_connections(READERS).test_before_acquire(false).connect_lazy_with(options),
        Access::ReadWrite => pool
            .max_connections(4)
            .test_before_acquire(false)
            .before_acquire(|connection, _| {
                Box::pin(async move { Ok(matches!(tokio::time::timeout(PING, connection.ping()).await, Ok(Ok(())))) })
            })
            .after_connect(|connection, _| {
                Box::pin(async move {
                    for statement in dialect::MYSQL_WRITER {
                        sqlx::raw_sql(statement).execute(&mut *connection).await?;
                    }
                    Ok(())
                })
            })
            .connect_lazy_with(options.disable_statement_logging()),
    })
}

/// Notices that another file stands where the pool's connections found theirs. While one of them is open its file's number is not
/// given out again, so device and number tell files apart.
struct WatchedFile {
    path: PathBuf,
    state: Mutex<(Option<(u64, u64)>, Instant)>,
}

impl WatchedFile {
    fn new(path: &Path) -> Self {
        Self { path: path.into(), state: Mutex::new((number(path), Instant::now())) }
    }

    /// Is the file that stands there now the one that a connection of this age has open?
    fn is_unchanged_for(&self, connection_age: Duration) -> bool {
        let found = number(&self.path);
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.0 != found {
            *state = (found, Instant::now());
        }
        connection_age < state.1.elapsed()
    }
}

fn number(path: &Path) -> Option<(u64, u64)> {
    path.metadata().ok().map(|file| (file.dev(), file.ino()))
}
