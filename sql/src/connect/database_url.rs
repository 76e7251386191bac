//! Where the index is.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use percent_encoding::percent_decode_str;
use secrecy::{ExposeSecret, SecretString};
use sqlx::mysql::{MySqlConnectOptions, MySqlSslMode};
use url::Url;

use crate::{Error, Result};

const FORMS: &str = "sqlite:PATH, sqlite:PATH?immutable=1, sqlite::memory: or mysql://USER:PASSWORD@HOST:PORT/DATABASE";
const PORT: u16 = 3306;

/// Where the index is: `sqlite:PATH`, for a file that never changes `sqlite:PATH?immutable=1`, `sqlite::memory:` or
/// `mysql://USER:PASSWORD@HOST:PORT/DATABASE` (`mariadb://` is the same) with the parameters `socket`, `ssl-mode` and
/// `ssl-ca`. [`fmt::Display`] and [`fmt::Debug`] hide the password.
#[derive(Clone)]
pub struct DatabaseUrl(Target);

#[derive(Clone)]
pub(crate) enum Target {
    SqliteMemory,
    Sqlite {
        path: PathBuf,
        /// Whoever named it promises that it never changes.
        immutable: bool,
    },
    MySql(MySqlTarget),
}

#[derive(Clone)]
pub(crate) struct MySqlTarget {
    host: String,
    port: u16,
    socket: Option<PathBuf>,
    user: String,
    password: SecretString,
    database: String,
    ssl_mode: Option<String>,
    ssl_ca: Option<PathBuf>,
}

impl DatabaseUrl {
    /// A MySQL database from the values of a configuration file; port 3306 if it names none.
    pub fn mysql(host: &str, user: &str, password: &str, database: &str, port: Option<u16>) -> Self {
        Self(Target::MySql(MySqlTarget {
            host: host.into(),
            port: port.unwrap_or(PORT),
            socket: None,
            user: user.into(),
            password: password.into(),
            database: database.into(),
            ssl_mode: None,
            ssl_ca: None,
        }))
    }

    /// An SQLite file.
    pub fn sqlite(path: impl AsRef<Path>) -> Self {
        Self(Target::Sqlite { path: path.as_ref().into(), immutable: false })
    }

    /// Is it SQLite, a file or memory that belongs to whoever uses it?
    pub fn is_sqlite(&self) -> bool {
        matches!(self.0, Target::Sqlite { .. } | Target::SqliteMemory)
    }

    pub(crate) fn target(&self) -> &Target {
        &self.0
    }

    pub(crate) fn mysql_options(&self) -> Result<MySqlConnectOptions> {
        let Target::MySql(target) = &self.0 else { return Err(refuse("mysql://...", self.to_string())) };
        // Nothing here uses `||`; the collation is that of every column, so that views made by any client are equal.
        let mut options = MySqlConnectOptions::new()
            .host(&target.host)
            .port(target.port)
            .username(&target.user)
            .database(&target.database)
            .collation("utf8mb4_bin")
            .pipes_as_concat(false);
        if !target.password.expose_secret().is_empty() {
            options = options.password(target.password.expose_secret());
        }
        if let Some(socket) = &target.socket {
            options = options.socket(socket);
        }
        if let Some(mode) = &target.ssl_mode {
            options = options.ssl_mode(read_ssl_mode(mode)?);
        }
        if let Some(ca) = &target.ssl_ca {
            options = options.ssl_ca(ca);
        }
        Ok(options)
    }
}

impl Default for DatabaseUrl {
    /// `sqlite:darkserver.db`, in the working directory: what is used where nothing says which.
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
                "sqlite: or mysql: (PostgreSQL is not supported; import what an old darkserver left there into one of these)",
                format!("{scheme}:"),
            )),
            // What stands there may be anything, also a password before a colon.
            _ => Err(refuse(FORMS, "another scheme".into())),
        }
    }
}

fn read_sqlite(rest: &str) -> Result<Target> {
    let path = rest.strip_prefix("//").unwrap_or(rest);
    let (path, immutable) = match path.split_once('?') {
        None => (path, false),
        Some((path, "immutable=1")) if path != ":memory:" => (path, true),
        Some(_) => return Err(refuse("sqlite:PATH, or sqlite:PATH?immutable=1", format!("sqlite:{path}"))),
    };
    match path {
        ":memory:" => Ok(Target::SqliteMemory),
        "" => Err(refuse("sqlite:PATH", "no path".into())),
        _ => Ok(Target::Sqlite { path: path.into(), immutable }),
    }
}

