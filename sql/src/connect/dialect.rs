//! Where the databases differ: a few words of SQL, and how a conflict between writers shows.

use sqlx::mysql::MySqlDatabaseError;
use sqlx::sqlite::SqliteError;
use sqlx::{MySql, Sqlite};

/// The words that differ.
pub(crate) trait Dialect {
    /// Begins a transaction that writes.
    const BEGIN: &'static str;
    /// Begins an INSERT of many rows. SQLite keeps every page as it was before such a statement, in a file, to take it back alone where
    /// it fails; whatever fails here takes back the whole transaction.
    const INSERT: &'static str;
    /// Ends a SELECT whose rows this transaction is going to change.
    const FOR_UPDATE: &'static str;
    /// Behind a beginning of a text: what is not greater than any text with that beginning. MySQL compares a shorter text as if it were
    /// filled up with blanks, so that it is greater than one that goes on with a control character.
    const LOWEST_SUFFIX: &'static str;
    /// Locks packages against those who insert claims, until the end of the transaction; nothing where writers are alone.
    const LOCK_CLAIMS_SHARED: &'static str;
    /// The same for those who insert claims.
    const LOCK_CLAIMS: &'static str;
    /// Excludes others who pair kernel modules, until the end of the transaction; nothing where writers are alone.
    const LOCK_MODULES: &'static str;
    /// Ends the INSERT of a location. What the new row does not state stays as it was, as long as the size does.
    const UPDATE_LOCATION: &'static str;
    /// The number that the last INSERT of this connection gave.
    const LAST_ID: &'static str;
    /// Ends the INSERT of a store.
    const UPDATE_STORE: &'static str;
    /// Ends the INSERT of a writer.
    const COUNT_TRANSACTION: &'static str;
}

impl Dialect for Sqlite {
    const BEGIN: &'static str = "begin immediate";
    const INSERT: &'static str = "insert or fail into ";
    const FOR_UPDATE: &'static str = "";
    const LAST_ID: &'static str = "select last_insert_rowid()";
    const LOWEST_SUFFIX: &'static str = "";
    const LOCK_CLAIMS_SHARED: &'static str = "";
    const LOCK_CLAIMS: &'static str = "";
    const LOCK_MODULES: &'static str = "";
    const UPDATE_LOCATION: &'static str = " on conflict (store_id, path_hash, package_id) do update set \
        mtime_ns = case when excluded.mtime_ns is null and size = excluded.size then mtime_ns else excluded.mtime_ns end, \
        header_start = case when excluded.header_start is null and size = excluded.size then header_start else excluded.header_start end, \
        header_end = case when excluded.header_end is null and size = excluded.size then header_end else excluded.header_end end, \
        checksum_kind = case when excluded.checksum_kind is null and size = excluded.size then checksum_kind else excluded.checksum_kind end, \
        checksum = case when excluded.checksum is null and size = excluded.size then checksum else excluded.checksum end, \
        signing_key = case when excluded.signing_key is null and size = excluded.size then signing_key else excluded.signing_key end, \
        size = excluded.size, last_seen = excluded.last_seen, gone_at = null";
    const UPDATE_STORE: &'static str = " on conflict (name) do update set \
        tier = excluded.tier, base_url = excluded.base_url, root = excluded.root, priority = excluded.priority, \
        absent_statuses = excluded.absent_statuses";
    const COUNT_TRANSACTION: &'static str = " on conflict (writer) do update set sequence = sequence + 1";
}

impl Dialect for MySql {
    const BEGIN: &'static str = "begin";
    const INSERT: &'static str = "insert into ";
    const FOR_UPDATE: &'static str = " for update";
    const LAST_ID: &'static str = "select cast(last_insert_id() as signed)";
    const LOWEST_SUFFIX: &'static str = "\u{1}";
    const LOCK_CLAIMS_SHARED: &'static str = "select until from leases where name = 'claims' lock in share mode";
    const LOCK_CLAIMS: &'static str = "select until from leases where name = 'claims' for update";
    // An update, because Galera certifies what was written alone.
    const LOCK_MODULES: &'static str = "update leases set until = until + 1 where name = 'modules'";
    const UPDATE_LOCATION: &'static str = " on duplicate key update \
        mtime_ns = case when values(mtime_ns) is null and size = values(size) then mtime_ns else values(mtime_ns) end, \
        header_start = case when values(header_start) is null and size = values(size) then header_start else values(header_start) end, \
        header_end = case when values(header_end) is null and size = values(size) then header_end else values(header_end) end, \
        checksum_kind = case when values(checksum_kind) is null and size = values(size) then checksum_kind else values(checksum_kind) end, \
        checksum = case when values(checksum) is null and size = values(size) then checksum else values(checksum) end, \
        signing_key = case when values(signing_key) is null and size = values(size) then signing_key else values(signing_key) end, \
        size = values(size), last_seen = values(last_seen), gone_at = null";
    const UPDATE_STORE: &'static str = " on duplicate key update \
        tier = values(tier), base_url = values(base_url), root = values(root), priority = values(priority), \
        absent_statuses = values(absent_statuses)";
    const COUNT_TRANSACTION: &'static str = " on duplicate key update sequence = sequence + 1";
}

