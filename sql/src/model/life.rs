//! The life of packages: memberships of repositories, successors, and what was ever known of a package.

use artifact::{BuildId, Format, Identity, Kind, Nevra};

use crate::{BuildHistory, KojiOrigin, Location, PackageState};

/// The repositories that list or listed a package, and the packages that replaced it there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Life {
    /// By the time of their beginning, then by repository.
    pub memberships: Vec<Membership>,
    /// By the time of their beginning; the first one obsoleted the package.
    pub successors: Vec<Successor>,
}

/// A package's time in a repository. Times are seconds since 1970.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Membership {
    /// Name of the repository.
    pub repository: String,
    /// When it was first listed.
    pub first_seen: i64,
    /// When it was last listed, as far as is known.
    pub last_seen: i64,
    /// Since when it is not listed. `None` while it is.
    pub ended_at: Option<i64>,
}

/// A package of the same name and arch and a higher epoch, version and release, whose membership of the same repository
/// began later.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Successor {
    /// Its name-version-release.arch.
    pub nvra: String,
    /// Name of the repository.
    pub repository: String,
    /// When its membership began, seconds since 1970.
    pub first_seen: i64,
}

/// Everything that the index knows of a package, whether its header was read or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct History {
    /// Its id in this index.
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
    /// When its build was deleted, seconds since 1970.
    pub deleted_at: Option<i64>,
    /// The files asked for: those with the build-id, or all of the package.
    pub files: Vec<HistoryFile>,
    /// Its present and former locations, best first, with derived ones.
    pub locations: Vec<Location>,
    /// Its memberships and successors.
    pub life: Life,
    /// The build of Koji that it comes from, if that is known.
    pub koji: Option<KojiOrigin>,
    /// That build, if the hub was asked about it.
    pub build: Option<BuildHistory>,
}

/// A file of a [`History`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryFile {
    /// Its build-id.
    pub build_id: BuildId,
    /// Its path; of a claim the path of the link, if known.
    pub path: Option<String>,
    /// Its kind.
    pub kind: Kind,
    /// True if metadata claims it, and no header confirmed it yet.
    pub claimed: bool,
}
