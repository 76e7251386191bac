//! Stores: the places that hold archives.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use url::Url;

use crate::{Distros, Error, PlacePattern, Result};

/// A place that holds archives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Store {
    /// Its id in this index.
    pub id: i64,
    /// Its name, unique.
    pub name: String,
    /// Its kind.
    pub tier: Tier,
    /// URL of its archives, without a slash at the end. `None` if they cannot be downloaded.
    pub base_url: Option<String>,
    /// Local directory of its archives. `None` if they are not on this machine.
    pub root: Option<PathBuf>,
    /// Priority among stores of one tier: lower is asked first.
    pub priority: i32,
    /// Template of the paths of packages below it. `None` if they follow no rule.
    pub pattern: Option<PlacePattern>,
    /// Distributions whose packages `pattern` is valid for.
    pub distros: Distros,
    /// HTTP statuses that prove that it does not have an archive.
    pub absent_statuses: AbsentStatuses,
    /// Hosts that it may redirect to besides itself.
    pub redirect_hosts: RedirectHosts,
    /// True if redirects to hosts that `*` alone allows may lead to private addresses.
    pub allow_private: bool,
}

/// A [`Store`] to be added or changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewStore {
    /// See [`Store::name`].
    pub name: String,
    /// See [`Store::tier`].
    pub tier: Tier,
    /// See [`Store::base_url`]; trailing slashes are removed.
    pub base_url: Option<String>,
    /// See [`Store::root`].
    pub root: Option<PathBuf>,
    /// See [`Store::priority`].
    pub priority: i32,
    /// See [`Store::pattern`].
    pub pattern: Option<PlacePattern>,
    /// See [`Store::distros`].
    pub distros: Distros,
    /// See [`Store::absent_statuses`].
    pub absent_statuses: AbsentStatuses,
    /// See [`Store::redirect_hosts`].
    pub redirect_hosts: RedirectHosts,
    /// See [`Store::allow_private`].
    pub allow_private: bool,
}

impl From<Store> for NewStore {
    /// The store as it is, to be changed.
    fn from(store: Store) -> Self {
        let Store { name, tier, base_url, root, priority, pattern, distros, .. } = store;
        let Store { absent_statuses, redirect_hosts, allow_private, .. } = store;
        Self { name, tier, base_url, root, priority, pattern, distros, absent_statuses, redirect_hosts, allow_private }
    }
}

/// The HTTP statuses by which a store proves that it does not have an archive: client and server errors, sorted, at
/// least one. The default is 403, 404 and 410: object stores answer 403 for missing objects to clients that may not
/// list them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AbsentStatuses(Vec<u16>);

impl AbsentStatuses {
    /// Maximum length of the text in the database.
    pub(crate) const MAX_CHARS: usize = 255;

    /// True if this status is one of them.
    pub fn contains(&self, status: u16) -> bool {
        self.0.contains(&status)
    }

    /// The statuses, ascending.
    pub fn as_slice(&self) -> &[u16] {
        &self.0
    }
}

impl Default for AbsentStatuses {
    fn default() -> Self {
        Self(vec![403, 404, 410])
    }
}

impl fmt::Display for AbsentStatuses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let texts: Vec<String> = self.0.iter().map(u16::to_string).collect();
        f.write_str(&texts.join(","))
    }
}

impl FromStr for AbsentStatuses {
    type Err = Error;

    /// Reads three-digit statuses of 400 to 599 separated by commas, without blanks.
    fn from_str(text: &str) -> Result<Self> {
        let status = |word: &str| {
            let is_number = word.len() == 3 && word.bytes().all(|byte| byte.is_ascii_digit());
            word.parse().ok().filter(|status| is_number && (400..=599).contains(status))
        };
        let refused = |found: &str| Error::Value {
            what: "absent statuses",
            expected: "HTTP statuses of 400 to 599 separated by commas, like 403,404,410",
            found: found.chars().take(80).collect(),
        };
        let mut statuses =
            text.split(',').map(|word| status(word).ok_or_else(|| refused(text))).collect::<Result<Vec<u16>>>()?;
        statuses.sort_unstable();
        statuses.dedup();
        let statuses = Self(statuses);
        if statuses.to_string().len() > Self::MAX_CHARS {
            return Err(refused(&format!("{} statuses, which are too many", statuses.0.len())));
        }
        Ok(statuses)
    }
}

/// The hosts that a store may redirect to besides itself: lowercase names or addresses as they stand in URLs, without
/// port, sorted. `*` stands for every host. The default is none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct RedirectHosts(Vec<String>);

