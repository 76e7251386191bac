//! Packages that are known before their header was read.

use artifact::{BuildId, Format, Kind, Nevra};

use super::import::{NewLocation, check_length, check_location, check_names, truncate};
use crate::{KojiOrigin, PackageState, Result};

/// A package that is known from repository metadata, from a Koji hub or from the original's database, with its claimed
/// build-ids. Its header was not read: the input of [`crate::Index::insert_claimed`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimedPackage {
    /// The source of the claim.
    pub origin: Origin,
    /// The format of its archive.
    pub format: Format,
    /// Name, epoch, version, release, arch.
    pub nevra: Nevra,
    /// File name of the source package, if known.
    pub source_rpm: Option<String>,
    /// The distribution. Empty if unknown.
    pub distro: String,
    /// Claimed build-ids. Can be empty: then the package is known, and its header waits to be read.
    pub claims: Vec<Claim>,
    /// The location of the package, if known.
    pub location: Option<NewLocation>,
    /// The repository ([`crate::Repository::id`]) that lists it.
    pub repository_id: Option<i64>,
    /// The build of Koji that it comes from. `None` if nothing states it: then a stored one stays.
    pub koji: Option<KojiOrigin>,
}

/// One build-id of a [`ClaimedPackage`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The build-id.
    pub build_id: BuildId,
    /// The claimed kind of the file.
    pub kind: Kind,
    /// Path of the link or file with this build-id.
    pub link_path: Option<String>,
}

/// The source of a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The metadata of a repository.
    Repository,
    /// The headers that a Koji hub states.
    Koji,
    /// A database of the original darkserver.
    Legacy,
}

impl Origin {
    /// The state of such a package.
    pub(crate) fn state(self) -> PackageState {
        match self {
            Self::Repository | Self::Koji => PackageState::Claimed,
            Self::Legacy => PackageState::Legacy,
        }
    }
}

impl ClaimedPackage {
    /// Checks that every value fits the schema.
    ///
    /// # Errors
    /// [`crate::Error::TooLong`] names the package, the value and its limit.
    pub fn check(&self) -> Result<()> {
        let subject = truncate(&self.nevra.nvra());
        check_names(&subject, &self.nevra, self.source_rpm.as_deref(), &self.distro)?;
        self.koji.as_ref().map_or(Ok(()), |koji| koji.check(&subject))?;
        for claim in &self.claims {
            check_length(&subject, "path of a link", 4096, claim.link_path.as_deref().unwrap_or_default().len())?;
        }
        self.location.as_ref().map_or(Ok(()), |location| check_location(&subject, location))
    }
}
