//! The database and the broker in the original darkserver's configuration files, as Python 2's ConfigParser read them.
//!
//! The parser is our own: no crate reads this form of INI (`%(key)s`, `rem` comments, `:`, continued values, comments
//! that start with ` ;` inside a value).

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::configuration;
use crate::{DatabaseUrl, Error, Result};

/// Returns the database of the original's web service: `darkserverweb.conf`, else `darkweb.cfg`, in `/etc/darkserver`.
/// `None` if neither exists and is filled in.
///
/// # Errors
/// If a file cannot be read, is half filled in or names PostgreSQL: the message states the file, its contents and what
/// to do.
pub fn gateway_database(directory: &Path) -> Result<Option<DatabaseUrl>> {
    if let Some(file) = OriginalFile::read(directory.join("darkserverweb.conf"), "darkserverweb")?
        && let Some(url) = file.database("user", "database")?
    {
        return Ok(Some(url));
    }
    let Some(file) = OriginalFile::read(directory.join("darkweb.cfg"), "database")? else { return Ok(None) };
    match file.value("engine")?.as_str() {
        "" => Ok(None),
        "mysql" => file.database("username", "dbname"),
        engine => Err(file.refuse(
            "engine = mysql (the index is in MySQL, MariaDB or SQLite now: import what the old database holds, \
             then name the new one here, or remove the file)",
            format!("engine = {engine}"),
        )),
    }
}

/// Returns the database of the original's importers: `darkserver.conf`, else `darkjobworker.conf`. `None` if neither
/// exists and is filled in; `darkjobworker.conf` as shipped (user `name`, password `password`) is not.
///
/// # Errors
/// If a file cannot be read or is half filled in: the message states the file, its contents and what to do.
pub fn indexer_database(directory: &Path) -> Result<Option<DatabaseUrl>> {
    for file in ["darkserver.conf", "darkjobworker.conf"] {
        let Some(file) = OriginalFile::read(directory.join(file), "darkserver")? else { continue };
        if file.value("user")? == "name" && file.value("password")? == "password" {
            continue;
        }
        if let Some(url) = file.database("user", "database")? {
            return Ok(Some(url));
        }
    }
    Ok(None)
}

/// The broker of the original's importer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OriginalBroker {
    /// Its host.
    pub host: String,
    /// Its port. `None`: the default one.
    pub port: Option<u16>,
    /// Its virtual host.
    pub virtual_host: String,
}

/// Returns the broker in `rabbitmq.cfg`: `localhost` and the virtual host `/` where the file states none. `None` if
/// there is no such file. Other keys are settings of the original's client.
///
/// # Errors
/// If the file cannot be read: the message states the file, its contents and what to do.
pub fn importer_broker(directory: &Path) -> Result<Option<OriginalBroker>> {
    let Some(file) = OriginalFile::read(directory.join("rabbitmq.cfg"), "rabbitmq")? else { return Ok(None) };
    let or = |value: String, default: &str| if value.is_empty() { default.to_owned() } else { value };
    let host = or(file.value("host")?, "localhost");
    file.refuse_port_in(&host)?;
    Ok(Some(OriginalBroker { host, port: file.port()?, virtual_host: or(file.value("virtual_host")?, "/") }))
}

/// One section of a file, with the values of `[DEFAULT]`.
struct OriginalFile {
    path: PathBuf,
    section: &'static str,
    values: HashMap<String, String>,
}

impl OriginalFile {
    /// Reads a section, `None` if there is no such file or section.
    fn read(path: PathBuf, section: &'static str) -> Result<Option<Self>> {
        let Some(text) = configuration::read_file(&path)? else { return Ok(None) };
        match parse_section(&text, section) {
            Ok(values) => Ok(values.map(|values| Self { path, section, values })),
            Err(line) => Err(Error::Configuration {
                path,
                expected: "lines like `[section]`, `key = value` or `# comment`".into(),
                found: format!("something else in line {line}"),
            }),
        }
    }