/// Set by a MySQL connection of a writer: a value that does not fit is an error and never shortened.
pub(crate) const MYSQL_STRICT: &str = "set session sql_mode = concat(@@session.sql_mode, ',STRICT_ALL_TABLES')";
/// The isolation of a writer: a reader's gaps are not locked, which would make parallel writers collide.
pub(crate) const MYSQL_READ_COMMITTED: &str = "set session transaction isolation level read committed";
/// The isolation of a writer where `binlog_format` is `STATEMENT`: InnoDB refuses to write there under `READ COMMITTED` (error 1665).
/// Transactions rely on reading what others committed last, which `REPEATABLE READ` would not show; here their reads lock it.
pub(crate) const MYSQL_SERIALIZABLE: &str = "set session transaction isolation level serializable";

/// When the way to a writer vanishes in the middle of a transaction, the server keeps its locks until it notices, which takes hours: the
/// same writer, on its next connection, would wait for itself. MariaDB ends transactions that stand still; it does not know MySQL's way.
pub(crate) const MARIADB_END_IDLE_TRANSACTIONS: &str = "set session idle_transaction_timeout = 5";
/// MySQL ends connections alone; a writer that is not in a transaction gets another one when it needs it.
pub(crate) const MYSQL_END_IDLE_CONNECTIONS: &str = "set session wait_timeout = 60";

/// Did this transaction lose against another one, so that it is worth another try?
///
/// MySQL: 1213 deadlock (and Galera's certification conflict), 1205 lock wait timeout, 1047 node is not ready, 1062 another
/// writer was faster with the same package. SQLite: busy, locked.
pub(crate) fn is_conflict(error: &sqlx::Error) -> bool {
    let sqlx::Error::Database(error) = error else { return false };
    match error.try_downcast_ref::<MySqlDatabaseError>() {
        Some(error) => matches!(error.number(), 1213 | 1205 | 1047 | 1062),
        None => error.code().and_then(|code| code.parse().ok()).is_some_and(|code: u32| matches!(code & 0xff, 5 | 6)),
    }
}

/// Was the connection a dead one, left over from before the database restarted?
pub(crate) fn is_connection_lost(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_) => true,
        sqlx::Error::Database(error) => {
            // 1053 server shutdown, 1927 connection killed, 2006 gone away, 4031 closed for inactivity
            error
                .try_downcast_ref::<MySqlDatabaseError>()
                .is_some_and(|error| matches!(error.number(), 1053 | 1927 | 2006 | 4031))
        }
        _ => false,
    }
}

/// Is the database out of reach, perhaps for a moment? It is if a connection broke, if none can be had, or if it says so itself.
pub(crate) fn is_unavailable(error: &sqlx::Error) -> bool {
    is_connection_lost(error)
        || match error {
            sqlx::Error::PoolTimedOut | sqlx::Error::Protocol(_) => true,
            sqlx::Error::Database(error) => {
                // 1040 too many connections, 1203 and 1226 too many of this user
                error
                    .try_downcast_ref::<MySqlDatabaseError>()
                    .is_some_and(|error| matches!(error.number(), 1040 | 1203 | 1226))
            }
            _ => false,
        }
}

/// Could SQLite not read or write its file?
pub(crate) fn is_io_error(error: &sqlx::Error) -> bool {
    // 8 read-only, 10 input or output, 14 cannot be opened
    matches!(primary_code(error), Some(8 | 10 | 14))
}

/// SQLite's primary result code (sqlite.org, "Result and Error Codes", section 2) of an error of the database.
fn primary_code(error: &sqlx::Error) -> Option<u32> {
    let sqlx::Error::Database(error) = error else { return None };
    error.code()?.parse().ok().map(|code: u32| code & 0xff)
}

/// True if SQLite found pages in its file, or in the log beside it, that do not belong together (11).
pub(crate) fn is_malformed(error: &sqlx::Error) -> bool {
    let is_sqlite = matches!(error, sqlx::Error::Database(error) if error.try_downcast_ref::<SqliteError>().is_some());
    is_sqlite && primary_code(error) == Some(11)
}

/// True if SQLite could not open its file.
pub(crate) fn is_cannot_open(error: &sqlx::Error) -> bool {
    primary_code(error) == Some(14)
}

/// Is a table missing?
pub(crate) fn is_missing_table(error: &sqlx::Error) -> bool {
    let sqlx::Error::Database(error) = error else { return false };
    match error.try_downcast_ref::<MySqlDatabaseError>() {
        Some(error) => error.number() == 1146,
        None => error.message().starts_with("no such table"),
    }
}
