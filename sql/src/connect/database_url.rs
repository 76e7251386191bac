//! Database URLs. sqlx reads those of MySQL; what it accepts without a word is refused here: other parameters than the
//! three below, and a URL without a user or a database.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::{FromStr, Utf8Error};

use sqlx::ConnectOptions;
use sqlx::mysql::MySqlConnectOptions;
use url::Url;

use crate::{Error, Result};

const FORMS: &str = "sqlite:PATH, sqlite:PATH?immutable=1, sqlite::memory: or mysql://USER:PASSWORD@HOST:PORT/DATABASE";
const MYSQL_FORM: &str = "mysql://USER:PASSWORD@HOST:PORT/DATABASE, special characters of the password written as %XX";
const SSL_MODES: &str = "ssl-mode disabled, preferred, required, verify_ca or verify_identity";
const DEFAULT_PORT: u16 = 3306;

/// The address of the index: `sqlite:PATH`, for a file that never changes `sqlite:PATH?immutable=1`, `sqlite::memory:`
/// or `mysql://USER:PASSWORD@HOST:PORT/DATABASE` (`mariadb://` is the same) with the parameters `socket`, `ssl-mode`
/// and `ssl-ca`. [`fmt::Display`] and [`fmt::Debug`] hide the password.
#[derive(Clone)]
pub struct DatabaseUrl(Address);

#[derive(Clone)]
pub(crate) enum Address {
    SqliteMemory,
    Sqlite {
        path: PathBuf,
        /// True if the operator declares that the file never changes.
        immutable: bool,
    },
    MySql {
        options: Box<MySqlConnectOptions>,
        /// True if `options` hold a password: sqlx does not tell.
        has_password: bool,
    },
}

impl DatabaseUrl {
    /// Returns the URL of a MySQL database from the values of a configuration file; the default port is 3306.
    pub fn mysql(host: &str, user: &str, password: &str, database: &str, port: Option<u16>) -> Self {
        let port = port.unwrap_or(DEFAULT_PORT);
        let mut options = MySqlConnectOptions::new().host(host).port(port).username(user).database(database);
        if !password.is_empty() {
            options = options.password(password);
        }
        Self(mysql_address(options, !password.is_empty()))
    }

    /// Returns the URL of an SQLite file.
    pub fn sqlite(path: impl AsRef<Path>) -> Self {
        Self(Address::Sqlite { path: path.as_ref().into(), immutable: false })
    }

    /// True for SQLite, in a file or in memory.
    pub fn is_sqlite(&self) -> bool {
        matches!(self.0, Address::Sqlite { .. } | Address::SqliteMemory)
    }

    pub(crate) fn address(&self) -> &Address {
        &self.0
    }
}

impl Default for DatabaseUrl {
    /// `sqlite:darkserver.db`, in the working directory: the index where none is configured.
    fn default() -> Self {
        Self::sqlite("darkserver.db")
    }
}

impl FromStr for DatabaseUrl {
    type Err = Error;

    /// Reads a URL. No error message repeats what could be a password.
    fn from_str(text: &str) -> Result<Self> {
        let Some((scheme, rest)) = text.split_once(':') else { return Err(refuse(FORMS, "no scheme".into())) };
        match scheme {
            "sqlite" => read_sqlite(rest).map(Self),
            "mysql" | "mariadb" => read_mysql(text).map(Self),
            "postgres" | "postgresql" => Err(refuse(
                "sqlite: or mysql: (PostgreSQL is not supported; import what an old darkserver left there into one of \
                 these)",
                format!("{scheme}:"),
            )),
            // The text before the colon can be a password.
            _ => Err(refuse(FORMS, "another scheme".into())),
        }
    }
}

/// Reads what follows `sqlite:`. Not by sqlx, whose options do not tell whether the file is immutable.
fn read_sqlite(rest: &str) -> Result<Address> {
    // Paths are shown in messages. The URL of another database with `sqlite` in the place of its scheme has a password.
    if rest.contains('@') && (rest.contains("://") || rest.starts_with("//") && !rest.starts_with("///")) {
        let form = "sqlite:PATH, without // before a relative path that contains @";
        return Err(refuse(form, "a user and a host".into()));
    }
    let path = rest.strip_prefix("//").unwrap_or(rest);
    let (path, immutable) = match path.split_once('?') {
        None => (path, false),
        Some((path, "immutable=1")) if path != ":memory:" => (path, true),
        Some(_) => return Err(refuse("sqlite:PATH, or sqlite:PATH?immutable=1", format!("sqlite:{path}"))),
    };
    match path {
        ":memory:" => Ok(Address::SqliteMemory),
        "" => Err(refuse("sqlite:PATH", "no path".into())),
        _ => Ok(Address::Sqlite { path: path.into(), immutable }),
    }
}

fn read_mysql(text: &str) -> Result<Address> {
    let url = Url::parse(text).map_err(|error| refuse(MYSQL_FORM, error.to_string()))?;
    if url.fragment().is_some() {
        return Err(refuse(MYSQL_FORM, "a # (written %23 where it is part of the password)".into()));
    }
    if url.username().is_empty() {
        return Err(refuse(MYSQL_FORM, "no user".into()));
    }
    let database = url.path().trim_start_matches('/');
    if database.is_empty() || database.contains('/') {
        return Err(refuse(MYSQL_FORM, "no name of a database".into()));
    }
    let is_known = |name: &str| matches!(name, "socket" | "ssl-mode" | "ssl-ca");
    if let Some((name, _)) = url.query_pairs().find(|(name, _)| !is_known(name)) {
        return Err(refuse("the parameters socket, ssl-mode and ssl-ca", format!("{name:?}")));
    }
    let has_password = url.password().is_some_and(|password| !password.is_empty());
    let options = MySqlConnectOptions::from_url(&url).map_err(|error| match error {
        sqlx::Error::Configuration(reason) if reason.is::<Utf8Error>() => refuse(MYSQL_FORM, reason.to_string()),
        error => refuse(SSL_MODES, error.to_string()),
    })?;
    Ok(mysql_address(options, has_password))
}