impl RedirectHosts {
    /// Maximum length of the text in the database.
    pub(crate) const MAX_CHARS: usize = 2048;

    /// The hosts, ascending.
    pub fn as_slice(&self) -> &[String] {
        &self.0
    }
}

impl fmt::Display for RedirectHosts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join(","))
    }
}

impl FromStr for RedirectHosts {
    type Err = Error;

    /// Reads hosts separated by commas, without blanks.
    fn from_str(text: &str) -> Result<Self> {
        let refused = |found: &str| Error::Value {
            what: "redirect hosts",
            expected: "hosts without port separated by commas, like mirror.example.org,192.0.2.1,[2001:db8::1], or *",
            found: found.chars().take(80).collect(),
        };
        let is_host = |host: &str| {
            let url = Url::parse(&format!("http://{host}/")).ok();
            host == "*" || !host.contains('*') && url.is_some_and(|url| url.host_str() == Some(host))
        };
        let mut hosts: Vec<String> = text.split(',').map(str::to_ascii_lowercase).collect();
        if let Some(wrong) = hosts.iter().find(|host| !is_host(host)) {
            return Err(refused(wrong));
        }
        hosts.sort_unstable();
        hosts.dedup();
        let hosts = Self(hosts);
        if hosts.to_string().len() > Self::MAX_CHARS {
            return Err(refused(&format!("{} hosts, which are too many", hosts.0.len())));
        }
        Ok(hosts)
    }
}

/// Kinds of stores, in the order in which stores are asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Tier {
    /// A directory of this machine.
    Local,
    /// A mirror of a distribution.
    Mirror,
    /// A Koji instance's download server.
    Koji,
    /// An archive of old releases.
    Archive,
    /// A retrace server's storage.
    Retrace,
}

impl Tier {
    /// The word in the database, in configuration files and in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Mirror => "mirror",
            Self::Koji => "koji",
            Self::Archive => "archive",
            Self::Retrace => "retrace",
        }
    }
}

impl fmt::Display for Tier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Tier {
    type Err = Error;

    /// Reads the lower-case word.
    fn from_str(text: &str) -> Result<Self> {
        [Self::Local, Self::Mirror, Self::Koji, Self::Archive, Self::Retrace]
            .into_iter()
            .find(|tier| tier.as_str() == text)
            .ok_or_else(|| Error::Value {
                what: "tier",
                expected: "local, mirror, koji, archive or retrace",
                found: text.into(),
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absent_statuses_are_errors_of_http_separated_by_commas() {
        let read = |text: &str| text.parse::<AbsentStatuses>().map(|statuses| statuses.to_string());
        for (text, sorted) in [("404", "404"), ("410,404,404,403", "403,404,410"), ("599,400", "400,599")] {
            assert_eq!(read(text).unwrap(), sorted);
        }
        assert_eq!(read(&AbsentStatuses::default().to_string()).unwrap(), "403,404,410");
        for bad in
            ["", ",", "404,", "404, 410", " 404", "+404", "0404", "200", "302", "399", "600", "4o4", "404;410", "none"]
        {
            let expected =
                "absent statuses: expected HTTP statuses of 400 to 599 separated by commas, like 403,404,410";
            let message = read(bad).unwrap_err().to_string();
            assert!(message.starts_with(expected) && message.contains(&format!("{bad:?}")), "{bad}: {message}");
        }
        let many: Vec<String> = (400..500).map(|status| status.to_string()).collect();
        assert!(read(&many[..64].join(",")).is_ok() && read(&many[..65].join(",")).is_err());
    }

    #[test]
    fn redirect_hosts_are_hosts_without_port_separated_by_commas() {
        let read = |text: &str| text.parse::<RedirectHosts>().map(|hosts| hosts.to_string());
        for (text, sorted) in [
            ("*", "*"),
            ("Mirror.example.org,a.example,a.example", "a.example,mirror.example.org"),
            ("192.0.2.1,[2001:db8::1]", "192.0.2.1,[2001:db8::1]"),
        ] {
            assert_eq!(read(text).unwrap(), sorted);
        }
        for bad in
            ["", ",", "a,", "a, b", "a:80", "a/b", "*.a", "http://a", "u:secret@a", "[2001:db8::1", "2001:db8::1"]
        {
            let message = read(bad).unwrap_err().to_string();
            assert!(message.starts_with("redirect hosts: expected hosts without port separated"), "{bad}: {message}");
        }
        let many: Vec<String> = (100..612).map(|number| format!("h{number}")).collect();
        assert!(read(&many[..409].join(",")).is_ok() && read(&many[..410].join(",")).is_err());
    }
}
