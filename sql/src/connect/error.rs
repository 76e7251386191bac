//! What can go wrong with the index. Every message says where, what was expected and what was found; none holds a password.

use std::path::PathBuf;

/// A result with this crate's [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

/// What can go wrong with the index.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A database URL that cannot be read.
    #[error("database url: expected {expected}, found {found}")]
    Url {
        /// What would have been right.
        expected: &'static str,
        /// What is there, without a password.
        found: String,
    },
    /// A configuration file of the original darkserver that cannot be used.
    #[error("{}: expected {expected}, found {found}", path.display())]
    Configuration {
        /// The file.
        path: PathBuf,
        /// What would have been right.
        expected: String,
        /// What is there, without a password.
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
        /// What is there, without a password.
        found: String,
    },
    /// No connection could be had in time.
    #[error(
        "{database}: expected a connection within {seconds} s, found none: the database is down, out of reach or has no free connection"
    )]
    Unreachable {
        /// The database, without a password.
        database: String,
        /// The time allowed.
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
        /// What to do.
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
    /// A value that no column can hold.
    #[error("{subject}: expected at most {expected} bytes of {what}, found {found}")]
    TooLong {
        /// The package or store.
        subject: String,
        /// Which value.
        what: &'static str,
        /// The most bytes.
        expected: usize,
        /// Its bytes.
        found: usize,
    },
    /// A value that means nothing.
    #[error("{what}: expected {expected}, found {found:?}")]
    Value {
        /// Which value.
        what: &'static str,
        /// What would have been right.
        expected: &'static str,
        /// What is there.
        found: String,
    },
    /// The database refused or broke off.
    #[error("{database}: {doing}: {source}")]
    Database {
        /// The database, without a password.
        database: String,
        /// What was being done.
        doing: &'static str,
        /// The reason.
        source: sqlx::Error,
    },
    /// There is no file of the database.
    #[error("{database}: no such file: run `darkserver-import --database {} dir FOLDER`", without_parameters(database))]
    Missing {
        /// The database.
        database: String,
    },
    /// A directory is where the file of the database should be.
    #[error("{database}: expected an SQLite file, found a directory: name a file in it, like {}/darkserver.db",
        without_parameters(database).trim_end_matches('/'))]
    Directory {
        /// The database.
        database: String,
    },
    /// The file of the database is there, and is not the whole index, or another one than the log beside it belongs to.
    #[error("{database}: {reason}")]
    Unusable {
        /// The database.
        database: String,
        /// What was expected and what was found.
        reason: std::io::Error,
    },
    /// The file of the database cannot be written any more.
    #[error("{database}: {doing}: {source}: the file, or the log beside it, cannot be written: {reason}")]
    Unwritable {
        /// The database.
        database: String,
        /// What was being done.
        doing: &'static str,
        /// What the database says.
        source: sqlx::Error,
        /// What the system says.
        reason: std::io::Error,
    },
    /// The file of the database can be read, but not the files that SQLite keeps beside it.
    #[error("{database}: {doing}: {source}: {advice}")]
    SharedMemory {
        /// The database.
        database: String,
        /// What was being done.
        doing: &'static str,
        /// What the database says.
        source: sqlx::Error,
        /// What can be done about it.
        advice: String,
    },
    /// The file of the database is damaged, or read with a log that is not its own.
    #[error(
        "{database}: {doing}: {source}: the file is damaged, or {} is of the file that stood there before: stop who writes there, \
         and remove it with its -shm; if that does not help, put a whole copy of the index there, or import into a new file",
        log.display()
    )]
    Malformed {
        /// The database.
        database: String,
        /// What was being done.
        doing: &'static str,
        /// What the database says.
        source: sqlx::Error,
        /// The log beside the file.
        log: PathBuf,
    },
    /// The database took a question and gave no answer.
    #[error(
        "{database}: {doing}: expected an answer within {seconds} s, found none: the database hangs, is out of reach or is locked"
    )]
    QueryTimeout {
        /// The database, without a password.
        database: String,
        /// What was being done.
        doing: &'static str,
        /// The time allowed.
        seconds: f32,
    },
    /// The trouble did not pass.
    #[error("{error} (gave up after {seconds:.0} s of trying again)")]
    RetryTimeout {
        /// The last trouble.
        error: Box<Error>,
        /// How long it lasted.
        seconds: f32,
    },
}

/// The URL of an SQLite file as a writer wants it: `?immutable=1` is for readers.
fn without_parameters(url: &str) -> &str {
    url.split_once('?').map_or(url, |(url, _)| url)
}
