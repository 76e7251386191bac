//! Stores: the places that hold archives.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use crate::{Error, Result};

/// A place that holds archives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Store {
    /// Its number in this index.
    pub id: i64,
    /// Its name, unique.
    pub name: String,
    /// What kind of place it is.
    pub tier: Tier,
    /// Where its archives can be downloaded; no slash at its end. `None` if nowhere.
    pub base_url: Option<String>,
    /// The local folder that its archives are in. `None` if they are elsewhere.
    pub root: Option<PathBuf>,
    /// Among stores of one tier: lower is asked first.
    pub priority: i32,
}

/// A [`Store`] that is to be added, or changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewStore {
    /// See [`Store::name`].
    pub name: String,
    /// See [`Store::tier`].
    pub tier: Tier,
    /// See [`Store::base_url`]; slashes at its end are taken off.
    pub base_url: Option<String>,
    /// See [`Store::root`].
    pub root: Option<PathBuf>,
    /// See [`Store::priority`].
    pub priority: i32,
}

/// What kind of place a store is, best first: the order in which stores are asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Tier {
    /// A folder of this machine.
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
            .ok_or_else(|| Error::Value { what: "tier", expected: "local, mirror, koji, archive or retrace", found: text.into() })
    }
}
