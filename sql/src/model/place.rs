//! Checks of places.

use artifact::{Format, Identity, Nevra};

use crate::{Location, PackageState};

/// A place that is due to be checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DuePlace {
    /// Id of the package.
    pub package_id: i64,
    /// The format of its archive.
    pub format: Format,
    /// Its identity. `None` if its header was not read.
    pub identity: Option<Identity>,
    /// Name, epoch, version, release, arch.
    pub nevra: Nevra,
    /// How much of it is known.
    pub state: PackageState,
    /// The location. [`Location::derived`]: it follows from the pattern of its store.
    pub location: Location,
}

/// The result of looking for an archive at a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlaceCheck {
    /// Id of the package.
    pub package_id: i64,
    /// The store.
    pub store_id: i64,
    /// The archive's path below the store's base URL.
    pub path: String,
    /// The time of the check, seconds since 1970.
    pub at: i64,
    /// What was found.
    pub result: CheckResult,
    /// True if the place follows from the pattern of its store, so that a row is written where there is none.
    pub derived: bool,
}

/// What a check of a place found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CheckResult {
    /// The archive.
    Present {
        /// Its size in bytes, if the server stated it.
        size: Option<u64>,
    },
    /// The store does not have it.
    Gone,
    /// Nothing is known: the reason.
    Failed(String),
}

impl CheckResult {
    /// Maximum length of the text in the database, in characters.
    pub(crate) const MAX_CHARS: usize = 255;

    /// The text in the database: `present`, `gone` or `failed: REASON`.
    pub fn text(&self) -> String {
        match self {
            Self::Present { .. } => "present".to_owned(),
            Self::Gone => "gone".to_owned(),
            Self::Failed(reason) => format!("failed: {reason}").chars().take(Self::MAX_CHARS).collect(),
        }
    }
}