    /// Returns the database, `None` if host, user and database are all empty. An empty host is localhost, an empty port
    /// 3306.
    fn database(&self, user: &'static str, database: &'static str) -> Result<Option<DatabaseUrl>> {
        let host = self.value("host")?;
        let names = [(user, self.value(user)?), (database, self.value(database)?)];
        if host.is_empty() && names.iter().all(|(_, value)| value.is_empty()) {
            return Ok(None);
        }
        for (key, value) in &names {
            if value.is_empty() {
                let expected =
                    format!("a value for {key} in [{}], or none for host, {user} and {database} too", self.section);
                return Err(self.refuse(&expected, "none".into()));
            }
        }
        self.refuse_port_in(&host)?;
        let port = self.port()?;
        let host = if host.is_empty() { "localhost" } else { &host };
        let [(_, user), (_, database)] = &names;
        Ok(Some(DatabaseUrl::mysql(host, user, &self.value("password")?, database, port)))
    }

    fn refuse_port_in(&self, host: &str) -> Result<()> {
        let Some((address, port)) = host_and_port(host) else { return Ok(()) };
        let expected = format!("host = {address} and port = {port}: the port is a key of its own");
        Err(self.refuse(&expected, format!("host = {host}")))
    }

    /// Returns the value of `port`, `None` if it is empty.
    fn port(&self) -> Result<Option<u16>> {
        match self.value("port")?.as_str() {
            "" => Ok(None),
            port => port.parse().map(Some).map_err(|_| self.refuse("port = 1 to 65535", format!("port = {port}"))),
        }
    }

    /// Returns a value with `%%` and `%(key)s` replaced; empty if there is none.
    fn value(&self, key: &str) -> Result<String> {
        let raw = self.values.get(key).map(String::as_str).unwrap_or_default();
        interpolate(raw, &self.values, 10).ok_or_else(|| {
            let expected = format!("{key} with its percent signs doubled (`%%`)");
            self.refuse(&expected, "a `%(key)s` that names no other key".into())
        })
    }

    fn refuse(&self, expected: &str, found: String) -> Error {
        Error::Configuration { path: self.path.clone(), expected: expected.into(), found }
    }
}

/// Splits `host:port` and `[address]:port`; `None` for a name or an address alone.
fn host_and_port(host: &str) -> Option<(&str, &str)> {
    let (address, port) = host.rsplit_once(':')?;
    let address = match address.strip_prefix('[').and_then(|address| address.strip_suffix(']')) {
        Some(address) => address,
        None if address.contains(':') => return None,
        None => address,
    };
    Some((address, port))
}

/// Reads one section. `Ok(None)` if it does not exist; `Err` is the number of a line that is neither section, value nor
/// comment.
fn parse_section(text: &str, wanted: &str) -> std::result::Result<Option<HashMap<String, String>>, usize> {
    let mut sections: HashMap<&str, HashMap<String, String>> = HashMap::new();
    let mut section = None;
    let mut last_key: Option<String> = None;
    for (number, line) in text.lines().enumerate() {
        if line.trim().is_empty() || line.starts_with(['#', ';']) || is_rem(line) {
            continue;
        }
        if let (true, Some(section), Some(key)) = (line.starts_with(char::is_whitespace), section, &last_key) {
            // A continued value.
            let value = sections.entry(section).or_default().entry(key.clone()).or_default();
            *value = format!("{value}\n{}", line.trim());
            continue;
        }
        if let Some((name, _)) = line.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            section = Some(name);
            sections.entry(name).or_default();
            last_key = None;
            continue;
        }
        let (Some(section), Some(at)) = (section, line.find(['=', ':'])) else { return Err(number + 1) };
        let key = line[..at].trim().to_lowercase();
        if key.is_empty() {
            return Err(number + 1);
        }
        let mut value = &line[at + 1..];
        if let Some((before, _)) = value.split_once(';')
            && before.ends_with(char::is_whitespace)
        {
            value = before;
        }
        let value = value.trim();
        sections.entry(section).or_default().insert(key.clone(), if value == "\"\"" { "" } else { value }.into());
        last_key = Some(key);
    }
    let defaults = sections.remove("DEFAULT").unwrap_or_default();
    Ok(sections.remove(wanted).map(|values| defaults.into_iter().chain(values).collect()))
}

