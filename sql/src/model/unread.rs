//! Packages whose header was not read, and the build-ids that metadata claims for them.

use std::sync::Arc;

use artifact::{Format, Identity, Nevra};

use crate::{Claim, Location, PackageState, Record, StoredPackage};

/// A package of which the index has claims: its header was not read, or it is open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnreadPackage {
    /// Its id in this index. It stays when the header is read, unless the package turns out to be another one.
    pub id: i64,
    /// The format of its archive.
    pub format: Format,
    /// Its identity. `None` if its header was not read.
    pub identity: Option<Identity>,
    /// Name, epoch, version, release, arch.
    pub nevra: Nevra,
    /// File name of the source package, if known.
    pub source_rpm: Option<String>,
    /// The distribution. May be empty.
    pub distro: String,
    /// How much of it is known.
    pub state: PackageState,
    /// Its present and former locations as in [`StoredPackage::locations`].
    pub locations: Vec<Location>,
}

impl UnreadPackage {
    /// Returns the locations that are not gone, best first.
    pub fn present_locations(&self) -> impl Iterator<Item = &Location> {
        self.locations.iter().filter(|location| location.gone_at.is_none())
    }
}

/// A claimed build-id with its package.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimRecord {
    /// The package, shared between its claims.
    pub package: Arc<UnreadPackage>,
    /// The claim.
    pub claim: Claim,
}

/// The artifacts and the claims that a query found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Records {
    /// Artifacts, ordered by package id, ordinal and build-id.
    pub records: Vec<Record>,
    /// Claims that no artifact of their package answers, ordered by package id and build-id.
    pub claims: Vec<ClaimRecord>,
}

impl Records {
    /// True if nothing was found.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty() && self.claims.is_empty()
    }
}

/// The packages that a query found, by id.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Packages {
    /// Packages whose header was read.
    pub read: Vec<StoredPackage>,
    /// Packages whose header was not read.
    pub unread: Vec<UnreadPackage>,
}
