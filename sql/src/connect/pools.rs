//! The pools of connections, and the watch on a reader's SQLite file.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use sqlx::mysql::{MySqlConnectOptions, MySqlPoolOptions};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection, MySqlConnection, MySqlPool, SqlitePool};

use super::{dialect, sqlite_files};

/// Maximum connections of a reader: more would only queue up inside the database.
pub(crate) const MAX_READ_CONNECTIONS: u32 = 16;
/// Page cache of the connection that writes an SQLite file, in KiB, as SQLite wants it: negative. Build-ids are spread
/// over the whole index.
const WRITE_CACHE: &str = "-65536";
/// Time that SQLite waits for another writer's lock.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// Time that an idle connection of a writer may take to answer a ping.
const PING_TIMEOUT: Duration = Duration::from_secs(3);

/// The access for which an [`Index`](crate::Index) is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// For the gateway: SELECT only, short timeouts.
    ReadOnly,
    /// For the indexer: may create an SQLite file, and retries while the database is unavailable
    /// ([`Index::with_retry_timeout`](crate::Index::with_retry_timeout)).
    ReadWrite,
}

/// Returns the pool of a database in memory.
pub(crate) fn memory() -> SqlitePool {
    // Each further connection would have a database of its own.
    SqlitePoolOptions::new()
        .max_connections(1)
        .idle_timeout(None)
        .max_lifetime(None)
        .connect_lazy_with(SqliteConnectOptions::new().in_memory(true))
}

/// Returns the pool of a file, and for a reader the watch on it. `declared_immutable`: the URL states that the file
/// never changes.
pub(crate) fn sqlite(
    path: &Path,
    declared_immutable: bool,
    access: Access,
    acquire_timeout: Duration,
) -> (SqlitePool, Option<Arc<WatchedFile>>) {
    // Short, because a writer's transaction is retried and the wait is logged in between.
    let options = SqliteConnectOptions::new().filename(path).busy_timeout(acquire_timeout.min(BUSY_TIMEOUT));
    let pool = SqlitePoolOptions::new().acquire_timeout(acquire_timeout).test_before_acquire(false);
    match access {
        Access::ReadWrite => {
            // Readers of archives query the index while a transaction is written ([`sqlite_writer`]).
            let options = options
                .create_if_missing(true)
                .journal_mode(SqliteJournalMode::Wal)
                .synchronous(SqliteSynchronous::Normal)
                .disable_statement_logging();
            (pool.max_connections(2).connect_lazy_with(options), None)
        }
        Access::ReadOnly => {
            let watched = Arc::new(WatchedFile::new(path, declared_immutable));
            let (file, opened) = (watched.clone(), watched.clone());
            let pool = pool
                .max_connections(4)
                .before_acquire(move |_, connection| {
                    let current = file.is_unchanged_for(connection.age);
                    Box::pin(async move { Ok(current) })
                })
                .after_connect(move |_, _| {
                    let matches = opened.check();
                    Box::pin(async move { matches.map_err(sqlx::Error::from) })
                })
                .connect_lazy_with(options.read_only(true).immutable(watched.is_immutable()));
            (pool, Some(watched))
        }
    }
}

/// Returns the pool for the transactions of a writer to the file of `pool`. All of them use one connection: its page
/// cache would be worthless after a transaction of another one.
pub(crate) fn sqlite_writer(pool: &SqlitePool) -> SqlitePool {
    let options = pool.connect_options().as_ref().clone().pragma("cache_size", WRITE_CACHE);
    pool.options().clone().max_connections(1).connect_lazy_with(options)
}

/// Makes the next connections of a pool wait at each commit until it is on the disk.
pub(crate) fn make_durable(pool: &SqlitePool) {
    pool.set_connect_options(pool.connect_options().as_ref().clone().synchronous(SqliteSynchronous::Full));
}

/// Returns the pool of a MySQL server.
pub(crate) fn mysql(options: &MySqlConnectOptions, access: Access, acquire_timeout: Duration) -> MySqlPool {
    let options = options.clone();
    let pool = MySqlPoolOptions::new().acquire_timeout(acquire_timeout).acquire_slow_threshold(acquire_timeout);
    match access {
        Access::ReadOnly => {
            pool.max_connections(MAX_READ_CONNECTIONS).test_before_acquire(false).connect_lazy_with(options)
        }
        Access::ReadWrite => {
            let options = options.disable_statement_logging();
            let reconnect = options.clone();
            pool.max_connections(4)
                .test_before_acquire(false)
                .before_acquire(move |connection, _| {
                    let reconnect = reconnect.clone();
                    Box::pin(async move {
                        if !matches!(tokio::time::timeout(PING_TIMEOUT, connection.ping()).await, Ok(Ok(()))) {
                            // Replaced here, because a dropped connection is closed at once. If this hook refused it,
                            // sqlx would close it with a message and, through TLS, wait for the answer.
                            *connection = reconnect.connect().await?;
                            prepare_to_write(connection).await?;
                        }
                        Ok(true)
                    })
                })
                .after_connect(|connection, _| Box::pin(prepare_to_write(connection)))
                .connect_lazy_with(options)
        }
    }
}