fn read_mysql(text: &str) -> Result<Target> {
    let form = "mysql://USER:PASSWORD@HOST:PORT/DATABASE, special characters of the password written as %XX";
    let url = Url::parse(text).map_err(|error| refuse(form, error.to_string()))?;
    if url.fragment().is_some() {
        return Err(refuse(form, "a # (written %23 where it is part of the password)".into()));
    }
    let decode = |what: &str, text: &str| {
        let decoded =
            percent_decode_str(text).decode_utf8().map_err(|_| refuse(form, format!("a {what} that is no UTF-8")))?;
        Ok::<_, Error>(decoded.into_owned())
    };
    let database = decode("database", url.path().trim_start_matches('/'))?;
    if database.is_empty() || database.contains('/') {
        return Err(refuse(form, "no name of a database".into()));
    }
    let mut target = MySqlTarget {
        host: decode("host", url.host_str().filter(|host| !host.is_empty()).unwrap_or("localhost"))?,
        port: url.port().unwrap_or(PORT),
        socket: None,
        user: decode("user", url.username())?,
        password: decode("password", url.password().unwrap_or_default())?.into(),
        database,
        ssl_mode: None,
        ssl_ca: None,
    };
    if target.user.is_empty() {
        return Err(refuse(form, "no user".into()));
    }
    for (name, value) in url.query_pairs() {
        match &*name {
            "socket" => target.socket = Some(value.as_ref().into()),
            "ssl-ca" => target.ssl_ca = Some(value.as_ref().into()),
            "ssl-mode" => {
                read_ssl_mode(&value)?;
                target.ssl_mode = Some(value.into_owned());
            }
            _ => return Err(refuse("the parameters socket, ssl-mode and ssl-ca", format!("{name:?}"))),
        }
    }
    Ok(Target::MySql(target))
}

fn read_ssl_mode(mode: &str) -> Result<MySqlSslMode> {
    mode.parse().map_err(|_| {
        refuse("ssl-mode disabled, preferred, required, verify_ca or verify_identity", format!("{mode:?}"))
    })
}

fn refuse(expected: &'static str, found: String) -> Error {
    Error::Url { expected, found }
}

impl fmt::Display for DatabaseUrl {
    /// Writes the URL with `***` for the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Target::SqliteMemory => f.write_str("sqlite::memory:"),
            Target::Sqlite { path, immutable } => {
                write!(f, "sqlite:{}{}", path.display(), if *immutable { "?immutable=1" } else { "" })
            }
            Target::MySql(MySqlTarget { host, port, socket, user, password, database, .. }) => {
                let password = if password.expose_secret().is_empty() { "" } else { ":***" };
                write!(f, "mysql://{user}{password}@{host}")?;
                if *port != PORT {
                    write!(f, ":{port}")?;
                }
                write!(f, "/{database}")?;
                match socket {
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
            ("mysql://user:secret@host/db", "mysql://user:***@host/db"),
            ("mariadb://us%40er:se%2Fcr%40et@host:3307/db?ssl-mode=required", "mysql://us@er:***@host:3307/db"),
            ("mysql://user@[::1]:1/db", "mysql://user@[::1]:1/db"),
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
    fn the_default_is_a_file_here() {
        assert_eq!(DatabaseUrl::default().to_string(), "sqlite:darkserver.db");
        for (text, is_sqlite) in
            [("sqlite:x.db", true), ("sqlite::memory:", true), ("mysql://sqlite:x@sqlite/sqlite", false)]
        {
            assert_eq!(text.parse::<DatabaseUrl>().unwrap().is_sqlite(), is_sqlite, "{text}");
        }
    }

    #[test]
    fn the_password_is_what_was_written_in_hex_digits() {
        let url: DatabaseUrl = "mysql://user:a%40b%2F%25%23%C3%A9@host/db".parse().unwrap();
        let Target::MySql(target) = url.target() else { panic!("{url}") };
        assert_eq!(target.password.expose_secret(), "a@b/%#é");
    }

    #[test]
    fn refusals_say_what_was_expected_and_never_the_password() {
        for (text, said) in [
            ("", "no scheme"),
            ("secret", "no scheme"),
            ("sec:ret", "another scheme"),
            ("sqlite:", "no path"),
            ("sqlite:x.db?mode=ro", "expected sqlite:PATH, or sqlite:PATH?immutable=1, found sqlite:x.db?mode=ro"),
            ("sqlite:?immutable=1", "no path"),
            ("sqlite::memory:?immutable=1", "expected sqlite:PATH"),
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
            assert!(error.contains(said), "{text}: {error}");
            assert!(!error.contains("sec") && !error.contains("ret"), "{text}: {error}");
        }
    }
}