/// True for a comment that starts with `rem`.
fn is_rem(line: &str) -> bool {
    line.starts_with(['r', 'R']) && line.split_whitespace().next().is_some_and(|word| word.eq_ignore_ascii_case("rem"))
}

/// Replaces `%%` and `%(key)s`. `None` if a `%(key)s` has no end, names no key or itself. A single percent sign stays.
fn interpolate(text: &str, values: &HashMap<String, String>, depth: u32) -> Option<String> {
    let Some((before, rest)) = text.split_once('%') else { return Some(text.into()) };
    let mut result = before.to_owned();
    let rest = if let Some(rest) = rest.strip_prefix('%') {
        result.push('%');
        rest
    } else if let Some(rest) = rest.strip_prefix('(') {
        let (key, rest) = rest.split_once(")s")?;
        result.push_str(&interpolate(values.get(&key.to_lowercase())?, values, depth.checked_sub(1)?)?);
        rest
    } else {
        result.push('%');
        rest
    };
    result.push_str(&interpolate(rest, values, depth)?);
    Some(result)
}

#[cfg(test)]
mod tests {
    use super::*;

    type Read = fn(&Path) -> Result<Option<DatabaseUrl>>;

    fn read(files: &[(&str, &str)], read: Read) -> std::result::Result<Option<String>, String> {
        let directory = tempfile::tempdir().unwrap();
        for (name, text) in files {
            std::fs::write(directory.path().join(name), text).unwrap();
        }
        match read(directory.path()) {
            Ok(url) => Ok(url.map(|url| url.to_string())),
            Err(error) => Err(error.to_string()),
        }
    }

    #[test]
    fn files_that_are_missing_or_as_shipped_configure_nothing() {
        let empty = "[darkserverweb]\nhost=\nuser=\npassword=\ndatabase=\n";
        assert_eq!(read(&[], gateway_database), Ok(None));
        assert_eq!(read(&[("darkserverweb.conf", empty)], gateway_database), Ok(None));
        assert_eq!(read(&[("darkserver.conf", &empty.replace("web", ""))], indexer_database), Ok(None));
        let shipped = "[darkserver]\ndatabase=darkserver\nuser=name\npassword=password\nhost=localhost\nport=3306\n\
                       unique=server1.ip\n";
        assert_eq!(read(&[("darkjobworker.conf", shipped)], indexer_database), Ok(None));
    }

    #[test]
    fn the_broker_of_the_importer_is_read() {
        let read = |text: &str| {
            let directory = tempfile::tempdir().unwrap();
            std::fs::write(directory.path().join("rabbitmq.cfg"), text).unwrap();
            importer_broker(directory.path()).map_err(|error| error.to_string())
        };
        let broker = |host: &str, port, virtual_host: &str| {
            Ok(Some(OriginalBroker { host: host.into(), port, virtual_host: virtual_host.into() }))
        };
        assert_eq!(importer_broker(Path::new("/nonexistent")).unwrap(), None);
        assert_eq!(read("[other]\nhost = h\n"), Ok(None));
        assert_eq!(read("[rabbitmq]\n"), broker("localhost", None, "/"));
        let all = "[DEFAULT]\nat: example.org\n[rabbitmq]\nHost = mq.%(at)s ; ours\nvirtual_host = /100%%\nport: 5673\n\
                   connection_attempts = 3\n";
        assert_eq!(read(all), broker("mq.example.org", Some(5673), "/100%"));
        assert!(read("[rabbitmq]\nport = x\n").is_err_and(|error| error.contains("expected port = 1 to 65535")));
        assert!(read("[rabbitmq]\nhost = h:1\n").is_err_and(|error| error.contains("the port is a key of its own")));
    }