/// True if the server writes this connection's statements into its binary log. A server without these variables has
/// none.
async fn writes_statement_log(connection: &mut MySqlConnection) -> sqlx::Result<bool> {
    const VARIABLES: &str = "show variables where variable_name in ('log_bin', 'sql_log_bin', 'binlog_format')";
    // As bytes: servers return the values as text or as binary strings.
    let variables: Vec<(Vec<u8>, Vec<u8>)> = sqlx::query_as(VARIABLES).fetch_all(connection).await?;
    let is = |name: &str, value: &str| {
        let same = |found: &[u8], text: &str| found.eq_ignore_ascii_case(text.as_bytes());
        variables.iter().any(|(found, is)| same(found, name) && same(is, value))
    };
    Ok(is("log_bin", "ON") && is("binlog_format", "STATEMENT") && !is("sql_log_bin", "OFF"))
}

/// Sets up a new connection of a writer.
async fn prepare_to_write(connection: &mut MySqlConnection) -> sqlx::Result<()> {
    sqlx::raw_sql(dialect::MYSQL_STRICT).execute(&mut *connection).await?;
    let isolation = match writes_statement_log(connection).await? {
        true => dialect::MYSQL_SERIALIZABLE,
        false => dialect::MYSQL_READ_COMMITTED,
    };
    sqlx::raw_sql(isolation).execute(&mut *connection).await?;
    if sqlx::raw_sql(dialect::MARIADB_END_IDLE_TRANSACTIONS).execute(&mut *connection).await.is_err() {
        sqlx::raw_sql(dialect::MYSQL_END_IDLE_CONNECTIONS).execute(&mut *connection).await?;
    }
    // Without the privilege to set either, the connection still works.
    Ok(())
}

/// Checks that the pool's file can be opened, or created in its directory. SQLite would open a read-only file
/// nevertheless, and create read-only files beside it, which keep every later writer out.
pub(crate) fn check_can_open(pool: &SqlitePool, writes: bool) -> io::Result<()> {
    let options = pool.connect_options();
    let path = options.get_filename();
    match File::options().write(writes).read(true).open(path) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == ErrorKind::NotFound => match path.parent() {
            Some(directory) if !directory.as_os_str().is_empty() => match directory.metadata() {
                Ok(_) => Ok(()),
                Err(error) => Err(io::Error::new(
                    error.kind(),
                    format!(
                        "expected a file in an existing directory, found no directory {}: {error}",
                        directory.display()
                    ),
                )),
            },
            _ => Ok(()),
        },
        Err(error) => Err(error),
    }
}

/// True if the pool's file does not exist.
pub(crate) fn is_missing(pool: &SqlitePool) -> bool {
    matches!(file_id(pool.connect_options().get_filename()), Ok(None))
}

/// True if the path of the pool's file is a directory. SQLite reports an I/O error for that.
pub(crate) fn is_directory(pool: &SqlitePool) -> bool {
    pool.connect_options().get_filename().is_dir()
}

/// Returns the path of the write-ahead log of the pool's file.
pub(crate) fn log_path(pool: &SqlitePool) -> PathBuf {
    sqlite_files::beside(pool.connect_options().get_filename(), "-wal")
}

/// Reads the file and its write-ahead log without writing. When a writer closes the file, SQLite merges the log into
/// it, even a log of another file.
pub(crate) async fn check_not_malformed(pool: &SqlitePool) -> sqlx::Result<()> {
    let options = pool.connect_options();
    let path = options.get_filename();
    if sqlite_files::unmerged_bytes(path) == 0 {
        return Ok(());
    }
    let checked = async {
        let options = SqliteConnectOptions::new().filename(path).read_only(true).busy_timeout(BUSY_TIMEOUT);
        let mut connection = options.connect().await?;
        let result =
            sqlx::raw_sql("select count(*) from stores; select max(id) from packages").execute(&mut connection).await;
        connection.close().await?;
        result.map(drop)
    };
    // Other errors are reported by the writer's own queries.
    checked.await.or_else(|error| if dialect::is_malformed(&error) { Err(error) } else { Ok(()) })
}

/// Checks that the pool's file and its companion files can be written.
pub(crate) fn check_can_write(pool: &SqlitePool) -> io::Result<()> {
    let options = pool.connect_options();
    let path = options.get_filename();
    for file in [path, &sqlite_files::beside(path, "-wal"), &sqlite_files::beside(path, "-shm")] {
        if let Err(error) = File::options().append(true).open(file) {
            return Err(io::Error::new(error.kind(), format!("{}: {error}", file.display())));
        }
    }
    Ok(())
}

/// Detects that the file was replaced after the pool's connections were opened. Device and inode tell files apart: an
/// open file's inode number is not reused.
pub(crate) struct WatchedFile {
    path: PathBuf,
    /// True if the URL declares that the file never changes.
    declared_immutable: bool,
    /// True if new connections are opened as immutable: they read no log and need no shared memory.
    immutable: AtomicBool,
    /// `PATH-wal`, the write-ahead log. It does not tell which file it belongs to.
    log: PathBuf,
    state: Mutex<FileState>,
}

