//! How much is known of a package.

use std::fmt;

use super::rows::decode_error;

/// How much is known of a package.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PackageState {
    /// Known from repository metadata or from a Koji hub; the header was not read.
    Claimed,
    /// Known from the original's database; the header was not read.
    Legacy,
    /// The header was read; there can be build-ids that are not among its artifacts.
    Open,
    /// All its build-ids are among its artifacts.
    Complete,
}

impl PackageState {
    /// All states.
    pub const ALL: [Self; 4] = [Self::Claimed, Self::Legacy, Self::Open, Self::Complete];

    /// The word in the database and in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Claimed => "claimed",
            Self::Legacy => "legacy",
            Self::Open => "open",
            Self::Complete => "complete",
        }
    }

    /// True if the header was read.
    pub fn is_read(self) -> bool {
        match self {
            Self::Open | Self::Complete => true,
            Self::Claimed | Self::Legacy => false,
        }
    }

    /// True if the header was read, and the payload can have further build-ids.
    pub fn is_open(self) -> bool {
        match self {
            Self::Open => true,
            Self::Claimed | Self::Legacy | Self::Complete => false,
        }
    }

    /// True if all build-ids of the package are known.
    pub fn is_complete(self) -> bool {
        match self {
            Self::Complete => true,
            Self::Claimed | Self::Legacy | Self::Open => false,
        }
    }

    /// Reads the word in the database.
    pub(crate) fn parse(word: &str) -> sqlx::Result<Self> {
        let state = Self::ALL.into_iter().find(|state| state.as_str() == word);
        state.ok_or_else(|| decode_error(format!("packages.state: expected one of {:?}, found {word:?}", Self::ALL)))
    }
}

impl fmt::Display for PackageState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
