//! Repositories, their listings and memberships.

use std::collections::HashMap;
use std::fmt;
use std::ops::Range;
use std::str::FromStr;

use artifact::{Format, Nevra};

use super::import::{NewLocation, check_location};
use crate::{Checksum, Error, PathHash, Result};

/// A listing of packages below a path of one store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repository {
    /// Its id in this index.
    pub id: i64,
    /// Its name, unique.
    pub name: String,
    /// Its store ([`crate::Store::id`]).
    pub store_id: i64,
    /// Its path below the store's base URL or root, without slashes at the ends. May be empty.
    pub path: String,
    /// Base URL, metalink or mirrorlist of its metadata, as the operator gave it. `None`: below the store's base URL.
    pub url: Option<String>,
    /// The format of its packages: RPM, deb or Arch.
    pub format: Format,
    /// The distribution of its packages. `None`: each package's dist tag.
    pub distro: Option<String>,
    /// The revision that the metadata imported last states.
    pub revision: Option<String>,
    /// SHA-256 of the metadata (repomd.xml, Packages, files database) that was imported completely, in lowercase hex.
    pub metadata_checksum: Option<String>,
    /// How that metadata was verified.
    pub verified: Verified,
    /// Number of packages that it lists.
    pub package_count: Option<u64>,
    /// Time of the last complete listing, or when it was found unchanged; seconds since 1970.
    pub refreshed_at: Option<i64>,
    /// Time of the last attempt, seconds since 1970.
    pub attempted_at: Option<i64>,
    /// The reason why the last attempt failed.
    pub error: Option<String>,
    /// Number of packages of the last complete listing that were refused or failed.
    pub refused_count: u64,
    /// The first of them with their reasons, as text for people.
    pub refused: Option<String>,
}

/// A [`Repository`] to be added or changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewRepository {
    /// See [`Repository::name`].
    pub name: String,
    /// See [`Repository::store_id`].
    pub store_id: i64,
    /// See [`Repository::path`]; slashes at the ends are removed.
    pub path: String,
    /// See [`Repository::url`].
    pub url: Option<String>,
    /// See [`Repository::format`].
    pub format: Format,
    /// See [`Repository::distro`].
    pub distro: Option<String>,
}

/// How metadata of a repository was verified.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Verified {
    /// By the hash in a metalink that came by HTTPS.
    Metalink,
    /// By an OpenPGP signature.
    Signature,
    /// Not at all.
    #[default]
    No,
}

impl Verified {
    /// The word in the database and in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Metalink => "metalink",
            Self::Signature => "signature",
            Self::No => "no",
        }
    }
}

impl fmt::Display for Verified {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Verified {
    type Err = Error;

    /// Reads the lower-case word.
    fn from_str(text: &str) -> Result<Self> {
        let known = [Self::Metalink, Self::Signature, Self::No].into_iter().find(|known| known.as_str() == text);
        known.ok_or_else(|| Error::Value {
            what: "verified",
            expected: "metalink, signature or no",
            found: text.into(),
        })
    }
}

/// The entry of a path below a repository, as the index has it before a refresh.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownListed {
    /// The present or last package at the path.
    pub package_id: i64,
    /// The checksum that a repository stated for the archive.
    pub checksum: Option<Checksum>,
    /// True if the header was read.
    pub is_read: bool,
    /// True if the package is open.
    pub is_open: bool,
    /// True if the location is gone.
    pub is_gone: bool,
    /// True if a check found it gone after it was seen last: only a check or its header can show that it is there.
    pub is_found_gone: bool,
    /// True if the repository lists the package: its membership has not ended.
    pub is_listed: bool,
}

/// The paths below a repository, with their entries.
pub type KnownListing = HashMap<PathHash, KnownListed>;

/// A package whose header was read, found by the checksum of one of its archives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownPackage {
    /// Its id.
    pub package_id: i64,
    /// Name, epoch, version, release, arch.
    pub nevra: Nevra,
    /// The main header's bytes inside the archive with that checksum.
    pub header: Option<Range<u64>>,
    /// Key id of that archive's signature.
    pub signing_key: Option<String>,
    /// True if the package is open.
    pub is_open: bool,
}

/// A further location of a package of the index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PackageLocation {
    /// The package.
    pub package_id: i64,
    /// The location of its archive.
    pub location: NewLocation,
    /// The repository that lists it there.
    pub repository_id: Option<i64>,
}

impl PackageLocation {
    /// Checks that every value fits the schema. [`crate::Index::insert_locations`] does so too, and refuses all
    /// locations on an error.
    ///
    /// # Errors
    /// As those of [`crate::Import::check`].
    pub fn check(&self) -> Result<()> {
        check_location(&format!("package {}", self.package_id), &self.location)
    }
}

/// The end of a refresh that read a complete listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompleteListing {
    /// See [`Repository::revision`].
    pub revision: Option<String>,
    /// See [`Repository::metadata_checksum`]. `None`: the next refresh reads everything again, because single packages
    /// were refused or failed.
    pub metadata_checksum: Option<String>,
    /// See [`Repository::verified`].
    pub verified: Verified,
    /// See [`Repository::package_count`].
    pub package_count: u64,
    /// Ids of packages that were listed before and are not any more.
    pub ended: Vec<i64>,
    /// Paths of the store below the repository that are not listed any more.
    pub gone: Vec<PathHash>,
    /// The time when the refresh began, before its metadata was fetched; seconds since 1970.
    pub started_at: i64,
    /// See [`Repository::refused_count`].
    pub refused_count: u64,
    /// See [`Repository::refused`]. Of a long text the beginning is stored.
    pub refused: Option<String>,
}

/// The counts of a [`CompleteListing`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ListingEnd {
    /// Memberships that ended.
    pub ended: u64,
    /// Locations that were marked as gone.
    pub gone: u64,
}
