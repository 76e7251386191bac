//! The pools: how connections are made, and how an SQLite file is watched.

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

use super::{dialect, media};

/// Connections of a reader: more only queue up inside the database.
pub(crate) const READERS: u32 = 16;
/// Connections of a writer to an SQLite file: while a transaction is written, those who read archives ask what the index holds.
const SQLITE_WRITERS: u32 = 2;
/// How long SQLite waits for another writer before it says that there is one.
const BUSY: Duration = Duration::from_secs(5);
/// How long an idle connection of a writer may take to show that it lives. One whose host vanished never would.
const PING: Duration = Duration::from_secs(3);

/// What an [`Index`](crate::Index) is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// The gateway: SELECT alone, short waits.
    ReadOnly,
    /// The indexer: may create an SQLite file, and waits for a database that is away ([`Index::with_retry_timeout`](crate::Index::with_retry_timeout)).
    ReadWrite,
}

/// A database in memory.
pub(crate) fn memory() -> SqlitePool {
    // Every connection would be a database of its own.
    SqlitePoolOptions::new()
        .max_connections(1)
        .idle_timeout(None)
        .max_lifetime(None)
        .connect_lazy_with(SqliteConnectOptions::new().in_memory(true))
}

/// A file, which a reader watches. It never changes if its URL says so (`promised`).
pub(crate) fn sqlite(
    path: &Path,
    promised: bool,
    access: Access,
    patience: Duration,
) -> (SqlitePool, Option<Arc<WatchedFile>>) {
    // A writer's transaction is begun again: what it waits for is told in between.
    let options = SqliteConnectOptions::new().filename(path).busy_timeout(patience.min(BUSY));
    let pool = SqlitePoolOptions::new().acquire_timeout(patience).test_before_acquire(false);
    match access {
        Access::ReadWrite => {
            let options = options
                .create_if_missing(true)
                .journal_mode(SqliteJournalMode::Wal)
                .synchronous(SqliteSynchronous::Normal)
                .pragma("cache_size", "-65536")
                .disable_statement_logging();
            (pool.max_connections(SQLITE_WRITERS).connect_lazy_with(options), None)
        }
        Access::ReadOnly => {
            let watched = Arc::new(WatchedFile::new(path, promised));
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

/// A server.
pub(crate) fn mysql(options: &MySqlConnectOptions, access: Access, patience: Duration) -> MySqlPool {
    let options = options.clone();
    let pool = MySqlPoolOptions::new().acquire_timeout(patience).acquire_slow_threshold(patience);
    match access {
        Access::ReadOnly => pool.max_connections(READERS).test_before_acquire(false).connect_lazy_with(options),
        Access::ReadWrite => {
            let options = options.disable_statement_logging();
            let again = options.clone();
            pool.max_connections(4)
                .test_before_acquire(false)
                .before_acquire(move |connection, _| {
                    let again = again.clone();
                    Box::pin(async move {
                        if !matches!(tokio::time::timeout(PING, connection.ping()).await, Ok(Ok(()))) {
                            // In its place, for what is dropped is cut off at once. Were it refused here, sqlx would take leave of it, and
                            // through TLS wait for an answer.
                            *connection = again.connect().await?;
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

/// True if the server writes the statements of this connection into its binary log. A server that does not state it has no such log.
async fn writes_statement_log(connection: &mut MySqlConnection) -> sqlx::Result<bool> {
    const VARIABLES: &str = "show variables where variable_name in ('log_bin', 'sql_log_bin', 'binlog_format')";
    // As bytes: some servers give the values as texts, others as binary strings.
    let variables: Vec<(Vec<u8>, Vec<u8>)> = sqlx::query_as(VARIABLES).fetch_all(connection).await?;
    let is = |name: &str, value: &str| {
        let same = |found: &[u8], text: &str| found.eq_ignore_ascii_case(text.as_bytes());
        variables.iter().any(|(found, is)| same(found, name) && same(is, value))
    };
    Ok(is("log_bin", "ON") && is("binlog_format", "STATEMENT") && !is("sql_log_bin", "OFF"))
}

/// What a new connection of a writer is told.
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
    // Who may not say so is told what the server says when a table is made.
    Ok(())
}

/// May the pool's file be written, or read at least, or be made in its directory? SQLite would open a file that is read-only
/// nevertheless, and leave read-only files beside it, which keep every later writer out.
pub(crate) fn may_open(pool: &SqlitePool, writes: bool) -> io::Result<()> {
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
    matches!(number(pool.connect_options().get_filename()), Ok(None))
}

/// True if a directory is where the pool's file should be. SQLite states an input or output error.
pub(crate) fn is_directory(pool: &SqlitePool) -> bool {
    pool.connect_options().get_filename().is_dir()
}

/// The log beside the pool's file.
pub(crate) fn log_of(pool: &SqlitePool) -> PathBuf {
    media::beside(pool.connect_options().get_filename(), "-wal")
}

/// Looks at the file with the log beside it without writing: when a writer leaves, what is in the log is written into the file, also
/// where the log is of another one.
pub(crate) async fn refuse_malformed(pool: &SqlitePool) -> sqlx::Result<()> {
    let options = pool.connect_options();
    let path = options.get_filename();
    if media::unmerged_bytes(path) == 0 {
        return Ok(());
    }
    let looked = async {
        let options = SqliteConnectOptions::new().filename(path).read_only(true).busy_timeout(BUSY);
        let mut connection = options.connect().await?;
        let looked =
            sqlx::raw_sql("select count(*) from stores; select max(id) from packages").execute(&mut connection).await;
        connection.close().await?;
        looked.map(drop)
    };
    // Whatever else is wrong the writer meets.
    looked.await.or_else(|error| if dialect::is_malformed(&error) { Err(error) } else { Ok(()) })
}

/// May the pool's file and those beside it be written?
pub(crate) fn may_write(pool: &SqlitePool) -> io::Result<()> {
    let options = pool.connect_options();
    let path = options.get_filename();
    for file in [path, &media::beside(path, "-wal"), &media::beside(path, "-shm")] {
        if let Err(error) = File::options().append(true).open(file) {
            return Err(io::Error::new(error.kind(), format!("{}: {error}", file.display())));
        }
    }
    Ok(())
}

/// Notices that another file stands where the pool's connections found theirs. While one of them is open its file's number is not
/// given out again, so device and number tell files apart.
pub(crate) struct WatchedFile {
    path: PathBuf,
    /// Its URL says that it never changes.
    promised: bool,
    /// New connections are told that it never changes: they look at no log, and need no shared memory.
    immutable: AtomicBool,
    /// `PATH-wal`, where SQLite keeps what is not in the file yet. It says nothing of the file that it belongs to.
    log: PathBuf,
    seen: Mutex<Seen>,
}

/// What stood there when it was last looked.
struct Seen {
    file: Option<Number>,
    /// Its bytes and the time of its last change: of interest where it is believed never to change.
    contents: Option<(u64, i64, i64)>,
    /// Since when the file is the one that it is.
    since: Instant,
    log: Option<Number>,
    /// The file that stood there when the log came.
    owner: Option<Number>,
}

/// Device and number of a file.
type Number = (u64, u64);

impl WatchedFile {
    fn new(path: &Path, promised: bool) -> Self {
        let (path, log) = (PathBuf::from(path), media::beside(path, "-wal"));
        let file = number(&path).unwrap_or_default();
        let contents = contents(&path);
        let seen = Seen { file, contents, since: Instant::now(), log: number(&log).unwrap_or_default(), owner: file };
        let immutable = AtomicBool::new(promised || is_immutable(&path));
        Self { path, promised, immutable, log, seen: Mutex::new(seen) }
    }

    fn is_immutable(&self) -> bool {
        self.immutable.load(Ordering::Relaxed)
    }

    /// Looks again whether the file can change, as media may be mounted or exchanged, and makes the pool's next
    /// connections so. True if it cannot.
    pub(crate) fn choose_mode(&self, pool: &SqlitePool) -> bool {
        let immutable = self.promised || is_immutable(&self.path);
        if self.immutable.swap(immutable, Ordering::Relaxed) != immutable {
            self.seen.lock().unwrap_or_else(PoisonError::into_inner).since = Instant::now();
            pool.set_connect_options(pool.connect_options().as_ref().clone().immutable(immutable));
        }
        immutable
    }

    /// Refuses a new connection where it would not see the index as it is. The pool tries again until its patience ends, and
    /// does not state why.
    pub(crate) fn check(&self) -> io::Result<()> {
        self.check_mode().and_then(|()| self.matches_its_log())
    }

    /// Refuses a connection that was told that the file never changes, if it can change or is not the whole index.
    fn check_mode(&self) -> io::Result<()> {
        if !self.is_immutable() {
            return Ok(());
        }
        let unmerged = media::unmerged_bytes(&self.path);
        if unmerged > 0 {
            return Err(io::Error::other(format!(
                "{}: expected an index that never changes, found {unmerged} bytes in {} that are not merged into it: run \
                 `darkserver-import migrate` where both can be written",
                self.path.display(),
                self.log.display()
            )));
        }
        if !self.promised && !media::is_read_only(&self.path) {
            return Err(io::Error::other(format!(
                "{}: its file system is not read-only any more",
                self.path.display()
            )));
        }
        Ok(())
    }

    /// What a reader could do about the file.
    pub(crate) fn advice(&self) -> Option<String> {
        media::advice(&self.path)
    }

    fn look(&self) -> MutexGuard<'_, Seen> {
        let (file, log) = (number(&self.path), number(&self.log));
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        // What cannot be looked at is not taken for another one.
        let (Ok(file), Ok(log)) = (file, log) else { return seen };
        let contents = self.is_immutable().then(|| contents(&self.path)).flatten();
        if seen.file != file || (contents.is_some() && seen.contents != contents) {
            (seen.file, seen.since) = (file, Instant::now());
        }
        seen.contents = contents.or(seen.contents);
        if file.is_some() && (seen.log != log || seen.owner.is_none()) {
            (seen.log, seen.owner) = (log, file);
        }
        seen
    }

    /// Is the file that stands there now the one that a connection of this age has open?
    fn is_unchanged_for(&self, connection_age: Duration) -> bool {
        connection_age < self.look().since.elapsed()
    }

    /// SQLite takes whatever log it finds for the file's own, and another file's pages for those of this one: what is in it would be
    /// absent.
    fn matches_its_log(&self) -> io::Result<()> {
        let is_stale = {
            let seen = self.look();
            seen.file.is_some() && seen.log.is_some() && seen.owner != seen.file
        };
        if is_stale && self.log.metadata().is_ok_and(|log| log.len() > 0) {
            let (path, log) = (self.path.display(), self.log.display());
            return Err(io::Error::other(format!(
                "{path}: expected a log of its own beside it, found {log} of the file that stood there before: stop who writes there, and \
                 remove it with its -shm"
            )));
        }
        Ok(())
    }
}

/// True if a file cannot change, and is the whole index.
fn is_immutable(path: &Path) -> bool {
    media::unmerged_bytes(path) == 0 && media::is_read_only(path)
}

/// Bytes and time of the last change.
fn contents(path: &Path) -> Option<(u64, i64, i64)> {
    path.metadata().ok().map(|file| (file.size(), file.mtime(), file.mtime_nsec()))
}

/// `None` where there is no file.
fn number(path: &Path) -> io::Result<Option<Number>> {
    match path.metadata() {
        Ok(file) => Ok(Some((file.dev(), file.ino()))),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_log_belongs_to_the_file_that_it_came_to() {
        let folder = tempfile::tempdir().unwrap();
        let [path, log, other, moved] = ["i", "i-wal", "o", "m"].map(|name| folder.path().join(name));
        for file in [&path, &log, &other] {
            fs::write(file, "x").unwrap();
        }
        let watched = WatchedFile::new(&path, false);
        assert!(watched.matches_its_log().is_ok());
        // It goes and comes back.
        fs::rename(&path, &moved).unwrap();
        assert!(watched.matches_its_log().is_ok());
        fs::rename(&moved, &path).unwrap();
        assert!(watched.matches_its_log().is_ok());
        // Another one, and the first again.
        fs::rename(&path, &moved).unwrap();
        fs::rename(&other, &path).unwrap();
        assert!(watched.matches_its_log().unwrap_err().to_string().contains("of the file that stood there before"));
        fs::rename(&path, &other).unwrap();
        fs::rename(&moved, &path).unwrap();
        assert!(watched.matches_its_log().is_ok());
        // Another one with a log of its own, or with none.
        fs::rename(&other, &path).unwrap();
        assert!(watched.matches_its_log().is_err());
        fs::write(&moved, "y").unwrap();
        fs::rename(&moved, &log).unwrap();
        assert!(watched.matches_its_log().is_ok());
        fs::remove_file(&log).unwrap();
        assert!(watched.matches_its_log().is_ok());
    }
}