/// The file and its log at the last check.
struct FileState {
    file: Option<FileId>,
    /// Size and modification time; checked for immutable files.
    contents: Option<(u64, i64, i64)>,
    /// The time since which this file is at the path.
    since: Instant,
    log: Option<FileId>,
    /// The file that was at the path when the log appeared.
    log_owner: Option<FileId>,
}

/// Device and inode number.
type FileId = (u64, u64);

impl WatchedFile {
    fn new(path: &Path, declared_immutable: bool) -> Self {
        let (path, log) = (PathBuf::from(path), sqlite_files::beside(path, "-wal"));
        let file = file_id(&path).unwrap_or_default();
        let contents = size_and_mtime(&path);
        let state = FileState {
            file,
            contents,
            since: Instant::now(),
            log: file_id(&log).unwrap_or_default(),
            log_owner: file,
        };
        let immutable = AtomicBool::new(declared_immutable || is_immutable(&path));
        Self { path, declared_immutable, immutable, log, state: Mutex::new(state) }
    }

    fn is_immutable(&self) -> bool {
        self.immutable.load(Ordering::Relaxed)
    }

    /// Checks again if the file can change, as media can be mounted or exchanged, and sets the mode of the pool's next
    /// connections. True if it cannot.
    pub(crate) fn update_mode(&self, pool: &SqlitePool) -> bool {
        let immutable = self.declared_immutable || is_immutable(&self.path);
        if self.immutable.swap(immutable, Ordering::Relaxed) != immutable {
            self.state.lock().unwrap_or_else(PoisonError::into_inner).since = Instant::now();
            pool.set_connect_options(pool.connect_options().as_ref().clone().immutable(immutable));
        }
        immutable
    }

    /// Refuses a new connection that would not read the current index. The pool retries until its timeout, and does not
    /// report this reason.
    pub(crate) fn check(&self) -> io::Result<()> {
        self.check_mode().and_then(|()| self.check_log())
    }

    /// Refuses an immutable connection if the file can change, or is not the whole index.
    fn check_mode(&self) -> io::Result<()> {
        if !self.is_immutable() {
            return Ok(());
        }
        let unmerged = sqlite_files::unmerged_bytes(&self.path);
        if unmerged > 0 {
            return Err(io::Error::other(format!(
                "{}: expected an index that never changes, found {unmerged} bytes in {} that are not merged into it: \
                 run `darkserver-import migrate` where both can be written",
                self.path.display(),
                self.log.display()
            )));
        }
        if !self.declared_immutable && !sqlite_files::is_read_only(&self.path) {
            return Err(io::Error::other(format!(
                "{}: its file system is not read-only any more",
                self.path.display()
            )));
        }
        Ok(())
    }

    /// Returns advice about the file, if there is some.
    pub(crate) fn advice(&self) -> Option<String> {
        sqlite_files::advice(&self.path)
    }

    fn refresh(&self) -> MutexGuard<'_, FileState> {
        let (file, log) = (file_id(&self.path), file_id(&self.log));
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        // An unreadable file does not count as replaced.
        let (Ok(file), Ok(log)) = (file, log) else { return state };
        let contents = self.is_immutable().then(|| size_and_mtime(&self.path)).flatten();
        if state.file != file || (contents.is_some() && state.contents != contents) {
            (state.file, state.since) = (file, Instant::now());
        }
        state.contents = contents.or(state.contents);
        if file.is_some() && (state.log != log || state.log_owner.is_none()) {
            (state.log, state.log_owner) = (log, file);
        }
        state
    }

    /// True if a connection of this age has the current file open.
    fn is_unchanged_for(&self, connection_age: Duration) -> bool {
        connection_age < self.refresh().since.elapsed()
    }

    /// Refuses a log of another file: SQLite would use its pages as pages of this file.
    fn check_log(&self) -> io::Result<()> {
        let is_stale = {
            let state = self.refresh();
            state.file.is_some() && state.log.is_some() && state.log_owner != state.file
        };
        if is_stale && self.log.metadata().is_ok_and(|log| log.len() > 0) {
            let (path, log) = (self.path.display(), self.log.display());
            return Err(io::Error::other(format!(
                "{path}: expected its own log beside it, found {log}, which belongs to a former file: stop the \
                 programs that write to it, and remove the log with its -shm"
            )));
        }
        Ok(())
    }
}

/// True if the file cannot change and is the whole index.
fn is_immutable(path: &Path) -> bool {
    sqlite_files::unmerged_bytes(path) == 0 && sqlite_files::is_read_only(path)
}

/// Returns size and modification time.
fn size_and_mtime(path: &Path) -> Option<(u64, i64, i64)> {
    path.metadata().ok().map(|file| (file.size(), file.mtime(), file.mtime_nsec()))
}

/// Returns `None` if there is no file.
fn file_id(path: &Path) -> io::Result<Option<FileId>> {
    match path.metadata() {
        Ok(file) => Ok(Some((file.dev(), file.ino()))),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests;
