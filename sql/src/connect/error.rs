//! Errors of the index. Every message states where, what was expected and what was found; none contains a password.

use std::path::PathBuf;

/// A result with this crate's [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

/// An error of the index.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A database URL that cannot be read.
    #[error("database url: expected {expected}, found {found}")]
    Url {
        /// The expected value.
        expected: &'static str,
        /// The value found, without a password.
        found: String,
    },
    /// A configuration file of the original darkserver that cannot be used.
    #[error("{}: expected {expected}, found {found}", path.display())]
    Configuration {
        /// The file.
        path: PathBuf,
        /// The expected value.
        expected: String,
        /// The value found, without a password.
        found: String,
    },
    /// A configuration file that exists and cannot be read.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The reason.
        source: std::io::Error,
    },
    /// A configuration file that is no TOML, or holds other keys or values than the program expects.
    #[error("{}, line {line}: {found}", path.display())]
    Toml {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The value found, without a password.
        found: String,
    },
    /// No connection within the timeout.
    #[error(
        "{database}: expected a connection within {seconds} s, found none: the database is down, out of reach or has \
         no free connection"
    )]
    Unreachable {
        /// The database, without a password.
        database: String,
        /// The timeout in seconds.
        seconds: f32,
    },
    /// The schema is not the one that this program was made for.
    #[error("{database}: expected schema version {expected}, found {found}: {advice}")]
    Schema {
        /// The database, without a password.
        database: String,
        /// This program's version of the schema.
        expected: i64,
        /// The database's.
        found: String,
        /// Advice.
        advice: &'static str,
    },
    /// A migration failed.
    #[error("{database}: migration: {source}")]
    Migration {
        /// The database, without a password.
        database: String,
        /// The reason.
        source: sqlx::migrate::MigrateError,
    },
    /// A value that is too long for its column.
    #[error("{subject}: expected at most {expected} bytes of {what}, found {found}")]
    TooLong {
        /// The package or store.
        subject: String,
        /// Name of the value.
        what: &'static str,
        /// Maximum in bytes.
        expected: usize,
        /// Length in bytes.
        found: usize,
    },
    /// An invalid value.
    #[error("{what}: expected {expected}, found {found:?}")]
    Value {
        /// Name of the value.
        what: &'static str,
        /// The expected value.
        expected: &'static str,
        /// The value found.
        found: String,
    },
    /// The database refused a statement, or the connection broke.
    #[error("{database}: {doing}: {source}")]
    Database {
        /// The database, without a password.
        database: String,
        /// The operation.
        doing: &'static str,
        /// The reason.
        source: sqlx::Error,
    },
    /// The SQLite file does not exist.
    #[error(
        "{database}: no such file: run `darkserver-import --database {} dir PATH`, or the same with `repo URL`",
        without_parameters(database)
    )]
    Missing {
        /// The database.
        database: String,
    },
    /// A directory is at the path of the SQLite file.
    #[error("{database}: expected an SQLite file, found a directory: name a file in it, like {}/darkserver.db",
        without_parameters(database).trim_end_matches('/'))]
    Directory {
        /// The database.
        database: String,
    },
    /// The SQLite file exists, and is not the whole index, or does not belong to the log beside it.
    #[error("{database}: {reason}")]
    Unusable {
        /// The database.
        database: String,
        /// The expected and the found state.
        reason: std::io::Error,
    },
    /// The SQLite file cannot be written any more.
    #[error("{database}: {doing}: {source}: the file, or the log beside it, cannot be written: {reason}")]
    Unwritable {
        /// The database.
        database: String,
        /// The operation.
        doing: &'static str,
        /// The error of the database.
        source: sqlx::Error,
        /// The error of the system.
        reason: std::io::Error,
    },
    /// The SQLite file can be read, but its `-wal` and `-shm` files cannot be written.
    #[error("{database}: {doing}: {source}: {advice}")]
    SharedMemory {
        /// The database.
        database: String,
        /// The operation.
        doing: &'static str,
        /// The error of the database.
        source: sqlx::Error,
        /// Advice.
        advice: String,
    },
    /// The SQLite file is damaged, or read with a log of another file.
    #[error(
        "{database}: {doing}: {source}: the file is damaged, or {} belongs to a former file: stop the programs that \
         write to it, and remove the log with its -shm; if that does not help, restore a whole copy of the index, or \
         import into a new file",
        log.display()
    )]
    Malformed {
        /// The database.
        database: String,
        /// The operation.
        doing: &'static str,
        /// The error of the database.
        source: sqlx::Error,
        /// The log beside the file.
        log: PathBuf,
    },
    /// The query got no answer within the timeout.
    #[error(
        "{database}: {doing}: expected an answer within {seconds} s, found none: the database hangs, is out of reach \
         or is locked"
    )]
    QueryTimeout {
        /// The database, without a password.
        database: String,
        /// The operation.
        doing: &'static str,
        /// The timeout in seconds.
        seconds: f32,
    },
    /// The outage outlasted the retry timeout.
    #[error("{error} (gave up after {seconds:.0} s of trying again)")]
    RetryTimeout {
        /// The last error.
        error: Box<Error>,
        /// Its duration in seconds.
        seconds: f32,
    },
}

/// Returns an SQLite URL without `?immutable=1`, which is for readers only.
fn without_parameters(url: &str) -> &str {
    url.split_once('?').map_or(url, |(url, _)| url)
}