    #[test]
    fn filled_in_files_are_read_the_older_one_first() {
        let web =
            ("darkserverweb.conf", "[darkserverweb]\nhost=db.example\nuser=reader\npassword=p\ndatabase=darkserver\n");
        let cfg = ("darkweb.cfg", "[database]\nengine: mysql\nusername: u\npassword: p\nhost: h\ndbname: d\n");
        assert_eq!(read(&[web, cfg], gateway_database), Ok(Some("mysql://reader:***@db.example/darkserver".into())));
        assert_eq!(read(&[cfg], gateway_database), Ok(Some("mysql://u:***@h/d".into())));
        let own = ("darkserver.conf", "[darkserver]\nuser=w\npassword=\ndatabase=d\n");
        let worker =
            ("darkjobworker.conf", "[darkserver]\nuser=w\npassword=p\nhost=h\ndatabase=d\nport=3307\nunique=x\n");
        assert_eq!(read(&[own, worker], indexer_database), Ok(Some("mysql://w@localhost/d".into())));
        assert_eq!(read(&[worker], indexer_database), Ok(Some("mysql://w:***@h:3307/d".into())));
    }

    #[test]
    fn postgresql_is_refused_with_file_value_and_advice() {
        let cfg = "[database]\nengine = postgres\nusername = u\npassword = secret\nhost = h\ndbname = d\n";
        let error = read(&[("darkweb.cfg", cfg)], gateway_database).unwrap_err();
        for part in ["darkweb.cfg", "found engine = postgres", "engine = mysql", "import what the old database holds"] {
            assert!(error.contains(part), "{error}");
        }
        assert!(!error.contains("secret"), "{error}");
    }

    #[test]
    fn half_filled_and_broken_files_are_named_without_their_secrets() {
        for (text, expected) in [
            ("[darkserver]\nhost=h\nuser=\npassword=secret\ndatabase=d\n", "a value for user in [darkserver]"),
            ("[darkserver]\nhost=h\nuser=u\npassword=secret\ndatabase=d\nport=x\n", "found port = x"),
            (
                "[darkserver]\nhost=127.0.0.1:13306\nuser=u\npassword=secret\ndatabase=d\n",
                "expected host = 127.0.0.1 and port = 13306: the port is a key of its own, found host = \
                 127.0.0.1:13306",
            ),
            (
                "[darkserver]\nhost=[::1]:13306\nuser=u\npassword=secret\ndatabase=d\n",
                "expected host = ::1 and port = 13306: the port is a key of its own, found host = [::1]:13306",
            ),
            ("[darkserver]\nhost=h\nsecret\n", "line 3"),
            ("secret=1\n", "line 1"),
            (
                "[darkserver]\nhost=h\nuser=u\ndatabase=d\npassword=secret%(x)s\n",
                "password with its percent signs doubled",
            ),
            (
                "[darkserver]\nhost=h\nuser=u\ndatabase=d\npassword=%(password)s\n",
                "password with its percent signs doubled",
            ),
        ] {
            let error = read(&[("darkserver.conf", text)], indexer_database).unwrap_err();
            assert!(error.contains("darkserver.conf") && error.contains(expected), "{error}");
            assert!(!error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn values_are_read_as_configparser_read_them() {
        let text = "# comment\n; comment\nREM comment\n[DEFAULT]\nhost: fallback\nname = \
            x%%y\n[other]\nuser=no\n[darkserver]\n\
                    User = me ; who\nPASSWORD: a;b%%c%(name)s=d:e\nempty = \"\"\nlong = one\n  two\n";
        let values = parse_section(text, "darkserver").unwrap().unwrap();
        let file = OriginalFile { path: "x".into(), section: "darkserver", values };
        for (key, value) in [
            ("host", "fallback"),
            ("user", "me"),
            ("password", "a;b%cx%y=d:e"),
            ("empty", ""),
            ("long", "one\ntwo"),
            ("absent", ""),
        ] {
            assert_eq!(file.value(key).unwrap(), value, "{key}");
        }
        assert!(parse_section(text, "Darkserver").unwrap().is_none());
    }
}
