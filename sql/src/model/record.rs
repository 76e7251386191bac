//! Results of the index: records, packages, locations.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use artifact::{Artifact, Format, Package};

use crate::{Checksum, Store};

/// An artifact with its package.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The package, shared between its records.
    pub package: Arc<StoredPackage>,
    /// The artifact.
    pub artifact: Artifact,
}

impl Record {
    /// True if the file is at its path now: a plain file whose location is present, with this path below the root of
    /// its store. Always true for members of archives.
    pub fn is_at_its_path(&self) -> bool {
        let is_here = |location: &Location| {
            let root = location.store.root.as_deref();
            root.is_some_and(|root| root.join(&location.path) == Path::new(&self.artifact.path))
        };
        self.package.package.format != Format::File || self.package.present_locations().any(is_here)
    }
}

/// A package with what the index stores beyond its header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredPackage {
    /// Its id in this index. Ids grow with imports on SQLite and on a single MySQL server, not across the nodes of a
    /// cluster. Lists are ordered by id because it is stable.
    pub id: i64,
    /// The contents of the header.
    pub package: Package,
    /// The distribution: the operator's, else [`Package::dist_tag`]. May be empty.
    pub distro: String,
    /// True if it can have build-ids that are not in `artifacts`.
    pub open: bool,
    /// Its present and former locations, best first: present before gone, then by tier, priority (lower first), store
    /// name and path. Places that follow from the pattern of a store are among them, behind the others of their tier
    /// until they were seen.
    pub locations: Vec<Location>,
}

impl StoredPackage {
    /// Returns the file name of its archive: of an RPM its NVRA, of others that of the best location. `None` for plain
    /// files.
    pub fn archive_name(&self) -> Option<String> {
        let by_location =
            || self.locations.first().and_then(|location| location.path.rsplit('/').next()).map(str::to_owned);
        match self.package.format {
            Format::Rpm => Some(format!("{}.rpm", self.package.nevra)),
            Format::File => None,
            _ => by_location(),
        }
    }

    /// Returns the locations that are not gone, best first.
    pub fn present_locations(&self) -> impl Iterator<Item = &Location> {
        self.locations.iter().filter(|location| location.gone_at.is_none())
    }
}

/// A present or former location of a package.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location {
    /// The store, shared between its locations.
    pub store: Arc<Store>,
    /// The archive's path below the store's base URL or root; no slash at its start.
    pub path: String,
    /// Size of the archive in bytes, never 0. `None` if unknown.
    pub size: Option<u64>,
    /// The archive's modification time, nanoseconds since 1970.
    pub mtime_ns: Option<i64>,
    /// The main header's bytes inside the archive.
    pub header: Option<Range<u64>>,
    /// A checksum of the archive, if a repository stated one.
    pub checksum: Option<Checksum>,
    /// Key id of the archive's signature.
    pub signing_key: Option<String>,
    /// Seconds since 1970. `None` if it was never seen.
    pub first_seen: Option<i64>,
    /// Seconds since 1970. `None` if it was never seen.
    pub last_seen: Option<i64>,
    /// Time since when it is gone, in seconds since 1970. `None` while it is present.
    pub gone_at: Option<i64>,
    /// Time of the last check, in seconds since 1970. `None` if it was never checked.
    pub checked_at: Option<i64>,
    /// The result of that check: `present`, `gone` or `failed: REASON`.
    pub check_result: Option<String>,
    /// True if it follows from the pattern of its store. Then it may never have been seen.
    pub derived: bool,
}