/// Sets what every connection needs: no query uses `||`; the collation is that of every column, so that views made by
/// any client are equal.
fn mysql_address(options: MySqlConnectOptions, has_password: bool) -> Address {
    let options = options.collation("utf8mb4_bin").pipes_as_concat(false);
    Address::MySql { options: Box::new(options), has_password }
}

fn refuse(expected: &'static str, found: String) -> Error {
    Error::Url { expected, found }
}

impl fmt::Display for DatabaseUrl {
    /// Writes the URL with `***` for the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Address::SqliteMemory => f.write_str("sqlite::memory:"),
            Address::Sqlite { path, immutable } => {
                write!(f, "sqlite:{}{}", path.display(), if *immutable { "?immutable=1" } else { "" })
            }
            Address::MySql { options, has_password } => {
                let password = if *has_password { ":***" } else { "" };
                write!(f, "mysql://{}{password}@{}", options.get_username(), options.get_host())?;
                if options.get_port() != DEFAULT_PORT {
                    write!(f, ":{}", options.get_port())?;
                }
                write!(f, "/{}", options.get_database().unwrap_or_default())?;
                match options.get_socket() {
                    Some(socket) => write!(f, "?socket={}", socket.display()),
                    None => Ok(()),
                }
            }
        }
    }
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DatabaseUrl({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_read_and_shown_without_their_password() {
        for (text, shown) in [
            ("sqlite:/var/lib/darkserver/index.db", "sqlite:/var/lib/darkserver/index.db"),
            ("sqlite://relative/index.db", "sqlite:relative/index.db"),
            ("sqlite:/media/index.db?immutable=1", "sqlite:/media/index.db?immutable=1"),
            ("sqlite::memory:", "sqlite::memory:"),
            ("sqlite:///srv/a@b/index.db", "sqlite:/srv/a@b/index.db"),
            ("sqlite:a@b/index.db", "sqlite:a@b/index.db"),
            ("mysql://user:secret@host/db", "mysql://user:***@host/db"),
            ("mariadb://us%40er:se%2Fcr%40et@host:3307/db?ssl-mode=required", "mysql://us@er:***@host:3307/db"),
            ("mysql://user@[::1]:1/db", "mysql://user@[::1]:1/db"),
            ("mysql://user:@host/db", "mysql://user@host/db"),
            (
                "mysql://user:secret@localhost/db?socket=/run/mysqld/mysqld.sock",
                "mysql://user:***@localhost/db?socket=/run/mysqld/mysqld.sock",
            ),
        ] {
            let url: DatabaseUrl = text.parse().unwrap();
            assert_eq!(url.to_string(), shown);
            assert_eq!(format!("{url:?}"), format!("DatabaseUrl({shown})"));
        }
    }

    #[test]
    fn the_default_is_a_file_in_the_working_directory() {
        assert_eq!(DatabaseUrl::default().to_string(), "sqlite:darkserver.db");
        for (text, is_sqlite) in
            [("sqlite:x.db", true), ("sqlite::memory:", true), ("mysql://sqlite:x@sqlite/sqlite", false)]
        {
            assert_eq!(text.parse::<DatabaseUrl>().unwrap().is_sqlite(), is_sqlite, "{text}");
        }
    }

    #[test]
    fn passwords_are_percent_decoded() {
        let url: DatabaseUrl = "mysql://user:a%40b%2F%25%23%C3%A9@host/db".parse().unwrap();
        let Address::MySql { options, .. } = url.address() else { panic!("{url}") };
        // sqlx writes it again as it read it.
        assert_eq!(options.to_url_lossy().password(), Some("a%40b%2F%25%23%C3%A9"));
    }

    #[test]
    fn errors_state_what_was_expected_and_never_the_password() {
        for (text, expected) in [
            ("", "no scheme"),
            ("secret", "no scheme"),
            ("sec:ret", "another scheme"),
            ("sqlite:", "no path"),
            ("sqlite:x.db?mode=ro", "expected sqlite:PATH, or sqlite:PATH?immutable=1, found sqlite:x.db?mode=ro"),
            ("sqlite:?immutable=1", "no path"),
            ("sqlite::memory:?immutable=1", "expected sqlite:PATH"),
            ("sqlite://user:secret@host/db", "found a user and a host"),
            ("sqlite://user:sec?ret@host/db", "found a user and a host"),
            ("sqlite:mysql://user:secret@host/db", "found a user and a host"),
            ("postgres://user:secret@host/db", "PostgreSQL is not supported"),
            ("postgresql://user:secret@host/db", "PostgreSQL is not supported"),
            ("mysql://user:secret@host", "no name of a database"),
            ("mysql://:secret@host/db", "no user"),
            ("mysql://user:sec#ret@host/db", "expected"),
            ("mysql://user:sec/ret@host/db", "expected"),
            ("mysql://user:secret@host/db?charset=latin1", "\"charset\""),
            ("mysql://user:secret@host/db?ssl-mode=perhaps", "\"perhaps\""),
            ("mysql://user:secret@host:99999/db", "port"),
        ] {
            let error = text.parse::<DatabaseUrl>().unwrap_err().to_string();
            assert!(error.contains(expected), "{text}: {error}");
            assert!(!error.contains("sec") && !error.contains("ret"), "{text}: {error}");
        }
    }
}
